//! Scenario files: list, edit with mistakes in place, run, step through, see what failed.

use std::collections::BTreeSet;

use ackscope_protocol::control::{
    Command, CommandAnswer, Go, ScenarioFile, ScenarioProblem, ScenarioProgress, ScenarioState, ScenarioStep,
    StepOutcome, StepProgress,
};
use egui::accesskit::Role;
use egui::{
    Align, Frame, Galley, Id, Key, Layout, Margin, Modifiers, Rect, RichText, ScrollArea, Sense, Stroke, TextEdit,
    TextStyle, Ui, Vec2, pos2,
};

use super::{Action, Scene, widgets};
use crate::dock::Pane;
use crate::format::duration;
use crate::theme::{RADIUS, Tokens, space, strong_family};

/// What a scenario is called that was written down from what was done by hand.
const BY_HAND: &str = "Done by hand";
/// A text is checked when nobody has typed for so long, in seconds.
const PAUSE_SECS: f64 = 0.4;
/// Width of the line numbers.
const GUTTER: f32 = 46.0;
/// From this width on, text and steps stand side by side.
const WIDE: f32 = 560.0;
/// Largest text that is edited here, in characters.
const TEXT_MAX_CHARS: usize = 200_000;

/// A text that is open.
#[derive(Debug, Default)]
struct Open {
    path: Option<String>,
    text: String,
    saved: Option<String>,
    /// The text that `steps` and `problems` speak of.
    checked: Option<String>,
    is_checking: bool,
    edited_secs: f64,
    steps: Vec<ScenarioStep>,
    problems: Vec<ScenarioProblem>,
    breakpoints: BTreeSet<u32>,
    /// The line to bring into view.
    wanted_line: Option<u32>,
    /// The path that is typed to save under.
    save_as: Option<String>,
    /// Whether the text cursor is to go there.
    wants_save_focus: bool,
}

impl Open {
    fn is_dirty(&self) -> bool {
        self.saved.as_ref() != Some(&self.text)
    }

    fn is_checked(&self) -> bool {
        self.checked.as_ref() == Some(&self.text)
    }

    /// Asks where to save it.
    fn ask_where(&mut self) {
        self.save_as = Some(self.path.clone().unwrap_or_else(|| "by-hand.yaml".to_owned()));
        self.wants_save_focus = true;
    }
}

/// The pane's own state.
#[expect(clippy::struct_excessive_bools, reason = "each is a state of its own; any of them may be there at a time")]
#[derive(Debug, Default)]
pub struct Scenarios {
    files: Option<(String, Vec<ScenarioFile>)>,
    is_listing: bool,
    find: String,
    open: Option<Open>,
    shows_list: bool,
    progress: Option<ScenarioProgress>,
    problem: Option<String>,
    /// A file of that name was there already.
    may_replace: bool,
    /// Whether what was done by hand is to be saved as soon as it is written down.
    saves_by_hand: bool,
}

impl Scenarios {
    /// Files that are known, for the palette.
    pub fn files(&self) -> &[ScenarioFile] {
        self.files.as_ref().map_or(&[], |(_, files)| files)
    }

    /// How the scenario goes that was begun last.
    pub fn progress(&self) -> Option<&ScenarioProgress> {
        self.progress.as_ref()
    }

    /// Takes how a scenario goes.
    pub fn went(&mut self, progress: ScenarioProgress) {
        self.progress = Some(progress);
    }

    /// Writes down what was done by hand; when that is there, the text cursor stands where its file is named.
    pub fn save_by_hand(&mut self) -> Command {
        self.saves_by_hand = true;
        Command::ScenarioByHand { name: BY_HAND.to_owned() }
    }

