//! Ties connection, state and views together: frames, commands, keys.

use std::sync::Arc;

use ackscope_protocol::control::{Command, CommandAnswer, Environment};
use ackscope_protocol::{MessageId, Timestamp};
use egui::{CentralPanel, Frame, Key, Margin, Modifiers, Panel, Ui};
use serde::{Deserialize, Serialize};
use web_time::Instant;

use crate::connection::{Address, AddressError, Connection, Incoming, Phase, Problem, Transport, Wake};
use crate::dock::{Dock, Layout, Pane};
use crate::state::Run;
use crate::status::{LaneStatus, Status};
use crate::theme::{self, Look, Tokens};
use crate::views::chats::Chats;
use crate::views::compare::{self, Compare};
use crate::views::dialogs::Dialog;
use crate::views::faults::Faults;
use crate::views::guide::{self, Guide};
use crate::views::inspector::Inspector;
use crate::views::latency::Latency;
use crate::views::palette::{self, Palette};
use crate::views::scenarios::Scenarios;
use crate::views::timeline::{self, Axis, Step, Timeline};
use crate::views::toasts::Toasts;
use crate::views::top_bar::{self, TopBar};
use crate::views::users::composer_id;
use crate::views::{Action, Focus, Scene, help, message_detail, pipeline, status_bar};

/// How long one frame may spend on taking and reducing messages.
const REDUCE_BUDGET_MS: u128 = 8;
/// And when it did not keep up in the frame before: a long run should be there soon, and each frame in between costs
/// what could be spent on it. Twenty a second still show that it comes.
const CATCH_UP_BUDGET_MS: u128 = 40;

/// Ctrl and one of these writes as the first … ninth user; alone, while nothing is being typed, the panes.
const DIGITS: [Key; 9] =
    [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8, Key::Num9];

/// What the app needs of the place it runs in.
pub trait Host {
    /// Shows what is drawn as a text, to automation and screen readers. Called only when it changed.
    fn show_status(&mut self, json: &str);
    /// Titles the window or tab. Called only when it changed.
    fn set_title(&mut self, title: &str);
    /// What [`Self::remember`] was given last, perhaps in another run of the app.
    fn remembered(&mut self) -> Option<String> {
        None
    }
    /// Keeps a text of at most 1,500 bytes for the next run. Called only when it changed.
    fn remember(&mut self, text: &str) {
        let _ = text;
    }
}

/// A host without a page around it.
#[derive(Debug, Default)]
pub struct NoPage;

impl Host for NoPage {
    fn show_status(&mut self, _json: &str) {}
    fn set_title(&mut self, _title: &str) {}

    /// It could not remember that the guide was shown.
    fn remembered(&mut self) -> Option<String> {
        Some(r#"{"has_seen_guide":true}"#.to_owned())
    }
}

/// What a person arranged, kept from run to run. What an older version did not write is as at first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Arranged {
    layout: Option<Layout>,
    look: Look,
    zoom: f32,
    /// Whether the guide was shown: it comes by itself only once.
    has_seen_guide: bool,
}

impl Default for Arranged {
    fn default() -> Self {
        Self { layout: None, look: Look::default(), zoom: 1.0, has_seen_guide: false }
    }
}

/// Zoom that is taken from what was remembered.
const ZOOM_RANGE: std::ops::RangeInclusive<f32> = 0.5..=3.0;

