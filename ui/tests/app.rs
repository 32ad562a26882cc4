//! The interface as a person and a screen reader meet it, against a harness in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic like tests")]

use std::cell::RefCell;
use std::rc::Rc;

use ackscope_protocol::control::{CONTROL_VERSION, Command, CommandAnswer, ToHarness, ToInterface};
use ackscope_protocol::trace::{ConnectionState, Happening, TraceEvent};
use ackscope_protocol::wire::{AckState, ConversationKind};
use ackscope_protocol::{ErrorCode, Timestamp, WireError};
use ackscope_ui::app::{App, Host, PANES_MAX};
use ackscope_ui::connection::{Address, AddressError};
use ackscope_ui::fake::{FakeHarness, Pace, Script, environment, sample, user};
use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use uuid::Uuid;

const RUN: Uuid = Uuid::from_u128(1);

/// What the page would show.
#[derive(Clone, Default)]
struct Page(Rc<RefCell<(String, String)>>);

impl Host for Page {
    fn show_status(&mut self, json: &str) {
        json.clone_into(&mut self.0.borrow_mut().0);
    }

    fn set_title(&mut self, title: &str) {
        title.clone_into(&mut self.0.borrow_mut().1);
    }
}

impl Page {
    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.0.borrow().0).unwrap()
    }

    fn title(&self) -> String {
        self.0.borrow().1.clone()
    }
}

struct Desk {
    ui: Harness<'static, App>,
    harness: FakeHarness,
    page: Page,
    next_index: u64,
}

impl Desk {
    fn open_with(address: Result<Address, AddressError>, theme: egui::Theme) -> Self {
        let (harness, page) = (FakeHarness::default(), Page::default());
        let (transport, host) = (harness.transport(), Box::new(page.clone()));
        let ui = Harness::builder()
            .with_size([1280.0, 800.0])
            .with_theme(theme)
            .with_max_steps(20)
            .build_eframe(move |creation| App::new(&creation.egui_ctx, address, transport, host));
        Self { ui, harness, page, next_index: 0 }
    }

    /// Not yet accepted.
    fn open() -> Self {
        Self::open_with(Address::parse("http://127.0.0.1:4000/?token=t"), egui::Theme::Dark)
    }

    /// Connected, with a run of which these events are known.
    fn with(events: &[TraceEvent]) -> Self {
        let mut desk = Self::open();
        desk.settle();
        desk.harness.accept();
        desk.harness.welcome(RUN);
        desk.tell(events);
        desk
    }

    fn tell(&mut self, events: &[TraceEvent]) {
        self.harness.trace(self.next_index, events);
        self.next_index += events.len() as u64;
        self.settle();
    }

    /// The clock asks for a frame every second and the text cursor blinks: the interface never rests for long.
    fn settle(&mut self) {
        self.ui.run_steps(6);
    }

    fn press(&mut self, modifiers: Modifiers, key: Key) {
        self.ui.key_press_modifiers(modifiers, key);
        self.settle();
    }

    fn click(&mut self, label: &str) {
        self.ui.get_by_label(label).click();
        self.settle();
    }

    fn commands(&self) -> Vec<Command> {
        self.harness.commands().into_iter().map(|(_, command)| command).collect()
    }

    fn reply(&mut self, outcome: Result<CommandAnswer, WireError>) {
        let (id, _) = *self.harness.commands().first().expect("a command waits");
        self.harness.say(&ToInterface::Reply { id, outcome });
        self.settle();
    }

    fn sees(&self, text: &str) -> bool {
        self.ui.query_all_by_label_contains(text).next().is_some()
    }

    #[track_caller]
    fn assert_sees(&self, text: &str) {
        assert!(self.sees(text), "{text:?} is not shown; shown is:\n{}", self.shown().join("\n"));
    }

    fn shown(&self) -> Vec<String> {
        let nodes = self.ui.root().children_recursive();
        nodes.filter_map(|node| node.accesskit_node().label()).collect()
    }

    /// The lanes that are drawn, as a screen reader hears them.
    fn lanes(&self) -> Vec<String> {
        let nodes = self.ui.query_all_by_role(Role::ListItem);
        nodes.filter_map(|node| node.accesskit_node().label()).filter(|label| label.contains(": ")).collect()
    }
}

fn start(script: &mut Script) -> ackscope_protocol::ConversationId {
    script.connect(1_000, "ana");
    script.connect(2_000, "ben");
    script.conversation(3_000, ConversationKind::Group, Some("Team"), &["ana", "ben"])
}

