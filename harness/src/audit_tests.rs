//! The audit against hand-made runs. A clean run is broken in one way at a time, and exactly that finding appears.

use ackscope_protocol::Timestamp;
use ackscope_protocol::trace::Happening;
use ackscope_protocol::wire::{MessageDelivered, ServerEvent};

use super::*;
use crate::fixtures::{Made, Trace, user};

/// A run in which everything is as promised: ana and ben talk, cleo listens, mallory is refused.
struct Run {
    trace: Trace,
    stored: Stored,
    hello: Made,
    answer: Made,
    again: Made,
    intrusion: Made,
}

fn stored_message(made: &Made, seq: u64) -> StoredMessage {
    StoredMessage {
        message_id: made.message_id,
        sender: made.sender.clone(),
        temp_id: made.temp_id.clone(),
        text: Some(made.text.clone()),
        created_at: Timestamp::from_millis(0),
        edits: Vec::new(),
        deleted: false,
        seq,
        forwarded: false,
    }
}

fn clean() -> Run {
    let mut trace = Trace::new(&["ana", "ben", "cleo", "mallory"]);
    let hello = trace.send_at(1_000, "ana", "hello");
    trace.pending_at(1_100, &hello);
    trace.published_at(1_500, &hello, 1);
    trace.delivered_at(2_000, &hello, 1);
    trace.seen_at(2_100, "ben", &hello);
    trace.seen_at(2_200, "cleo", &hello);
    trace.persisted_at(20_000, &hello);
    let answer = trace.send_at(30_000, "ben", "answer");
    trace.pending_at(30_100, &answer);
    trace.published_at(30_500, &answer, 2);
    trace.delivered_at(31_000, &answer, 2);
    trace.seen_at(31_100, "ana", &answer);
    trace.seen_at(31_200, "cleo", &answer);
    let again = trace.send_at(40_000, "ana", "again");
    trace.pending_at(40_100, &again);
    trace.published_at(40_500, &again, 3);
    trace.delivered_at(41_000, &again, 3);
    trace.seen_at(41_100, "ben", &again);
    trace.seen_at(41_200, "cleo", &again);
    trace.retry_at(42_000, &again);
    trace.pending_at(42_100, &again);
    trace.delivered_at(42_500, &again, 3);
    let intrusion = trace.send_at(50_000, "mallory", "let me in");
    trace.pending_at(50_100, &intrusion);
    trace.rejected_at(50_500, &intrusion, ErrorCode::NotFound);
    let stored = Stored {
        conversations: vec![StoredConversation {
            conversation_id: trace.conversation_id,
            version: 1,
            participants: trace.participants.clone(),
            cached: None,
            messages: vec![stored_message(&hello, 1), stored_message(&answer, 2), stored_message(&again, 3)],
        }],
        ..Stored::default()
    };
    Run { trace, stored, hello, answer, again, intrusion }
}

impl Run {
    fn audit(&self) -> Audit {
        audit(&self.trace.events, &self.stored)
    }

    /// Takes events out.
    fn without(&mut self, gone: impl Fn(&Happening) -> bool) {
        let before = self.trace.events.len();
        self.trace.events.retain(|event| !gone(&event.what));
        assert!(self.trace.events.len() < before, "nothing was taken out");
    }

    fn messages(&mut self) -> &mut Vec<StoredMessage> {
        &mut self.stored.conversations[0].messages
    }

    /// Exactly one finding: its kind, its sentence, and the message it concerns first.
    #[track_caller]
    fn finds(&self, kind: FindingKind, sentence: &str) {
        let audit = self.audit();
        let said: Vec<_> = audit.findings.iter().map(|f| (f.kind, f.sentence.as_str())).collect();
        assert_eq!(said, [(kind, sentence)]);
        assert!(!audit.is_clean());
        assert!(!audit.findings[0].messages.is_empty(), "a finding names its messages");
    }

    #[track_caller]
    fn is_clean(&self) {
        let audit = self.audit();
        assert_eq!(audit.findings, []);
        assert!(audit.is_clean());
    }
}

fn ack_of(what: &Happening, made: &Made, state: AckState) -> bool {
    matches!(what, Happening::Saw { event: ServerEvent::Ack(ack), .. } if ack.temp_id == made.temp_id && ack.state == state)
}

fn view_of(what: &Happening, who: &str, made: &Made) -> bool {
    matches!(what, Happening::Saw { user: saw, event: ServerEvent::New(new) }
        if *saw == user(who) && new.message.message_id == made.message_id)
}

