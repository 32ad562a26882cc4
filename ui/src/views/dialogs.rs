//! What needs more input: a new user, a new conversation.

use ackscope_protocol::control::Command;
use ackscope_protocol::text::Title;
use ackscope_protocol::wire::{CLIENT_EVENTS, ConversationKind};
use ackscope_protocol::{ConversationId, MessageId, UserId};
use egui::{ComboBox, Key, RichText, ScrollArea, TextEdit, TextStyle, Ui};

use serde_json::json;

use super::{Action, Scene, widgets};
use crate::theme::space;

/// Most other users offered by name; further ones can be typed.
const OFFERED_MAX: usize = 50;

/// The dialog that is open.
#[derive(Debug)]
pub enum Dialog {
    /// A new user.
    AddUser {
        /// What was typed.
        name: String,
        /// Whether the field has had its first focus.
        focused: bool,
    },
    /// A new conversation.
    NewConversation(Box<NewConversation>),
    /// Any request of the wire.
    AnyRequest(Box<AnyRequest>),
}

/// What was entered for a request.
#[derive(Debug)]
pub struct AnyRequest {
    user: UserId,
    conversation_id: Option<ConversationId>,
    message_id: Option<MessageId>,
    event: &'static str,
    payload: String,
    /// What is waited for.
    asked: Option<Command>,
    answer: Option<Result<String, String>>,
}

/// What was entered for a new conversation.
#[derive(Debug)]
pub struct NewConversation {
    user: UserId,
    kind: ConversationKind,
    chosen: Vec<UserId>,
    typed: String,
    title: String,
}

impl Dialog {
    /// A new user.
    pub fn add_user() -> Self {
        Self::AddUser { name: String::new(), focused: false }
    }

    /// A new conversation of `user`.
    pub fn new_conversation(user: UserId) -> Self {
        Self::NewConversation(Box::new(NewConversation {
            user,
            kind: ConversationKind::Group,
            chosen: Vec::new(),
            typed: String::new(),
            title: String::new(),
        }))
    }

    /// Any request of `user`, at first `event`, about a conversation and a message of it.
    pub fn any_request(
        user: UserId,
        conversation_id: Option<ConversationId>,
        message_id: Option<MessageId>,
        event: &'static str,
    ) -> Self {
        let payload = template(event, conversation_id, message_id);
        let (asked, answer) = (None, None);
        Self::AnyRequest(Box::new(AnyRequest { user, conversation_id, message_id, event, payload, asked, answer }))
    }

    /// Takes what a command was answered, when it is the one that is waited for. Returns whether it was.
    pub fn answered(&mut self, command: &Command, answer: Result<&serde_json::Value, &str>) -> bool {
        let Self::AnyRequest(dialog) = self else { return false };
        if dialog.asked.as_ref() != Some(command) {
            return false;
        }
        dialog.asked = None;
        dialog.answer = Some(match answer {
            Ok(value) => Ok(serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())),
            Err(reason) => Err(reason.to_owned()),
        });
        true
    }

    /// Draws it. Returns whether it should close.
    pub fn ui(&mut self, ui: &Ui, scene: &mut Scene<'_>) -> bool {
        let modal = widgets::modal(ui, scene.tokens, "dialog", |ui| {
            ui.set_width(400.0_f32.min(ui.ctx().content_rect().width() - 80.0));
            match self {
                Self::AddUser { name, focused } => add_user_ui(ui, scene, name, focused),
                Self::NewConversation(dialog) => dialog.ui(ui, scene),
                Self::AnyRequest(dialog) => dialog.ui(ui, scene),
            }
        });
        modal.inner || modal.should_close()
    }
}

