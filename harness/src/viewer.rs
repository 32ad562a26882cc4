//! A recording in the interface, without a backend: what `ackscope replay --ui` and the desktop app show.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ackscope_protocol::Timestamp;
use ackscope_protocol::control::Environment;
use ackscope_protocol::trace::{Happening, TraceEvent};
use futures_util::future::BoxFuture;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::control::{ControlError, ControlServer, LateReport, Recorded};
use crate::recorder::{EVENTS_MAX, Recorder};
use crate::recording::format::RecordedReport;
use crate::recording::{Ending, Header, OpenError, Recording, RecordingReader};

/// How often a file that is still written is looked at again.
pub const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// How fast a recording is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// What is there, at once.
    Whole,
    /// So many times as fast as it happened.
    Speed(f64),
    /// What is there at once, and what is still written as it comes.
    Follow,
}

/// Why a recording is not shown.
#[derive(Debug, thiserror::Error)]
pub enum ViewerError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be served.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A thread that read it ended.
    #[error("the recording could not be read: {0}")]
    Thread(#[from] JoinError),
}

/// How far a recording was played: why it says no more when it was not closed in order.
type Played = Result<Option<String>, ViewerError>;

/// A recording that is served.
#[derive(Debug)]
pub struct Viewer {
    header: Header,
    remarks: Vec<String>,
    control: ControlServer,
    playing: AbortOnDropHandle<Played>,
}

/// One sentence that stands where a live run says on what it runs.
pub fn reason(header: &Header) -> String {
    let seed = header.seed.map_or(String::new(), |seed| format!(" (seed {seed})"));
    format!("Recording of {}, ackscope {}, {}{seed}", header.started_at, header.ackscope_version, header.backend_reason)
}

impl Viewer {
    /// Opens a recording and serves it at `listen`. With [`Pace::Whole`] and [`Pace::Follow`] everything that is there
    /// can be seen when this returns.
    pub fn open(file: PathBuf, listen: SocketAddr, pace: Pace) -> BoxFuture<'static, Result<Self, ViewerError>> {
        Box::pin(async move {
            let name = file.clone();
            let Opened { header, remarks, events, report, source, time } =
                tokio::task::spawn_blocking(move || Opened::read(&file, pace)).await??;
            let recorder = Recorder::of_run(header.run_id, EVENTS_MAX);
            let (now, then) = match pace {
                Pace::Speed(_) => (Vec::new(), events),
                Pace::Whole | Pace::Follow => (events, Vec::new()),
            };
            recorder.replay(now);
            let ms = i64::try_from(time.business_us() / 1_000).unwrap_or(i64::MAX);
            let late = report.map_or_else(LateReport::default, |report| Arc::new(OnceLock::from(*report)));
            let recorded = Recorded {
                recorder: recorder.clone(),
                report: Arc::clone(&late),
                environment: Environment {
                    backend: header.backend,
                    reason: reason(&header),
                    chat_url: "none (a recording)".to_owned(),
                    ackscope_version: env!("CARGO_PKG_VERSION").to_owned(),
                },
                business_now: Timestamp::from_millis(header.started_at.as_millis().saturating_add(ms)),
            };
            let control = ControlServer::start_recorded(listen, recorded).await?;
            tracing::debug!(file = %name.display(), "a recording is shown");
            let playing = AbortOnDropHandle::new(tokio::spawn(async move {
                if let Pace::Speed(speed) = pace {
                    play(&recorder, then, speed).await;
                }
                match source {
                    Some(reader) => follow(reader, &recorder, &late).await,
                    None => Ok(None),
                }
            }));
            Ok(Self { header, remarks, control, playing })
        })
    }

    /// What the recording says of its run.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the recording ends and what is missing of it, one sentence each.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The interface's address, token included.
    pub fn ui_url(&self) -> &str {
        self.control.url()
    }

    /// Waits until everything has been played. A sentence says why a recording that was followed goes on no further,
    /// when it was not closed in order.
    pub fn played(&mut self) -> BoxFuture<'_, Played> {
        Box::pin(async move { (&mut self.playing).await? })
    }

    /// Takes the recording away again.
    pub fn shutdown(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            drop(self.playing);
            self.control.shutdown().await;
        })
    }
}

/// A recording as far as it was there when it was opened.
struct Opened {
    header: Header,
    remarks: Vec<String>,
    events: Vec<Arc<TraceEvent>>,
    report: Option<Box<RecordedReport>>,
    /// What may still grow.
    source: Option<RecordingReader<File>>,
    time: Time,
}

