//! `ackscope load`: load on the whole path, the search for the limit, the first message.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use ackscope_core::token::TokenKey;
use ackscope_harness::environment::{EnvironmentOptions, Infrastructure, load_or_create_token_key, token_key_path};
use ackscope_harness::load::LoadError;
use ackscope_harness::load::first::{FirstMessage, first_message};
use ackscope_harness::load::generator::{Crowd, Generator, RoundPlan, RoundProgress};
use ackscope_harness::load::limit::{Limit, LimitStep, find_limit};
use ackscope_harness::load::process::ProcessUse;
use ackscope_harness::load::round::RoundReport;
use ackscope_harness::load::schedule;
use ackscope_harness::load::server::{NodeSettings, Server};
use ackscope_harness::report::paint::{Paint, Tone};
use ackscope_harness::report::terminal::latency_table;
use ackscope_harness::report::{micros, put};
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::args::{Arrivals, BackendArgs, LoadArgs, environment, load_settings};
use super::{Exit, Outcome, Trouble, out, signals};

/// The rate the search for the limit begins with.
pub(crate) const FIRST_RATE: u32 = 1_000;

impl From<Arrivals> for schedule::Arrivals {
    fn from(arrivals: Arrivals) -> Self {
        match arrivals {
            Arrivals::Poisson => Self::Poisson,
            Arrivals::Even => Self::Even,
        }
    }
}

/// Puts load on the path, or measures the first message.
pub(crate) async fn load(args: LoadArgs) -> Outcome {
    if !args.users.is_multiple_of(args.group_size) {
        let sentence = format!(
            "{} users do not make whole groups of {}: choose --users as a multiple of --group-size",
            args.users, args.group_size
        );
        return Err(Trouble::usage(anyhow::anyhow!(sentence)));
    }
    tokio::select! {
        outcome = measure(&args) => outcome,
        _ = signals::asked_to_end() => {
            out::note("interrupted; nothing was measured");
            Ok(Exit::Inconclusive)
        }
    }
}

async fn measure(args: &LoadArgs) -> Outcome {
    if let Some(times) = args.first_message {
        let first = first_messages(times, args.json).await?;
        if args.json {
            out::json(&first_json(&first))?;
        } else {
            out::text(&first_text(&first));
        }
        return Ok(Exit::Pass);
    }
    let (server, token_key, infrastructure) = start(args).await?;
    let crowd = Crowd { users: args.users, group_size: args.group_size };
    let mut generator = Generator::connect(server.chat_url(), &token_key, crowd).await?;
    let outcome = if args.find_limit {
        let limit = search(&mut generator, &server, args.seed, args.json).await?;
        if args.json {
            out::json(&limit)?;
        } else {
            out::text(&limit_text(&limit));
        }
        Ok(Exit::Pass)
    } else {
        let report = round(&mut generator, &server, plan(args), args.json).await?;
        if args.json {
            out::json(&report.json())?;
        } else {
            out::text(&round_text(&report, crowd, server.describe()));
        }
        Ok(verdict(&report))
    };
    generator.disconnect().await;
    server.shutdown().await?;
    if let Some(infrastructure) = infrastructure {
        infrastructure.shutdown().await;
    }
    outcome
}

fn plan(args: &LoadArgs) -> RoundPlan {
    RoundPlan {
        rate_per_sec: args.rate,
        warmup: args.warmup.0,
        duration: args.duration.0,
        arrivals: args.arrivals.into(),
        media_share: 0.0,
        seed: args.seed,
    }
}

/// What a round proved.
pub(crate) fn verdict(report: &RoundReport) -> Exit {
    if !report.broken().is_empty() || !report.over_budget().is_empty() {
        Exit::Fail
    } else if report.is_generator_healthy() {
        Exit::Pass
    } else {
        Exit::Inconclusive
    }
}

/// The server, its key, and what it stands on, which is ended after it.
async fn start(args: &LoadArgs) -> Result<(Server, TokenKey, Option<Infrastructure>), Trouble> {
    if let Some(chat_url) = &args.target {
        let key = load_or_create_token_key(&token_key_path(|name| std::env::var_os(name))?)?;
        return Ok((Server::Elsewhere { chat_url: chat_url.clone() }, key, None));
    }
    let key = TokenKey::generate();
    let server = if args.same_process {
        let for_server = key.clone();
        // A runtime cannot be started and waited for from within another one's task.
        tokio::task::spawn_blocking(move || Server::threads(for_server)).await??
    } else {
        let (server, infrastructure) = server_on(&args.backend, &key, args.json).await?;
        return Ok((server, key, Some(infrastructure)));
    };
    Ok((server, key, None))
}