#[test]
fn a_run_as_promised_is_clean_and_says_how_much_was_checked() {
    let run = clean();
    run.is_clean();
    let promises = run.audit().promises;
    assert_eq!(promises.outcomes, 4);
    assert_eq!(promises.published, 3);
    assert_eq!(promises.stored, 4);
    assert_eq!(promises.seen, 6, "three messages, two others each");
    // Mallory and the sender for each accepted message; the four users for mallory's attempt.
    assert_eq!(promises.unseen, 3 * 2 + 4);
    assert_eq!(promises.ordered, 3 + 6 + 4, "store places, views, delivered ACKs");
    assert_eq!(promises.edited, 3, "the text of each stored message");
    assert_eq!(promises.agreed, 0, "neither cache nor index were read");
    assert_eq!(promises.total(), 4 + 3 + 4 + 6 + 10 + 13 + 3);
}

#[test]
fn an_empty_run_is_clean_of_findings_and_checked_nothing() {
    let audit = audit::<TraceEvent>(&[], &Stored::default());
    assert!(audit.is_clean());
    assert_eq!(audit.promises.total(), 0);
}

#[test]
fn lost_when_there_is_no_outcome() {
    let mut run = clean();
    let answer = run.answer.clone();
    run.without(|what| ack_of(what, &answer, AckState::Delivered));
    run.finds(FindingKind::Lost, "ben's \"answer\" was sent and never got an outcome");
}

#[test]
fn lost_when_delivered_is_not_in_the_store() {
    let mut run = clean();
    run.messages().remove(1);
    run.finds(FindingKind::Lost, "ben's \"answer\" was delivered but is not in the store");
}

#[test]
fn lost_when_delivered_was_never_published() {
    let mut run = clean();
    let hello = run.hello.message_id;
    run.without(|what| matches!(what, Happening::Stage { message_id, .. } if *message_id == hello));
    run.finds(FindingKind::Lost, "ana's \"hello\" was delivered but never published");
}

#[test]
fn lost_when_a_participant_never_saw_it() {
    let mut run = clean();
    let hello = run.hello.clone();
    run.without(|what| view_of(what, "cleo", &hello));
    run.finds(FindingKind::Lost, "cleo never saw ana's \"hello\"");
}

#[test]
fn duplicate_when_seen_twice() {
    let mut run = clean();
    let hello = run.hello.clone();
    run.trace.seen_at(60_000, "ben", &hello);
    run.finds(FindingKind::Duplicate, "ben saw ana's \"hello\" twice");
}

#[test]
fn duplicate_when_stored_twice_under_one_id() {
    let mut run = clean();
    let twice = stored_message(&run.hello, 1);
    run.messages().push(twice);
    run.finds(FindingKind::Duplicate, "ana's \"hello\" is in the store twice");
}

#[test]
fn duplicate_when_a_retry_made_a_second_message() {
    let mut run = clean();
    let mut second = stored_message(&run.again, 4);
    second.message_id = MessageId::from_uuid(uuid::Uuid::from_u128(5));
    run.messages().push(second);
    let audit = run.audit();
    let said: Vec<_> = audit.findings.iter().map(|f| (f.kind, f.sentence.as_str())).collect();
    let duplicate = (FindingKind::Duplicate, "two messages in the store have ana's temp_id t3");
    assert!(said.contains(&duplicate), "{said:?}");
    // Nobody sent it, so it is a phantom as well.
    assert_eq!(said.len(), 2, "{said:?}");
}

#[test]
fn copies_of_one_forward_share_their_temp_id() {
    let mut run = clean();
    for (number, seq) in [(5, 4), (6, 5)] {
        let mut copy = stored_message(&run.again, seq);
        copy.message_id = MessageId::from_uuid(uuid::Uuid::from_u128(number));
        copy.forwarded = true;
        run.messages().push(copy);
    }
    run.is_clean();
}

#[test]
fn duplicate_when_published_twice_unless_the_outcome_was_unknown() {
    let mut run = clean();
    let again = run.again.clone();
    run.trace.published_at(42_300, &again, 9);
    run.finds(FindingKind::Duplicate, "ana's \"again\" was published twice");

    let mut run = clean();
    run.without(|what| ack_of(what, &again, AckState::Delivered));
    run.trace.rejected_at(41_000, &again, ErrorCode::OutcomeUnknown);
    run.trace.delivered_at(42_500, &again, 3);
    run.trace.published_at(42_300, &again, 9);
    run.trace.events.sort_by_key(|event| event.at_us);
    run.is_clean();
}