/// The interface.
#[expect(clippy::struct_excessive_bools, reason = "each is a state of its own; any of them may be there at a time")]
pub struct App {
    address: Result<Address, AddressError>,
    /// Taken by the connection in the first frame, when there is a time to begin with.
    transport: Option<Box<dyn Transport>>,
    connection: Option<Connection>,
    host: Box<dyn Host>,
    /// Whether the last frame left messages for the next.
    is_behind: bool,
    /// Whether a frame takes what there is, however long that lasts.
    is_patient: bool,
    run: Run,
    environment: Option<Environment>,
    business: BusinessClock,
    /// The latest time in the trace, and when it came by our own clock.
    latest: (u64, f64),
    dock: Dock,
    chats: Chats,
    timeline: Timeline,
    faults: Faults,
    latency: Latency,
    inspector: Inspector,
    scenarios: Scenarios,
    compare: Compare,
    focus: Focus,
    look: Look,
    /// What is to be put in place in the first frame.
    arrange: Option<Arranged>,
    remembered: String,
    dialog: Option<Dialog>,
    palette: Option<Palette>,
    is_help_open: bool,
    guide: Option<Guide>,
    has_seen_guide: bool,
    toasts: Toasts,
    actions: Vec<Action>,
    had_first_focus: bool,
    status: Status,
    title: String,
}

/// Business time between two welcomes.
#[derive(Clone, Copy, Debug, Default)]
struct BusinessClock {
    /// Business time at a time on our own clock, in seconds.
    base: Option<(Timestamp, f64)>,
}

impl BusinessClock {
    fn set(&mut self, at: Timestamp, now_secs: f64) {
        self.base = Some((at, now_secs));
    }

    fn now(&self, now_secs: f64) -> Option<Timestamp> {
        let (at, since_secs) = self.base?;
        Some(Timestamp::from_millis(at.as_millis().saturating_add(((now_secs - since_secs) * 1_000.0) as i64)))
    }

    fn advance(&mut self, by_ms: u64) {
        if let Some((at, _)) = &mut self.base {
            let by_ms = i64::try_from(by_ms).unwrap_or(i64::MAX);
            *at = Timestamp::from_millis(at.as_millis().saturating_add(by_ms));
        }
    }

    /// Business time never stands before what a timestamp of the trace has proved.
    fn not_before(&mut self, floor: Timestamp, now_secs: f64) {
        if self.now(now_secs).is_some_and(|now| now < floor) {
            self.set(floor, now_secs);
        }
    }
}

impl App {
    /// An app that connects in its first frame. What it is drawn in has its look from [`theme::install`].
    pub fn new(address: Result<Address, AddressError>, transport: Box<dyn Transport>, mut host: Box<dyn Host>) -> Self {
        let remembered = host.remembered().unwrap_or_default();
        // What cannot be read was written by another version: begin anew.
        let arranged: Arranged = serde_json::from_str(&remembered).unwrap_or_default();
        Self {
            address,
            transport: Some(transport),
            connection: None,
            host,
            is_behind: false,
            is_patient: false,
            run: Run::default(),
            environment: None,
            business: BusinessClock::default(),
            latest: (0, 0.0),
            dock: arranged.layout.as_ref().map(Dock::from_layout).unwrap_or_default(),
            chats: Chats::default(),
            timeline: Timeline::default(),
            faults: Faults::default(),
            latency: Latency::default(),
            inspector: Inspector::default(),
            scenarios: Scenarios::default(),
            compare: Compare::default(),
            focus: Focus::default(),
            look: arranged.look,
            guide: None,
            has_seen_guide: arranged.has_seen_guide,
            arrange: Some(arranged),
            remembered,
            dialog: None,
            palette: None,
            is_help_open: false,
            toasts: Toasts::default(),
            actions: Vec::new(),
            had_first_focus: false,
            status: Status::default(),
            title: String::new(),
        }
    }

    /// What the interface knows of the run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The control connection, from the first frame on.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// What was drawn last.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// How many lanes the last frame painted.
    pub fn painted_lanes(&self) -> usize {
        self.timeline.drawn().painted
    }

    /// Whether the timeline's filter still looks through lanes.
    pub fn is_filtering(&self) -> bool {
        self.timeline.is_filtering()
    }

    /// The message that is selected.
    pub fn selected(&self) -> Option<MessageId> {
        self.focus.selected
    }

    /// The recording beside the run.
    pub fn compared(&self) -> Option<&compare::Other> {
        self.compare.other()
    }

    /// The selection, the time cursor and the range.
    pub fn focus(&self) -> Focus {
        self.focus
    }

