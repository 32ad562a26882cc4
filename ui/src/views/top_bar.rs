//! The bar at the top: what runs, whether we hear it, and what can be done with all of it.

use ackscope_protocol::Timestamp;
use ackscope_protocol::control::{Command, Environment, ScenarioProgress};
use egui::{Align, Frame, Layout, Margin, RichText, TextStyle, Ui};

use super::{Action, Scene, widgets};
use crate::connection::{Phase, Problem};
use crate::dock::Pane;
use crate::format;
use crate::theme::{Look, space};

/// By how much the clock can be advanced: what the rules of S1 wait for.
const ADVANCES: &[(&str, u64)] = &[
    ("1 minute", 60_000),
    ("16 minutes (past the edit window)", 16 * 60_000),
    ("61 minutes (past the cache's hour)", 61 * 60_000),
    ("1 day", 24 * 3_600_000),
];

/// What the bar shows besides the run.
pub struct TopBar<'a> {
    /// What runs; `None` before the first welcome.
    pub environment: Option<&'a Environment>,
    /// Where the connection stands; `None` without an address.
    pub phase: Option<&'a Phase>,
    /// Business time now.
    pub business_now: Option<Timestamp>,
    /// Panes that are not closed.
    pub open_panes: &'a [Pane],
    /// How the app looks.
    pub look: Look,
    /// How the scenario goes whose run is shown.
    pub scenario: Option<&'a ScenarioProgress>,
}