#[test]
fn duplicate_when_acknowledged_more_often_than_sent() {
    let mut run = clean();
    let hello = run.hello.clone();
    run.trace.delivered_at(60_000, &hello, 1);
    run.finds(FindingKind::Duplicate, "ana's \"hello\" was sent once and acknowledged as delivered twice");
}

#[test]
fn duplicate_when_a_retry_is_answered_with_another_message_id() {
    let mut run = clean();
    let mut ack = run.trace.ack(&run.again, AckState::Persisted, None, None);
    ack.message_id = Some(MessageId::from_uuid(uuid::Uuid::from_u128(5)));
    run.trace.saw(60_000, &user("ana"), ServerEvent::Ack(ack));
    run.finds(FindingKind::Duplicate, "ana's \"again\" was acknowledged under another message_id");
}

#[test]
fn duplicate_when_the_sender_gets_its_own_message_back() {
    let mut run = clean();
    let hello = run.hello.clone();
    run.trace.seen_at(60_000, "ana", &hello);
    run.finds(FindingKind::Duplicate, "ana's \"hello\" came back to its own sender as `message:new`");
}

#[test]
fn a_sender_who_was_away_may_get_its_own_message_by_sync() {
    let mut run = clean();
    let last = run.trace.send_at(60_000, "ana", "last");
    run.trace.published_at(60_500, &last, 4);
    run.trace.disconnect_at(61_000, "ana");
    run.trace.seen_with_seq_at(61_500, "ben", &last, 5);
    run.trace.seen_with_seq_at(61_500, "cleo", &last, 5);
    run.trace.connect_at(62_000, "ana");
    run.trace.seen_with_seq_at(62_500, "ana", &last, 5);
    let stored = stored_message(&last, 5);
    run.messages().push(stored);
    run.is_clean();
}

#[test]
fn phantom_when_rejected_is_stored_or_seen() {
    let mut run = clean();
    let intrusion = stored_message(&run.intrusion, 4);
    run.messages().push(intrusion);
    run.finds(FindingKind::Phantom, "mallory's \"let me in\" was rejected but is in the store");

    let mut run = clean();
    let intrusion = run.intrusion.clone();
    run.trace.seen_at(60_000, "ben", &intrusion);
    run.finds(FindingKind::Phantom, "ben saw mallory's \"let me in\" although it was rejected");
}

#[test]
fn phantom_when_nobody_sent_it() {
    let mut run = clean();
    let mut nobody = stored_message(&run.hello, 4);
    nobody.message_id = MessageId::from_uuid(uuid::Uuid::from_u128(5));
    nobody.temp_id = "other".parse().unwrap();
    run.messages().push(nobody);
    run.finds(FindingKind::Phantom, "ana's \"hello\" is in the store, but was never sent");

    let mut run = clean();
    let made = Made { message_id: MessageId::from_uuid(uuid::Uuid::from_u128(6)), ..run.hello.clone() };
    run.trace.seen_at(60_000, "ben", &made);
    run.finds(FindingKind::Phantom, "ana's \"hello\" was seen by ben, but ana never sent it");
}

#[test]
fn phantom_when_rejected_and_then_delivered_without_another_send() {
    let mut run = clean();
    let hello = run.hello.clone();
    run.trace.rejected_at(1_900, &hello, ErrorCode::Internal);
    run.trace.events.sort_by_key(|event| event.at_us);
    run.finds(FindingKind::Phantom, "ana's \"hello\" was rejected and 100 us later delivered all the same");
}

#[test]
fn rejected_and_delivered_by_a_retry_is_as_promised() {
    let mut run = clean();
    let again = run.again.clone();
    run.without(|what| ack_of(what, &again, AckState::Delivered));
    run.trace.rejected_at(40_200, &again, ErrorCode::LogUnavailable);
    run.trace.delivered_at(42_500, &again, 3);
    run.trace.events.sort_by_key(|event| event.at_us);
    run.is_clean();
}

