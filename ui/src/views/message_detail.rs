//! The way of the selected message, step by step.

use std::borrow::Cow;

use ackscope_protocol::control::Place;
use ackscope_protocol::trace::{PermissionSource, Stage};
use egui::accesskit::Role;
use egui::{Color32, Frame, Margin, RichText, ScrollArea, Sense, Stroke, TextStyle, Ui, Vec2};

use super::{Action, Scene, widgets};
use crate::format::{count, duration};
use crate::state::{DELIVERED_BUDGET_US, Lane, PENDING_BUDGET_US, Run};
use crate::theme::{RADIUS, Tokens, space};

/// Most receipts listed one by one; the rest is counted.
const RECEIPTS_MAX: usize = 50;

/// Who noticed a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The sender's client.
    Sender,
    /// The backend.
    Backend,
    /// A recipient's client.
    Recipient,
}

/// What a step means for the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// One of many.
    Plain,
    /// `pending`.
    Pending,
    /// `delivered`.
    Delivered,
    /// `persisted`.
    Persisted,
    /// `rejected`.
    Rejected,
    /// A recipient saw it.
    Receipt,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When, in microseconds since the run began.
    pub at_us: u64,
    /// Who noticed it.
    pub side: Side,
    /// What it means for the eye.
    pub tone: Tone,
    /// What happened.
    pub name: String,
    /// What else is known of it.
    pub detail: String,
    /// The budget it broke, in microseconds.
    pub broken_budget_us: Option<u64>,
}

/// The steps of a message in the order of their times.
pub fn steps(run: &Run, lane: &Lane) -> Vec<Step> {
    let sender = run.user_name(lane.sender);
    let mut steps = Vec::with_capacity(lane.stages.len() + lane.receipts.len().min(RECEIPTS_MAX) + 8);
    let mut push = |at_us, side, tone, name: String, detail: String, broken_budget_us| {
        steps.push(Step { at_us, side, tone, name, detail, broken_budget_us });
    };
    for attempt in &lane.attempts {
        if let Some(at_us) = attempt.sent_us {
            let detail = if attempt.number > 1 { format!("attempt {}", attempt.number) } else { String::new() };
            push(at_us, Side::Sender, Tone::Plain, format!("Sent by {sender}"), detail, None);
        }
        // A retry has its own beginning, which the column of times does not count from.
        let since = |latency_us: Option<u64>| match latency_us {
            Some(latency_us) if attempt.number > 1 => {
                format!("{} after attempt {}", duration(latency_us), attempt.number)
            }
            _ => String::new(),
        };
        if let Some(at_us) = attempt.pending_us {
            let broken = attempt.is_pending_late().then_some(PENDING_BUDGET_US);
            let detail = since(attempt.pending_latency_us());
            push(at_us, Side::Sender, Tone::Pending, "Pending seen".to_owned(), detail, broken);
        }
        let outcome_late =
            |at_us| (attempt.is_outcome_late() && attempt.outcome_us() == Some(at_us)).then_some(DELIVERED_BUDGET_US);
        if let Some(at_us) = attempt.delivered_us {
            let detail = since(attempt.sent_us.map(|sent_us| at_us.saturating_sub(sent_us)));
            push(at_us, Side::Sender, Tone::Delivered, "Delivered seen".to_owned(), detail, outcome_late(at_us));
        }
        if let Some(at_us) = attempt.rejected_us {
            let detail =
                attempt.error.as_ref().map_or_else(String::new, |error| format!("{}: {}", error.code, error.message));
            push(at_us, Side::Sender, Tone::Rejected, "Rejected seen".to_owned(), detail, outcome_late(at_us));
        }
    }
    if let Some(at_us) = lane.persisted_us {
        let detail = "the store has it".to_owned();
        push(at_us, Side::Sender, Tone::Persisted, "Persisted seen".to_owned(), detail, None);
    }
    for stage in &lane.stages {
        let (name, detail) = describe(&stage.stage);
        push(stage.at_us, Side::Backend, Tone::Plain, name.to_owned(), detail.into_owned(), None);
    }
    for receipt in lane.receipts.iter().take(RECEIPTS_MAX) {
        let name = format!("Seen by {}", run.user_name(Some(receipt.user)));
        push(receipt.at_us, Side::Recipient, Tone::Receipt, name, String::new(), None);
    }
    // Stable: what was recorded first stays first when the times are equal.
    steps.sort_by_key(|step| step.at_us);
    steps
}