/// A server in a process of its own, on the backend that the settings ask for.
pub(crate) async fn server_on(
    backend: &BackendArgs,
    key: &TokenKey,
    silent: bool,
) -> Result<(Server, Infrastructure), Trouble> {
    let infrastructure = infrastructure(backend, silent).await?;
    let node = NodeSettings { variables: infrastructure.variables(), ..NodeSettings::default() };
    match Server::process(&own_program()?, key, &node).await {
        Ok(server) => Ok((server, infrastructure)),
        Err(error) => {
            infrastructure.shutdown().await;
            Err(Trouble::environment(error))
        }
    }
}

/// What servers run on, as it was asked for.
pub(crate) async fn infrastructure(backend: &BackendArgs, silent: bool) -> Result<Infrastructure, Trouble> {
    let settings = load_settings(backend.flags())?;
    // What is measured is the servers, without a way between that could have faults.
    let options = EnvironmentOptions { direct: true, ..environment(&settings, silent) };
    let infrastructure = Infrastructure::start(options).await;
    let infrastructure = infrastructure
        .map_err(|error| if error.is_usage() { Trouble::usage(error) } else { Trouble::environment(error) })?;
    if !silent {
        out::note(infrastructure.reason());
    }
    Ok(infrastructure)
}

/// This program, to start it once more.
pub(crate) fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program's own file is not known")
}

/// A bar on a terminal, nothing anywhere else.
pub(crate) fn bar(silent: bool, length: u64, template: &str) -> ProgressBar {
    let shown = !silent && io::stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length), target).with_style(style)
}

/// The bar of a round.
pub(crate) const ROUND_BAR: &str = "{prefix} {wide_bar} {pos}/{len} sent, {msg}";

/// Moves the bar of a round.
pub(crate) fn show(bar: &ProgressBar, progress: RoundProgress) {
    bar.set_length(progress.scheduled);
    bar.set_position(progress.sent);
    bar.set_message(format!("{} acknowledged, {} received", progress.outcomes, progress.received));
}

