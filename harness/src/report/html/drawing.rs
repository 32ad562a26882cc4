//! The section with the timeline, and what its two drawings share.
//!
//! All places are percentages, so the drawing follows the width of the page without a script.

use ackscope_protocol::ids::UserId;
use ackscope_protocol::limits::{DELIVERED_BUDGET_MS, PENDING_BUDGET_MS};

use super::lanes::Lane;
use super::markup::Markup;
use super::strip::strip;
use super::table::table;
use super::{Run, counted, grouped, micros};
use crate::history::excerpt;

/// Room at both ends of an axis, in percent of its width.
pub(super) const MARGIN: f64 = 2.0;

/// The shapes that lanes use, once for the page.
pub(super) fn shapes(page: &mut Markup) {
    page.raw(concat!(
        "<svg class=\"shapes\" aria-hidden=\"true\" width=\"0\" height=\"0\"><defs>",
        "<path id=\"shape-received\" d=\"M-4 0H4L0 6Z\"/>",
        "<path id=\"shape-breach\" d=\"M0 -5L5 0L0 5L-5 0Z\"/>",
        "<rect id=\"shape-end\" x=\"-4\" y=\"-6\" width=\"8\" height=\"12\" rx=\"2\"/>",
        "<path id=\"shape-rejected\" d=\"M-5 -3L-3 -5L0 -2L3 -5L5 -3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0Z\"/>",
        "<circle id=\"shape-sent\" r=\"3\"/>",
        "<path id=\"shape-again\" d=\"M-3 -5L3 0L-3 5Z\"/>",
        "<rect id=\"shape-stage\" x=\"-1\" y=\"0\" width=\"2\" height=\"5\"/>",
        "</defs></svg>\n"
    ));
}

/// The timeline of a run.
pub(super) fn timeline(page: &mut Markup, run: &Run<'_>) {
    let lanes = &run.lanes;
    page.raw("<section class=\"timeline\"><h3>Timeline</h3>\n");
    if lanes.total == 0 {
        page.raw("<p>There were no messages.</p></section>\n");
        return;
    }
    strip(page, lanes);
    legend(page);
    let left_out = lanes.total - lanes.drawn.len();
    if left_out > 0 {
        page.raw("<p class=\"note\">").text(&counted(left_out, "more message")).raw(" had no room here: ");
        page.text(&grouped(&lanes.drawn.len())).raw(" of ").text(&grouped(&lanes.total));
        page.raw(
            " are drawn, first of all those with findings, of failed steps, over a budget or without an outcome. ",
        );
        page.words(&run.recording).raw(" has every event.</p>\n");
    }
    filter(page, run);
    table(page, run);
    if lanes.across_left_out > 0 {
        page.raw("<p class=\"note\">").text(&counted(lanes.across_left_out, "more mark"));
        page.raw(" (faults and connections too) are in the recording.</p>\n");
    }
    page.raw("</section>\n");
}

/// Percent with what a pixel needs.
pub(super) fn percent(place: f64) -> String {
    format!("{place:.2}%")
}

fn legend(page: &mut Markup) {
    page.raw("<ul class=\"legend\" aria-label=\"Legend\">");
    for (class, name) in [
        ("bar s-in-flight", "sent"),
        ("bar s-pending", "pending"),
        ("bar s-delivered", "delivered"),
        ("bar s-persisted", "persisted"),
        ("bar s-rejected", "rejected"),
    ] {
        page.raw("<li><i").attr("class", class).raw("></i>").raw(name).raw("</li>");
    }
    for (shape, class, name) in [
        ("#shape-received", "received", "received by somebody"),
        ("#shape-stage", "stage", "stage inside the backend"),
        ("#shape-again", "again", "sent again"),
        ("#shape-breach", "breach", "over the budget"),
    ] {
        page.raw("<li><svg width=\"12\" height=\"12\" aria-hidden=\"true\"><use x=\"6\"").attr("href", shape);
        page.attr("class", class).raw(if shape == "#shape-breach" || shape == "#shape-again" {
            " y=\"6\""
        } else {
            " y=\"3\""
        });
        page.raw("/></svg>").raw(name).raw("</li>");
    }
    page.raw("<li><i class=\"rule\"></i>budgets: pending ").text(&PENDING_BUDGET_MS).raw(" ms, outcome ");
    page.text(&DELIVERED_BUDGET_MS).raw(" ms</li></ul>\n");
}

fn filter(page: &mut Markup, run: &Run<'_>) {
    let number = run.number;
    page.raw("<div class=\"filter\"><label")
        .attr("for", &format_args!("run-{number}-filter"))
        .raw(">Filter lanes</label>");
    page.raw("<input type=\"search\" autocomplete=\"off\" spellcheck=\"false\"");
    page.raw(" placeholder=\"Text, user, state, id…\"").attr("id", &format_args!("run-{number}-filter"));
    page.attr("aria-controls", &format_args!("run-{number}-lanes"));
    page.raw("><label class=\"check\"><input type=\"checkbox\">Only those to look at (");
    page.text(&grouped(&run.lanes.drawn.iter().filter(|lane| lane.is_wrong()).count())).raw(")</label>");
    page.raw("<output aria-live=\"polite\">").text(&counted(run.lanes.drawn.len(), "lane"));
    page.raw("</output><span class=\"hint\">Arrow keys move from lane to lane and from event to event.</span></div>\n");
}

/// The message for a line: its sender and the start of its text.
pub(super) fn name(lane: &Lane<'_>, chars: usize) -> String {
    let sender = lane.message.sender.as_ref().map_or("somebody", UserId::as_str);
    format!("{sender}: {}", excerpt(lane.message.text.as_deref().unwrap_or("(no text)"), chars))
}

/// What came too late.
pub(super) fn breaches(lane: &Lane<'_>) -> String {
    let all: Vec<_> =
        lane.breaches.iter().map(|breach| format!("{} late: {}", breach.what, micros(breach.took_us))).collect();
    all.join(", ")
}