    /// From now on a frame takes what there is, however long that lasts: for pictures, which are to be the same on a slow
    /// machine.
    pub fn be_patient(&mut self) {
        self.is_patient = true;
    }

    /// Asks for something, as a view or a key would; it is done in the next frame.
    pub fn ask(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn is_ready(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_ready)
    }

    /// Time of the run now: the trace says nothing while nothing happens.
    fn now_us(&mut self, now_secs: f64) -> u64 {
        let latest_us = self.run.latest_us();
        if latest_us != self.latest.0 {
            self.latest = (latest_us, now_secs);
        }
        let quiet_secs = if self.is_ready() { (now_secs - self.latest.1).max(0.0) } else { 0.0 };
        latest_us.saturating_add((quiet_secs * 1e6) as u64)
    }

    fn take_messages(&mut self, ctx: &egui::Context) {
        let now_secs = ctx.input(|input| input.time);
        if self.connection.is_none()
            && let Ok(address) = &self.address
            && let Some(transport) = self.transport.take()
        {
            let ctx = ctx.clone();
            let wake: Wake = Arc::new(move || ctx.request_repaint());
            self.connection = Some(Connection::open(address.clone(), transport, wake, now_secs));
        }
        let Some(mut connection) = self.connection.take() else { return };
        let began = Instant::now();
        let budget_ms = if self.is_behind { CATCH_UP_BUDGET_MS } else { REDUCE_BUDGET_MS };
        let is_patient = self.is_patient;
        let has_time = || is_patient || began.elapsed().as_millis() < budget_ms;
        let may_be_more = connection.poll(now_secs, &has_time, &mut |incoming| self.take(incoming, now_secs));
        self.is_behind = may_be_more;
        if may_be_more {
            ctx.request_repaint();
        } else if let Some(secs) = connection.wakeup_in_secs(now_secs) {
            // Not later than in a second: the count-down of the next try is on the screen.
            ctx.request_repaint_after_secs((secs as f32).min(1.0) + 0.01);
        }
        self.connection = Some(connection);
        if let Some(floor) = self.run.business_floor() {
            self.business.not_before(floor, now_secs);
        }
    }

    fn take(&mut self, incoming: Incoming, now_secs: f64) {
        match incoming {
            Incoming::Welcome { same_run, environment, business_now } => {
                if !same_run {
                    self.run = Run::default();
                    self.timeline.forget_run();
                    self.chats = Chats::default();
                    self.inspector.forget_run();
                    self.compare.forget_run();
                    self.focus = Focus::default();
                    self.had_first_focus = false;
                }
                self.environment = Some(*environment);
                self.business.set(business_now, now_secs);
            }
            Incoming::Events(events) => {
                for event in events {
                    self.run.apply(event);
                }
            }
            Incoming::Missed { count } => self.run.skipped(count),
            Incoming::Scenario(progress) => self.scenarios.went(*progress),
            Incoming::Done { command, answer } => self.done(command, answer, now_secs),
            Incoming::Failed { command, reason } => self.failed(&command, &reason, now_secs),
        }
    }

    fn failed(&mut self, command: &Command, reason: &str, now_secs: f64) {
        let sentence = format!("{}: {reason}", command_title(command));
        if self.dialog.as_mut().is_some_and(|dialog| dialog.answered(command, Err(reason))) {
            return;
        }
        match command {
            // These panes say it where it belongs.
            Command::Inspect { place } => self.inspector.failed(place, reason.to_owned()),
            command if command.is_about_scenarios() => self.scenarios.failed(command, sentence),
            command if command.is_about_recordings() => self.compare.failed(command, reason),
            Command::Send { user, conversation_id, text, temp_id: None, .. } => {
                self.chats.user(user).restore(*conversation_id, text);
                self.toasts.push(sentence, now_secs);
            }
            // The chat says it too, where it was asked: once is enough.
            Command::Request { user, .. } | Command::CreateConversation { user, .. } => {
                self.toasts.push_refusal(sentence, user.clone(), reason.to_owned(), now_secs);
            }
            _ => self.toasts.push(sentence, now_secs),
        }
    }

