//! Everything of a run but its timeline: verdict, facts, steps, latencies against budgets, audit.

use std::collections::BTreeMap;
use std::time::Duration;

use ackscope_protocol::ids::{MessageId, UserId};

use super::markup::Markup;
use super::{Run, badge, counted, grouped, lane_id, micros};
use crate::audit::{Audit, Concerned, Promises};
use crate::history::excerpt;
use crate::latency::{Measure, Percentile};
use crate::scenario::outcome::{RunReport, StepOutcome, StepResult};
use crate::scenario::period::short;

/// Most lanes that are named for one failed step.
const LANES_OF_A_STEP: usize = 12;
/// Most characters of a message where it is a link.
const LINK_CHARS: usize = 40;

/// The name, the verdict and what it rests on.
pub(super) fn heading(page: &mut Markup, run: &Run<'_>) {
    let report = run.report;
    page.raw("<header><h2>");
    badge(page, report.verdict());
    page.raw(" ").words(&report.scenario).raw("</h2>\n");
    if let Some(reason) = &report.environment_failed {
        page.raw("<p class=\"alert\"><strong>The environment failed:</strong> ").words(reason).raw("</p>\n");
    }
    figures(page, run);
    page.raw("<dl class=\"facts\">");
    fact(page, "File", &report.file_name);
    // The reason begins with the backend's name, as the terminal prints it.
    let named = report.backend_reason.starts_with(report.backend.as_str());
    if named {
        fact(page, "Backend", &report.backend_reason);
    } else {
        fact(page, "Backend", &format_args!("{} {}", report.backend.as_str(), report.backend_reason));
    }
    fact(page, "Seed", &report.seed);
    fact(page, "Version", concat!("Ackscope ", env!("CARGO_PKG_VERSION")));
    fact(page, "Recording", &format_args!("{}, {}", run.recording, counted(report.events.len(), "event")));
    page.raw("</dl></header>\n");
}

fn fact(page: &mut Markup, name: &'static str, value: &(impl std::fmt::Display + ?Sized)) {
    page.raw("<div><dt>").raw(name).raw("</dt><dd>").words(value).raw("</dd></div>");
}

/// The four or five numbers that people look for first.
fn figures(page: &mut Markup, run: &Run<'_>) {
    let report = run.report;
    let steps: Vec<_> = report.steps.iter().filter(|step| !step.is_mark).collect();
    let of = |is: fn(&StepOutcome) -> bool| steps.iter().filter(|step| is(&step.outcome)).count();
    let failed = of(|outcome| matches!(outcome, StepOutcome::Failed { .. }));
    let inconclusive = of(|outcome| matches!(outcome, StepOutcome::Inconclusive { .. }));
    let skipped = of(|outcome| *outcome == StepOutcome::Skipped);
    let over = report.budgets.iter().filter(|budget| !budget.kept).count();

    page.raw("<ul class=\"figures\">");
    let bad = [(failed, "failed"), (inconclusive, "inconclusive"), (skipped, "skipped")];
    figure(page, &grouped(&steps.len()), "steps", &bad, "all passed");
    let promises = report.audit.promises.total();
    let kept = if promises == 0 { "none checked" } else { "all kept" };
    figure(page, &grouped(&promises), "promises", &[(report.audit.broken as usize, "broken")], kept);
    let kept = if report.budgets.is_empty() { "none set" } else { "all kept" };
    figure(page, &grouped(&report.budgets.len()), "budgets", &[(over, "exceeded")], kept);
    let wrong = [(run.lanes.wrong, "to look at")];
    figure(page, &grouped(&run.lanes.total), "messages", &wrong, "nothing unusual");
    figure(page, &micros(report.took_us), "in all", &[], "real time");
    page.raw("</ul>\n");
}

fn figure(page: &mut Markup, number: &str, what: &'static str, bad: &[(usize, &str)], good: &str) {
    let bad: Vec<_> =
        bad.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{} {what}", grouped(count))).collect();
    page.raw("<li><b>").text(number).raw("</b> ").raw(what).raw(" <span");
    if bad.is_empty() {
        page.raw(">").text(good);
    } else {
        page.raw(" class=\"bad\">").text(&bad.join(", "));
    }
    page.raw("</span></li>");
}

/// A table of the steps; a failed one says what was expected and found, and leads to the messages.
pub(super) fn steps(page: &mut Markup, run: &Run<'_>) {
    page.raw("<section><h3>Steps</h3>\n");
    if run.report.steps.is_empty() {
        page.raw("<p>There were no steps.</p></section>\n");
        return;
    }
    page.raw("<table class=\"steps\"><thead><tr><th scope=\"col\" class=\"num\">#</th><th scope=\"col\">Outcome</th>");
    page.raw("<th scope=\"col\">Step</th><th scope=\"col\" class=\"num\">Line</th>");
    page.raw("<th scope=\"col\" class=\"num\">Took</th></tr></thead><tbody>\n");
    for step in &run.report.steps {
        self::step(page, run, step);
    }
    page.raw("</tbody></table></section>\n");
}

