//! `ackscope replay`: a recorded run once more, without a backend.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ackscope_harness::history::excerpt;
use ackscope_harness::recording::{Ending, Header, Recording, RecordingReader, place};
use ackscope_harness::report::files::write_report;
use ackscope_harness::report::json::JsonReport;
use ackscope_harness::report::micros;
use ackscope_harness::report::paint::Paint;
use ackscope_harness::report::terminal::{TerminalReport, audit_text};
use ackscope_harness::viewer::{FOLLOW_INTERVAL, Pace, Viewer, due, reason};
use ackscope_protocol::trace::{ConnectionState, Happening, TraceEvent};
use ackscope_protocol::wire::ServerEvent;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::args::ReplayArgs;
use super::{Exit, Outcome, Trouble, out, signals};

/// Columns of a message's text in a line.
const TEXT_COLUMNS: usize = 60;

/// Shows a recording in the way that was asked for.
pub(crate) async fn replay(args: ReplayArgs) -> Outcome {
    let file = file_of(&args)?;
    if let Some(ui) = args.ui {
        return in_interface(&args, &file, ui).await;
    }
    if args.follow && !follow_lines(&args, &file).await? {
        return Ok(Exit::Inconclusive);
    }
    let recording = {
        let file = file.clone();
        // Unpacking a long one keeps a thread for seconds.
        tokio::task::spawn_blocking(move || Recording::open(&file)).await?.map_err(Trouble::usage)?
    };
    for remark in recording.remarks() {
        out::note(&out::harmless(&format!("{}: {remark}", file.display())));
    }
    if args.events {
        if !args.follow {
            recording.events.iter().try_for_each(|event| out::json(&**event))?;
        }
        return Ok(Exit::Pass);
    }
    if let Some(speed) = args.speed
        && !args.json
        && !lines_at_pace(&recording, speed).await?
    {
        return Ok(Exit::Inconclusive);
    }
    summary(&args, &recording)
}

fn file_of(args: &ReplayArgs) -> Result<PathBuf, Trouble> {
    if let Some(file) = &args.file {
        return Ok(file.clone());
    }
    let none = || Trouble::usage(anyhow::anyhow!("no run has been recorded in the state folder yet"));
    let folder = place::folder(|name| std::env::var_os(name)).ok_or_else(none)?;
    place::latest(&folder)?.ok_or_else(none)
}

// ---- in the terminal ------------------------------------------------------------------------------------------

/// What `--json` prints of the file itself.
#[derive(Serialize)]
struct About<'a> {
    #[serde(flatten)]
    header: &'a Header,
    events: u64,
    bytes: u64,
    is_closed: bool,
    has_stored: bool,
    remarks: Vec<String>,
}

/// Steps, timeline, latencies, promises and verdict.
fn summary(args: &ReplayArgs, recording: &Recording) -> Outcome {
    let history = recording.history();
    let report = recording.run_report(&history);
    let audit = if args.audit { recording.audit(&history) } else { None };
    let paint = Paint::for_stream(&io::stdout());
    if args.json {
        let about = About {
            header: &recording.header,
            events: recording.read,
            bytes: recording.bytes,
            is_closed: matches!(recording.ending, Ending::Closed(_)),
            has_stored: recording.stored.is_some(),
            remarks: recording.remarks(),
        };
        out::json(&json!({ "recording": about, "run": JsonReport::of(&report), "audit_again": audit }))?;
    } else {
        let mut text = Vec::new();
        let mut terminal = TerminalReport::new(&mut text, paint);
        terminal.heading(&report.scenario, None, &reason(&recording.header))?;
        report.steps.iter().try_for_each(|step| terminal.step(step))?;
        terminal.ending(&report)?;
        out::text(&out::harmless(&String::from_utf8_lossy(&text)));
        if let Some(audit) = &audit {
            let audit = audit_text(audit, paint);
            out::text(&out::harmless(&format!("\nOnce more, from the recording:\n{audit}")));
        }
    }
    if let Some(folder) = &args.report {
        let written = write_report(folder, &[report])?;
        let names: Vec<_> = written.iter().map(|path| path.display().to_string()).collect();
        out::note(&format!("Report: {}", names.join(", ")));
    }
    Ok(match (args.audit, audit) {
        (false, _) => Exit::Pass,
        (true, Some(audit)) => {
            if audit.is_clean() {
                Exit::Pass
            } else {
                Exit::Fail
            }
        }
        (true, None) => {
            out::note("what the store held is not in the recording, so no promise can be checked");
            Exit::Inconclusive
        }
    })
}

