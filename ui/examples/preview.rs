//! The interface with a harness in memory: to look at it without anything else running.
//!
//! `cargo run --release -p ackscope-ui --example preview -- [light|dark] [empty|lost] [WIDTHxHEIGHT]`

use ackscope_ui::app::{App, NoPage};
use ackscope_ui::connection::Address;
use ackscope_ui::fake::{FakeHarness, Player, sample};

struct Preview {
    app: App,
    player: Player,
}

impl eframe::App for Preview {
    fn logic(&mut self, ctx: &egui::Context, frame: &mut eframe::Frame) {
        self.app.logic(ctx, frame);
        self.player.play();
    }

    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        self.app.ui(ui, frame);
    }
}

fn main() -> eframe::Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let size = arguments
        .iter()
        .find_map(|argument| {
            let (width, height) = argument.split_once('x')?;
            Some([width.parse().ok()?, height.parse().ok()?])
        })
        .unwrap_or([1280.0, 800.0]);
    let theme = if has("light") { egui::Theme::Light } else { egui::Theme::Dark };
    let (is_empty, is_lost) = (has("empty"), has("lost"));
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default().with_inner_size(size),
        ..eframe::NativeOptions::default()
    };
    eframe::run_native(
        "Ackscope",
        options,
        Box::new(move |creation| {
            creation.egui_ctx.set_theme(theme);
            let harness = FakeHarness::default();
            let address = Address::parse("http://127.0.0.1:4000/?token=preview");
            let app = App::new(&creation.egui_ctx, address, harness.transport(), Box::new(NoPage));
            if is_lost {
                harness.set_down(true);
            }
            let events = if is_empty { Vec::new() } else { sample() };
            Ok(Box::new(Preview { app, player: Player::new(harness, events) }))
        }),
    )
}
