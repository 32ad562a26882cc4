//! The desktop shell: one native window around the interface the harness serves.
//!
//! The harness runs inside this process and serves the interface on loopback; the window shows that address.
//! So the window and a browser (`ackscope serve`) show the very same interface through the same server, and the
//! page needs nothing from the shell: it has no Tauri permission at all.

// A release on Windows is a windowed program, not a console one.
#![cfg_attr(all(windows, not(debug_assertions)), windows_subsystem = "windows")]

mod backend;
mod dialogs;
mod log_file;
mod menu;
mod plan;
mod recent;
mod signals;
mod splash;
mod window;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ackscope_harness::environment::BackendChoice;
use ackscope_harness::environment::containers::is_watchdog;
use clap::Parser;
use tauri::{AppHandle, Manager as _};
use tauri_plugin_window_state::StateFlags;
use tokio_util::sync::CancellationToken;

use crate::backend::{Request, Requests, Stage};
use crate::plan::{Plan, PlanError};

/// How long the harness may take to stop and remove what it started, containers included.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);

/// Ackscope in a window: the chat backend, its simulated users and the timeline.
///
/// Everything runs inside this program and ends with its window. To use the same interface in a browser, see
/// `ackscope serve`.
#[derive(Debug, Parser)]
#[command(name = "ackscope-desktop", version, term_width = 100)]
struct Args {
    /// Where the backend's parts come from.
    #[arg(long, value_enum)]
    backend: Option<BackendChoice>,
    /// Print one JSON object with `chat`, `ui` and `backend` when ready; for a recording with `ui` alone.
    #[arg(long)]
    json: bool,
    /// Keep the embedded backend's files in this folder from run to run. Without it a run starts empty and plays
    /// the built-in tour.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Start empty and do not play the tour.
    #[arg(long)]
    no_tour: bool,
    /// Show this recording. No backend is started before the live run is asked for.
    #[arg(value_name = "RECORDING")]
    recording: Option<PathBuf>,
}

/// Why the app could not start or did not end well.
#[derive(Debug, thiserror::Error)]
enum ShellError {
    #[error("there is no display to open a window on; `ackscope serve` shows the same interface in a browser")]
    NoDisplay,
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("the threads for the backend could not be started: {0}")]
    Runtime(std::io::Error),
    #[error("the window could not be opened: {0}")]
    Window(#[from] tauri::Error),
    #[error(transparent)]
    Backend(#[from] backend::BackendError),
    #[error("the backend did not stop within {} s", SHUTDOWN_LIMIT.as_secs())]
    StopTooSlow,
    #[error("the backend ended unexpectedly: {0}")]
    BackendPanicked(tokio::task::JoinError),
}

impl ShellError {
    /// 2 for wrong usage, 3 when the environment failed, as everywhere in Ackscope.
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Plan(_) => ExitCode::from(2),
            Self::Backend(error) if error.is_usage() => ExitCode::from(2),
            _ => ExitCode::from(3),
        }
    }
}

fn main() -> ExitCode {
    if is_watchdog() {
        return ExitCode::SUCCESS;
    }
    let args = Args::parse();
    #[cfg(target_os = "linux")]
    if let Some(error) = without_graphics_card() {
        writeln!(std::io::stderr(), "ackscope-desktop: the window may stay empty: {error}").ok();
    }
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            writeln!(std::io::stderr(), "ackscope-desktop: {error}").ok();
            error.exit_code()
        }
    }
}

