//! A lane for each message: its states as bars, ACKs, receipts and stages as marks, and its events as a list.
//!
//! The axis is the time since the send and logarithmic, because a `pending` of 0.2 ms and a `persisted` of 200 ms
//! must both be readable and both budgets must have their place.

use ackscope_protocol::ids::UserId;
use ackscope_protocol::limits::{DELIVERED_BUDGET_MS, PENDING_BUDGET_MS};

use super::drawing::{MARGIN, breaches, name, percent};
use super::lanes::{Across, EventKind, Lane, LaneEvent, State};
use super::markup::Markup;
use super::{Run, clock, counted, lane_id, micros};
use crate::history::excerpt;

/// Where the axis begins, in microseconds: what is faster stands at its beginning.
const FIRST_US: u64 = 100;
/// Most characters of a message in its row; the recording has all.
const TEXT_CHARS: usize = 120;

/// Time since the send, logarithmic.
struct Axis {
    decades: u32,
}

impl Axis {
    /// At least to one second, so that both budgets and something beyond them are on every axis.
    fn of(lanes: &[Lane<'_>]) -> Self {
        let longest_us = lanes.iter().map(|lane| lane.end_us().saturating_sub(lane.start_us)).max().unwrap_or(0);
        let mut decades = 4;
        while decades < 9 && FIRST_US * 10_u64.pow(decades) < longest_us {
            decades += 1;
        }
        Self { decades }
    }

    /// Percent of the width.
    fn place(&self, us: u64) -> f64 {
        let decades = (us.max(FIRST_US) as f64 / FIRST_US as f64).log10();
        MARGIN + (100.0 - 2.0 * MARGIN) * (decades / f64::from(self.decades)).min(1.0)
    }

    fn labels(&self, page: &mut Markup) {
        page.raw("<svg class=\"axis\" aria-hidden=\"true\">");
        for decade in 0..=self.decades {
            let us = FIRST_US * 10_u64.pow(decade);
            let text = match us {
                0..1_000 => "0.1 ms".to_owned(),
                1_000..1_000_000 => format!("{} ms", us / 1_000),
                _ => format!("{} s", us / 1_000_000),
            };
            let anchor = match decade {
                0 => "start",
                last if last == self.decades => "end",
                _ => "middle",
            };
            page.raw("<text y=\"12\"").attr("x", &percent(self.place(us))).attr("text-anchor", anchor).raw(">");
            page.text(&text).raw("</text>");
        }
        page.raw("</svg>");
    }

    /// The lines behind every lane of a run, drawn once and used by each.
    fn grid(&self, page: &mut Markup, run: usize) {
        page.raw("<svg class=\"shapes\" aria-hidden=\"true\" width=\"0\" height=\"0\"><defs><g");
        page.attr("id", &format_args!("run-{run}-grid")).raw(">");
        let mut line = |us: u64, class: &str| {
            let at = percent(self.place(us));
            page.raw("<line y1=\"0\" y2=\"100%\"").attr("class", class).attr("x1", &at).attr("x2", &at).raw("/>");
        };
        for decade in 0..=self.decades {
            line(FIRST_US * 10_u64.pow(decade), "grid");
        }
        line(PENDING_BUDGET_MS * 1_000, "budget-pending");
        line(DELIVERED_BUDGET_MS * 1_000, "budget-outcome");
        page.raw("</g></defs></svg>\n");
    }
}

pub(super) fn table(page: &mut Markup, run: &Run<'_>) {
    let axis = Axis::of(&run.lanes.drawn);
    axis.grid(page, run.number);
    page.raw("<table class=\"lanes\"").attr("id", &format_args!("run-{}-lanes", run.number));
    page.raw("><thead><tr><th scope=\"col\" class=\"num\">Sent at</th><th scope=\"col\">Sender</th>");
    page.raw("<th scope=\"col\">Message</th><th scope=\"col\" class=\"chart\">");
    page.raw("<span class=\"hidden\">Time since sent</span>");
    axis.labels(page);
    page.raw("</th><th scope=\"col\">Outcome after</th></tr></thead><tbody>\n");
    let mut across = run.lanes.across.iter().peekable();
    for lane in &run.lanes.drawn {
        while let Some(one) = across.next_if(|one| one.at_us <= lane.start_us) {
            across_row(page, one);
        }
        lane_rows(page, run.number, &axis, lane);
    }
    across.for_each(|one| across_row(page, one));
    page.raw("</tbody></table>\n");
}

fn across_row(page: &mut Markup, one: &Across) {
    let kind = one.kind.name();
    page.raw("<tr").attr("class", &format_args!("across {kind}")).raw("><td class=\"num\">").text(&clock(one.at_us));
    page.raw("</td><td class=\"kind\">").raw(kind).raw("</td><td colspan=\"3\">").words(&one.text).raw("</td></tr>\n");
}

/// The lane, and below it the list of its events, which the script folds away.
fn lane_rows(page: &mut Markup, run: usize, axis: &Axis, lane: &Lane<'_>) {
    let id = lane_id(run, lane.number);
    let wrong = if lane.is_wrong() { "lane wrong" } else { "lane" };
    page.raw("<tr").attr("id", &id).attr("class", wrong).raw("><td");
    if lane.faults.is_empty() {
        page.raw(" class=\"num\"");
    } else {
        page.raw(" class=\"num fault\"").attr("title", &format_args!("during {}", lane.faults.join(", ")));
    }
    page.raw(">").text(&clock(lane.start_us)).raw("</td><td>");
    page.text(lane.message.sender.as_ref().map_or("?", UserId::as_str));
    page.raw("</td><th scope=\"row\"><button type=\"button\" aria-expanded=\"true\"");
    page.attr("aria-controls", &format_args!("{id}-events")).raw(">");
    page.words(&excerpt(lane.message.text.as_deref().unwrap_or("(no text)"), TEXT_CHARS));
    page.raw("</button></th><td class=\"chart\">");
    drawing(page, run, axis, lane);
    page.raw("</td><td class=\"outcome\">");
    outcome(page, lane);
    page.raw("</td></tr>\n<tr class=\"events\"").attr("id", &format_args!("{id}-events"));
    page.raw("><td></td><td colspan=\"4\">");
    events(page, lane);
    page.raw("</td></tr>\n");
}

fn drawing(page: &mut Markup, run: usize, axis: &Axis, lane: &Lane<'_>) {
    let since = |at_us: u64| at_us.saturating_sub(lane.start_us);
    let place = |at_us: u64| axis.place(since(at_us));
    page.raw("<svg class=\"lane\" role=\"img\"").attr("aria-label", &spoken(lane)).raw("><use");
    page.attr("href", &format_args!("#run-{run}-grid")).raw("/>");
    for span in &lane.spans {
        let (from, to) = (place(span.from_us), place(span.to_us));
        if to <= from {
            continue;
        }
        page.raw("<rect y=\"10\" height=\"10\"").attr("class", &format_args!("s-{}", span.state.class()));
        page.attr("x", &percent(from)).attr("width", &percent(to - from));
        let what = if span.state == State::InFlight { "sent, no answer yet" } else { span.state.name() };
        let (from, to) = (micros(since(span.from_us)), micros(since(span.to_us)));
        page.attr("data-t", &format_args!("{what}\nfrom {from} to {to} after the send")).raw("/>");
    }
    // Stages and receipts first, so that what the sender was told lies on top.
    let later = |event: &&LaneEvent| matches!(event.kind, EventKind::Sent { .. } | EventKind::Ack);
    let in_order = lane.events.iter().filter(|event| !later(event)).chain(lane.events.iter().filter(later));
    for event in in_order {
        let (shape, class, y) = match event.kind {
            EventKind::Stage => ("#shape-stage", "stage", "3"),
            EventKind::Received => ("#shape-received", "received", "23"),
            EventKind::Told => ("#shape-received", "told", "23"),
            EventKind::Sent { attempt: 1 } => ("#shape-sent", "s-in-flight", "15"),
            EventKind::Sent { .. } => ("#shape-again", "again", "15"),
            EventKind::Ack => continue,
        };
        mark(page, lane, event, &percent(place(event.at_us)), (shape, class, y));
    }
    let acks: Vec<_> = lane.events.iter().filter(|event| event.kind == EventKind::Ack).collect();
    for event in acks {
        let at = percent(place(event.at_us));
        let is_final = event.at_us == lane.state_us && event.what.starts_with(lane.state.name());
        let (shape, class) = match lane.state {
            State::Rejected if is_final => ("#shape-rejected", "s-rejected"),
            state if is_final => ("#shape-end", end_class(state)),
            _ => ("#shape-stage", "ack"),
        };
        mark(page, lane, event, &at, (shape, class, if is_final { "15" } else { "12" }));
    }
    for breach in &lane.breaches {
        page.raw("<use href=\"#shape-breach\" class=\"breach\" y=\"5\"").attr("x", &percent(place(breach.at_us)));
        let (took, budget) = (micros(breach.took_us), micros(breach.budget_us));
        page.attr("data-t", &format_args!("{} late: {took}\nthe budget is {budget}", breach.what)).raw("/>");
    }
    page.raw("</svg>");
}

fn end_class(state: State) -> &'static str {
    match state {
        State::InFlight => "s-in-flight",
        State::Pending => "s-pending",
        State::Delivered => "s-delivered",
        State::Rejected => "s-rejected",
        State::Persisted => "s-persisted",
    }
}

