//! What the store, the cache, the log and the search index hold, formatted and raw. Follows the selected message.

use ackscope_protocol::control::{Command, Inspected, Place};
use ackscope_protocol::{ConversationId, MessageId, Timestamp};
use egui::accesskit::Role;
use egui::{
    Align, ComboBox, DragValue, Frame, Layout, Margin, RichText, ScrollArea, Sense, TextEdit, TextStyle, Ui, Vec2,
};

use super::{Action, Scene, widgets};
use crate::format::{self, duration};
use crate::theme::{RADIUS, space, strong_family};

/// While more happens, what is shown is asked for again after this time, in seconds.
const REFRESH_SECS: f64 = 1.5;
/// From this width on, the list and what is chosen in it stand side by side.
const WIDE: f32 = 620.0;
/// Records of one page, as the harness gives them.
const PAGE: u64 = 100;

/// What is looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tab {
    #[default]
    Message,
    Conversations,
    Messages,
    Cache,
    Records,
    Index,
}

impl Tab {
    const ALL: [Self; 6] =
        [Self::Message, Self::Conversations, Self::Messages, Self::Cache, Self::Records, Self::Index];

    fn title(self) -> &'static str {
        match self {
            Self::Message => "Selected message",
            Self::Conversations => "Conversations",
            Self::Messages => "Messages",
            Self::Cache => "Cache",
            Self::Records => "Records",
            Self::Index => "Index",
        }
    }
}

#[derive(Debug)]
struct Found {
    place: Place,
    rows: Vec<Inspected>,
    more: bool,
    business_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Asked {
    place: Place,
    at_secs: f64,
    /// Events of the run when it was asked: the same number means nothing new.
    events: u64,
    is_answered: bool,
}

/// The pane's own state.
#[derive(Debug)]
pub struct Inspector {
    tab: Tab,
    topic: String,
    partition: u32,
    from_offset: Option<u64>,
    conversation_id: Option<ConversationId>,
    before_seq: Option<u64>,
    after: Option<MessageId>,
    asked: Option<Asked>,
    found: Option<Found>,
    problem: Option<String>,
    /// Kind and key of the row that is chosen: a message and its index entry have the same key.
    chosen: Option<(String, String)>,
    is_raw: bool,
}

impl Default for Inspector {
    fn default() -> Self {
        Self {
            tab: Tab::default(),
            topic: "message.sent".to_owned(),
            partition: 0,
            from_offset: None,
            conversation_id: None,
            before_seq: None,
            after: None,
            asked: None,
            found: None,
            problem: None,
            chosen: None,
            is_raw: false,
        }
    }
}

impl Inspector {
    /// Looks into a place from now on.
    pub fn show(&mut self, place: Place) {
        match place {
            // The pane follows the selection.
            Place::Message { .. } => self.tab = Tab::Message,
            Place::Conversations { .. } => self.tab = Tab::Conversations,
            Place::Messages { conversation_id, before_seq } => {
                self.tab = Tab::Messages;
                self.conversation_id = Some(conversation_id);
                self.before_seq = before_seq;
            }
            Place::Cache => self.tab = Tab::Cache,
            Place::Records { topic, partition, from_offset } => {
                self.tab = Tab::Records;
                self.topic = topic;
                self.partition = partition;
                self.from_offset = from_offset;
            }
            Place::Index { after } => {
                self.tab = Tab::Index;
                self.after = after;
            }
        }
    }

