//! The overlay with the keys and the legend.

use egui::{RichText, ScrollArea, TextStyle, Ui};

use super::widgets;
use crate::theme::{Tokens, space};

const KEYS: &[(&str, &str)] = &[
    ("Ctrl+K", "Every action by its name"),
    ("?, F1", "Show or hide this sheet (F1 while writing)"),
    ("1 … 9", "Users, Timeline, Message, Pipeline, Latency, Faults, Scenarios, Inspector, Compare"),
    ("Tab, Shift+Tab", "The next or the last thing that takes keys; Ctrl+Tab the next tab of a pane"),
    ("Ctrl+1 … Ctrl+9", "Write as the first … ninth user"),
    ("Enter", "Send the message; Shift+Enter begins a new line"),
    ("Esc", "Leave a field; then take away time cursor, range, selection"),
    ("Up, Down", "Select the message above or below (Alt+Up, Alt+Down while writing)"),
    ("Space", "Pause the timeline or let it go on"),
    ("Ctrl+F", "Find messages on the timeline"),
    ("+, −, 0", "Zoom the timeline (Ctrl+scroll), and back; Shift+scroll or dragging moves it"),
    ("T, R", "Times since sent, or run time"),
    ("S", "Select the range in view (Shift+drag selects any other)"),
    ("Alt+Right, Alt+Left", "The next or the last step of the guide; Esc ends it"),
    ("F8, F10", "Run a scenario, pause it and let it go on; play one step"),
    ("Ctrl+Plus, Ctrl+Minus", "Everything larger or smaller; Ctrl+0 back to 100 %"),
];

/// What the overlay is left with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It stays open.
    Stays,
    /// It closes.
    Closes,
    /// It closes, and the guide begins.
    ForGuide,
}

/// Draws the overlay.
pub fn ui(ui: &Ui, tokens: &Tokens) -> Left {
    let modal = widgets::modal(ui, tokens, "help", |ui| {
        ui.set_width(640.0_f32.min(ui.ctx().content_rect().width() - 80.0));
        ui.heading("Ackscope at a glance");
        ui.add_space(space::XS);
        ui.label(widgets::weak(
            tokens,
            "Write as a simulated user on the left and press Enter. Every message gets a lane that shows how long its \
             acknowledgments took. Select one: every pane is about it then.",
        ));
        ui.add_space(space::M);
        ui.horizontal_wrapped(|ui| {
            for (color, text) in [
                (tokens.pending, "Pending"),
                (tokens.delivered, "Delivered"),
                (tokens.persisted, "Persisted"),
                (tokens.rejected, "Rejected"),
                (tokens.receipt, "A recipient saw it"),
                (tokens.breach, "Over budget"),
            ] {
                widgets::chip(ui, tokens, color, text);
            }
        });
        ui.add_space(space::M);
        ui.label(RichText::new("Keys").text_style(TextStyle::Heading).size(16.0));
        ui.spacing_mut().interact_size.y = 18.0;
        // At 150 % the window may be lower than the list is long.
        let height = (ui.ctx().content_rect().height() - 330.0).max(100.0);
        ScrollArea::vertical().max_height(height).show(ui, |ui| {
            egui::Grid::new("keys").num_columns(2).spacing([space::L, space::XS]).show(ui, |ui| {
                for (key, what) in KEYS {
                    ui.label(RichText::new(*key).monospace());
                    ui.add(egui::Label::new(*what).wrap());
                    ui.end_row();
                }
            });
        });
        ui.add_space(space::M);
        ui.horizontal(|ui| {
            let close = ui.add(widgets::primary_button(tokens, "Close")).clicked();
            let hint = "What each pane is for, one after the other";
            match (ui.button("Show me around").on_hover_text(hint).clicked(), close) {
                (true, _) => Left::ForGuide,
                (false, true) => Left::Closes,
                (false, false) => Left::Stays,
            }
        })
        .inner
    });
    if modal.inner == Left::Stays && modal.should_close() { Left::Closes } else { modal.inner }
}