#[test]
fn typing_and_enter_send_as_the_first_user_without_any_click() {
    let mut script = Script::default();
    let place = start(&mut script);
    let mut desk = Desk::with(&script.events);
    desk.harness.heard();
    let composer = desk.ui.get_by_label("Message as ana");
    assert!(composer.is_focused(), "somebody who opens the app can type at once");
    composer.type_text("hello there");
    desk.settle();
    desk.press(Modifiers::NONE, Key::Enter);
    assert_eq!(
        desk.commands(),
        [Command::Send {
            user: user("ana"),
            conversation_id: place,
            text: ackscope_protocol::text::MessageText::new("hello there").unwrap(),
            reply_to: None,
            temp_id: None,
        }]
    );
    let composer = desk.ui.get_by_label("Message as ana");
    assert_eq!(composer.value().unwrap_or_default(), "", "the field is ready for the next message");
    assert!(composer.is_focused());
    // Nothing to send is nothing sent.
    desk.press(Modifiers::NONE, Key::Enter);
    assert!(desk.commands().is_empty());
}

#[test]
fn shift_enter_begins_a_new_line() {
    let mut script = Script::default();
    start(&mut script);
    let mut desk = Desk::with(&script.events);
    desk.ui.get_by_label("Message as ana").type_text("one");
    desk.settle();
    desk.press(Modifiers::SHIFT, Key::Enter);
    desk.ui.get_by_label("Message as ana").type_text("two");
    desk.settle();
    assert!(desk.commands().is_empty());
    desk.press(Modifiers::NONE, Key::Enter);
    let commands = desk.commands();
    assert!(matches!(&commands[..], [Command::Send { text, .. }] if &**text == "one\ntwo"), "{commands:?}");
}

#[test]
fn acknowledgments_appear_in_the_chat_and_on_the_timeline() {
    let mut script = Script::default();
    let place = start(&mut script);
    let mut desk = Desk::with(&std::mem::take(&mut script.events));
    let (_, temp_id) = script.sent(100_000, "ana", place, "hi");
    desk.tell(&std::mem::take(&mut script.events));
    desk.assert_sees("ana: hi, sending");
    assert_eq!(desk.page.status()["last_lane"]["state"], "sending");
    for (at_us, state, chat, lane) in [
        (101_500, AckState::Pending, "Pending · 1.50 ms", "ana: hi, pending after 1.50 ms"),
        (105_000, AckState::Delivered, "Delivered · 5.00 ms", "ana: hi, delivered after 5.00 ms"),
        (112_300, AckState::Persisted, "Persisted · 12.3 ms", "ana: hi, persisted after 12.3 ms"),
    ] {
        script.ack(at_us, "ana", place, &temp_id, state, None);
        desk.tell(&std::mem::take(&mut script.events));
        desk.assert_sees(chat);
        assert_eq!(desk.lanes(), [lane]);
        assert_eq!(
            desk.page.status(),
            serde_json::json!({
                "connected": true, "users": 2, "lanes": 1,
                "last_lane": { "text": "hi", "sender": "ana", "state": state.as_str() },
            })
        );
    }
    assert_eq!(desk.page.title(), "Ackscope · embedded");
}

#[test]
fn a_selected_lane_shows_its_way_step_by_step() {
    let mut script = Script::default();
    let place = start(&mut script);
    script.message(100_000, "ana", place, "hi", Pace::default());
    let mut desk = Desk::with(&script.finish());
    desk.assert_sees("No message selected");
    desk.click("ana: hi, persisted after 13.4 ms");
    assert!(desk.ui.state().selected().is_some());
    for step in [
        "Sent by ana, 0.00 ms",
        "Permission checked, 0.91 ms, allowed, from the cache",
        "Published, 3.55 ms, message.sent, partition 3, offset 41",
        "Delivered seen, 4.15 ms",
        "Seen by ben, 4.85 ms",
        "Persisted, 11.2 ms, inserted, bulk of 4",
        "Persisted seen, 13.4 ms",
    ] {
        desk.assert_sees(step);
    }
    desk.click("Close message");
    desk.assert_sees("No message selected");
}

