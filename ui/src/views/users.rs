//! Chat panes: one for each simulated user, in which a person writes as that user.

use std::collections::HashMap;

use ackscope_protocol::control::{Command, Place};
use ackscope_protocol::limits::{MEDIA_MAX_ITEMS, TEMP_ID_MAX_CHARS, TEXT_MAX_CHARS};
use ackscope_protocol::text::{Emoji, FileName, MessageText};
use ackscope_protocol::trace::ConnectionState;
use ackscope_protocol::wire::{
    AddParticipant, AddedRole, ArchiveConversation, Conversation, ConversationKind, DeleteMessage, DeleteMode,
    DownloadUrl, EditMessage, ForwardMessages, History, LeaveConversation, ListConversations, MediaState, MessageRef,
    MuteConversation, React, RemoveParticipant, Request, SearchQuery, SendMessage, Sync, UnarchiveConversation,
    UnmuteConversation, Unreact,
};
use ackscope_protocol::{ConversationId, MediaId, MessageId, TempId, UserId};
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
/// Width of the button beside a bubble, with its margins.
const MORE_WIDTH: f32 = 34.0;
/// How fast somebody reads who reads slowly.
const SLOW_BYTES_PER_SECOND: u32 = 1_024;
/// Reactions that are offered, and how they are called.
const EMOJI: [(&str, &str); 5] =
    [("👍", "thumbs up"), ("❤", "heart"), ("😂", "laughing"), ("🎉", "party"), ("😢", "crying")];
/// A PNG of one pixel, in base64.
const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
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
    editing: Option<MessageId>,
    /// Uploaded, and not sent yet.
    attached: Vec<MediaId>,
    /// Media of own messages: their sender's client is not told what it sent.
    sent_media: HashMap<MessageId, Vec<MediaId>>,
    /// Requests that needed a name of their own.
    requests: u64,
    shown: usize,
    dismissed_notice_us: Option<u64>,
    /// The selected message as of the last frame.
    followed: Option<MessageId>,
    /// The message to bring into view.
    wanted: Option<MessageId>,
}

