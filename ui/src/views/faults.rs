//! What can be broken, and what is.

use ackscope_protocol::control::{BackendKind, Command};
use ackscope_protocol::faults::{
    BYTES_PER_SECOND_MAX, BYTES_PER_SECOND_MIN, COUNT_MAX, DELAY_MAX_MS, Dependency, Fault, FaultKind, Row, TABLE,
    defaults,
};
use egui::{DragValue, Frame, Margin, RichText, ScrollArea, TextStyle, Ui, Vec2};

use super::{Scene, widgets};
use crate::format::duration;
use crate::theme::{RADIUS, space, strong_family};

/// The figures the next fault is set with.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figures {
    delay_ms: u64,
    jitter_ms: u64,
    share_percent: f64,
    count: u64,
    bytes_per_second: u64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            delay_ms: defaults::DELAY_MS,
            jitter_ms: defaults::DELAY_MS / 2,
            share_percent: defaults::SHARE * 100.0,
            count: defaults::COUNT,
            bytes_per_second: defaults::BYTES_PER_SECOND,
        }
    }
}

impl Figures {
    fn fault(self, kind: FaultKind) -> Fault {
        let Self { delay_ms, jitter_ms, share_percent, count, bytes_per_second } = self;
        match kind.usual() {
            Fault::Latency { .. } => Fault::Latency { delay_ms, jitter_ms },
            Fault::NetworkLatency { .. } => Fault::NetworkLatency { delay_ms, jitter_ms },
            Fault::Errors { .. } => Fault::Errors { share: share_percent / 100.0 },
            Fault::FailThenWork { .. } => Fault::FailThenWork { count },
            Fault::Redeliver { .. } => Fault::Redeliver { count },
            Fault::Poison { .. } => Fault::Poison { count },
            Fault::Bandwidth { .. } => Fault::Bandwidth { bytes_per_second },
            plain => plain,
        }
    }
}

/// The pane's own state.
#[derive(Debug, Default)]
pub struct Faults {
    figures: Figures,
    /// The dependency that somebody came for.
    shown: Option<Dependency>,
    wants_scroll: bool,
}

impl Faults {
    /// Brings a dependency into view.
    pub fn show(&mut self, on: Dependency) {
        self.shown = Some(on);
        self.wants_scroll = true;
    }

    /// Draws the pane.
    pub fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        Frame::new().inner_margin(Margin::symmetric(14, 10)).show(ui, |ui| {
            ScrollArea::vertical().id_salt("faults").auto_shrink(false).show(ui, |ui| {
                active_ui(ui, scene);
                ui.add_space(space::S);
                self.figures_ui(ui);
                ui.add_space(space::S);
                for on in Dependency::ALL {
                    self.dependency_ui(ui, scene, on);
                }
            });
        });
    }

    fn figures_ui(&mut self, ui: &mut Ui) {
        let figures = &mut self.figures;
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = Vec2::new(space::S, space::XS);
            let mut figure = |name: &str, value: DragValue<'_>| {
                ui.horizontal(|ui| {
                    ui.spacing_mut().item_spacing.x = space::XS;
                    let label = ui.label(RichText::new(name).text_style(TextStyle::Small));
                    ui.add(value).labelled_by(label.id);
                });
            };
            figure("Delay", DragValue::new(&mut figures.delay_ms).range(0..=DELAY_MAX_MS).suffix(" ms"));
            figure("Jitter", DragValue::new(&mut figures.jitter_ms).range(0..=DELAY_MAX_MS).suffix(" ms"));
            figure("Share", DragValue::new(&mut figures.share_percent).range(0.0..=100.0).suffix(" %"));
            figure("Count", DragValue::new(&mut figures.count).range(1..=COUNT_MAX));
            figure(
                "Rate",
                DragValue::new(&mut figures.bytes_per_second)
                    .range(BYTES_PER_SECOND_MIN..=BYTES_PER_SECOND_MAX)
                    .speed(1_024.0)
                    .suffix(" bytes/s"),
            );
        });
    }

    fn dependency_ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, on: Dependency) {
        let tokens = scene.tokens;
        let active = scene.run.faults().find(|fault| fault.target == on.as_str());
        let is_shown = self.shown == Some(on);
        let stroke = egui::Stroke::new(1.0, if is_shown { tokens.accent } else { tokens.border });
        let frame = Frame::new().stroke(stroke).corner_radius(RADIUS).inner_margin(Margin::symmetric(10, 8));
        let response = frame.show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.horizontal(|ui| {
                ui.label(RichText::new(name(on)).family(strong_family()));
                ui.label(widgets::small(tokens, about(on)));
            });
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing = Vec2::splat(space::XS);
                for row in TABLE.iter().filter(|row| row.on.contains(&on)) {
                    let fault = self.figures.fault(row.kind);
                    let is_active = active.is_some_and(|active| active.kind.starts_with(row.kind.as_str()));
                    let text = RichText::new(title(row.kind)).text_style(TextStyle::Small);
                    let button = ui.add_enabled(scene.is_ready, egui::Button::new(text).selected(is_active));
                    let button = button.accessible_name(format!("{}: {}", name(on), title(row.kind)));
                    let button = button.on_hover_ui(|ui| {
                        ui.label(sentence(row));
                        ui.label(widgets::small(tokens, format!("{on} {fault}")));
                        if row.kind.is_once() {
                            ui.label(widgets::small(tokens, "Happens once and is over by itself"));
                        }
                        if let Some(elsewhere) = row.elsewhere
                            && scene.backend.is_some_and(|backend| backend != BackendKind::Containers)
                        {
                            let text = format!("On this backend it is played before the server, as {elsewhere}");
                            ui.label(widgets::small(tokens, text));
                        }
                    });
                    if button.clicked() {
                        if is_active {
                            scene.command(Command::Heal { on });
                        } else {
                            scene.command(Command::SetFault { on, fault });
                        }
                        self.shown = Some(on);
                    }
                }
            });
        });
        if is_shown && self.wants_scroll {
            self.wants_scroll = false;
            response.response.scroll_to_me(Some(egui::Align::Center));
        }
    }
}

