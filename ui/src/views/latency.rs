//! Percentiles and histograms of acknowledgments against their budgets.

use egui::accesskit::Role;
use egui::{Align2, Frame, Grid, Margin, Rect, RichText, ScrollArea, Sense, Stroke, TextStyle, Ui, Vec2, pos2};

use super::{Action, Scene, timeline, widgets};
use crate::format::{self, duration, thousands};
use crate::state::{Ack, Attempt, Lane, Latencies, Scope, Spread};
use crate::theme::{RADIUS, RADIUS_BAR, Tokens, space, strong_family};

/// Ends of the logarithmic axis, in microseconds.
const AXIS_US: (f64, f64) = (100.0, 100_000_000.0);
/// Columns of a histogram.
const COLUMNS: usize = 72;
/// Height of a histogram.
const HEIGHT: f32 = 64.0;
/// Percentiles that are listed, as shares.
const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Which messages are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Of {
    #[default]
    Run,
    Filter,
    Range,
}

/// The pane's own state.
#[derive(Debug, Default)]
pub struct Latency {
    of: Of,
    latencies: Latencies,
}

impl Latency {
    /// Counts what was sent in the selected range from now on.
    pub fn show_range(&mut self) {
        self.of = Of::Range;
    }

    /// Draws the pane.
    pub fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let tokens = scene.tokens;
        if scene.range.is_none() && self.of == Of::Range {
            self.of = Of::Run;
        }
        let scope = match self.of {
            Of::Run => Scope::default(),
            Of::Filter => Scope { filter: scene.filter.clone(), range: None },
            Of::Range => Scope { filter: scene.filter.clone(), range: scene.range },
        };
        if self.latencies.update(scene.run, &scope, ui.input(|input| input.time)) {
            ui.request_repaint_after_secs(0.05);
        }
        Frame::new().inner_margin(Margin::symmetric(14, 10)).show(ui, |ui| {
            self.scope_ui(ui, scene);
            if scene.run.counts().lanes == 0 {
                let text = "Send messages, or play the tour: latencies are counted as they come";
                widgets::empty_state(ui, tokens, "Nothing to count yet", text, |_| {});
                return;
            }
            if self.latencies.is_finished() && self.latencies.spreads().messages == 0 {
                let text = "Count the whole run, or select another range on the timeline";
                widgets::empty_state(ui, tokens, "No message is in it", text, |ui| {
                    if ui.button("Count the whole run").clicked() {
                        self.of = Of::Run;
                    }
                });
                return;
            }
            ScrollArea::vertical().id_salt("latency").auto_shrink(false).show(ui, |ui| {
                self.table_ui(ui, tokens);
                ui.add_space(space::S);
                let selected = scene.selected.and_then(|message_id| scene.run.lane_of(message_id));
                for ack in Ack::ALL {
                    histogram_ui(ui, tokens, ack, self.latencies.spreads().of(ack), selected);
                }
                axis_ui(ui, tokens);
            });
        });
    }

    fn scope_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let tokens = scene.tokens;
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = Vec2::splat(space::XS);
            ui.selectable_value(&mut self.of, Of::Run, "Whole run");
            let has_filter = !scene.filter.is_open();
            ui.add_enabled_ui(has_filter || self.of == Of::Filter, |ui| {
                ui.selectable_value(&mut self.of, Of::Filter, "Filter")
                    .on_disabled_hover_text("Filter the timeline first: by outcome, or by a text");
            });
            if let Some((from_us, to_us)) = scene.range {
                let text = format!("Range of {}", duration(to_us.saturating_sub(from_us)));
                ui.selectable_value(&mut self.of, Of::Range, text)
                    .on_hover_text("What was sent in the range, as far as the filter lets it through");
            } else {
                let hint = "Select the time that the timeline shows; Shift+drag over its lanes selects any other";
                if ui.button("Select range").on_hover_text(hint).clicked() {
                    scene.ask(Action::Timeline(timeline::Step::RangeInView));
                }
            }
            let messages = self.latencies.spreads().messages;
            ui.label(widgets::small(tokens, format::count(messages, "message", "messages")));
        });
        ui.add_space(space::XS);
    }

    fn table_ui(&self, ui: &mut Ui, tokens: &Tokens) {
        Grid::new("latencies").num_columns(8).spacing([space::M, space::XS]).show(ui, |ui| {
            for head in ["", "Count", "p50", "p90", "p99", "p99.9", "Max", "Over budget"] {
                ui.label(widgets::small(tokens, head));
            }
            ui.end_row();
            for ack in Ack::ALL {
                let spread = self.latencies.spreads().of(ack);
                ui.label(RichText::new(ack.title()).family(strong_family()));
                let figure = |ui: &mut Ui, name: &str, text: String, is_over: bool| {
                    let color = if is_over { tokens.breach } else { tokens.text };
                    let label = ui.label(RichText::new(&text).monospace().color(color));
                    widgets::name(&label, Role::Label, &format!("{} {name}: {text}", ack.title()));
                };
                figure(ui, "count", thousands(spread.count()), false);
                let values = SHARES.map(|(name, share)| (name, spread.quantile_us(share)));
                for (name, us) in values.into_iter().chain([("max", spread.max_us())]) {
                    let is_over = us.zip(ack.budget_us()).is_some_and(|(us, budget_us)| us >= budget_us);
                    figure(ui, name, us.map_or_else(|| "–".to_owned(), duration), is_over);
                }
                match ack.budget_us() {
                    Some(budget_us) => {
                        let text = format!("{} of {} ms", thousands(spread.over_budget), budget_us / 1_000);
                        figure(ui, "over budget", text, spread.over_budget > 0);
                    }
                    None => {
                        ui.label(widgets::small(tokens, "no budget"));
                    }
                }
                ui.end_row();
            }
        });
    }
}

