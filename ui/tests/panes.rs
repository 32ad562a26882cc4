//! Pictures of every pane: compared with those in `tests/snapshots`, and written to `tests/output/panes` of the
//! repository to be looked at. `UPDATE_SNAPSHOTS=1` takes the new ones.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic like tests")]

// Sizes of pictures are far below these bounds, and colours that are copied are the same to the bit.
#[allow(clippy::cast_possible_wrap, clippy::float_cmp)]
#[path = "support/painter.rs"]
mod painter;

use std::path::Path;

use ackscope_protocol::MessageId;
use ackscope_protocol::trace::TraceEvent;
use ackscope_ui::app::{App, Host};
use ackscope_ui::connection::Address;
use ackscope_ui::dock::Pane;
use ackscope_ui::fake::showcase::{failed_scenario, showcase};
use ackscope_ui::fake::{FakeHarness, Player, fill};
use ackscope_ui::theme;
use ackscope_ui::views::Action;
use ackscope_ui::views::guide::Go;
use ackscope_ui::views::timeline::{Axis, Step};
use egui::{Key, Modifiers, Vec2};
use egui_kittest::kittest::Queryable as _;
use egui_kittest::{Harness, SnapshotOptions};

use self::painter::Painter;

/// Enough for a pane beside which nothing else stands.
const ALONE: [f32; 2] = [900.0, 600.0];
const DESK: [f32; 2] = [1280.0, 800.0];
/// Both of these of every pane; high contrast of the whole desk.
const LOOKS: [&str; 2] = ["dark", "light"];
/// Frames before a picture: more than anything needs that moves.
const FRAMES: usize = 8;

/// Remembers what was arranged before, and nothing after.
struct Remembers(String);

impl Host for Remembers {
    fn show_status(&mut self, _json: &str) {}
    fn set_title(&mut self, _title: &str) {}

    fn remembered(&mut self) -> Option<String> {
        Some(self.0.clone())
    }
}

struct Studio {
    ui: Harness<'static, App>,
    harness: FakeHarness,
    player: Player,
    name: String,
}

