//! What a long run costs: opening it, a frame while one pans and zooms, a filter's answer, memory.
//!
//! `cargo run --release -p ackscope-ui --config profile.release.package.ackscope-ui.opt-level=3 --example million --
//! [EVENTS] [--check]`, optimised as the browser's is; with `live [SECONDS]` in the place of `EVENTS` a run that goes on at
//! 5,000 events a second, what a frame costs then, and whether every event was shown.
//!
//! Sums are processor time of this thread (Linux) or else of the clock; single frames are too short for the former and
//! go by the clock, so other programs count into their p95. With `--check` it fails when a figure is over its limit.

use std::time::Instant;

use ackscope_protocol::control::{TRACE_BATCH_MAX, ToInterface};
use ackscope_protocol::wire::ConversationKind;
use ackscope_ui::app::{App, NoPage};
use ackscope_ui::connection::Address;
use ackscope_ui::dock::Pane;
use ackscope_ui::fake::{FakeHarness, Pace, Script};
use ackscope_ui::state::{Only, Run};
use ackscope_ui::theme;
use ackscope_ui::views::Action;
use ackscope_ui::views::timeline::{Axis, Step};
use egui::{Event, Modifiers, MouseWheelUnit, TouchPhase, Vec2};
use uuid::Uuid;

const OPEN_MAX_SECS: f64 = 2.0;
const FRAME_P95_MAX_MS: f64 = 4.0;
const FILTER_MAX_MS: f64 = 100.0;
const EVENT_MAX_BYTES: f64 = 200.0;

/// Processor time of this thread in seconds, so that other programs do not count.
fn cpu_secs(began: Instant) -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .map_or_else(|| began.elapsed().as_secs_f64(), |ns| ns / 1e9)
}

/// Memory of this process in bytes.
fn resident_bytes() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1_024.0)
}

struct Figures {
    is_over: bool,
}

impl Figures {
    #[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
    fn tell(&mut self, what: &str, value: f64, unit: &str, limit: Option<f64>) {
        let limit_text = limit.map_or_else(String::new, |limit| format!(" (limit {limit} {unit})"));
        let is_over = limit.is_some_and(|limit| value > limit);
        println!("{what}: {value:.2} {unit}{limit_text}{}", if is_over { "  OVER" } else { "" });
        self.is_over |= is_over;
    }
}