fn share_of_axis(us: f64) -> f32 {
    let (from_us, to_us) = AXIS_US;
    ((us.max(from_us) / from_us).ln() / (to_us / from_us).ln()).clamp(0.0, 1.0) as f32
}

fn latency_of(lane: &Lane, ack: Ack) -> Option<u64> {
    match ack {
        Ack::Pending => lane.attempts.iter().rev().find_map(Attempt::pending_latency_us),
        Ack::Delivered => {
            lane.attempts.iter().rev().find_map(|attempt| Some(attempt.delivered_us?.saturating_sub(attempt.sent_us?)))
        }
        Ack::Persisted => Some(lane.persisted_us?.saturating_sub(lane.origin_us())),
    }
}

fn histogram_ui(ui: &mut Ui, tokens: &Tokens, ack: Ack, spread: &Spread, selected: Option<&Lane>) {
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), HEIGHT), Sense::hover());
    let said =
        format!("Histogram of {}: {}", ack.title().to_lowercase(), format::count(spread.count(), "one", "values"));
    widgets::name(&response, Role::Figure, &said);
    if !ui.is_rect_visible(rect) {
        return;
    }
    let painter = ui.painter().with_clip_rect(rect);
    painter.rect_filled(rect, RADIUS, tokens.raised.gamma_multiply(0.5));
    let color = match ack {
        Ack::Pending => tokens.pending,
        Ack::Delivered => tokens.delivered,
        Ack::Persisted => tokens.persisted,
    };
    let columns = spread.columns(AXIS_US.0, AXIS_US.1, COLUMNS);
    let highest = columns.iter().copied().max().unwrap_or(0).max(1) as f32;
    let width = rect.width() / COLUMNS as f32;
    for (index, count) in columns.iter().enumerate().filter(|(_, count)| **count > 0) {
        // By the root, or the few slow ones that matter would be lower than a pixel.
        let height = ((*count as f32 / highest).sqrt() * (HEIGHT - 18.0)).max(2.0);
        let left = rect.left() + index as f32 * width;
        let bar = Rect::from_min_max(pos2(left, rect.bottom() - height), pos2(left + width - 1.0, rect.bottom()));
        // A column is over the budget when its middle is.
        let middle_us = AXIS_US.0 * (AXIS_US.1 / AXIS_US.0).powf((index as f64 + 0.5) / COLUMNS as f64);
        let is_over = ack.budget_us().is_some_and(|budget_us| middle_us >= budget_us as f64);
        painter.rect_filled(bar, RADIUS_BAR, if is_over { tokens.breach } else { color });
    }
    let small = TextStyle::Small.resolve(ui.style());
    painter.text(rect.left_top() + Vec2::new(6.0, 3.0), Align2::LEFT_TOP, ack.title(), small.clone(), tokens.text);
    if let Some(budget_us) = ack.budget_us() {
        let x = rect.left() + share_of_axis(budget_us as f64) * rect.width();
        painter.vline(x, rect.y_range(), Stroke::new(1.0, tokens.budget));
        let text = format!("budget {} ms", budget_us / 1_000);
        // Right of it lies what is over the budget, and one looks there.
        painter.text(pos2(x - 4.0, rect.top() + 3.0), Align2::RIGHT_TOP, text, small.clone(), tokens.text_weak);
    }
    if let Some(us) = selected.and_then(|lane| latency_of(lane, ack)) {
        let x = rect.left() + share_of_axis(us as f64) * rect.width();
        painter.vline(x, rect.y_range(), Stroke::new(2.0, tokens.accent));
        let text = format!("selected {}", duration(us));
        let galley = painter.layout_no_wrap(text, small, tokens.accent);
        let right = x + 5.0;
        let left = if right + galley.size().x < rect.right() { right } else { x - 5.0 - galley.size().x };
        painter.galley(pos2(left, rect.top() + 3.0), galley, tokens.accent);
    }
}

fn axis_ui(ui: &mut Ui, tokens: &Tokens) {
    let (rect, _) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 16.0), Sense::hover());
    let small = TextStyle::Small.resolve(ui.style());
    for (us, text) in [(1_000.0, "1 ms"), (10_000.0, "10 ms"), (100_000.0, "100 ms"), (1e6, "1 s"), (1e7, "10 s")] {
        let x = rect.left() + share_of_axis(us) * rect.width();
        ui.painter().text(pos2(x, rect.center().y), Align2::CENTER_CENTER, text, small.clone(), tokens.text_weak);
    }
}