#[test]
fn an_unknown_outcome_may_be_superseded_or_stay_open() {
    let mut run = clean();
    let hello = run.hello.clone();
    run.trace.rejected_at(1_800, &hello, ErrorCode::OutcomeUnknown);
    run.trace.events.sort_by_key(|event| event.at_us);
    run.is_clean();

    // Unknown, and indeed not there.
    let mut run = clean();
    let lost = run.trace.send_at(60_000, "ana", "perhaps");
    run.trace.rejected_at(61_000, &lost, ErrorCode::OutcomeUnknown);
    run.is_clean();

    // Unknown, and somebody saw it although it is not there.
    run.trace.seen_at(62_000, "ben", &lost);
    run.finds(FindingKind::Phantom, "ben saw ana's \"perhaps\" although it is not in the store");

    // Unknown, and there: then everybody must have seen it.
    let stored = stored_message(&lost, 5);
    run.messages().push(stored);
    run.finds(FindingKind::Lost, "cleo never saw ana's \"perhaps\"");
}

#[test]
fn withdrawn_after_the_fact_must_be_told_to_everybody_who_saw_it() {
    let mut run = clean();
    let hello = run.hello.clone();
    run.messages().remove(0);
    run.trace.rejected_at(60_000, &hello, ErrorCode::Internal);
    for name in ["ben", "cleo"] {
        run.trace.deleted_at(60_001, name, &hello);
    }
    run.without(|what| ack_of(what, &hello, AckState::Persisted));
    run.is_clean();
    run.without(
        |what| matches!(what, Happening::Saw { user: saw, event: ServerEvent::Deleted(_) } if *saw == user("cleo")),
    );
    run.finds(FindingKind::Phantom, "cleo saw ana's \"hello\" and never heard that it was withdrawn");
}

#[test]
fn reordered_when_a_view_is_not_in_the_order_of_the_store() {
    let mut run = clean();
    run.messages()[0].seq = 2;
    run.messages()[1].seq = 1;
    let audit = run.audit();
    assert!(audit.findings.iter().all(|finding| finding.kind == FindingKind::Reordered), "{audit:#?}");
    assert!(audit.findings.iter().any(|finding| finding.sentence
        == "cleo saw ana's \"hello\" before ben's \"answer\"; the store has them the other way round"));

    let mut run = clean();
    let (hello, answer) = (run.hello.clone(), run.answer.clone());
    run.without(|what| view_of(what, "cleo", &hello) || view_of(what, "cleo", &answer));
    run.trace.seen_at(60_000, "cleo", &hello);
    run.trace.seen_at(60_001, "cleo", &answer);
    // "again", at place 3, was seen at 41.2 ms: both are behind it.
    let audit = run.audit();
    let said: Vec<_> = audit.findings.iter().map(|finding| finding.sentence.as_str()).collect();
    assert_eq!(
        said,
        [
            "cleo saw ana's \"again\" before ana's \"hello\"; the store has them the other way round",
            "cleo saw ana's \"again\" before ben's \"answer\"; the store has them the other way round",
        ]
    );
}

#[test]
fn reordered_when_a_place_differs_or_is_shared() {
    let mut run = clean();
    let hello = run.hello.clone();
    run.without(|what| view_of(what, "ben", &hello));
    run.trace.seen_with_seq_at(2_100, "ben", &hello, 9);
    run.trace.events.sort_by_key(|event| event.at_us);
    run.finds(FindingKind::Reordered, "ben saw ana's \"hello\" at place 9, the store has it at 1");

    let mut run = clean();
    run.without(|what| ack_of(what, &hello, AckState::Delivered));
    run.trace.delivered_at(2_000, &hello, 8);
    run.trace.events.sort_by_key(|event| event.at_us);
    run.finds(FindingKind::Reordered, "ana's \"hello\" was acknowledged at place 8, the store has it at 1");

    let mut run = clean();
    let mut shared = stored_message(&run.intrusion, 3);
    shared.sender = user("somebody-outside");
    run.messages().push(shared);
    run.without(|what| matches!(what, Happening::Sent { user: sender, .. } if *sender == user("mallory")));
    let audit = run.audit();
    assert!(
        audit.findings.iter().any(|finding| finding.kind == FindingKind::Reordered
            && finding.sentence.ends_with("have the same place 3 in the conversation")),
        "{audit:#?}"
    );
}

