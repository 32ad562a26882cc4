//! Recordings an interface can list, hold against the run it is shown, and read.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ackscope_protocol::control::{
    COMPARED_MESSAGES_MAX, Command, CommandAnswer, ComparedFigure, ComparedList, ComparedMessage, ComparedRun,
    Comparison, Difference, RECORDED_EVENTS_MAX, RecordingFile,
};
use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::trace::TRACE_VERSION;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::requests::{invalid, shown};
use super::scenarios::blocking;
use super::{Shared, Shown};
use crate::compare::{self, Change, Floor, Row, Side};
use crate::history::{History, MessageHistory, excerpt};
use crate::recorder::Recorder;
use crate::recording::format::{End, RecordedReport};
use crate::recording::{EXTENSION, Ending, Header, Recording, RecordingReader, place};

/// Most characters of a message's text.
const TEXT_MAX: usize = 80;

/// The recording that was opened last, so that its pages need not unpack it each time.
#[derive(Default)]
pub(super) struct Opened(Mutex<Option<(PathBuf, Arc<Recording>)>>);

impl Opened {
    /// A recording; the one of before when it is asked for again. Who comes meanwhile waits.
    async fn open(&self, file: PathBuf, again: bool) -> Result<Arc<Recording>, WireError> {
        let mut opened = self.0.lock().await;
        if let Some((path, recording)) = &*opened
            && *path == file
            && !again
        {
            return Ok(Arc::clone(recording));
        }
        // Two long ones at a time would be a lot of memory.
        *opened = None;
        let path = file.clone();
        let recording = blocking(move || Recording::open(&path).map_err(|error| invalid(error.to_string()))).await?;
        let recording = Arc::new(recording);
        *opened = Some((file, Arc::clone(&recording)));
        Ok(recording)
    }
}

/// Carries a command out that is about recordings.
pub(super) async fn carry_out(shared: &Shared, now: &Shown, command: Command) -> Result<CommandAnswer, WireError> {
    match command {
        Command::ListRecordings => {
            let run_id = now.recorder().run_id();
            blocking(move || Ok(list(place::folder(|name| std::env::var_os(name)).as_deref(), run_id))).await
        }
        Command::CompareWith { path } => {
            let b = shared.opened.open(file(&path)?, true).await?;
            if let Shown::Live(world) | Shown::Played(world, _) = now {
                world.recorder().flush().await;
            }
            let header = header_of(now, shared.theatre.progress().map(|progress| progress.name));
            let (recorder, report) = (now.recorder().clone(), now.report().cloned());
            let compare = move || Ok(Box::new(compare_runs(&of_run(header, report, &recorder), &b)));
            let comparison = blocking(compare).await?;
            Ok(CommandAnswer::Compared { comparison })
        }
        Command::ReadRecording { path, from_index } => {
            let recording = shared.opened.open(file(&path)?, false).await?;
            Ok(page(&recording, from_index))
        }
        other => Err(invalid(format!("{other:?} is not about recordings"))),
    }
}

/// The recordings of a folder, the newest first. What does not read is left out: it is in no list that it could be
/// chosen from.
fn list(folder: Option<&Path>, run_id: Uuid) -> CommandAnswer {
    let mut files = Vec::new();
    for path in folder.and_then(|folder| place::all(folder).ok()).unwrap_or_default() {
        let Ok(reader) = RecordingReader::open(&path) else { continue };
        let header = reader.header();
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
        files.push(RecordingFile {
            path: name.to_owned(),
            title: header.title.clone().unwrap_or_else(|| "A run by hand".to_owned()),
            backend: header.backend,
            started_at: header.started_at,
            bytes: path.metadata().map_or(0, |metadata| metadata.len()),
            is_shown: header.run_id == run_id,
        });
    }
    CommandAnswer::Recordings { folder: folder.map(|folder| folder.display().to_string()), files }
}

/// The file that is meant: a name in the folder of recordings, or a whole path. Only what is called a recording is
/// opened at all.
fn file(path: &str) -> Result<PathBuf, WireError> {
    let given = Path::new(path.trim());
    let ends = given.extension().is_some_and(|extension| extension == EXTENSION);
    if !ends || path.chars().any(char::is_control) {
        return Err(invalid(format!(
            "`{}` is not the path of a recording; expected a name of the list, or a whole path that ends with \
             .{EXTENSION}",
            shown(path)
        )));
    }
    let folder = place::folder(|name| std::env::var_os(name));
    let whole = match (given.is_absolute(), folder) {
        (true, _) => given.to_owned(),
        (false, Some(folder)) if given.components().count() == 1 => folder.join(given),
        (false, _) => {
            return Err(invalid(format!(
                "`{}` is no name in the folder of recordings; expected one of the list, or a whole path",
                shown(path)
            )));
        }
    };
    if !whole.is_file() {
        let sentence = format!("there is no recording at `{}`; it may have been removed", shown(path));
        return Err(WireError::new(ErrorCode::NotFound, sentence));
    }
    Ok(whole)
}

