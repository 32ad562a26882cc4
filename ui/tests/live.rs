//! A run that goes on at 5,000 events a second while one looks at it: whatever is not shown is counted, and the count is
//! on the screen.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic like tests")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use ackscope_protocol::Timestamp;
use ackscope_protocol::control::{CONTROL_VERSION, TRACE_BATCH_MAX, ToHarness, ToInterface};
use ackscope_protocol::trace::TraceEvent;
use ackscope_protocol::wire::ConversationKind;
use ackscope_ui::app::{App, NoPage};
use ackscope_ui::connection::{Address, QUEUE_MAX_MESSAGES, Socket, SocketEvent, Transport, Wake};
use ackscope_ui::fake::{Pace, Script, environment, fill};
use ackscope_ui::theme;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use uuid::Uuid;

const EVENTS_PER_SECOND: usize = 5_000;
const FRAMES_PER_SECOND: usize = 60;
/// What the harness of these tests keeps of a run: four seconds. The real one keeps a million events.
const KEPT: usize = 20_000;

/// The other end, as a session of the harness is: it reads the run by index when there is room in the bounded queue,
/// keeps the newest events of the run, and says what it no longer has.
#[derive(Default)]
struct Live {
    /// The whole run, to compare with.
    events: Vec<TraceEvent>,
    /// How many of them have happened.
    happened: usize,
    next_index: usize,
    queue: VecDeque<SocketEvent>,
    longest_queue: usize,
    /// Nobody draws: a tab in the background.
    is_hidden: bool,
}

impl Live {
    fn fill(&mut self) {
        let first_kept = self.happened.saturating_sub(KEPT);
        while self.queue.len() < QUEUE_MAX_MESSAGES && self.next_index < self.happened {
            let message = if self.next_index < first_kept {
                self.next_index = first_kept;
                ToInterface::Skipped { next_index: first_kept as u64 }
            } else {
                let end = self.happened.min(self.next_index + TRACE_BATCH_MAX);
                let events = self.events[self.next_index..end].to_vec();
                let first_index = self.next_index as u64;
                self.next_index = end;
                ToInterface::Trace { first_index, events }
            };
            self.queue.push_back(SocketEvent::Text(serde_json::to_string(&message).unwrap()));
            self.longest_queue = self.longest_queue.max(self.queue.len());
        }
    }
}

#[derive(Clone, Default)]
struct Session(Rc<RefCell<Live>>);

impl Transport for Session {
    fn open(&mut self, _url: &str, _wake: Wake) -> Result<Box<dyn Socket>, String> {
        self.0.borrow_mut().queue.push_back(SocketEvent::Opened);
        Ok(Box::new(self.clone()))
    }
}

impl Socket for Session {
    fn send(&mut self, text: String) {
        if let Ok(ToHarness::Hello { .. }) = serde_json::from_str(&text) {
            let welcome = ToInterface::Welcome {
                version: CONTROL_VERSION,
                run_id: Uuid::from_u128(1),
                environment: environment(),
                business_now: Timestamp::from_millis(1_769_860_800_000),
            };
            self.0.borrow_mut().queue.push_back(SocketEvent::Text(serde_json::to_string(&welcome).unwrap()));
        }
    }

    fn poll(&mut self) -> Option<SocketEvent> {
        let mut live = self.0.borrow_mut();
        if live.is_hidden {
            return None;
        }
        // What was taken makes room; an idle queue is filled by the frame.
        live.queue.pop_front()
    }
}

fn run_of(events: usize) -> Vec<TraceEvent> {
    let names = ["ana", "ben", "cleo", "dora"];
    let mut script = Script::default();
    for name in names {
        script.connect(0, name);
    }
    let place = script.conversation(1, ConversationKind::Group, Some("Load"), &names);
    let mut number = 0_u64;
    while script.events.len() < events {
        let sender = names[number as usize % names.len()];
        script.message(1_000 + number * 3_400, sender, place, &format!("message {number}"), Pace::default());
        number += 1;
    }
    let mut events_in_order = script.finish();
    events_in_order.truncate(events);
    events_in_order
}

