//! How the run is shown. Each view is one module: its data, how it is drawn, and what it asks for.
//!
//! A view changes nothing but its own state: what should happen it puts into [`Scene::ask`].

pub mod chats;
pub mod compare;
pub mod dialogs;
pub mod faults;
pub mod guide;
pub mod help;
pub mod inspector;
pub mod latency;
pub mod message_detail;
pub mod palette;
pub mod pipeline;
pub mod scenarios;
pub mod status_bar;
pub mod timeline;
pub mod toasts;
pub mod top_bar;
pub mod users;
mod widgets;

pub(crate) use widgets::empty_state;

use ackscope_protocol::control::{BackendKind, Command, Place};
use ackscope_protocol::faults::Dependency;
use ackscope_protocol::{ConversationId, MessageId, Timestamp, UserId};

use crate::dock::Pane;
use crate::state::{Filter, Run};
use crate::theme::{Look, Tokens};

/// What a view asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A command for the harness.
    Do(Command),
    /// Select a message, or none.
    Select(Option<MessageId>),
    /// Select a message of the recording that stands beside the run.
    SelectInOther(MessageId),
    /// End the comparison with a recording.
    EndComparison,
    /// Put the time cursor at this time of the run, in microseconds, or take it away.
    Cursor(Option<u64>),
    /// Select a stretch of time of the run, in microseconds, or none.
    SelectRange(Option<(u64, u64)>),
    /// Open the dialog for a new conversation of this user.
    NewConversation(UserId),
    /// Open the dialog for a new user.
    AddUser,
    /// Open the dialog for any request of this user, about a conversation, at first with this event.
    AnyRequest(UserId, Option<ConversationId>, &'static str),
    /// Bring this user's chat to the front and put the text cursor into it.
    WriteAs(UserId),
    /// Connect again now.
    RetryConnection,
    /// Show or hide the cheat sheet.
    ToggleHelp,
    /// Show or hide the command palette.
    TogglePalette,
    /// How the app looks.
    Look(Look),
    /// Make everything this much larger.
    Zoom(f32),
    /// Bring a pane to the front.
    Show(Pane),
    /// Close a pane.
    Hide(Pane),
    /// The layout of the beginning.
    ResetLayout,
    /// Bring the faults of a dependency to the front.
    ShowFaults(Dependency),
    /// Look into a place.
    Inspect(Place),
    /// What the timeline can do.
    Timeline(timeline::Step),
    /// Open a scenario file.
    OpenScenario(String),
    /// Write what was done by hand as a scenario and ask where to save it.
    SaveByHand,
    /// Tell the person something.
    Tell(String),
    /// What the guide can do.
    Guide(guide::Go),
}

/// Most actions of one frame: a person cannot ask for more.
const ACTIONS_MAX: usize = 64;

/// What all views are about: one selection and one time cursor. Times are microseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Focus {
    /// The message that is selected.
    pub selected: Option<MessageId>,
    /// The time cursor.
    pub cursor_us: Option<u64>,
    /// The selected stretch of time; its end does not belong to it.
    pub range: Option<(u64, u64)>,
}

/// What views draw from, and where they put what they ask for.
pub struct Scene<'a> {
    /// The run.
    pub run: &'a Run,
    /// The colours.
    pub tokens: &'static Tokens,
    /// The message that is selected.
    pub selected: Option<MessageId>,
    /// The time cursor.
    pub cursor_us: Option<u64>,
    /// The selected stretch of time.
    pub range: Option<(u64, u64)>,
    /// What the timeline's filter lets through.
    pub filter: Filter,
    /// Time of the run now, in microseconds; the trace may be behind when nothing happens.
    pub now_us: u64,
    /// Business time now.
    pub business_now: Option<Timestamp>,
    /// Which backend runs.
    pub backend: Option<BackendKind>,
    /// Whether commands can be sent.
    pub is_ready: bool,
    actions: &'a mut Vec<Action>,
}

impl<'a> Scene<'a> {
    /// A scene that collects into `actions`.
    pub fn new(run: &'a Run, tokens: &'static Tokens, focus: Focus, actions: &'a mut Vec<Action>) -> Self {
        Self {
            run,
            tokens,
            selected: focus.selected,
            cursor_us: focus.cursor_us,
            range: focus.range,
            filter: Filter::default(),
            now_us: run.latest_us(),
            business_now: None,
            backend: None,
            is_ready: false,
            actions,
        }
    }

    /// Asks for something.
    pub fn ask(&mut self, action: Action) {
        if self.actions.len() < ACTIONS_MAX {
            self.actions.push(action);
        }
    }

    /// Asks for a command of the harness.
    pub fn command(&mut self, command: Command) {
        self.ask(Action::Do(command));
    }
}
