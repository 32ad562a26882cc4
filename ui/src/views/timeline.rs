//! The timeline: a lane for each message.
//!
//! Only rows in view are touched, and in run time only lanes near the visible window (binary searches), so a
//! frame costs the same however long the run is.

use egui::accesskit::Role;
use egui::{
    Align2, Color32, Frame, Id, Margin, Painter, Rect, Response, RichText, ScrollArea, Sense, Stroke, StrokeKind,
    TextEdit, TextStyle, Ui, Vec2, pos2,
};

use super::{Action, Scene, widgets};
use crate::format::{self, duration, thousands};
use crate::state::{
    DELIVERED_BUDGET_US, FaultSpan, Filter, Lane, LaneList, LaneNumber, Only, PENDING_BUDGET_US, Progress, Run, Span,
};
use crate::theme::{BAR_HEIGHT, LANE_HEIGHT, MARK_WIDTH_MIN, RADIUS, RADIUS_BAR, Tokens, space, strong_family};

/// Shortest and longest stretch of time that can fill the axis, in microseconds.
const WIDTH_RANGE_US: std::ops::RangeInclusive<f64> = 100.0..=24.0 * 3_600.0 * 1e6;
/// "Since sent" at first: both budgets are in view.
const SINCE_SENT_WIDTH_US: f64 = 125_000.0;
/// "Run time" at first.
const RUN_TIME_WIDTH_US: f64 = 10_000_000.0;

/// What the horizontal axis counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axis {
    /// Every lane begins at 0, so that milliseconds can be compared.
    #[default]
    SinceSent,
    /// Since the run began.
    RunTime,
}

/// What can be asked of the timeline from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Stop, or go on and follow the newest.
    TogglePause,
    /// Count from there.
    Count(Axis),
    /// Back to the windows of the beginning.
    ResetZoom,
    /// Show less time.
    ZoomIn,
    /// Show more time.
    ZoomOut,
    /// Put the text cursor into the filter.
    Find,
    /// List only these.
    Only(Only),
    /// List everything.
    ClearFilter,
    /// Select the time that is in view.
    RangeInView,
}

/// A stretch of time, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    from_us: f64,
    width_us: f64,
}

impl Window {
    fn to_us(self) -> f64 {
        self.from_us + self.width_us
    }

    fn zoom(&mut self, factor: f64, around_us: f64) {
        let width_us = (self.width_us / factor).clamp(*WIDTH_RANGE_US.start(), *WIDTH_RANGE_US.end());
        let share = (around_us - self.from_us) / self.width_us;
        self.from_us = (around_us - share * width_us).max(0.0);
        self.width_us = width_us;
    }

    fn pan(&mut self, by_us: f64) {
        self.from_us = (self.from_us + by_us).max(0.0);
    }
}

/// Where the timeline stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pause {
    end_lane: u64,
    now_us: u64,
}

/// What was drawn last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// How many lanes are listed.
    pub lanes: usize,
    /// How many lanes were painted.
    pub painted: usize,
    /// The last lane that was painted.
    pub last: Option<LaneNumber>,
}

/// The timeline's own state.
#[derive(Debug)]
pub struct Timeline {
    axis: Axis,
    filter: Filter,
    list: LaneList,
    since_sent: Window,
    run_time: Window,
    is_following: bool,
    pause: Option<Pause>,
    scroll_to: Option<LaneNumber>,
    wants_filter_focus: bool,
    is_filtering: bool,
    drawn: Drawn,
    /// Where a range began that is being drawn: a time in run time, a row's time since sent.
    range_from_us: Option<u64>,
    /// Kept from lane to lane, so that drawing does not allocate.
    spans: Vec<Span>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            axis: Axis::default(),
            filter: Filter::default(),
            list: LaneList::default(),
            since_sent: Window { from_us: 0.0, width_us: SINCE_SENT_WIDTH_US },
            run_time: Window { from_us: 0.0, width_us: RUN_TIME_WIDTH_US },
            is_following: true,
            pause: None,
            scroll_to: None,
            wants_filter_focus: false,
            is_filtering: false,
            drawn: Drawn::default(),
            range_from_us: None,
            spans: Vec::new(),
        }
    }
}

/// Where the parts of a row lie.
#[derive(Clone, Copy)]
struct Columns {
    label: egui::Rangef,
    bars: egui::Rangef,
    result: egui::Rangef,
}

impl Columns {
    fn new(rect: Rect) -> Self {
        let label = (rect.width() * 0.24).clamp(110.0, 280.0);
        let result = 148.0;
        let left = rect.left() + space::M;
        Self {
            label: egui::Rangef::new(left, left + label - space::S),
            bars: egui::Rangef::new(left + label, (rect.right() - result).max(left + label + 40.0)),
            result: egui::Rangef::new(rect.right() - result + space::M, rect.right() - space::M),
        }
    }
}

/// Maps times to points.
#[derive(Clone, Copy)]
struct Scale {
    window: Window,
    x: egui::Rangef,
}