/// The messages of a run, one after the other.
fn messages(wanted: usize, mut take: impl FnMut(&mut Script)) {
    let names: Vec<String> = (0..6).map(|number| format!("user-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut script = Script::default();
    for name in &names {
        script.connect(0, name);
    }
    let place = script.conversation(1, ConversationKind::Group, Some("Load"), &names);
    let (mut number, mut events) = (0_u64, 0);
    while events < wanted {
        let sender = names[usize::try_from(number).unwrap_or(0) % names.len()];
        let pace =
            Pace { pending_us: 500 + number % 11_000, delivered_us: 3_000 + number % 110_000, persisted_us: 130_000 };
        let before = script.events.len();
        script.message(1_000 + number * 1_000, sender, place, &format!("message {number}"), pace);
        events += script.events.len() - before;
        number += 1;
        take(&mut script);
    }
}

/// The app without a window: what a frame costs before it is painted, tessellation included.
struct Desk {
    ctx: egui::Context,
    app: App,
    frames: u32,
}

impl Desk {
    /// Draws a frame that these events lead to. Returns how long it took in milliseconds.
    fn step(&mut self, events: Vec<Event>) -> f64 {
        self.frames += 1;
        let input = egui::RawInput {
            screen_rect: Some(egui::Rect::from_min_size(egui::Pos2::ZERO, Vec2::new(1600.0, 1000.0))),
            time: Some(f64::from(self.frames) / 60.0),
            events,
            ..egui::RawInput::default()
        };
        let before = Instant::now();
        let output = self.ctx.run_ui(input, |ui| self.app.frame(ui));
        std::hint::black_box(self.ctx.tessellate(output.shapes, output.pixels_per_point));
        before.elapsed().as_secs_f64() * 1_000.0
    }

    fn rest(&mut self, frames: u32) {
        for _ in 0..frames {
            self.step(Vec::new());
        }
    }

    /// Until the filter has looked at everything, in milliseconds.
    fn filtered_ms(&mut self, events: Vec<Event>) -> f64 {
        let mut ms = self.step(events);
        ms += self.step(Vec::new());
        while self.app.is_filtering() {
            ms += self.step(Vec::new());
        }
        ms
    }
}

fn p95(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() * 95 / 100).copied().unwrap_or(0.0)
}

/// Events of a live run that come in each second of its time, sixty frames long.
const LIVE_EVENTS_PER_SECOND: usize = 5_000;

/// The app with a connection that was accepted.
fn open_desk(harness: &FakeHarness) -> Desk {
    let ctx = egui::Context::default();
    let address = Address::parse("http://127.0.0.1:1/?token=t");
    theme::install(&ctx);
    let app = App::new(address, harness.transport(), Box::new(NoPage));
    let mut desk = Desk { ctx, app, frames: 0 };
    desk.rest(2);
    harness.accept();
    harness.welcome(Uuid::from_u128(1));
    desk
}

/// A run that goes on while it is drawn: each frame brings what happened since the one before.
fn live(seconds: usize, figures: &mut Figures) {
    let wanted = seconds * LIVE_EVENTS_PER_SECOND;
    let mut events = Vec::new();
    messages(wanted, |script| events.append(&mut script.events));
    events.sort_by_key(|event| event.at_us);
    events.truncate(wanted);
    let harness = FakeHarness::default();
    let mut desk = open_desk(&harness);
    desk.rest(1);
    let per_frame = LIVE_EVENTS_PER_SECOND.div_ceil(60);
    let mut next = 0_u64;
    let mut times = Vec::new();
    for batch in events.chunks(per_frame) {
        harness.trace(next, batch);
        next += batch.len() as u64;
        times.push(desk.step(Vec::new()));
    }
    let longest = times.iter().copied().fold(0.0, f64::max);
    figures.tell("Frames", times.len() as f64, "frames", None);
    figures.tell("Frame p95 at 5,000 events a second", p95(times), "ms", Some(FRAME_P95_MAX_MS));
    figures.tell("Longest of them", longest, "ms", None);
    let behind = events.len() as u64 - desk.app.run().counts().events;
    figures.tell("Events not shown when the last frame was drawn", behind as f64, "events", Some(0.0));
    let missed = desk.app.run().counts().missed_events;
    figures.tell("Events missed", missed as f64, "events", Some(0.0));
}

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_checked = arguments.iter().any(|argument| argument == "--check");
    if arguments.iter().any(|argument| argument == "live") {
        let seconds = arguments.iter().find_map(|text| text.parse().ok()).unwrap_or(60);
        let mut figures = Figures { is_over: false };
        live(seconds, &mut figures);
        return std::process::ExitCode::from(u8::from(is_checked && figures.is_over));
    }
    let wanted: usize = arguments.iter().find_map(|text| text.parse().ok()).unwrap_or(1_000_000);
    let began = Instant::now();
    let mut figures = Figures { is_over: false };

    // Memory first, while nothing else is there: events come and go, what is kept of them stays.
    let before = resident_bytes();
    let mut run = Run::default();
    messages(wanted, |script| {
        script.events.sort_by_key(|event| event.at_us);
        for event in script.events.drain(..) {
            run.apply(event);
        }
    });
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        let bytes = (after - before) / run.counts().events as f64;
        figures.tell("Memory of an event", bytes, "bytes", Some(EVENT_MAX_BYTES));
    }
    drop(run);

    let mut events = Vec::new();
    messages(wanted, |script| events.append(&mut script.events));
    events.sort_by_key(|event| event.at_us);
    let total = events.len();
    let texts: Vec<String> = events
        .chunks(TRACE_BATCH_MAX)
        .zip(0_u64..)
        .filter_map(|(events, batch)| {
            let first_index = batch * TRACE_BATCH_MAX as u64;
            serde_json::to_string(&ToInterface::Trace { first_index, events: events.to_vec() }).ok()
        })
        .collect();
    let before = cpu_secs(began);
    let mut run = Run::default();
    for event in events {
        run.apply(event);
    }
    figures.tell("Reducing alone", cpu_secs(began) - before, "s", None);
    drop(run);
    let harness = FakeHarness::default();
    let mut desk = open_desk(&harness);
    for text in texts {
        harness.say_text(text);
    }
    desk.rest(1);

    let before = cpu_secs(began);
    let (mut longest_ms, mut frames) = (0.0_f64, 0);
    while (desk.app.run().counts().events as usize) < total {
        longest_ms = longest_ms.max(desk.step(Vec::new()));
        frames += 1;
    }
    let open_secs = cpu_secs(began) - before;
    figures.tell("Events", total as f64, "events", None);
    figures.tell("Messages", desk.app.run().counts().lanes as f64, "messages", None);
    figures.tell("Opened, reading and all frames included", open_secs, "s", Some(OPEN_MAX_SECS));
    figures.tell("Frames while it opened", f64::from(frames), "frames", None);
    figures.tell("Longest of them", longest_ms, "ms", None);

    for (what, axis) in [("since sent", Axis::SinceSent), ("run time", Axis::RunTime)] {
        desk.app.ask(Action::Timeline(Step::Count(axis)));
        desk.rest(5);
        // Over the lanes of the usual layout.
        desk.step(vec![Event::PointerMoved(egui::Pos2::new(1100.0, 300.0))]);
        let mut times = Vec::new();
        let before = cpu_secs(began);
        for number in 0..400_u32 {
            let (delta, modifiers) = match number % 4 {
                0 => (Vec2::new(0.0, 3.0), Modifiers::COMMAND),
                1 => (Vec2::new(0.0, -3.0), Modifiers::COMMAND),
                2 => (Vec2::new(40.0, 0.0), Modifiers::NONE),
                _ => (Vec2::new(0.0, 60.0), Modifiers::NONE),
            };
            let (unit, phase, source) = (MouseWheelUnit::Point, TouchPhase::Move, egui::MouseWheelSource::Wheel);
            let wheel = Event::MouseWheel { unit, delta, modifiers, phase, source };
            times.push(desk.step(vec![wheel]));
        }
        let mean_ms = (cpu_secs(began) - before) * 1_000.0 / times.len() as f64;
        figures.tell(&format!("Frame, panning and zooming, {what}, mean of processor time"), mean_ms, "ms", None);
        figures.tell(&format!("Frame p95, panning and zooming, {what}"), p95(times), "ms", Some(FRAME_P95_MAX_MS));
    }
    for pane in [Pane::Latency, Pane::Pipeline] {
        desk.app.ask(Action::Show(pane));
        desk.rest(20);
        let times = (0..200).map(|_| desk.step(Vec::new())).collect();
        figures.tell(&format!("Frame p95 with {}", pane.title()), p95(times), "ms", Some(FRAME_P95_MAX_MS));
    }

    for (what, step) in [("by outcome", Step::Only(Only::OverBudget)), ("back to all", Step::ClearFilter)] {
        desk.app.ask(Action::Timeline(step));
        let ms = desk.filtered_ms(Vec::new());
        figures.tell(&format!("Filter {what}"), ms, "ms", Some(FILTER_MAX_MS));
    }
    desk.app.ask(Action::Timeline(Step::Find));
    desk.rest(3);
    let ms = desk.filtered_ms(vec![Event::Text("e 4999".to_owned())]);
    figures.tell("Filter by text", ms, "ms", Some(FILTER_MAX_MS));
    figures.tell("Messages it found", desk.app.status().lanes as f64, "messages", None);
    std::process::ExitCode::from(u8::from(is_checked && figures.is_over))
}
