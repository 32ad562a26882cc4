//! The interface as a person and a screen reader meet it, against a harness in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic like tests")]

use std::cell::RefCell;
use std::rc::Rc;

use ackscope_protocol::control::{CONTROL_VERSION, Command, CommandAnswer, ToHarness, ToInterface};
use ackscope_protocol::trace::{ConnectionState, Happening, TraceEvent};
use ackscope_protocol::wire::{AckState, ConversationKind};
use ackscope_protocol::{ErrorCode, Timestamp, WireError};
use ackscope_ui::app::{App, Host};
use ackscope_ui::connection::{Address, AddressError};
use ackscope_ui::fake::{FakeHarness, Pace, Script, environment, fill, sample, user};
use ackscope_ui::theme;
use ackscope_ui::views::chats::CHATS_MAX;
use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use uuid::Uuid;

const RUN: Uuid = Uuid::from_u128(1);

/// What the page would show.
#[derive(Clone, Default)]
struct Page(Rc<RefCell<(String, String)>>, Rc<RefCell<Option<String>>>);

impl Host for Page {
    fn show_status(&mut self, json: &str) {
        json.clone_into(&mut self.0.borrow_mut().0);
    }

    fn set_title(&mut self, title: &str) {
        title.clone_into(&mut self.0.borrow_mut().1);
    }

    fn remembered(&mut self) -> Option<String> {
        self.1.borrow().clone()
    }

    fn remember(&mut self, text: &str) {
        assert!(text.len() <= 1_500, "a cookie must hold it");
        *self.1.borrow_mut() = Some(text.to_owned());
    }
}