fn run(args: Args) -> Result<(), ShellError> {
    log_file::start();
    let Args { backend, json, data, no_tour, recording } = args;
    let plan = Plan::read(backend, data, no_tour)?;
    check_display()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("ackscope")
        .enable_all()
        .build()
        .map_err(ShellError::Runtime)?;
    tauri::async_runtime::set(runtime.handle().clone());

    let (requests, received) = Requests::new();
    let mut builder = tauri::Builder::default();
    if !json {
        // First of all: a second start ends in there. A script wants an instance of its own.
        builder = builder
            .plugin(tauri_plugin_single_instance::init(|app, words, folder| started_again(app, &words, &folder)));
    }
    let app = builder
        .plugin(tauri_plugin_dialog::init())
        .plugin(tauri_plugin_window_state::Builder::new().with_state_flags(remembered()).build())
        .manage(requests)
        .menu(menu::build)
        .on_menu_event(|app, event| menu::on_event(app, &event))
        .build(tauri::generate_context!())?;
    tracing::info!("ackscope-desktop {}", env!("CARGO_PKG_VERSION"));
    let title = window::Title::default();
    let (window, splash) = window::open(app.handle(), &title)?;

    let stop = CancellationToken::new();
    let first = recording.map_or(Request::Live, |file| Request::Open(absolute(&file, None)));
    let stage = Stage { app: app.handle().clone(), window, splash, title, plan, json };
    let stopped = CancellationToken::new();
    let ending = signals::Ending { stop: stop.clone(), stopped: stopped.clone() };
    let backend = runtime.spawn({
        let stop = stop.clone();
        async move {
            let _stopped = stopped.drop_guard();
            backend::run(stage, first, received, stop).await
        }
    });
    runtime.spawn(signals::exit_on_signal(app.handle().clone(), ending));

    // Returns when the last window is closed, on the menu's Quit and on a signal.
    app.run_return(|_, _| {});

    stop.cancel();
    let ended = runtime.block_on(async { tokio::time::timeout(SHUTDOWN_LIMIT, backend).await });
    // What still hangs after the limit must not keep the process alive.
    runtime.shutdown_background();
    ended.map_err(|_| ShellError::StopTooSlow)?.map_err(ShellError::BackendPanicked)??;
    Ok(())
}

/// What of the window is found again by the next start.
fn remembered() -> StateFlags {
    StateFlags::SIZE | StateFlags::POSITION | StateFlags::MAXIMIZED | StateFlags::FULLSCREEN
}

/// Somebody started the app while it runs: its window comes forward and shows the recording that was named.
fn started_again(app: &AppHandle, words: &[String], folder: &str) {
    window::bring_forward(app);
    match Args::try_parse_from(words) {
        Ok(Args { recording: Some(file), .. }) => {
            app.state::<Requests>().ask(Request::Open(absolute(&file, Some(Path::new(folder)))));
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("a second start was not understood: {error}"),
    }
}

/// The whole path of a file that was named in `folder`, or in the current one.
fn absolute(file: &Path, folder: Option<&Path>) -> PathBuf {
    let file = folder.map_or_else(|| file.to_owned(), |folder| folder.join(file));
    std::path::absolute(&file).unwrap_or(file)
}

/// WebKit draws nothing through a graphics card that is not there. What tells it so must be in the environment a program
/// starts with, so the program takes its own place; when that fails it says why.
#[cfg(target_os = "linux")]
fn without_graphics_card() -> Option<std::io::Error> {
    use std::os::unix::process::CommandExt as _;
    const VARIABLE: &str = "WEBKIT_DISABLE_DMABUF_RENDERER";
    if Path::new("/dev/dri").exists() || std::env::var_os(VARIABLE).is_some() {
        return None;
    }
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return Some(error),
    };
    let mut again = std::process::Command::new(own);
    again.args(std::env::args_os().skip(1)).env(VARIABLE, "1").env("LIBGL_ALWAYS_SOFTWARE", "1");
    Some(again.exec())
}

/// Tauri panics without a display; this says it in a sentence.
#[cfg(target_os = "linux")]
fn check_display() -> Result<(), ShellError> {
    gtk::init().map_err(|_| ShellError::NoDisplay)
}

#[cfg(not(target_os = "linux"))]
fn check_display() -> Result<(), ShellError> {
    Ok(())
}
