//! Two runs beside each other: the one that is shown (A), and a recording (B). Their timelines stand one above the
//! other in the timeline's pane; this one chooses the recording and says how the two differ.

use ackscope_protocol::MessageId;
use ackscope_protocol::control::{
    Command, CommandAnswer, ComparedFigure, ComparedList, ComparedMessage, Comparison, Difference, RecordingFile,
};
use egui::accesskit::Role;
use egui::{Color32, Frame, Grid, Margin, Rect, RichText, ScrollArea, Sense, TextEdit, TextStyle, Ui, UiBuilder, Vec2};

use super::timeline::{Axis, Timeline};
use super::{Action, Focus, Scene, widgets};
use crate::format::{self, duration, thousands};
use crate::state::{LaneNumber, Run};
use crate::theme::{RADIUS, Tokens, space, strong_family};

/// Height of the line that names a run above its lanes.
const NAME_HEIGHT: f32 = 22.0;

/// The recording that stands beside the run.
pub struct Other {
    path: String,
    comparison: Comparison,
    run: Run,
    read: u64,
    total: Option<u64>,
    is_asked: bool,
    /// Reading stopped because of this.
    stopped: Option<String>,
    timeline: Timeline,
    selected: Option<MessageId>,
    /// The selected message of A as of the last frame.
    followed: Option<MessageId>,
}

impl Other {
    /// What is known of the recording.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The message that is selected in it.
    pub fn selected(&self) -> Option<MessageId> {
        self.selected
    }

    /// Whether everything has been read.
    pub fn is_read(&self) -> bool {
        self.total.is_some_and(|total| self.read >= total)
    }

    fn select(&mut self, message_id: Option<MessageId>) {
        self.selected = message_id;
        if let Some(number) = message_id.and_then(|message_id| self.run.lane_number(message_id)) {
            self.timeline.show_lane(number);
        }
    }

    /// What is selected in A is selected here too.
    fn follow(&mut self, scene: &Scene<'_>) {
        if self.followed != scene.selected {
            self.followed = scene.selected;
            if let Some(number) = scene.selected.and_then(|message_id| scene.run.lane_number(message_id)) {
                let counterpart = scene.run.counterpart(number, &self.run);
                self.select(counterpart.and_then(|number| self.run.lane(number)).map(|lane| lane.message_id));
            }
        }
    }
}

/// The pane's own state.
#[derive(Default)]
pub struct Compare {
    files: Option<(Option<String>, Vec<RecordingFile>)>,
    is_listing: bool,
    typed: String,
    asked: Option<String>,
    problem: Option<String>,
    only_differences: bool,
    other: Option<Box<Other>>,
}

impl Compare {
    /// The recording that stands beside the run.
    pub fn other(&self) -> Option<&Other> {
        self.other.as_deref()
    }

    /// The same, to be drawn.
    pub fn other_mut(&mut self) -> Option<&mut Other> {
        self.other.as_deref_mut()
    }

    /// Another run is shown: what was compared with the one of before says nothing any more.
    pub fn forget_run(&mut self) {
        *self = Self { typed: std::mem::take(&mut self.typed), ..Self::default() };
    }

    /// Ends the comparison.
    pub fn end(&mut self) {
        self.other = None;
        self.files = None;
    }

    /// Selects a message of B, and the same one of A where there is one.
    pub fn select(&mut self, message_id: MessageId, run: &Run) -> Option<MessageId> {
        let other = self.other.as_deref_mut()?;
        other.select(Some(message_id));
        let number = other.run.counterpart(other.run.lane_number(message_id)?, run)?;
        run.lane(number).map(|lane| lane.message_id)
    }

    /// Asks for what is still to be read.
    pub fn ask(&mut self, scene: &mut Scene<'_>) {
        let Some(other) = &mut self.other else { return };
        if scene.is_ready && !other.is_asked && !other.is_read() && other.stopped.is_none() {
            other.is_asked = true;
            scene.command(Command::ReadRecording { path: other.path.clone(), from_index: other.read });
        }
    }

