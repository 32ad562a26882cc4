//! Every action by its name.

use ackscope_protocol::control::{Command, Place};
use ackscope_protocol::faults::{Dependency, TABLE};
use egui::accesskit::Role;
use egui::{Key, Modifiers, RichText, ScrollArea, Sense, TextEdit, TextStyle, Ui, Vec2};

use super::timeline::{Axis, Step};
use super::{Action, Scene, faults, guide, widgets};
use crate::dock::Pane;
use crate::state::Only;
use crate::theme::{Look, RADIUS, space};

/// Most entries that are drawn: whoever looks further types more.
const SHOWN_MAX: usize = 60;
/// Most users that are named one by one.
const USERS_MAX: usize = 100;
/// Height of an entry.
const ROW: f32 = 28.0;

/// Something that can be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub title: String,
    /// Its shortcut, if it has one.
    pub keys: &'static str,
    /// What is asked for.
    pub action: Action,
}

/// The palette that is open.
#[derive(Debug, Default)]
pub struct Palette {
    query: String,
    chosen: usize,
    is_focused: bool,
}

/// Everything that can be done now. `scenarios` are the paths of files that are known.
pub fn entries<'a>(scene: &Scene<'_>, scenarios: impl Iterator<Item = &'a str>) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(128);
    let mut add = |title: String, keys: &'static str, action: Action| entries.push(Entry { title, keys, action });
    for (pane, keys) in Pane::ALL.into_iter().zip(["1", "2", "3", "4", "5", "6", "7", "8", "9"]) {
        add(format!("Show {}: {}", pane.title(), pane.about()), keys, Action::Show(pane));
    }
    for (title, keys, step) in [
        ("Timeline: count since sent", "T", Step::Count(Axis::SinceSent)),
        ("Timeline: count run time", "R", Step::Count(Axis::RunTime)),
        ("Timeline: pause or go on", "Space", Step::TogglePause),
        ("Timeline: zoom in", "+", Step::ZoomIn),
        ("Timeline: zoom out", "−", Step::ZoomOut),
        ("Timeline: back to the budgets, or to the newest", "0", Step::ResetZoom),
        ("Timeline: find messages", "Ctrl+F", Step::Find),
        ("Timeline: only over budget", "", Step::Only(Only::OverBudget)),
        ("Timeline: only rejected", "", Step::Only(Only::Rejected)),
        ("Timeline: show all messages", "", Step::ClearFilter),
        ("Timeline: select the range in view", "S", Step::RangeInView),
    ] {
        add(title.to_owned(), keys, Action::Timeline(step));
    }
    add("Clear the selected range".to_owned(), "Esc", Action::SelectRange(None));
    add("Take the time cursor away".to_owned(), "Esc", Action::Cursor(None));
    add("Select no message".to_owned(), "Esc", Action::Select(None));
    for look in Look::ALL {
        add(format!("Look: {}", look.title()), "", Action::Look(look));
    }
    for (title, zoom) in [("Size: 100 %", 1.0), ("Size: 125 %", 1.25), ("Size: 150 %", 1.5), ("Size: 200 %", 2.0)] {
        add(title.to_owned(), "Ctrl+Plus, Ctrl+Minus", Action::Zoom(zoom));
    }
    add("Reset layout".to_owned(), "", Action::ResetLayout);
    for pane in Pane::ALL {
        add(format!("Close {}", pane.title()), "", Action::Hide(pane));
    }
    add("Cheat sheet of keys".to_owned(), "?", Action::ToggleHelp);
    add("Show me around: what each pane is for".to_owned(), "", Action::Guide(guide::Go::Start));
    if let Some(message_id) = scene.selected {
        add("Inspect the selected message".to_owned(), "", Action::Inspect(Place::Message { message_id }));
        if let Some(lane) = scene.run.lane_of(message_id) {
            let action = Action::Cursor(Some(lane.origin_us()));
            add("Put the time cursor where the selected message was sent".to_owned(), "", action);
        }
    }
    for (title, place) in [
        ("Inspect conversations in the store", Place::Conversations { user: None }),
        ("Inspect the cache", Place::Cache),
        ("Inspect the search index", Place::Index { after: None }),
        (
            "Inspect records of message.sent",
            Place::Records { topic: "message.sent".to_owned(), partition: 0, from_offset: None },
        ),
    ] {
        add(title.to_owned(), "", Action::Inspect(place));
    }
    if !scene.is_ready {
        add("Connect again now".to_owned(), "", Action::RetryConnection);
        return entries;
    }
    add("Play the tour".to_owned(), "", Action::Do(Command::PlayTour));
    add("Add user…".to_owned(), "", Action::AddUser);
    for (title, by_ms) in
        [("1 minute", 60_000), ("16 minutes", 960_000), ("61 minutes", 3_660_000), ("1 day", 86_400_000)]
    {
        add(format!("Advance clock by {title}"), "", Action::Do(Command::AdvanceClock { by_ms }));
    }
    for (number, user) in scene.run.users().iter().take(USERS_MAX).enumerate() {
        let keys = ["Ctrl+1", "Ctrl+2", "Ctrl+3", "Ctrl+4", "Ctrl+5", "Ctrl+6", "Ctrl+7", "Ctrl+8", "Ctrl+9"];
        let keys = keys.get(number).copied().unwrap_or_default();
        let id = &user.user_id;
        add(format!("Write as {id}"), keys, Action::WriteAs(id.clone()));
        add(format!("New conversation of {id}…"), "", Action::NewConversation(id.clone()));
        if user.is_connected() {
            add(format!("Drop connection of {id}"), "", Action::Do(Command::DropConnection { user: id.clone() }));
        } else {
            add(format!("Reconnect {id}"), "", Action::Do(Command::Reconnect { user: id.clone() }));
        }
    }
    add("Reset all faults".to_owned(), "", Action::Do(Command::ResetFaults));
    for on in Dependency::ALL {
        if scene.run.faults().any(|fault| fault.target == on.as_str()) {
            add(format!("Heal {}", faults::name(on)), "", Action::Do(Command::Heal { on }));
        }
        for row in TABLE.iter().filter(|row| row.on.contains(&on)) {
            let title = format!("Break {}: {}", faults::name(on), faults::title(row.kind));
            add(title, "", Action::Do(Command::SetFault { on, fault: row.kind.usual() }));
        }
    }
    add("Save what was done by hand as a scenario…".to_owned(), "", Action::SaveByHand);
    for path in scenarios {
        add(format!("Open scenario {path}"), "", Action::OpenScenario(path.to_owned()));
    }
    add("Back to the live run".to_owned(), "", Action::Do(Command::ShowLive));
    add("Compare with a recording…".to_owned(), "9", Action::Show(Pane::Compare));
    add("End the comparison".to_owned(), "", Action::EndComparison);
    entries
}

