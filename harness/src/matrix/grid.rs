//! What a person reads: a block for each kind, rows are events, columns are roles; then the boundaries, what is
//! wrong, and the totals. What a machine reads stands at the end.

use std::collections::BTreeMap;
use std::io::{self, Write};

use ackscope_protocol::error::ErrorCode;
use ackscope_protocol::wire::ConversationKind;
use serde_json::{Value, json};

use super::cell::{Caller, Got, Place};
use super::play::{MatrixReport, Played};
use super::table::{KINDS, TABLE};
use crate::report::paint::{Paint, Tone};

/// Columns of a line, at most.
const WIDTH: usize = 120;
/// Columns of a row's label.
const LABEL: usize = 47;
/// Columns of a cell.
const CELL: usize = 14;
/// Columns a boundary's name is filled up to.
const NAME: usize = 66;

/// A code in the few letters a column has.
fn short(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::NotParticipant => "not_part",
        ErrorCode::RoleForbidden => "forbidden",
        ErrorCode::EditWindowClosed => "closed",
        ErrorCode::AlreadyDeleted => "deleted",
        ErrorCode::InvalidPayload => "invalid",
        ErrorCode::TooManyTargets => "targets",
        ErrorCode::TooManyMessages => "messages",
        ErrorCode::MediaUnavailable => "no_media",
        ErrorCode::SearchUnavailable => "no_search",
        ErrorCode::StoreUnavailable => "no_store",
        ErrorCode::LogUnavailable => "no_log",
        ErrorCode::OutcomeUnknown => "unknown",
        ErrorCode::Unauthenticated => "no_token",
        ErrorCode::NotFound
        | ErrorCode::NotOwner
        | ErrorCode::TooLarge
        | ErrorCode::RateLimited
        | ErrorCode::Overloaded
        | ErrorCode::MediaInvalid
        | ErrorCode::Internal => code.as_str(),
    }
}

fn short_got(got: &Got) -> &'static str {
    match got {
        Got::Ok { .. } => "ok",
        Got::Refused { error, .. } => short(error.code),
        Got::Failed(_) | Got::Late => "not played",
    }
}

/// Cuts a line that would be too wide.
fn cut(text: &str) -> String {
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(WIDTH - 1).collect();
    cut.push('…');
    cut
}

/// Fills up to a width, in the tone.
fn filled(paint: Paint, tone: Tone, text: &str, width: usize) -> String {
    let padding = width.saturating_sub(text.chars().count());
    format!("{}{}", paint.paint(tone, text), " ".repeat(padding))
}

/// What a cell says in its tone: the code as expected, `✗` and what came instead, or `!` when it left something.
fn word(played: &Played) -> (Tone, String) {
    let came = short_got(&played.got);
    if !played.is_answered_as_expected() {
        (Tone::Bad, format!("✗ {came}"))
    } else if !played.wrongs.is_empty() {
        (Tone::Bad, format!("! {came}"))
    } else if came == "ok" {
        (Tone::Good, came.to_owned())
    } else {
        (Tone::Plain, came.to_owned())
    }
}

/// Writes everything.
pub fn print(report: &MatrixReport, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    let mut in_grid = BTreeMap::new();
    for played in &report.played {
        if let Place::Grid { row, kind, caller } = played.cell.place {
            in_grid.insert((kind.as_str(), row, caller), played);
        }
    }
    for kind in KINDS {
        block(&in_grid, kind, paint, out)?;
    }
    if !in_grid.is_empty() {
        legend(&in_grid, paint, out)?;
    }
    boundaries(report, paint, out)?;
    wrongs(report, paint, out)?;
    totals(report, paint, out)
}

type InGrid<'a> = BTreeMap<(&'static str, usize, Caller), &'a Played>;