#[test]
fn arrow_keys_walk_the_lanes_and_escape_leaves() {
    let mut desk = Desk::with(&sample());
    desk.press(Modifiers::NONE, Key::Escape);
    assert!(!desk.ui.get_by_label("Message as ana").is_focused());
    desk.press(Modifiers::NONE, Key::ArrowUp);
    let last = desk.ui.state().selected().unwrap();
    desk.press(Modifiers::NONE, Key::ArrowUp);
    let before = desk.ui.state().selected().unwrap();
    assert_ne!(last, before);
    desk.press(Modifiers::NONE, Key::ArrowDown);
    assert_eq!(desk.ui.state().selected(), Some(last));
    desk.press(Modifiers::NONE, Key::Escape);
    assert_eq!(desk.ui.state().selected(), None);
    desk.press(Modifiers::COMMAND, Key::Num2);
    assert!(desk.ui.get_by_label("Message as ben").is_focused());
    desk.press(Modifiers::ALT, Key::ArrowUp);
    assert_eq!(desk.ui.state().selected(), Some(last), "also while writing");
}

#[test]
fn a_breach_is_marked_and_can_be_filtered_for() {
    let mut script = Script::default();
    let place = start(&mut script);
    script.message(100_000, "ana", place, "quick", Pace::default());
    script.message(
        200_000,
        "ben",
        place,
        "slow",
        Pace { pending_us: 900, delivered_us: 100_000, persisted_us: 120_000 },
    );
    let mut desk = Desk::with(&script.finish());
    assert_eq!(desk.lanes(), ["ana: quick, persisted after 13.4 ms", "ben: slow, persisted after 120 ms, over budget"]);
    assert!(desk.ui.query_by_role_and_label(Role::Image, "Over budget").is_some(), "the chat marks it too");
    desk.click("Over budget 1");
    assert_eq!(desk.lanes(), ["ben: slow, persisted after 120 ms, over budget"]);
    assert_eq!(desk.page.status()["lanes"], 1);
    desk.click("ben: slow, persisted after 120 ms, over budget");
    desk.assert_sees("Delivered seen, 100 ms, over the budget of 100 ms");
    desk.click("All 2");
    desk.press(Modifiers::COMMAND, Key::F);
    desk.ui.get_by_label("Find messages").type_text("QUI");
    desk.settle();
    assert_eq!(desk.lanes(), ["ana: quick, persisted after 13.4 ms"]);
    desk.ui.get_by_label("Find messages").type_text("zzz");
    desk.settle();
    desk.click("Show all messages");
    assert_eq!(desk.lanes().len(), 2);
}

#[test]
fn a_rejected_message_says_why_and_is_retried_under_its_temp_id() {
    let mut script = Script::default();
    let place = start(&mut script);
    script.rejected(100_000, "ana", place, "not now", ErrorCode::LogUnavailable);
    let mut desk = Desk::with(&script.finish());
    desk.assert_sees("Rejected · 6.40 ms");
    desk.assert_sees("log_unavailable: the event log does not take records right now");
    desk.harness.heard();
    desk.click("Retry");
    let commands = desk.commands();
    assert!(
        matches!(&commands[..], [Command::Send { temp_id: Some(temp_id), text, .. }]
            if temp_id.as_str() == "t-1" && &**text == "not now"),
        "{commands:?}"
    );
}

#[test]
fn a_reply_names_what_it_answers() {
    let mut script = Script::default();
    let place = start(&mut script);
    let message_id = script.message(100_000, "ben", place, "lunch?", Pace::default());
    let mut desk = Desk::with(&script.finish());
    desk.harness.heard();
    desk.click("Reply to lunch?");
    desk.assert_sees("Reply to “lunch?”");
    desk.ui.get_by_label("Message as ana").type_text("yes");
    desk.settle();
    desk.press(Modifiers::NONE, Key::Enter);
    let commands = desk.commands();
    assert!(
        matches!(&commands[..], [Command::Send { reply_to: Some(reply_to), .. }] if *reply_to == message_id),
        "{commands:?}"
    );
}

