//! Chat panes: one for each simulated user, in which a person writes as that user.

use ackscope_protocol::control::Command;
use ackscope_protocol::limits::TEXT_MAX_CHARS;
use ackscope_protocol::text::MessageText;
use ackscope_protocol::trace::ConnectionState;
use ackscope_protocol::{ConversationId, MessageId, UserId};
use egui::accesskit::Role;
use egui::{
    Align, ComboBox, Frame, Id, Key, KeyboardShortcut, Layout, Margin, Modifiers, Panel, Rect, RichText, ScrollArea,
    Sense, TextEdit, TextStyle, Ui, Vec2,
};

use super::{Action, Scene, widgets};
use crate::format;
use crate::state::{ConversationLog, Entry, Lane, Progress, User};
use crate::theme::{RADIUS, space, strong_family};

/// Messages drawn at first, and how many more "Show earlier" brings. Bubbles differ in height, so each that is
/// drawn is laid out in every frame.
const SHOWN_STEP: usize = 60;
/// Points that the label *Drop connection* takes with its margins.
const DROP_LABEL_WIDTH: f32 = 112.0;
/// Share of a pane's width that a bubble may take.
const BUBBLE_WIDTH: f32 = 0.82;

/// What a person is doing in one pane.
#[derive(Debug)]
pub struct UserPane {
    draft: String,
    conversation_id: Option<ConversationId>,
    /// Somebody chose the conversation: the pane stays in it.
    is_chosen: bool,
    reply_to: Option<MessageId>,
    shown: usize,
    dismissed_notice_us: Option<u64>,
}

impl Default for UserPane {
    fn default() -> Self {
        Self {
            draft: String::new(),
            conversation_id: None,
            is_chosen: false,
            reply_to: None,
            shown: SHOWN_STEP,
            dismissed_notice_us: None,
        }
    }
}

/// The id of a user's composer, to give it the focus.
pub fn composer_id(user_id: &UserId) -> Id {
    Id::unique(("composer", user_id.as_str()))
}

impl UserPane {
    /// Shows this conversation, until another is chosen.
    pub fn open(&mut self, conversation_id: ConversationId) {
        self.is_chosen = true;
        self.show(conversation_id);
    }

    fn show(&mut self, conversation_id: ConversationId) {
        if self.conversation_id != Some(conversation_id) {
            self.conversation_id = Some(conversation_id);
            self.reply_to = None;
            self.shown = SHOWN_STEP;
        }
    }

    /// Gives back a text that could not be sent, unless something else is being written already.
    pub fn restore(&mut self, conversation_id: ConversationId, text: &str) {
        if self.draft.is_empty() && self.conversation_id.is_none_or(|open| open == conversation_id) {
            text.clone_into(&mut self.draft);
        }
    }

