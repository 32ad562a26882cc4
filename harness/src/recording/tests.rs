use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_protocol::Timestamp;
use ackscope_protocol::control::BackendKind;
use ackscope_protocol::trace::{Happening, TRACE_VERSION, TraceEvent};
use serde_json::json;
use uuid::Uuid;

use super::format::{End, EventLine, HEAD_BYTES, Head, Kind, Lines, PROLOGUE_BYTES, write_prologue};
use super::*;
use crate::audit::{Audit, Cached, Indexed, Promises, Stored, StoredConversation, StoredMessage};
use crate::fixtures::Trace;
use crate::recorder::Recorder;
use crate::report::fixtures::{failed_report, passed_report};
use crate::scenario::outcome::{RunReport, Verdict};

fn header() -> Header {
    Header {
        ackscope_version: "0.0.0".to_owned(),
        trace_version: TRACE_VERSION,
        run_id: Uuid::from_u128(5),
        started_at: Timestamp::from_millis(1_700_000_000_000),
        backend: BackendKind::Embedded,
        backend_reason: "embedded: it was asked for".to_owned(),
        seed: Some(7),
        title: Some("A small talk".to_owned()),
    }
}

fn mark(number: u64) -> TraceEvent {
    TraceEvent { at_us: number, what: Happening::Mark { text: format!("mark {number}") } }
}

fn block(kind: Kind, first_index: u64, objects: &[impl serde::Serialize]) -> Vec<u8> {
    let mut lines = Lines::default();
    for object in objects {
        assert!(lines.add(object).unwrap());
    }
    lines.pack(kind, first_index).unwrap()
}

fn events(first_index: u64, numbers: std::ops::Range<u64>) -> Vec<u8> {
    let marks: Vec<_> = numbers.map(mark).collect();
    block(Kind::Events, first_index, &marks.iter().map(EventLine::of).collect::<Vec<_>>())
}

/// The beginning of a recording.
fn begun() -> Vec<u8> {
    let mut bytes = Vec::new();
    write_prologue(&mut bytes).unwrap();
    bytes.extend(block(Kind::Header, 0, &[header()]));
    bytes
}

/// A whole recording of two blocks of marks.
fn whole() -> Vec<u8> {
    let mut bytes = begun();
    bytes.extend(events(0, 0..3));
    bytes.extend(events(3, 3..5));
    bytes.extend(block(Kind::End, 0, &[End { next_index: 5, ..End::default() }]));
    bytes
}

fn read(bytes: &[u8]) -> Result<Recording, OpenError> {
    Recording::read(Cursor::new(bytes), Path::new("x.ackrec"))
}

fn list(recording: &Recording) -> Vec<TraceEvent> {
    recording.events.iter().map(|event| (**event).clone()).collect()
}

/// What the store holds after the run of [`passed_report`].
fn stored_of(report: &RunReport) -> Stored {
    let trace = Trace::new(&["ana", "ben"]);
    let message = report.events.iter().find_map(|event| match &event.what {
        Happening::Sent { user, message_id, temp_id, text, .. } => Some(StoredMessage {
            message_id: *message_id,
            sender: user.clone(),
            temp_id: temp_id.clone(),
            text: text.clone(),
            created_at: Timestamp::from_millis(0),
            edits: Vec::new(),
            deleted: false,
            seq: 1,
            forwarded: false,
        }),
        _ => None,
    });
    let (conversation_id, participants) = (trace.conversation_id, trace.participants);
    let indexed = message.iter().map(|message| {
        let (sender, text) = (message.sender.clone(), message.text.clone().unwrap());
        (message.message_id, Indexed { conversation_id, sender, text })
    });
    let index = Some(indexed.collect());
    let cached = Some(Cached { version: 3, participants: participants.clone() });
    let messages = message.into_iter().collect();
    let conversation = StoredConversation { conversation_id, version: 3, participants, cached, messages };
    Stored { conversations: vec![conversation], index, notes: Vec::new() }
}

async fn record(file: &Path, report: &RunReport) {
    let recorder = Recorder::new(1_000_000);
    let options = RecordOptions { title: Some("talk".to_owned()), seed: Some(7), ..RecordOptions::to(file) };
    let created = RecordingFile::create(options).unwrap();
    let writer = created.start(recorder.clone(), report.backend, &report.backend_reason).unwrap();
    recorder.replay(report.events.iter().map(Arc::clone));
    writer.stored(stored_of(report));
    writer.report(report);
    writer.close().await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(writer.missed(), 0);
}