    /// Takes the answer of a command of this pane.
    pub fn done(&mut self, command: &Command, answer: CommandAnswer) {
        self.problem = None;
        match (command, answer) {
            (Command::ListScenarios, CommandAnswer::Scenarios { folder, files }) => {
                self.is_listing = false;
                self.files = Some((folder, files));
            }
            (Command::CheckScenario { .. }, CommandAnswer::Scenario { text, steps, problems, .. }) => {
                if let Some(open) = &mut self.open {
                    open.is_checking = false;
                    (open.steps, open.problems, open.checked) = (steps, problems, Some(text));
                }
            }
            (Command::SaveScenario { .. }, CommandAnswer::Scenario { path, text, steps, problems }) => {
                if let Some(open) = &mut self.open {
                    (open.path, open.saved, open.save_as) = (path, Some(text.clone()), None);
                    (open.steps, open.problems, open.checked) = (steps, problems, Some(text));
                }
                self.files = None;
            }
            (command, CommandAnswer::Scenario { path, text, steps, problems }) => {
                // What was done by hand is in no file yet.
                let saved = path.is_some().then(|| text.clone());
                let checked = Some(text.clone());
                let mut open = Open { path, text, saved, checked, steps, problems, ..Open::default() };
                if matches!(command, Command::ScenarioByHand { .. }) && std::mem::take(&mut self.saves_by_hand) {
                    open.ask_where();
                    self.may_replace = false;
                }
                self.open = Some(open);
                self.shows_list = false;
                self.progress = None;
            }
            (Command::ShowLive, _) => self.progress = None,
            _ => {}
        }
    }

    /// Takes why a command of this pane was not carried out.
    pub fn failed(&mut self, command: &Command, reason: String) {
        match command {
            Command::ListScenarios => {
                self.is_listing = false;
                self.files.get_or_insert_default();
            }
            Command::CheckScenario { text, .. } => {
                if let Some(open) = &mut self.open {
                    open.is_checking = false;
                    // Not again until somebody types: it would fail the same way.
                    open.checked = Some(text.clone());
                }
            }
            Command::SaveScenario { replace: false, .. } => self.may_replace = true,
            Command::ScenarioByHand { .. } => self.saves_by_hand = false,
            _ => {}
        }
        self.problem = Some(reason);
    }