#[test]
fn leaked_when_an_outsider_hears_of_it() {
    let mut run = clean();
    let hello = run.hello.clone();
    run.trace.seen_at(60_000, "mallory", &hello);
    run.finds(FindingKind::Leaked, "mallory heard of ana's \"hello\" without being in the conversation");

    let mut run = clean();
    let told = MessageDelivered {
        conversation_id: run.trace.conversation_id,
        message_id: hello.message_id,
        at: Timestamp::from_millis(0),
    };
    run.trace.saw(60_000, &user("mallory"), ServerEvent::Delivered(told));
    run.finds(FindingKind::Leaked, "mallory heard of ana's \"hello\" without being in the conversation");

    let mut run = clean();
    let ack = run.trace.ack(&hello, AckState::Persisted, None, None);
    run.trace.saw(60_000, &user("ben"), ServerEvent::Ack(ack));
    run.finds(FindingKind::Leaked, "ben got the ACK of ana's \"hello\"");
}

#[test]
fn late_when_pending_comes_after_the_outcome() {
    let mut run = clean();
    let answer = run.answer.clone();
    run.without(|what| ack_of(what, &answer, AckState::Pending));
    run.trace.pending_at(31_400, &answer);
    run.trace.events.sort_by_key(|event| event.at_us);
    run.finds(FindingKind::Late, "the `pending` of ben's \"answer\" came 400 us after its outcome");
}

#[test]
fn somebody_away_at_the_end_is_excused_and_somebody_back_is_not() {
    let mut run = clean();
    run.trace.disconnect_at(55_000, "cleo");
    let last = run.trace.send_at(60_000, "ana", "last");
    run.trace.published_at(60_500, &last, 4);
    run.trace.delivered_at(61_000, &last, 5);
    run.trace.seen_at(61_100, "ben", &last);
    let stored = stored_message(&last, 5);
    run.messages().push(stored);
    run.is_clean();
    run.trace.connect_at(70_000, "cleo");
    run.finds(FindingKind::Lost, "cleo never saw ana's \"last\"");
    run.trace.seen_at(70_100, "cleo", &last);
    run.is_clean();
}

#[test]
fn what_sync_brings_may_cross_what_comes_live() {
    let mut run = clean();
    run.trace.disconnect_at(55_000, "cleo");
    let missed = run.trace.send_at(60_000, "ana", "missed");
    run.trace.published_at(60_500, &missed, 4);
    run.trace.delivered_at(61_000, &missed, 5);
    run.trace.seen_at(61_100, "ben", &missed);
    run.trace.connect_at(70_000, "cleo");
    let live = run.trace.send_at(71_000, "ana", "live");
    run.trace.published_at(71_500, &live, 5);
    run.trace.delivered_at(72_000, &live, 6);
    run.trace.seen_at(72_100, "ben", &live);
    run.trace.seen_at(72_200, "cleo", &live);
    run.trace.seen_at(72_300, "cleo", &missed);
    let stored = [stored_message(&missed, 5), stored_message(&live, 6)];
    run.messages().extend(stored);
    run.is_clean();
}

#[test]
fn somebody_who_came_later_is_not_owed_the_past() {
    let mut run = clean();
    run.trace.participants.push(user("dora"));
    let participants = run.trace.participants.clone();
    run.trace.connect_at(55_000, "dora");
    run.trace.members_at(55_500, "ana", 2, &participants);
    run.stored.conversations[0].participants = participants;
    run.is_clean();
    let last = run.trace.send_at(60_000, "ana", "last");
    run.trace.published_at(60_500, &last, 4);
    run.trace.delivered_at(61_000, &last, 5);
    run.trace.seen_at(61_100, "ben", &last);
    run.trace.seen_at(61_100, "cleo", &last);
    let stored = stored_message(&last, 5);
    run.messages().push(stored);
    run.finds(FindingKind::Lost, "dora never saw ana's \"last\"");
}

#[test]
fn somebody_removed_must_hear_nothing_more() {
    let mut run = clean();
    let left: Vec<_> = run.trace.participants.iter().filter(|id| **id != user("cleo")).cloned().collect();
    run.trace.members_at(55_000, "ana", 2, &left);
    run.stored.conversations[0].participants = left;
    let last = run.trace.send_at(60_000, "ana", "last");
    run.trace.published_at(60_500, &last, 4);
    run.trace.delivered_at(61_000, &last, 5);
    run.trace.seen_at(61_100, "ben", &last);
    let stored = stored_message(&last, 5);
    run.messages().push(stored);
    run.is_clean();
    run.trace.seen_at(61_200, "cleo", &last);
    run.finds(FindingKind::Leaked, "cleo heard of ana's \"last\" without being in the conversation");
}

#[test]
fn a_send_whose_connection_broke_may_stay_open() {
    let mut run = clean();
    run.trace.send_at(60_000, "ana", "into the void");
    run.trace.disconnect_at(60_001, "ana");
    run.is_clean();
}