fn open(events: Vec<TraceEvent>) -> (Harness<'static, App>, Session) {
    let session = Session::default();
    session.0.borrow_mut().events = events;
    let transport = Box::new(session.clone());
    let address = Address::parse("http://127.0.0.1:4000/?token=t");
    let ui = Harness::builder()
        .with_size([1280.0, 800.0])
        .with_step_dt(1.0 / FRAMES_PER_SECOND as f32)
        .with_context_setup(theme::install)
        .build_ui_state(fill, App::new(address, transport, Box::new(NoPage)));
    (ui, session)
}

/// So many frames of the run going on.
fn go_on(ui: &mut Harness<'static, App>, session: &Session, frames: usize) {
    for _ in 0..frames {
        {
            let mut live = session.0.borrow_mut();
            live.happened = (live.happened + EVENTS_PER_SECOND.div_ceil(FRAMES_PER_SECOND)).min(live.events.len());
            live.fill();
        }
        ui.run_steps(1);
    }
}

/// Until everything that happened has been taken.
fn catch_up(ui: &mut Harness<'static, App>, session: &Session) {
    for _ in 0..2_000 {
        session.0.borrow_mut().fill();
        ui.run_steps(1);
        let live = session.0.borrow();
        if live.queue.is_empty() && live.next_index == live.happened {
            return;
        }
    }
    panic!("it does not catch up");
}

#[test]
fn five_thousand_events_a_second_are_all_shown() {
    let (mut ui, session) = open(run_of(3 * EVENTS_PER_SECOND));
    go_on(&mut ui, &session, 3 * FRAMES_PER_SECOND);
    catch_up(&mut ui, &session);
    let happened = session.0.borrow().happened;
    let counts = *ui.state().run().counts();
    assert_eq!(happened, 3 * EVENTS_PER_SECOND);
    assert_eq!(counts.events + counts.missed_events + counts.skipped_events, happened as u64);
    // Everything was kept long enough for a view that draws, however slow the machine.
    assert_eq!((counts.missed_events, counts.skipped_events), (0, 0));
    assert!(session.0.borrow().longest_queue <= QUEUE_MAX_MESSAGES);
    assert!(ui.query_all_by_label_contains("missed").next().is_none());
}

#[test]
fn what_a_view_that_fell_behind_did_not_get_is_counted_and_on_the_screen() {
    let (mut ui, session) = open(run_of(10 * EVENTS_PER_SECOND));
    go_on(&mut ui, &session, FRAMES_PER_SECOND);
    catch_up(&mut ui, &session);
    let shown_before = ui.state().run().counts().events;
    assert!(shown_before > 0);
    // In the background for nine seconds: the queue fills, and then the run forgets.
    session.0.borrow_mut().is_hidden = true;
    {
        let mut live = session.0.borrow_mut();
        for _ in 0..9 * FRAMES_PER_SECOND {
            live.happened = (live.happened + EVENTS_PER_SECOND.div_ceil(FRAMES_PER_SECOND)).min(live.events.len());
            live.fill();
        }
        assert!(live.queue.len() <= QUEUE_MAX_MESSAGES, "the queue is bounded");
        // A browser lets go of the connection when its queue is full; what waited in it is asked for again.
        live.queue.clear();
        live.next_index = usize::try_from(shown_before).unwrap();
        live.is_hidden = false;
    }
    catch_up(&mut ui, &session);
    let counts = *ui.state().run().counts();
    let happened = session.0.borrow().happened as u64;
    assert!(counts.missed_events > 0, "{counts:?}");
    assert_eq!(counts.events + counts.missed_events, happened, "shown and missed are all there were");
    assert_eq!(counts.skipped_events, 0, "somebody was here from the beginning");
    let text = format!("{} missed", ackscope_ui::format::count(counts.missed_events, "event", "events"));
    ui.run_steps(2);
    assert!(ui.query_by_label(&text).is_some(), "{text}");
    // And it goes on with what is new.
    go_on(&mut ui, &session, 30);
    catch_up(&mut ui, &session);
    let counts = *ui.state().run().counts();
    assert_eq!(counts.events + counts.missed_events, session.0.borrow().happened as u64);
}