fn add_user_ui(ui: &mut Ui, scene: &mut Scene<'_>, name: &mut String, focused: &mut bool) -> bool {
    ui.heading("Add a user");
    ui.label(widgets::weak(
        scene.tokens,
        "A simulated user with a chat of its own and a real connection to the service",
    ));
    ui.add_space(space::S);
    let label = ui.label("Name");
    let field = ui.add(TextEdit::singleline(name).hint_text("for example dora").desired_width(f32::INFINITY));
    let field = field.labelled_by(label.id);
    if !*focused {
        field.request_focus();
        *focused = true;
    }
    let parsed = name.trim().parse::<UserId>();
    let problem = match &parsed {
        _ if name.trim().is_empty() => None,
        Err(_) => Some("Use 1 to 64 letters without accents, digits, and _ . -".to_owned()),
        Ok(user) if scene.run.user_by_id(user).is_some() => Some(format!("{user} is here already")),
        Ok(_) => None,
    };
    // The line keeps its height, so that nothing jumps while typing.
    ui.label(
        RichText::new(problem.as_deref().unwrap_or(" ")).text_style(TextStyle::Small).color(scene.tokens.rejected),
    );
    let is_entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    let can_add = parsed.is_ok() && problem.is_none() && scene.is_ready;
    ui.horizontal(|ui| {
        let add = ui.add_enabled(can_add, widgets::primary_button(scene.tokens, "Add")).clicked();
        let cancel = ui.button("Cancel").clicked();
        if (add || is_entered && can_add)
            && let Ok(user) = parsed
        {
            scene.ask(Action::Do(Command::AddUser { user }));
            return true;
        }
        cancel
    })
    .inner
}

impl NewConversation {
    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) -> bool {
        let tokens = scene.tokens;
        ui.heading(format!("New conversation of {}", self.user));
        ui.add_space(space::S);
        ui.horizontal(|ui| {
            for kind in [ConversationKind::Group, ConversationKind::Direct, ConversationKind::Channel] {
                ui.selectable_value(&mut self.kind, kind, kind_title(kind));
            }
        });
        ui.label(widgets::small(tokens, kind_help(self.kind)));
        ui.add_space(space::S);
        ui.label("With");
        ScrollArea::vertical().max_height(160.0).auto_shrink([false, true]).show(ui, |ui| {
            ui.horizontal_wrapped(|ui| {
                for user in scene.run.users().iter().take(OFFERED_MAX) {
                    if user.user_id == self.user {
                        continue;
                    }
                    let is_chosen = self.chosen.contains(&user.user_id);
                    let mut checked = is_chosen;
                    ui.checkbox(&mut checked, user.user_id.as_str());
                    if checked != is_chosen {
                        self.choose(&user.user_id, checked);
                    }
                }
            });
        });
        let label = ui.label(widgets::small(tokens, "Others by name, with commas between them"));
        ui.add(TextEdit::singleline(&mut self.typed).hint_text("dora, emil").desired_width(f32::INFINITY))
            .labelled_by(label.id);
        if self.kind != ConversationKind::Direct {
            let label = ui.label("Title");
            ui.add(TextEdit::singleline(&mut self.title).hint_text("Optional").desired_width(f32::INFINITY))
                .labelled_by(label.id);
        }
        let command = self.command();
        let problem = command.as_ref().err().filter(|_| !self.chosen.is_empty() || !self.typed.is_empty());
        ui.label(
            RichText::new(problem.map_or(" ", String::as_str)).text_style(TextStyle::Small).color(tokens.rejected),
        );
        ui.horizontal(|ui| {
            let create =
                ui.add_enabled(command.is_ok() && scene.is_ready, widgets::primary_button(tokens, "Create")).clicked();
            let cancel = ui.button("Cancel").clicked();
            if create && let Ok(command) = command {
                scene.ask(Action::Do(command));
                return true;
            }
            cancel
        })
        .inner
    }

    fn choose(&mut self, user: &UserId, chosen: bool) {
        self.chosen.retain(|other| other != user);
        if chosen {
            // A direct conversation has exactly one other: choosing anew replaces.
            if self.kind == ConversationKind::Direct {
                self.chosen.clear();
            }
            self.chosen.push(user.clone());
        }
    }

    fn command(&self) -> Result<Command, String> {
        let mut participants = self.chosen.clone();
        for name in self.typed.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let user: UserId = name.parse().map_err(|_| format!("“{name}” is not a name a user can have"))?;
            if user == self.user {
                return Err(format!("{user} is in it anyway"));
            }
            if !participants.contains(&user) {
                participants.push(user);
            }
        }
        if self.kind == ConversationKind::Direct && participants.len() != 1 {
            return Err("A direct conversation has exactly one other".to_owned());
        }
        let title = self.title.trim();
        let title = if title.is_empty() || self.kind == ConversationKind::Direct {
            None
        } else {
            Some(Title::new(title).map_err(|error| format!("Title: {error}"))?)
        };
        Ok(Command::CreateConversation { user: self.user.clone(), kind: self.kind, participants, title })
    }
}