    fn done(&mut self, command: Command, answer: CommandAnswer, now_secs: f64) {
        if command.is_about_scenarios() {
            self.scenarios.done(&command, answer);
            return;
        }
        if command.is_about_recordings() {
            if matches!(command, Command::CompareWith { .. }) {
                // What one compares for stands in front.
                self.dock.open(Pane::Timeline);
            }
            self.compare.done(command, answer);
            return;
        }
        match (command, answer) {
            (Command::CreateConversation { user, .. }, CommandAnswer::Created { conversation }) => {
                self.chats.user(&user).open(conversation.conversation_id);
            }
            (Command::AdvanceClock { by_ms }, _) => self.business.advance(by_ms),
            (Command::Upload { user, .. }, CommandAnswer::Uploaded { media_id }) => {
                self.chats.user(&user).attach(media_id);
            }
            (command @ Command::Request { .. }, CommandAnswer::Answered { answer }) => {
                if let Some(dialog) = &mut self.dialog {
                    dialog.answered(&command, Ok(&answer));
                }
            }
            (Command::Inspect { place }, CommandAnswer::Inspected { rows, more }) => {
                self.inspector.found(place, rows, more, self.business.now(now_secs));
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, ctx: &egui::Context) {
        let now_secs = ctx.input(|input| input.time);
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Do(command) => self.send(&command, now_secs),
                Action::Select(message_id) => {
                    self.focus.selected = message_id;
                    if let Some(number) = message_id.and_then(|message_id| self.run.lane_number(message_id)) {
                        self.timeline.show_lane(number);
                    }
                }
                Action::SelectInOther(message_id) => {
                    if let Some(own) = self.compare.select(message_id, &self.run) {
                        self.actions.push(Action::Select(Some(own)));
                    }
                }
                Action::EndComparison => self.compare.end(),
                Action::Cursor(cursor_us) => self.focus.cursor_us = cursor_us,
                Action::SelectRange(range) => self.select_range(range),
                Action::NewConversation(user) => self.dialog = Some(Dialog::new_conversation(user)),
                Action::AddUser => self.dialog = Some(Dialog::add_user()),
                Action::AnyRequest(user, conversation_id, event) => {
                    self.dialog = Some(Dialog::any_request(user, conversation_id, self.focus.selected, event));
                }
                Action::WriteAs(user) => {
                    self.dock.open(Pane::Users);
                    self.chats.show(&user);
                    ctx.memory_mut(|memory| memory.request_focus(composer_id(&user)));
                }
                Action::RetryConnection => {
                    if let Some(connection) = &mut self.connection {
                        connection.retry_now(now_secs);
                    }
                }
                Action::ToggleHelp => self.is_help_open = !self.is_help_open,
                Action::TogglePalette => {
                    self.palette = if self.palette.is_some() { None } else { Some(Palette::default()) };
                }
                Action::Look(look) => {
                    self.look = look;
                    look.apply(ctx);
                }
                Action::Zoom(factor) => ctx.set_zoom_factor(factor.clamp(*ZOOM_RANGE.start(), *ZOOM_RANGE.end())),
                Action::Show(pane) => self.dock.open(pane),
                Action::Hide(pane) => self.dock.close(pane),
                Action::ResetLayout => self.dock = Dock::default(),
                Action::ShowFaults(on) => {
                    self.dock.open(Pane::Faults);
                    self.faults.show(on);
                }
                Action::Inspect(place) => {
                    self.dock.open(Pane::Inspector);
                    self.inspector.show(place);
                }
                Action::Timeline(step) => {
                    self.dock.open(Pane::Timeline);
                    if let Some(range) = self.timeline.step(&self.run, step) {
                        self.select_range(Some(range));
                    }
                }
                Action::OpenScenario(path) => {
                    self.dock.open(Pane::Scenarios);
                    self.send(&Command::OpenScenario { path }, now_secs);
                }
                Action::SaveByHand => {
                    self.dock.open(Pane::Scenarios);
                    let command = self.scenarios.save_by_hand();
                    self.send(&command, now_secs);
                }
                Action::Tell(text) => self.toasts.push(text, now_secs),
                Action::Guide(go) => self.guide(go),
            }
            ctx.request_repaint();
        }
    }