#[tokio::test]
async fn a_run_reads_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.ackrec");
    for report in [passed_report(), failed_report()] {
        record(&file, &report).await;
        let recording = Recording::open(&file).unwrap();
        assert_eq!(recording.events, report.events);
        assert_eq!(recording.remarks(), Vec::<String>::new());
        assert_eq!(recording.header.title.as_deref(), Some("talk"));
        assert_eq!((recording.header.seed, recording.header.backend), (Some(7), BackendKind::Embedded));
        let history = recording.history();
        let again = recording.run_report(&history);
        assert_eq!(again.verdict(), report.verdict());
        assert_eq!((&again.steps, &again.budgets, &again.audit), (&report.steps, &report.budgets, &report.audit));
        assert_eq!((again.seed, again.took_us), (report.seed, report.took_us));
        // The cache entry and the message in the index, which the report of the fixture does not have.
        let promises = Promises { agreed: 2, ..report.audit.promises };
        let audit = Audit { promises, ..report.audit.clone() };
        assert_eq!(recording.audit(&history).unwrap(), audit, "audited again without a backend");
        assert_eq!(recording.bytes, std::fs::metadata(&file).unwrap().len());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "a recording holds what people wrote");
    }
}

#[tokio::test]
async fn a_recording_can_be_read_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.ackrec");
    let recorder = Recorder::new(1_000_000);
    let created = RecordingFile::create(RecordOptions::to(&file)).unwrap();
    let writer = created.start(recorder.clone(), BackendKind::Embedded, "embedded").unwrap();
    let mut reader = RecordingReader::open(&file).unwrap();
    let mut seen = Vec::new();
    for round in 0..3_u64 {
        let began = Instant::now();
        recorder.replay((round * 20_000..(round + 1) * 20_000).map(|number| Arc::new(mark(number))));
        let deadline = began + Duration::from_secs(10);
        while seen.len() < (round as usize + 1) * 20_000 {
            assert!(Instant::now() < deadline, "round {round}: {} events were read", seen.len());
            if let Some(events) = reader.next_events().unwrap() {
                seen.extend(events);
            } else {
                assert!(matches!(reader.ending(), Some(Ending::Open { .. })), "{:?}", reader.ending());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    let half = Recording::open(&file).unwrap();
    assert_eq!(half.ending, Ending::Open { unfinished_bytes: 0 });
    writer.close().await.unwrap();
    assert!(reader.next_events().unwrap().is_none());
    assert!(matches!(reader.ending(), Some(Ending::Closed(End { next_index: 60_000, .. }))), "{:?}", reader.ending());
    let all = Recording::open(&file).unwrap();
    assert_eq!(all.events.len(), 60_000);
    assert_eq!(all.events, seen);
}

#[tokio::test]
async fn what_the_writer_could_not_keep_up_with_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.ackrec");
    let recorder = Recorder::new(10);
    let created = RecordingFile::create(RecordOptions::to(&file)).unwrap();
    recorder.replay((0..25).map(|number| Arc::new(mark(number))));
    let writer = created.start(recorder.clone(), BackendKind::Embedded, "embedded").unwrap();
    writer.close().await.unwrap();
    assert_eq!(writer.missed(), 15);
    let recording = Recording::open(&file).unwrap();
    assert_eq!(recording.events[0].what, Happening::Gap { missed: 15 });
    assert_eq!(recording.events.len(), 11);
    assert_eq!(*recording.events[1], mark(15));
    assert_eq!(recording.history().missed, 15, "the audit does not take missing for lost");
    assert_eq!(recording.remarks(), ["15 events are missing: the writer could not keep up"]);
}

#[tokio::test]
async fn a_recording_that_reaches_its_limit_is_closed_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.ackrec");
    let recorder = Recorder::new(1_000_000);
    let options = RecordOptions { bytes_max: Some(20_000), ..RecordOptions::to(&file) };
    let writer = RecordingFile::create(options).unwrap().start(recorder.clone(), BackendKind::Embedded, "").unwrap();
    recorder.replay((0..200_000).map(|number| Arc::new(mark(number))));
    writer.close().await.unwrap();
    let recording = Recording::open(&file).unwrap();
    assert!((8_192..100_000).contains(&recording.events.len()), "{}", recording.events.len());
    assert_eq!(recording.remarks().len(), 1);
    assert!(recording.remarks()[0].contains("its limit of 20000 bytes"), "{:?}", recording.remarks());
    assert!(std::fs::metadata(&file).unwrap().len() < 200_000);
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let error = RecordingFile::create(RecordOptions::to("/nowhere/at/all.ackrec")).unwrap_err().to_string();
    assert!(error.starts_with("the recording /nowhere/at/all.ackrec cannot be written: "), "{error}");
}