impl Studio {
    fn new(name: &str, layout: &str, look: &str, size: [f32; 2], events: Vec<TraceEvent>) -> Self {
        let harness = FakeHarness::default();
        let transport = harness.transport();
        let arranged = format!(r#"{{"layout":{layout},"look":"{look}","zoom":1.0,"has_seen_guide":true}}"#);
        let address = Address::parse("http://127.0.0.1:4000/?token=t");
        let mut app = App::new(address, transport, Box::new(Remembers(arranged)));
        app.be_patient();
        let ui = Harness::builder()
            .with_size(Vec2::from(size))
            .renderer(Painter::default())
            .with_context_setup(theme::install)
            .build_ui_state(fill, app);
        let player = Player::new(harness.clone(), events);
        let mut studio = Self { ui, harness, player, name: format!("{name}-{look}") };
        studio.settle();
        studio
    }

    /// One pane with nothing beside it, in which the run has been told.
    fn pane(pane: Pane, look: &str) -> Self {
        let word = pane.title().to_lowercase();
        let mut studio = Self::new(&word, &format!(r#"{{"tabs":[["{word}"],0]}}"#), look, ALONE, showcase());
        studio.ui.key_press(Key::Escape);
        studio.settle();
        studio
    }

    /// Every pane, as it stands at first.
    fn desk(name: &str, look: &str, events: Vec<TraceEvent>) -> Self {
        let layout = serde_json::to_string(&ackscope_ui::dock::Layout::default()).unwrap();
        let mut studio = Self::new(name, &layout, look, DESK, events);
        studio.ui.key_press(Key::Escape);
        studio.settle();
        studio
    }

    fn settle(&mut self) {
        for _ in 0..FRAMES {
            self.player.play();
            self.ui.run_steps(1);
        }
    }

    fn ask(&mut self, action: Action) {
        self.ui.state_mut().ask(action);
        self.settle();
    }

    fn click(&mut self, label: &str) {
        self.ui.get_by_label(label).click();
        self.settle();
    }

    /// The message that says so.
    fn message(&self, text: &str) -> MessageId {
        let run = self.ui.state().run();
        let lanes = run.lane_range().rev().filter_map(|number| run.lane(ackscope_ui::state::LaneNumber(number)));
        lanes.into_iter().find(|lane| lane.text.as_deref() == Some(text)).expect("the run has the message").message_id
    }

    fn select(&mut self, text: &str) {
        let message_id = self.message(text);
        self.ask(Action::Select(Some(message_id)));
    }

    /// Compares, after the pointer has left.
    fn picture(&mut self) {
        self.ui.remove_cursor();
        self.settle();
        let mut image = self.ui.render().unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/output/panes");
        std::fs::create_dir_all(&folder).unwrap();
        image.save(folder.join(format!("{}.png", self.name))).unwrap();
        for value in image.iter_mut() {
            *value = *value / LEVEL * LEVEL + LEVEL / 2;
        }
        let options = SnapshotOptions::new().threshold(THRESHOLD);
        if let Err(error) = egui_kittest::try_image_snapshot_options(&image, &self.name, &options) {
            panic!("{error}");
        }
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            write_small(&options.output_path.join(format!("{}.png", self.name)), &image);
        }
    }
}

/// Pictures that are kept have sixteen levels of each colour: thirty of them are otherwise several megabytes.
const LEVEL: u8 = 16;
/// Two neighbouring levels are the same colour: machines may differ by a hair in the letters they draw.
const THRESHOLD: f32 = 150.0;

/// Writes a picture of few colours with a palette.
fn write_small(path: &Path, image: &image::RgbaImage) {
    let mut palette: Vec<[u8; 3]> = Vec::new();
    let mut known = std::collections::HashMap::new();
    let mut bytes = Vec::with_capacity(image.len() / 4);
    for pixel in image.pixels() {
        let [r, g, b, _] = pixel.0;
        let index = *known.entry([r, g, b]).or_insert_with(|| {
            palette.push([r, g, b]);
            palette.len() - 1
        });
        // With more colours than a palette holds it stays as it was written.
        let Ok(index) = u8::try_from(index) else { return };
        bytes.push(index);
    }
    let file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut encoder = png::Encoder::new(file, image.width(), image.height());
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette.concat());
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(png::Filter::NoFilter);
    encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
}

/// Where the talk at the end of the run begins, in microseconds.
const TALK_US: u64 = 15_500_000;
/// What the pictures are about.
const SELECTED: &str = "Then let us wait for it before we tag";

#[test]
fn users() {
    for look in LOOKS {
        Studio::pane(Pane::Users, look).picture();
    }
}

#[test]
fn timeline() {
    for look in LOOKS {
        let mut studio = Studio::pane(Pane::Timeline, look);
        studio.select(SELECTED);
        studio.picture();
    }
}

#[test]
fn timeline_in_run_time() {
    for look in LOOKS {
        let mut studio = Studio::pane(Pane::Timeline, look);
        studio.name = format!("timeline-run-{look}");
        studio.ask(Action::Timeline(Step::Count(Axis::RunTime)));
        studio.ask(Action::SelectRange(Some((TALK_US + 2_000_000, TALK_US + 3_600_000))));
        studio.ask(Action::Cursor(Some(TALK_US + 4_000_000)));
        studio.picture();
    }
}

#[test]
fn message() {
    for look in LOOKS {
        let mut studio = Studio::pane(Pane::Message, look);
        studio.select(SELECTED);
        studio.picture();
    }
}

#[test]
fn pipeline() {
    for look in LOOKS {
        let mut studio = Studio::pane(Pane::Pipeline, look);
        studio.select(SELECTED);
        studio.ask(Action::Cursor(Some(TALK_US + 5_000_000)));
        studio.picture();
    }
}

#[test]
fn latency() {
    for look in LOOKS {
        let mut studio = Studio::pane(Pane::Latency, look);
        studio.select(SELECTED);
        studio.picture();
    }
}

#[test]
fn faults() {
    for look in LOOKS {
        Studio::pane(Pane::Faults, look).picture();
    }
}

#[test]
fn scenarios() {
    for look in LOOKS {
        let mut studio = Studio::pane(Pane::Scenarios, look);
        studio.ask(Action::OpenScenario("search-outage.yaml".to_owned()));
        studio.picture();
    }
}

#[test]
fn scenario_files_and_a_scenario_that_failed() {
    let mut studio = Studio::pane(Pane::Scenarios, "dark");
    studio.name = "scenarios-files-dark".to_owned();
    studio.picture();
    let mut studio = Studio::pane(Pane::Scenarios, "light");
    studio.ask(Action::OpenScenario("search-outage.yaml".to_owned()));
    let progress = failed_scenario(Some(studio.message(SELECTED)));
    studio.harness.say(&ackscope_protocol::control::ToInterface::Scenario { progress });
    studio.name = "scenarios-failed-light".to_owned();
    studio.picture();
}

#[test]
fn inspector() {
    for look in LOOKS {
        let mut studio = Studio::pane(Pane::Inspector, look);
        studio.select(SELECTED);
        studio.picture();
    }
}

#[test]
fn compare() {
    for look in LOOKS {
        let mut studio = Studio::pane(Pane::Compare, look);
        studio.name = format!("compare-choose-{look}");
        if look == "dark" {
            studio.picture();
        }
        studio.ui.get_by_label_contains("Compare with Release rehearsal").click();
        studio.settle();
        studio.ask(Action::Hide(Pane::Timeline));
        studio.name = format!("compare-{look}");
        studio.picture();
    }
    // Both timelines, and what differs.
    let mut studio = Studio::desk("compare-desk", "light", showcase());
    studio.ask(Action::Show(Pane::Compare));
    studio.ui.get_by_label_contains("Compare with Release rehearsal").click();
    studio.settle();
    studio.select(SELECTED);
    studio.picture();
}

#[test]
fn the_guide() {
    for (step, look) in [(1, "light"), (4, "dark")] {
        let mut studio = Studio::desk("guide", look, showcase());
        studio.ask(Action::Guide(Go::Start));
        for _ in 1..step {
            studio.ask(Action::Guide(Go::Next));
        }
        studio.picture();
    }
}

#[test]
fn the_desk() {
    for look in ["dark", "light", "contrast"] {
        let mut studio = Studio::desk("desk", look, showcase());
        studio.select(SELECTED);
        studio.picture();
    }
}

#[test]
fn palette_and_cheat_sheet() {
    for (look, other) in [("dark", "light"), ("light", "dark")] {
        let mut studio = Studio::pane(Pane::Timeline, look);
        studio.ask(Action::TogglePalette);
        studio.ui.get_by_label("Command").type_text("break kaf");
        studio.name = format!("palette-{look}");
        studio.picture();
        let mut studio = Studio::pane(Pane::Timeline, other);
        studio.ask(Action::ToggleHelp);
        studio.name = format!("cheat-sheet-{other}");
        studio.picture();
    }
}

#[test]
fn dialogs() {
    let mut studio = Studio::pane(Pane::Users, "light");
    studio.ask(Action::NewConversation(ackscope_ui::fake::user("ana")));
    studio.name = "new-conversation-light".to_owned();
    studio.picture();
    let mut studio = Studio::pane(Pane::Users, "dark");
    studio.click("More of ana");
    studio.name = "more-of-a-user-dark".to_owned();
    studio.picture();
}

#[test]
fn a_desk_with_nothing_in_it_yet() {
    Studio::desk("empty", "light", Vec::new()).picture();
}

#[test]
fn a_desk_that_lost_its_harness() {
    let mut studio = Studio::desk("lost", "dark", showcase());
    studio.harness.set_down(true);
    studio.harness.close(None);
    studio.ui.key_press_modifiers(Modifiers::NONE, Key::Escape);
    studio.picture();
}