impl Page {
    /// Of somebody who has been here before.
    fn known() -> Self {
        Self(Rc::default(), Rc::new(RefCell::new(Some(r#"{"has_seen_guide":true}"#.to_owned()))))
    }

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
        Self::open_on(Page::known(), address, theme)
    }

    /// On a page that may remember something.
    fn open_on(page: Page, address: Result<Address, AddressError>, theme: egui::Theme) -> Self {
        let harness = FakeHarness::default();
        let (transport, host) = (harness.transport(), Box::new(page.clone()));
        let ui = Harness::builder()
            .with_size([1280.0, 800.0])
            .with_theme(theme)
            .with_max_steps(20)
            .with_context_setup(theme::install)
            .build_ui_state(fill, App::new(address, transport, host));
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

    /// As a screen reader clicks: also what is scrolled out of view.
    fn activate(&mut self, label: &str) {
        self.ui.get_by_label(label).click_accesskit();
        self.settle();
    }

    /// The system draws emoji; there is none here.
    fn allow_emoji(&self) {
        self.ui.ctx.set_missing_glyph_policy(egui::MissingGlyphPolicy::Tofu);
    }

    /// Opens a pane by its key.
    fn pane(&mut self, key: Key) {
        self.press(Modifiers::NONE, Key::Escape);
        self.press(Modifiers::NONE, key);
    }

    /// The next command that is not one of looking into something; its number goes with it.
    #[track_caller]
    fn next_command(&self) -> (u64, Command) {
        self.harness.commands().into_iter().next().expect("a command waits")
    }

    fn answer(&mut self, id: u64, answer: CommandAnswer) {
        self.harness.say(&ToInterface::Reply { id, outcome: Ok(answer) });
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
    desk.allow_emoji();
    desk.ui.get_all_by_label("Actions for lunch?").next().unwrap().click();
    desk.settle();
    desk.click("Reply");
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

    desk.click("More of ana");
    desk.click("Drop connection");
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
    desk.click("Close notice");
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
    let mut desk = Desk::with(&[]);
    desk.harness.say(&ToInterface::Skipped { next_index: 1_000 });
    desk.next_index = 1_000;
    desk.tell(&[TraceEvent { at_us: 1, what: Happening::Gap { missed: 12 } }]);
    desk.harness.say(&ToInterface::Skipped { next_index: 1_031 });
    desk.settle();
    desk.assert_sees("12 events not recorded");
    desk.assert_sees("1,000 events before this view");
    desk.assert_sees("30 events missed");
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
        desk.click("View");
        desk.click(other);
        assert_ne!(desk.ui.ctx.theme(), theme);
        desk.click("View");
        desk.click("High contrast");
        assert_eq!(desk.ui.ctx.theme(), egui::Theme::Dark);
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
    assert!(tabs <= CHATS_MAX, "{tabs}");
}

#[test]
fn panes_open_close_and_are_remembered() {
    let mut desk = Desk::with(&sample());
    desk.press(Modifiers::NONE, Key::Escape);
    desk.press(Modifiers::NONE, Key::Num6);
    desk.assert_sees("Nothing is broken");
    desk.click("View");
    desk.ui.get_by_role_and_label(Role::CheckBox, "Timeline").click();
    desk.settle();
    assert!(desk.lanes().is_empty(), "the timeline is closed");
    desk.click("View");
    desk.click("Dark");
    // The next run of the app begins as this one ended.
    let address = Address::parse("http://127.0.0.1:4000/?token=t");
    let mut again = Desk::open_on(desk.page.clone(), address, egui::Theme::Light);
    again.settle();
    again.harness.accept();
    again.harness.welcome(RUN);
    again.tell(&sample());
    assert_eq!(again.ui.ctx.theme(), egui::Theme::Dark);
    again.assert_sees("Nothing is broken");
    assert!(again.lanes().is_empty());
    again.click("View");
    again.click("Reset layout");
    assert_eq!(again.lanes().len(), 9);
    // Whatever was remembered, the app begins.
    *again.page.1.borrow_mut() = Some("{\"layout\":{\"row\":[[1e99,".to_owned());
    let address = Address::parse("http://127.0.0.1:4000/?token=t");
    let mut broken = Desk::open_on(again.page.clone(), address, egui::Theme::Light);
    broken.settle();
    broken.assert_sees("Waiting for the harness");
}

#[test]
fn another_run_is_shown_and_the_first_one_comes_back() {
    let mut desk = Desk::with(&sample());
    assert_eq!(desk.lanes().len(), 9);
    let mut script = Script::default();
    let place = start(&mut script);
    script.message(100_000, "ana", place, "from the scenario", Pace::default());
    desk.harness.welcome(Uuid::from_u128(2));
    desk.next_index = 0;
    desk.tell(&script.finish());
    assert_eq!(desk.lanes(), ["ana: from the scenario, persisted after 13.4 ms"]);
    desk.harness.welcome(RUN);
    desk.next_index = 0;
    desk.tell(&sample());
    assert_eq!(desk.lanes().len(), 9);
}

fn fault(at_us: u64, kind: &str, active: bool) -> TraceEvent {
    let what = Happening::Fault { target: "kafka".to_owned(), kind: kind.to_owned(), active };
    TraceEvent { at_us, what }
}

#[test]
fn faults_are_set_healed_and_reset_by_a_click() {
    use ackscope_protocol::faults::{Dependency, Fault, TABLE};
    let mut script = Script::default();
    start(&mut script);
    let mut desk = Desk::with(&script.events);
    desk.press(Modifiers::NONE, Key::Escape);
    desk.press(Modifiers::NONE, Key::Num6);
    desk.harness.heard();
    // Everything that can be broken is there.
    let buttons: usize = TABLE.iter().map(|row| row.on.len()).sum();
    let shown = desk.shown();
    let names = ["Media: ", "Search: ", "MongoDB: ", "Redis: ", "Kafka: ", "Consumers: "];
    let faults = shown.iter().filter(|label| names.iter().any(|name| label.starts_with(name))).count();
    assert_eq!(faults, buttons);
    desk.activate("Kafka: Latency");
    let fault_set =
        Command::SetFault { on: Dependency::Kafka, fault: Fault::Latency { delay_ms: 200, jitter_ms: 100 } };
    assert_eq!(desk.commands(), [fault_set]);
    desk.tell(&[fault(9_000_000, "latency 200 ms + up to 100 ms", true)]);
    desk.assert_sees("Faults (1)");
    desk.assert_sees("kafka latency 200 ms + up to 100 ms");
    desk.click("Heal kafka");
    desk.activate("Kafka: Latency");
    let heal = Command::Heal { on: Dependency::Kafka };
    assert_eq!(desk.commands(), [heal.clone(), heal], "a click on what is active heals it too");
    desk.click("Reset all faults");
    assert_eq!(desk.commands(), [Command::ResetFaults]);
    desk.tell(&[fault(10_000_000, "latency 200 ms + up to 100 ms", false)]);
    desk.assert_sees("Nothing is broken");
}

#[test]
fn latencies_are_counted_for_the_run_the_filter_and_a_range() {
    let mut script = Script::default();
    let place = start(&mut script);
    for number in 0..10_u64 {
        let pending_us = if number < 5 { 1_000 } else { 20_000 };
        let pace = Pace { pending_us, delivered_us: 50_000, persisted_us: 60_000 };
        script.message(1_000_000 + number * 1_000_000, "ana", place, &format!("m{number}"), pace);
    }
    let mut desk = Desk::with(&script.finish());
    desk.press(Modifiers::NONE, Key::Escape);
    desk.press(Modifiers::NONE, Key::Num5);
    desk.ui.run_steps(10);
    desk.assert_sees("10 messages");
    desk.assert_sees("Pending count: 10");
    desk.assert_sees("Pending over budget: 5 of 10 ms");
    desk.assert_sees("Delivered p50: 50.");
    desk.click("Over budget 5");
    desk.click("Filter");
    desk.ui.run_steps(10);
    desk.assert_sees("Pending count: 5");
    desk.assert_sees("Pending p50: 20.");
    desk.click("All 10");
    // Shift and a drag over lanes: from the second to the fourth.
    let center = |desk: &Desk, name: &str| desk.ui.get_by_label_contains(name).rect().center();
    let (from, to) = (center(&desk, "ana: m1, "), center(&desk, "ana: m3, "));
    let modifiers = Modifiers::SHIFT;
    let button =
        |pos, pressed| egui::Event::PointerButton { pos, button: egui::PointerButton::Primary, pressed, modifiers };
    desk.ui.event_modifiers(egui::Event::PointerMoved(from), modifiers);
    desk.ui.event_modifiers(button(from, true), modifiers);
    desk.ui.run_steps(1);
    for step in 1..=4 {
        let pos = from + (to - from) * (step as f32 / 4.0);
        desk.ui.event_modifiers(egui::Event::PointerMoved(pos), modifiers);
        desk.ui.run_steps(1);
    }
    desk.ui.event_modifiers(button(to, false), modifiers);
    desk.ui.run_steps(12);
    assert_eq!(desk.ui.state().focus().range, Some((2_000_000, 4_000_001)));
    desk.assert_sees("Range of 2.00 s");
    desk.assert_sees("Pending count: 3");
    desk.click("Clear range");
    desk.ui.run_steps(10);
    desk.assert_sees("Pending count: 10");
}

#[test]
fn the_time_cursor_is_shared() {
    let mut script = Script::default();
    let place = start(&mut script);
    script.message(5_000_000, "ana", place, "hi", Pace::default());
    let mut events = script.finish();
    events.insert(0, fault(4_000, "outage", true));
    events.push(fault(9_000_000, "outage", false));
    let mut desk = Desk::with(&events);
    desk.press(Modifiers::NONE, Key::Escape);
    desk.click("ana: hi, persisted after 13.4 ms");
    desk.activate("Published, 3.55 ms, message.sent, partition 3, offset 41");
    assert_eq!(desk.ui.state().focus().cursor_us, Some(5_003_550));
    desk.press(Modifiers::NONE, Key::Num6);
    desk.assert_sees("At the time cursor (5.00 s): kafka outage");
    desk.press(Modifiers::NONE, Key::Escape);
    assert_eq!(desk.ui.state().focus().cursor_us, None);
    assert!(desk.ui.state().selected().is_some(), "Esc takes one thing after the other");
}

fn health(at_us: u64, name: &str, value: f64) -> TraceEvent {
    TraceEvent { at_us, what: Happening::Health { name: name.to_owned(), value } }
}

#[test]
fn the_pipeline_shows_rates_lag_and_breakers_and_leads_to_faults_and_records() {
    use ackscope_protocol::control::Place;
    let mut script = Script::default();
    let place = start(&mut script);
    for number in 0..50_u64 {
        script.message(1_000_000 + number * 100_000, "ana", place, &format!("m{number}"), Pace::default());
    }
    let mut events = script.finish();
    for (name, value) in [
        ("lag.message-persistence.message.sent.3", 7.0),
        ("lag.message-persistence.message.sent.4", 5.0),
        ("depth.message.sent.3", 90.0),
        ("cache.hits", 30.0),
        ("cache.misses", 10.0),
        ("breaker.search", 2.0),
        ("connections", 2.0),
        ("unpersisted", 4.0),
    ] {
        events.push(health(6_000_000, name, value));
    }
    let mut desk = Desk::with(&events);
    desk.pane(Key::Num4);
    desk.press(Modifiers::NONE, Key::Escape);
    for part in [
        "Users, 2 of 2 connected, send",
        "2 connections, 4 not persisted",
        "75.0 % hits",
        "message.sent, ",
        "90 deep",
        "lag 12",
        "breaker open",
    ] {
        desk.assert_sees(part);
    }
    // At the cursor, ten messages a second went through.
    desk.click("Message");
    desk.press(Modifiers::NONE, Key::ArrowUp);
    desk.activate("Sent by ana, 0.00 ms");
    desk.assert_sees("send 10/s");
    desk.assert_sees("on the way of the selected message");
    desk.harness.heard();
    desk.ui.get_by_label_contains("message.sent, 10/s").click();
    desk.settle();
    desk.click("Look at records of message.sent");
    let wanted = Place::Records { topic: "message.sent".to_owned(), partition: 3, from_offset: Some(90) };
    assert_eq!(desk.commands(), [Command::Inspect { place: wanted }]);
    desk.ui.get_by_label_contains("message.sent, 10/s").click();
    desk.settle();
    desk.click("Break Kafka…");
    desk.assert_sees("Nothing is broken");
}

#[test]
fn the_inspector_follows_the_selection_and_counts_down() {
    use ackscope_protocol::control::{Inspected, Place};
    let mut script = Script::default();
    let place = start(&mut script);
    let first = script.message(100_000, "ana", place, "one", Pace::default());
    let second = script.message(200_000, "ana", place, "two", Pace::default());
    let mut desk = Desk::with(&script.finish());
    desk.pane(Key::Num8);
    desk.assert_sees("No message selected");
    desk.harness.heard();
    desk.click("ana: two, persisted after 13.4 ms");
    let (id, command) = desk.next_command();
    assert_eq!(command, Command::Inspect { place: Place::Message { message_id: second } });
    let row = |kind: &str, key: &str, ttl_ms| Inspected {
        kind: kind.to_owned(),
        key: key.to_owned(),
        summary: format!("a {kind}"),
        message_id: Some(second),
        ttl_ms,
        headers: vec![("traceparent".to_owned(), "00-1-2-01".to_owned())],
        value: serde_json::json!({ "text": "two" }),
    };
    let rows = vec![row("record", "message.sent/3@17", None), row("cache", "conversation:1", Some(3_600_000))];
    desk.answer(id, CommandAnswer::Inspected { rows, more: false });
    desk.assert_sees("record: message.sent/3@17, a record");
    desk.assert_sees("traceparent: 00-1-2-01");
    assert!(desk.ui.get_by_label("Value").value().unwrap_or_default().contains("\"text\": \"two\""));
    desk.click("Raw");
    assert_eq!(desk.ui.get_by_label("Value").value().as_deref(), Some("{\"text\":\"two\"}"));
    desk.ui.run_steps(30);
    desk.assert_sees("59 min");
    desk.click("ana: one, persisted after 13.4 ms");
    let (id, command) = desk.next_command();
    assert_eq!(command, Command::Inspect { place: Place::Message { message_id: first } });
    let error = WireError::new(ErrorCode::StoreUnavailable, "the store does not answer: heal it and try again");
    desk.harness.say(&ToInterface::Reply { id, outcome: Err(error) });
    desk.settle();
    desk.assert_sees("It could not be looked into: the store does not answer: heal it and try again");
    desk.click("Try again");
    assert_eq!(desk.commands(), [command]);
}

#[test]
fn a_scenario_is_opened_corrected_stepped_through_and_saved() {
    use ackscope_protocol::control::{
        Go, ScenarioFile, ScenarioProblem, ScenarioProgress, ScenarioState, ScenarioStep, StepOutcome, StepProgress,
    };
    let mut script = Script::default();
    let place = start(&mut script);
    let message_id = script.message(100_000, "ana", place, "hi", Pace::default());
    let mut desk = Desk::with(&script.finish());
    desk.harness.heard();
    desk.pane(Key::Num7);
    let (id, command) = desk.next_command();
    assert_eq!(command, Command::ListScenarios);
    let file = ScenarioFile { path: "hello.yaml".to_owned(), name: Some("Hello".to_owned()), about: None };
    desk.answer(id, CommandAnswer::Scenarios { folder: "scenarios".to_owned(), files: vec![file] });
    desk.click("Open hello.yaml: Hello");
    let (id, command) = desk.next_command();
    assert_eq!(command, Command::OpenScenario { path: "hello.yaml".to_owned() });
    let text = "scenario: Hello\nusers: [ana]\nsteps:\n  - send: {as: ana}\n".to_owned();
    let answer = |text: &str, problems: Vec<ScenarioProblem>| CommandAnswer::Scenario {
        path: Some("hello.yaml".to_owned()),
        text: text.to_owned(),
        steps: vec![ScenarioStep { line: 4, title: "ana sends".to_owned() }],
        problems,
    };
    desk.answer(id, answer(&text, Vec::new()));
    desk.assert_sees("4  ana sends");
    // A mistake is shown where it stands, and nothing runs while it is there.
    let field = desk.ui.get_by_label("Scenario text");
    field.focus();
    desk.settle();
    desk.ui.get_by_label("Scenario text").type_text("x");
    desk.ui.run_steps(10);
    let (id, command) = desk.next_command();
    let Command::CheckScenario { path: Some(_), text: typed } = command else { panic!("{command:?}") };
    assert_ne!(typed, text);
    let problem = ScenarioProblem { file: None, line: 2, column: 8, message: "no such user".to_owned() };
    desk.answer(id, answer(&typed, vec![problem]));
    desk.assert_sees("Line 2, column 8: no such user");
    desk.assert_sees("Line 2, no such user");
    desk.click("Run");
    assert!(desk.commands().is_empty());
    // A click elsewhere takes the text cursor away.
    desk.ui.get_by_label("Scenario text").focus();
    desk.settle();
    desk.press(Modifiers::NONE, Key::Backspace);
    desk.ui.run_steps(10);
    let (id, command) = desk.next_command();
    assert_eq!(command, Command::CheckScenario { path: Some("hello.yaml".to_owned()), text: text.clone() });
    desk.answer(id, answer(&text, Vec::new()));
    // Step through it, with a breakpoint.
    desk.click("Line 4");
    desk.assert_sees("Line 4, breakpoint");
    desk.click("Step through");
    let (id, command) = desk.next_command();
    let path = Some("hello.yaml".to_owned());
    assert_eq!(command, Command::RunScenario { path, text: text.clone(), paused: true, breakpoints: vec![4] });
    desk.answer(id, CommandAnswer::Done);
    let progress = |state, outcome, summary: Option<&str>| ToInterface::Scenario {
        progress: ScenarioProgress {
            name: "Hello".to_owned(),
            state,
            steps: vec![StepProgress { line: 4, title: "ana sends".to_owned(), outcome }],
            summary: summary.map(ToOwned::to_owned),
        },
    };
    desk.harness.say(&progress(ScenarioState::Paused, StepOutcome::Waiting, None));
    desk.settle();
    desk.assert_sees("Scenario: Hello");
    desk.click("Step");
    assert_eq!(desk.commands(), [Command::Scenario { go: Go::Step }]);
    let failed = StepOutcome::Failed { message: "expected an outcome".to_owned(), message_id: Some(message_id) };
    desk.harness.say(&progress(ScenarioState::Failed, failed, Some("1 of 1 steps failed")));
    desk.settle();
    desk.assert_sees("1 of 1 steps failed");
    desk.assert_sees("expected an outcome");
    desk.click("Back to the live run");
    assert_eq!(desk.commands(), [Command::ShowLive]);
    desk.click("Show its message");
    assert_eq!(desk.ui.state().selected(), Some(message_id));
    assert_eq!(desk.lanes().len(), 1, "the timeline is in front");
    // Saved under another name that is there already.
    desk.pane(Key::Num7);
    desk.click("Save as…");
    desk.click("Save file");
    let (id, command) = desk.next_command();
    let save = |replace| Command::SaveScenario { path: "hello.yaml".to_owned(), text: text.clone(), replace };
    assert_eq!(command, save(false));
    let error = WireError::new(ErrorCode::InvalidPayload, "hello.yaml is there already");
    desk.harness.say(&ToInterface::Reply { id, outcome: Err(error) });
    desk.settle();
    desk.assert_sees("The scenario could not be saved: hello.yaml is there already");
    desk.click("Replace the file");
    let (id, command) = desk.next_command();
    assert_eq!(command, save(true));
    desk.answer(id, answer(&text, Vec::new()));
    assert!(!desk.sees("Replace the file"));
}

#[test]
fn what_was_done_by_hand_becomes_a_scenario() {
    let mut desk = Desk::with(&sample());
    desk.pane(Key::Num7);
    desk.harness.heard();
    desk.click("From what was done by hand");
    let (id, command) = desk.next_command();
    assert_eq!(command, Command::ScenarioByHand { name: "Done by hand".to_owned() });
    let (steps, problems) = (Vec::new(), Vec::new());
    desk.answer(id, CommandAnswer::Scenario { path: None, text: "scenario: Done\n".to_owned(), steps, problems });
    desk.assert_sees("Not in a file yet (changed)");
    assert_eq!(desk.ui.get_by_label("Scenario text").value().as_deref(), Some("scenario: Done\n"));
}

#[test]
fn what_was_done_by_hand_is_saved_without_the_mouse() {
    let mut desk = Desk::with(&sample());
    desk.harness.heard();
    desk.press(Modifiers::COMMAND, Key::K);
    // The letters and Enter come faster than frames do.
    desk.ui.get_by_label("Command").type_text("save what was done by hand");
    desk.press(Modifiers::NONE, Key::Enter);
    desk.settle();
    let by_hand = Command::ScenarioByHand { name: "Done by hand".to_owned() };
    let asked = desk.harness.commands().into_iter().find(|(_, command)| *command == by_hand);
    let (id, _) = asked.expect("the palette asks for it");
    let text = "scenario: Done\n".to_owned();
    let (steps, problems) = (Vec::new(), Vec::new());
    desk.answer(id, CommandAnswer::Scenario { path: None, text: text.clone(), steps, problems });
    desk.settle();
    desk.press(Modifiers::NONE, Key::Enter);
    let save = Command::SaveScenario { path: "by-hand.yaml".to_owned(), text, replace: false };
    assert_eq!(desk.commands().last(), Some(&save));
}

#[test]
fn the_palette_does_what_is_typed() {
    let mut script = Script::default();
    start(&mut script);
    let mut desk = Desk::with(&script.events);
    desk.harness.heard();
    desk.press(Modifiers::COMMAND, Key::K);
    assert!(desk.ui.get_by_label("Command").is_focused());
    desk.ui.get_by_label("Command").type_text("break kafka outage");
    desk.settle();
    desk.press(Modifiers::NONE, Key::Enter);
    let outage = ackscope_protocol::faults::Fault::Outage;
    let on = ackscope_protocol::faults::Dependency::Kafka;
    assert_eq!(desk.commands(), [Command::SetFault { on, fault: outage }]);
    assert!(desk.ui.query_by_label("Command").is_none(), "it is closed");
    desk.press(Modifiers::COMMAND, Key::K);
    desk.ui.get_by_label("Command").type_text("zzzz");
    desk.settle();
    desk.assert_sees("Nothing is called so");
    desk.press(Modifiers::NONE, Key::Escape);
    assert!(desk.ui.query_by_label("Command").is_none());
    desk.press(Modifiers::COMMAND, Key::K);
    desk.ui.get_by_label("Command").type_text("show lat");
    desk.settle();
    desk.press(Modifiers::NONE, Key::Enter);
    desk.assert_sees("Nothing to count yet");
}

#[test]
fn the_cheat_sheet_opens_with_a_question_mark_unless_one_is_writing() {
    let mut script = Script::default();
    start(&mut script);
    let mut desk = Desk::with(&script.events);
    desk.press(Modifiers::NONE, Key::Questionmark);
    assert!(!desk.sees("Ackscope at a glance"), "somebody writes");
    desk.press(Modifiers::NONE, Key::Escape);
    desk.press(Modifiers::NONE, Key::Questionmark);
    desk.assert_sees("Ackscope at a glance");
    desk.assert_sees("Every action by its name");
}

/// Everything that can be clicked lies within the window, and nothing lies over something else.
fn assert_nothing_is_cut_off(desk: &Desk, what: &str) {
    let window = desk.ui.ctx.content_rect();
    let mut seen: Vec<(String, egui::Rect)> = Vec::new();
    for node in desk.ui.query_all_by_role(Role::Button) {
        let (label, rect) = (node.accesskit_node().label().unwrap_or_default(), node.rect());
        // What is scrolled out of view, or folded away, is not cut off.
        if rect.area() < 1.0 || !window.intersects(rect) {
            continue;
        }
        seen.push((label, rect));
    }
    for (label, rect) in &seen {
        assert!(
            rect.right() <= window.right() + 1.0,
            "{what}: {label:?} ends at {} of {}",
            rect.right(),
            window.right()
        );
    }
    let bar: Vec<_> = seen.iter().filter(|(_, rect)| rect.bottom() < 48.0).collect();
    for (index, (label, rect)) in bar.iter().enumerate() {
        for (other_label, other) in bar.iter().skip(index + 1) {
            assert!(
                rect.intersect(*other).area() < 1.0 || !rect.intersects(*other),
                "{what}: {label} lies over {other_label}"
            );
        }
    }
}

#[test]
fn at_150_percent_nothing_is_cut_off() {
    let mut desk = Desk::with(&sample());
    desk.press(Modifiers::NONE, Key::Escape);
    assert_nothing_is_cut_off(&desk, "at 100 %");
    for _ in 0..5 {
        desk.press(Modifiers::COMMAND, Key::Plus);
    }
    assert!((desk.ui.ctx.zoom_factor() - 1.5).abs() < 0.01, "{}", desk.ui.ctx.zoom_factor());
    desk.press(Modifiers::NONE, Key::ArrowUp);
    for key in [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8, Key::Num9] {
        desk.press(Modifiers::NONE, key);
        assert_nothing_is_cut_off(&desk, &format!("{key:?} at 150 %"));
    }
    desk.press(Modifiers::COMMAND, Key::Num0);
    assert!((desk.ui.ctx.zoom_factor() - 1.0).abs() < 0.01);
}

#[test]
fn everything_a_user_can_do_is_a_click_away() {
    use ackscope_protocol::text::{Emoji, MessageText};
    use ackscope_protocol::wire::{
        DeleteMessage, DeleteMode, EditMessage, ForwardMessages, LeaveConversation, MessageRef, MuteConversation,
        React, RemoveParticipant, Request, SendMessage,
    };
    fn asked<R: Request>(command: &Command) -> R {
        let Command::Request { user: asker, event, payload } = command else { panic!("{command:?}") };
        assert_eq!((asker.as_str(), event.as_str()), ("ana", R::EVENT));
        serde_json::from_value(payload.clone()).unwrap()
    }
    let mut script = Script::default();
    let conversation_id = start(&mut script);
    let message_id = script.message(100_000, "ana", conversation_id, "hi", Pace::default());
    let mut desk = Desk::with(&script.finish());
    desk.allow_emoji();
    desk.press(Modifiers::NONE, Key::Escape);
    desk.harness.heard();
    let menu = |desk: &mut Desk, choice: &str| {
        desk.ui.get_all_by_label("Actions for hi").next().unwrap().click();
        desk.settle();
        desk.click(choice);
        desk.commands().pop()
    };
    for (choice, mode) in [
        ("Delete, leave a tombstone", DeleteMode::Soft),
        ("Delete for good", DeleteMode::Hard),
        ("Delete for me", DeleteMode::ForMe),
    ] {
        let command = menu(&mut desk, choice).unwrap();
        assert_eq!(asked::<DeleteMessage>(&command), DeleteMessage { conversation_id, message_id, mode });
    }
    let command = menu(&mut desk, "React heart").unwrap();
    let emoji = Emoji::new("❤").unwrap();
    assert_eq!(asked::<React>(&command), React { conversation_id, message_id, emoji });

    assert_eq!(menu(&mut desk, "Edit"), None);
    desk.assert_sees("Edit “hi”");
    assert!(desk.ui.get_by_label("Message as ana").is_focused());
    desk.ui.get_by_label("Message as ana").type_text("gh");
    desk.settle();
    desk.press(Modifiers::NONE, Key::Enter);
    let edit: EditMessage = asked(&desk.commands()[0]);
    assert_eq!((edit.message_id, edit.text.contains("gh")), (message_id, true));

    desk.ui.get_all_by_label("Actions for hi").next().unwrap().click();
    desk.settle();
    desk.ui.get_by_label_contains("Forward to").hover();
    desk.settle();
    desk.ui.get_all_by_label("Team").last().unwrap().click();
    desk.settle();
    let forward: ForwardMessages = asked(&desk.commands()[0]);
    assert_eq!(forward.messages, [MessageRef { conversation_id, message_id }]);
    assert_eq!(forward.targets, [conversation_id]);
    desk.press(Modifiers::NONE, Key::Escape);

    let more = |desk: &mut Desk, choice: &str| {
        desk.click("More of ana");
        desk.click(choice);
        desk.commands().pop()
    };
    let mute: MuteConversation = asked(&more(&mut desk, "Mute for an hour").unwrap());
    assert_eq!(mute, MuteConversation { conversation_id, duration_secs: Some(3_600) });
    assert_eq!(
        asked::<LeaveConversation>(&more(&mut desk, "Leave conversation").unwrap()).conversation_id,
        conversation_id
    );
    desk.click("More of ana");
    desk.ui.get_by_label_contains("Remove participant").hover();
    desk.settle();
    desk.click("ben (member)");
    let remove: RemoveParticipant = asked(&desk.commands()[0]);
    assert_eq!(remove.user_id, user("ben"));
    desk.press(Modifiers::NONE, Key::Escape);
    let device = Command::AddDevice { device: user("ana-2"), of: user("ana") };
    assert_eq!(more(&mut desk, "Second device"), Some(device));
    let slow = Command::ReadSlowly { user: user("ana"), bytes_per_second: Some(1_024) };
    assert_eq!(more(&mut desk, "Read slowly"), Some(slow));

    // A picture goes up first, and then with the message.
    desk.click("More of ana");
    desk.click("Attach a picture");
    let (id, command) = desk.next_command();
    assert!(matches!(&command, Command::Upload { content_type, .. } if content_type == "image/png"), "{command:?}");
    let media_id = ackscope_protocol::MediaId::from_uuid(Uuid::from_u128(7));
    desk.answer(id, CommandAnswer::Uploaded { media_id });
    desk.assert_sees("1 picture attached");
    desk.ui.get_by_label("Message as ana").focus();
    desk.settle();
    desk.press(Modifiers::NONE, Key::Enter);
    let sent: SendMessage = asked(&desk.commands()[0]);
    assert_eq!((sent.media, sent.text), (vec![media_id], None::<MessageText>));
    assert!(!desk.sees("1 picture attached"));
}

#[test]
fn any_request_can_be_made_by_hand() {
    let mut script = Script::default();
    start(&mut script);
    let mut desk = Desk::with(&script.events);
    desk.harness.heard();
    desk.click("More of ana");
    desk.click("Any request…");
    desk.assert_sees("A request of ana");
    desk.click("Event");
    desk.activate("search:query");
    desk.activate("Send request");
    let (id, command) = desk.next_command();
    let payload = serde_json::json!({ "text": "hello" });
    let event = "search:query".to_owned();
    assert_eq!(command, Command::Request { user: user("ana"), event, payload });
    desk.answer(id, CommandAnswer::Answered { answer: serde_json::json!({ "messages": [] }) });
    assert!(desk.ui.get_by_label("Answer").value().unwrap_or_default().contains("messages"));
    desk.ui.get_by_label("Payload").focus();
    desk.settle();
    desk.ui.get_by_label("Payload").type_text("}");
    desk.settle();
    desk.assert_sees("This is no JSON");
    desk.activate("Close request");
    assert!(!desk.sees("A request of ana"));
}

#[test]
fn a_chat_shows_edits_reactions_tombstones_and_devices() {
    use ackscope_protocol::text::MessageText;
    use ackscope_protocol::wire::{
        DeleteMode, Edit, Message, MessageAnswer, MessageDeleted, MessageReaction, ServerEvent,
    };
    let mut script = Script::default();
    let conversation_id = start(&mut script);
    let message_id = script.message(100_000, "ben", conversation_id, "frist", Pace::default());
    let gone = script.message(200_000, "ben", conversation_id, "oops", Pace::default());
    let at = Timestamp::from_millis(1_769_860_900_000);
    let message = Message {
        text: MessageText::new("first").ok(),
        seq: 1,
        edited_at: Some(at),
        edits: vec![Edit { text: "frist".to_owned(), at }],
        forward_count: 2,
        ..Message::new(message_id, conversation_id, user("ben"), at)
    };
    let saw = |event| Happening::Saw { user: user("ana"), event };
    script.push(900_000, saw(ServerEvent::Edited(MessageAnswer { message })));
    let reactions = [("👍".to_owned(), vec![user("ana")])].into();
    script.push(910_000, saw(ServerEvent::Reaction(MessageReaction { conversation_id, message_id, reactions })));
    let deleted = MessageDeleted { conversation_id, message_id: gone, mode: DeleteMode::Soft };
    script.push(920_000, saw(ServerEvent::Deleted(deleted)));
    script.push(930_000, Happening::Device { user: user("ana-2"), of: user("ana") });
    script.connect(940_000, "ana-2");
    let mut desk = Desk::with(&[]);
    desk.allow_emoji();
    desk.tell(&script.finish());
    desk.harness.heard();
    for text in ["ben: first", "edited", "forwarded 2", "👍 1", "ben: Message deleted", "ana-2 (of ana)"] {
        desk.assert_sees(text);
    }
    // One's own reaction goes away by a click.
    desk.click("👍 1");
    let commands = desk.commands();
    assert!(matches!(&commands[..], [Command::Request { event, .. }] if event == "message:unreact"), "{commands:?}");
}

#[test]
fn a_selected_message_is_shown_in_the_chats_too() {
    let mut script = Script::default();
    let team = start(&mut script);
    let direct = script.conversation(4_000, ConversationKind::Direct, None, &["ana", "ben"]);
    script.message(100_000, "ana", direct, "between us", Pace::default());
    for number in 0..200_u64 {
        script.message(200_000 + number * 50_000, "ben", team, &format!("m{number}"), Pace::default());
    }
    let mut desk = Desk::with(&script.finish());
    desk.ui.run_steps(20);
    desk.press(Modifiers::NONE, Key::Escape);
    assert!(!desk.sees("ben: m3 "), "only the newest are drawn");
    desk.press(Modifiers::COMMAND, Key::F);
    desk.ui.get_by_label("Find messages").type_text("between");
    desk.settle();
    desk.click("ana: between us, persisted after 13.4 ms");
    // Both chats went over to the other conversation.
    assert_eq!(desk.ui.query_all_by_label("ana: between us").count(), 2);
    desk.click("Clear");
    desk.press(Modifiers::COMMAND, Key::F);
    desk.ui.get_by_label("Find messages").type_text("m10");
    desk.settle();
    desk.ui.get_all_by_label_contains("ben: m10, ").next().unwrap().click_accesskit();
    desk.settle();
    let window = desk.ui.ctx.content_rect();
    let bubble = desk.ui.query_all_by_label("ben: m10").next().expect("far up, and still shown").rect();
    assert!(window.contains_rect(bubble), "{bubble:?}");
}

#[test]
fn the_guide_comes_once_by_itself_and_takes_nothing_away() {
    let address = || Address::parse("http://127.0.0.1:4000/?token=t");
    let page = Page::default();
    let mut desk = Desk::open_on(page.clone(), address(), egui::Theme::Dark);
    desk.settle();
    assert!(!desk.sees("Guide, 1 of 6"), "nothing can be shown yet");
    desk.harness.accept();
    desk.harness.welcome(RUN);
    let mut script = Script::default();
    start(&mut script);
    desk.tell(&script.events);
    desk.assert_sees("Guide, 1 of 6: These are the users");
    // Somebody who knows what to do just does it.
    desk.harness.heard();
    assert!(desk.ui.get_by_label("Message as ana").is_focused());
    desk.ui.get_by_label("Message as ana").type_text("hello");
    desk.settle();
    desk.press(Modifiers::NONE, Key::Enter);
    assert!(matches!(&desk.commands()[..], [Command::Send { .. }]));
    for (step, pane) in [(2, "Timeline"), (3, "Message"), (4, "Faults"), (5, "Inspector"), (6, "Scenarios")] {
        desk.press(Modifiers::ALT, Key::ArrowRight);
        desk.assert_sees(&format!("Guide, {step} of 6"));
        let tab = desk.ui.get_by_role_and_label(Role::Tab, pane);
        assert!(tab.accesskit_node().is_selected().unwrap_or_default(), "{pane} is in front");
    }
    desk.press(Modifiers::ALT, Key::ArrowLeft);
    desk.assert_sees("Guide, 5 of 6");
    desk.click("Next step of the guide");
    desk.click("End the guide");
    assert!(!desk.sees("Guide, "));

    // In the next run of the app it stays away, until somebody asks for it.
    let mut desk = Desk::open_on(page, address(), egui::Theme::Dark);
    desk.settle();
    desk.harness.accept();
    desk.harness.welcome(RUN);
    desk.tell(&script.events);
    assert!(!desk.sees("Guide, "));
    desk.press(Modifiers::NONE, Key::F1);
    desk.click("Show me around");
    desk.assert_sees("Guide, 1 of 6");
    desk.press(Modifiers::NONE, Key::Escape);
    assert!(!desk.sees("Guide, "), "one key is enough");
    desk.press(Modifiers::COMMAND, Key::K);
    desk.ui.get_by_label("Command").type_text("show me around");
    desk.settle();
    desk.press(Modifiers::NONE, Key::Enter);
    desk.assert_sees("Guide, 1 of 6");
    desk.click("Skip the guide");
    assert!(!desk.sees("Guide, "));
}

#[test]
fn a_refused_request_is_said_once() {
    use ackscope_ui::fake::showcase::refusal;
    let mut script = Script::default();
    start(&mut script);
    let mut desk = Desk::with(&script.events);
    desk.harness.heard();
    desk.click("More of ana");
    desk.click("Leave conversation");
    let (id, _) = desk.next_command();
    let (event, error) = refusal(50_000, "ana", "conversation:leave");
    let said = |desk: &Desk| desk.ui.query_all_by_label_contains("only owners and admins").count();
    // The answer may come before the trace, and after it.
    desk.harness.say(&ToInterface::Reply { id, outcome: Err(error.clone()) });
    desk.ui.run_steps(1);
    assert_eq!(said(&desk), 0, "the chat gets a moment to say it");
    desk.next_index = script.events.len() as u64;
    desk.tell(std::slice::from_ref(&event));
    desk.ui.run_steps(10);
    assert_eq!(said(&desk), 1, "{}", desk.shown().join("\n"));
    desk.click("Dismiss");
    assert_eq!(said(&desk), 0);

    // Where no chat can say it, it is said all the same.
    desk.click("More of ana");
    desk.click("Leave conversation");
    let (id, _) = desk.next_command();
    desk.press(Modifiers::COMMAND, Key::K);
    desk.ui.get_by_label("Command").type_text("close users");
    desk.settle();
    desk.press(Modifiers::NONE, Key::Enter);
    desk.harness.say(&ToInterface::Reply { id, outcome: Err(error) });
    desk.tell(&[TraceEvent { at_us: 60_000, ..event }]);
    desk.ui.run_steps(10);
    assert_eq!(said(&desk), 1);
}

#[test]
fn every_tab_and_its_close_button_have_the_name_of_the_pane() {
    let mut desk = Desk::with(&sample());
    for pane in ackscope_ui::dock::Pane::ALL {
        let title = pane.title();
        assert!(desk.ui.query_by_role_and_label(Role::Tab, title).is_some(), "{title}");
        let close = format!("Close {title}");
        assert!(desk.ui.query_by_role_and_label(Role::Button, &close).is_some(), "{close}");
    }
    desk.click("Close Timeline");
    assert!(desk.ui.query_by_role_and_label(Role::Tab, "Timeline").is_none());
    assert!(desk.ui.query_by_role_and_label(Role::Tab, "Pipeline").is_some());
}

#[test]
fn a_recording_stands_beside_the_run_with_one_axis_and_one_cursor() {
    use ackscope_ui::fake::showcase::{comparison, showcase, showcase_again};
    use ackscope_ui::views::Action;
    use ackscope_ui::views::timeline::{Axis, Step};
    let mut desk = Desk::with(&showcase());
    desk.ui.run_steps(10);
    desk.press(Modifiers::NONE, Key::Escape);
    desk.harness.heard();
    desk.press(Modifiers::NONE, Key::Num9);
    let (id, command) = desk.next_command();
    assert_eq!(command, Command::ListRecordings);
    let answer = ackscope_ui::fake::showcase::answer(&command);
    desk.answer(id, answer);
    desk.ui.get_by_label_contains("Compare with Release rehearsal").click();
    desk.settle();
    let (id, command) = desk.next_command();
    let path = "2026-01-30T17-41-09.310Z-977.ackrec".to_owned();
    assert_eq!(command, Command::CompareWith { path: path.clone() });
    desk.answer(id, CommandAnswer::Compared { comparison: Box::new(comparison()) });

    // Its events come in pages, each asked for when the one before has come.
    let events = showcase_again();
    let mut pages = 0;
    while !desk.ui.state().compared().unwrap().is_read() {
        let (id, command) = desk.next_command();
        let Command::ReadRecording { path: of, from_index } = command else { panic!("{command:?}") };
        assert_eq!((of, from_index), (path.clone(), pages * 1_000));
        assert!(desk.commands().is_empty(), "one at a time");
        let page: Vec<TraceEvent> = events.iter().skip(from_index as usize).take(1_000).cloned().collect();
        desk.answer(id, CommandAnswer::RecordedEvents { events: page, total: events.len() as u64 });
        pages += 1;
    }
    assert!(pages >= 3, "{pages}");
    let other = desk.ui.state().compared().unwrap();
    assert_eq!(other.run().counts().events, events.len() as u64);
    desk.assert_sees("Run A: The live run");
    desk.assert_sees("Run B: Release rehearsal");
    desk.assert_sees("delivered p50: A 4.48 ms, B 6.51 ms, worse");
    desk.assert_sees("Ended differently: 1");

    // One message: selected in both, whichever of them is clicked.
    let text = "It caught up";
    let of_run = |run: &ackscope_ui::state::Run| {
        let mut lanes = run.lane_range().filter_map(|number| run.lane(ackscope_ui::state::LaneNumber(number)));
        lanes.find(|lane| lane.text.as_deref() == Some(text)).unwrap().message_id
    };
    let (in_a, in_b) = (of_run(desk.ui.state().run()), of_run(desk.ui.state().compared().unwrap().run()));
    desk.ui.state_mut().ask(Action::Select(Some(in_a)));
    desk.settle();
    assert_eq!(desk.ui.state().compared().unwrap().selected(), Some(in_b));
    desk.ui.state_mut().ask(Action::Select(None));
    desk.settle();
    desk.ui.state_mut().ask(Action::SelectInOther(in_b));
    desk.settle();
    assert_eq!(desk.ui.state().selected(), Some(in_a));

    // One axis: what A shows, B shows, and the other way round.
    desk.ui.state_mut().ask(Action::Timeline(Step::Count(Axis::RunTime)));
    desk.settle();
    let axes: Vec<_> = desk.ui.query_all_by_label("Time axis").map(|node| node.rect()).collect();
    let [above, below] = axes[..] else { panic!("{axes:?}") };
    assert!((above.left() - below.left()).abs() < 1.0 && above.bottom() < below.top());
    let x = below.center().x;
    let click = |desk: &mut Desk, pos: egui::Pos2| {
        desk.ui.hover_at(pos);
        desk.ui.drag_at(pos);
        desk.ui.run_steps(1);
        desk.ui.drop_at(pos);
        desk.settle();
        desk.ui.state().focus().cursor_us.unwrap()
    };
    let cursor = click(&mut desk, egui::pos2(x, below.center().y));
    assert_eq!(click(&mut desk, egui::pos2(x, above.center().y)), cursor);

    desk.click("Only differences");
    assert!(!desk.sees("pending p50: A"));
    desk.assert_sees("pending p90: A");
    desk.harness.heard();
    desk.click("Compare again");
    let (id, command) = desk.next_command();
    assert_eq!(command, Command::CompareWith { path });
    let error = WireError::new(ErrorCode::NotFound, "there is no recording any more");
    desk.harness.say(&ToInterface::Reply { id, outcome: Err(error) });
    desk.settle();
    desk.assert_sees("The recording cannot be compared: there is no recording any more");
    desk.click("End comparison");
    assert!(desk.ui.state().compared().is_none());
    assert_eq!(desk.ui.query_all_by_label("Time axis").count(), 1);
}

#[test]
fn a_recording_that_cannot_be_read_further_says_so_and_goes_on() {
    use ackscope_ui::fake::showcase::comparison;
    let mut desk = Desk::with(&sample());
    desk.press(Modifiers::NONE, Key::Escape);
    desk.press(Modifiers::NONE, Key::Num9);
    desk.harness.heard();
    desk.ui.get_by_label("Path of a recording").focus();
    desk.settle();
    desk.ui.get_by_label("Path of a recording").type_text("/tmp/run.ackrec");
    desk.settle();
    desk.click("Compare with this path");
    let (id, command) = desk.next_command();
    assert_eq!(command, Command::CompareWith { path: "/tmp/run.ackrec".to_owned() });
    desk.answer(id, CommandAnswer::Compared { comparison: Box::new(comparison()) });
    let (id, _) = desk.next_command();
    let error = WireError::new(ErrorCode::NotFound, "it may have been removed");
    desk.harness.say(&ToInterface::Reply { id, outcome: Err(error) });
    desk.settle();
    desk.assert_sees("B was read up to event 0, and no further: it may have been removed");
    assert!(desk.commands().is_empty(), "not again by itself");
    desk.click("Go on reading");
    let (id, command) = desk.next_command();
    assert!(matches!(command, Command::ReadRecording { from_index: 0, .. }));
    desk.answer(id, CommandAnswer::RecordedEvents { events: Vec::new(), total: 0 });
    assert!(desk.ui.state().compared().unwrap().is_read(), "an empty one is read at once");
}