impl Scale {
    fn x(self, us: f64) -> f32 {
        let share = (us - self.window.from_us) / self.window.width_us;
        // Far outside, `f32` would lose the edge that is still in view.
        self.x.min + (share.clamp(-10.0, 10.0) * f64::from(self.x.span())) as f32
    }

    fn us(self, x: f32) -> f64 {
        self.window.from_us + f64::from((x - self.x.min) / self.x.span()) * self.window.width_us
    }

    fn us_per_point(self) -> f64 {
        self.window.width_us / f64::from(self.x.span())
    }
}

impl Timeline {
    /// What was drawn last.
    pub fn drawn(&self) -> Drawn {
        self.drawn
    }

    /// Whether the filter has not looked at every lane yet.
    pub fn is_filtering(&self) -> bool {
        self.is_filtering
    }

    /// Whether it stands still.
    pub fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// What is listed.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Does what was asked. A range that it selects is given back.
    pub fn step(&mut self, run: &Run, step: Step) -> Option<(u64, u64)> {
        let middle_us = match self.axis {
            // What begins at 0 stays there.
            Axis::SinceSent => self.since_sent.from_us,
            Axis::RunTime => self.run_time.from_us + self.run_time.width_us / 2.0,
        };
        match step {
            Step::TogglePause => self.toggle_pause(run),
            Step::Count(axis) => self.axis = axis,
            Step::ResetZoom => self.reset_zoom(),
            Step::ZoomIn => self.window_mut().zoom(1.5, middle_us),
            Step::ZoomOut => self.window_mut().zoom(1.0 / 1.5, middle_us),
            Step::Find => self.wants_filter_focus = true,
            Step::Only(only) => self.filter.only = only,
            Step::ClearFilter => self.filter = Filter::default(),
            Step::RangeInView => {
                self.axis = Axis::RunTime;
                let window = self.run_time;
                return Some((window.from_us as u64, window.to_us() as u64));
            }
        }
        None
    }

    fn toggle_pause(&mut self, run: &Run) {
        if self.pause.take().is_some() {
            self.is_following = true;
        } else {
            self.pause = Some(Pause { end_lane: run.lane_range().end, now_us: run.latest_us() });
        }
    }

    fn reset_zoom(&mut self) {
        self.since_sent = Window { from_us: 0.0, width_us: SINCE_SENT_WIDTH_US };
        self.run_time.width_us = RUN_TIME_WIDTH_US;
        self.is_following = true;
    }

    /// Forgets what belongs to a run.
    pub fn forget_run(&mut self) {
        self.list = LaneList::default();
        // Nothing of it is on the screen any more, even when this pane is behind others.
        self.drawn = Drawn::default();
        self.pause = None;
        self.is_following = true;
        self.scroll_to = None;
    }

    /// The message above (-1) or below (1) the selected one; without one, the newest.
    pub fn neighbour(&mut self, run: &Run, selected: Option<LaneNumber>, step: isize) -> Option<LaneNumber> {
        let last = self.list.len().checked_sub(1)?;
        let row = match selected.and_then(|number| self.list.row_of(number)) {
            Some(row) => row.saturating_add_signed(step).min(last),
            None => last,
        };
        let number = self.list.get(row).filter(|number| run.lane(*number).is_some())?;
        self.show_lane(number);
        Some(number)
    }

    /// Scrolls to a lane in the next frame.
    pub fn show_lane(&mut self, number: LaneNumber) {
        self.scroll_to = Some(number);
    }

    /// What the horizontal axis counts.
    pub fn axis(&self) -> Axis {
        self.axis
    }

    /// Shows the same stretch of time as another one, through the same filter.
    pub fn look_like(&mut self, other: &Self) {
        if self.filter != other.filter {
            self.filter.clone_from(&other.filter);
        }
        self.axis = other.axis;
        self.move_like(other);
        self.is_following = false;
    }

    /// Shows the same stretch of time as another one.
    pub fn move_like(&mut self, other: &Self) {
        if self.run_time != other.run_time {
            self.is_following = false;
        }
        (self.since_sent, self.run_time) = (other.since_sent, other.run_time);
    }

    /// Whether it shows another stretch of time than this one.
    pub fn is_moved(&self, other: &Self) -> bool {
        (self.since_sent, self.run_time) != (other.since_sent, other.run_time)
    }