fn step(page: &mut Markup, run: &Run<'_>, step: &StepResult) {
    if step.is_mark {
        page.raw("<tr class=\"mark\"><td class=\"num\">").text(&step.number);
        page.raw("</td><th scope=\"row\" colspan=\"4\">").words(&step.title).raw("</th></tr>\n");
        return;
    }
    let (class, word) = match &step.outcome {
        StepOutcome::Passed => ("good", "✓ passed"),
        StepOutcome::Failed { .. } => ("bad", "✗ failed"),
        StepOutcome::Inconclusive { .. } => ("warn", "? inconclusive"),
        StepOutcome::Skipped => ("faint", "– skipped"),
    };
    page.raw("<tr").attr("class", class).raw("><td class=\"num\">").text(&step.number);
    page.raw("</td><td class=\"outcome\">").raw(word).raw("</td><th scope=\"row\">").words(&step.title);
    match &step.outcome {
        StepOutcome::Failed { expected, found } => {
            page.raw("<dl class=\"why\"><dt>Expected</dt><dd>").words(expected);
            page.raw("</dd><dt>Found</dt><dd class=\"bad\">").words(found).raw("</dd>");
            messages_of_step(page, run, step);
            page.raw("</dl>");
        }
        StepOutcome::Inconclusive { reason } => {
            page.raw("<dl class=\"why\"><dt>Why</dt><dd>").words(reason).raw("</dd>");
            messages_of_step(page, run, step);
            page.raw("</dl>");
        }
        StepOutcome::Passed | StepOutcome::Skipped => {}
    }
    page.raw("</th><td class=\"num\">").text(&step.line).raw("</td><td class=\"num\">");
    if step.outcome != StepOutcome::Skipped {
        page.text(&micros(step.took_us));
    }
    page.raw("</td></tr>\n");
}

fn messages_of_step(page: &mut Markup, run: &Run<'_>, step: &StepResult) {
    if step.messages.is_empty() {
        return;
    }
    page.raw("<dt>Lanes</dt><dd>");
    for (index, id) in step.messages.iter().take(LANES_OF_A_STEP).enumerate() {
        if index > 0 {
            page.raw(" ");
        }
        let lane = run.lanes.drawn.iter().find(|lane| lane.message.message_id == *id);
        let name = lane.map(|lane| {
            let sender = lane.message.sender.as_ref().map_or("somebody", UserId::as_str);
            let text = excerpt(lane.message.text.as_deref().unwrap_or("(no text)"), LINK_CHARS);
            format!("{sender}: {text}")
        });
        lane_link(page, run, *id, &name.unwrap_or_else(|| format!("message {id}")));
    }
    if let Some(more) = step.messages.len().checked_sub(LANES_OF_A_STEP).filter(|more| *more > 0) {
        page.raw(" and ").text(&grouped(&more)).raw(" more");
    }
    page.raw("</dd>");
}

/// A link to a lane, or the name alone where the lane is not drawn.
fn lane_link(page: &mut Markup, run: &Run<'_>, message_id: MessageId, name: &str) {
    match run.lanes.number_of(message_id) {
        Some(lane) => {
            page.raw("<a class=\"lane-link\"").attr("href", &format_args!("#{}", lane_id(run.number, lane)));
            page.raw(">").words(name).raw("</a>");
        }
        None => {
            page.raw("<span class=\"lane-link\">").words(name).raw(" <i>(no lane here)</i></span>");
        }
    }
}