/// One round with a bar.
pub(crate) async fn round(
    generator: &mut Generator,
    server: &Server,
    plan: RoundPlan,
    silent: bool,
) -> Result<RoundReport, LoadError> {
    let bar = bar(silent, 0, ROUND_BAR);
    bar.set_prefix(format!("{}/s", plan.rate_per_sec));
    let report = generator.round(plan, server, |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    report
}

/// The search with a bar and a line for each rate.
pub(crate) async fn search(
    generator: &mut Generator,
    server: &Server,
    seed: u64,
    silent: bool,
) -> Result<Limit, LoadError> {
    let bar = bar(silent, 0, ROUND_BAR);
    let on_progress = |rate: u32, progress| {
        bar.set_prefix(format!("{rate}/s"));
        show(&bar, progress);
    };
    let on_step = |step: &LimitStep| {
        if !silent {
            bar.suspend(|| out::note(&step_line(step)));
        }
    };
    let limit = find_limit(generator, server, FIRST_RATE, seed, on_progress, on_step).await;
    bar.finish_and_clear();
    limit
}

/// First messages with a bar.
pub(crate) async fn first_messages(times: u32, silent: bool) -> Result<FirstMessage, Trouble> {
    let bar = bar(silent, u64::from(times), "first message {wide_bar} {pos}/{len}");
    let first = first_message(&own_program()?, times, |time| bar.set_position(u64::from(time))).await;
    bar.finish_and_clear();
    Ok(first?)
}

/// A round for people.
pub(crate) fn round_text(report: &RoundReport, crowd: Crowd, server: &str) -> String {
    let paint = Paint::for_stream(&io::stdout());
    let counts = &report.counts;
    let mut text = format!(
        "{} messages/s for {} s, {} users in groups of {}, {server}\n\n",
        report.ending.rate_per_sec, report.ending.measured_secs, crowd.users, crowd.group_size
    );
    text.push_str(&latency_table(&report.latencies, &[], paint));
    let lag = report.ending.generator_lag.summary();
    put(
        &mut text,
        format_args!(
            "{:<12}{:>8}{:>11}{:>11}{:>11}{:>11}   scheduled to written\n\n",
            "generator",
            lag.count,
            micros(lag.p50_us),
            micros(lag.p99_us),
            micros(lag.p99_9_us),
            micros(lag.max_us)
        ),
    );
    put(
        &mut text,
        format_args!(
            "Messages     {} sent, {} delivered, {} persisted, {} of {} received\n",
            counts.sent, counts.delivered, counts.persisted, counts.received, counts.to_be_received
        ),
    );
    for (code, count) in &counts.rejected {
        put(&mut text, format_args!("             {count} answered {code}\n"));
    }
    for (name, used) in [("Server", report.ending.server), ("Generator", report.ending.generator)] {
        if let Some(used) = used {
            put(&mut text, format_args!("{name:<12} {}\n", use_text(used)));
        }
    }
    text.push('\n');
    let broken = report.broken();
    let over = report.over_budget();
    if !report.is_generator_healthy() {
        let sentence = "the generator could not keep its schedule: these figures are partly its own";
        put(&mut text, format_args!("{} {sentence}\n", paint.paint(Tone::Warn, "?")));
    }
    if broken.is_empty() {
        put(
            &mut text,
            format_args!("{} every message was delivered once, to everybody\n", paint.paint(Tone::Good, "✓")),
        );
    } else {
        put(&mut text, format_args!("{} {}\n", paint.paint(Tone::Bad, "✗"), broken.join(", ")));
    }
    if over.is_empty() {
        let sentence = "both budgets were kept (p99: pending 10 ms, delivered 100 ms)";
        put(&mut text, format_args!("{} {sentence}\n", paint.paint(Tone::Good, "✓")));
    } else {
        put(&mut text, format_args!("{} {}\n", paint.paint(Tone::Bad, "✗"), over.join(", ")));
    }
    text
}

fn use_text(used: ProcessUse) -> String {
    let mib = used.memory_peak_kib as f64 / 1_024.0;
    format!("{:.1} s of processor time ({:.0} % of one), at most {mib:.0} MiB", used.cpu_secs, used.cpus * 100.0)
}

/// One rate of the search, in a line.
pub(crate) fn step_line(step: &LimitStep) -> String {
    let sign = if step.kept { "✓" } else { "✗" };
    let cpus = step.server_cpus.map_or_else(String::new, |cpus| format!(", server {:.0} %", cpus * 100.0));
    let why = if step.kept { String::new() } else { format!(": {}", step.why.join(", ")) };
    format!(
        "{sign} {:>6}/s  pending p99 {:>8}, delivered p99 {:>8}, generator p99 {:>8}{cpus}{why}",
        step.rate_per_sec,
        micros(step.pending_p99_us),
        micros(step.delivered_p99_us),
        micros(step.generator_lag_p99_us)
    )
}

/// The limit, in a line.
pub(crate) fn limit_text(limit: &Limit) -> String {
    let sentence = match (limit.kept_per_sec, limit.broken_per_sec) {
        (Some(kept), _) if limit.generator_limited => {
            format!("at least {kept} messages/s; the generator could not do more, so the limit is higher")
        }
        (Some(kept), Some(broken)) => format!("between {kept} and {broken} messages/s"),
        (Some(kept), None) => format!("at least {kept} messages/s"),
        (None, Some(broken)) => format!("below {broken} messages/s"),
        (None, None) => "not found".to_owned(),
    };
    format!("Limit: {sentence}\n")
}

/// First messages for people.
pub(crate) fn first_text(first: &FirstMessage) -> String {
    let line = |name: &str, summary: ackscope_harness::latency::Summary| {
        format!(
            "{name:<26}{:>8}{:>11}{:>11}{:>11}\n",
            summary.count,
            micros(summary.p50_us),
            micros(summary.p99_us),
            micros(summary.max_us)
        )
    };
    let mut text = format!("{:<26}{:>8}{:>11}{:>11}{:>11}\n", "Since the start", "count", "p50", "p99", "max");
    text.push_str(&line("ready", first.ready.summary()));
    text.push_str(&line("first message delivered", first.delivered.summary()));
    text
}

/// First messages for machines.
pub(crate) fn first_json(first: &FirstMessage) -> serde_json::Value {
    json!({ "ready_us": first.ready.summary(), "delivered_us": first.delivered.summary() })
}
