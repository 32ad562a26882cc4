//! How long a million events take to reduce, and a frame to draw after them.
//!
//! `cargo run --release -p ackscope-ui --example million -- [EVENTS]`

use std::time::Instant;

use ackscope_protocol::wire::ConversationKind;
use ackscope_ui::app::{App, NoPage};
use ackscope_ui::connection::Address;
use ackscope_ui::fake::{FakeHarness, Pace, Script};
use egui_kittest::Harness;
use uuid::Uuid;

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn main() {
    let wanted: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let mut script = Script::default();
    let names: Vec<String> = (0..6).map(|number| format!("user-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &names {
        script.connect(0, name);
    }
    let place = script.conversation(1, ConversationKind::Group, Some("Load"), &names);
    let mut number = 0_u64;
    while script.events.len() < wanted {
        let sender = names[usize::try_from(number).unwrap_or(0) % names.len()];
        let pace =
            Pace { pending_us: 500 + number % 11_000, delivered_us: 3_000 + number % 110_000, persisted_us: 130_000 };
        script.message(1_000 + number * 1_000, sender, place, &format!("message {number}"), pace);
        number += 1;
    }
    let events = script.finish();
    println!("{} events of {number} messages", events.len());

    let harness = FakeHarness::default();
    let transport = harness.transport();
    let mut ui = Harness::builder().with_size([1600.0, 1000.0]).build_eframe(move |creation| {
        App::new(&creation.egui_ctx, Address::parse("http://127.0.0.1:1/?token=t"), transport, Box::new(NoPage))
    });
    ui.step();
    harness.accept();
    harness.welcome(Uuid::from_u128(1));
    harness.trace(0, &events);

    let began = Instant::now();
    let (mut frames, mut longest_ms) = (0_u32, 0.0_f64);
    while (ui.state().run().counts().events as usize) < events.len() {
        let frame = Instant::now();
        ui.step();
        frames += 1;
        longest_ms = longest_ms.max(frame.elapsed().as_secs_f64() * 1_000.0);
    }
    let secs = began.elapsed().as_secs_f64();
    println!(
        "taken, parsed and reduced in {secs:.2} s over {frames} frames ({:.2} µs an event, longest frame {longest_ms:.1} ms)",
        secs * 1e6 / events.len() as f64
    );

    let frames = 200;
    let began = Instant::now();
    for _ in 0..frames {
        ui.step();
    }
    println!(
        "a frame after that: {:.2} ms, of which {} lanes are drawn of {}",
        began.elapsed().as_secs_f64() * 1_000.0 / f64::from(frames),
        ui.state().painted_lanes(),
        ui.state().run().counts().lanes
    );

    let mut run = ackscope_ui::state::Run::default();
    let began = Instant::now();
    let total = events.len();
    for event in events {
        run.apply(event);
    }
    println!("reducing alone: {:.2} µs an event", began.elapsed().as_secs_f64() * 1e6 / total as f64);
}