    /// Draws the pane.
    pub fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        self.bar_ui(ui, scene);
        self.body_ui(ui, scene);
    }

    /// Draws what stands above the lanes.
    pub fn bar_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        Frame::new().inner_margin(Margin { left: 12, right: 12, top: 8, bottom: 4 }).show(ui, |ui| {
            self.toolbar_ui(ui, scene);
        });
    }

    /// Draws the lanes, or what stands in their place.
    pub fn body_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        self.is_filtering = self.list.update(scene.run, &self.filter);
        if self.is_filtering {
            ui.request_repaint();
        }
        if scene.run.counts().lanes == 0 {
            self.drawn = Drawn::default();
            let is_ready = scene.is_ready;
            widgets::empty_state(
                ui,
                scene.tokens,
                "No messages yet",
                "Write one in a chat and press Enter, or let the simulated users begin",
                |ui| {
                    let button = widgets::primary_button(scene.tokens, "Play the tour");
                    if ui.add_enabled(is_ready, button).clicked() {
                        scene.ask(Action::Do(ackscope_protocol::control::Command::PlayTour));
                    }
                },
            );
            return;
        }
        if self.list.is_empty() {
            self.drawn = Drawn::default();
            widgets::empty_state(ui, scene.tokens, "No message passes the filter", "Look for something else", |ui| {
                if ui.button("Show all messages").clicked() {
                    self.filter = Filter::default();
                }
            });
            return;
        }
        self.lanes_ui(ui, scene);
    }

    fn toolbar_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let tokens = scene.tokens;
        let counts = *scene.run.counts();
        // Wrapped, so that nothing is cut off in a narrow pane or at 150 %.
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = Vec2::splat(space::XS);
            let small = |text: &str| RichText::new(text).text_style(TextStyle::Small);
            let chosen = |ui: &mut Ui, is_chosen: bool, text: &str| {
                ui.add(egui::Button::selectable(is_chosen, small(text))).clicked()
            };
            if chosen(ui, self.axis == Axis::SinceSent, "Since sent") {
                self.axis = Axis::SinceSent;
            }
            if chosen(ui, self.axis == Axis::RunTime, "Run time") {
                self.axis = Axis::RunTime;
            }
            ui.separator();
            for (only, text, number) in [
                (Only::All, "All", counts.lanes),
                (Only::OverBudget, "Over budget", counts.over_budget),
                (Only::Rejected, "Rejected", counts.in_progress(Progress::Rejected)),
            ] {
                if chosen(ui, self.filter.only == only, &format!("{text} {}", thousands(number))) {
                    self.filter.only = only;
                }
            }
            ui.separator();
            let field = ui.add(
                TextEdit::singleline(&mut self.filter.needle)
                    .id(Id::unique("lane filter"))
                    .hint_text(RichText::new("Find…").color(tokens.text_weak))
                    .desired_width(72.0),
            );
            let field = field.accessible_name("Find messages");
            if self.wants_filter_focus {
                self.wants_filter_focus = false;
                field.request_focus();
            }
            if !self.filter.needle.is_empty() && ui.add(widgets::quiet_button(tokens, "Clear")).clicked() {
                self.filter.needle.clear();
            }
            ui.separator();
            let mut step = None;
            let (text, hint) = match self.axis {
                Axis::SinceSent => ("Budgets", "Back to a view with both budgets in it (0)"),
                Axis::RunTime => ("Follow", "Back to the newest messages (0)"),
            };
            for (text, hint, asked) in [
                (text, hint, Step::ResetZoom),
                ("−", "Zoom out (Ctrl+scroll, −)", Step::ZoomOut),
                ("+", "Zoom in (Ctrl+scroll, +)", Step::ZoomIn),
                if self.is_paused() {
                    ("Go on", "Follow the newest messages again (Space)", Step::TogglePause)
                } else {
                    ("Pause", "Keep what is shown while more arrives (Space)", Step::TogglePause)
                },
            ] {
                if ui.button(small(text)).on_hover_text(hint).clicked() {
                    step = Some(asked);
                }
            }
            if let Some((from_us, to_us)) = scene.range {
                let text = format!("Range {} – {}", duration(from_us), duration(to_us));
                let range = ui.add(egui::Button::selectable(true, small(&text)));
                if range.accessible_name("Clear range").on_hover_text(format!("{text}: click to clear it")).clicked() {
                    scene.ask(Action::SelectRange(None));
                }
            } else {
                let hint = "Select the time in view; Shift+drag over lanes selects any other. \
                            The Latency pane then counts what was sent in it";
                if ui.button(small("Range")).on_hover_text(hint).clicked() {
                    step = Some(Step::RangeInView);
                }
            }
            if let Some(step) = step {
                scene.ask(Action::Timeline(step));
            }
        });
    }

    fn window_mut(&mut self) -> &mut Window {
        match self.axis {
            Axis::SinceSent => &mut self.since_sent,
            Axis::RunTime => &mut self.run_time,
        }
    }

    /// The rows that are listed now.
    fn rows(&mut self, run: &Run) -> std::ops::Range<usize> {
        let pause = self.pause;
        let end = pause.map_or_else(|| self.list.len(), |pause| self.list.row_from(LaneNumber(pause.end_lane)));
        match self.axis {
            Axis::SinceSent => 0..end,
            Axis::RunTime => {
                let now_us = pause.map_or_else(|| run.latest_us(), |pause| pause.now_us);
                if self.is_following && pause.is_none() {
                    // A little room, so that the newest does not stick to the edge.
                    let to_us = now_us as f64 + self.run_time.width_us * 0.05;
                    self.run_time.from_us = (to_us - self.run_time.width_us).max(0.0);
                }
                let from_us = (self.run_time.from_us as u64).saturating_sub(run.longest_lane_us());
                let first = self.list.row_from(run.first_lane_from(from_us));
                let last = self.list.row_from(run.first_lane_from(self.run_time.to_us() as u64 + 1));
                first.min(end)..last.min(end)
            }
        }
    }

    fn lanes_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let tokens = scene.tokens;
        let rows = self.rows(scene.run);
        let window = *self.window_mut();
        ui.spacing_mut().item_spacing.y = 0.0;
        let (header, axis) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 24.0), Sense::click());
        widgets::name(&axis, Role::Slider, "Time axis");
        let area = Rect::from_min_max(header.min, ui.max_rect().max);
        let columns = Columns::new(area);
        let scale = Scale { window, x: columns.bars };
        self.axis_ui(ui, tokens, header, scale);
        let lanes_area = area.with_min_y(header.bottom());
        self.time_ui(ui, scene, lanes_area, scale);
        if axis.clicked()
            && let Some(pointer) = axis.interact_pointer_pos()
        {
            let origin_us = self.cursor_origin_us(scene);
            scene.ask(Action::Cursor(origin_us.map(|origin_us| origin_us + scale.us(pointer.x).max(0.0) as u64)));
        }
        axis.on_hover_text("Click to put the time cursor here; every pane shows that moment");

        let mut scroll = ScrollArea::vertical()
            .id_salt(("lanes", self.axis == Axis::RunTime))
            .auto_shrink(false)
            .stick_to_bottom(self.pause.is_none());
        if let Some(row) = self.scroll_to.take().and_then(|number| self.list.row_of(number))
            && rows.contains(&row)
        {
            let top = (row - rows.start) as f32 * LANE_HEIGHT;
            let height = (ui.available_height() - LANE_HEIGHT).max(LANE_HEIGHT);
            let id = ui.make_persistent_id(egui::IdSalt::new(("lanes", self.axis == Axis::RunTime)));
            let offset = egui::scroll_area::State::load(ui.ctx(), id).map_or(0.0, |state| state.clamped_offset().y);
            // What sticks to its end would go back there at once.
            if top < offset {
                scroll = scroll.stick_to_bottom(false).vertical_scroll_offset(top);
            } else if top > offset + height {
                scroll = scroll.stick_to_bottom(false).vertical_scroll_offset(top - height);
            }
        }
        let mut dragged_points = 0.0;
        let is_range = ui.input(|input| input.modifiers.shift) || self.range_from_us.is_some();
        let mut is_dragging = false;
        let mut under_pointer = None;
        // A drag is noticed a few points after the press.
        let mut under_press = None;
        self.drawn = Drawn { lanes: self.list.len(), painted: 0, last: None };
        let clip = ui.available_rect_before_wrap();
        scroll.show_rows(ui, LANE_HEIGHT, rows.len(), |ui, visible| {
            for row in visible {
                let Some(number) = self.list.get(rows.start + row) else { continue };
                let Some(lane) = scene.run.lane(number) else { continue };
                let (rect, response) =
                    ui.allocate_exact_size(Vec2::new(ui.available_width(), LANE_HEIGHT), Sense::click_and_drag());
                if is_range && response.dragged() {
                    is_dragging = true;
                } else {
                    dragged_points += response.drag_delta().x;
                }
                let (pressed_at, pointer) =
                    ui.input(|input| (input.pointer.press_origin(), input.pointer.interact_pos()));
                let time_at = |pos: Option<egui::Pos2>| {
                    let pos = pos.filter(|pos| rect.y_range().contains(pos.y))?;
                    Some(match self.axis {
                        Axis::RunTime => scale.us(pos.x).max(0.0) as u64,
                        Axis::SinceSent => lane.origin_us(),
                    })
                };
                under_pointer = time_at(pointer).or(under_pointer);
                under_press = time_at(pressed_at).or(under_press);
                let seen = rect.intersect(clip);
                // One row above and one below are laid out so that scrolling has no gaps: they are not in view.
                if seen.height() >= LANE_HEIGHT * 0.5 {
                    self.drawn.painted += 1;
                    self.drawn.last = Some(number);
                }
                self.lane_ui(ui, scene, lane, row, rect, columns, scale, response);
            }
        });
        self.over_ui(ui, scene, lanes_area, scale);
        if is_dragging {
            if let Some(at_us) = under_pointer {
                let from_us = *self.range_from_us.get_or_insert(under_press.unwrap_or(at_us));
                // The lane under the pointer belongs to the range.
                scene.ask(Action::SelectRange(Some((from_us.min(at_us), from_us.max(at_us) + 1))));
            }
        } else {
            self.range_from_us = None;
        }
        self.navigate(ui, area, scale, dragged_points);
    }

    /// What the cursor's time counts from on this axis.
    fn cursor_origin_us(&self, scene: &Scene<'_>) -> Option<u64> {
        match self.axis {
            Axis::RunTime => Some(0),
            Axis::SinceSent => Some(scene.run.lane_of(scene.selected?)?.origin_us()),
        }
    }

    /// What lies behind all lanes: faults and the selected range.
    fn time_ui(&self, ui: &Ui, scene: &Scene<'_>, area: Rect, scale: Scale) {
        let tokens = scene.tokens;
        let painter = ui.painter().with_clip_rect(Rect::from_x_y_ranges(scale.x, area.y_range()));
        let band = |from_us: u64, to_us: u64| {
            let left = scale.x(from_us as f64);
            Rect::from_x_y_ranges(left..=scale.x(to_us as f64).max(left + MARK_WIDTH_MIN), area.y_range())
        };
        if self.axis == Axis::RunTime {
            for fault in faults_in(scene.run, scale.window.from_us as u64, scale.window.to_us() as u64) {
                let rect = band(fault.from_us, fault.to_us.unwrap_or(scene.now_us));
                painter.rect_filled(rect, 0.0, tokens.rejected.gamma_multiply(0.12));
                painter.vline(rect.left(), rect.y_range(), Stroke::new(1.0, tokens.rejected.gamma_multiply(0.6)));
            }
            if let Some((from_us, to_us)) = scene.range {
                painter.rect_filled(band(from_us, to_us), 0.0, tokens.accent.gamma_multiply(0.14));
            }
        }
    }

    /// What must not be hidden by a lane: names of faults, ends of the range, the cursor.
    fn over_ui(&self, ui: &Ui, scene: &Scene<'_>, area: Rect, scale: Scale) {
        let tokens = scene.tokens;
        let painter = ui.painter().with_clip_rect(Rect::from_x_y_ranges(scale.x, area.y_range()));
        if self.axis == Axis::RunTime {
            let small = TextStyle::Small.resolve(ui.style());
            // One name for each dependency: further ones would lie over it.
            let mut bottom = area.bottom() - 3.0;
            let mut named: Vec<&str> = Vec::new();
            for fault in faults_in(scene.run, scale.window.from_us as u64, scale.window.to_us() as u64) {
                if named.contains(&fault.target.as_str()) {
                    continue;
                }
                named.push(&fault.target);
                let text = format!("{} {}", fault.target, fault.kind);
                let galley = painter.layout_no_wrap(text, small.clone(), tokens.rejected);
                let left = (scale.x(fault.from_us as f64).max(scale.x.min) + 3.0).min(scale.x.max - galley.size().x);
                let rect = Rect::from_min_size(pos2(left, bottom - galley.size().y), galley.size());
                painter.rect_filled(rect.expand(2.0), RADIUS_BAR, tokens.surface.gamma_multiply(0.85));
                painter.galley(rect.min, galley, tokens.rejected);
                bottom -= rect.height() + 4.0;
            }
            for at_us in scene.range.into_iter().flat_map(|(from_us, to_us)| [from_us, to_us]) {
                painter.vline(scale.x(at_us as f64), area.y_range(), Stroke::new(1.0, tokens.accent));
            }
        }
        if let (Some(cursor_us), Some(origin_us)) = (scene.cursor_us, self.cursor_origin_us(scene)) {
            let x = scale.x(cursor_us as f64 - origin_us as f64);
            painter.vline(x, area.y_range(), Stroke::new(1.5, tokens.accent));
        }
    }

    /// Zooming and panning.
    fn navigate(&mut self, ui: &Ui, area: Rect, scale: Scale, dragged_points: f32) {
        let mut pan_points = f64::from(dragged_points);
        if ui.rect_contains_pointer(area) {
            let (zoom, scroll_x, pointer) =
                ui.input(|input| (input.zoom_delta(), input.smooth_scroll_delta().x, input.pointer.hover_pos()));
            if (zoom - 1.0).abs() > f32::EPSILON
                && let Some(pointer) = pointer
            {
                // "Since sent" keeps its zero while it is in view: that is where bars begin.
                let around_us = match self.axis {
                    Axis::SinceSent if scale.window.from_us <= 0.0 => 0.0,
                    _ => scale.us(pointer.x).max(0.0),
                };
                self.window_mut().zoom(f64::from(zoom), around_us);
            }
            pan_points += f64::from(scroll_x);
        }
        if pan_points.abs() > 0.0 {
            if self.axis == Axis::RunTime {
                self.is_following = false;
            }
            self.window_mut().pan(-pan_points * scale.us_per_point());
        }
    }

    fn axis_ui(&self, ui: &Ui, tokens: &Tokens, header: Rect, scale: Scale) {
        let painter = ui.painter();
        let small = TextStyle::Small.resolve(ui.style());
        let title = match self.axis {
            Axis::SinceSent => "Message",
            Axis::RunTime => "Message, by run time",
        };
        painter.text(
            pos2(header.left() + space::M, header.center().y),
            Align2::LEFT_CENTER,
            title,
            small.clone(),
            tokens.text_weak,
        );
        let step_us = tick_step_us(scale);
        let painter = painter.with_clip_rect(Rect::from_x_y_ranges(scale.x.expand(24.0), header.y_range()));
        let budgets: Vec<(u64, f32)> = match self.axis {
            Axis::SinceSent => [PENDING_BUDGET_US, DELIVERED_BUDGET_US].map(|us| (us, scale.x(us as f64))).into(),
            Axis::RunTime => Vec::new(),
        };
        let strong = egui::FontId::new(small.size, strong_family());
        let mut tick = (scale.window.from_us / step_us).ceil() * step_us;
        // The step is chosen so that there are few; the bound is for broken figures.
        for _ in 0..64 {
            if tick > scale.window.to_us() {
                break;
            }
            let x = scale.x(tick);
            let text = format::tick(tick, step_us);
            tick += step_us;
            // The budget's own label stands there.
            if budgets.iter().any(|(_, budget_x)| (x - budget_x).abs() < 34.0) {
                continue;
            }
            painter.text(pos2(x, header.center().y), Align2::CENTER_CENTER, text, small.clone(), tokens.text_weak);
        }
        for (budget_us, x) in budgets {
            let text = format::tick(budget_us as f64, 1_000.0);
            painter.text(pos2(x, header.center().y), Align2::CENTER_CENTER, text, strong.clone(), tokens.text);
            painter.vline(x, header.bottom() - 5.0..=header.bottom(), Stroke::new(1.0, tokens.text));
        }
        ui.painter().hline(header.x_range(), header.bottom() - 0.5, Stroke::new(1.0, tokens.border));
    }

    #[expect(clippy::too_many_arguments, reason = "a row is where all of them meet")]
    fn lane_ui(
        &mut self,
        ui: &Ui,
        scene: &mut Scene<'_>,
        lane: &Lane,
        row: usize,
        rect: Rect,
        columns: Columns,
        scale: Scale,
        response: Response,
    ) {
        let tokens = scene.tokens;
        let sender = scene.run.user_name(lane.sender);
        let text = lane.text.as_deref().unwrap_or("No text");
        let progress = lane.progress();
        let latency = lane.progress_latency_us().map(duration);
        let is_over_budget = lane.is_over_budget();
        let mut said = format!("{sender}: {}, {}", format::one_line(text, 80), progress.as_str());
        if let Some(latency) = &latency {
            said.push_str(" after ");
            said.push_str(latency);
        }
        if is_over_budget {
            said.push_str(", over budget");
        }
        widgets::name(&response, Role::ListItem, &said);
        if response.clicked() {
            scene.ask(Action::Select(Some(lane.message_id)));
        }
        if !ui.is_rect_visible(rect) {
            return;
        }
        let is_selected = scene.selected == Some(lane.message_id);
        let painter = ui.painter();
        if is_selected {
            painter.rect_filled(rect.shrink2(Vec2::new(4.0, 1.0)), RADIUS, tokens.accent_soft);
        } else if response.hovered() {
            painter.rect_filled(rect.shrink2(Vec2::new(4.0, 1.0)), RADIUS, tokens.raised);
        } else if row % 2 == 1 {
            painter.rect_filled(rect, 0.0, tokens.raised.gamma_multiply(0.35));
        }
        let label = Rect::from_x_y_ranges(columns.label, rect.y_range());
        let body = TextStyle::Body.resolve(ui.style());
        let strong = egui::FontId::new(body.size - 0.5, strong_family());
        let used = widgets::line_in(ui, label, sender, strong, tokens.text);
        let rest = label.with_min_x((label.left() + used + space::S).min(label.right()));
        widgets::line_in(ui, rest, &format::one_line(text, 120), body, tokens.text_weak);

        self.spans.clear();
        lane.spans(&mut self.spans);
        let base_us = match self.axis {
            Axis::SinceSent => lane.origin_us() as f64,
            Axis::RunTime => 0.0,
        };
        let now_us = self.pause.map_or_else(|| scene.run.latest_us(), |pause| pause.now_us);
        let bars = Rect::from_x_y_ranges(columns.bars, rect.y_range());
        let bar_painter = BarPainter {
            painter: painter.with_clip_rect(bars.expand2(Vec2::new(1.0, 0.0)).intersect(ui.clip_rect())),
            bars,
            scale,
            base_us,
            tokens,
        };
        if self.axis == Axis::SinceSent {
            bar_painter.faults(scene.run, lane, now_us);
            if scene.range.is_some_and(|(from_us, to_us)| (from_us..to_us).contains(&lane.origin_us())) {
                let mark = Rect::from_min_size(rect.min, Vec2::new(3.0, rect.height()));
                painter.rect_filled(mark, 0.0, tokens.accent);
            }
        }
        bar_painter.budgets(lane);
        bar_painter.spans(&self.spans, lane.last_us.max(now_us));
        bar_painter.marks(lane);
        bar_painter.receipts(lane);
        bar_painter.breaches(lane);
        bar_painter.beyond(lane);

        let center_y = rect.center().y;
        let small = TextStyle::Small.resolve(ui.style());
        painter.circle_filled(pos2(columns.result.min + 4.0, center_y), 4.0, tokens.progress(progress));
        painter.text(
            pos2(columns.result.min + 14.0, center_y),
            Align2::LEFT_CENTER,
            progress.title(),
            small,
            tokens.text,
        );
        if let Some(latency) = latency {
            let color = if is_over_budget { tokens.breach } else { tokens.text_weak };
            let mono = TextStyle::Monospace.resolve(ui.style());
            painter.text(pos2(columns.result.max, center_y), Align2::RIGHT_CENTER, latency, mono, color);
        }
        let run = scene.run;
        response.on_hover_ui_at_pointer(|ui| tooltip_ui(ui, tokens, run, lane));
    }
}

