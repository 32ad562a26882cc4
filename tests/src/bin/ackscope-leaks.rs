//! Whether containers ever outlive the process that started them.
//!
//! `ackscope-leaks [N]` starts the three servers N times and ends them in good order, starts them N times and breaks
//! the start off at a random moment (Ctrl-C, closed terminal, SIGKILL), starts them once more, and looks for what is
//! left. `ackscope-leaks child …` is one such process.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_harness::environment::containers::{
    Containers, ContainersOptions, DockerStatus, docker_status, is_watchdog, remove_kept, sweep,
};
use ackscope_tests::docker::{dangling_volumes, images, networks, of_place};
use anyhow::{Context as _, bail, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

/// As many as the promise is made for.
const ROUNDS: u32 = 50;
/// A start takes about this long, so a random moment up to it meets every phase.
const MOMENT_MAX: Duration = Duration::from_secs(9);
/// How long a process may take to end after it was asked to.
const END_LIMIT: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|word| word.starts_with("--")) && is_watchdog() {
        return ExitCode::SUCCESS;
    }
    let words: Vec<_> = std::env::args().skip(1).collect();
    let outcome = match words.first().map(String::as_str) {
        Some("child") => child(&words[1..]),
        Some(rounds) => rounds.parse().context("expected a number of rounds").and_then(drill),
        None => drill(ROUNDS),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the drill starts: as the program does, it drops the start when it is asked to end.
fn child(words: &[String]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let word = words.first().map_or("start", String::as_str);
    runtime.block_on(async {
        match word {
            "start" => hold(false).await?,
            "keep" => hold(true).await?,
            "watched" => {
                is_watchdog();
                hold(false).await?;
            }
            "sweep" => println!("{:?}", sweep().await?),
            "remove-kept" => println!("{}", remove_kept().await?),
            "status" => {
                let begun = Instant::now();
                let status = docker_status().await;
                ensure!(begun.elapsed() < Duration::from_secs(3), "the status took {:?}", begun.elapsed());
                println!("{status}");
                ensure!(matches!(status, DockerStatus::Ready { .. }), "not ready");
            }
            other => bail!("`{other}` is none of start, keep, sweep, remove-kept, status"),
        }
        Ok(())
    })
}

/// Holds servers until standard input ends or a signal comes.
async fn hold(keep: bool) -> anyhow::Result<()> {
    let images = images().await.context("no images")?;
    let options = ContainersOptions { images, keep, links: true, progress: Arc::new(|line| eprintln!("{line}")) };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let asked = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::pin!(asked);
    let begun = Instant::now();
    let containers = tokio::select! {
        containers = Containers::start(options) => containers?,
        () = &mut asked => return Ok(()),
    };
    println!("ready {:.2} {}", begun.elapsed().as_secs_f64(), containers.addresses());
    let mut input = tokio::io::stdin();
    let mut byte = [0];
    tokio::select! {
        _ = input.read(&mut byte) => {}
        () = &mut asked => {}
    }
    containers.shutdown().await;
    // The thread that reads standard input would be waited for.
    std::process::exit(0);
}

fn start_child(state: &Path) -> anyhow::Result<Child> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.args(["child", "start"]).env("XDG_STATE_HOME", state).stdin(Stdio::piped());
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// Waits for the line that says it is ready, and gives the seconds it took.
fn seconds_until_ready(child: &mut Child) -> anyhow::Result<f64> {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().context("no output")?).read_line(&mut line)?;
    let Some(seconds) = line.strip_prefix("ready ").and_then(|rest| rest.split(' ').next()) else {
        let mut said = String::new();
        child.stderr.as_mut().context("no output")?.read_to_string(&mut said)?;
        bail!("a start failed: {said}");
    };
    Ok(seconds.parse()?)
}

/// Waits until it has ended, and gives the seconds that took.
fn seconds_until_ended(child: &mut Child) -> anyhow::Result<f64> {
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        ensure!(begun.elapsed() < END_LIMIT, "a process does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn drill(rounds: u32) -> anyhow::Result<()> {
    // A place of its own: whatever else runs here is neither seen nor touched.
    let state = tempfile::tempdir()?;
    let (volumes, networks_before) = (dangling_volumes()?, networks()?);
    let mut starts = Vec::new();
    for round in 1..=rounds {
        let mut child = start_child(state.path())?;
        starts.push(seconds_until_ready(&mut child)?);
        drop(child.stdin.take());
        seconds_until_ended(&mut child)?;
        let left = of_place(state.path())?;
        ensure!(left.is_empty(), "start {round} left {left:?}");
    }
    starts.sort_by(f64::total_cmp);
    if let (Some(fastest), Some(slowest)) = (starts.first(), starts.last()) {
        println!("{rounds} starts: {fastest:.1} to {slowest:.1} s, nothing left after any of them");
    }

    let mut ends: Vec<f64> = Vec::new();
    let mut killed_left = 0;
    let mut counts = [0_u32; 3];
    for round in 0..rounds {
        let kind = round as usize % 3;
        let name = ["INT", "HUP", "KILL"][kind];
        let moment = MOMENT_MAX.mul_f64(fastrand::f64());
        let mut child = start_child(state.path())?;
        std::thread::sleep(moment);
        if name == "HUP" {
            // A closed terminal takes the output away too.
            drop((child.stdout.take(), child.stderr.take(), child.stdin.take()));
        }
        let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status()?;
        ensure!(sent.success(), "the signal {name} could not be sent");
        counts[kind] += 1;
        let seconds = seconds_until_ended(&mut child)?;
        let left = of_place(state.path())?;
        if name == "KILL" {
            killed_left += left.len();
        } else {
            ends.push(seconds);
            // What an earlier SIGKILL left is swept by a start that comes far enough; only this one's own counts.
            let own = ackscope_tests::docker::of_owner(child.id())?;
            ensure!(own.is_empty(), "{name} after {moment:.1?} left {own:?}");
        }
    }
    let slowest = ends.iter().copied().fold(0.0, f64::max);
    println!(
        "{rounds} starts broken off: {} Ctrl-C and {} closed terminals left nothing and ended within {slowest:.1} s; \
         {} SIGKILL left containers seen {killed_left} times",
        counts[0], counts[1], counts[2]
    );

    let mut child = start_child(state.path())?;
    seconds_until_ready(&mut child)?;
    drop(child.stdin.take());
    seconds_until_ended(&mut child)?;
    let containers = of_place(state.path())?;
    ensure!(containers.is_empty(), "one more start left {containers:?}");
    let new = |after: Vec<String>, before: &[String]| -> Vec<String> {
        after.into_iter().filter(|name| !before.contains(name)).collect()
    };
    let volumes = new(dangling_volumes()?, &volumes);
    ensure!(volumes.is_empty(), "volumes are left: {volumes:?}");
    let networks = new(networks()?, &networks_before);
    ensure!(networks.is_empty(), "networks are left: {networks:?}");
    println!("after one more start: 0 containers, 0 volumes, 0 networks of ours");
    Ok(())
}
