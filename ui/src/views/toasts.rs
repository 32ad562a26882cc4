//! Short notices that go away by themselves.

use std::collections::VecDeque;

use egui::accesskit::Role;
use egui::{Align2, Area, Frame, Id, Margin, Order, RichText, Ui};

use super::widgets;
use crate::theme::{RADIUS, Tokens, space};

/// Most notices on the screen; the oldest gives way.
const TOASTS_MAX: usize = 4;
/// How long one stays, in seconds.
const SHOWN_SECS: f64 = 9.0;

/// The notices that are shown.
#[derive(Debug, Default)]
pub struct Toasts {
    shown: VecDeque<Toast>,
}

#[derive(Debug)]
struct Toast {
    text: String,
    until_secs: f64,
}

impl Toasts {
    /// Shows one more.
    pub fn push(&mut self, text: String, now_secs: f64) {
        // Saying the same twice only hides what else was said.
        self.shown.retain(|toast| toast.text != text);
        if self.shown.len() >= TOASTS_MAX {
            self.shown.pop_front();
        }
        self.shown.push_back(Toast { text, until_secs: now_secs + SHOWN_SECS });
    }

    /// Draws them above everything, at the bottom right.
    pub fn ui(&mut self, ui: &Ui, tokens: &Tokens, now_secs: f64) {
        self.shown.retain(|toast| toast.until_secs > now_secs);
        let Some(next_secs) = self.shown.iter().map(|toast| toast.until_secs - now_secs).reduce(f64::min) else {
            return;
        };
        ui.request_repaint_after_secs(next_secs as f32 + 0.01);
        let mut closed = None;
        Area::new(Id::unique("toasts"))
            .order(Order::Foreground)
            .anchor(Align2::RIGHT_BOTTOM, [-space::L, -space::XL - space::L])
            .show(ui.ctx(), |ui| {
                for (index, toast) in self.shown.iter().enumerate() {
                    Frame::popup(ui.style())
                        .stroke(egui::Stroke::new(1.0, tokens.rejected))
                        .corner_radius(RADIUS)
                        .inner_margin(Margin::symmetric(14, 10))
                        .show(ui, |ui| {
                            ui.set_max_width(380.0);
                            ui.horizontal_top(|ui| {
                                widgets::dot(ui, tokens.rejected);
                                ui.vertical(|ui| {
                                    ui.set_max_width(280.0);
                                    let label = ui.add(egui::Label::new(RichText::new(&toast.text)).wrap());
                                    widgets::name(&label, Role::Alert, &toast.text);
                                });
                                let close = ui.add(widgets::quiet_button(tokens, "Close"));
                                if close.accessible_name("Close notice").clicked() {
                                    closed = Some(index);
                                }
                            });
                        });
                }
            });
        if let Some(index) = closed {
            self.shown.remove(index);
        }
    }
}