/// How well a name fits what was typed: every character must stand in it, in order. Word beginnings and neighbours
/// count more. Higher is better.
pub fn score(query: &str, name: &str) -> Option<i32> {
    let mut total = 0;
    let mut name = name.char_indices().peekable();
    let (mut before, mut was_match) = (' ', false);
    for wanted in query.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase) {
        loop {
            let (index, found) = name.next()?;
            let fits = found.to_lowercase().eq([wanted]);
            if fits {
                total += 1;
                total += if was_match { 4 } else { 0 };
                total += if before.is_alphanumeric() { 0 } else { 5 };
                // Earlier is better, a little.
                total -= i32::try_from(index).unwrap_or(i32::MAX) / 16;
            }
            (before, was_match) = (found, fits);
            if fits {
                break;
            }
        }
    }
    Some(total)
}

/// The entries that fit what was typed, by their place in `entries`, the best first.
fn fitting(query: &str, entries: &[Entry]) -> Vec<(i32, usize)> {
    let fits = |(index, entry): (usize, &Entry)| Some((score(query, &entry.title)?, index));
    let mut found: Vec<(i32, usize)> = entries.iter().enumerate().filter_map(fits).collect();
    // Stable: what fits the same stays in its order.
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    found.truncate(SHOWN_MAX);
    found
}