/// Paints what lies on the bar area of one lane.
struct BarPainter {
    painter: Painter,
    bars: Rect,
    scale: Scale,
    /// What counts as 0.
    base_us: f64,
    tokens: &'static Tokens,
}

impl BarPainter {
    fn x(&self, us: u64) -> f32 {
        self.scale.x(us as f64 - self.base_us)
    }

    fn budgets(&self, lane: &Lane) {
        let sent_us = lane.origin_us();
        for (budget_us, strength) in [(PENDING_BUDGET_US, 0.45), (DELIVERED_BUDGET_US, 0.8)] {
            let x = self.x(sent_us.saturating_add(budget_us));
            self.painter.vline(x, self.bars.y_range(), Stroke::new(1.0, self.tokens.budget.gamma_multiply(strength)));
        }
    }

    /// Faults that were active while the message was on its way.
    fn faults(&self, run: &Run, lane: &Lane, now_us: u64) {
        for fault in faults_in(run, lane.origin_us(), lane.last_us) {
            let (left, right) = (self.x(fault.from_us), self.x(fault.to_us.unwrap_or(now_us)));
            let rect = Rect::from_x_y_ranges(left..=right.max(left + MARK_WIDTH_MIN), self.bars.y_range());
            self.painter.rect_filled(rect, 0.0, self.tokens.rejected.gamma_multiply(0.14));
        }
    }