#[test]
fn users_conversations_connections_and_the_clock_are_commanded() {
    let mut script = Script::default();
    start(&mut script);
    let mut desk = Desk::with(&script.events);
    desk.harness.heard();
    desk.click("Add user…");
    desk.ui.get_by_label("Name").type_text("not a name");
    desk.settle();
    desk.assert_sees("Use 1 to 64 letters");
    desk.press(Modifiers::NONE, Key::Enter);
    assert!(desk.commands().is_empty());
    desk.press(Modifiers::NONE, Key::Escape);
    desk.click("Add user…");
    desk.ui.get_by_label("Name").type_text("dora");
    desk.settle();
    desk.click("Add");
    assert_eq!(desk.commands(), [Command::AddUser { user: user("dora") }]);

    desk.ui.get_all_by_label("Drop connection").next().unwrap().click();
    desk.settle();
    assert_eq!(desk.commands(), [Command::DropConnection { user: user("ana") }]);
    let state = ConnectionState::Disconnected { reason: "dropped on request".to_owned() };
    desk.next_index = script.events.len() as u64;
    desk.tell(&[TraceEvent { at_us: 9_000, what: Happening::Connection { user: user("ana"), state } }]);
    desk.assert_sees("Not connected: dropped on request");
    desk.click("Reconnect");
    assert_eq!(desk.commands(), [Command::Reconnect { user: user("ana") }]);

    desk.click("Advance clock…");
    desk.click("16 minutes (past the edit window)");
    assert_eq!(desk.commands(), [Command::AdvanceClock { by_ms: 960_000 }]);
    desk.ui.get_all_by_label("Play the tour").next().unwrap().click();
    desk.settle();
    assert_eq!(desk.commands(), [Command::PlayTour]);
}

#[test]
fn a_conversation_is_created_and_opened() {
    let mut script = Script::default();
    script.connect(1, "ana");
    script.connect(2, "ben");
    let mut desk = Desk::with(&script.events);
    desk.harness.heard();
    desk.assert_sees("No conversation yet");
    desk.ui.get_all_by_label("New conversation…").next().unwrap().click();
    desk.settle();
    desk.assert_sees("New conversation of ana");
    desk.ui.get_by_role_and_label(Role::CheckBox, "ben").click();
    desk.settle();
    desk.ui.get_by_role_and_label(Role::TextInput, "Title").focus();
    desk.settle();
    desk.ui.get_by_role_and_label(Role::TextInput, "Title").type_text("Plans");
    desk.settle();
    desk.click("Create");
    let commands = desk.commands();
    assert!(
        matches!(&commands[..], [Command::CreateConversation { user: creator, kind: ConversationKind::Group, participants, title: Some(title) }]
            if *creator == user("ana") && *participants == [user("ben")] && &**title == "Plans"),
        "{commands:?}"
    );
    assert!(!desk.sees("New conversation of ana"), "the dialog is gone");
}

#[test]
fn a_refused_command_tells_why_and_gives_the_text_back() {
    let mut script = Script::default();
    start(&mut script);
    let mut desk = Desk::with(&script.events);
    desk.harness.heard();
    desk.ui.get_by_label("Message as ana").type_text("hello");
    desk.settle();
    desk.press(Modifiers::NONE, Key::Enter);
    desk.reply(Err(WireError::new(ErrorCode::Overloaded, "ana is not connected")));
    desk.assert_sees("The message could not be sent: ana is not connected");
    assert_eq!(desk.ui.get_by_label("Message as ana").value().as_deref(), Some("hello"));
    desk.click("Close");
    assert!(!desk.sees("could not be sent"));
}

#[test]
fn a_lost_connection_is_told_keeps_the_picture_and_comes_back() {
    let mut script = Script::default();
    let place = start(&mut script);
    script.message(100_000, "ana", place, "hi", Pace::default());
    let mut desk = Desk::with(&script.finish());
    desk.harness.heard();
    desk.harness.close(None);
    desk.ui.run_steps(1);
    desk.assert_sees("The connection to http://127.0.0.1:4000 was lost");
    assert_eq!(desk.lanes().len(), 1, "what was shown stays");
    assert_eq!(desk.page.status()["connected"], false);
    assert_eq!(desk.page.title(), "Ackscope (not connected)");
    // The steps of the test clock pass the wait.
    desk.settle();
    desk.harness.accept();
    desk.settle();
    let hello = desk.harness.heard();
    let known = desk.next_index;
    assert_eq!(hello, [ToHarness::Hello { version: CONTROL_VERSION, run_id: Some(RUN), next_index: known }]);
    desk.harness.welcome(RUN);
    desk.settle();
    assert!(!desk.sees("was lost"));
    assert_eq!(desk.page.status()["connected"], true);
    assert_eq!(desk.lanes().len(), 1);
}

#[test]
fn another_version_is_explained() {
    let mut desk = Desk::open();
    desk.settle();
    desk.harness.accept();
    desk.harness.say(&ToInterface::Welcome {
        version: CONTROL_VERSION + 1,
        run_id: RUN,
        environment: environment(),
        business_now: Timestamp::from_millis(0),
    });
    desk.settle();
    desk.assert_sees(&format!(
        "The harness speaks version {} of the control protocol, this interface version {CONTROL_VERSION}",
        CONTROL_VERSION + 1
    ));
    desk.assert_sees("Use the interface and the harness of the same release");
    desk.click("Try again now");
    assert_eq!(desk.harness.urls().len(), 2);
}