fn mark(page: &mut Markup, lane: &Lane<'_>, event: &LaneEvent, at: &str, look: (&str, &str, &str)) {
    let (shape, class, y) = look;
    page.raw("<use").attr("href", shape).attr("class", class).attr("x", at).attr("y", y);
    let since = micros(event.at_us.saturating_sub(lane.start_us));
    let (who, what, at) = (&event.who, &event.what, clock(event.at_us));
    page.attr("data-t", &format_args!("{who}: {what}\n{since} after the send, at {at}")).raw("/>");
}

fn outcome(page: &mut Markup, lane: &Lane<'_>) {
    page.raw("<span").attr("class", &format_args!("state t-{}", lane.state.class())).raw(">");
    match lane.state {
        _ if lane.message.sent_us.is_empty() => page.raw("never sent"),
        State::InFlight => page.raw("no answer"),
        State::Pending => page.raw("pending, no outcome"),
        state => page.raw(state.name()).raw(" <b>").text(&micros(lane.state_us - lane.start_us)).raw("</b>"),
    };
    page.raw("</span>");
    if lane.state == State::Rejected {
        let error = lane.message.acks.iter().rev().find_map(|seen| seen.ack.error.as_ref());
        if let Some(error) = error {
            page.raw(" <span class=\"code\">").text(&error.code).raw("</span>");
        }
    }
    for breach in &lane.breaches {
        page.raw(" <span class=\"flag breach\">").raw(breach.what).raw(" late: ").text(&micros(breach.took_us));
        page.raw("</span>");
    }
    if lane.has_finding {
        page.raw(" <span class=\"flag\">audit</span>");
    }
    if lane.failed_step {
        page.raw(" <span class=\"flag\">failed step</span>");
    }
    if lane.message.sent_us.len() > 1 {
        page.raw(" <span class=\"flag quiet\">sent ").text(&lane.message.sent_us.len()).raw(" times</span>");
    }
}

