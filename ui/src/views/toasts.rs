//! Short notices that go away by themselves.

use std::collections::VecDeque;

use ackscope_protocol::UserId;
use egui::accesskit::Role;
use egui::{Align2, Area, Frame, Id, Margin, Order, RichText, Ui};

use super::widgets;
use crate::theme::{RADIUS, Tokens, space};

/// Most notices on the screen; the oldest gives way.
const TOASTS_MAX: usize = 4;
/// How long one stays, in seconds.
const SHOWN_SECS: f64 = 9.0;
/// How long a refusal waits for the chat to say it, in seconds: answer and trace come separately.
const REFUSAL_WAITS_SECS: f64 = 0.6;

/// The notices that are shown.
#[derive(Debug, Default)]
pub struct Toasts {
    shown: VecDeque<Toast>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Toast {
    text: String,
    until_secs: f64,
}

/// A refusal that the user's own chat may say.
#[derive(Debug)]
struct Waiting {
    text: String,
    user: UserId,
    reason: String,
    due_secs: f64,
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

    /// Shows that a request of a user was refused, unless the user's chat says this reason in the next moment.
    pub fn push_refusal(&mut self, text: String, user: UserId, reason: String, now_secs: f64) {
        if self.waiting.len() >= TOASTS_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { text, user, reason, due_secs: now_secs + REFUSAL_WAITS_SECS });
    }

    /// Draws them above everything, at the bottom right. `is_said` knows whether a user's chat shows a reason.
    pub fn ui(&mut self, ui: &Ui, tokens: &Tokens, now_secs: f64, is_said: &dyn Fn(&UserId, &str) -> bool) {
        self.waiting.retain(|waiting| !is_said(&waiting.user, &waiting.reason));
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.due_secs <= now_secs) {
            self.push(waiting.text, now_secs);
        }
        self.shown.retain(|toast| toast.until_secs > now_secs);
        let due_secs = self.waiting.iter().map(|waiting| waiting.due_secs);
        let due_secs = due_secs.chain(self.shown.iter().map(|toast| toast.until_secs)).reduce(f64::min);
        let Some(next_secs) = due_secs.map(|due_secs| due_secs - now_secs) else { return };
        ui.request_repaint_after_secs(next_secs as f32 + 0.01);
        if self.shown.is_empty() {
            return;
        }
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