fn describe(stage: &Stage) -> (&'static str, Cow<'static, str>) {
    match stage {
        Stage::Received => ("Received", "read off the connection".into()),
        Stage::Pending => ("Pending sent", "".into()),
        Stage::Permission { source, allowed } => {
            let source = match source {
                PermissionSource::Cache => "cache",
                PermissionSource::Store => "store",
            };
            let answer = if *allowed { "allowed" } else { "refused" };
            ("Permission checked", format!("{answer}, from the {source}").into())
        }
        Stage::MediaChecked { items } => ("Media checked", count(u64::from(*items), "item", "items").into()),
        Stage::Published { topic, partition, offset } => {
            ("Published", format!("{topic}, partition {partition}, offset {offset}").into())
        }
        Stage::Delivered { seq } => ("Delivered sent", format!("seq {seq}").into()),
        Stage::Rejected { error } => ("Rejected sent", format!("{}: {}", error.code, error.message).into()),
        Stage::Broadcast { recipients } => {
            ("Broadcast", format!("to {}", count(u64::from(*recipients), "connection", "connections")).into())
        }
        Stage::Consumed { group, partition, offset } => {
            ("Consumed", format!("{group}, partition {partition}, offset {offset}").into())
        }
        Stage::Persisted { inserted, bulk } => {
            let what = if *inserted { "inserted" } else { "was there already" };
            ("Persisted", format!("{what}, bulk of {bulk}").into())
        }
        Stage::Confirmed => ("Confirmed", "came back over message.delivered".into()),
        Stage::Indexed => ("Indexed", "in the search service".into()),
        Stage::DeadLettered { reason } => ("Dead-lettered", reason.clone().into()),
    }
}

/// Draws the pane.
pub fn ui(ui: &mut Ui, scene: &mut Scene<'_>) {
    let tokens = scene.tokens;
    let run = scene.run;
    let Some(lane) = scene.selected.and_then(|message_id| run.lane_of(message_id)) else {
        let text = "Click a message, or press the Up and Down keys";
        widgets::empty_state(ui, tokens, "No message selected", text, |_| {});
        return;
    };
    Frame::new().inner_margin(Margin::symmetric(14, 10)).show(ui, |ui| {
        header_ui(ui, scene, lane);
        ui.add_space(space::XS);
        let steps = steps(run, lane);
        let receipts_left = lane.receipts.len().saturating_sub(RECEIPTS_MAX);
        ScrollArea::vertical().id_salt("steps").auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            let origin_us = lane.origin_us();
            let mut before_us = None;
            for (index, step) in steps.iter().enumerate() {
                let is_last = index + 1 == steps.len();
                // The cursor lies on the last step that is not after it.
                let is_at_cursor = scene.cursor_us.is_some_and(|cursor_us| {
                    step.at_us <= cursor_us && steps.get(index + 1).is_none_or(|next| next.at_us > cursor_us)
                });
                if step_ui(ui, tokens, step, origin_us, before_us, (index == 0, is_last), is_at_cursor) {
                    scene.ask(Action::Cursor(Some(step.at_us)));
                }
                before_us = Some(step.at_us);
            }
            ui.add_space(space::S);
            if receipts_left > 0 {
                let text = format!("and {}", count(receipts_left as u64, "more recipient", "more recipients"));
                ui.label(widgets::small(tokens, text));
            }
            if lane.stages_dropped > 0 {
                let text = format!("and {}", count(lane.stages_dropped, "more stage", "more stages"));
                ui.label(widgets::small(tokens, text));
            }
        });
    });
}

fn header_ui(ui: &mut Ui, scene: &mut Scene<'_>, lane: &Lane) {
    let tokens = scene.tokens;
    let run = scene.run;
    ui.horizontal(|ui| {
        let progress = lane.progress();
        widgets::chip(ui, tokens, tokens.progress(progress), progress.title());
        if lane.is_over_budget() {
            widgets::chip(ui, tokens, tokens.breach, "Over budget");
        }
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            if ui.add(widgets::quiet_button(tokens, "Close message")).clicked() {
                scene.ask(Action::Select(None));
            }
            let inspect = ui.add(widgets::quiet_button(tokens, "Inspect message"));
            if inspect.on_hover_text("Its document, its records, its cache and index entries").clicked() {
                scene.ask(Action::Inspect(Place::Message { message_id: lane.message_id }));
            }
        });
    });
    let text = lane.text.as_deref().unwrap_or("No text");
    ui.add(egui::Label::new(RichText::new(crate::format::one_line(text, 200)).size(16.0)).wrap());
    let place = lane
        .conversation_id
        .and_then(|conversation_id| {
            let sender = run.user(lane.sender?)?;
            Some(sender.client.conversation(conversation_id)?.title(&sender.user_id))
        })
        .map_or_else(String::new, |title| format!(" in {title}"));
    ui.label(widgets::small(tokens, format!("{}{place}", run.user_name(lane.sender))));
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 5.0;
        ui.label(widgets::small(tokens, "message_id"));
        let id = lane.message_id.to_string();
        let label =
            ui.add(egui::Label::new(RichText::new(&id).monospace().size(11.5)).sense(Sense::click()).truncate());
        if label.on_hover_text("Click to copy").clicked() {
            ui.copy_text(id);
        }
        if let Some(temp_id) = &lane.temp_id {
            ui.add_space(space::S);
            ui.label(widgets::small(tokens, "temp_id"));
            ui.add(egui::Label::new(RichText::new(temp_id.as_str()).monospace().size(11.5)).truncate());
        }
    });
}