/// What a recording of the run that is shown would say of it.
fn header_of(now: &Shown, scenario: Option<String>) -> Header {
    let title = match now {
        Shown::Live(_) => "The live run".to_owned(),
        Shown::Played(..) => scenario.unwrap_or_else(|| "The scenario's run".to_owned()),
        Shown::Recorded(_) => "The recording that is shown".to_owned(),
    };
    let environment = now.environment();
    Header {
        ackscope_version: environment.ackscope_version,
        trace_version: TRACE_VERSION,
        run_id: now.recorder().run_id(),
        started_at: now.business_now(),
        backend: environment.backend,
        backend_reason: environment.reason,
        seed: None,
        title: Some(title),
    }
}

/// A run as a recording of it would be opened now.
fn of_run(header: Header, report: Option<RecordedReport>, recorder: &Recorder) -> Recording {
    let batch = recorder.snapshot();
    Recording {
        header,
        read: batch.first_index + batch.events.len() as u64,
        forgotten: batch.first_index,
        events: batch.events,
        unknown: 0,
        stored: None,
        report,
        ending: Ending::Closed(End::default()),
        bytes: 0,
    }
}

fn compare_runs(a: &Recording, b: &Recording) -> Comparison {
    let compared = compare::compare(a, b, Floor::default());
    let histories = (a.history(), b.history());
    let matched = compare::match_messages(&histories.0, &histories.1);
    let figures = |rows: &[Row]| rows.iter().map(figure).collect::<Vec<_>>();
    let is_checked = a.report.is_some() && b.report.is_some();
    let run = |side: &Side, recording: &Recording| ComparedRun {
        title: side.title.clone(),
        backend: recording.header.backend,
        seed: side.seed,
        messages: side.messages as u64,
        events: recording.read,
        verdict: side.verdict.map(|verdict| verdict.as_str().to_owned()),
        remarks: side.remarks.clone(),
    };
    let mut notes = Vec::new();
    if a.header.backend != b.header.backend {
        notes.push(format!(
            "The backends differ: {} and {}, so latencies do too",
            a.header.backend.as_str(),
            b.header.backend.as_str()
        ));
    }
    if !is_checked {
        let missing = [(a, "A"), (b, "B")].map(|(run, name)| run.report.is_none().then_some(name));
        let missing: Vec<&str> = missing.into_iter().flatten().collect();
        notes.push(format!("Promises are not compared: {} has no report of a scenario's end", missing.join(" and ")));
    }
    Comparison {
        a: run(&compared.before, a),
        b: run(&compared.after, b),
        latencies: figures(&compared.latencies),
        outcomes: figures(&compared.outcomes),
        rates: figures(&compared.rates),
        findings: if is_checked { figures(&compared.findings) } else { Vec::new() },
        only_a: listed(&matched.only_before, |one| message(one, &histories.0)),
        only_b: listed(&matched.only_after, |one| message(one, &histories.1)),
        ended_differently: listed(&matched.ended_differently, |(one, other)| {
            Some((message(one, &histories.0)?, message(other, &histories.1)?))
        }),
        notes,
    }
}

fn figure(row: &Row) -> ComparedFigure {
    let difference = match row.change {
        Change::Same => Difference::Same,
        Change::Worse => Difference::Worse,
        Change::Better => Difference::Better,
        Change::Different => Difference::Different,
        Change::TooFew => Difference::TooFew,
    };
    ComparedFigure { what: row.what.clone(), a: row.before, b: row.after, noise: row.noise, difference }
}

fn listed<T, U>(all: &[T], shown: impl Fn(&T) -> Option<U>) -> ComparedList<U> {
    ComparedList { count: all.len() as u64, first: all.iter().filter_map(shown).take(COMPARED_MESSAGES_MAX).collect() }
}

/// A message that somebody sent: no other is compared.
fn message(message: &MessageHistory, history: &History) -> Option<ComparedMessage> {
    Some(ComparedMessage {
        message_id: message.message_id,
        sender: history.person(message.sender.as_ref()?).clone(),
        text: message.text.as_deref().map_or_else(String::new, |text| excerpt(text, TEXT_MAX)),
        at_us: message.sent_us.first().copied().unwrap_or_default(),
        outcome: compare::outcome(message),
    })
}

fn page(recording: &Recording, from_index: u64) -> CommandAnswer {
    let from = usize::try_from(from_index).unwrap_or(usize::MAX);
    let events = recording.events.iter().skip(from).take(RECORDED_EVENTS_MAX).map(|event| (**event).clone());
    CommandAnswer::RecordedEvents { events: events.collect(), total: recording.events.len() as u64 }
}

#[cfg(test)]
#[path = "recordings_tests.rs"]
mod tests;
