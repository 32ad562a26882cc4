//! The line at the bottom: how much there is, and what is missing.

use egui::{RichText, Sense, TextStyle, Ui};

use super::{Scene, widgets};
use crate::format::count;
use crate::state::{Progress, USERS_MAX};

/// Draws the line.
pub fn ui(ui: &mut Ui, scene: &Scene<'_>, pending_commands: usize) {
    let (run, tokens) = (scene.run, scene.tokens);
    let counts = run.counts();
    ui.horizontal_centered(|ui| {
        ui.spacing_mut().item_spacing.x = 14.0;
        ui.label(widgets::small(tokens, count(run.users().len() as u64, "user", "users")));
        ui.label(widgets::small(tokens, count(counts.lanes, "message", "messages")));
        for progress in [Progress::Persisted, Progress::Rejected] {
            let number = counts.in_progress(progress);
            if number > 0 {
                ui.horizontal(|ui| {
                    ui.spacing_mut().item_spacing.x = 5.0;
                    widgets::dot(ui, tokens.progress(progress));
                    ui.label(widgets::small(
                        tokens,
                        format!("{} {}", crate::format::thousands(number), progress.as_str()),
                    ));
                });
            }
        }
        if counts.over_budget > 0 {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 5.0;
                let (rect, _) = ui.allocate_exact_size([9.0, 14.0].into(), Sense::hover());
                widgets::breach_mark(ui.painter(), rect.center() + egui::vec2(0.0, 3.0), tokens.breach);
                ui.label(widgets::small(
                    tokens,
                    format!("{} over budget", crate::format::thousands(counts.over_budget)),
                ));
            });
        }
        ui.label(widgets::small(tokens, count(counts.events, "event", "events")));
        for fault in run.faults() {
            ui.label(
                RichText::new(format!("Fault: {} {}", fault.target, fault.kind))
                    .text_style(TextStyle::Small)
                    .color(tokens.rejected),
            );
        }
        let warn = |ui: &mut Ui, text: String, why: &str| {
            ui.label(RichText::new(text).text_style(TextStyle::Small).color(tokens.warning)).on_hover_text(why);
        };
        if counts.gap_events > 0 {
            warn(
                ui,
                format!("{} not recorded", count(counts.gap_events, "event", "events")),
                "The recorder was busy and lost them: some lanes may look unfinished although they are not",
            );
        }
        if counts.skipped_events > 0 {
            warn(
                ui,
                format!("{} before this view", count(counts.skipped_events, "event", "events")),
                "The harness no longer keeps them, so what happened earlier is not shown",
            );
        }
        if counts.missed_events > 0 {
            warn(
                ui,
                format!("{} missed", count(counts.missed_events, "event", "events")),
                "This view did not keep up with the run for a while, and the harness no longer keeps them: some lanes \
                 may look unfinished although they are not",
            );
        }
        if counts.dropped_lanes > 0 {
            warn(
                ui,
                format!("{} no longer shown", count(counts.dropped_lanes, "older message", "older messages")),
                "The timeline keeps the newest 200,000 messages",
            );
        }
        if run.users().len() >= USERS_MAX {
            warn(ui, "More users than can be shown".to_owned(), "What further users do is counted and not shown");
        }
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            ui.label(widgets::small(tokens, "? for keys, Ctrl+K for everything"));
            if pending_commands > 0 {
                ui.label(widgets::small(
                    tokens,
                    format!("{} waiting", count(pending_commands as u64, "command", "commands")),
                ));
            } else if let Some(mark) = run.last_mark().filter(|_| ui.available_width() > 90.0) {
                ui.add(egui::Label::new(widgets::small(tokens, mark)).truncate());
            }
        });
    });
}