    /// Takes what was found. An answer for a place that is no longer looked into is old.
    pub fn found(&mut self, place: Place, rows: Vec<Inspected>, more: bool, business_at: Option<Timestamp>) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.place == place) {
            asked.is_answered = true;
            self.problem = None;
            self.found = Some(Found { place, rows, more, business_at });
        }
    }

    /// Takes why nothing could be found.
    pub fn failed(&mut self, place: &Place, reason: String) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.place == *place) {
            asked.is_answered = true;
            self.problem = Some(reason);
        }
    }

    /// Forgets what belongs to a run.
    pub fn forget_run(&mut self) {
        *self = Self { tab: self.tab, topic: std::mem::take(&mut self.topic), is_raw: self.is_raw, ..Self::default() };
    }

    fn place(&self, scene: &Scene<'_>) -> Option<Place> {
        Some(match self.tab {
            Tab::Message => Place::Message { message_id: scene.selected? },
            Tab::Conversations => Place::Conversations { user: None },
            Tab::Messages => Place::Messages {
                conversation_id: scene
                    .selected
                    .and_then(|message_id| scene.run.lane_of(message_id)?.conversation_id)
                    .or(self.conversation_id)?,
                before_seq: self.before_seq,
            },
            Tab::Cache => Place::Cache,
            Tab::Records => {
                Place::Records { topic: self.topic.clone(), partition: self.partition, from_offset: self.from_offset }
            }
            Tab::Index => Place::Index { after: self.after },
        })
    }

    /// Draws the pane.
    pub fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let tokens = scene.tokens;
        Frame::new().inner_margin(Margin::symmetric(14, 10)).show(ui, |ui| {
            self.tabs_ui(ui, scene);
            if self.tab == Tab::Records {
                self.records_ui(ui, scene);
            }
            let Some(place) = self.place(scene) else {
                let (title, text) = match self.tab {
                    Tab::Messages => ("No conversation yet", "Select a message: its conversation is shown here"),
                    _ => ("No message selected", "Click a message, or press the Up and Down keys"),
                };
                widgets::empty_state(ui, tokens, title, text, |_| {});
                return;
            };
            self.ask(ui, scene, &place, false);
            if let Some(problem) = &self.problem {
                ui.label(RichText::new(format!("It could not be looked into: {problem}")).color(tokens.rejected));
                if ui.button("Try again").clicked() {
                    self.ask(ui, scene, &place, true);
                }
                return;
            }
            let Some(found) = self.found.take_if(|found| found.place == place) else {
                let text = if scene.is_ready { "Looking…" } else { "Not connected: looked into as soon as it is" };
                ui.label(widgets::weak(tokens, text));
                return;
            };
            if found.rows.is_empty() {
                widgets::empty_state(ui, tokens, "Nothing is there", nothing(&place), |_| {});
            } else {
                self.found_ui(ui, scene, &found);
            }
            self.found = Some(found);
        });
    }

    fn tabs_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = Vec2::splat(space::XS);
            for tab in Tab::ALL {
                let text = RichText::new(tab.title()).text_style(TextStyle::Small);
                if ui.add(egui::Button::selectable(self.tab == tab, text)).clicked() && self.tab != tab {
                    self.tab = tab;
                    (self.chosen, self.before_seq, self.after) = (None, None, None);
                }
            }
            ui.separator();
            ui.checkbox(&mut self.is_raw, "Raw").on_hover_text("As it is stored, on one line");
            let refresh = ui.add_enabled(scene.is_ready, egui::Button::new("Refresh").small());
            if refresh.clicked() {
                self.asked = None;
            }
        });
    }

    fn records_ui(&mut self, ui: &mut Ui, scene: &Scene<'_>) {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = Vec2::splat(space::XS);
            let topics = scene.run.flow().topics();
            let before = (self.topic.clone(), self.partition);
            let combo =
                ComboBox::from_id_salt("topic").selected_text(self.topic.as_str()).width(150.0).show_ui(ui, |ui| {
                    for topic in topics
                        .iter()
                        .map(|topic| &**topic)
                        .chain(TOPICS.iter().copied().filter(|known| !topics.iter().any(|topic| **topic == **known)))
                    {
                        ui.selectable_value(&mut self.topic, topic.to_owned(), topic);
                    }
                });
            combo.response.accessible_name("Topic");
            let label = ui.label("Partition");
            ui.add(DragValue::new(&mut self.partition).range(0..=1_023)).labelled_by(label.id);
            if before != (self.topic.clone(), self.partition) {
                self.from_offset = None;
            }
            let first = self.found.as_ref().and_then(|found| found.rows.iter().filter_map(offset_of).min());
            let last = self.found.as_ref().and_then(|found| found.rows.iter().filter_map(offset_of).max());
            if ui.add_enabled(first.is_some_and(|first| first > 0), egui::Button::new("Earlier").small()).clicked()
                && let Some(first) = first
            {
                self.from_offset = Some(first.saturating_sub(PAGE));
            }
            let more = self.found.as_ref().is_some_and(|found| found.more) && self.from_offset.is_some();
            if ui.add_enabled(more, egui::Button::new("Later").small()).clicked()
                && let Some(last) = last
            {
                self.from_offset = Some(last + 1);
            }
            if ui.add_enabled(self.from_offset.is_some(), egui::Button::new("Newest").small()).clicked() {
                self.from_offset = None;
            }
        });
    }

    /// Asks when there is reason to: another place, or news and some time.
    fn ask(&mut self, ui: &Ui, scene: &mut Scene<'_>, place: &Place, again: bool) {
        if !scene.is_ready {
            return;
        }
        let now_secs = ui.input(|input| input.time);
        let events = scene.run.counts().events;
        let is_due = match &self.asked {
            Some(asked) if asked.place == *place && !again => {
                let is_old = now_secs - asked.at_secs >= REFRESH_SECS;
                if asked.events != events && !is_old {
                    ui.request_repaint_after_secs((REFRESH_SECS - (now_secs - asked.at_secs)) as f32 + 0.01);
                }
                asked.is_answered && asked.events != events && is_old
            }
            _ => true,
        };
        if is_due {
            self.asked = Some(Asked { place: place.clone(), at_secs: now_secs, events, is_answered: false });
            self.problem = None;
            scene.command(Command::Inspect { place: place.clone() });
        }
    }

    fn found_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, found: &Found) {
        if !found.rows.iter().any(|row| self.is_chosen(row)) {
            // What belongs to the selected message is what one came for.
            let about = found.rows.iter().find(|row| row.message_id.is_some() && row.message_id == scene.selected);
            self.chosen = about.or(found.rows.first()).map(|row| (row.kind.clone(), row.key.clone()));
        }
        let is_wide = ui.available_width() >= WIDE;
        let (width, height) = (ui.available_width(), ui.available_height());
        if is_wide {
            ui.horizontal_top(|ui| {
                let layout = Layout::top_down(Align::Min);
                ui.allocate_ui_with_layout(Vec2::new(width * 0.42, height), layout, |ui| {
                    self.list_ui(ui, scene, found, height);
                });
                ui.vertical(|ui| self.detail_ui(ui, scene, found));
            });
        } else {
            self.list_ui(ui, scene, found, (height * 0.45).max(90.0));
            ui.separator();
            self.detail_ui(ui, scene, found);
        }
    }

    fn is_chosen(&self, row: &Inspected) -> bool {
        self.chosen.as_ref().is_some_and(|(kind, key)| *kind == row.kind && *key == row.key)
    }

    fn list_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, found: &Found, height: f32) {
        let tokens = scene.tokens;
        ScrollArea::vertical().id_salt("found").max_height(height).auto_shrink([false, true]).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            for row in &found.rows {
                let is_chosen = self.is_chosen(row);
                let (rect, response) =
                    ui.allocate_exact_size(Vec2::new((ui.available_width() - 8.0).max(0.0), 36.0), Sense::click());
                let left_ms = ttl_left_ms(row, found.business_at, scene.business_now);
                let ttl = left_ms.map(|left_ms| format!("{} left", duration(left_ms.saturating_mul(1_000))));
                let said = format!("{}: {}, {}", row.kind, row.key, row.summary);
                let said = ttl.as_ref().map_or_else(|| said.clone(), |ttl| format!("{said}, {ttl}"));
                widgets::name(&response, Role::ListItem, &said);
                if ui.is_rect_visible(rect) {
                    let is_selected = row.message_id.is_some() && row.message_id == scene.selected;
                    if is_chosen || response.hovered() || response.has_focus() {
                        let fill = if is_chosen { tokens.accent_soft } else { tokens.raised };
                        ui.painter().rect_filled(rect, RADIUS, fill);
                    }
                    if is_selected {
                        let mark = egui::Rect::from_min_size(rect.min, Vec2::new(3.0, rect.height()));
                        ui.painter().rect_filled(mark, 0.0, tokens.accent);
                    }
                    let inner = rect.shrink2(Vec2::new(8.0, 2.0));
                    let (top, bottom) = inner.split_top_bottom_at_y(inner.center().y);
                    let head = match &ttl {
                        Some(ttl) => format!("{}  ·  {ttl}", row.key),
                        None => row.key.clone(),
                    };
                    let strong = egui::FontId::new(12.5, strong_family());
                    widgets::line_in(ui, top, &format!("{} {head}", row.kind), strong, tokens.text);
                    let small = TextStyle::Small.resolve(ui.style());
                    widgets::line_in(ui, bottom, &row.summary, small, tokens.text_weak);
                }
                if response.clicked() {
                    self.chosen = Some((row.kind.clone(), row.key.clone()));
                    if let Some(message_id) = row.message_id.filter(|_| self.tab != Tab::Message) {
                        scene.ask(Action::Select(Some(message_id)));
                    }
                }
            }
            if found.more && self.tab != Tab::Records {
                let text = format!("The first {} are shown", found.rows.len());
                ui.label(widgets::small(tokens, text));
                let last = found.rows.last();
                match self.tab {
                    Tab::Messages => {
                        let seq = last.and_then(|row| row.value.get("seq")?.as_u64());
                        if seq.is_some() && ui.button("Earlier messages").clicked() {
                            self.before_seq = seq;
                        }
                    }
                    Tab::Index => {
                        let after = last.and_then(|row| row.message_id);
                        if after.is_some() && ui.button("More entries").clicked() {
                            self.after = after;
                        }
                    }
                    _ => {}
                }
            }
        });
        if found.rows.iter().any(|row| row.ttl_ms.is_some()) {
            ui.request_repaint_after_secs(1.0);
        }
    }

    fn detail_ui(&self, ui: &mut Ui, scene: &Scene<'_>, found: &Found) {
        let tokens = scene.tokens;
        let Some(row) = found.rows.iter().find(|row| self.is_chosen(row)) else { return };
        ScrollArea::vertical().id_salt("detail").auto_shrink(false).show(ui, |ui| {
            ui.horizontal_wrapped(|ui| {
                ui.label(RichText::new(&row.key).monospace());
                if ui.add(widgets::quiet_button(tokens, "Copy")).clicked() {
                    ui.copy_text(pretty(&row.value));
                }
            });
            for (name, value) in &row.headers {
                ui.label(widgets::small(tokens, format!("{name}: {}", format::one_line(value, 200))));
            }
            let text = if self.is_raw { row.value.to_string() } else { pretty(&row.value) };
            // Read only, and still to be selected with the pointer.
            ui.add(
                TextEdit::multiline(&mut text.as_str())
                    .font(TextStyle::Monospace)
                    .desired_width(f32::INFINITY)
                    .desired_rows(3),
            )
            .accessible_name("Value");
        });
    }
}