/// Prints what people want to see of the events, at a pace. False when somebody interrupted.
async fn lines_at_pace(recording: &Recording, speed: f64) -> Result<bool, Trouble> {
    let interrupted = signals::asked_to_end();
    tokio::pin!(interrupted);
    let began = Instant::now();
    for event in &recording.events {
        let Some(line) = line(event) else { continue };
        tokio::select! {
            () = tokio::time::sleep_until(due(began, event.at_us, speed)) => out::line(&line),
            _ = &mut interrupted => return Ok(false),
        }
    }
    out::line("");
    Ok(true)
}

/// Prints the events of a file that is still written until it is closed. False when somebody interrupted.
async fn follow_lines(args: &ReplayArgs, file: &Path) -> Result<bool, Trouble> {
    let mut reader = RecordingReader::open(file).map_err(Trouble::usage)?;
    let interrupted = signals::asked_to_end();
    tokio::pin!(interrupted);
    loop {
        while let Some(events) = reader.next_events().map_err(Trouble::environment)? {
            for event in &events {
                if args.events {
                    out::json(&**event)?;
                } else if !args.json
                    && let Some(line) = line(event)
                {
                    out::line(&line);
                }
            }
        }
        if !matches!(reader.ending(), None | Some(Ending::Open { .. })) {
            return Ok(true);
        }
        tokio::select! {
            // Nobody tells when a file grows.
            () = tokio::time::sleep(FOLLOW_INTERVAL) => {}
            _ = &mut interrupted => return Ok(false),
        }
    }
}

/// An event in one line; none for those that come by the dozen with every message.
fn line(event: &TraceEvent) -> Option<String> {
    let what = match &event.what {
        Happening::Sent { user, text, attempt, .. } => {
            let again = if *attempt > 1 { " again" } else { "" };
            let text = text.as_deref().map_or("(no text)".to_owned(), |text| excerpt(text, TEXT_COLUMNS));
            format!("{user} sends{again} \"{text}\"")
        }
        Happening::Saw { user, event: ServerEvent::Ack(ack) } => {
            let why = ack.error.as_ref().map_or(String::new(), |error| format!(" {}", error.code.as_str()));
            format!("{user} is told {}: {}{why}", ack.temp_id, ack.state.as_str())
        }
        Happening::Connection { user, state: ConnectionState::Connected } => format!("{user} is connected"),
        Happening::Connection { user, state: ConnectionState::Disconnected { reason } } => {
            format!("{user} is disconnected: {reason}")
        }
        Happening::Answered { user, request, error: Some(error), .. } => {
            format!("{user} is refused {request}: {}", error.code.as_str())
        }
        Happening::Device { user, of } => format!("{user} is a device of {of}"),
        Happening::ClockAdvanced { by_ms } => format!("the clock is advanced by {}", micros(by_ms * 1_000)),
        Happening::Fault { target, kind, active } => {
            format!("{target}: {kind} {}", if *active { "begins" } else { "ends" })
        }
        Happening::Mark { text } => text.clone(),
        Happening::Gap { missed } => format!("{missed} events are missing"),
        Happening::Saw { .. } | Happening::Answered { .. } | Happening::Stage { .. } | Happening::Health { .. } => {
            return None;
        }
    };
    Some(out::harmless(&format!("{:>12.3} s  {what}", event.at_us as f64 / 1e6)))
}

// ---- in the interface -----------------------------------------------------------------------------------------

/// Serves the interface with the recording in it until somebody asks it to end.
async fn in_interface(args: &ReplayArgs, file: &Path, ui: SocketAddr) -> Outcome {
    let pace = match args.speed {
        _ if args.follow => Pace::Follow,
        Some(speed) => Pace::Speed(speed),
        None => Pace::Whole,
    };
    let interrupted = signals::asked_to_end();
    tokio::pin!(interrupted);
    let mut viewer = Viewer::open(file.to_owned(), ui, pace).await.map_err(Trouble::usage)?;
    if !args.follow {
        for remark in viewer.remarks() {
            out::note(&out::harmless(remark));
        }
    }
    if args.json {
        out::json(&json!({ "ui": viewer.ui_url() }))?;
    } else {
        let ready = format!("Ready: interface {}, {}. Ctrl-C ends it.", viewer.ui_url(), reason(viewer.header()));
        out::line(&out::harmless(&ready));
    }
    let playing = async {
        if let Some(sentence) = viewer.played().await.map_err(Trouble::environment)? {
            out::note(&out::harmless(&sentence));
        }
        std::future::pending::<Result<(), Trouble>>().await
    };
    let ended = tokio::select! {
        failed = playing => failed,
        ended = &mut interrupted => ended.map(drop).map_err(Trouble::from),
    };
    viewer.shutdown().await;
    ended.map(|()| Exit::Pass)
}