    fn send(&mut self, command: &Command, now_secs: f64) {
        let Some(connection) = &mut self.connection else { return };
        if let Err(refused) = connection.send(command.clone(), now_secs) {
            self.failed(command, &refused.to_string(), now_secs);
        }
    }

    fn guide(&mut self, go: guide::Go) {
        self.has_seen_guide = true;
        let was_open = self.guide.is_some();
        self.guide = self.guide.unwrap_or_default().go(go);
        match self.guide {
            Some(guide) => self.dock.open(guide.pane()),
            // What one works with stands in front again.
            None if was_open => {
                for pane in [Pane::Timeline, Pane::Message] {
                    self.dock.open(pane);
                }
            }
            None => {}
        }
    }

    /// Comes by itself when the app is used for the first time and there is something to be seen.
    fn begin_guide(&mut self) {
        if !self.has_seen_guide && self.is_ready() && !self.run.users().is_empty() {
            self.actions.push(Action::Guide(guide::Go::Start));
        }
    }

    fn select_range(&mut self, range: Option<(u64, u64)>) {
        if range.is_some() && self.focus.range.is_none() {
            self.latency.show_range();
        }
        self.focus.range = range;
    }

    /// Keys that work everywhere; a dialog has the keyboard to itself.
    fn keys(&mut self, ui: &Ui) {
        let pressed = |modifiers, key| ui.input_mut(|input| input.consume_key(modifiers, key));
        let focused = ui.memory(egui::Memory::focused);
        let is_writing = ui.ctx().text_edit_focused();
        if pressed(Modifiers::NONE, Key::F1) || !is_writing && pressed(Modifiers::NONE, Key::Questionmark) {
            self.actions.push(Action::ToggleHelp);
        }
        if pressed(Modifiers::COMMAND, Key::K) && self.dialog.is_none() {
            self.is_help_open = false;
            self.actions.push(Action::TogglePalette);
        }
        if self.dialog.is_some() || self.is_help_open || self.palette.is_some() {
            return;
        }
        if self.guide.is_some()
            && let Some(go) = Guide::keys(ui)
        {
            self.actions.push(Action::Guide(go));
        }
        if pressed(Modifiers::COMMAND, Key::F) {
            self.actions.push(Action::Timeline(Step::Find));
        }
        for (index, key) in DIGITS.into_iter().enumerate() {
            if pressed(Modifiers::COMMAND, key)
                && let Some(user) = self.run.users().get(index)
            {
                // At once, because letters may come in the same frame; the action follows when the chat is not open.
                ui.memory_mut(|memory| memory.request_focus(composer_id(&user.user_id)));
                self.actions.push(Action::WriteAs(user.user_id.clone()));
            }
        }
        let mut step = 0;
        if pressed(Modifiers::ALT, Key::ArrowUp) {
            step = -1;
        } else if pressed(Modifiers::ALT, Key::ArrowDown) {
            step = 1;
        }
        if pressed(Modifiers::NONE, Key::Escape) {
            match focused {
                Some(id) => ui.memory_mut(|memory| memory.surrender_focus(id)),
                // One thing after the other: what was selected last is not what one wants to lose first.
                None if self.focus.cursor_us.is_some() => self.focus.cursor_us = None,
                None if self.focus.range.is_some() => self.focus.range = None,
                None => self.focus.selected = None,
            }
            for pane in self.chats.panes_mut() {
                pane.cancel_reply();
            }
        }
        if !is_writing {
            for (index, key) in DIGITS.into_iter().enumerate() {
                if let Some(pane) = Pane::ALL.get(index)
                    && pressed(Modifiers::NONE, key)
                {
                    self.actions.push(Action::Show(*pane));
                }
            }
            for (key, asked) in [
                (Key::T, Step::Count(Axis::SinceSent)),
                (Key::R, Step::Count(Axis::RunTime)),
                (Key::Num0, Step::ResetZoom),
                (Key::Plus, Step::ZoomIn),
                (Key::Equals, Step::ZoomIn),
                (Key::Minus, Step::ZoomOut),
                (Key::S, Step::RangeInView),
            ] {
                if pressed(Modifiers::NONE, key) {
                    self.actions.push(Action::Timeline(asked));
                }
            }
        }
        if focused.is_none() {
            if pressed(Modifiers::NONE, Key::Space) {
                self.actions.push(Action::Timeline(Step::TogglePause));
            }
            if pressed(Modifiers::NONE, Key::ArrowUp) {
                step = -1;
            } else if pressed(Modifiers::NONE, Key::ArrowDown) {
                step = 1;
            }
        }
        if step != 0 {
            let selected = self.focus.selected.and_then(|message_id| self.run.lane_number(message_id));
            if let Some(number) = self.timeline.neighbour(&self.run, selected, step) {
                self.focus.selected = self.run.lane(number).map(|lane| lane.message_id);
            }
        }
    }