    /// Takes the answer of a command about recordings.
    pub fn done(&mut self, command: Command, answer: CommandAnswer) {
        match (command, answer) {
            (Command::ListRecordings, CommandAnswer::Recordings { folder, files }) => {
                self.is_listing = false;
                self.files = Some((folder, files));
            }
            (Command::CompareWith { path }, CommandAnswer::Compared { comparison }) => {
                self.asked = None;
                self.problem = None;
                self.other = Some(Box::new(Other {
                    path,
                    comparison: *comparison,
                    run: Run::default(),
                    read: 0,
                    total: None,
                    is_asked: false,
                    stopped: None,
                    timeline: Timeline::default(),
                    selected: None,
                    followed: None,
                }));
            }
            (Command::ReadRecording { path, from_index }, CommandAnswer::RecordedEvents { events, total }) => {
                let Some(other) = &mut self.other else { return };
                // An answer for another recording, or for one that was begun anew, is old.
                if other.path != path || other.read != from_index {
                    return;
                }
                other.is_asked = false;
                other.read += events.len() as u64;
                other.total = Some(if events.is_empty() { other.read } else { total });
                for event in events {
                    other.run.apply(event);
                }
                if other.is_read() {
                    other.followed = None;
                }
            }
            _ => {}
        }
    }

    /// Takes why a command about recordings was not carried out.
    pub fn failed(&mut self, command: &Command, reason: &str) {
        match command {
            Command::ReadRecording { .. } => {
                if let Some(other) = &mut self.other {
                    other.is_asked = false;
                    other.stopped = Some(reason.to_owned());
                }
            }
            Command::ListRecordings => {
                self.is_listing = false;
                self.files.get_or_insert_default();
                self.problem = Some(format!("The recordings could not be listed: {reason}"));
            }
            _ => {
                self.asked = None;
                self.problem = Some(format!("The recording cannot be compared: {reason}"));
            }
        }
    }

