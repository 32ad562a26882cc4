//! What a long run costs: opening it, a frame while one pans and zooms, a filter's answer, memory.
//!
//! `cargo run --release -p ackscope-ui --example million -- [EVENTS] [--check]`
//!
//! Times are processor time of this thread (Linux) or else of the clock. With `--check` it fails when a figure is over
//! its limit.

use std::time::Instant;

use ackscope_protocol::wire::ConversationKind;
use ackscope_ui::app::{App, NoPage};
use ackscope_ui::connection::Address;
use ackscope_ui::dock::Pane;
use ackscope_ui::fake::{FakeHarness, Pace, Script};
use ackscope_ui::state::{Only, Run};
use ackscope_ui::views::Action;
use ackscope_ui::views::timeline::{Axis, Step};
use egui::{Event, Modifiers, MouseWheelUnit, TouchPhase, Vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
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

/// A frame's processor time in milliseconds.
fn frame_ms(ui: &mut Harness<'_, App>, began: Instant) -> f64 {
    let before = cpu_secs(began);
    ui.step();
    (cpu_secs(began) - before) * 1_000.0
}

fn p95(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() * 95 / 100).copied().unwrap_or(0.0)
}

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
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
    let harness = FakeHarness::default();
    let transport = harness.transport();
    let mut ui = Harness::builder().with_size([1600.0, 1000.0]).build_eframe(move |creation| {
        App::new(&creation.egui_ctx, Address::parse("http://127.0.0.1:1/?token=t"), transport, Box::new(NoPage))
    });
    ui.step();
    harness.accept();
    harness.welcome(Uuid::from_u128(1));
    harness.trace(0, &events);
    let total = events.len();
    drop(events);
    ui.step();

    let before = cpu_secs(began);
    let mut longest_ms = 0.0_f64;
    while (ui.state().run().counts().events as usize) < total {
        longest_ms = longest_ms.max(frame_ms(&mut ui, began));
    }
    let open_secs = cpu_secs(began) - before;
    figures.tell("Events", total as f64, "events", None);
    figures.tell("Messages", ui.state().run().counts().lanes as f64, "messages", None);
    figures.tell("Opened, all frames included", open_secs, "s", Some(OPEN_MAX_SECS));
    figures.tell("Longest frame while it opened", longest_ms, "ms", None);

    for (what, axis) in [("since sent", Axis::SinceSent), ("run time", Axis::RunTime)] {
        ui.state_mut().ask(Action::Timeline(Step::Count(axis)));
        ui.run_steps(5);
        let middle = ui.get_by_label("Time axis").rect().center() + Vec2::new(0.0, 120.0);
        ui.event(Event::PointerMoved(middle));
        let mut times = Vec::new();
        for number in 0..400_u32 {
            let (delta, modifiers) = match number % 4 {
                0 => (Vec2::new(0.0, 3.0), Modifiers::COMMAND),
                1 => (Vec2::new(0.0, -3.0), Modifiers::COMMAND),
                2 => (Vec2::new(40.0, 0.0), Modifiers::NONE),
                _ => (Vec2::new(0.0, 60.0), Modifiers::NONE),
            };
            let unit = MouseWheelUnit::Point;
            let (phase, source) = (TouchPhase::Move, egui::MouseWheelSource::Wheel);
            ui.event_modifiers(Event::MouseWheel { unit, delta, modifiers, phase, source }, modifiers);
            times.push(frame_ms(&mut ui, began));
        }
        figures.tell(&format!("Frame p95, panning and zooming, {what}"), p95(times), "ms", Some(FRAME_P95_MAX_MS));
    }
    for pane in [Pane::Latency, Pane::Pipeline] {
        ui.state_mut().ask(Action::Show(pane));
        ui.run_steps(20);
        let times = (0..100).map(|_| frame_ms(&mut ui, began)).collect();
        figures.tell(&format!("Frame p95 with {}", pane.title()), p95(times), "ms", Some(FRAME_P95_MAX_MS));
    }

    for (what, step) in [("by outcome", Step::Only(Only::OverBudget)), ("back to all", Step::ClearFilter)] {
        ui.state_mut().ask(Action::Timeline(step));
        ui.step();
        let before = cpu_secs(began);
        ui.run_steps(1);
        while ui.state().is_filtering() {
            ui.step();
        }
        figures.tell(&format!("Filter {what}"), (cpu_secs(began) - before) * 1_000.0, "ms", Some(FILTER_MAX_MS));
    }
    ui.state_mut().ask(Action::Timeline(Step::Find));
    ui.run_steps(3);
    ui.get_by_label("Find messages").type_text("e 4999");
    let before = cpu_secs(began);
    ui.run_steps(1);
    while ui.state().is_filtering() {
        ui.step();
    }
    figures.tell("Filter by text", (cpu_secs(began) - before) * 1_000.0, "ms", Some(FILTER_MAX_MS));
    figures.tell("Messages it found", ui.state().status().lanes as f64, "messages", None);
    let is_checked = arguments.iter().any(|argument| argument == "--check");
    std::process::ExitCode::from(u8::from(is_checked && figures.is_over))
}