    fn bar(&self, from_us: u64, to_us: u64, height: f32, color: Color32) {
        let left = self.x(from_us);
        // Too short to be drawn is not the same as not there.
        let right = self.x(to_us).max(left + MARK_WIDTH_MIN);
        let y = self.bars.center().y;
        let rect = Rect::from_min_max(pos2(left, y - height / 2.0), pos2(right, y + height / 2.0));
        self.painter.rect_filled(rect, RADIUS_BAR, color);
    }

    fn spans(&self, spans: &[Span], now_us: u64) {
        for span in spans {
            let color = self.tokens.span(span.kind);
            match span.to_us {
                Some(to_us) => self.bar(span.from_us, to_us, BAR_HEIGHT, color),
                // What still lasts is paler: nobody knows how it ends.
                None => self.bar(span.from_us, now_us.max(span.from_us), BAR_HEIGHT, color.gamma_multiply(0.55)),
            }
        }
    }

    /// What ends a message's way: taller than its bar.
    fn marks(&self, lane: &Lane) {
        if let Some(at_us) = lane.persisted_us {
            let x = self.x(at_us);
            let rect = Rect::from_center_size(pos2(x + 1.5, self.bars.center().y), Vec2::new(4.0, BAR_HEIGHT + 6.0));
            self.painter.rect_filled(rect, RADIUS_BAR, self.tokens.persisted);
        }
        for at_us in lane.rejections_us() {
            let center = pos2(self.x(at_us) + 3.0, self.bars.center().y);
            let stroke = Stroke::new(2.5, self.tokens.rejected);
            let arm = 5.0;
            self.painter.line_segment([center + Vec2::new(-arm, -arm), center + Vec2::new(arm, arm)], stroke);
            self.painter.line_segment([center + Vec2::new(-arm, arm), center + Vec2::new(arm, -arm)], stroke);
        }
    }