#[test]
fn a_file_cut_anywhere_opens_up_to_the_cut() {
    let bytes = whole();
    let all = list(&read(&bytes).unwrap());
    let mut counts = Vec::new();
    for length in 0..bytes.len() {
        match read(&bytes[..length]) {
            Ok(recording) => {
                let events = list(&recording);
                assert_eq!(events, all[..events.len()], "cut at {length}");
                assert!(matches!(recording.ending, Ending::Open { .. }), "cut at {length}: {:?}", recording.ending);
                let said = recording.remarks().join("\n");
                assert!(said.contains(&format!("{} events were read", events.len())), "{said}");
                counts.push(events.len());
            }
            Err(OpenError::Empty { .. }) => assert_eq!(length, 0),
            Err(OpenError::NotARecording { .. }) => assert!(length < 8),
            Err(OpenError::Header { .. }) => assert!(length < begun().len(), "cut at {length}"),
            Err(error) => panic!("cut at {length}: {error}"),
        }
    }
    counts.dedup();
    assert_eq!(counts, [0, 3, 5], "whole blocks, and nothing of a cut one");
}

#[test]
fn a_byte_changed_anywhere_is_found() {
    let bytes = whole();
    let all = list(&read(&bytes).unwrap());
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x40;
        match read(&damaged) {
            Ok(recording) => {
                let events = list(&recording);
                assert!(events.len() <= all.len() && events == all[..events.len()], "byte {place}");
                assert!(!recording.remarks().is_empty(), "byte {place}: nobody noticed");
                if let Ending::Damaged { at_byte, .. } = recording.ending {
                    assert!(at_byte <= place as u64, "damage of byte {place} was found at {at_byte}");
                }
            }
            Err(OpenError::Io { .. } | OpenError::Empty { .. }) => panic!("byte {place}"),
            Err(_) => assert!(place < begun().len(), "byte {place}"),
        }
    }
}

#[test]
fn what_is_no_recording_is_refused_in_a_sentence() {
    let said = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert_eq!(said(b""), "x.ackrec is empty; a recording begins when its run has started");
    for garbage in [&b"{\"trace_version\":1}\n"[..], &[0; 4_096], b"\x89ACKRE", b"\x89PNG\r\n\x1a\n\0\0\0\x0d"] {
        assert!(said(garbage).starts_with("x.ackrec is not a recording; expected a file that"), "{}", said(garbage));
    }
    let mut later = whole();
    later[8] = 2;
    assert_eq!(
        said(&later),
        "x.ackrec is a recording of version 2, and this build reads up to version 1; open it with a newer ackscope"
    );
    let mut oldest = whole();
    oldest[8] = 0;
    assert!(said(&oldest).contains("is not a recording"));
    assert!(said(&begun()[..40]).contains("the file ends before it"));
    let error = Recording::open(Path::new("/nowhere/x.ackrec")).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/x.ackrec cannot be read: "), "{error}");
    assert!(Recording::open(Path::new("/")).is_err());
}

/// A block with a head that says what it likes, with the right CRC.
fn forged(kind: Kind, body: &[u8], body_bytes: u32, unpacked_bytes: u32) -> Vec<u8> {
    let mut head = Head { kind, first_index: 0, lines: 1, body_bytes, unpacked_bytes, crc: 0 };
    head.crc = head.crc_with(body);
    let mut bytes = vec![2];
    bytes.extend(head.first_index.to_le_bytes());
    bytes.extend(head.lines.to_le_bytes());
    bytes.extend(head.body_bytes.to_le_bytes());
    bytes.extend(head.unpacked_bytes.to_le_bytes());
    bytes.extend(head.crc.to_le_bytes());
    assert_eq!(bytes.len(), HEAD_BYTES);
    bytes.extend(body);
    bytes
}

#[test]
fn sizes_that_are_announced_are_limited_before_memory_is_taken() {
    let begun = begun();
    let damage = |block: Vec<u8>| {
        let bytes = [begun.clone(), block, whole()[begun.len()..].to_vec()].concat();
        let recording = read(&bytes).unwrap();
        assert!(recording.events.is_empty());
        match recording.ending {
            Ending::Damaged { at_byte, why } => {
                assert_eq!(at_byte, begun.len() as u64);
                why
            }
            other => panic!("{other:?}"),
        }
    };
    let body = |bytes: usize| zstd::bulk::compress(&vec![b' '; bytes], 19).unwrap();
    let small = body(100);
    assert!(damage(forged(Kind::Events, &small, u32::MAX, 100)).contains("a block of 4294967295 bytes is announced"));
    let size = small.len() as u32;
    assert!(damage(forged(Kind::Events, &small, size, u32::MAX)).contains("unpacks to 4294967295 bytes is announced"));
    // A bomb: a few bytes that unpack to a hundred megabytes, announced as a few.
    let bomb = body(100_000_000);
    assert!(bomb.len() < 20_000);
    assert!(damage(forged(Kind::Events, &bomb, bomb.len() as u32, 1_000)).contains("it does not unpack"));
    assert!(damage(forged(Kind::Events, &small, size, 101)).contains("unpacks to 100 bytes instead of 101"));
    assert!(damage(forged(Kind::Events, b"no zstd", 7, 100)).contains("it does not unpack"));
}

