//! The first ten seconds: which pane is what, one after the other, beside the panes themselves.
//!
//! It takes nothing away: whoever wants to write or click can do so while it is there.

use egui::accesskit::Role;
use egui::{Area, Frame, Id, Key, Margin, Modifiers, Order, Pos2, Rect, RichText, Stroke, StrokeKind, Ui, Vec2};

use super::widgets;
use crate::dock::Pane;
use crate::theme::{RADIUS, Tokens, space};

/// Room a callout takes at most, in points.
const SIZE: Vec2 = Vec2::new(340.0, 190.0);
/// Between a callout and its pane.
const GAP: f32 = 14.0;

struct Stop {
    pane: Pane,
    title: &'static str,
    text: &'static str,
}

const STOPS: [Stop; 6] = [
    Stop {
        pane: Pane::Users,
        title: "These are the users",
        text: "Each of them is a real client with a connection of its own. Write as one of them: type into the chat and \
               press Enter.",
    },
    Stop {
        pane: Pane::Timeline,
        title: "Every message is a lane",
        text: "It shows how long its sender waited for each acknowledgment. The budgets are 10 ms until pending and \
               100 ms until delivered; what is later is marked.",
    },
    Stop {
        pane: Pane::Message,
        title: "Click a lane to see its way",
        text: "Step by step, from the client through socket service, Kafka and store to everybody who received it. Every \
               other pane is about that message then, too.",
    },
    Stop {
        pane: Pane::Faults,
        title: "Break something here",
        text: "Take search down, make Redis slow, crash a consumer: one click each. Then look at what the users notice. \
               “Reset all faults” heals everything.",
    },
    Stop {
        pane: Pane::Inspector,
        title: "Look inside",
        text: "Documents in the store, cache entries with the time they have left, records in Kafka, entries of the \
               search index: formatted or raw.",
    },
    Stop {
        pane: Pane::Scenarios,
        title: "Keep what you did",
        text: "What you did by hand becomes a scenario: a text you can edit, step through here, and run in CI with \
               “ackscope run”.",
    },
];

/// What can be asked of the guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Begin, also when it was seen before.
    Start,
    /// To the next pane; after the last it is over.
    Next,
    /// To the pane before.
    Back,
    /// End it.
    Skip,
}

/// Where the guide stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guide {
    stop: usize,
}

impl Guide {
    /// The pane that is spoken of.
    pub fn pane(self) -> Pane {
        STOPS.get(self.stop).map_or(Pane::Timeline, |stop| stop.pane)
    }

    /// Where it stands then; `None` when it is over.
    pub fn go(self, go: Go) -> Option<Self> {
        match go {
            Go::Start => Some(Self::default()),
            Go::Next => Some(Self { stop: self.stop + 1 }).filter(|next| next.stop < STOPS.len()),
            Go::Back => Some(Self { stop: self.stop.saturating_sub(1) }),
            Go::Skip => None,
        }
    }

    /// Its keys. Those of the pane one writes in stay with it.
    pub fn keys(ui: &Ui) -> Option<Go> {
        ui.input_mut(|input| {
            let mut pressed = |modifiers, key| input.consume_key(modifiers, key);
            if pressed(Modifiers::ALT, Key::ArrowRight) {
                Some(Go::Next)
            } else if pressed(Modifiers::ALT, Key::ArrowLeft) {
                Some(Go::Back)
            } else if pressed(Modifiers::NONE, Key::Escape) {
                Some(Go::Skip)
            } else {
                None
            }
        })
    }