    fn receipts(&self, lane: &Lane) {
        let bottom = self.bars.bottom() - 2.0;
        let mut drawn_x = f32::NEG_INFINITY;
        for receipt in &lane.receipts {
            let x = self.x(receipt.at_us);
            // A thousand recipients in one pixel are one tick.
            if (x - drawn_x).abs() < 1.0 || !self.bars.x_range().contains(x) {
                continue;
            }
            drawn_x = x;
            let rect = Rect::from_min_max(pos2(x - 1.0, bottom - 6.0), pos2(x + 1.0, bottom));
            self.painter.rect_filled(rect, 0.0, self.tokens.receipt);
        }
    }

    fn breaches(&self, lane: &Lane) {
        for attempt in &lane.attempts {
            let Some(sent_us) = attempt.sent_us else { continue };
            let late = [
                attempt.pending_us.filter(|_| attempt.is_pending_late()).map(|at_us| (at_us, PENDING_BUDGET_US)),
                attempt.outcome_us().filter(|_| attempt.is_outcome_late()).map(|at_us| (at_us, DELIVERED_BUDGET_US)),
            ];
            for (at_us, budget_us) in late.into_iter().flatten() {
                let (left, right) = (self.x(sent_us.saturating_add(budget_us)), self.x(at_us));
                let top = self.bars.top() + 2.0;
                let over = Rect::from_min_max(pos2(left, top), pos2(right.max(left + MARK_WIDTH_MIN), top + 2.0));
                self.painter.rect_filled(over, 0.0, self.tokens.breach);
                widgets::breach_mark(&self.painter, pos2(right, top + 6.0), self.tokens.breach);
            }
        }
    }