    /// Somebody who opens the app can type at once.
    fn focus_first(&mut self, ui: &Ui) {
        if self.had_first_focus {
            return;
        }
        if let Some(user) = self.run.users().iter().find(|user| user.is_connected()) {
            self.had_first_focus = true;
            ui.memory_mut(|memory| memory.request_focus(composer_id(&user.user_id)));
        }
    }

    fn problem(&self) -> Option<Problem> {
        if let Err(error) = &self.address {
            return Some(Problem {
                what: format!("Ackscope does not know where its harness is: {error}"),
                advice: "Start the harness with “ackscope serve” and open the address it prints".to_owned(),
            });
        }
        match self.connection.as_ref()?.phase() {
            Phase::Waiting { problem, .. } | Phase::Stopped { problem } => Some(problem.clone()),
            Phase::Connecting { .. } | Phase::Ready => None,
        }
    }

    fn report(&mut self, ctx: &egui::Context) {
        let drawn = self.timeline.drawn();
        let status = Status {
            connected: self.is_ready(),
            users: self.run.users().len(),
            lanes: drawn.lanes,
            last_lane: drawn.last.and_then(|number| self.run.lane(number)).map(|lane| LaneStatus {
                text: lane.text.as_deref().map(ToOwned::to_owned),
                sender: lane.sender.and_then(|sender| self.run.user(sender)).map(|user| user.user_id.to_string()),
                state: lane.progress().as_str(),
            }),
        };
        let title = status.title(self.environment.as_ref().map(|environment| environment.backend.as_str()));
        if title != self.title {
            self.host.set_title(&title);
            #[cfg(not(target_arch = "wasm32"))]
            ctx.send_viewport_cmd(egui::ViewportCommand::Title(title.clone()));
            self.title = title;
        }
        let (look, zoom, has_seen_guide) = (self.look, ctx.zoom_factor(), self.has_seen_guide);
        let arranged = Arranged { layout: self.dock.layout(), look, zoom, has_seen_guide };
        // Dragging changes shares in every frame; what is remembered is where they come to rest.
        if !ctx.input(|input| input.pointer.any_down())
            && let Ok(text) = serde_json::to_string(&arranged)
            && text != self.remembered
        {
            self.host.remember(&text);
            self.remembered = text;
        }
        if status != self.status {
            self.host.show_status(&status.to_json());
            self.status = status;
        }
    }
}

#[cfg(any(target_arch = "wasm32", feature = "window"))]
impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        self.take_messages(ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.draw(ui);
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        Tokens::of(visuals).background.to_normalized_gamma_f32()
    }
}

