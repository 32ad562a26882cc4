//! Ties connection, state and views together: frames, commands, keys.

use std::collections::HashMap;
use std::sync::Arc;

use ackscope_protocol::control::{Command, CommandAnswer, Environment};
use ackscope_protocol::{MessageId, Timestamp, UserId};
use egui::{CentralPanel, Frame, Key, Margin, Modifiers, Panel, Stroke, Ui};
use egui_tiles::{Behavior, SimplificationOptions, Tile, TileId, Tiles, Tree, UiResponse};
use web_time::Instant;

use crate::connection::{Address, AddressError, Connection, Incoming, Phase, Problem, Transport, Wake};
use crate::state::Run;
use crate::status::{LaneStatus, Status};
use crate::theme::{self, Tokens};
use crate::views::dialogs::Dialog;
use crate::views::timeline::{self, Axis, Timeline};
use crate::views::toasts::Toasts;
use crate::views::top_bar::{self, TopBar};
use crate::views::users::{UserPane, composer_id};
use crate::views::{self, Action, Scene, help, message_detail, status_bar};

/// How long one frame may spend on taking and reducing messages.
const REDUCE_BUDGET_MS: u128 = 8;
/// Chat panes that stand side by side; further users come as tabs behind them.
const PANES_SIDE_BY_SIDE: usize = 4;
/// Most chat panes: nobody looks at more, and a load test has thousands of users.
pub const PANES_MAX: usize = 32;

/// Ctrl and one of these writes as the first … ninth user.
const DIGITS: [Key; 9] =
    [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8, Key::Num9];

/// What the app needs of the place it runs in.
pub trait Host {
    /// Shows what is drawn as a text, to automation and screen readers. Called only when it changed.
    fn show_status(&mut self, json: &str);
    /// Titles the window or tab. Called only when it changed.
    fn set_title(&mut self, title: &str);
}

/// A host without a page around it.
#[derive(Debug, Default)]
pub struct NoPage;

impl Host for NoPage {
    fn show_status(&mut self, _json: &str) {}
    fn set_title(&mut self, _title: &str) {}
}

/// What a tile holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pane {
    User(UserId),
    NoUsers,
    Timeline,
    Message,
}

