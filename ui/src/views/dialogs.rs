//! What needs more input: a new user, a new conversation.

use ackscope_protocol::UserId;
use ackscope_protocol::control::Command;
use ackscope_protocol::text::Title;
use ackscope_protocol::wire::ConversationKind;
use egui::{Key, RichText, ScrollArea, TextEdit, TextStyle, Ui};

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

    /// Draws it. Returns whether it should close.
    pub fn ui(&mut self, ui: &Ui, scene: &mut Scene<'_>) -> bool {
        let modal = widgets::modal(ui, scene.tokens, "dialog", |ui| {
            ui.set_width(400.0);
            match self {
                Self::AddUser { name, focused } => add_user_ui(ui, scene, name, focused),
                Self::NewConversation(dialog) => dialog.ui(ui, scene),
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