    /// Draws the pane.
    pub fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        Frame::new().inner_margin(Margin::symmetric(14, 10)).show(ui, |ui| {
            if self.other.is_some() {
                self.compared_ui(ui, scene);
            } else {
                self.choose_ui(ui, scene);
            }
        });
    }

    fn compare(&mut self, scene: &mut Scene<'_>, path: &str) {
        self.problem = None;
        self.asked = Some(path.to_owned());
        scene.command(Command::CompareWith { path: path.to_owned() });
    }

    fn choose_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let tokens = scene.tokens;
        if self.files.is_none() && !self.is_listing && scene.is_ready {
            self.is_listing = true;
            scene.command(Command::ListRecordings);
        }
        ui.label(widgets::weak(tokens, "Hold the run that is shown against a recording: choose one, or type its path"));
        let mut wanted = None;
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = Vec2::splat(space::S);
            let width = (ui.available_width() - 190.0).clamp(80.0, 360.0);
            let field = TextEdit::singleline(&mut self.typed).desired_width(width);
            let hint = RichText::new("/path/to/run.ackrec").color(tokens.text_weak);
            let field = ui.add(field.hint_text(hint)).accessible_name("Path of a recording");
            let is_entered = field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
            let can_compare = scene.is_ready && self.asked.is_none() && !self.typed.trim().is_empty();
            let button = ui.add_enabled(can_compare, widgets::primary_button(tokens, "Compare"));
            let button = button.accessible_name("Compare with this path");
            if button.clicked() || is_entered && can_compare {
                wanted = Some(self.typed.trim().to_owned());
            }
            if ui.add_enabled(scene.is_ready, egui::Button::new("Refresh")).clicked() {
                self.files = None;
            }
        });
        if let Some(path) = &self.asked {
            ui.label(widgets::weak(tokens, format!("Reading {path}…")));
        }
        if let Some(problem) = &self.problem {
            let label = ui.add(egui::Label::new(RichText::new(problem).color(tokens.rejected)).wrap());
            widgets::name(&label, Role::Alert, problem);
        }
        ui.add_space(space::XS);
        match &self.files {
            None => {
                let text = if scene.is_ready { "Listing…" } else { "Not connected: listed as soon as it is" };
                ui.label(widgets::weak(tokens, text));
            }
            Some((folder, files)) if files.is_empty() => {
                let text = match folder {
                    Some(folder) => format!(
                        "Every run of “ackscope serve” and of the app is kept in {folder}; so far there is none"
                    ),
                    None => "This user has no state folder; “ackscope run --record FILE” writes a recording anywhere"
                        .to_owned(),
                };
                widgets::empty_state(ui, tokens, "No recordings yet", &text, |_| {});
            }
            Some((_, files)) => {
                let can_compare = scene.is_ready && self.asked.is_none();
                ScrollArea::vertical().id_salt("recordings").auto_shrink(false).show(ui, |ui| {
                    ui.spacing_mut().item_spacing.y = 2.0;
                    for file in files {
                        if file_ui(ui, tokens, file, can_compare) {
                            wanted = Some(file.path.clone());
                        }
                    }
                });
            }
        }
        if let Some(path) = wanted {
            self.compare(scene, &path);
        }
    }

    fn compared_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let tokens = scene.tokens;
        let mut again = None;
        let mut is_over = false;
        if let Some(other) = &mut self.other {
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing = Vec2::new(space::S, space::XS);
                for (letter, run) in [("A", &other.comparison.a), ("B", &other.comparison.b)] {
                    let count = format::count(run.messages, "message", "messages");
                    let verdict = run.verdict.as_ref().map_or_else(String::new, |verdict| format!(", {verdict}"));
                    ui.label(RichText::new(letter).family(strong_family()).color(tokens.accent));
                    let text = format!("{}, {}, {count}{verdict}", run.title, run.backend.as_str());
                    ui.label(text).on_hover_ui(|ui| {
                        ui.label(format::count(run.events, "event", "events"));
                        for remark in &run.remarks {
                            ui.label(remark);
                        }
                    });
                }
            });
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing = Vec2::splat(space::XS);
                let small = |text: &str| RichText::new(text).text_style(TextStyle::Small);
                let hint = "The run that is shown may have gone on";
                let button = ui.add_enabled(scene.is_ready, egui::Button::new(small("Compare again")));
                if button.on_hover_text(hint).clicked() {
                    again = Some(other.path.clone());
                }
                is_over = ui.button(small("End comparison")).clicked();
                ui.separator();
                for (is_only, text) in [(false, "All figures"), (true, "Only differences")] {
                    let is_chosen = self.only_differences == is_only;
                    if ui.add(egui::Button::selectable(is_chosen, small(text))).clicked() {
                        self.only_differences = is_only;
                    }
                }
            });
            reading_ui(ui, tokens, other);
            let lines = other.comparison.notes.iter().chain(&other.comparison.b.remarks);
            for line in lines {
                ui.add(egui::Label::new(widgets::small(tokens, line)).wrap());
            }
            if let Some(problem) = &self.problem {
                let label = ui.add(egui::Label::new(RichText::new(problem).color(tokens.rejected)).wrap());
                widgets::name(&label, Role::Alert, problem);
            }
            let only_differences = self.only_differences;
            ScrollArea::vertical().id_salt("compared").auto_shrink(false).show(ui, |ui| {
                ui.spacing_mut().interact_size.y = 18.0;
                tables_ui(ui, tokens, &other.comparison, only_differences);
                lists_ui(ui, scene, &other.comparison);
            });
        }
        if let Some(path) = again {
            self.compare(scene, &path);
        }
        if is_over {
            self.end();
        }
    }
}

fn file_ui(ui: &mut Ui, tokens: &Tokens, file: &RecordingFile, can_compare: bool) -> bool {
    let size = Vec2::new((ui.available_width() - 8.0).max(0.0), 38.0);
    let sense = if can_compare { Sense::click() } else { Sense::hover() };
    let (rect, response) = ui.allocate_exact_size(size, sense);
    let started = file.started_at.to_string();
    // `2026-01-31T12:00:00.007Z`: nobody looks for the milliseconds.
    let started = started.get(..19).unwrap_or(&started).replace('T', " ");
    widgets::name(&response, Role::Button, &format!("Compare with {}, {started}", file.title));
    if ui.is_rect_visible(rect) {
        if response.hovered() || response.has_focus() {
            ui.painter().rect_filled(rect, RADIUS, tokens.raised);
        }
        let inner = rect.shrink2(Vec2::new(8.0, 2.0));
        let (top, bottom) = inner.split_top_bottom_at_y(inner.center().y);
        let used = widgets::line_in(ui, top, &file.title, egui::FontId::new(13.5, strong_family()), tokens.text);
        let rest = top.with_min_x((top.left() + used + space::S).min(top.right()));
        let small = TextStyle::Small.resolve(ui.style());
        let shown = if file.is_shown { "this run, as far as it was recorded, " } else { "" };
        let text =
            format!("{shown}{}, {}, {} KB", started, file.backend.as_str(), thousands(file.bytes.div_ceil(1_000)));
        widgets::line_in(ui, rest, &text, small.clone(), tokens.text_weak);
        widgets::line_in(ui, bottom, &file.path, small, tokens.text_weak);
    }
    response.clicked()
}