/// The interface.
pub struct App {
    address: Result<Address, AddressError>,
    /// Taken by the connection in the first frame, when there is a time to begin with.
    transport: Option<Box<dyn Transport>>,
    connection: Option<Connection>,
    host: Box<dyn Host>,
    run: Run,
    environment: Option<Environment>,
    business: BusinessClock,
    panes: Panes,
    selected: Option<MessageId>,
    dialog: Option<Dialog>,
    is_help_open: bool,
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
    /// An app that connects in its first frame.
    pub fn new(
        ctx: &egui::Context,
        address: Result<Address, AddressError>,
        transport: Box<dyn Transport>,
        host: Box<dyn Host>,
    ) -> Self {
        theme::install(ctx);
        Self {
            address,
            transport: Some(transport),
            connection: None,
            host,
            run: Run::default(),
            environment: None,
            business: BusinessClock::default(),
            panes: Panes::default(),
            selected: None,
            dialog: None,
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
        self.panes.timeline.drawn().painted
    }

    /// The message that is selected.
    pub fn selected(&self) -> Option<MessageId> {
        self.selected
    }

    fn is_ready(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_ready)
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
        let has_time = || began.elapsed().as_millis() < REDUCE_BUDGET_MS;
        let may_be_more = connection.poll(now_secs, &has_time, &mut |incoming| self.take(incoming, now_secs));
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
                    self.panes.timeline.forget_run();
                    self.panes.forget_users();
                    self.selected = None;
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
            Incoming::Done { command, answer } => match (command, answer) {
                (Command::CreateConversation { user, .. }, CommandAnswer::Created { conversation }) => {
                    self.panes.user(&user).open(conversation.conversation_id);
                }
                (Command::AdvanceClock { by_ms }, _) => self.business.advance(by_ms),
                _ => {}
            },
            Incoming::Failed { command, reason } => {
                if let Command::Send { user, conversation_id, text, temp_id: None, .. } = &command {
                    self.panes.user(user).restore(*conversation_id, text);
                }
                self.toasts.push(format!("{}: {reason}", command_title(&command)), now_secs);
            }
        }
    }

    fn carry_out(&mut self, ctx: &egui::Context) {
        let now_secs = ctx.input(|input| input.time);
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Do(command) => {
                    let Some(connection) = &mut self.connection else { continue };
                    if let Err(refused) = connection.send(command.clone(), now_secs) {
                        let reason = refused.to_string();
                        self.take(Incoming::Failed { command, reason }, now_secs);
                    }
                }
                Action::Select(message_id) => {
                    self.selected = message_id;
                    if let Some(number) = message_id.and_then(|message_id| self.run.lane_number(message_id)) {
                        self.panes.timeline.show_lane(number);
                    }
                }
                Action::NewConversation(user) => self.dialog = Some(Dialog::new_conversation(user)),
                Action::AddUser => self.dialog = Some(Dialog::add_user()),
                Action::RetryConnection => {
                    if let Some(connection) = &mut self.connection {
                        connection.retry_now(now_secs);
                    }
                }
                Action::ToggleHelp => self.is_help_open = !self.is_help_open,
                Action::ToggleTheme => {
                    let other = match ctx.theme() {
                        egui::Theme::Dark => egui::Theme::Light,
                        egui::Theme::Light => egui::Theme::Dark,
                    };
                    ctx.set_theme(other);
                }
                Action::Tell(text) => self.toasts.push(text, now_secs),
            }
            ctx.request_repaint();
        }
    }

    /// Keys that work everywhere; a dialog has the keyboard to itself.
    fn keys(&mut self, ui: &Ui) {
        let pressed = |modifiers, key| ui.input_mut(|input| input.consume_key(modifiers, key));
        if pressed(Modifiers::NONE, Key::F1) {
            self.is_help_open = !self.is_help_open;
        }
        if self.dialog.is_some() || self.is_help_open {
            return;
        }
        if pressed(Modifiers::COMMAND, Key::F) {
            self.panes.timeline.focus_filter();
        }
        for (index, key) in DIGITS.into_iter().enumerate() {
            if pressed(Modifiers::COMMAND, key)
                && let Some(user) = self.run.users().get(index)
            {
                self.panes.show_user(&user.user_id);
                ui.memory_mut(|memory| memory.request_focus(composer_id(&user.user_id)));
            }
        }
        let mut step = 0;
        if pressed(Modifiers::ALT, Key::ArrowUp) {
            step = -1;
        } else if pressed(Modifiers::ALT, Key::ArrowDown) {
            step = 1;
        }
        let focused = ui.memory(egui::Memory::focused);
        if pressed(Modifiers::NONE, Key::Escape) {
            match focused {
                Some(id) => ui.memory_mut(|memory| memory.surrender_focus(id)),
                None => self.selected = None,
            }
            for pane in self.panes.users.values_mut() {
                pane.cancel_reply();
            }
        }
        if focused.is_none() {
            if pressed(Modifiers::NONE, Key::Space) {
                self.panes.timeline.toggle_pause(&self.run);
            }
            if pressed(Modifiers::NONE, Key::ArrowUp) {
                step = -1;
            } else if pressed(Modifiers::NONE, Key::ArrowDown) {
                step = 1;
            }
            if pressed(Modifiers::NONE, Key::T) {
                self.panes.timeline.set_axis(Axis::SinceSent);
            }
            if pressed(Modifiers::NONE, Key::R) {
                self.panes.timeline.set_axis(Axis::RunTime);
            }
            if pressed(Modifiers::NONE, Key::Num0) {
                self.panes.timeline.reset_zoom();
            }
        }
        if step != 0 {
            let selected = self.selected.and_then(|message_id| self.run.lane_number(message_id));
            if let Some(number) = self.panes.timeline.neighbour(&self.run, selected, step) {
                self.selected = self.run.lane(number).map(|lane| lane.message_id);
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
        let drawn = self.panes.timeline.drawn();
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
            #[cfg(target_arch = "wasm32")]
            let _ = ctx;
            self.title = title;
        }
        if status != self.status {
            self.host.show_status(&status.to_json());
            self.status = status;
        }
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        self.take_messages(ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.keys(ui);
        self.panes.follow_users(&self.run);
        self.focus_first(ui);
        let now_secs = ui.input(|input| input.time);
        let tokens = Tokens::of(ui.visuals());
        let is_ready = self.is_ready();
        let problem = self.problem();
        let business_now = self.business.now(now_secs);
        if business_now.is_some() {
            // The clock in the top bar shows seconds.
            ui.request_repaint_after_secs(1.0);
        }

        let mut scene = Scene::new(&self.run, tokens, self.selected, is_ready, &mut self.actions);
        let bar = |margin: Margin| Frame::new().fill(tokens.surface).inner_margin(margin);
        Panel::top("top").frame(bar(Margin::symmetric(16, 0))).exact_size(48.0).show(ui, |ui| {
            let phase = self.connection.as_ref().map(Connection::phase);
            TopBar { environment: self.environment.as_ref(), phase, business_now }.ui(ui, &mut scene);
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
            self.panes.ui(ui, &mut scene);
        });
        if let Some(dialog) = &mut self.dialog
            && dialog.ui(ui, &mut scene)
        {
            self.dialog = None;
        }
        if self.is_help_open && help::ui(ui, tokens) {
            self.is_help_open = false;
        }
        self.toasts.ui(ui, tokens, now_secs);
        self.carry_out(&ui.ctx().clone());
        self.report(&ui.ctx().clone());
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        Tokens::of(visuals).background.to_normalized_gamma_f32()
    }
}

/// The tiles and what each of them remembers.
struct Panes {
    tree: Tree<Pane>,
    users_row: TileId,
    shown_users: usize,
    users: HashMap<UserId, UserPane>,
    timeline: Timeline,
}

impl Default for Panes {
    fn default() -> Self {
        let mut tiles = Tiles::default();
        let no_users = tiles.insert_pane(Pane::NoUsers);
        let users_row = tiles.insert_horizontal_tile(vec![no_users]);
        let timeline = tiles.insert_pane(Pane::Timeline);
        let message = tiles.insert_pane(Pane::Message);
        let below = tiles.insert_container(egui_tiles::Linear::new_binary(
            egui_tiles::LinearDir::Horizontal,
            [timeline, message],
            0.70,
        ));
        let root = tiles.insert_container(egui_tiles::Linear::new_binary(
            egui_tiles::LinearDir::Vertical,
            [users_row, below],
            0.50,
        ));
        Self {
            tree: Tree::new(egui::Id::unique("panes"), root, tiles),
            users_row,
            shown_users: 0,
            users: HashMap::new(),
            timeline: Timeline::default(),
        }
    }
}

impl Panes {
    fn user(&mut self, user_id: &UserId) -> &mut UserPane {
        self.users.entry(user_id.clone()).or_default()
    }

    fn forget_users(&mut self) {
        let timeline = std::mem::take(&mut self.timeline);
        *self = Self { timeline, ..Self::default() };
    }

    /// A pane for each user that has come since the last frame.
    fn follow_users(&mut self, run: &Run) {
        let known = run.users().len().min(PANES_MAX);
        if known == self.shown_users {
            return;
        }
        if self.shown_users == 0
            && let Some(id) = self.tree.tiles.find_pane(&Pane::NoUsers)
        {
            self.tree.remove_recursively(id);
        }
        for user in run.users().iter().take(known).skip(self.shown_users) {
            let pane = self.tree.tiles.insert_pane(Pane::User(user.user_id.clone()));
            let beside = self.row_children();
            if beside.len() < PANES_SIDE_BY_SIDE {
                let tabs = self.tree.tiles.insert_tab_tile(vec![pane]);
                if let Some(Tile::Container(row)) = self.tree.tiles.get_mut(self.users_row) {
                    row.add_child(tabs);
                }
            } else if let Some(id) = beside.get(self.tree.tiles.len() % beside.len())
                && let Some(Tile::Container(container)) = self.tree.tiles.get_mut(*id)
            {
                // The person keeps what is in front.
                container.add_child(pane);
            }
        }
        self.shown_users = known;
    }

    fn row_children(&self) -> Vec<TileId> {
        match self.tree.tiles.get(self.users_row) {
            Some(Tile::Container(row)) => row.children().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Brings a user's pane to the front of its tabs.
    fn show_user(&mut self, user_id: &UserId) {
        self.tree.make_active(|_, tile| matches!(tile, Tile::Pane(Pane::User(other)) if other == user_id));
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let mut tiles = PaneTiles { users: &mut self.users, timeline: &mut self.timeline, scene };
        self.tree.ui(&mut tiles, ui);
    }
}

struct PaneTiles<'a, 'b> {
    users: &'a mut HashMap<UserId, UserPane>,
    timeline: &'a mut Timeline,
    scene: &'a mut Scene<'b>,
}

impl Behavior<Pane> for PaneTiles<'_, '_> {
    fn pane_ui(&mut self, ui: &mut Ui, _tile_id: TileId, pane: &mut Pane) -> UiResponse {
        ui.painter().rect_filled(ui.max_rect(), 0.0, self.scene.tokens.surface);
        match pane {
            Pane::User(user_id) => {
                let run = self.scene.run;
                if let Some(user) = run.user_by_id(user_id) {
                    self.users.entry(user_id.clone()).or_default().ui(ui, self.scene, user);
                }
            }
            Pane::NoUsers => no_users_ui(ui, self.scene),
            Pane::Timeline => self.timeline.ui(ui, self.scene),
            Pane::Message => message_detail::ui(ui, self.scene),
        }
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, pane: &Pane) -> egui::WidgetText {
        let tokens = self.scene.tokens;
        let title = match pane {
            Pane::User(user_id) => {
                let is_connected = self.scene.run.user_by_id(user_id).is_some_and(crate::state::User::is_connected);
                if is_connected {
                    user_id.to_string()
                } else {
                    return egui::RichText::new(format!("{user_id} (offline)")).color(tokens.text_weak).into();
                }
            }
            Pane::NoUsers => "Users".to_owned(),
            Pane::Timeline => "Timeline".to_owned(),
            Pane::Message => "Message".to_owned(),
        };
        egui::RichText::new(title).color(tokens.text).family(theme::strong_family()).into()
    }

    fn top_bar_right_ui(
        &mut self,
        tiles: &Tiles<Pane>,
        ui: &mut Ui,
        _tile_id: TileId,
        tabs: &egui_tiles::Tabs,
        _scroll_offset: &mut f32,
    ) {
        let is_timeline = tabs.active.and_then(|active| tiles.get_pane(&active)) == Some(&Pane::Timeline);
        if is_timeline && ui.available_width() > 560.0 {
            ui.add_space(theme::space::M);
            timeline::legend_ui(ui, self.scene.tokens);
        }
    }

    fn tab_bar_height(&self, _style: &egui::Style) -> f32 {
        32.0
    }

    fn gap_width(&self, _style: &egui::Style) -> f32 {
        6.0
    }

    fn min_size(&self) -> f32 {
        160.0
    }

    fn tab_title_spacing(&self, _visuals: &egui::Visuals) -> f32 {
        12.0
    }

    fn tab_bar_color(&self, _visuals: &egui::Visuals) -> egui::Color32 {
        self.scene.tokens.surface
    }

    fn tab_bg_color(
        &self,
        _visuals: &egui::Visuals,
        _tiles: &Tiles<Pane>,
        _tile_id: TileId,
        _state: &egui_tiles::TabState,
    ) -> egui::Color32 {
        self.scene.tokens.surface
    }

    fn tab_outline_stroke(
        &self,
        _visuals: &egui::Visuals,
        _tiles: &Tiles<Pane>,
        _tile_id: TileId,
        _state: &egui_tiles::TabState,
    ) -> Stroke {
        Stroke::NONE
    }

    fn tab_bar_hline_stroke(&self, _visuals: &egui::Visuals) -> Stroke {
        Stroke::new(1.0, self.scene.tokens.border)
    }

    fn resize_stroke(&self, _style: &egui::Style, resize_state: egui_tiles::ResizeState) -> Stroke {
        let tokens = self.scene.tokens;
        let color = match resize_state {
            egui_tiles::ResizeState::Idle => tokens.background,
            egui_tiles::ResizeState::Hovering => tokens.border,
            egui_tiles::ResizeState::Dragging => tokens.accent,
        };
        Stroke::new(6.0, color)
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions {
            prune_empty_tabs: true,
            // Every pane has a tab, which is its title and its handle. The row of users must stay even with one
            // user in it, or the next would find no place.
            all_panes_must_have_tabs: true,
            ..SimplificationOptions::OFF
        }
    }
}

fn no_users_ui(ui: &mut Ui, scene: &mut Scene<'_>) {
    let tokens = scene.tokens;
    let (title, text) = if scene.is_ready {
        ("No users yet", "Let the tour bring some along, or add one and write as that user")
    } else {
        ("Waiting for the harness", "Simulated users appear here as soon as it answers")
    };
    let is_ready = scene.is_ready;
    views::empty_state(ui, tokens, title, text, |ui| {
        if is_ready && views::primary_button_ui(ui, tokens, "Add user…").clicked() {
            scene.ask(Action::AddUser);
        }
    });
}

fn command_title(command: &Command) -> &'static str {
    match command {
        Command::AddUser { .. } => "The user could not be added",
        Command::CreateConversation { .. } => "The conversation could not be created",
        Command::Send { .. } => "The message could not be sent",
        Command::DropConnection { .. } => "The connection could not be dropped",
        Command::Reconnect { .. } => "The user could not be reconnected",
        Command::AdvanceClock { .. } => "The clock could not be advanced",
        Command::SetFault { .. } => "The fault could not be set",
        Command::Heal { .. } => "The fault could not be healed",
        Command::ResetFaults => "The faults could not be healed",
        Command::PlayTour => "The tour could not be played",
    }
}