impl App {
    /// Does what there is to do before a frame, and draws it.
    pub fn frame(&mut self, ui: &mut Ui) {
        self.take_messages(ui.ctx());
        self.draw(ui);
    }

    fn draw(&mut self, ui: &mut Ui) {
        if let Some(arranged) = self.arrange.take() {
            if arranged.look != Look::System {
                arranged.look.apply(ui.ctx());
            }
            if ZOOM_RANGE.contains(&arranged.zoom) && (arranged.zoom - 1.0).abs() > 0.01 {
                ui.ctx().set_zoom_factor(arranged.zoom);
            }
        }
        self.begin_guide();
        self.keys(ui);
        self.focus_first(ui);
        let now_secs = ui.input(|input| input.time);
        let tokens = Tokens::of(ui.visuals());
        let problem = self.problem();
        let business_now = self.business.now(now_secs);
        if business_now.is_some() {
            // The clock in the top bar shows seconds.
            ui.request_repaint_after_secs(1.0);
        }
        let now_us = self.now_us(now_secs);
        let is_ready = self.is_ready();
        let mut scene = Scene::new(&self.run, tokens, self.focus, &mut self.actions);
        scene.filter = self.timeline.filter().clone();
        scene.now_us = now_us;
        scene.business_now = business_now;
        scene.backend = self.environment.as_ref().map(|environment| environment.backend);
        scene.is_ready = is_ready;

        self.compare.ask(&mut scene);

        let bar = |margin: Margin| Frame::new().fill(tokens.surface).inner_margin(margin);
        Panel::top("top").frame(bar(Margin::symmetric(16, 0))).exact_size(48.0).show(ui, |ui| {
            let phase = self.connection.as_ref().map(Connection::phase);
            let open_panes: Vec<Pane> = Pane::ALL.into_iter().filter(|pane| self.dock.is_open(*pane)).collect();
            let environment = self.environment.as_ref();
            let scenario = self.scenarios.progress();
            TopBar { environment, phase, business_now, open_panes: &open_panes, look: self.look, scenario }
                .ui(ui, &mut scene);
        });
        Panel::bottom("status").frame(bar(Margin::symmetric(16, 0))).exact_size(28.0).show(ui, |ui| {
            status_bar::ui(ui, &scene, self.connection.as_ref().map_or(0, Connection::pending_commands));
        });
        if let Some(problem) = &problem {
            Panel::top("problem").frame(bar(Margin::ZERO)).show(ui, |ui| {
                let retry_in_secs = match self.connection.as_ref().map(Connection::phase) {
                    Some(Phase::Waiting { until_secs, .. }) => Some((until_secs - now_secs).max(0.0)),
                    _ => None,
                };
                top_bar::problem_ui(ui, &mut scene, problem, retry_in_secs);
            });
        }
        CentralPanel::no_frame().frame(Frame::new().fill(tokens.background)).show(ui, |ui| {
            let active_faults = self.run.faults().count();
            let title = |pane: Pane| match pane {
                // What is broken is said even when the pane is behind others.
                Pane::Faults if active_faults > 0 => format!("Faults ({active_faults})"),
                _ => pane.title().to_owned(),
            };
            let trailing = |ui: &mut Ui, pane: Pane| {
                if pane == Pane::Timeline && ui.available_width() > 880.0 {
                    ui.add_space(theme::space::M);
                    timeline::legend_ui(ui, tokens);
                }
            };
            let mut show = |ui: &mut Ui, pane: Pane| match pane {
                Pane::Users => self.chats.ui(ui, &mut scene),
                Pane::Timeline => match self.compare.other_mut() {
                    None => self.timeline.ui(ui, &mut scene),
                    Some(other) => compare::timelines_ui(ui, &mut scene, &mut self.timeline, other),
                },
                Pane::Message => message_detail::ui(ui, &mut scene),
                Pane::Faults => self.faults.ui(ui, &mut scene),
                Pane::Latency => self.latency.ui(ui, &mut scene),
                Pane::Pipeline => pipeline::ui(ui, &mut scene),
                Pane::Scenarios => self.scenarios.ui(ui, &mut scene),
                Pane::Inspector => self.inspector.ui(ui, &mut scene),
                Pane::Compare => self.compare.ui(ui, &mut scene),
            };
            self.dock.ui(ui, tokens, &title, &mut show, &trailing);
            if self.dock.layout().is_none() {
                views_closed_ui(ui, &mut scene);
            }
        });
        if let Some(dialog) = &mut self.dialog
            && dialog.ui(ui, &mut scene)
        {
            self.dialog = None;
        }
        if let Some(palette) = &mut self.palette {
            let paths = self.scenarios.files().iter().map(|file| file.path.as_str());
            let entries = palette::entries(&scene, paths);
            if palette.ui(ui, &mut scene, &entries) {
                self.palette = None;
            }
        }
        if self.is_help_open {
            let left = help::ui(ui, tokens);
            self.is_help_open = left == help::Left::Stays;
            if left == help::Left::ForGuide {
                self.actions.push(Action::Guide(guide::Go::Start));
            }
        }
        // What wants an answer first goes before it.
        if let Some(guide) = self.guide
            && self.dialog.is_none()
            && self.palette.is_none()
            && !self.is_help_open
            && let Some(go) = guide.ui(ui, tokens, self.dock.rect(guide.pane()))
        {
            self.actions.push(Action::Guide(go));
        }
        let (run, chats, is_in_front) = (&self.run, &self.chats, self.dock.is_in_front(Pane::Users));
        self.toasts.ui(ui, tokens, now_secs, &|user, reason| {
            is_in_front && chats.is_in_front(user) && run.says_to(user, reason)
        });
        self.carry_out(&ui.ctx().clone());
        self.report(&ui.ctx().clone());
    }
}