#[test]
fn with_a_gap_in_the_recording_nothing_is_called_lost() {
    let mut run = clean();
    let hello = run.hello.clone();
    run.without(|what| view_of(what, "cleo", &hello));
    run.trace.push(61_000, Happening::Gap { missed: 1 });
    let audit = run.audit();
    assert_eq!(audit.findings, []);
    assert_eq!(audit.notes, ["1 events were not recorded; what would be missing was not checked"]);
}

#[test]
fn taking_any_view_out_is_lost_and_doubling_any_is_duplicate() {
    // Mutation over the whole clean run, not only over the hand-picked places above.
    let count = clean().trace.events.len();
    for index in 0..count {
        let mut run = clean();
        let is_view = matches!(&run.trace.events[index].what, Happening::Saw { event: ServerEvent::New(_), .. });
        if !is_view {
            continue;
        }
        let event = run.trace.events.remove(index);
        let kinds: Vec<_> = run.audit().findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [FindingKind::Lost], "without {event:?}");
        run.trace.events.insert(index, event.clone());
        run.trace.events.insert(index, event.clone());
        let kinds: Vec<_> = run.audit().findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [FindingKind::Duplicate], "with {event:?} twice");
    }
}

/// A random run as promised: who sends, how long everything takes and what happens side by side is left to chance.
fn random_run(random: &mut fastrand::Rng) -> (Vec<TraceEvent>, Stored) {
    let names = ["ana", "ben", "cleo", "dora", "mallory"];
    let mut trace = Trace::new(&names);
    let mut messages = Vec::new();
    let mut seq = 0;
    for _ in 0..random.usize(1..20) {
        let sent_us = random.u64(100..1_000_000);
        let sender = names[random.usize(..5)];
        let made = trace.send_at(sent_us, sender, "at random");
        trace.pending_at(sent_us + random.u64(1..300), &made);
        if sender == "mallory" {
            trace.rejected_at(sent_us + random.u64(300..900), &made, ErrorCode::NotFound);
            continue;
        }
        seq += random.u64(1..4);
        // Everything about the order happens at times that follow the places, as in one log.
        let log_us = 2_000_000 + seq * 1_000;
        trace.published_at(log_us, &made, seq);
        trace.delivered_at(log_us + random.u64(1..900), &made, seq);
        for name in names.iter().filter(|name| **name != sender && **name != "mallory") {
            trace.seen_with_seq_at(log_us + random.u64(1..900), name, &made, seq);
        }
        if random.bool() {
            trace.persisted_at(log_us + random.u64(1_000..90_000), &made);
        }
        messages.push(stored_message(&made, seq));
    }
    // The list of a recorder is only roughly in the order of time.
    random.shuffle(&mut trace.events);
    let conversation_id = trace.conversation_id;
    let stored =
        StoredConversation { conversation_id, version: 1, participants: trace.participants, cached: None, messages };
    (trace.events, Stored { conversations: vec![stored], ..Stored::default() })
}

#[test]
fn random_runs_are_clean_and_whatever_is_broken_in_them_is_found() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let is_new = |event: &TraceEvent| matches!(&event.what, Happening::Saw { event: ServerEvent::New(_), .. });
    for _ in 0..500 {
        let (events, stored) = random_run(&mut random);
        let audit_of = |events: &[TraceEvent], stored: &Stored| audit(events, stored).findings;
        assert_eq!(audit_of(&events, &stored), []);
        let views: Vec<usize> = (0..events.len()).filter(|index| is_new(&events[*index])).collect();
        let Some(&view) = random.choice(&views) else { continue };
        let kinds = |findings: Vec<Finding>| findings.iter().map(|finding| finding.kind).collect::<Vec<_>>();

        let mut lost = events.clone();
        lost.remove(view);
        assert_eq!(kinds(audit_of(&lost, &stored)), [FindingKind::Lost]);

        let mut doubled = events.clone();
        doubled.push(events[view].clone());
        assert_eq!(kinds(audit_of(&doubled, &stored)), [FindingKind::Duplicate]);

        let mut gone = stored.clone();
        let messages = &mut gone.conversations[0].messages;
        messages.remove(random.usize(..messages.len()));
        assert_eq!(kinds(audit_of(&events, &gone)), [FindingKind::Lost]);

        let mut leaked = events.clone();
        let mut event = events[view].clone();
        if let Happening::Saw { user: who, .. } = &mut event.what {
            *who = user("mallory");
        }
        leaked.push(event);
        assert_eq!(kinds(audit_of(&leaked, &stored)), [FindingKind::Leaked]);

        let mut swapped = stored.clone();
        let messages = &mut swapped.conversations[0].messages;
        if let [first, .., last] = messages.as_mut_slice() {
            std::mem::swap(&mut first.seq, &mut last.seq);
            let findings = audit_of(&events, &swapped);
            assert!(!findings.is_empty() && findings.iter().all(|one| one.kind == FindingKind::Reordered));
        }
    }
}