    /// Draws the pane.
    pub fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, user: &User) {
        Frame::new().inner_margin(Margin { left: 12, right: 12, top: 8, bottom: 12 }).show(ui, |ui| {
            let is_there = self.conversation_id.is_some_and(|open| user.client.conversation(open).is_some());
            self.is_chosen &= is_there;
            let may_move = !self.is_chosen && self.draft.is_empty() && self.reply_to.is_none();
            // The conversation where something happens is open until one is chosen. Whoever is writing stays.
            let newest = user.client.conversations().iter().max_by_key(|log| log.last_us);
            if let Some(newest) = newest
                && (may_move || !is_there)
            {
                self.show(newest.conversation_id);
            }
            self.header_ui(ui, scene, user);
            self.notice_ui(ui, scene, user);
            let log = self.conversation_id.and_then(|open| user.client.conversation(open));
            Panel::bottom(Id::unique(("compose", user.user_id.as_str())))
                .frame(Frame::NONE)
                .show_separator_line(false)
                .resizable(false)
                .show(ui, |ui| self.composer_ui(ui, scene, user, log));
            ui.add_space(space::XS);
            match log {
                Some(log) if !log.is_empty() => self.messages_ui(ui, scene, user, log),
                Some(_) => widgets::empty_state(
                    ui,
                    scene.tokens,
                    "Nothing here yet",
                    "Type a message below and press Enter",
                    |_| {},
                ),
                None => {
                    widgets::empty_state(
                        ui,
                        scene.tokens,
                        "No conversation yet",
                        "Start one, then type and press Enter",
                        |ui| {
                            let button = widgets::primary_button(scene.tokens, "New conversation…");
                            if ui.add_enabled(scene.is_ready && user.is_connected(), button).clicked() {
                                scene.ask(Action::NewConversation(user.user_id.clone()));
                            }
                        },
                    );
                }
            }
        });
    }

    fn header_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, user: &User) {
        let tokens = scene.tokens;
        ui.horizontal(|ui| {
            let open = self.conversation_id.and_then(|open| user.client.conversation(open));
            let title = open.map_or_else(|| "No conversation".to_owned(), |log| log.title(&user.user_id));
            let width = (ui.available_width() - 100.0).clamp(80.0, 260.0);
            let combo = ComboBox::from_id_salt(("conversations", user.user_id.as_str()))
                .selected_text(format::one_line(&title, 40))
                .width(width)
                .truncate()
                .show_ui(ui, |ui| {
                    let mut chosen = None;
                    for log in user.client.conversations() {
                        let title = format::one_line(&log.title(&user.user_id), 60);
                        let kind = log.conversation.as_ref().map_or("", |conversation| conversation.kind.as_str());
                        let is_open = self.conversation_id == Some(log.conversation_id);
                        let button = egui::Button::selectable(is_open, title).right_text(widgets::small(tokens, kind));
                        if ui.add(button).clicked() {
                            chosen = Some(log.conversation_id);
                        }
                    }
                    ui.separator();
                    if ui.add_enabled(scene.is_ready, egui::Button::new("New conversation…")).clicked() {
                        scene.ask(Action::NewConversation(user.user_id.clone()));
                        ui.close();
                    }
                    chosen
                });
            combo.response.accessible_name(format!("Conversation of {}", user.user_id));
            if let Some(chosen) = combo.inner.flatten() {
                self.open(chosen);
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let user_id = user.user_id.clone();
                if user.is_connected() {
                    // Side by side with others a pane may be too narrow for the whole label.
                    let label = if ui.available_width() < DROP_LABEL_WIDTH { "Drop" } else { "Drop connection" };
                    let button = ui.add_enabled(scene.is_ready, widgets::quiet_button(tokens, label));
                    if button.on_hover_text("Cut this user's TCP connection without a goodbye").clicked() {
                        scene.ask(Action::Do(Command::DropConnection { user: user_id }));
                    }
                } else {
                    let button = ui.add_enabled(scene.is_ready, widgets::primary_button(tokens, "Reconnect").small());
                    if button.on_hover_text("Connect again and fetch what was missed").clicked() {
                        scene.ask(Action::Do(Command::Reconnect { user: user_id }));
                    }
                }
            });
        });
    }

    fn notice_ui(&mut self, ui: &mut Ui, scene: &Scene<'_>, user: &User) {
        let tokens = scene.tokens;
        if let Some(ConnectionState::Disconnected { reason }) = &user.connection {
            ui.label(
                RichText::new(format!("Not connected: {reason}")).text_style(TextStyle::Small).color(tokens.rejected),
            );
        }
        let Some(notice) = user.notice.as_ref().filter(|notice| Some(notice.at_us) != self.dismissed_notice_us) else {
            return;
        };
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.add(widgets::quiet_button(tokens, "Dismiss")).clicked() {
                    self.dismissed_notice_us = Some(notice.at_us);
                }
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    let text = RichText::new(&notice.text).text_style(TextStyle::Small).color(tokens.rejected);
                    ui.add(egui::Label::new(text).truncate()).on_hover_text(&notice.text);
                });
            });
        });
    }

    fn messages_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, user: &User, log: &ConversationLog) {
        ScrollArea::vertical()
            .id_salt(("messages", log.conversation_id))
            .auto_shrink(false)
            .stick_to_bottom(true)
            .show(ui, |ui| {
                ui.spacing_mut().item_spacing.y = space::XS;
                // The scroll bar floats: nothing to be read may lie under it.
                ui.set_max_width(ui.available_width() - space::S);
                ui.add_space(space::XS);
                let hidden = log.len().saturating_sub(self.shown);
                if hidden > 0 {
                    ui.vertical_centered(|ui| {
                        let text = format!("Show earlier ({hidden})");
                        if ui.add(widgets::quiet_button(scene.tokens, &text)).clicked() {
                            self.shown += SHOWN_STEP;
                        }
                    });
                } else if log.dropped > 0 {
                    ui.label(widgets::small(scene.tokens, "Earlier messages are no longer kept here"));
                }
                let mut sender_before: Option<&UserId> = None;
                for entry in log.entries().skip(hidden) {
                    let is_first = sender_before != Some(&entry.sender_id);
                    sender_before = Some(&entry.sender_id);
                    self.message_ui(ui, scene, user, log, entry, is_first);
                }
                ui.add_space(space::XS);
            });
    }

    fn message_ui(
        &mut self,
        ui: &mut Ui,
        scene: &mut Scene<'_>,
        user: &User,
        log: &ConversationLog,
        entry: &Entry,
        is_first: bool,
    ) {
        let tokens = scene.tokens;
        let is_own = entry.sender_id == user.user_id;
        if is_first {
            ui.add_space(space::XS);
            if !is_own {
                ui.label(widgets::small(tokens, entry.sender_id.as_str()).family(strong_family()));
            }
        }
        let text = match (&entry.text, entry.is_deleted) {
            (_, true) => "Message deleted",
            (Some(text), _) => text,
            (None, _) => "Media",
        };
        let is_selected = scene.selected == Some(entry.message_id);
        let padding = Vec2::new(11.0, 7.0);
        let width = ui.available_width();
        let color = if entry.is_deleted { tokens.text_weak } else { tokens.text };
        let wrap_width = width * BUBBLE_WIDTH - 2.0 * padding.x;
        let galley = ui.painter().layout(text.to_owned(), TextStyle::Body.resolve(ui.style()), color, wrap_width);
        let quote = entry.reply_to.map(|reply_to| {
            let quoted = log.entry(reply_to);
            let quoted = quoted.map_or("an earlier message", |quoted| quoted.text.as_deref().unwrap_or("a message"));
            let text = format!("Re: {}", format::one_line(quoted, 60));
            ui.painter().layout(text, TextStyle::Small.resolve(ui.style()), tokens.text_weak, wrap_width)
        });
        let quote_size = quote.as_ref().map_or(Vec2::ZERO, |quote| quote.size() + Vec2::new(0.0, 3.0));
        let size = Vec2::new(galley.size().x.max(quote_size.x), galley.size().y + quote_size.y) + 2.0 * padding;
        let (row, _) = ui.allocate_exact_size(Vec2::new(width, size.y), Sense::hover());
        let left = if is_own { row.right() - size.x } else { row.left() };
        let bubble = Rect::from_min_size(egui::pos2(left, row.top()), size);
        let response = ui.interact(bubble, ui.scope_id().with(("bubble", entry.message_id)), Sense::click());
        widgets::name(&response, Role::Button, &format!("{}: {text}", entry.sender_id));
        if ui.is_rect_visible(bubble) {
            let fill = match (is_own, response.hovered()) {
                (true, _) => tokens.accent_soft,
                (false, true) => tokens.hovered,
                (false, false) => tokens.raised,
            };
            ui.painter().rect_filled(bubble, RADIUS, fill);
            if is_selected || response.has_focus() {
                let stroke = egui::Stroke::new(1.5, tokens.accent);
                ui.painter().rect_stroke(bubble, RADIUS, stroke, egui::StrokeKind::Inside);
            }
            let mut pos = bubble.min + padding;
            if let Some(quote) = quote {
                ui.painter().galley(pos, quote, tokens.text_weak);
                pos.y += quote_size.y;
            }
            ui.painter().galley(pos, galley, color);
        }
        if response.clicked() {
            scene.ask(Action::Select(Some(entry.message_id)));
        }
        response.on_hover_cursor(egui::CursorIcon::PointingHand).context_menu(|ui| {
            if ui.button("Reply").clicked() {
                self.begin_reply(ui, user, entry.message_id);
                ui.close();
            }
            if ui.button("Copy text").clicked() {
                ui.copy_text(text.to_owned());
                ui.close();
            }
        });
        if !is_own && !entry.is_deleted {
            let place = Rect::from_min_size(bubble.right_center() + Vec2::new(4.0, -11.0), Vec2::new(52.0, 22.0));
            if place.right() <= row.right() {
                let button = ui.place(place, widgets::quiet_button(tokens, "Reply"));
                if button.accessible_name(format!("Reply to {text}")).clicked() {
                    self.begin_reply(ui, user, entry.message_id);
                }
            }
        }
        let lane = scene.run.lane_of(entry.message_id);
        self.below_ui(ui, scene, user, entry, lane.filter(|_| is_own));
    }

    fn begin_reply(&mut self, ui: &Ui, user: &User, message_id: MessageId) {
        self.reply_to = Some(message_id);
        ui.memory_mut(|memory| memory.request_focus(composer_id(&user.user_id)));
    }

    /// The line under a bubble: how far the message is, and what can be done with it.
    fn below_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, user: &User, entry: &Entry, own: Option<&Lane>) {
        let tokens = scene.tokens;
        let is_own = entry.sender_id == user.user_id;
        if !is_own && entry.edits.is_empty() && entry.media.is_empty() && entry.reactions.is_empty() {
            return;
        }
        let layout = if is_own { Layout::right_to_left(Align::Center) } else { Layout::left_to_right(Align::Center) };
        ui.allocate_ui_with_layout(Vec2::new(ui.available_width(), 18.0), layout, |ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            ui.spacing_mut().button_padding = Vec2::new(4.0, 1.0);
            ui.spacing_mut().interact_size.y = 18.0;
            if let Some(lane) = own {
                let progress = lane.progress();
                let text = match lane.progress_latency_us() {
                    Some(latency_us) => format!("{} · {}", progress.title(), format::duration(latency_us)),
                    None => progress.title().to_owned(),
                };
                let label = ui.label(RichText::new(&text).text_style(TextStyle::Small).color(tokens.text_weak));
                if let Some(error) = lane.rejection() {
                    label.on_hover_text(format!("{}: {}", error.code, error.message));
                }
                widgets::dot(ui, tokens.progress(progress));
                if lane.is_over_budget() {
                    let (rect, response) = ui.allocate_exact_size(Vec2::new(9.0, 14.0), Sense::hover());
                    widgets::breach_mark(ui.painter(), rect.center() + Vec2::new(0.0, 3.0), tokens.breach);
                    widgets::name(&response, Role::Image, "Over budget");
                    response.on_hover_text("An acknowledgment came later than its budget");
                }
                if progress == Progress::Rejected
                    && let (Some(temp_id), Some(text), Some(conversation_id)) =
                        (&lane.temp_id, &lane.text, lane.conversation_id)
                    && let Ok(text) = MessageText::new(text.to_string())
                {
                    let retry = ui.add_enabled(scene.is_ready, widgets::quiet_button(tokens, "Retry"));
                    if retry.on_hover_text("Send it again under the same temp_id").clicked() {
                        scene.ask(Action::Do(Command::Send {
                            user: user.user_id.clone(),
                            conversation_id,
                            text,
                            reply_to: lane.reply_to,
                            temp_id: Some(temp_id.clone()),
                        }));
                    }
                }
            }
            if !entry.edits.is_empty() {
                ui.label(widgets::small(tokens, "edited"));
            }
            if !entry.media.is_empty() {
                ui.label(widgets::small(tokens, format::count(entry.media.len() as u64, "media item", "media items")));
            }
            for (emoji, users) in &entry.reactions {
                ui.label(widgets::small(tokens, format!("{emoji} {}", users.len())));
            }
            // Only what the service has accepted can be answered.
            let can_reply = !entry.is_deleted
                && own.is_some_and(|lane| matches!(lane.progress(), Progress::Delivered | Progress::Persisted));
            if can_reply && ui.add(widgets::quiet_button(tokens, "Reply")).clicked() {
                self.begin_reply(ui, user, entry.message_id);
            }
        });
        if let Some(error) = own.and_then(Lane::rejection) {
            let text = format!("{}: {}", error.code, error.message);
            ui.with_layout(Layout::top_down(if is_own { Align::Max } else { Align::Min }), |ui| {
                ui.add(
                    egui::Label::new(RichText::new(text).text_style(TextStyle::Small).color(tokens.rejected)).wrap(),
                );
            });
        }
    }

    fn composer_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, user: &User, log: Option<&ConversationLog>) {
        let tokens = scene.tokens;
        let id = composer_id(&user.user_id);
        if let Some(reply_to) = self.reply_to {
            ui.horizontal(|ui| {
                let quoted = log.and_then(|log| log.entry(reply_to));
                let quoted = quoted.and_then(|quoted| quoted.text.as_deref()).unwrap_or("a message");
                ui.label(widgets::small(tokens, format!("Reply to “{}”", format::one_line(quoted, 40))));
                if ui.add(widgets::quiet_button(tokens, "Cancel reply")).clicked() {
                    self.reply_to = None;
                }
            });
        }
        let is_participant = log.is_none_or(|log| log.has_participant(&user.user_id));
        let hint = if is_participant {
            format!("Write as {}", user.user_id)
        } else {
            format!("{} is no longer in this conversation", user.user_id)
        };
        // The field must not see Enter, which would be a line break; with Shift it is one.
        let has_focus = ui.memory(|memory| memory.has_focus(id));
        let wants_send =
            has_focus && ui.input_mut(|input| !input.modifiers.shift && input.consume_key(Modifiers::NONE, Key::Enter));
        let chars_left = TEXT_MAX_CHARS.saturating_sub(self.draft.chars().count());
        let clicked = Frame::new()
            .fill(tokens.raised)
            .corner_radius(RADIUS)
            .stroke(egui::Stroke::new(1.0, if has_focus { tokens.accent } else { tokens.border }))
            .inner_margin(Margin::symmetric(8, 5))
            .show(ui, |ui| {
                ui.horizontal(|ui| {
                    let field_width = (ui.available_width() - 66.0).max(40.0);
                    ui.vertical(|ui| {
                        ui.set_width(field_width);
                        ScrollArea::vertical().id_salt("composer").max_height(110.0).show(ui, |ui| {
                            TextEdit::multiline(&mut self.draft)
                                .id(id)
                                .hint_text(RichText::new(hint).color(tokens.text_weak))
                                .desired_rows(1)
                                .desired_width(f32::INFINITY)
                                .char_limit(TEXT_MAX_CHARS)
                                .frame(Frame::NONE.inner_margin(Margin { left: 2, right: 2, top: 6, bottom: 5 }))
                                .return_key(KeyboardShortcut::new(Modifiers::SHIFT, Key::Enter))
                                .show(ui)
                                .response
                                .response
                                .accessible_name(format!("Message as {}", user.user_id));
                        });
                        if chars_left < 200 {
                            let text = format::count(chars_left as u64, "character left", "characters left");
                            ui.label(widgets::small(tokens, text));
                        }
                    });
                    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                        let button = widgets::primary_button(tokens, "Send");
                        let can_send = scene.is_ready && !self.draft.trim().is_empty();
                        ui.add_enabled(can_send, button).clicked()
                    })
                    .inner
                })
                .inner
            })
            .inner;
        if wants_send || clicked {
            self.send(scene, user);
            ui.memory_mut(|memory| memory.request_focus(id));
        }
    }

    fn send(&mut self, scene: &mut Scene<'_>, user: &User) {
        let text = self.draft.trim();
        if text.is_empty() {
            return;
        }
        let Some(conversation_id) = self.conversation_id else {
            scene.ask(Action::Tell(format!("{} has no conversation yet: create one first", user.user_id)));
            return;
        };
        if !scene.is_ready {
            scene.ask(Action::Tell(
                "Not connected to the harness: the text stays until the connection is back".to_owned(),
            ));
            return;
        }
        match MessageText::new(text) {
            Ok(text) => {
                scene.ask(Action::Do(Command::Send {
                    user: user.user_id.clone(),
                    conversation_id,
                    text,
                    reply_to: self.reply_to.take(),
                    temp_id: None,
                }));
                self.draft.clear();
            }
            Err(error) => scene.ask(Action::Tell(format!("The message cannot be sent: {error}"))),
        }
    }

    /// What Esc leaves first. Returns whether there was something.
    pub fn cancel_reply(&mut self) -> bool {
        self.reply_to.take().is_some()
    }
}
