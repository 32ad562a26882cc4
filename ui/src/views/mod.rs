//! How the run is shown. Each view is one module: its data, how it is drawn, and what it asks for.
//!
//! A view changes nothing but its own state: what should happen it puts into [`Scene::ask`].

pub mod dialogs;
pub mod help;
pub mod message_detail;
pub mod status_bar;
pub mod timeline;
pub mod toasts;
pub mod top_bar;
pub mod users;
mod widgets;

pub(crate) use widgets::{empty_state, primary_button_ui};

use ackscope_protocol::control::Command;
use ackscope_protocol::{MessageId, UserId};

use crate::state::Run;
use crate::theme::Tokens;

/// What a view asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A command for the harness.
    Do(Command),
    /// Select a message, or none.
    Select(Option<MessageId>),
    /// Open the dialog for a new conversation of this user.
    NewConversation(UserId),
    /// Open the dialog for a new user.
    AddUser,
    /// Connect again now.
    RetryConnection,
    /// Show or hide the shortcuts.
    ToggleHelp,
    /// The other theme.
    ToggleTheme,
    /// Tell the person something.
    Tell(String),
}

/// Most actions of one frame: a person cannot ask for more.
const ACTIONS_MAX: usize = 64;

/// What views draw from, and where they put what they ask for.
pub struct Scene<'a> {
    /// The run.
    pub run: &'a Run,
    /// The colours.
    pub tokens: &'static Tokens,
    /// The message that is selected.
    pub selected: Option<MessageId>,
    /// Whether commands can be sent.
    pub is_ready: bool,
    actions: &'a mut Vec<Action>,
}

impl<'a> Scene<'a> {
    /// A scene that collects into `actions`.
    pub fn new(
        run: &'a Run,
        tokens: &'static Tokens,
        selected: Option<MessageId>,
        is_ready: bool,
        actions: &'a mut Vec<Action>,
    ) -> Self {
        Self { run, tokens, selected, is_ready, actions }
    }

    /// Asks for something.
    pub fn ask(&mut self, action: Action) {
        if self.actions.len() < ACTIONS_MAX {
            self.actions.push(action);
        }
    }
}