impl TopBar<'_> {
    /// Draws the bar.
    pub fn ui(&self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let tokens = scene.tokens;
        // At 150 % on a small screen the least needed goes first.
        let width = ui.available_width();
        ui.horizontal_centered(|ui| {
            ui.label(RichText::new("Ackscope").text_style(TextStyle::Heading).color(tokens.text));
            ui.add_space(space::XS);
            let (color, text) = match self.phase {
                Some(Phase::Ready) => (tokens.persisted, "Connected"),
                Some(Phase::Connecting { .. }) => (tokens.pending, "Connecting…"),
                Some(Phase::Waiting { .. }) => (tokens.rejected, "Reconnecting…"),
                Some(Phase::Stopped { .. }) | None => (tokens.rejected, "Not connected"),
            };
            widgets::chip(ui, tokens, color, text);
            if let Some(progress) = self.scenario {
                // Whose run one looks at must not be a guess.
                // In a narrow window what is said on hovering must do.
                let room = if width > 1_000.0 { 24 } else { 0 };
                let name = format::one_line(&progress.name, room);
                let text = if room == 0 { "Scenario".to_owned() } else { format!("Scenario: {name}") };
                widgets::chip(ui, tokens, tokens.breach, &text).on_hover_ui(|ui| {
                    ui.label(RichText::new(&progress.name).strong());
                    ui.label("Every pane shows its run; “Back to the live run” stands in the pane Scenarios");
                });
            } else if let Some(environment) = self.environment
                && width > 900.0
            {
                widgets::chip(ui, tokens, tokens.accent, environment.backend.as_str()).on_hover_ui(|ui| {
                    ui.label(RichText::new(format!("Backend: {}", environment.backend.as_str())).strong());
                    ui.label(&environment.reason);
                    ui.label(widgets::small(tokens, format!("Chat service at {}", environment.chat_url)));
                    ui.label(widgets::small(tokens, format!("Ackscope {}", environment.ackscope_version)));
                });
            }
            self.clock_ui(ui, scene, width > 940.0);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.button("Help").on_hover_text("Keys and colours (?)").clicked() {
                    scene.ask(Action::ToggleHelp);
                }
                self.view_menu(ui, scene);
                if ui.button("Search…").on_hover_text("Every action by name (Ctrl+K)").clicked() {
                    scene.ask(Action::TogglePalette);
                }
                if ui.add_enabled(scene.is_ready, egui::Button::new("Add user…")).clicked() {
                    scene.ask(Action::AddUser);
                }
                if ui
                    .add_enabled(scene.is_ready, widgets::primary_button(tokens, "Play the tour"))
                    .on_hover_text("Simulated users write to each other, and something goes wrong on purpose")
                    .clicked()
                {
                    scene.ask(Action::Do(Command::PlayTour));
                }
            });
        });
    }

    /// Panes, looks and sizes.
    fn view_menu(&self, ui: &mut Ui, scene: &mut Scene<'_>) {
        ui.menu_button("View", |ui| {
            for pane in Pane::ALL {
                let mut is_open = self.open_panes.contains(&pane);
                if ui.checkbox(&mut is_open, pane.title()).on_hover_text(pane.about()).changed() {
                    scene.ask(if is_open { Action::Show(pane) } else { Action::Hide(pane) });
                }
            }
            if ui.button("Reset layout").clicked() {
                scene.ask(Action::ResetLayout);
                ui.close();
            }
            ui.separator();
            for look in Look::ALL {
                if ui.radio(self.look == look, look.title()).clicked() {
                    scene.ask(Action::Look(look));
                }
            }
            ui.separator();
            for (text, zoom) in [("Size 100 %", 1.0), ("Size 125 %", 1.25), ("Size 150 %", 1.5)] {
                if ui.radio((ui.ctx().zoom_factor() - zoom).abs() < 0.01, text).clicked() {
                    scene.ask(Action::Zoom(zoom));
                    ui.close();
                }
            }
        });
    }

    fn clock_ui(&self, ui: &mut Ui, scene: &mut Scene<'_>, has_room: bool) {
        let Some(now) = self.business_now else { return };
        let text = now.to_string();
        // `2026-01-31T12:00:00.007Z`: the time of day is what one looks for.
        let time = text.get(11..19).unwrap_or(&text).to_owned();
        let tokens = scene.tokens;
        ui.label(RichText::new(time).monospace().color(tokens.text_weak)).on_hover_ui(|ui| {
            ui.label("Business time: what edit windows, mutes and caches go by");
            ui.label(widgets::small(tokens, text.clone()));
            let advanced_ms = scene.run.advanced_ms();
            if advanced_ms > 0 {
                let by = format::duration(advanced_ms.saturating_mul(1_000));
                ui.label(widgets::small(tokens, format!("Advanced by {by} in this run")));
            }
        });
        ui.add_enabled_ui(scene.is_ready, |ui| {
            ui.menu_button(if has_room { "Advance clock…" } else { "Clock…" }, |ui| {
                for (text, by_ms) in ADVANCES {
                    if ui.button(*text).clicked() {
                        scene.ask(Action::Do(Command::AdvanceClock { by_ms: *by_ms }));
                        ui.close();
                    }
                }
            });
        });
    }
}

/// Draws what went wrong with the connection, and the way out. Nothing while all is well.
pub fn problem_ui(ui: &mut Ui, scene: &mut Scene<'_>, problem: &Problem, retry_in_secs: Option<f64>) {
    let tokens = scene.tokens;
    Frame::new().fill(tokens.raised).inner_margin(Margin::symmetric(14, 10)).show(ui, |ui| {
        ui.horizontal(|ui| {
            widgets::dot(ui, tokens.rejected);
            ui.vertical(|ui| {
                ui.set_max_width((ui.available_width() - 230.0).max(200.0));
                ui.spacing_mut().item_spacing.y = 2.0;
                let what = ui.add(egui::Label::new(RichText::new(&problem.what).color(tokens.text)).wrap());
                widgets::name(&what, egui::accesskit::Role::Alert, &problem.what);
                ui.add(egui::Label::new(widgets::weak(tokens, &problem.advice)).wrap());
            });
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.add(widgets::primary_button(tokens, "Try again now")).clicked() {
                    scene.ask(Action::RetryConnection);
                }
                if let Some(secs) = retry_in_secs {
                    ui.label(widgets::small(tokens, format!("next try in {} s", secs.ceil() as u64)));
                }
            });
        });
    });
}