impl Default for UserPane {
    fn default() -> Self {
        Self {
            draft: String::new(),
            conversation_id: None,
            is_chosen: false,
            reply_to: None,
            editing: None,
            attached: Vec::new(),
            sent_media: HashMap::new(),
            requests: 0,
            shown: SHOWN_STEP,
            dismissed_notice_us: None,
            followed: None,
            wanted: None,
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
            self.editing = None;
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
            self.follow_selection(scene, user);
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

    /// A message that was selected elsewhere is shown here too, unless something is being written.
    fn follow_selection(&mut self, scene: &Scene<'_>, user: &User) {
        if self.followed == scene.selected {
            return;
        }
        self.followed = scene.selected;
        let Some(message_id) = scene.selected else { return };
        let log = scene
            .run
            .lane_of(message_id)
            .and_then(|lane| user.client.conversation(lane.conversation_id?))
            .filter(|log| log.entry(message_id).is_some());
        let Some(log) = log else { return };
        let is_busy = !self.draft.is_empty() || self.reply_to.is_some();
        if self.conversation_id != Some(log.conversation_id) {
            if is_busy {
                return;
            }
            self.open(log.conversation_id);
        }
        let from_end = log.entries().rev().position(|entry| entry.message_id == message_id).unwrap_or(0);
        // With some of what came before.
        self.shown = self.shown.max(from_end + 6);
        self.wanted = Some(message_id);
    }

    fn header_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, user: &User) {
        let tokens = scene.tokens;
        ui.horizontal(|ui| {
            let open = self.conversation_id.and_then(|open| user.client.conversation(open));
            let title = open.map_or_else(|| "No conversation".to_owned(), |log| log.title(&user.user_id));
            let width = (ui.available_width() - 96.0).clamp(70.0, 260.0);
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
                let more = ui.menu_button("More", |ui| self.more_ui(ui, scene, user));
                more.response.accessible_name(format!("More of {}", user.user_id));
            });
        });
    }

    /// What can be done with the conversation and the user.
    fn more_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, user: &User) {
        ui.set_min_width(190.0);
        let log = self.conversation_id.and_then(|open| user.client.conversation(open));
        let can_ask = scene.is_ready && user.is_connected();
        if let Some((conversation, log)) = log.and_then(|log| Some((log.conversation.as_ref()?, log))) {
            ui.add_enabled_ui(can_ask, |ui| conversation_menu_ui(ui, scene, user, conversation, log));
            ui.separator();
        }
        ui.add_enabled_ui(can_ask, |ui| {
            let user_id = || user.user_id.clone();
            if ui
                .button("Attach a picture")
                .on_hover_text("Uploads a small built-in PNG for the next message")
                .clicked()
                && let Ok(file_name) = FileName::new("dot.png")
            {
                let (content_type, base64) = ("image/png".to_owned(), PICTURE.to_owned());
                scene.command(Command::Upload { user: user_id(), file_name, content_type, base64 });
            }
            ui.menu_button("Ask for", |ui| {
                for (text, event) in [
                    ("Messages by search…", SearchQuery::EVENT),
                    ("History…", History::EVENT),
                    ("Conversations…", ListConversations::EVENT),
                    ("What was missed…", Sync::EVENT),
                    ("A download…", DownloadUrl::EVENT),
                ] {
                    if ui.button(text).on_hover_text(event).clicked() {
                        scene.ask(Action::AnyRequest(user_id(), self.conversation_id, event));
                    }
                }
            });
            if ui.button("Any request…").on_hover_text("Every event of the wire, with a payload of your own").clicked()
            {
                scene.ask(Action::AnyRequest(user_id(), self.conversation_id, SendMessage::EVENT));
            }
            ui.separator();
            let button = ui.button("Drop connection");
            if button.on_hover_text("Cut this user's TCP connection without a goodbye").clicked() {
                scene.command(Command::DropConnection { user: user_id() });
            }
            if ui.button("Read slowly").on_hover_text("1,024 bytes a second").clicked() {
                scene.command(Command::ReadSlowly { user: user_id(), bytes_per_second: Some(SLOW_BYTES_PER_SECOND) });
            }
            if ui.button("Read at full pace").clicked() {
                scene.command(Command::ReadSlowly { user: user_id(), bytes_per_second: None });
            }
            if ui.button("Second device").on_hover_text("A further connection of the same person").clicked() {
                let of = user.person();
                // The first name of this kind that nobody has.
                let name = (2..100).find_map(|number| {
                    let name: UserId = format!("{of}-{number}").parse().ok()?;
                    scene.run.user_by_id(&name).is_none().then_some(name)
                });
                match name {
                    Some(device) => scene.command(Command::AddDevice { device, of: of.clone() }),
                    None => scene.ask(Action::Tell(format!("{of} has no name left for a further device"))),
                }
            }
        });
    }

    fn notice_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, user: &User) {
        let tokens = scene.tokens;
        if !user.is_connected() {
            // Beside the reason and not beside the conversation: a narrow chat has no room there.
            ui.horizontal_wrapped(|ui| {
                if let Some(ConnectionState::Disconnected { reason }) = &user.connection {
                    let said = RichText::new(format!("Not connected: {reason}"));
                    ui.label(said.text_style(TextStyle::Small).color(tokens.rejected));
                }
                let button = ui.add_enabled(scene.is_ready, widgets::primary_button(tokens, "Reconnect").small());
                if button.on_hover_text("Connect again and fetch what was missed").clicked() {
                    scene.command(Command::Reconnect { user: user.user_id.clone() });
                }
            });
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
                // From the end: what is hidden is not walked through in every frame.
                let mut shown: Vec<&Entry> = log.entries().rev().take(self.shown).collect();
                shown.reverse();
                for entry in shown {
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
        let is_own = entry.sender_id == *user.person();
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
        // Beside the bubble stands the button with what can be done.
        let wrap_width = (width * BUBBLE_WIDTH).min(width - MORE_WIDTH) - 2.0 * padding.x;
        let small = TextStyle::Small.resolve(ui.style());
        // What stands above the text: where it came from, what it answers, what hangs on it.
        let mut above: Vec<(String, Option<MessageId>)> = Vec::new();
        if let Some(origin) = entry.forwarded_from {
            above.push(("Forwarded".to_owned(), Some(origin.message_id)));
        }
        if let Some(reply_to) = entry.reply_to {
            let quoted = log.entry(reply_to);
            let quoted = quoted.map_or("an earlier message", |quoted| quoted.text.as_deref().unwrap_or("a message"));
            above.push((format!("Re: {}", format::one_line(quoted, 60)), Some(reply_to)));
        }
        let media = self.sent_media.get(&entry.message_id).map_or(0, Vec::len).max(entry.media.len());
        if media > 0 && !entry.is_deleted {
            let state = entry.media.first().map_or("sent", |media| match media.media_state {
                MediaState::Verified => "verified",
                MediaState::Unverified => "unverified",
                MediaState::Invalid => "invalid",
            });
            above.push((format!("[{}, {state}]", format::count(media as u64, "picture", "pictures")), None));
        }
        let above: Vec<_> = above
            .into_iter()
            .map(|(text, to)| (ui.painter().layout(text, small.clone(), tokens.text_weak, wrap_width), to))
            .collect();
        let mut job =
            egui::text::LayoutJob::simple(text.to_owned(), TextStyle::Body.resolve(ui.style()), color, wrap_width);
        for section in &mut job.sections {
            section.format.italics = entry.is_deleted;
        }
        let galley = ui.painter().layout_job(job);
        let above_height: f32 = above.iter().map(|(line, _)| line.size().y + 3.0).sum();
        let above_width = above.iter().map(|(line, _)| line.size().x).fold(0.0, f32::max);
        let size = Vec2::new(galley.size().x.max(above_width), galley.size().y + above_height) + 2.0 * padding;
        let (row, _) = ui.allocate_exact_size(Vec2::new(width, size.y), Sense::hover());
        let left = if is_own { row.right() - size.x } else { row.left() };
        let bubble = Rect::from_min_size(egui::pos2(left, row.top()), size);
        let response = ui.interact(bubble, ui.scope_id().with(("bubble", entry.message_id)), Sense::click());
        widgets::name(&response, Role::Button, &format!("{}: {text}", entry.sender_id));
        if self.wanted == Some(entry.message_id) {
            self.wanted = None;
            // What can be seen stays where it is.
            if !ui.clip_rect().contains_rect(bubble.shrink(2.0)) {
                ui.scroll_to_rect(bubble, Some(Align::Center));
            }
        }
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
            for (line, _) in &above {
                ui.painter().galley(pos, line.clone(), tokens.text_weak);
                pos.y += line.size().y + 3.0;
            }
            ui.painter().galley(pos, galley, color);
        }
        if response.clicked() {
            scene.ask(Action::Select(Some(entry.message_id)));
        }
        let response = response.on_hover_cursor(egui::CursorIcon::PointingHand);
        response.context_menu(|ui| self.menu_ui(ui, scene, user, entry));
        let x = if is_own { bubble.left() - MORE_WIDTH + 4.0 } else { bubble.right() + 4.0 };
        let place = Rect::from_min_size(egui::pos2(x, bubble.center().y - 11.0), Vec2::new(MORE_WIDTH - 8.0, 22.0));
        if !entry.is_deleted && row.x_range().contains(place.center().x) {
            let more = ui.place(place, widgets::quiet_button(tokens, "…"));
            let more = more.accessible_name(format!("Actions for {text}"));
            egui::Popup::menu(&more).show(|ui| self.menu_ui(ui, scene, user, entry));
        }
        let lane = scene.run.lane_of(entry.message_id);
        self.below_ui(ui, scene, user, entry, lane.filter(|_| is_own));
    }

    /// Everything that can be done with a message.
    fn menu_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, user: &User, entry: &Entry) {
        ui.set_min_width(170.0);
        let Some(conversation_id) = self.conversation_id else { return };
        let message_id = entry.message_id;
        let is_own = entry.sender_id == *user.person();
        ui.add_enabled_ui(scene.is_ready && user.is_connected(), |ui| {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 2.0;
                for (emoji, name) in EMOJI {
                    let button = ui.add(egui::Button::new(emoji).small());
                    if button.accessible_name(format!("React {name}")).clicked() {
                        react(scene, user, conversation_id, message_id, emoji, entry.reactions.get(emoji));
                        ui.close();
                    }
                }
            });
            if ui.button("Reply").clicked() {
                self.begin_reply(ui, user, message_id);
            }
            if is_own && ui.button("Edit").clicked() {
                self.begin_edit(ui, user, entry);
            }
            ui.menu_button("Forward to", |ui| {
                for target in user.client.conversations() {
                    if ui.button(format::one_line(&target.title(&user.user_id), 40)).clicked() {
                        let Some(temp_id) = self.next_temp_id(scene, user) else { continue };
                        let forward = ForwardMessages {
                            messages: vec![MessageRef { conversation_id, message_id }],
                            targets: vec![target.conversation_id],
                            temp_id,
                        };
                        request(scene, user, &forward);
                    }
                }
            });
            ui.separator();
            for (text, hint, mode) in [
                ("Delete, leave a tombstone", "Everybody sees that something was there", DeleteMode::Soft),
                ("Delete for good", "Gone from store, cache and search", DeleteMode::Hard),
                ("Delete for me", "Hidden from this user alone", DeleteMode::ForMe),
            ] {
                if ui.button(text).on_hover_text(hint).clicked() {
                    request(scene, user, &DeleteMessage { conversation_id, message_id, mode });
                }
            }
        });
        ui.separator();
        if ui.button("Copy text").clicked() {
            ui.copy_text(entry.text.as_deref().unwrap_or_default().to_owned());
        }
        if ui.button("Inspect").clicked() {
            scene.ask(Action::Select(Some(message_id)));
            scene.ask(Action::Inspect(Place::Message { message_id }));
        }
    }

    fn begin_reply(&mut self, ui: &Ui, user: &User, message_id: MessageId) {
        self.editing = None;
        self.reply_to = Some(message_id);
        ui.memory_mut(|memory| memory.request_focus(composer_id(&user.user_id)));
    }

    fn begin_edit(&mut self, ui: &Ui, user: &User, entry: &Entry) {
        self.reply_to = None;
        self.editing = Some(entry.message_id);
        entry.text.as_deref().unwrap_or_default().clone_into(&mut self.draft);
        ui.memory_mut(|memory| memory.request_focus(composer_id(&user.user_id)));
    }

    /// A name for a request that nothing in this run has had.
    fn next_temp_id(&mut self, scene: &Scene<'_>, user: &User) -> Option<TempId> {
        self.requests += 1;
        // The run's time goes in, because the pane may have been opened anew.
        let name = format!("{}-{}-{}", user.user_id, scene.run.latest_us(), self.requests);
        let start = name.len().saturating_sub(TEMP_ID_MAX_CHARS);
        name.get(start..)?.parse().ok()
    }

    /// The line under a bubble: how far the message is, and what became of it.
    fn below_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, user: &User, entry: &Entry, own: Option<&Lane>) {
        let tokens = scene.tokens;
        let is_own = entry.sender_id == *user.person();
        if !is_own && entry.edits.is_empty() && entry.forward_count == 0 && entry.reactions.is_empty() {
            return;
        }
        let layout = if is_own { Layout::right_to_left(Align::Center) } else { Layout::left_to_right(Align::Center) };
        ui.allocate_ui_with_layout(Vec2::new(ui.available_width(), 18.0), layout, |ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            ui.spacing_mut().button_padding = Vec2::new(4.0, 1.0);
            ui.spacing_mut().interact_size.y = 18.0;
            if let Some(lane) = own {
                self.progress_ui(ui, scene, user, lane);
            }
            if !entry.edits.is_empty() {
                ui.label(widgets::small(tokens, "edited")).on_hover_ui(|ui| {
                    ui.label("Earlier texts, oldest first");
                    for edit in &entry.edits {
                        ui.label(widgets::small(tokens, format::one_line(&edit.text, 80)));
                    }
                });
            }
            if entry.forward_count > 0 {
                ui.label(widgets::small(tokens, format!("forwarded {}", entry.forward_count)));
            }
            for (emoji, users) in &entry.reactions {
                let is_mine = users.contains(user.person());
                let text = RichText::new(format!("{emoji} {}", users.len())).text_style(TextStyle::Small);
                let names: Vec<&str> = users.iter().take(20).map(UserId::as_str).collect();
                let chip = ui.add(egui::Button::selectable(is_mine, text).small());
                if chip.on_hover_text(names.join(", ")).clicked()
                    && scene.is_ready
                    && let Some(conversation_id) = self.conversation_id
                {
                    react(scene, user, conversation_id, entry.message_id, emoji, Some(users));
                }
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

    /// How far an own message is.
    fn progress_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, user: &User, lane: &Lane) {
        let tokens = scene.tokens;
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
        let Some((temp_id, conversation_id)) = lane.temp_id.as_ref().zip(lane.conversation_id) else { return };
        if progress != Progress::Rejected {
            return;
        }
        let retry = ui.add_enabled(scene.is_ready, widgets::quiet_button(tokens, "Retry"));
        if !retry.on_hover_text("Send it again under the same temp_id").clicked() {
            return;
        }
        let text = lane.text.as_ref().and_then(|text| MessageText::new(text.to_string()).ok());
        let media = self.sent_media.get(&lane.message_id).cloned().unwrap_or_default();
        match text {
            Some(text) if media.is_empty() => scene.command(Command::Send {
                user: user.user_id.clone(),
                conversation_id,
                text,
                reply_to: lane.reply_to,
                temp_id: Some(temp_id.clone()),
            }),
            text => {
                let (temp_id, reply_to) = (temp_id.clone(), lane.reply_to);
                request(scene, user, &SendMessage { conversation_id, temp_id, text, media, reply_to });
            }
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
        if let Some(editing) = self.editing {
            ui.horizontal(|ui| {
                let text = log.and_then(|log| log.entry(editing)).and_then(|entry| entry.text.as_deref());
                let text = format!("Edit “{}”", format::one_line(text.unwrap_or("a message"), 40));
                ui.label(widgets::small(tokens, text));
                if ui.add(widgets::quiet_button(tokens, "Cancel edit")).clicked() {
                    self.editing = None;
                    self.draft.clear();
                }
            });
        }
        if !self.attached.is_empty() {
            ui.horizontal(|ui| {
                let text = format::count(self.attached.len() as u64, "picture attached", "pictures attached");
                ui.label(widgets::small(tokens, text));
                if ui.add(widgets::quiet_button(tokens, "Remove")).clicked() {
                    self.attached.clear();
                }
            });
        }
        let is_participant = log.is_none_or(|log| log.has_participant(user.person()));
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
                        let has_content = !self.draft.trim().is_empty() || !self.attached.is_empty();
                        let can_send = scene.is_ready && has_content;
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
        if text.is_empty() && self.attached.is_empty() {
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
        let text = match (text.is_empty(), MessageText::new(text)) {
            (true, _) => None,
            (false, Ok(text)) => Some(text),
            (false, Err(error)) => {
                scene.ask(Action::Tell(format!("The message cannot be sent: {error}")));
                return;
            }
        };
        match (self.editing.take(), text) {
            (Some(message_id), Some(text)) => {
                request(scene, user, &EditMessage { conversation_id, message_id, text });
            }
            (_, Some(text)) if self.attached.is_empty() => scene.command(Command::Send {
                user: user.user_id.clone(),
                conversation_id,
                text,
                reply_to: self.reply_to.take(),
                temp_id: None,
            }),
            (_, text) => {
                let Some(temp_id) = self.next_temp_id(scene, user) else { return };
                let media = std::mem::take(&mut self.attached);
                let message_id = MessageId::derive(user.person(), conversation_id, &temp_id);
                self.sent_media.insert(message_id, media.clone());
                let reply_to = self.reply_to.take();
                request(scene, user, &SendMessage { conversation_id, temp_id, text, media, reply_to });
            }
        }
        self.draft.clear();
    }

    /// A file of this user was uploaded: it goes with the next message.
    pub fn attach(&mut self, media_id: MediaId) {
        if self.attached.len() < MEDIA_MAX_ITEMS {
            self.attached.push(media_id);
        }
    }

    /// What Esc leaves first. Returns whether there was something.
    pub fn cancel_reply(&mut self) -> bool {
        if self.editing.take().is_some() {
            self.draft.clear();
            return true;
        }
        self.reply_to.take().is_some()
    }
}

/// Asks for a request of the wire as a user.
fn request<R: Request>(scene: &mut Scene<'_>, user: &User, request: &R) {
    // Our own types always serialise: their keys are strings.
    if let Ok(payload) = serde_json::to_value(request) {
        scene.command(Command::Request { user: user.user_id.clone(), event: R::EVENT.to_owned(), payload });
    }
}

/// Adds a reaction, or takes one's own away.
fn react(
    scene: &mut Scene<'_>,
    user: &User,
    conversation_id: ConversationId,
    message_id: MessageId,
    emoji: &str,
    users: Option<&Vec<UserId>>,
) {
    let Ok(emoji) = Emoji::new(emoji) else { return };
    if users.is_some_and(|users| users.contains(user.person())) {
        request(scene, user, &Unreact { conversation_id, message_id, emoji });
    } else {
        request(scene, user, &React { conversation_id, message_id, emoji });
    }
}

fn conversation_menu_ui(
    ui: &mut Ui,
    scene: &mut Scene<'_>,
    user: &User,
    conversation: &Conversation,
    log: &ConversationLog,
) {
    let conversation_id = log.conversation_id;
    if conversation.kind != ConversationKind::Direct {
        ui.menu_button("Add participant", |ui| {
            for other in scene.run.users().iter().filter(|other| other.device_of.is_none()).take(PARTICIPANTS_OFFERED) {
                if log.has_participant(&other.user_id) {
                    continue;
                }
                let id = &other.user_id;
                for (text, role) in [(id.to_string(), None), (format!("{id} as admin"), Some(AddedRole::Admin))] {
                    if ui.button(text).clicked() {
                        request(scene, user, &AddParticipant { conversation_id, user_id: id.clone(), role });
                    }
                }
            }
        });
        ui.menu_button("Remove participant", |ui| {
            for other in conversation.participants.iter().take(PARTICIPANTS_OFFERED) {
                let text = format!("{} ({})", other.user_id, other.role.as_str());
                if other.user_id != *user.person() && ui.button(text).clicked() {
                    request(scene, user, &RemoveParticipant { conversation_id, user_id: other.user_id.clone() });
                }
            }
        });
        if ui.button("Leave conversation").clicked() {
            request(scene, user, &LeaveConversation { conversation_id });
        }
    }
    if conversation.settings.muted_until.is_some() {
        if ui.button("Unmute").clicked() {
            request(scene, user, &UnmuteConversation { conversation_id });
        }
    } else {
        if ui.button("Mute for an hour").clicked() {
            request(scene, user, &MuteConversation { conversation_id, duration_secs: Some(3_600) });
        }
        if ui.button("Mute for good").clicked() {
            request(scene, user, &MuteConversation { conversation_id, duration_secs: None });
        }
    }
    if conversation.settings.archived {
        if ui.button("Take out of the archive").clicked() {
            request(scene, user, &UnarchiveConversation { conversation_id });
        }
    } else if ui.button("Archive").clicked() {
        request(scene, user, &ArchiveConversation { conversation_id });
    }
}

/// Most users offered by name in a menu.
const PARTICIPANTS_OFFERED: usize = 50;