/// Topics of S1.6 that may not have been seen yet.
const TOPICS: [&str; 5] =
    ["message.sent", "message.edited", "message.deleted", "conversation.updated", "message.delivered"];

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

/// The offset in a key such as `message.sent/3@17`.
fn offset_of(row: &Inspected) -> Option<u64> {
    row.key.rsplit_once('@')?.1.parse().ok()
}

/// What a cache entry has left now, in milliseconds of business time.
fn ttl_left_ms(row: &Inspected, then: Option<Timestamp>, now: Option<Timestamp>) -> Option<u64> {
    let passed_ms = then.zip(now).map_or(0, |(then, now)| now.millis_since(then).max(0));
    Some(row.ttl_ms?.saturating_sub(u64::try_from(passed_ms).unwrap_or(0)))
}

fn nothing(place: &Place) -> &'static str {
    match place {
        Place::Message { .. } => {
            "Neither the store nor the log knows the message: it was rejected, or is gone for good"
        }
        Place::Conversations { .. } => "Create a conversation in a chat",
        Place::Messages { .. } => "Write a message in it",
        Place::Cache => "Conversations come into the cache when somebody writes in them",
        Place::Records { .. } => "Try another partition, or write a message",
        Place::Index { .. } => "Messages come into the index a moment after they are sent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_runs_down_and_not_below_zero() {
        let row = Inspected {
            kind: "cache".to_owned(),
            key: "conversation:1".to_owned(),
            summary: String::new(),
            message_id: None,
            ttl_ms: Some(3_600_000),
            headers: Vec::new(),
            value: serde_json::Value::Null,
        };
        let at = |ms| Some(Timestamp::from_millis(ms));
        assert_eq!(ttl_left_ms(&row, at(0), at(1_000)), Some(3_599_000));
        assert_eq!(ttl_left_ms(&row, at(0), at(3_600_001)), Some(0));
        assert_eq!(ttl_left_ms(&row, at(5_000), at(0)), Some(3_600_000));
        assert_eq!(ttl_left_ms(&row, None, at(9)), Some(3_600_000));
        assert_eq!(ttl_left_ms(&Inspected { ttl_ms: None, ..row }, at(0), at(1)), None);
    }
}