// ---- edits, cache, search ---------------------------------------------------------------------------------

fn minutes(minutes: i64, and_ms: i64) -> Timestamp {
    Timestamp::from_millis(minutes * 60_000 + and_ms)
}

/// The run of [`clean`] with ana's "again" edited twice, everything in the index and the conversation in the cache.
fn kept() -> Run {
    let mut run = clean();
    let again = run.again.clone();
    run.trace.edited_at(60_000, "ben", &again, "once more");
    run.trace.edited_at(70_000, "ben", &again, "and again");
    let conversation = &mut run.stored.conversations[0];
    let edited = &mut conversation.messages[2];
    edited.text = Some("and again".into());
    edited.edits = vec![("again".into(), minutes(1, 0)), ("once more".into(), minutes(15, 0))];
    conversation.cached = Some(Cached { version: 1, participants: conversation.participants.clone() });
    let indexed = |message: &StoredMessage| Indexed {
        conversation_id: conversation.conversation_id,
        sender: message.sender.clone(),
        text: message.text.clone().unwrap(),
    };
    let index = conversation.messages.iter().map(|message| (message.message_id, indexed(message))).collect();
    run.stored.index = Some(index);
    run
}

impl Run {
    fn index(&mut self) -> &mut HashMap<MessageId, Indexed> {
        self.stored.index.as_mut().unwrap()
    }
}

#[test]
fn edits_cache_and_index_that_are_as_promised_are_counted() {
    let run = kept();
    run.is_clean();
    let promises = run.audit().promises;
    assert_eq!(promises.edited, 2 + 3 + 2, "two edits in the window, three first texts, two texts that were seen");
    assert_eq!(promises.agreed, 1 + 3, "the cache entry and three messages");
}

#[test]
fn late_when_an_edit_came_after_the_window() {
    let mut run = kept();
    run.messages()[2].edits[1].1 = minutes(15, 1);
    run.finds(FindingKind::Late, "ana's \"and again\" was edited 900 s after it was created; the window is 15 min");
}

#[test]
fn lost_when_the_edit_history_has_a_hole() {
    let mut run = kept();
    run.messages()[2].edits.remove(1);
    run.finds(FindingKind::Lost, "ben saw ana's \"and again\" as \"once more\", which is not in its edit history");
    let mut run = kept();
    run.messages()[2].edits.remove(0);
    run.finds(FindingKind::Lost, "ana's \"and again\" does not begin with the text that was sent");
    let mut run = kept();
    run.messages()[0].text = Some("something else".into());
    let hello = run.hello.message_id;
    run.index().get_mut(&hello).unwrap().text = "something else".into();
    run.finds(FindingKind::Lost, "ana's \"something else\" does not begin with the text that was sent");
}

#[test]
fn a_tombstone_has_no_texts_to_keep() {
    let mut run = kept();
    let again = run.again.message_id;
    let message = &mut run.messages()[2];
    (message.text, message.edits, message.deleted) = (None, Vec::new(), true);
    run.index().remove(&again);
    run.is_clean();
}

#[test]
fn stale_when_the_cache_is_behind_the_store() {
    let mut run = kept();
    let id = run.trace.conversation_id;
    run.stored.conversations[0].version = 2;
    let audit = run.audit();
    let sentence = format!("the cache has version 1 of conversation {id}, the store has version 2");
    assert_eq!(audit.findings.len(), 1);
    assert_eq!((audit.findings[0].kind, &audit.findings[0].sentence), (FindingKind::Stale, &sentence));

    let mut run = kept();
    run.stored.conversations[0].cached.as_mut().unwrap().participants.pop();
    let audit = run.audit();
    let sentence = format!("the cache has other participants of conversation {id} than the store");
    assert_eq!((audit.findings[0].kind, &audit.findings[0].sentence), (FindingKind::Stale, &sentence));

    let mut run = kept();
    run.stored.conversations[0].cached = None;
    run.is_clean();
}