fn views_closed_ui(ui: &mut Ui, scene: &mut Scene<'_>) {
    let tokens = scene.tokens;
    crate::views::empty_state(
        ui,
        tokens,
        "Every pane is closed",
        "Panes stand in the menu View, and in Ctrl+K",
        |ui| {
            if ui.button("Reset layout").clicked() {
                scene.ask(Action::ResetLayout);
            }
        },
    );
}

fn command_title(command: &Command) -> String {
    let title = match command {
        Command::AddUser { .. } => "The user could not be added",
        Command::CreateConversation { .. } => "The conversation could not be created",
        Command::Send { .. } => "The message could not be sent",
        Command::Request { user, event, .. } => return format!("{event} of {user} was not carried out"),
        Command::Upload { .. } => "The file could not be uploaded",
        Command::AddDevice { .. } => "The device could not be connected",
        Command::ReadSlowly { .. } => "The pace of reading could not be changed",
        Command::DropConnection { .. } => "The connection could not be dropped",
        Command::Reconnect { .. } => "The user could not be reconnected",
        Command::AdvanceClock { .. } => "The clock could not be advanced",
        Command::SetFault { .. } => "The fault could not be set",
        Command::Heal { .. } => "The fault could not be healed",
        Command::ResetFaults => "The faults could not be healed",
        Command::PlayTour => "The tour could not be played",
        Command::Inspect { .. } => "It could not be looked into",
        Command::ListScenarios => "The scenario files could not be listed",
        Command::OpenScenario { .. } => "The scenario could not be opened",
        Command::CheckScenario { .. } => "The scenario could not be checked",
        Command::SaveScenario { .. } => "The scenario could not be saved",
        Command::ScenarioByHand { .. } => "What was done by hand could not be written down",
        Command::RunScenario { .. } => "The scenario could not be run",
        Command::Scenario { .. } => "The scenario did not follow",
        Command::ShowLive => "The run one started with could not be shown",
        Command::ListRecordings => "The recordings could not be listed",
        Command::CompareWith { .. } => "The recording cannot be compared",
        Command::ReadRecording { .. } => "The recording could not be read",
    };
    title.to_owned()
}