    /// Draws the pane.
    pub fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        Frame::new().inner_margin(Margin::symmetric(14, 10)).show(ui, |ui| {
            if self.files.is_none() && !self.is_listing && scene.is_ready {
                self.is_listing = true;
                scene.command(Command::ListScenarios);
            }
            if self.open.is_none() || self.shows_list {
                self.list_ui(ui, scene);
            } else {
                self.open_ui(ui, scene);
            }
        });
    }

    fn problem_ui(&mut self, ui: &mut Ui, tokens: &Tokens) {
        let Some(problem) = &self.problem else { return };
        let mut is_closed = false;
        ui.horizontal_wrapped(|ui| {
            let label = ui.label(RichText::new(problem).text_style(TextStyle::Small).color(tokens.rejected));
            widgets::name(&label, Role::Alert, problem);
            is_closed = ui.add(widgets::quiet_button(tokens, "Dismiss")).clicked();
        });
        if is_closed {
            self.problem = None;
        }
    }

    fn list_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let tokens = scene.tokens;
        ui.horizontal_wrapped(|ui| {
            let label = ui.label("Find");
            ui.add(TextEdit::singleline(&mut self.find).desired_width(130.0)).labelled_by(label.id);
            let button = widgets::primary_button(tokens, "From what was done by hand");
            let hint = "Writes a scenario of what the users of this run did, and of what it led to";
            if ui.add_enabled(scene.is_ready, button).on_hover_text(hint).clicked() {
                scene.command(Command::ScenarioByHand { name: BY_HAND.to_owned() });
            }
            if ui.add_enabled(scene.is_ready, egui::Button::new("New")).clicked() {
                let text = NEW.to_owned();
                self.open = Some(Open { text, ..Open::default() });
                self.shows_list = false;
            }
            if ui.add_enabled(scene.is_ready, egui::Button::new("Refresh list")).clicked() {
                self.files = None;
            }
            if let Some(open) = self.open.as_ref().filter(|_| self.shows_list) {
                let name = open.path.as_deref().unwrap_or("what is open");
                if ui.button(format!("Back to {name}")).clicked() {
                    self.shows_list = false;
                }
            }
        });
        self.problem_ui(ui, tokens);
        let Some((folder, files)) = &self.files else {
            ui.label(widgets::weak(tokens, if scene.is_ready { "Listing…" } else { "Not connected" }));
            return;
        };
        if files.is_empty() {
            let text = format!("There is no scenario file in {folder}; begin with New, or with what was done by hand");
            widgets::empty_state(ui, tokens, "No scenarios yet", &text, |_| {});
            return;
        }
        let needle = self.find.trim().to_lowercase();
        let mut wanted = None;
        ScrollArea::vertical().id_salt("files").auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            for file in files {
                let name = file.name.as_deref().unwrap_or("does not read");
                let about = file.about.as_deref().unwrap_or_default();
                let is_found = |text: &str| text.to_lowercase().contains(&needle);
                if !needle.is_empty() && !is_found(&file.path) && !is_found(name) && !is_found(about) {
                    continue;
                }
                let (rect, response) =
                    ui.allocate_exact_size(Vec2::new((ui.available_width() - 8.0).max(0.0), 38.0), Sense::click());
                widgets::name(&response, Role::Button, &format!("Open {}: {name}", file.path));
                if ui.is_rect_visible(rect) {
                    if response.hovered() || response.has_focus() {
                        ui.painter().rect_filled(rect, RADIUS, tokens.raised);
                    }
                    let inner = rect.shrink2(Vec2::new(8.0, 2.0));
                    let (top, bottom) = inner.split_top_bottom_at_y(inner.center().y);
                    let color = if file.name.is_some() { tokens.text } else { tokens.rejected };
                    let used = widgets::line_in(ui, top, name, egui::FontId::new(13.5, strong_family()), color);
                    let rest = top.with_min_x((top.left() + used + space::S).min(top.right()));
                    let small = TextStyle::Small.resolve(ui.style());
                    widgets::line_in(ui, rest, &file.path, small.clone(), tokens.text_weak);
                    widgets::line_in(ui, bottom, about, small, tokens.text_weak);
                }
                if response.clicked() {
                    wanted = Some(file.path.clone());
                }
            }
        });
        if let Some(path) = wanted {
            scene.command(Command::OpenScenario { path });
        }
    }

    fn open_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let Some(mut open) = self.open.take() else { return };
        self.toolbar_ui(ui, scene, &mut open);
        self.problem_ui(ui, scene.tokens);
        self.save_ui(ui, scene, &mut open);
        self.summary_ui(ui, scene);
        let height = ui.available_height();
        if ui.available_width() >= WIDE {
            let width = ui.available_width();
            ui.horizontal_top(|ui| {
                let layout = Layout::top_down(Align::Min);
                ui.allocate_ui_with_layout(Vec2::new(width * 0.56, height), layout, |ui| {
                    self.text_ui(ui, scene.tokens, &mut open, height);
                });
                ui.vertical(|ui| self.steps_ui(ui, scene, &mut open));
            });
        } else {
            self.text_ui(ui, scene.tokens, &mut open, height * 0.55);
            self.steps_ui(ui, scene, &mut open);
        }
        Self::check(ui, scene, &mut open);
        self.open = Some(open);
    }

    fn state(&self) -> Option<ScenarioState> {
        self.progress.as_ref().map(|progress| progress.state)
    }

    fn toolbar_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, open: &mut Open) {
        let tokens = scene.tokens;
        let state = self.state();
        let is_playing = state.is_some_and(|state| !state.is_over());
        let can_run = scene.is_ready && open.is_checked() && open.problems.is_empty();
        let run = |open: &Open, paused: bool| Command::RunScenario {
            path: open.path.clone(),
            text: open.text.clone(),
            paused,
            breakpoints: open.breakpoints.iter().copied().collect(),
        };
        // The keys of debuggers.
        let key = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
        let (wants_step, wants_on) = (key(Key::F10), key(Key::F8));
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = Vec2::splat(space::XS);
            if ui.button("Files").on_hover_text("Every scenario file").clicked() {
                self.shows_list = true;
            }
            let name = open.path.as_deref().unwrap_or("Not in a file yet");
            let mark = if open.is_dirty() { " (changed)" } else { "" };
            ui.label(RichText::new(format!("{name}{mark}")).family(strong_family()));
            ui.separator();
            if is_playing {
                let go = |ui: &mut Ui, scene: &mut Scene<'_>, text: &str, hint: &str, go: Go, wanted: bool| {
                    let button = ui.add_enabled(scene.is_ready, egui::Button::new(text)).on_hover_text(hint);
                    if button.clicked() || wanted && scene.is_ready {
                        scene.command(Command::Scenario { go });
                    }
                };
                if state == Some(ScenarioState::Paused) {
                    go(ui, scene, "Step", "Play one step and stop (F10)", Go::Step, wants_step);
                    go(ui, scene, "Continue", "Play on to the next breakpoint (F8)", Go::Continue, wants_on);
                } else {
                    go(ui, scene, "Pause", "Stop before the next step (F8)", Go::Pause, wants_on);
                }
                go(ui, scene, "Stop", "End it", Go::Stop, false);
            } else {
                let hint = "Plays it in a backend of its own, whose run is shown in every pane (F8)";
                let button = ui.add_enabled(can_run, widgets::primary_button(tokens, "Run")).on_hover_text(hint);
                if button.clicked() || wants_on && can_run {
                    scene.command(run(open, false));
                }
                let button = ui.add_enabled(can_run, egui::Button::new("Step through"));
                if button.on_hover_text("Stops before the first step (F10)").clicked() || wants_step && can_run {
                    scene.command(run(open, true));
                }
            }
            if state.is_some_and(ScenarioState::is_over) {
                let hint = "Show the run you started with again";
                if ui
                    .add_enabled(scene.is_ready, egui::Button::new("Back to the live run"))
                    .on_hover_text(hint)
                    .clicked()
                {
                    scene.command(Command::ShowLive);
                }
            }
            ui.separator();
            let can_save = scene.is_ready && open.is_dirty();
            if ui.add_enabled(can_save && open.path.is_some(), egui::Button::new("Save")).clicked()
                && let Some(path) = open.path.clone()
            {
                scene.command(Command::SaveScenario { path, text: open.text.clone(), replace: true });
            }
            if ui.add_enabled(scene.is_ready, egui::Button::new("Save as…")).clicked() {
                open.ask_where();
                self.may_replace = false;
            }
        });
    }

    fn save_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, open: &mut Open) {
        let Some(path) = &mut open.save_as else { return };
        let mut is_closed = false;
        let mut replace = None;
        ui.horizontal_wrapped(|ui| {
            let label = ui.label("Save as");
            let field = ui.add(TextEdit::singleline(path).desired_width(200.0)).labelled_by(label.id);
            if std::mem::take(&mut open.wants_save_focus) {
                field.request_focus();
            }
            if field.changed() {
                self.may_replace = false;
            }
            let can_save = scene.is_ready && !path.trim().is_empty();
            let is_entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            let button = ui.add_enabled(can_save, widgets::primary_button(scene.tokens, "Save file"));
            if button.clicked() || is_entered && can_save {
                replace = Some(false);
            }
            if self.may_replace && ui.add_enabled(can_save, egui::Button::new("Replace the file")).clicked() {
                replace = Some(true);
            }
            is_closed = ui.button("Cancel").clicked();
        });
        if let Some(replace) = replace {
            let path = path.trim().to_owned();
            scene.command(Command::SaveScenario { path, text: open.text.clone(), replace });
        }
        if is_closed {
            open.save_as = None;
        }
    }

    fn summary_ui(&self, ui: &mut Ui, scene: &Scene<'_>) {
        let Some(progress) = &self.progress else { return };
        let tokens = scene.tokens;
        let (color, text) = match progress.state {
            ScenarioState::Starting => (tokens.pending, "Its backend starts"),
            ScenarioState::Running => (tokens.delivered, "Running"),
            ScenarioState::Paused => (tokens.pending, "Stopped before a step"),
            ScenarioState::Passed => (tokens.persisted, "Passed"),
            ScenarioState::Failed => (tokens.rejected, "Failed"),
            ScenarioState::Stopped => (tokens.in_flight, "Ended by hand"),
        };
        ui.horizontal_wrapped(|ui| {
            widgets::chip(ui, tokens, color, text);
            if let Some(summary) = &progress.summary {
                ui.label(summary);
            }
        });
    }

    fn text_ui(&self, ui: &mut Ui, tokens: &Tokens, open: &mut Open, height: f32) {
        ScrollArea::vertical().id_salt("scenario text").max_height(height).auto_shrink(false).show(ui, |ui| {
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = 0.0;
                ui.add_space(GUTTER);
                let output = TextEdit::multiline(&mut open.text)
                    .id(Id::unique("scenario text"))
                    .font(TextStyle::Monospace)
                    .code_editor()
                    .char_limit(TEXT_MAX_CHARS)
                    .desired_width(f32::INFINITY)
                    .desired_rows(8)
                    .show(ui);
                let response = output.response.response.accessible_name("Scenario text");
                if response.changed() {
                    open.edited_secs = ui.input(|input| input.time);
                }
                let left = response.rect.left() - GUTTER;
                self.gutter_ui(ui, tokens, open, &output.galley, output.galley_pos, left);
            });
        });
    }

    /// Line numbers with breakpoints, mistakes and how far the steps are.
    fn gutter_ui(&self, ui: &mut Ui, tokens: &Tokens, open: &mut Open, galley: &Galley, origin: egui::Pos2, left: f32) {
        let mut line = 1_u32;
        let mut is_first_row = true;
        let mono = egui::FontId::monospace(11.0);
        for row in &galley.rows {
            let rect = row.rect().translate(origin.to_vec2());
            if is_first_row {
                let place = Rect::from_min_max(pos2(left, rect.top()), pos2(left + GUTTER - 4.0, rect.bottom()));
                if open.wanted_line == Some(line) {
                    open.wanted_line = None;
                    ui.scroll_to_rect(place, Some(egui::Align::Center));
                }
                if ui.is_rect_visible(place) {
                    let has_breakpoint = open.breakpoints.contains(&line);
                    let problem = open.problems.iter().find(|problem| problem.line == line && problem.file.is_none());
                    let response = ui.interact(place, Id::unique(("line", line)), Sense::click());
                    let mut said = format!("Line {line}");
                    if has_breakpoint {
                        said.push_str(", breakpoint");
                    }
                    if let Some(problem) = problem {
                        said = format!("{said}, {}", problem.message);
                    }
                    widgets::name(&response, Role::Button, &said);
                    if response.clicked() && !open.breakpoints.remove(&line) {
                        open.breakpoints.insert(line);
                    }
                    let painter = ui.painter();
                    if has_breakpoint || response.hovered() {
                        let color = if has_breakpoint { tokens.breach } else { tokens.breach.gamma_multiply(0.4) };
                        painter.circle_filled(pos2(place.left() + 6.0, place.center().y), 4.0, color);
                    }
                    let color = match self.outcome_at(line) {
                        Some(StepOutcome::Passed { .. }) => tokens.persisted,
                        Some(StepOutcome::Failed { .. }) => tokens.rejected,
                        Some(StepOutcome::Running | StepOutcome::Waiting) => tokens.accent,
                        None if problem.is_some() => tokens.rejected,
                        None => tokens.text_weak,
                    };
                    let at = pos2(place.right() - 2.0, place.center().y);
                    painter.text(at, egui::Align2::RIGHT_CENTER, line, mono.clone(), color);
                    let here = rect.with_max_x(ui.max_rect().right());
                    if let Some(problem) = problem {
                        painter.rect_filled(here, 0.0, tokens.rejected.gamma_multiply(0.18));
                        painter.hline(here.x_range(), here.bottom(), Stroke::new(1.0, tokens.rejected));
                        let text = format!("{} (column {})", problem.message, problem.column);
                        response.on_hover_text(text);
                    } else {
                        if let Some(StepOutcome::Running | StepOutcome::Waiting) = self.outcome_at(line) {
                            painter.rect_filled(here, 0.0, tokens.accent.gamma_multiply(0.14));
                        }
                        response.on_hover_text("Click to stop before the step of this line");
                    }
                }
            }
            is_first_row = row.ends_with_newline;
            line += u32::from(row.ends_with_newline);
        }
    }

    fn outcome_at(&self, line: u32) -> Option<&StepOutcome> {
        let steps = &self.progress.as_ref()?.steps;
        // In a loop a line is played more than once: the last time counts.
        steps.iter().rev().find(|step| step.line == line).map(|step| &step.outcome)
    }

    fn steps_ui(&self, ui: &mut Ui, scene: &mut Scene<'_>, open: &mut Open) {
        let tokens = scene.tokens;
        ScrollArea::vertical().id_salt("steps").auto_shrink(false).stick_to_bottom(self.progress.is_some()).show(
            ui,
            |ui| {
                ui.spacing_mut().item_spacing.y = space::XS;
                ui.spacing_mut().interact_size.y = 20.0;
                for problem in &open.problems {
                    let place = match &problem.file {
                        Some(file) => format!("{file}, line {}, column {}", problem.line, problem.column),
                        None => format!("Line {}, column {}", problem.line, problem.column),
                    };
                    let text = RichText::new(format!("{place}: {}", problem.message)).color(tokens.rejected);
                    let label =
                        ui.add(egui::Label::new(text.text_style(TextStyle::Small)).wrap().sense(Sense::click()));
                    if label.clicked() {
                        open.wanted_line = Some(problem.line);
                    }
                }
                if let Some(progress) = &self.progress {
                    for step in &progress.steps {
                        if step_ui(ui, scene, step) {
                            open.wanted_line = Some(step.line);
                        }
                    }
                    return;
                }
                if open.steps.is_empty() && open.problems.is_empty() {
                    ui.label(widgets::weak(tokens, "Its steps are listed here as soon as it has been checked"));
                }
                for step in &open.steps {
                    let text = format!("{}  {}", step.line, step.title);
                    let label = egui::Label::new(RichText::new(text).small()).truncate().sense(Sense::click());
                    if ui.add(label).clicked() {
                        open.wanted_line = Some(step.line);
                    }
                }
            },
        );
    }

    fn check(ui: &Ui, scene: &mut Scene<'_>, open: &mut Open) {
        if open.is_checked() || open.is_checking || !scene.is_ready {
            return;
        }
        let waits_secs = open.edited_secs + PAUSE_SECS - ui.input(|input| input.time);
        if waits_secs > 0.0 {
            ui.request_repaint_after_secs(waits_secs as f32 + 0.01);
        } else {
            open.is_checking = true;
            scene.command(Command::CheckScenario { path: open.path.clone(), text: open.text.clone() });
        }
    }
}

