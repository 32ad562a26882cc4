//! Runs as one HTML file that works by itself: no network, no other file, no program but a browser.
//!
//! | module | one sentence |
//! |---|---|
//! | `markup` | writes HTML so that nobody's text becomes part of it |
//! | `lanes` | what the timeline shows, as values |
//! | `summary` | verdict, facts, steps, latencies, audit |
//! | `degradation` | faults against promises, and the run's own cost |
//! | `drawing` | the section with the timeline |
//! | `strip` | the whole run as inline SVG |
//! | `table` | a lane for each message as inline SVG |
//!
//! Style and script are constants that the page's own policy names by their hashes, so a browser runs no other
//! script in it, whatever a message says. Everything is in the markup: without the script nothing but the filter,
//! the tooltips and the folding is missing.

mod degradation;
mod drawing;
mod lanes;
mod markup;
mod strip;
mod summary;
mod table;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use self::lanes::{Lanes, shares};
use self::markup::Markup;
use super::micros;
use crate::history::History;
use crate::scenario::outcome::{RunReport, Verdict};

/// Most lanes in one file, over all its runs: a browser still scrolls that with ease.
pub const LANES_MAX: usize = 2_000;

/// Colours, type and the print style.
const STYLE: &str = include_str!("report.css");
/// Filter, tooltips, keys and folding.
const SCRIPT: &str = include_str!("report.js");

/// One run on the page.
struct Run<'r> {
    /// From 1.
    number: usize,
    report: &'r RunReport,
    lanes: Lanes<'r>,
    /// The file that has every event, beside this one.
    recording: String,
}

/// The page of some runs. `recording` names the file with all events of the run at an index.
pub fn html(reports: &[RunReport], recording: impl Fn(usize) -> String) -> String {
    html_with(reports, recording, LANES_MAX)
}

fn html_with(reports: &[RunReport], recording: impl Fn(usize) -> String, lanes_max: usize) -> String {
    let histories: Vec<_> = reports.iter().map(|report| History::of(&report.events)).collect();
    let wanted: Vec<_> =
        reports.iter().zip(&histories).map(|(report, history)| Lanes::wanted(report, history)).collect();
    let runs: Vec<_> = reports
        .iter()
        .zip(&histories)
        .zip(shares(&wanted, lanes_max))
        .enumerate()
        .map(|(index, ((report, history), share))| Run {
            number: index + 1,
            report,
            lanes: Lanes::of(report, history, share),
            recording: recording(index),
        })
        .collect();

    let mut page = Markup::default();
    head(&mut page, reports);
    page.raw("<body>\n<header class=\"page\"><p class=\"brand\">Ackscope report</p>");
    if runs.len() != 1 {
        overview(&mut page, &runs);
    }
    page.raw("</header>\n<main>\n");
    drawing::shapes(&mut page);
    for run in &runs {
        page.raw("<article").attr("id", &format_args!("run-{}", run.number)).raw(">\n");
        summary::heading(&mut page, run);
        summary::steps(&mut page, run);
        summary::latencies(&mut page, run);
        summary::audit(&mut page, run);
        degradation::ledger(&mut page, run);
        drawing::timeline(&mut page, run);
        degradation::cost(&mut page, run);
        page.raw("</article>\n");
    }
    page.raw("</main>\n<footer class=\"page\">Ackscope ").text(env!("CARGO_PKG_VERSION"));
    page.raw(". Times are real time; this page needs no network.</footer>\n");
    page.raw("<div id=\"tip\" role=\"status\" aria-live=\"polite\" hidden></div>\n<script>");
    page.raw(SCRIPT).raw("</script>\n</body>\n</html>\n");
    page.into_string()
}

fn head(page: &mut Markup, reports: &[RunReport]) {
    page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw("<meta http-equiv=\"Content-Security-Policy\"").attr("content", &policy()).raw(">\n");
    page.raw("<meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"color-scheme\" content=\"light dark\">\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    page.text(word(verdict(reports))).raw(" · ");
    match reports {
        [only] => page.text(&only.scenario),
        several => page.text(&several.len()).raw(" runs"),
    };
    page.raw(" · Ackscope</title>\n<style>").raw(STYLE).raw("</style>\n</head>\n");
}

/// Nothing is loaded from anywhere; the style and the script of this page are known by their hashes.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// The worst of the runs; nothing proved where nothing ran.
fn verdict(reports: &[RunReport]) -> Verdict {
    reports.iter().map(RunReport::verdict).max().unwrap_or(Verdict::Inconclusive)
}

/// A table of the runs, above them.
fn overview(page: &mut Markup, runs: &[Run<'_>]) {
    page.raw("<h1>").text(&counted(runs.len(), "run")).raw("</h1>\n");
    if runs.is_empty() {
        page.raw("<p>Nothing was run.</p>");
        return;
    }
    page.raw("<table class=\"plain\"><thead><tr><th scope=\"col\">Verdict</th><th scope=\"col\">Scenario</th>");
    page.raw("<th scope=\"col\">File</th><th scope=\"col\" class=\"num\">Took</th></tr></thead><tbody>\n");
    for run in runs {
        page.raw("<tr><td>");
        badge(page, run.report.verdict());
        page.raw("</td><th scope=\"row\"><a").attr("href", &format_args!("#run-{}", run.number)).raw(">");
        page.words(&run.report.scenario).raw("</a></th><td>").words(&run.report.file_name);
        page.raw("</td><td class=\"num\">").text(&micros(run.report.took_us)).raw("</td></tr>\n");
    }
    page.raw("</tbody></table>\n");
}

/// The verdict as people read it.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Inconclusive => "INCONCLUSIVE",
        Verdict::Fail => "FAIL",
    }
}

fn badge(page: &mut Markup, verdict: Verdict) {
    page.raw("<span").attr("class", &format_args!("badge {}", verdict.as_str())).raw(">");
    page.text(word(verdict)).raw("</span>");
}

/// `1 step`, `2,000 steps`.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{} {what}s", grouped(&count)) }
}

/// A number with its thousands apart.
fn grouped(number: &impl Display) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The time since the run began.
fn clock(us: u64) -> String {
    format!("{}.{:03} s", grouped(&(us / 1_000_000)), us / 1_000 % 1_000)
}

/// The element of a lane.
fn lane_id(run: usize, lane: usize) -> String {
    format!("run-{run}-lane-{lane}")
}