impl Palette {
    /// Draws it. Returns whether it should close.
    pub fn ui(&mut self, ui: &Ui, scene: &mut Scene<'_>, entries: &[Entry]) -> bool {
        let tokens = scene.tokens;
        let mut found = fitting(&self.query, entries);
        let (up, down) = ui.input_mut(|input| {
            let mut pressed = |key| input.consume_key(Modifiers::NONE, key);
            (pressed(Key::ArrowUp), pressed(Key::ArrowDown))
        });
        let last = found.len().saturating_sub(1);
        self.chosen = self.chosen.min(last);
        if up {
            self.chosen = if self.chosen == 0 { last } else { self.chosen - 1 };
        }
        if down {
            self.chosen = if self.chosen == last { 0 } else { self.chosen + 1 };
        }
        let modal = widgets::modal(ui, tokens, "palette", |ui| {
            ui.set_width(520.0_f32.min(ui.ctx().content_rect().width() - 80.0));
            let field = ui.add(
                TextEdit::singleline(&mut self.query)
                    .hint_text(RichText::new("What do you want to do?").color(tokens.text_weak))
                    .desired_width(f32::INFINITY),
            );
            let field = field.accessible_name("Command");
            if !self.is_focused {
                self.is_focused = true;
                field.request_focus();
            }
            if field.changed() {
                self.chosen = 0;
                // Enter may come in the frame of the last letters.
                found = fitting(&self.query, entries);
            }
            let mut taken =
                (field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter))).then_some(self.chosen);
            ui.add_space(space::XS);
            ScrollArea::vertical().max_height(360.0).auto_shrink([false, true]).show(ui, |ui| {
                ui.spacing_mut().item_spacing.y = 1.0;
                for (row, (_, index)) in found.iter().enumerate() {
                    let Some(entry) = entries.get(*index) else { continue };
                    let (rect, response) =
                        ui.allocate_exact_size(Vec2::new((ui.available_width() - 8.0).max(0.0), ROW), Sense::click());
                    widgets::name(&response, Role::MenuItem, &entry.title);
                    let is_chosen = row == self.chosen;
                    if is_chosen && (up || down) {
                        response.scroll_to_me(None);
                    }
                    if ui.is_rect_visible(rect) {
                        if is_chosen || response.hovered() {
                            let fill = if is_chosen { tokens.accent_soft } else { tokens.raised };
                            ui.painter().rect_filled(rect, RADIUS, fill);
                        }
                        let inner = rect.shrink2(Vec2::new(8.0, 0.0));
                        let body = TextStyle::Body.resolve(ui.style());
                        let mono = TextStyle::Monospace.resolve(ui.style());
                        let room = if entry.keys.is_empty() { 0.0 } else { 150.0 };
                        let title = inner.with_max_x(inner.right() - room);
                        widgets::line_in(ui, title, &entry.title, body, tokens.text);
                        let align = egui::Align2::RIGHT_CENTER;
                        ui.painter().text(inner.right_center(), align, entry.keys, mono, tokens.text_weak);
                    }
                    if response.clicked() {
                        taken = Some(row);
                    }
                }
                if found.is_empty() {
                    ui.label(widgets::weak(tokens, "Nothing is called so; try fewer letters"));
                }
            });
            let entry = taken.and_then(|row| entries.get(found.get(row)?.1));
            if let Some(entry) = entry {
                scene.ask(entry.action.clone());
            }
            entry.is_some()
        });
        modal.inner || modal.should_close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_their_beginnings_win() {
        assert_eq!(score("xyz", "Show Timeline"), None);
        assert!(score("", "Show Timeline").is_some());
        let best = |query: &str| {
            let names =
                ["Show Timeline", "Reset layout", "Break Kafka: Outage", "Break MongoDB: Kill", "Reset all faults"];
            names.into_iter().max_by_key(|name| score(query, name)).unwrap_or_default()
        };
        assert_eq!(best("kafka out"), "Break Kafka: Outage");
        assert_eq!(best("ki"), "Break MongoDB: Kill");
        assert_eq!(best("TIME"), "Show Timeline");
        assert_eq!(best("raf"), "Reset all faults");
        assert!(score("ä", "Ähre").is_some(), "case is folded beyond ASCII");
    }
}