/// Draws a step as it was played. Returns whether its line should be shown.
fn step_ui(ui: &mut Ui, scene: &mut Scene<'_>, step: &StepProgress) -> bool {
    let tokens = scene.tokens;
    let (color, what) = match &step.outcome {
        StepOutcome::Waiting => (tokens.pending, "next".to_owned()),
        StepOutcome::Running => (tokens.delivered, "running".to_owned()),
        StepOutcome::Passed { took_us } => (tokens.persisted, duration(*took_us)),
        StepOutcome::Failed { .. } => (tokens.rejected, "failed".to_owned()),
    };
    let is_clicked = ui
        .horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 5.0;
            widgets::dot(ui, color);
            ui.label(widgets::small(tokens, step.line.to_string()));
            let label = egui::Label::new(&step.title).truncate().sense(Sense::click());
            let label = ui.add(label);
            widgets::name(&label, Role::Button, &format!("{}, {what}", step.title));
            ui.label(widgets::small(tokens, &what));
            label.clicked()
        })
        .inner;
    if let StepOutcome::Failed { message, message_id } = &step.outcome {
        let text = RichText::new(message).text_style(TextStyle::Small).color(tokens.rejected);
        ui.add(egui::Label::new(text).wrap());
        if let Some(message_id) = message_id
            && ui.button("Show its message").on_hover_text("Selects its lane on the timeline").clicked()
        {
            scene.ask(Action::Show(Pane::Timeline));
            scene.ask(Action::Select(Some(*message_id)));
        }
    }
    is_clicked
}

/// What a new scenario begins with.
const NEW: &str = "\
scenario: A new scenario
about: Ana writes to Ben

users: [ana, ben]

steps:
  - create: {as: ana, id: talk, kind: direct, with: [ben]}
  - send: {as: ana, to: talk, id: hello, text: Hello}
  - wait: {user: ben, event: message:new, message: hello}
";
