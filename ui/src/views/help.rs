//! The overlay with the keys and the legend.

use egui::{Grid, RichText, TextStyle, Ui};

use super::widgets;
use crate::theme::{Tokens, space};

const KEYS: &[(&str, &str)] = &[
    ("F1", "Show or hide this help"),
    ("Enter", "Send the message"),
    ("Shift+Enter", "Begin a new line"),
    ("Ctrl+1 … Ctrl+9", "Write as the first … ninth user"),
    ("Esc", "Leave a field, close what is open, select nothing"),
    ("Up, Down", "Select the message above or below (Alt+Up, Alt+Down while writing)"),
    ("Space", "Pause the timeline or let it go on"),
    ("Ctrl+F", "Find messages on the timeline"),
    ("Ctrl+scroll", "Zoom the timeline; Shift+scroll or dragging moves it"),
    ("T, R", "Times since sent, or run time"),
    ("0", "Timeline back to the budgets, or to the newest"),
];

/// Draws the overlay. Returns whether it should close.
pub fn ui(ui: &Ui, tokens: &Tokens) -> bool {
    let modal = widgets::modal(ui, tokens, "help", |ui| {
        ui.set_width(620.0);
        ui.heading("Ackscope at a glance");
        ui.add_space(space::XS);
        ui.label(widgets::weak(
            tokens,
            "Write as a simulated user above and press Enter. Below, every message gets a lane that shows how long its \
             acknowledgments took. Click a lane to see its way through the backend step by step.",
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
        Grid::new("keys").num_columns(2).spacing([space::XL, 7.0]).show(ui, |ui| {
            for (key, what) in KEYS {
                ui.label(RichText::new(*key).monospace());
                ui.label(*what);
                ui.end_row();
            }
        });
        ui.add_space(space::M);
        ui.add(widgets::primary_button(tokens, "Close")).clicked()
    });
    modal.inner || modal.should_close()
}