/// What is broken now, and at the time cursor.
fn active_ui(ui: &mut Ui, scene: &mut Scene<'_>) {
    let tokens = scene.tokens;
    let run = scene.run;
    let mut healed = None;
    let mut is_any = false;
    ui.horizontal_wrapped(|ui| {
        let is_broken = run.faults().next().is_some();
        if is_broken {
            ui.label(RichText::new("Active now").family(strong_family()));
        } else {
            ui.label(widgets::weak(tokens, "Nothing is broken. A click on a fault sets it at once"));
        }
        let button = widgets::primary_button(tokens, "Reset all faults");
        if ui.add_enabled(scene.is_ready && is_broken, button).on_hover_text("Heal everything").clicked() {
            is_any = true;
        }
    });
    for fault in run.faults() {
        ui.horizontal(|ui| {
            widgets::dot(ui, tokens.rejected);
            ui.label(format!("{} {}", fault.target, fault.kind));
            let lasts = duration(scene.now_us.saturating_sub(fault.from_us));
            ui.label(widgets::small(tokens, format!("for {lasts}")));
            if let Ok(on) = fault.target.parse::<Dependency>() {
                let heal = ui.add_enabled(scene.is_ready, egui::Button::new("Heal").small());
                if heal.accessible_name(format!("Heal {on}")).clicked() {
                    healed = Some(on);
                }
            }
        });
    }
    if let Some(cursor_us) = scene.cursor_us {
        let then: Vec<String> = run
            .fault_spans()
            .filter(|fault| fault.is_active_at(cursor_us))
            .map(|fault| format!("{} {}", fault.target, fault.kind))
            .collect();
        let then = if then.is_empty() { "nothing was broken".to_owned() } else { then.join(", ") };
        ui.label(widgets::small(tokens, format!("At the time cursor ({}): {then}", duration(cursor_us))));
    }
    // What the selected message met on its way.
    if let Some(lane) = scene.selected.and_then(|message_id| run.lane_of(message_id)) {
        let (from_us, to_us) = (lane.origin_us(), lane.last_us);
        let met: Vec<String> = run
            .fault_spans()
            .filter(|fault| fault.from_us <= to_us && fault.to_us.is_none_or(|end_us| end_us >= from_us))
            .map(|fault| format!("{} {}", fault.target, fault.kind))
            .collect();
        let met = if met.is_empty() { "nothing was broken".to_owned() } else { met.join(", ") };
        ui.label(widgets::small(tokens, format!("While the selected message was on its way: {met}")));
    }
    if is_any {
        scene.command(Command::ResetFaults);
    }
    if let Some(on) = healed {
        scene.command(Command::Heal { on });
    }
}

fn sentence(row: &Row) -> String {
    let mut chars = row.does.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A dependency's name for people.
pub fn name(on: Dependency) -> &'static str {
    match on {
        Dependency::Media => "Media",
        Dependency::Search => "Search",
        Dependency::Mongodb => "MongoDB",
        Dependency::Redis => "Redis",
        Dependency::Kafka => "Kafka",
        Dependency::Consumers => "Consumers",
    }
}

fn about(on: Dependency) -> &'static str {
    match on {
        Dependency::Media => "the simulated media service",
        Dependency::Search => "the simulated search service",
        Dependency::Mongodb => "the store of conversations and messages",
        Dependency::Redis => "the cache of conversations",
        Dependency::Kafka => "the event log",
        Dependency::Consumers => "the consumer groups of the pipeline",
    }
}

/// A fault's name for people.
pub fn title(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Outage => "Outage",
        FaultKind::Latency => "Latency",
        FaultKind::Errors => "Errors",
        FaultKind::FailThenWork => "Fail, then work",
        FaultKind::Hang => "Hang",
        FaultKind::Malformed => "Malformed",
        FaultKind::Cut => "Cut",
        FaultKind::Pause => "Pause",
        FaultKind::Stop => "Stop",
        FaultKind::Kill => "Kill",
        FaultKind::NetworkLatency => "Network latency",
        FaultKind::Bandwidth => "Bandwidth",
        FaultKind::Reset => "Reset connections",
        FaultKind::BlackHole => "Black hole",
        FaultKind::CrashBeforeWrite => "Crash before write",
        FaultKind::CrashAfterWrite => "Crash after write",
        FaultKind::Rebalance => "Rebalance",
        FaultKind::Redeliver => "Redeliver",
        FaultKind::Poison => "Poison",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_figures_are_those_of_the_table() {
        for kind in FaultKind::ALL {
            assert_eq!(Figures::default().fault(kind), kind.usual());
        }
    }
}