#[test]
fn what_search_finds_is_what_the_store_has() {
    let mut run = kept();
    let (hello, again) = (run.hello.message_id, run.again.message_id);
    run.index().remove(&hello);
    run.finds(FindingKind::Lost, "ana's \"hello\" is in the store, and search does not find it");

    let mut run = kept();
    run.index().get_mut(&again).unwrap().text = "again".into();
    run.finds(FindingKind::Stale, "search finds ana's \"and again\" by another text: \"again\"");

    let mut run = kept();
    let message = &mut run.messages()[2];
    (message.text, message.edits, message.deleted) = (None, Vec::new(), true);
    run.finds(FindingKind::Stale, "ana's \"(no text)\" is deleted, and search still finds it");

    let mut run = kept();
    let message = &mut run.messages()[2];
    message.text = None;
    message.edits = Vec::new();
    message.forwarded = true;
    run.finds(FindingKind::Phantom, "ana's \"(no text)\" has no text, and search finds it by one");

    // Deleted for good, as everybody was told.
    let mut run = kept();
    for name in ["ana", "ben", "cleo"] {
        let again = run.again.clone();
        run.trace.deleted_at(80_000, name, &again);
    }
    run.messages().pop();
    run.finds(FindingKind::Stale, "ana's \"and again\" is not in the store any more, and search still finds it");

    let mut run = kept();
    let stranger = Indexed { conversation_id: run.trace.conversation_id, sender: user("ana"), text: "boo".into() };
    let nobody = MessageId::from_uuid(uuid::Uuid::from_u128(7));
    run.index().insert(nobody, stranger.clone());
    run.finds(FindingKind::Phantom, "search finds ana's \"boo\", which is not in the store and was never sent");

    // Of a conversation that is none of this run's.
    let mut run = kept();
    let elsewhere = ConversationId::from_uuid(uuid::Uuid::from_u128(9));
    run.index().insert(nobody, Indexed { conversation_id: elsewhere, ..stranger });
    run.is_clean();
}

#[test]
fn what_could_not_be_read_is_noted() {
    let mut run = kept();
    run.stored.notes.push("the cache does not answer".into());
    run.is_clean();
    assert_eq!(run.audit().notes, ["the cache does not answer"]);
}

/// The clean run with a second device of ana that sees everything.
fn with_a_phone() -> Run {
    let mut run = clean();
    run.trace.push(0, Happening::Device { user: user("ana.phone"), of: user("ana") });
    run.trace.connect_at(0, "ana.phone");
    run.trace.seen_at(2_300, "ana.phone", &run.hello);
    run.trace.seen_at(31_300, "ana.phone", &run.answer);
    run.trace.seen_at(41_300, "ana.phone", &run.again);
    run
}

#[test]
fn the_sender_s_other_device_gets_the_message_once_like_everybody() {
    let run = with_a_phone();
    assert!(run.audit().is_clean(), "{:?}", run.audit().findings);

    let mut lost = with_a_phone();
    let hello = lost.hello.message_id;
    lost.without(|what| {
        matches!(what, Happening::Saw { user, event: ServerEvent::New(new) }
            if user.as_str() == "ana.phone" && new.message.message_id == hello)
    });
    let audit = lost.audit();
    let told: Vec<_> = audit.findings.iter().map(|finding| (finding.kind, finding.user.clone())).collect();
    assert_eq!(told, [(FindingKind::Lost, Some(user("ana.phone")))]);

    let mut twice = with_a_phone();
    twice.trace.seen_at(2_400, "ana.phone", &twice.hello);
    let audit = twice.audit();
    let told: Vec<_> = audit.findings.iter().map(|finding| (finding.kind, finding.user.clone())).collect();
    assert_eq!(told, [(FindingKind::Duplicate, Some(user("ana.phone")))]);
}

#[test]
fn the_sender_s_other_device_gets_no_ack_as_it_happens() {
    let mut run = with_a_phone();
    let ack = run.trace.events.iter().find_map(|event| match &event.what {
        Happening::Saw { event: event @ ServerEvent::Ack(ack), .. } if ack.seq == Some(1) => Some(event.clone()),
        _ => None,
    });
    run.trace.saw(2_050, &user("ana.phone"), ack.unwrap());
    let audit = run.audit();
    let told: Vec<_> = audit.findings.iter().map(|finding| (finding.kind, finding.user.clone())).collect();
    assert_eq!(told, [(FindingKind::Leaked, Some(user("ana.phone")))]);
}