/// Latencies against the budgets: a row for each measure, a column for each percentile.
pub(super) fn latencies(page: &mut Markup, run: &Run<'_>) {
    page.raw("<section><h3>Latencies and budgets</h3>\n");
    let rows: Vec<_> =
        Measure::rows(&run.report.budgets).into_iter().filter(|measure| has_row(run.report, *measure)).collect();
    if rows.is_empty() {
        page.raw("<p>Nothing was measured, and there are no budgets.</p></section>\n");
        return;
    }
    page.raw("<table class=\"latencies\"><thead><tr><th scope=\"col\">From the send to</th>");
    page.raw("<th scope=\"col\" class=\"num\">Count</th>");
    let mut percentiles = vec![Percentile::P50, Percentile::P90, Percentile::P99, Percentile::P99_9, Percentile::MAX];
    percentiles.extend(run.report.budgets.iter().map(|budget| budget.percentile));
    percentiles.sort_unstable();
    percentiles.dedup();
    for percentile in &percentiles {
        page.raw("<th scope=\"col\" class=\"num\">").text(&percentile.name()).raw("</th>");
    }
    page.raw("</tr></thead><tbody>\n");
    for measure in rows {
        let distribution = run.report.latencies.get(measure);
        page.raw("<tr><th scope=\"row\">").text(measure.as_str()).raw("</th><td class=\"num\">");
        page.text(&grouped(&distribution.count())).raw("</td>");
        for percentile in percentiles.iter().copied() {
            let value = distribution.at(percentile).map_or_else(|| "–".to_owned(), micros);
            page.raw("<td class=\"num\">").text(&value);
            let mut budgets = run.report.budgets.iter();
            if let Some(budget) = budgets.find(|one| one.measure == measure && one.percentile == percentile) {
                let (class, sign) = if budget.kept { ("budget good", "✓ ≤ ") } else { ("budget bad", "✗ ≤ ") };
                page.raw("<span").attr("class", class).raw(">").raw(sign);
                page.text(&short(Duration::from_micros(budget.limit_us)));
                if budget.measured_us.is_none() {
                    page.raw(", nothing was measured");
                }
                page.raw("</span>");
            }
            page.raw("</td>");
        }
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table></section>\n");
}

fn has_row(report: &RunReport, measure: Measure) -> bool {
    report.latencies.get(measure).count() > 0 || report.budgets.iter().any(|budget| budget.measure == measure)
}

/// What was promised, what was broken, and the messages concerned.
pub(super) fn audit(page: &mut Markup, run: &Run<'_>) {
    let audit = &run.report.audit;
    page.raw("<section><h3>Audit</h3>\n<p>");
    let total = audit.promises.total();
    if total == 0 && audit.is_clean() {
        page.raw("There was nothing to check.");
    } else if audit.is_clean() {
        page.raw("<strong class=\"good\">✓ Clean.</strong> ").text(&grouped(&total)).raw(" promises were checked.");
    } else {
        let broken = counted(audit.broken as usize, "promise");
        page.raw("<strong class=\"bad\">✗ ").text(&broken).raw(" broken</strong> of ").text(&grouped(&total));
        page.raw(" that were checked: ").text(&kinds(audit)).raw(".");
    }
    page.raw("</p>\n");
    for note in &audit.notes {
        page.raw("<p class=\"note\">Note: ").words(note).raw("</p>\n");
    }
    if !audit.findings.is_empty() {
        findings(page, run);
    }
    checked(page, audit.promises);
    page.raw("</section>\n");
}

/// `2 lost, 1 duplicate`.
fn kinds(audit: &Audit) -> String {
    let mut counts = BTreeMap::new();
    for finding in &audit.findings {
        *counts.entry(finding.kind).or_insert(0_usize) += 1;
    }
    let counts: Vec<_> = counts.iter().map(|(kind, count)| format!("{} {}", grouped(count), kind.as_str())).collect();
    counts.join(", ")
}

fn findings(page: &mut Markup, run: &Run<'_>) {
    let audit = &run.report.audit;
    page.raw("<table class=\"findings\"><thead><tr><th scope=\"col\">Finding</th><th scope=\"col\">What happened</th>");
    page.raw("<th scope=\"col\">Messages</th></tr></thead><tbody>\n");
    for finding in &audit.findings {
        page.raw("<tr><td><span class=\"kind\">").raw(finding.kind.as_str()).raw("</span></td><th scope=\"row\">");
        page.words(&finding.sentence).raw("</th><td>");
        for message in &finding.messages {
            let Concerned { message_id, temp_id, sender, excerpt } = message;
            let name = match sender {
                Some(sender) => format!("{sender}: {excerpt}"),
                None => format!("message {message_id}"),
            };
            page.raw("<div>");
            lane_link(page, run, *message_id, &name);
            if let Some(temp_id) = temp_id {
                page.raw(" <span class=\"id\">").words(temp_id).raw("</span>");
            }
            page.raw("</div>");
        }
        page.raw("</td></tr>\n");
    }
    page.raw("</tbody></table>\n");
    let more = audit.broken.saturating_sub(audit.findings.len() as u64);
    if more > 0 {
        page.raw("<p class=\"note\">And ").text(&grouped(&more)).raw(" more that are not listed.</p>\n");
    }
}

fn checked(page: &mut Markup, promises: Promises) {
    let Promises { outcomes, published, stored, seen, unseen, ordered, edited, agreed } = promises;
    page.raw("<table class=\"checked\"><caption>What was checked</caption><tbody>");
    for (count, what) in [
        (outcomes, "sends that must end in exactly one outcome"),
        (published, "delivered messages that must be published exactly once"),
        (stored, "messages that must be in the store exactly once, or not at all"),
        (seen, "pairs of message and participant who must have seen it exactly once"),
        (unseen, "pairs of message and user who must not have heard of it"),
        (ordered, "places in views and acknowledgments that must agree with the store’s order"),
        (edited, "edits that must lie in the window, and texts that the edit history must have"),
        (agreed, "entries of cache and search index that must agree with the store"),
    ] {
        page.raw("<tr><td class=\"num\">").text(&grouped(&count)).raw("</td><th scope=\"row\">").raw(what);
        page.raw("</th></tr>");
    }
    page.raw("</tbody></table>\n");
}