fn block(in_grid: &InGrid<'_>, kind: ConversationKind, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    let callers: Vec<Caller> = Caller::ALL
        .into_iter()
        .filter(|caller| in_grid.keys().any(|(of, _, who)| *of == kind.as_str() && who == caller))
        .collect();
    if callers.is_empty() {
        return Ok(());
    }
    let columns: String = callers.iter().map(|caller| filled(paint, Tone::Plain, caller.as_str(), CELL)).collect();
    let heading = format!("{}{columns}", filled(paint, Tone::Strong, kind.as_str(), LABEL));
    writeln!(out, "{}", heading.trim_end())?;
    for (number, row) in TABLE.iter().enumerate() {
        let cell = |caller: &Caller| in_grid.get(&(kind.as_str(), number, *caller)).copied();
        if callers.iter().all(|caller| cell(caller).is_none()) {
            continue;
        }
        let of_caller = |caller: &Caller| match cell(caller) {
            Some(played) => {
                let (tone, text) = word(played);
                filled(paint, tone, &text, CELL)
            }
            // There is no such situation.
            None => filled(paint, Tone::Faint, "·", CELL),
        };
        let cells: String = callers.iter().map(of_caller).collect();
        writeln!(out, "{}", format!("{:<LABEL$}{cells}", row.label()).trim_end())?;
    }
    writeln!(out)
}

/// What the short words stand for, as far as they differ from the codes.
fn legend(in_grid: &InGrid<'_>, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    let codes: std::collections::BTreeSet<ErrorCode> =
        in_grid.values().filter_map(|played| played.got.code()).collect();
    let differ = codes.into_iter().filter(|code| short(*code) != code.as_str());
    let words: Vec<String> = differ.map(|code| format!("{} = {code}", short(code))).collect();
    let wrong = "✗ = something else came, ! = it left something, · = no such situation";
    for line in [words.join(", "), wrong.to_owned()] {
        if !line.is_empty() {
            writeln!(out, "{}", paint.paint(Tone::Faint, &cut(&line)))?;
        }
    }
    writeln!(out)
}

fn boundaries(report: &MatrixReport, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    let mut cells = report.played.iter().filter(|played| played.cell.place == Place::Boundary).peekable();
    if cells.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "{}", paint.paint(Tone::Strong, "boundaries"))?;
    for played in cells {
        let (sign, tone) = if played.is_as_expected() { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
        let line = cut(&format!("  {:<NAME$} {}", played.cell.name, played.cell.expected));
        // The sign takes two of the columns.
        let line: String = line.chars().skip(2).collect();
        writeln!(out, "{} {line}", paint.paint(tone, sign))?;
    }
    writeln!(out)
}

fn wrongs(report: &MatrixReport, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    for played in report.mismatches() {
        writeln!(out, "{}", paint.paint(Tone::Bad, &cut(&format!("✗ {}", played.cell.name))))?;
        if !played.is_answered_as_expected() {
            writeln!(out, "{}", cut(&format!("    expected  {}", played.cell.expected)))?;
            writeln!(out, "{}", cut(&format!("    came      {}", played.got)))?;
        }
        for wrong in &played.wrongs {
            writeln!(out, "{}", cut(&format!("    but       {wrong}")))?;
        }
    }
    for problem in &report.problems {
        writeln!(out, "{}", paint.paint(Tone::Bad, &cut(&format!("✗ {problem}"))))?;
    }
    Ok(())
}

fn totals(report: &MatrixReport, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    let totals = Totals::of(report);
    let tone = if report.is_as_expected() { Tone::Good } else { Tone::Bad };
    let line = format!(
        "{} cells, {} as expected; {} of {} that must be refused were, and changed nothing ({:.1} s)",
        totals.cells,
        totals.as_expected,
        totals.refused_and_unchanged,
        totals.to_be_refused,
        report.took.as_secs_f64(),
    );
    writeln!(out, "{}", paint.paint(tone, &cut(&line)))
}

/// The figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Every cell.
    pub cells: usize,
    /// Those that came and left as they must.
    pub as_expected: usize,
    /// Those that must be refused.
    pub to_be_refused: usize,
    /// Those of them that were, and left nothing.
    pub refused_and_unchanged: usize,
}

impl Totals {
    /// Counts.
    pub fn of(report: &MatrixReport) -> Self {
        let count = |is: fn(&Played) -> bool| report.played.iter().filter(|played| is(played)).count();
        Self {
            cells: report.played.len(),
            as_expected: count(Played::is_as_expected),
            to_be_refused: count(|played| played.cell.expected.is_refused()),
            refused_and_unchanged: count(Played::is_refused_and_unchanged),
        }
    }
}