    /// A lane that goes on outside the window says so at the edge.
    fn beyond(&self, lane: &Lane) {
        let end_us = lane.persisted_us.or_else(|| lane.rejections_us().last()).unwrap_or(lane.last_us);
        let y = self.bars.center().y;
        if self.x(end_us) > self.bars.right() {
            let tip = pos2(self.bars.right(), y);
            self.arrow(tip, -5.0);
        }
        if self.x(lane.origin_us()) < self.bars.left() - 0.5 {
            self.arrow(pos2(self.bars.left(), y), 5.0);
        }
    }

    fn arrow(&self, tip: egui::Pos2, back: f32) {
        self.painter.add(egui::Shape::convex_polygon(
            vec![tip, tip + Vec2::new(back, -4.0), tip + Vec2::new(back, 4.0)],
            self.tokens.text,
            Stroke::NONE,
        ));
    }
}

/// Most faults drawn over one stretch of time; with more, single ones cannot be told apart anyway.
const FAULTS_DRAWN_MAX: usize = 64;

/// The newest faults that touch a stretch of time.
fn faults_in(run: &Run, from_us: u64, to_us: u64) -> impl Iterator<Item = &FaultSpan> {
    run.fault_spans()
        .rev()
        .filter(move |fault| fault.from_us <= to_us && fault.to_us.is_none_or(|end_us| end_us >= from_us))
        .take(FAULTS_DRAWN_MAX)
}