fn events(page: &mut Markup, lane: &Lane<'_>) {
    page.raw("<table class=\"events\"><thead><tr><th scope=\"col\" class=\"num\">Since sent</th>");
    page.raw("<th scope=\"col\" class=\"num\">In the run</th><th scope=\"col\">Who</th><th scope=\"col\">What</th>");
    page.raw("</tr></thead><tbody>");
    for event in &lane.events {
        page.raw("<tr><td class=\"num\">").text(&micros(event.at_us.saturating_sub(lane.start_us)));
        page.raw("</td><td class=\"num\">").text(&clock(event.at_us)).raw("</td><td>").text(&event.who);
        page.raw("</td><td>").words(&event.what).raw("</td></tr>");
    }
    page.raw("</tbody></table>");
    if lane.events_left_out > 0 {
        page.raw("<p class=\"note\">").text(&counted(lane.events_left_out, "more event"));
        page.raw(" in the recording.</p>");
    }
    page.raw("<p class=\"ids\">message_id ").text(&lane.message.message_id);
    if let Some(temp_id) = &lane.message.temp_id {
        page.raw(" · temp_id ").words(temp_id);
    }
    if let Some(conversation_id) = &lane.message.conversation_id {
        page.raw(" · conversation ").text(conversation_id);
    }
    page.raw("</p>");
}

/// The lane for those who hear it.
fn spoken(lane: &Lane<'_>) -> String {
    let mut text = format!("{}: {}", name(lane, 60), lane.outline());
    if !lane.breaches.is_empty() {
        text = format!("{text}; {}", breaches(lane));
    }
    let sender = lane.message.sender.as_ref();
    let seen = lane.message.seen.iter().filter(|receipt| Some(&receipt.user) != sender).count();
    if seen > 0 { format!("{text}; received {}", counted(seen, "time")) } else { text }
}
