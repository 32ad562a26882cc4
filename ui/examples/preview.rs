//! The interface with a harness in memory: to look at it without anything else running.
//!
//! `cargo run --release -p ackscope-ui --features window --example preview -- [light|dark|contrast] [empty|lost] [runtime] [WIDTHxHEIGHT] [ZOOM%] [PANE…]
//!
//! A pane is named as in its tab, such as `Pipeline`, and comes to the front`

use ackscope_protocol::MessageId;
use ackscope_protocol::trace::Happening;
use ackscope_ui::app::{App, NoPage};
use ackscope_ui::connection::Address;
use ackscope_ui::dock::Pane;
use ackscope_ui::fake::showcase::showcase;
use ackscope_ui::fake::{FakeHarness, Player};
use ackscope_ui::theme::Look;
use ackscope_ui::views::Action;
use ackscope_ui::views::timeline::{Axis, Step};

struct Preview {
    app: App,
    player: Player,
    /// To be selected as soon as it is known.
    select: Option<MessageId>,
    /// Whether a scenario is to be opened then.
    is_scenario: bool,
}

impl eframe::App for Preview {
    fn logic(&mut self, ctx: &egui::Context, frame: &mut eframe::Frame) {
        eframe::App::logic(&mut self.app, ctx, frame);
        self.player.play();
        if let Some(message_id) = self.select.take_if(|message_id| self.app.run().lane_of(*message_id).is_some()) {
            self.app.ask(Action::Select(Some(message_id)));
            // Seen in run time.
            self.app.ask(Action::SelectRange(Some((15_500_000, 18_500_000))));
            self.app.ask(Action::Cursor(Some(17_000_000)));
            if self.is_scenario {
                self.app.ask(Action::OpenScenario("search-outage.yaml".to_owned()));
            }
        }
    }

    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        eframe::App::ui(&mut self.app, ui, frame);
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
    let look = match () {
        () if has("light") => Look::Light,
        () if has("contrast") => Look::Contrast,
        () => Look::Dark,
    };
    let zoom = arguments.iter().find_map(|argument| argument.strip_suffix('%')?.parse::<f32>().ok()).unwrap_or(100.0);
    let panes: Vec<Pane> = Pane::ALL.into_iter().filter(|pane| has(pane.title())).collect();
    let (is_empty, is_lost) = (has("empty"), has("lost"));
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default().with_inner_size(size),
        ..eframe::NativeOptions::default()
    };
    eframe::run_native(
        "Ackscope",
        options,
        Box::new(move |creation| {
            let harness = FakeHarness::default();
            let address = Address::parse("http://127.0.0.1:4000/?token=preview");
            ackscope_ui::theme::install(&creation.egui_ctx);
            let mut app = App::new(address, harness.transport(), Box::new(NoPage));
            if is_lost {
                harness.set_down(true);
            }
            app.ask(Action::Look(look));
            app.ask(Action::Zoom(zoom / 100.0));
            let mut is_scenario = false;
            if has("runtime") {
                app.ask(Action::Timeline(Step::Count(Axis::RunTime)));
            }
            for pane in panes {
                app.ask(Action::Show(pane));
                is_scenario |= pane == Pane::Scenarios;
            }
            let events = if is_empty { Vec::new() } else { showcase() };
            let select = events.iter().find_map(|event| match &event.what {
                Happening::Sent { message_id, text: Some(text), .. } if text.starts_with("Then let us") => {
                    Some(*message_id)
                }
                _ => None,
            });
            Ok(Box::new(Preview { app, player: Player::new(harness, events), select, is_scenario }))
        }),
    )
}