#[test]
fn what_a_later_build_adds_is_passed_over() {
    let mut bytes = Vec::new();
    write_prologue(&mut bytes).unwrap();
    let mut head = serde_json::to_value(header()).unwrap();
    head["weather"] = json!("fine");
    head.as_object_mut().unwrap().remove("seed");
    bytes.extend(block(Kind::Header, 0, &[head]));
    bytes.extend(block(Kind::Unknown(77), 0, &[json!({ "anything": 1 })]));
    let known = json!([3, { "type": "mark", "text": "hello", "colour": "red" }]);
    let unknown = json!([4, { "type": "teleported", "by": "ana" }]);
    bytes.extend(block(Kind::Events, 0, &[known, unknown]));
    bytes.extend(block(Kind::End, 0, &[json!({ "next_index": 2 })]));
    let recording = read(&bytes).unwrap();
    assert_eq!(recording.header.seed, None);
    assert_eq!(list(&recording), [TraceEvent { at_us: 3, what: Happening::Mark { text: "hello".into() } }]);
    assert_eq!(recording.remarks(), ["1 events are of a kind this build does not know"]);
    assert_eq!(recording.history().missed, 1);
}

#[test]
fn indexes_that_jump_or_go_back_are_survived() {
    let mut bytes = begun();
    bytes.extend(events(u64::MAX - 1, 0..3));
    bytes.extend(events(0, 3..4));
    let recording = read(&bytes).unwrap();
    assert_eq!(recording.events.len(), 5, "a gap, three events, and one more");
    assert!(recording.history().missed > 0);
}

#[test]
fn a_run_without_a_report_is_inconclusive_and_not_passed() {
    let recording = read(&whole()).unwrap();
    let report = recording.run_report(&recording.history());
    assert_eq!(report.verdict(), Verdict::Inconclusive);
    assert!(report.audit.notes[0].contains("no promise was checked"));
}

/// Every version there ever was is in `tests/recordings`, as that version wrote it. A file there is never changed;
/// a new version adds one.
#[test]
fn every_older_version_opens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    for version in 1..=FORMAT_VERSION {
        let file = folder.join(format!("version-{version}.ackrec"));
        let recording = Recording::open(&file).unwrap_or_else(|error| panic!("version {version}: {error}"));
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(bytes[8..PROLOGUE_BYTES as usize], version.to_le_bytes(), "it says which version it is");
        assert_eq!(recording.remarks(), Vec::<String>::new(), "version {version}");
        assert_eq!(recording.header.title.as_deref(), Some("The tour"), "version {version}");
        let history = recording.history();
        let report = recording.run_report(&history);
        assert_eq!(report.verdict(), Verdict::Pass, "version {version}");
        // A later audit checks more, and comes to the same.
        let again = recording.audit(&history).unwrap();
        assert_eq!((again.findings, again.notes), (report.audit.findings.clone(), Vec::new()), "version {version}");
        assert!(again.promises.total() >= report.audit.promises.total(), "version {version}");
        assert!(report.audit.promises.total() > 20 && report.steps.len() > 10, "version {version}");
        assert!(recording.events.len() > 100 && history.missed == 0, "version {version}");
    }
}

#[test]
fn only_the_latest_few_stay_in_the_state_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("a/b");
    assert_eq!(place::latest(&folder).unwrap(), None);
    for number in 0..place::KEPT + 5 {
        let file = place::new_file(&folder).unwrap();
        assert_eq!(file.extension().unwrap(), EXTENSION);
        // A name that no other run of this second has.
        let file = file.with_file_name(format!("{number:02}.{EXTENSION}"));
        let opened = std::fs::File::create(&file).unwrap();
        opened.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(number as u64)).unwrap();
        assert_eq!(place::latest(&folder).unwrap(), Some(file));
    }
    std::fs::write(folder.join("notes.txt"), "not ours").unwrap();
    let _file = place::new_file(&folder).unwrap();
    let left = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(left, place::KEPT - 1 + 1, "what is ours, less the one that begins, and what is not ours");
    assert!(folder.join("notes.txt").exists());
    assert!(!folder.join(format!("00.{EXTENSION}")).exists());
}
