//! Scenarios on several backends, beside each other: the same scenario must give the same outcome everywhere (S2).
//!
//! An outcome is the verdict and what became of each step. Times and numbers of messages stand beside it and may differ.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::paint::{Paint, Tone};
use super::{micros, put};
use crate::scenario::outcome::{RunReport, StepOutcome, Verdict};

/// Columns of a scenario's name.
const NAME_COLUMNS: usize = 26;
/// Columns of one backend.
const CELL_COLUMNS: usize = 34;

/// What came of one backend: a report or the reason why there is none, for each scenario in its order.
#[derive(Clone, Debug)]
pub struct BackendRuns {
    /// The backend as it was asked for.
    pub backend: String,
    /// One for each scenario.
    pub runs: Vec<Result<RunReport, String>>,
}

/// Whether a scenario had the same outcome on every backend it was played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Same {
    /// It had.
    Yes,
    /// It had not.
    No,
    /// It was played on fewer than two.
    NotKnown,
}

impl Same {
    /// The word as reports print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::NotKnown => "-",
        }
    }
}

/// A scenario on a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cell {
    /// The backend as it was asked for.
    pub backend: String,
    /// What the run proved.
    pub verdict: Verdict,
    /// Why it is not `pass`, one sentence.
    pub reason: Option<String>,
    /// Whether it was played at all.
    pub is_played: bool,
    /// How long all of it took, in microseconds.
    pub took_us: u64,
    /// Messages that were sent.
    pub messages: u64,
    /// Promises that the audit found broken.
    pub findings: u64,
    /// What became of each step, by its name in `steps`.
    pub steps: Vec<String>,
    /// Messages by the last state their senders were told, or the reason of a refusal.
    pub outcomes: BTreeMap<String, u64>,
}

/// A scenario on every backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TableRow {
    /// The scenario's file.
    pub file: String,
    /// A cell for each backend.
    pub cells: Vec<Cell>,
    /// Whether they have the same outcome.
    pub same: Same,
    /// The first difference, one sentence.
    pub difference: Option<String>,
}

/// Every scenario on every backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Table {
    /// The worst of the cells; `fail` also where outcomes differ.
    pub verdict: Verdict,
    /// The backends.
    pub backends: Vec<String>,
    /// The scenarios.
    pub rows: Vec<TableRow>,
}

impl Table {
    /// Of runs. `files` names the scenarios in the order of the runs.
    pub fn of(files: &[String], backends: &[BackendRuns]) -> Self {
        let rows: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(index, file)| {
                let cells = backends.iter().map(|backend| cell(&backend.backend, backend.runs.get(index))).collect();
                row(file, cells)
            })
            .collect();
        let cells = rows.iter().flat_map(|row| &row.cells).map(|cell| cell.verdict);
        let worst = cells.max().unwrap_or(Verdict::Inconclusive);
        let differs = rows.iter().any(|row| row.same == Same::No);
        Self {
            verdict: if differs { Verdict::Fail } else { worst },
            backends: backends.iter().map(|backend| backend.backend.clone()).collect(),
            rows,
        }
    }
}

fn cell(backend: &str, run: Option<&Result<RunReport, String>>) -> Cell {
    let nothing = |reason: &str| Cell {
        backend: backend.to_owned(),
        verdict: Verdict::Inconclusive,
        reason: Some(reason.to_owned()),
        is_played: false,
        took_us: 0,
        messages: 0,
        findings: 0,
        steps: Vec::new(),
        outcomes: BTreeMap::new(),
    };
    let report = match run {
        None => return nothing("it was not played"),
        Some(Err(reason)) => return nothing(reason),
        Some(Ok(report)) => report,
    };
    let outcomes = report.message_outcomes();
    Cell {
        verdict: report.verdict(),
        reason: report.why_not(),
        is_played: true,
        took_us: report.took_us,
        messages: outcomes.values().sum(),
        findings: report.audit.broken,
        steps: report.steps.iter().filter(|step| !step.is_mark).map(|step| word(&step.outcome).to_owned()).collect(),
        outcomes,
        ..nothing("")
    }
}

