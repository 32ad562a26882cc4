//! `ackscope bench storage`: what the parts of the embedded backend and the search service can do, each by itself.
//!
//! | module | one sentence |
//! |---|---|
//! | [`log`] | records from publishing to the confirmation and to the consumers |
//! | [`persistence`] | messages a second, in bulks and one by one |
//! | [`indexing`] | documents a second through the search service |
//! | [`permission`] | the check before everything, from the cache and from the store |
//! | [`history`] | pages of a conversation with a million messages |

mod history;
mod indexing;
mod log;
mod permission;
mod persistence;

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use ackscope_core::clock::Clock;
use ackscope_core::node::{Backend, EmbeddedBackendOptions};
use ackscope_core::sqlite::{Durability, EmbeddedOptions};
use ackscope_harness::report::paint::{Paint, Tone};
use ackscope_harness::report::put;
use ackscope_protocol::text::MessageText;
use ackscope_protocol::wire::Message;
use ackscope_protocol::{ConversationId, MessageId, Timestamp};
use anyhow::Context as _;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use super::super::load::bar;
use super::super::{Exit, Outcome, out};

/// The longest time that is told apart, in nanoseconds: ten minutes.
const LONGEST_NS: u64 = 600_000_000_000;

/// Times of one measurement in a full histogram: three figures, from a nanosecond on.
struct Times(Histogram<u64>);

impl Times {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST_NS, 3).context("no histogram")?))
    }

    fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// Waits for something and counts how long that took.
    async fn of<T>(&mut self, what: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let done = what.await;
        self.record(started.elapsed());
        done
    }

    fn p99(&self) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(0.99))
    }
}

/// What a figure should be.
struct Aim {
    text: String,
    is_kept: bool,
}

/// One measurement.
struct Row {
    name: String,
    /// Messages, records or documents a second; none where the times are what matters.
    per_sec: Option<f64>,
    times: Times,
    aim: Option<Aim>,
}

/// Measurements that belong together.
struct Section {
    /// For machines.
    key: &'static str,
    title: &'static str,
    rows: Vec<Row>,
}

/// What a section tells while it runs.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Something that takes a while begins.
    fn begin(&self, what: &str, length: u64) {
        self.bar.reset();
        self.bar.set_length(length);
        self.bar.set_prefix(what.to_owned());
    }

    fn advance(&self, by: u64) {
        self.bar.inc(by);
    }
}

pub(super) async fn measure(is_json: bool) -> Outcome {
    let progress = Progress { bar: bar(is_json, 0, "{prefix} {wide_bar} {human_pos}/{human_len}") };
    let paint = Paint::for_stream(&io::stdout());
    let mut sections = Vec::new();
    let mut is_first = true;
    let mut add = |section: Section| {
        if !is_json {
            progress.bar.suspend(|| out::text(&section_text(&section, is_first, paint)));
        }
        is_first = false;
        sections.push(section);
    };
    add(log::measure(&progress).await?);
    add(persistence::measure(&progress).await?);
    add(indexing::measure(&progress).await?);
    add(permission::measure(&progress).await?);
    add(history::measure(&progress).await?);
    progress.bar.finish_and_clear();

    let missed: Vec<&Row> = sections.iter().flat_map(|section| &section.rows).filter(|row| !is_kept(row)).collect();
    if is_json {
        let of_section = |section: &Section| (section.key, section.rows.iter().map(row_json).collect::<Vec<_>>());
        let by_key: BTreeMap<_, _> = sections.iter().map(of_section).collect();
        out::json(&by_key)?;
    } else if missed.is_empty() {
        out::text(&format!("\n{} every aim was reached\n", paint.paint(Tone::Good, "✓")));
    } else {
        let names: Vec<&str> = missed.iter().map(|row| row.name.trim()).collect();
        out::text(&format!("\n{} not reached: {}\n", paint.paint(Tone::Bad, "✗"), names.join("; ")));
    }
    // An aim is no promise: a machine that is slow or busy fails nothing.
    Ok(Exit::Pass)
}

fn is_kept(row: &Row) -> bool {
    row.aim.as_ref().is_none_or(|aim| aim.is_kept)
}

fn section_text(section: &Section, has_heading: bool, paint: Paint) -> String {
    let mut text = String::new();
    if has_heading {
        put(
            &mut text,
            format_args!(
                "{:<50}{:>9}{:>12}{:>10}{:>10}{:>10}{:>10}  aim\n",
                "", "count", "per second", "p50", "p99", "p99.9", "max"
            ),
        );
    } else {
        text.push('\n');
    }
    put(&mut text, format_args!("{}\n", paint.paint(Tone::Strong, section.title)));
    for row in &section.rows {
        let Row { name, per_sec, times: Times(times), aim } = row;
        let per_sec = per_sec.map_or(String::new(), |per_sec| format!("{per_sec:.0}"));
        let at = |quantile| time(times.value_at_quantile(quantile));
        put(
            &mut text,
            format_args!(
                "  {name:<48}{:>9}{per_sec:>12}{:>10}{:>10}{:>10}{:>10}",
                times.len(),
                at(0.5),
                at(0.99),
                at(0.999),
                time(times.max())
            ),
        );
        if let Some(Aim { text: aim, is_kept }) = aim {
            let (tone, sign) = if *is_kept { (Tone::Good, "✓") } else { (Tone::Bad, "✗") };
            put(&mut text, format_args!("  {aim} {}", paint.paint(tone, sign)));
        }
        text.push('\n');
    }
    text
}

fn row_json(row: &Row) -> serde_json::Value {
    let Row { name, per_sec, times: Times(times), aim } = row;
    json!({
        "name": name,
        "per_sec": per_sec,
        "count": times.len(),
        "p50_ns": times.value_at_quantile(0.5),
        "p99_ns": times.value_at_quantile(0.99),
        "p99_9_ns": times.value_at_quantile(0.999),
        "max_ns": times.max(),
        "aim": aim.as_ref().map(|aim| &aim.text),
        "aim_reached": aim.as_ref().map(|aim| aim.is_kept),
    })
}

/// Nanoseconds for people: three figures and a unit.
fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// An embedded backend in a folder that goes with it.
struct Scratch {
    backend: Backend,
    _folder: TempDir,
}

impl Scratch {
    fn open(durability: Durability) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let file = EmbeddedOptions { durability, ..EmbeddedOptions::default() };
        let options = EmbeddedBackendOptions { file, ..EmbeddedBackendOptions::default() };
        Ok(Self { backend: Backend::embedded(folder.path(), &Clock::default(), options)?, _folder: folder })
    }
}

/// What is durable, for a row's name.
fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::ProcessCrash => "survives kill -9",
        Durability::PowerLoss => "survives power loss",
    }
}

/// A message of about the usual length.
fn message(conversation_id: ConversationId, seq: u64) -> anyhow::Result<Message> {
    Ok(Message {
        temp_id: Some(seq.to_string().parse()?),
        text: Some(MessageText::new("x".repeat(200))?),
        seq,
        ..Message::new(MessageId::from_uuid(Uuid::new_v4()), conversation_id, "ana".parse()?, Timestamp::from_millis(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_figures_and_a_unit() {
        let said = [1, 999, 1_000, 9_994, 9_996, 99_960, 1_500_000, 25_000_000, 999_000_000, 2_000_000_000].map(time);
        let expected =
            ["1 ns", "999 ns", "1.00 µs", "9.99 µs", "10.0 µs", "100 µs", "1.50 ms", "25.0 ms", "999 ms", "2.00 s"];
        assert_eq!(said, expected);
    }
}