fn tone_color(tokens: &Tokens, tone: Tone) -> Color32 {
    match tone {
        Tone::Plain => tokens.in_flight,
        Tone::Pending => tokens.pending,
        Tone::Delivered => tokens.delivered,
        Tone::Persisted => tokens.persisted,
        Tone::Rejected => tokens.rejected,
        Tone::Receipt => tokens.receipt,
    }
}

fn step_ui(
    ui: &mut Ui,
    tokens: &Tokens,
    step: &Step,
    origin_us: u64,
    before_us: Option<u64>,
    (is_first, is_last): (bool, bool),
    is_at_cursor: bool,
) -> bool {
    let has_detail = !step.detail.is_empty() || step.broken_budget_us.is_some();
    let height = 40.0;
    let (row, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), height), Sense::click());
    let since = duration(step.at_us.saturating_sub(origin_us));
    let broken = step.broken_budget_us.map(|budget_us| format!("over the budget of {}", duration(budget_us)));
    let said: Vec<&str> = [step.name.as_str(), &since, &step.detail]
        .into_iter()
        .chain(broken.as_deref())
        .filter(|s| !s.is_empty())
        .collect();
    widgets::name(&response, Role::ListItem, &said.join(", "));
    let is_clicked = response.clicked();
    if !ui.is_rect_visible(row) {
        return is_clicked;
    }
    let painter = ui.painter();
    if is_at_cursor {
        painter.rect_filled(row, RADIUS, tokens.accent_soft);
    }
    // Time since sent, and since the step before, in columns on the left.
    let mono = TextStyle::Monospace.resolve(ui.style());
    let line_y = row.top() + 13.0;
    painter.text(egui::pos2(row.left() + 74.0, line_y), egui::Align2::RIGHT_CENTER, &since, mono.clone(), tokens.text);
    if let Some(before_us) = before_us {
        let delta = format!("+{}", duration(step.at_us.saturating_sub(before_us)));
        let pos = egui::pos2(row.left() + 74.0, line_y + 15.0);
        painter.text(pos, egui::Align2::RIGHT_CENTER, delta, egui::FontId::monospace(11.0), tokens.text_weak);
    }
    // The rail with its stop.
    let x = row.left() + 92.0;
    let rail = Stroke::new(2.0, tokens.border);
    if !is_first {
        painter.vline(x, row.top()..=line_y, rail);
    }
    if !is_last {
        painter.vline(x, line_y..=row.bottom(), rail);
    }
    let color = tone_color(tokens, step.tone);
    match step.side {
        Side::Sender | Side::Recipient => {
            painter.circle_filled(egui::pos2(x, line_y), 5.0, color);
        }
        Side::Backend => {
            painter.circle(egui::pos2(x, line_y), 4.0, tokens.surface, Stroke::new(2.0, color));
        }
    }
    let left = x + 16.0;
    let name_rect = egui::Rect::from_min_max(egui::pos2(left, row.top()), egui::pos2(row.right(), row.top() + 26.0));
    widgets::line_in(ui, name_rect, &step.name, TextStyle::Body.resolve(ui.style()), tokens.text);
    if has_detail {
        let rect = egui::Rect::from_min_max(egui::pos2(left, line_y + 7.0), egui::pos2(row.right(), line_y + 23.0));
        let small = TextStyle::Small.resolve(ui.style());
        match broken {
            Some(broken) => {
                let detail = if step.detail.is_empty() { broken } else { format!("{}, {broken}", step.detail) };
                widgets::line_in(ui, rect, &detail, small, tokens.breach);
            }
            None => {
                widgets::line_in(ui, rect, &step.detail, small, tokens.text_weak);
            }
        }
    }
    if response.hovered() {
        ui.painter().rect_stroke(row, RADIUS, Stroke::new(1.0, tokens.border), egui::StrokeKind::Inside);
    }
    response.on_hover_ui(|ui| {
        ui.label(&step.name);
        if !step.detail.is_empty() {
            ui.label(&step.detail);
        }
        let side = match step.side {
            Side::Sender => "Noticed by the sender's client",
            Side::Backend => "Noticed inside the backend",
            Side::Recipient => "Noticed by the recipient's client",
        };
        ui.label(widgets::small(tokens, side));
        ui.label(widgets::small(tokens, format!("{} after the run began", duration(step.at_us))));
        if let Some(before_us) = before_us {
            ui.label(widgets::small(
                tokens,
                format!("{} after the step before", duration(step.at_us.saturating_sub(before_us))),
            ));
        }
        ui.label(widgets::small(tokens, "Click to put the time cursor here"));
    });
    is_clicked
}