/// How far a run is, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Time {
    passed_us: u64,
    /// What the clock was advanced by.
    skipped_us: u64,
}

impl Time {
    fn pass(&mut self, events: &[Arc<TraceEvent>]) {
        for event in events {
            self.passed_us = self.passed_us.max(event.at_us);
            if let Happening::ClockAdvanced { by_ms } = event.what {
                self.skipped_us = self.skipped_us.saturating_add(by_ms.saturating_mul(1_000));
            }
        }
    }

    fn business_us(self) -> u64 {
        self.passed_us.saturating_add(self.skipped_us)
    }
}

impl Opened {
    fn read(file: &Path, pace: Pace) -> Result<Self, OpenError> {
        let mut time = Time::default();
        if pace != Pace::Follow {
            let recording = Recording::open(file)?;
            let remarks = recording.remarks();
            let Recording { header, events, report, .. } = recording;
            time.pass(&events);
            return Ok(Self { header, remarks, events, report: report.map(Box::new), source: None, time });
        }
        let mut reader = RecordingReader::open(file)?;
        let mut events = Vec::new();
        while let Some(more) = reader.next_events()? {
            time.pass(&more);
            events.extend(more);
            // No more is shown than the recorder keeps; a little more is read than that, so that the oldest are not
            // moved for each block.
            if events.len() > EVENTS_MAX * 2 {
                events.drain(..events.len() - EVENTS_MAX);
            }
        }
        let header = reader.header().clone();
        let remarks = reader.ending().and_then(|ending| ending.sentence(events.len() as u64)).into_iter().collect();
        let report = reader.report().cloned().map(Box::new);
        let is_open = may_grow(&reader);
        Ok(Self { header, remarks, events, report, source: is_open.then_some(reader), time })
    }
}

fn may_grow(reader: &RecordingReader<File>) -> bool {
    matches!(reader.ending(), None | Some(Ending::Open { .. }))
}

/// When an event is shown that happened at `at_us`.
pub fn due(began: Instant, at_us: u64, speed: f64) -> Instant {
    let after = Duration::try_from_secs_f64(at_us as f64 / 1e6 / speed).unwrap_or(Duration::MAX);
    // So late that nobody waits for it: a year from now.
    began.checked_add(after).unwrap_or_else(|| began + Duration::from_hours(365 * 24))
}

async fn play(recorder: &Recorder, events: Vec<Arc<TraceEvent>>, speed: f64) {
    let began = Instant::now();
    for event in events {
        tokio::time::sleep_until(due(began, event.at_us, speed)).await;
        recorder.replay([event]);
    }
}

async fn follow(mut reader: RecordingReader<File>, recorder: &Recorder, late: &LateReport) -> Played {
    loop {
        if let Some(report) = reader.report() {
            late.get_or_init(|| report.clone());
        }
        if !may_grow(&reader) {
            return Ok(reader.ending().and_then(|ending| ending.sentence(recorder.next_index())));
        }
        // Nobody tells when a file grows.
        tokio::time::sleep(FOLLOW_INTERVAL).await;
        let recorder = recorder.clone();
        reader = tokio::task::spawn_blocking(move || {
            while let Some(events) = reader.next_events()? {
                recorder.replay(events);
            }
            Ok::<_, OpenError>(reader)
        })
        .await??;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_was_skipped_counts_beside_what_passed() {
        let event = |at_us, what| Arc::new(TraceEvent { at_us, what });
        let mark = || Happening::Mark { text: String::new() };
        let mut time = Time::default();
        assert_eq!(time.business_us(), 0);
        time.pass(&[event(1_000, mark()), event(2_000, Happening::ClockAdvanced { by_ms: 60_000 })]);
        // Events of several tasks may stand a little out of order.
        time.pass(&[event(9_000, Happening::ClockAdvanced { by_ms: 1 }), event(8_000, mark())]);
        assert_eq!(time, Time { passed_us: 9_000, skipped_us: 60_001_000 });
        time.pass(&[event(10_000, Happening::ClockAdvanced { by_ms: u64::MAX })]);
        assert_eq!(time.business_us(), u64::MAX);
    }

    #[test]
    fn what_never_comes_is_due_in_a_year() {
        let began = Instant::now();
        assert_eq!(due(began, 1_000_000, 2.0), began + Duration::from_millis(500));
        assert!(due(began, u64::MAX, f64::MIN_POSITIVE) > began + Duration::from_hours(24));
    }
}