fn word(outcome: &StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Passed => "passed",
        StepOutcome::Failed { .. } => "failed",
        StepOutcome::Inconclusive { .. } => "inconclusive",
        StepOutcome::Skipped => "skipped",
    }
}

fn row(file: &str, cells: Vec<Cell>) -> TableRow {
    let mut played = cells.iter().filter(|cell| cell.is_played);
    let first = played.next();
    let others: Vec<_> = played.collect();
    let difference = first.and_then(|first| others.iter().find_map(|other| difference(first, other)));
    let same = match (&difference, others.is_empty()) {
        (Some(_), _) => Same::No,
        (None, true) => Same::NotKnown,
        (None, false) => Same::Yes,
    };
    TableRow { file: file.to_owned(), same, difference, cells }
}

fn difference(one: &Cell, other: &Cell) -> Option<String> {
    let (name, other_name) = (&one.backend, &other.backend);
    let steps = one.steps.len().max(other.steps.len());
    for number in 0..steps {
        let word = |cell: &Cell| cell.steps.get(number).map_or("not there", String::as_str).to_owned();
        let (here, there) = (word(one), word(other));
        if here != there {
            return Some(format!("step {} {here} on {name}, {there} on {other_name}", number + 1));
        }
    }
    let (here, there) = (one.verdict, other.verdict);
    (here != there).then(|| format!("{} on {name}, {} on {other_name}", here.as_str(), there.as_str()))
}

/// The table for people. Every line ends with a line feed.
pub fn table_text(table: &Table, paint: Paint) -> String {
    let mut heading = format!("{:<NAME_COLUMNS$}", "Scenario");
    for backend in &table.backends {
        put(&mut heading, format_args!("{backend:<CELL_COLUMNS$}"));
    }
    heading.push_str("same");
    let mut text = format!("{}\n", paint.paint(Tone::Strong, &heading));
    for row in &table.rows {
        put(&mut text, format_args!("{:<NAME_COLUMNS$}", short_name(&row.file)));
        for cell in &row.cells {
            let (sign, tone) = match cell.verdict {
                Verdict::Pass => ("✓", Tone::Good),
                Verdict::Fail => ("✗", Tone::Bad),
                Verdict::Inconclusive => ("?", Tone::Warn),
            };
            let figures = if cell.is_played {
                format!("{:>8}{:>5} sent{:>4} found", micros(cell.took_us), cell.messages, cell.findings)
            } else {
                "inconclusive".to_owned()
            };
            // The width is of what is seen, not of the colours.
            let filled = format!("{figures:<width$}", width = CELL_COLUMNS - 2);
            put(&mut text, format_args!("{} {filled}", paint.paint(tone, sign)));
        }
        let tone = if row.same == Same::No { Tone::Bad } else { Tone::Plain };
        put(&mut text, format_args!("{}\n", paint.paint(tone, row.same.as_str())));
    }
    text.push_str(&notes(table, paint));
    text
}

/// Why something did not pass; one reason that a backend has everywhere is said once.
fn notes(table: &Table, paint: Paint) -> String {
    let mut notes = String::new();
    for (index, backend) in table.backends.iter().enumerate() {
        let cells = || table.rows.iter().filter_map(|row| Some((row, row.cells.get(index)?)));
        let first = cells().next().and_then(|(_, cell)| cell.reason.as_ref().filter(|_| !cell.is_played));
        if let Some(reason) = first
            && cells().all(|(_, cell)| cell.reason.as_ref() == Some(reason))
        {
            put(&mut notes, format_args!("{}\n", paint.paint(Tone::Warn, &format!("? {backend}: {reason}"))));
            continue;
        }
        for (row, cell) in cells() {
            let Some(reason) = &cell.reason else { continue };
            let (sign, tone) = if cell.verdict == Verdict::Fail { ("✗", Tone::Bad) } else { ("?", Tone::Warn) };
            let line = format!("{sign} {} on {backend}: {reason}", short_name(&row.file));
            put(&mut notes, format_args!("{}\n", paint.paint(tone, &line)));
        }
    }
    for row in &table.rows {
        if let Some(difference) = &row.difference {
            let line = format!("≠ {}: {difference}", short_name(&row.file));
            put(&mut notes, format_args!("{}\n", paint.paint(Tone::Bad, &line)));
        }
    }
    if notes.is_empty() { notes } else { format!("\n{notes}") }
}