impl AnyRequest {
    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) -> bool {
        let tokens = scene.tokens;
        ui.heading(format!("A request of {}", self.user));
        ui.label(widgets::weak(tokens, "It goes over the wire as it stands here, wrong payloads too"));
        ui.add_space(space::S);
        let combo = ComboBox::from_id_salt("event").selected_text(self.event).width(240.0).show_ui(ui, |ui| {
            for event in CLIENT_EVENTS {
                if ui.selectable_label(self.event == *event, *event).clicked() {
                    self.event = event;
                    self.payload = template(event, self.conversation_id, self.message_id);
                    self.answer = None;
                }
            }
        });
        combo.response.accessible_name("Event");
        ScrollArea::vertical().id_salt("payload").max_height(160.0).show(ui, |ui| {
            ui.add(TextEdit::multiline(&mut self.payload).code_editor().desired_width(f32::INFINITY).desired_rows(5))
                .accessible_name("Payload");
        });
        let payload = serde_json::from_str::<serde_json::Value>(&self.payload);
        let problem = payload.as_ref().err().map(|error| format!("This is no JSON: {error}"));
        ui.label(RichText::new(problem.as_deref().unwrap_or(" ")).text_style(TextStyle::Small).color(tokens.rejected));
        let is_closed = ui
            .horizontal(|ui| {
                let can_send = payload.is_ok() && scene.is_ready && self.asked.is_none();
                let send = ui.add_enabled(can_send, widgets::primary_button(tokens, "Send request")).clicked();
                if send && let Ok(payload) = payload {
                    let command = Command::Request { user: self.user.clone(), event: self.event.to_owned(), payload };
                    self.asked = Some(command.clone());
                    self.answer = None;
                    scene.command(command);
                }
                ui.button("Close request").clicked()
            })
            .inner;
        ScrollArea::vertical().id_salt("answer").max_height(180.0).show(ui, |ui| match &self.answer {
            Some(Ok(text)) => {
                ui.add(TextEdit::multiline(&mut text.as_str()).font(TextStyle::Monospace).desired_width(f32::INFINITY))
                    .accessible_name("Answer");
            }
            Some(Err(reason)) => {
                ui.label(RichText::new(reason).color(tokens.rejected));
            }
            None if self.asked.is_some() => {
                ui.label(widgets::weak(tokens, "Waiting for the answer…"));
            }
            None => {}
        });
        is_closed
    }
}

/// A payload to begin with: everything an event must have, about what is open.
fn template(event: &str, conversation_id: Option<ConversationId>, message_id: Option<MessageId>) -> String {
    let id = |id: Option<String>| id.unwrap_or_else(|| "00000000-0000-0000-0000-000000000000".to_owned());
    let conversation = id(conversation_id.map(|id| id.to_string()));
    let message = id(message_id.map(|id| id.to_string()));
    let value = match event {
        "message:send" => json!({ "conversation_id": conversation, "temp_id": "by-hand-1", "text": "Hello" }),
        "message:edit" => json!({ "conversation_id": conversation, "message_id": message, "text": "Better" }),
        "message:delete" => json!({ "conversation_id": conversation, "message_id": message, "mode": "soft" }),
        "message:forward" => json!({
            "messages": [{ "conversation_id": conversation, "message_id": message }],
            "targets": [conversation],
            "temp_id": "by-hand-1",
        }),
        "message:react" | "message:unreact" => {
            json!({ "conversation_id": conversation, "message_id": message, "emoji": "👍" })
        }
        "conversation:create" => json!({ "kind": "group", "participants": ["ben"], "title": "Title" }),
        "conversation:add_participant" | "conversation:remove_participant" => {
            json!({ "conversation_id": conversation, "user_id": "ben" })
        }
        "media:upload_url" => json!({ "file_name": "dot.png", "content_type": "image/png", "size_bytes": 70 }),
        "media:download_url" => json!({ "media_id": id(None) }),
        "search:query" => json!({ "text": "hello" }),
        "conversation:list" | "sync" => json!({}),
        _ => json!({ "conversation_id": conversation }),
    };
    serde_json::to_string_pretty(&value).unwrap_or_default()
}

fn kind_title(kind: ConversationKind) -> &'static str {
    match kind {
        ConversationKind::Direct => "Direct",
        ConversationKind::Group => "Group",
        ConversationKind::Channel => "Channel",
    }
}

fn kind_help(kind: ConversationKind) -> &'static str {
    match kind {
        ConversationKind::Direct => "Exactly two people; creating it twice gives the same one",
        ConversationKind::Group => "Everybody posts",
        ConversationKind::Channel => "Only the owner and admins post; everyone reads",
    }
}