fn reading_ui(ui: &mut Ui, tokens: &Tokens, other: &mut Other) {
    if let Some(reason) = &other.stopped {
        let text = format!("B was read up to event {}, and no further: {reason}", thousands(other.read));
        let mut goes_on = false;
        ui.horizontal_wrapped(|ui| {
            let label = ui.add(egui::Label::new(RichText::new(&text).color(tokens.rejected)).wrap());
            widgets::name(&label, Role::Alert, &text);
            goes_on = ui.button("Go on reading").clicked();
        });
        if goes_on {
            other.stopped = None;
        }
    } else if !other.is_read() {
        let text = match other.total {
            Some(total) => format!("Reading B: {} of {} events", thousands(other.read), thousands(total)),
            None => "Reading B…".to_owned(),
        };
        ui.label(widgets::small(tokens, text));
        ui.request_repaint_after_secs(0.1);
    }
}

/// What a figure is counted in.
#[derive(Clone, Copy)]
enum Unit {
    Micros,
    Share,
    PerSecond,
    Count,
}

impl Unit {
    fn say(self, value: f64) -> String {
        match self {
            Self::Micros => duration(value.max(0.0) as u64),
            Self::Share => format!("{:.1} %", value * 100.0),
            Self::PerSecond => format!("{value:.1}/s"),
            Self::Count => thousands(value as u64),
        }
    }

    fn say_if(self, value: Option<f64>) -> String {
        value.map_or_else(|| "–".to_owned(), |value| self.say(value))
    }

    /// With its sign, and in percent where that says more.
    fn change(self, figure: &ComparedFigure) -> String {
        let (Some(a), Some(b)) = (figure.a, figure.b) else { return String::new() };
        let difference = b - a;
        let sign = if difference < 0.0 { "−" } else { "+" };
        let text = format!("{sign}{}", self.say(difference.abs()));
        match self {
            Self::Micros | Self::PerSecond if a > 0.0 => {
                format!("{text} ({sign}{:.0} %)", (difference / a * 100.0).abs())
            }
            _ => text,
        }
    }
}

fn is_difference(difference: Difference) -> bool {
    matches!(difference, Difference::Worse | Difference::Better | Difference::Different)
}

fn words(tokens: &Tokens, difference: Difference) -> (&'static str, Color32) {
    match difference {
        Difference::Same => ("same", tokens.text_weak),
        Difference::Worse => ("worse", tokens.rejected),
        Difference::Better => ("better", tokens.persisted),
        Difference::Different => ("different", tokens.warning),
        Difference::TooFew => ("too few to say", tokens.text_weak),
    }
}

fn tables_ui(ui: &mut Ui, tokens: &Tokens, comparison: &Comparison, only_differences: bool) {
    let parts = [
        ("Time since sent", Unit::Micros, &comparison.latencies),
        ("Outcomes", Unit::Share, &comparison.outcomes),
        ("Messages a second", Unit::PerSecond, &comparison.rates),
        ("Broken promises", Unit::Count, &comparison.findings),
    ];
    let mut is_any = false;
    Grid::new("compared").num_columns(6).spacing([space::L, space::XS]).min_col_width(0.0).show(ui, |ui| {
        for (title, unit, figures) in parts {
            let mut figures =
                figures.iter().filter(|figure| !only_differences || is_difference(figure.difference)).peekable();
            if figures.peek().is_none() {
                continue;
            }
            is_any = true;
            ui.label(RichText::new(title).family(strong_family()));
            for head in ["A", "B", "Difference", "Noise up to", ""] {
                ui.label(widgets::small(tokens, head));
            }
            ui.end_row();
            for figure in figures {
                figure_ui(ui, tokens, unit, figure);
                ui.end_row();
            }
        }
    });
    if !is_any {
        let text = if only_differences { "Nothing differs above the noise" } else { "There is nothing to compare" };
        ui.label(widgets::weak(tokens, text));
    }
    ui.add_space(space::S);
}