#[test]
fn an_address_without_a_token_is_explained() {
    let mut desk = Desk::open_with(Address::parse("http://127.0.0.1:4000/"), egui::Theme::Dark);
    desk.settle();
    desk.assert_sees("the address carries no token");
    desk.assert_sees("Start the harness with “ackscope serve”");
    assert!(desk.harness.urls().is_empty());
}

#[test]
fn lost_and_skipped_events_are_said() {
    let mut desk = Desk::with(&[TraceEvent { at_us: 1, what: Happening::Gap { missed: 12 } }]);
    desk.harness.say(&ToInterface::Skipped { next_index: 1_001 });
    desk.settle();
    desk.assert_sees("12 events not recorded");
    desk.assert_sees("1,000 events before this view");
}

#[test]
fn a_newcomer_is_told_what_to_do() {
    let mut desk = Desk::with(&[]);
    desk.assert_sees("No users yet");
    desk.assert_sees("No messages yet");
    desk.harness.heard();
    desk.ui.get_all_by_label("Play the tour").last().unwrap().click();
    desk.settle();
    assert_eq!(desk.commands(), [Command::PlayTour]);
    desk.press(Modifiers::NONE, Key::F1);
    desk.assert_sees("Ackscope at a glance");
    desk.press(Modifiers::NONE, Key::F1);
    assert!(!desk.sees("Ackscope at a glance"));
}

#[test]
fn pausing_keeps_what_is_shown_while_more_arrives() {
    let mut script = Script::default();
    let place = start(&mut script);
    script.message(100_000, "ana", place, "first", Pace::default());
    let events = std::mem::take(&mut script.events);
    let mut desk = Desk::with(&events);
    desk.press(Modifiers::NONE, Key::Escape);
    desk.press(Modifiers::NONE, Key::Space);
    script.message(200_000, "ben", place, "second", Pace::default());
    desk.tell(&script.events);
    assert_eq!(desk.lanes().len(), 1);
    desk.click("Go on");
    assert_eq!(desk.lanes().len(), 2);
}

#[test]
fn both_axes_draw_in_both_themes() {
    for theme in [egui::Theme::Dark, egui::Theme::Light] {
        let mut desk = Desk::open_with(Address::parse("http://127.0.0.1:4000/?token=t"), theme);
        desk.settle();
        desk.harness.accept();
        desk.harness.welcome(RUN);
        desk.tell(&sample());
        assert_eq!(desk.ui.ctx.theme(), theme);
        assert_eq!(desk.lanes().len(), 9);
        desk.click("Run time");
        assert_eq!(desk.lanes().len(), 9);
        desk.click("Since sent");
        let other = if theme == egui::Theme::Dark { "Light" } else { "Dark" };
        desk.click(other);
        assert_ne!(desk.ui.ctx.theme(), theme);
        assert_eq!(desk.lanes().len(), 9);
    }
}

#[test]
fn a_long_run_draws_only_what_is_in_view_and_follows_the_newest() {
    let mut script = Script::default();
    let place = start(&mut script);
    for number in 0..2_000_u64 {
        script.message(100_000 + number * 10_000, "ana", place, &format!("message {number}"), Pace::default());
    }
    let mut desk = Desk::with(&script.finish());
    // One frame takes a bounded share.
    desk.ui.run_steps(60);
    assert_eq!(desk.page.status()["lanes"], 2_000);
    assert_eq!(desk.page.status()["last_lane"]["text"], "message 1999");
    assert!(desk.ui.state().painted_lanes() < 40, "{}", desk.ui.state().painted_lanes());
    desk.click("Run time");
    desk.settle();
    assert_eq!(desk.page.status()["last_lane"]["text"], "message 1999");
    assert!(desk.ui.state().painted_lanes() < 40);
}

#[test]
fn a_crowd_of_users_gets_a_bounded_number_of_panes() {
    let mut script = Script::default();
    for number in 0..500 {
        script.connect(number, &format!("user-{number}"));
    }
    let mut desk = Desk::with(&script.events);
    desk.ui.run_steps(10);
    assert_eq!(desk.page.status()["users"], 500);
    desk.assert_sees("500 users");
    let tabs = desk.shown().iter().filter(|label| label.starts_with("user-")).count();
    assert!(tabs <= PANES_MAX, "{tabs}");
}