    /// Draws the callout beside its pane, which lies in `around`. Returns what was clicked.
    pub fn ui(self, ui: &Ui, tokens: &Tokens, around: Option<Rect>) -> Option<Go> {
        let stop = STOPS.get(self.stop)?;
        let window = ui.ctx().content_rect().shrink(space::S);
        let place = place(around, window);
        let area = Area::new(Id::unique("guide")).order(Order::Foreground).fixed_pos(place).constrain_to(window);
        let inner = area.show(ui.ctx(), |ui| {
            if let Some(around) = around {
                // The callout's own room ends where the callout does.
                let painter = ui.ctx().layer_painter(ui.layer_id());
                painter.rect_stroke(around.shrink(1.0), RADIUS, Stroke::new(2.0, tokens.accent), StrokeKind::Inside);
            }
            let frame = Frame::popup(ui.style()).stroke(Stroke::new(1.5, tokens.accent)).inner_margin(Margin::same(16));
            frame.show(ui, |ui| {
                ui.set_width(SIZE.x - 36.0);
                let count = format!("{} of {}", self.stop + 1, STOPS.len());
                ui.label(widgets::small(tokens, &count));
                ui.add_space(-space::XS);
                ui.heading(stop.title);
                let text = ui.add(egui::Label::new(RichText::new(stop.text).color(tokens.text)).wrap());
                // Heard as soon as it is there, and again at each step.
                widgets::name(&text, Role::Alert, &format!("Guide, {count}: {}. {}", stop.title, stop.text));
                ui.add_space(space::XS);
                self.buttons_ui(ui, tokens)
            })
        });
        inner.inner.inner
    }

    fn buttons_ui(self, ui: &mut Ui, tokens: &Tokens) -> Option<Go> {
        let is_last = self.stop + 1 == STOPS.len();
        let mut asked = None;
        ui.horizontal(|ui| {
            let (text, name) = if is_last { ("Done", "End the guide") } else { ("Next", "Next step of the guide") };
            let next = ui.add(widgets::primary_button(tokens, text)).on_hover_text("Alt+Right");
            if next.accessible_name(name).clicked() {
                asked = Some(Go::Next);
            }
            if self.stop > 0 {
                let back = ui.button("Back").on_hover_text("Alt+Left");
                if back.accessible_name("Last step of the guide").clicked() {
                    asked = Some(Go::Back);
                }
            }
            if !is_last {
                let skip = ui.add(widgets::quiet_button(tokens, "Skip (Esc)"));
                if skip.accessible_name("Skip the guide").clicked() {
                    asked = Some(Go::Skip);
                }
            }
        });
        asked
    }
}

/// Beside the pane, on the side where there is room; over it when there is none anywhere.
fn place(around: Option<Rect>, window: Rect) -> Pos2 {
    let Some(around) = around else { return window.center() - SIZE / 2.0 };
    let middle = |low: f32, high: f32, size: f32| (low.midpoint(high) - size / 2.0).max(0.0);
    let beside = [
        Pos2::new(around.right() + GAP, around.top() + around.height() * 0.25),
        Pos2::new(middle(around.left(), around.right(), SIZE.x), around.bottom() + GAP),
        Pos2::new(middle(around.left(), around.right(), SIZE.x), around.top() - GAP - SIZE.y),
        Pos2::new(around.left() - GAP - SIZE.x, around.top() + around.height() * 0.25),
    ];
    let fits = |pos: &Pos2| window.contains_rect(Rect::from_min_size(*pos, SIZE));
    beside.into_iter().find(fits).unwrap_or_else(|| around.center() - SIZE / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_from_the_first_stop_to_the_last_and_is_over() {
        let mut guide = Guide::default();
        assert_eq!(guide.go(Go::Back), Some(guide), "nothing is before the first");
        let mut panes = vec![guide.pane()];
        while let Some(next) = guide.go(Go::Next) {
            panes.push(next.pane());
            guide = next;
        }
        assert_eq!(panes.len(), STOPS.len());
        assert_eq!(guide.go(Go::Start), Some(Guide::default()));
        assert_eq!(guide.go(Go::Skip), None);
    }

    #[test]
    fn a_callout_lies_beside_its_pane_where_there_is_room() {
        let window = Rect::from_min_size(Pos2::ZERO, Vec2::new(1280.0, 800.0));
        let left = Rect::from_min_max(Pos2::new(0.0, 80.0), Pos2::new(470.0, 770.0));
        let top_right = Rect::from_min_max(Pos2::new(476.0, 80.0), Pos2::new(1280.0, 430.0));
        let bottom_right = Rect::from_min_max(Pos2::new(476.0, 440.0), Pos2::new(1280.0, 770.0));
        for pane in [left, top_right, bottom_right] {
            let callout = Rect::from_min_size(place(Some(pane), window), SIZE);
            assert!(window.contains_rect(callout) && !callout.intersects(pane), "{callout:?} of {pane:?}");
        }
        let callout = Rect::from_min_size(place(Some(window), window), SIZE);
        assert!(window.contains_rect(callout), "{callout:?}");
    }
}