/// The same as one JSON object.
pub fn json(report: &MatrixReport) -> Value {
    let totals = Totals::of(report);
    let of_cell = |played: &Played| {
        json!({
            "name": played.cell.name,
            "event": played.cell.event,
            "expected": played.cell.expected.to_string(),
            "got": played.got.to_string(),
            "code": played.got.code(),
            "as_expected": played.is_as_expected(),
            "wrongs": played.wrongs,
        })
    };
    json!({
        "verdict": if report.is_as_expected() { "pass" } else { "fail" },
        "cells": totals.cells,
        "as_expected": totals.as_expected,
        "to_be_refused": totals.to_be_refused,
        "refused_and_unchanged": totals.refused_and_unchanged,
        "took_ms": u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        "problems": report.problems,
        "matrix": report.played.iter().map(of_cell).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ackscope_protocol::error::WireError;

    use super::*;
    use crate::matrix::{Cell, Expected, cells};

    fn as_expected(cell: Cell) -> Played {
        let got = match &cell.expected {
            Expected::Ok => Got::Ok { seen: None },
            Expected::OkAnd(seen) => Got::Ok { seen: Some(seen.clone()) },
            Expected::Refused(code) => Got::Refused { error: WireError::new(*code, "no"), seen: None },
            Expected::RefusedAnd(code, seen) => {
                Got::Refused { error: WireError::new(*code, "no"), seen: Some(seen.clone()) }
            }
            Expected::Naming(field) => {
                let error = WireError::new(ErrorCode::InvalidPayload, format!("field `{field}`: no"));
                Got::Refused { error, seen: None }
            }
        };
        Played { cell, got, wrongs: Vec::new() }
    }

    fn report(change: impl Fn(&mut Played)) -> MatrixReport {
        let mut played: Vec<Played> = cells().into_iter().map(as_expected).collect();
        played.iter_mut().for_each(change);
        MatrixReport { played, problems: Vec::new(), took: Duration::from_millis(12_345) }
    }

    fn printed(report: &MatrixReport) -> String {
        let mut out = Vec::new();
        print(report, Paint::OFF, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn everything_as_expected_is_printed_within_the_width() {
        let report = report(|_| {});
        assert!(report.is_as_expected());
        let text = printed(&report);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH && !line.contains('…'), "{line}");
            assert_eq!(line.trim_end(), line);
        }
        for kind in ["direct  ", "group  ", "channel  "] {
            assert!(text.lines().any(|line| line.starts_with(kind)), "{kind}");
        }
        let row = text.lines().find(|line| line.starts_with("message:edit, another's")).unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["message:edit,", "another's", "not_owner", "not_found"]
        );
        assert!(!text.contains('✗') || text.matches('✗').count() == 1, "only the legend has the sign");
        let cells = report.played.len();
        assert!(text.contains(&format!("{cells} cells, {cells} as expected")), "{text}");
        assert!(text.ends_with("changed nothing (12.3 s)\n"));
    }

    #[test]
    fn a_mismatch_says_what_came_instead() {
        let name = "message:send / stranger / group";
        let report = report(|played| {
            if played.cell.name == name {
                played.got = Got::Ok { seen: None };
            }
        });
        assert!(!report.is_as_expected());
        let text = printed(&report);
        assert!(text.contains("✗ ok"), "{text}");
        assert!(text.contains(&format!("✗ {name}\n    expected  not_found\n    came      ok\n")), "{text}");
        let json = json(&report);
        assert_eq!(json["verdict"], "fail");
        assert_eq!(json["as_expected"], report.played.len() - 1);
    }

    #[test]
    fn a_refusal_that_left_something_is_a_mismatch() {
        let name = "message:send / removed / channel";
        let report = report(|played| {
            if played.cell.name == name {
                played.wrongs.push("the log has a record of message.sent".to_owned());
            }
        });
        assert!(!report.is_as_expected());
        let totals = Totals::of(&report);
        assert_eq!(totals.refused_and_unchanged + 1, totals.to_be_refused);
        let text = printed(&report);
        assert!(text.contains("! not_part"), "{text}");
        assert!(text.contains(&format!("✗ {name}\n    but       the log has a record of message.sent\n")), "{text}");
    }

    #[test]
    fn what_belongs_to_no_cell_fails_too() {
        let report = MatrixReport { problems: vec!["the log has a record".to_owned()], ..report(|_| {}) };
        assert!(!report.is_as_expected());
        assert!(printed(&report).contains("✗ the log has a record\n"));
    }
}