/// `scenarios/search-outage.yaml` is `search-outage`.
fn short_name(file: &str) -> &str {
    Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{failed_report, passed_report};

    fn runs(backend: &str, runs: Vec<Result<RunReport, String>>) -> BackendRuns {
        BackendRuns { backend: backend.to_owned(), runs }
    }

    fn files() -> Vec<String> {
        vec!["scenarios/talk.yaml".to_owned(), "scenarios/quarrel.yaml".to_owned()]
    }

    #[test]
    fn the_same_everywhere() {
        let backends = [
            runs("embedded", vec![Ok(passed_report()), Ok(passed_report())]),
            runs("containers", vec![Ok(passed_report()), Ok(passed_report())]),
        ];
        let table = Table::of(&files(), &backends);
        assert_eq!(table.verdict, Verdict::Pass);
        assert!(table.rows.iter().all(|row| row.same == Same::Yes && row.difference.is_none()));
        let expected = "\
Scenario                  embedded                          containers                        same
talk                      ✓   1.50 s    1 sent   0 found    ✓   1.50 s    1 sent   0 found    yes
quarrel                   ✓   1.50 s    1 sent   0 found    ✓   1.50 s    1 sent   0 found    yes
";
        let said = table_text(&table, Paint::OFF);
        assert_eq!(said, expected, "\n{said}");
    }

    #[test]
    fn what_differs_and_what_is_not_there_is_said() {
        let away = || Err("there is no Docker".to_owned());
        let backends = [
            runs("embedded", vec![Ok(passed_report()), Ok(failed_report())]),
            runs("containers", vec![away(), away()]),
            runs("external", vec![Ok(failed_report()), Ok(failed_report())]),
        ];
        let table = Table::of(&files(), &backends);
        assert_eq!(table.verdict, Verdict::Fail);
        assert_eq!(table.rows[0].same, Same::No);
        assert_eq!(table.rows[1].same, Same::Yes, "the same failure on both");
        let said = table_text(&table, Paint::OFF);
        let failed = "line 7: ben saw exactly: hello: expected ben to have seen exactly: hello, found nothing";
        for line in [
            "talk                      ✓   1.50 s    1 sent   0 found    ? inconclusive                    ✗ ",
            "\n? containers: there is no Docker\n",
            &format!("✗ quarrel on embedded: {failed}"),
            &format!("✗ talk on external: {failed}"),
            "≠ talk: step 2 passed on embedded, failed on external",
        ] {
            assert!(said.contains(line), "{line}\n is not in\n{said}");
        }
        assert_eq!(said.matches("there is no Docker").count(), 1);
    }

    #[test]
    fn one_backend_alone_cannot_differ_and_nothing_proves_nothing() {
        let backends =
            [runs("embedded", vec![Ok(passed_report())]), runs("external", vec![Err("no addresses".to_owned())])];
        let table = Table::of(&files()[..1], &backends);
        assert_eq!((table.rows[0].same, table.verdict), (Same::NotKnown, Verdict::Inconclusive));
        assert_eq!(Table::of(&[], &backends).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn a_step_more_is_a_difference() {
        let mut longer = passed_report();
        longer.steps.push(longer.steps[1].clone());
        let backends = [runs("embedded", vec![Ok(passed_report())]), runs("containers", vec![Ok(longer)])];
        let table = Table::of(&files()[..1], &backends);
        assert_eq!(table.rows[0].difference.as_deref(), Some("step 3 not there on embedded, passed on containers"));
    }
}