fn figure_ui(ui: &mut Ui, tokens: &Tokens, unit: Unit, figure: &ComparedFigure) {
    let (word, color) = words(tokens, figure.difference);
    let change = unit.change(figure);
    let (a, b) = (unit.say_if(figure.a), unit.say_if(figure.b));
    let label = ui.label(&figure.what);
    widgets::name(&label, Role::Label, &format!("{}: A {a}, B {b}, {word}", figure.what));
    let mono = |text: &str, color| RichText::new(text).monospace().color(color);
    ui.label(mono(&a, tokens.text));
    ui.label(mono(&b, tokens.text));
    ui.label(mono(&change, if is_difference(figure.difference) { color } else { tokens.text_weak }));
    ui.label(mono(&figure.noise.map_or_else(String::new, |noise| format!("±{}", unit.say(noise))), tokens.text_weak));
    let label = ui.label(RichText::new(word).text_style(TextStyle::Small).color(color));
    if figure.difference == Difference::Same {
        label.on_hover_text("Within the noise, or less than 5 % and 1 ms");
    }
}

fn lists_ui(ui: &mut Ui, scene: &mut Scene<'_>, comparison: &Comparison) {
    let tokens = scene.tokens;
    let Comparison { only_a, only_b, ended_differently, .. } = comparison;
    if only_a.count + only_b.count + ended_differently.count == 0 {
        ui.label(widgets::weak(tokens, "Both have the same messages, and each ended the same"));
        return;
    }
    list_ui(ui, tokens, "Ended differently", ended_differently, |ui, (a, b)| {
        let what = format!("{} in A, {} in B", a.outcome, b.outcome);
        if message_ui(ui, tokens, a, &what) {
            scene.ask(Action::Select(Some(a.message_id)));
        }
    });
    list_ui(ui, tokens, "Only in A", only_a, |ui, a| {
        if message_ui(ui, tokens, a, &a.outcome) {
            scene.ask(Action::Select(Some(a.message_id)));
        }
    });
    list_ui(ui, tokens, "Only in B", only_b, |ui, b| {
        if message_ui(ui, tokens, b, &b.outcome) {
            scene.ask(Action::SelectInOther(b.message_id));
        }
    });
}

fn list_ui<T>(ui: &mut Ui, tokens: &Tokens, title: &str, list: &ComparedList<T>, mut show: impl FnMut(&mut Ui, &T)) {
    if list.count == 0 {
        return;
    }
    ui.label(RichText::new(format!("{title}: {}", thousands(list.count))).family(strong_family()));
    for one in &list.first {
        show(ui, one);
    }
    let left = list.count.saturating_sub(list.first.len() as u64);
    if left > 0 {
        ui.label(widgets::small(tokens, format!("and {} more", thousands(left))));
    }
    ui.add_space(space::S);
}

fn message_ui(ui: &mut Ui, tokens: &Tokens, message: &ComparedMessage, what: &str) -> bool {
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 22.0), Sense::click());
    let text = if message.text.is_empty() { "No text" } else { &message.text };
    widgets::name(&response, Role::ListItem, &format!("{}: {text}, {what}", message.sender));
    if ui.is_rect_visible(rect) {
        if response.hovered() || response.has_focus() {
            ui.painter().rect_filled(rect, RADIUS, tokens.raised);
        }
        let body = TextStyle::Body.resolve(ui.style());
        let inner = rect.shrink2(Vec2::new(6.0, 0.0));
        let strong = egui::FontId::new(body.size - 0.5, strong_family());
        let used = widgets::line_in(ui, inner, message.sender.as_str(), strong, tokens.text);
        let result = 250.0_f32.min(inner.width() * 0.45);
        let middle = inner.with_min_x(inner.left() + used + space::S).with_max_x(inner.right() - result);
        widgets::line_in(ui, middle, text, body, tokens.text_weak);
        let right = inner.with_min_x(inner.right() - result + space::S);
        let small = TextStyle::Small.resolve(ui.style());
        widgets::line_in(ui, right, &format!("{}, sent at {}", what, duration(message.at_us)), small, tokens.text);
    }
    response.on_hover_text("Click to select it").clicked()
}