/// A step that gives labels room: 1, 2 or 5 times a power of ten.
fn tick_step_us(scale: Scale) -> f64 {
    let least_us = scale.us_per_point() * 84.0;
    let power = 10_f64.powf(least_us.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least_us)
        .unwrap_or(power * 10.0)
}

/// What the colours mean; right to left.
pub fn legend_ui(ui: &mut Ui, tokens: &Tokens) {
    ui.spacing_mut().item_spacing.x = 5.0;
    for (color, text, is_tick) in [
        (tokens.breach, "Over budget", true),
        (tokens.receipt, "Seen by a recipient", true),
        (tokens.persisted, "Persisted", true),
        (tokens.delivered, "Delivered", false),
        (tokens.pending, "Pending", false),
        (tokens.in_flight, "Sent", false),
    ] {
        ui.label(widgets::small(tokens, text));
        let (rect, _) = ui.allocate_exact_size(Vec2::new(if is_tick { 4.0 } else { 14.0 }, 10.0), Sense::hover());
        ui.painter().rect(rect, RADIUS_BAR, color, Stroke::NONE, StrokeKind::Inside);
        ui.add_space(space::S);
    }
}

fn tooltip_ui(ui: &mut Ui, tokens: &Tokens, run: &Run, lane: &Lane) {
    ui.label(
        RichText::new(format!("{}: {}", run.user_name(lane.sender), lane.text.as_deref().unwrap_or("No text")))
            .strong(),
    );
    for attempt in &lane.attempts {
        if attempt.number > 1 {
            ui.label(widgets::small(tokens, format!("Attempt {}", attempt.number)));
        }
        let mut line = |what: &str, latency_us: Option<u64>, budget_us: u64, is_late: bool| {
            let Some(latency_us) = latency_us else { return };
            let text = format!("{what} after {}, budget {} ms", duration(latency_us), budget_us / 1_000);
            let color = if is_late { tokens.breach } else { tokens.text };
            ui.label(RichText::new(text).color(color));
        };
        line("Pending", attempt.pending_latency_us(), PENDING_BUDGET_US, attempt.is_pending_late());
        let outcome = if attempt.delivered_us.is_some() && attempt.delivered_us == attempt.outcome_us() {
            "Delivered"
        } else {
            "Rejected"
        };
        line(outcome, attempt.outcome_latency_us(), DELIVERED_BUDGET_US, attempt.is_outcome_late());
    }
    if let Some(persisted_us) = lane.persisted_us {
        ui.label(format!("Persisted after {}", duration(persisted_us.saturating_sub(lane.origin_us()))));
    }
    if !lane.receipts.is_empty() {
        ui.label(format!("Seen by {}", format::count(lane.receipts.len() as u64, "recipient", "recipients")));
    }
    if let Some(error) = lane.rejection() {
        ui.label(RichText::new(format!("{}: {}", error.code, error.message)).color(tokens.rejected));
    }
    ui.label(widgets::small(tokens, "Click to see every step"));
}