/// Draws both timelines, one above the other, with one axis, zoom, filter and cursor.
pub fn timelines_ui(ui: &mut Ui, scene: &mut Scene<'_>, timeline: &mut Timeline, other: &mut Other) {
    let tokens = scene.tokens;
    other.follow(scene);
    timeline.bar_ui(ui, scene);
    let area = ui.available_rect_before_wrap();
    let middle = area.center().y;
    let part = |ui: &mut Ui, salt: &str, rect: Rect, show: &mut dyn FnMut(&mut Ui)| {
        ui.scope_builder(UiBuilder::new().id_salt(salt).max_rect(rect), |ui| {
            ui.set_clip_rect(rect.intersect(ui.clip_rect()));
            show(ui);
        });
    };
    let (upper, lower) = (area.with_max_y(middle - 1.0), area.with_min_y(middle + 1.0));
    let title = other.comparison.a.title.clone();
    part(ui, "run a", upper, &mut |ui| {
        name_ui(ui, tokens, "A", &title, "");
        timeline.body_ui(ui, scene);
    });
    ui.painter().hline(area.x_range(), middle, egui::Stroke::new(2.0, tokens.border));

    // Times since sent count from each run's own message.
    let origin = |run: &Run, selected: Option<MessageId>| Some(run.lane_of(selected?)?.origin_us());
    let origins = match timeline.axis() {
        Axis::SinceSent => origin(scene.run, scene.selected).zip(origin(&other.run, other.selected)),
        Axis::RunTime => None,
    };
    let moved = |at_us: u64, (from, to): (u64, u64)| at_us.saturating_sub(from).saturating_add(to);
    let cursor_us = scene.cursor_us.map(|at_us| origins.map_or(at_us, |origins| moved(at_us, origins)));
    let focus = Focus { selected: other.selected, cursor_us, range: scene.range };
    let mut actions = Vec::new();
    let Other { run, timeline: below, read, total, comparison, .. } = other;
    let mut of_other = Scene::new(run, tokens, focus, &mut actions);
    of_other.filter = timeline.filter().clone();
    below.look_like(timeline);
    part(ui, "run b", lower, &mut |ui| {
        let progress = match total {
            Some(total) if *read < *total => format!("{} of {} events read", thousands(*read), thousands(*total)),
            None => "reading…".to_owned(),
            Some(_) => String::new(),
        };
        name_ui(ui, tokens, "B", &comparison.b.title, &progress);
        if run.counts().lanes == 0 {
            ui.label(widgets::weak(tokens, if total.is_some() { "  It has no messages" } else { "  Reading…" }));
        } else {
            below.body_ui(ui, &mut of_other);
        }
    });
    if below.is_moved(timeline) {
        timeline.move_like(below);
    }
    for action in actions {
        match action {
            Action::Select(Some(message_id)) => scene.ask(Action::SelectInOther(message_id)),
            Action::Cursor(Some(at_us)) => {
                let at_us = origins.map_or(at_us, |(a, b)| moved(at_us, (b, a)));
                scene.ask(Action::Cursor(Some(at_us)));
            }
            other => scene.ask(other),
        }
    }
}

fn name_ui(ui: &mut Ui, tokens: &Tokens, letter: &str, title: &str, progress: &str) {
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), NAME_HEIGHT), Sense::hover());
    widgets::name(&response, Role::Label, &format!("Run {letter}: {title}"));
    let inner = rect.shrink2(Vec2::new(space::M, 0.0));
    let strong = egui::FontId::new(13.0, strong_family());
    let used = widgets::line_in(ui, inner, letter, strong.clone(), tokens.accent);
    let rest = inner.with_min_x(inner.left() + used + space::S);
    let used = widgets::line_in(ui, rest, title, strong, tokens.text);
    let rest = rest.with_min_x((rest.left() + used + space::M).min(rest.right()));
    widgets::line_in(ui, rest, progress, TextStyle::Small.resolve(ui.style()), tokens.text_weak);
}

impl Run {
    /// The same message in another run: of the same sender with the same text, the second of two if it is the second
    /// of two. Goes through both runs.
    pub fn counterpart(&self, number: LaneNumber, other: &Self) -> Option<LaneNumber> {
        let lane = self.lane(number)?;
        let (sender, text) = (self.user_name(lane.sender), lane.text.as_deref());
        let is_such = |run: &Self, number: LaneNumber| {
            run.lane(number).is_some_and(|lane| lane.text.as_deref() == text && run.user_name(lane.sender) == sender)
        };
        let before = (self.lane_range().start..number.0).filter(|earlier| is_such(self, LaneNumber(*earlier))).count();
        other.lane_range().map(LaneNumber).filter(|number| is_such(other, *number)).nth(before)
    }
}
