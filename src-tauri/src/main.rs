//! The desktop shell: one native window around the interface the harness serves.
//!
//! The harness runs inside this process and serves the interface on loopback; the window shows that address.
//! So the window and a browser (`ackscope serve`) show the very same interface through the same server, and the
//! page needs nothing from the shell: it has no Tauri permission at all.

// A release on Windows is a windowed program, not a console one.
#![cfg_attr(all(windows, not(debug_assertions)), windows_subsystem = "windows")]

mod backend;
mod menu;
mod signals;
mod window;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ackscope_harness::environment::{
    BackendChoice, Settings, SettingsError, TokenKeyError, load_or_create_token_key, token_key_path,
};
use ackscope_harness::host::HostOptions;
use ackscope_harness::recording::{RecordOptions, place};
use clap::Parser;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How long the harness may take to stop and remove what it started, containers included.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);

/// Where the log's filter is read from, as for the command line.
const LOG_VARIABLE: &str = "ACKSCOPE_LOG";

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
    /// Print one JSON object with `chat`, `ui` and `backend` when ready.
    #[arg(long)]
    json: bool,
    /// Keep the embedded backend's files in this folder from run to run. Without it a run starts empty and plays
    /// the built-in tour.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Start empty and do not play the tour.
    #[arg(long)]
    no_tour: bool,
}

/// Why the app could not start or did not end well.
#[derive(Debug, thiserror::Error)]
enum ShellError {
    #[error("there is no display to open a window on; `ackscope serve` shows the same interface in a browser")]
    NoDisplay,
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    TokenKey(#[from] TokenKeyError),
    #[error("the current folder cannot be read: {0}")]
    Folder(std::io::Error),
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
            Self::Settings(_) => ExitCode::from(2),
            Self::Backend(error) if error.is_usage() => ExitCode::from(2),
            _ => ExitCode::from(3),
        }
    }
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            writeln!(std::io::stderr(), "ackscope-desktop: {error}").ok();
            error.exit_code()
        }
    }
}

fn run(args: Args) -> Result<(), ShellError> {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).compact().init();
    let json = args.json;
    let options = host_options(args)?;
    check_display()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("ackscope")
        .enable_all()
        .build()
        .map_err(ShellError::Runtime)?;
    tauri::async_runtime::set(runtime.handle().clone());

    let app = tauri::Builder::default()
        .menu(menu::build)
        .on_menu_event(|app, event| menu::on_event(app, &event))
        .build(tauri::generate_context!())?;
    let window = window::open(app.handle())?;

    let stop = CancellationToken::new();
    let backend = runtime.spawn(backend::run(options, window, json, stop.clone()));
    runtime.spawn(signals::exit_on_signal(app.handle().clone()));

    // Returns when the last window is closed, on the menu's Quit and on a signal.
    app.run_return(|_, _| {});

    stop.cancel();
    let ended = runtime.block_on(async { tokio::time::timeout(SHUTDOWN_LIMIT, backend).await });
    // What still hangs after the limit must not keep the process alive.
    runtime.shutdown_background();
    ended.map_err(|_| ShellError::StopTooSlow)?.map_err(ShellError::BackendPanicked)??;
    Ok(())
}

/// What the flags, the settings file and the environment ask for.
fn host_options(args: Args) -> Result<HostOptions, ShellError> {
    let variable = |name: &str| std::env::var_os(name);
    let flags = Settings { backend: args.backend, data: args.data, ..Settings::default() };
    let folder = std::env::current_dir().map_err(ShellError::Folder)?;
    let settings = Settings::load(flags, &folder, variable)?;
    let default = HostOptions::default();
    Ok(HostOptions {
        environment: settings.environment(),
        chat: settings.chat.unwrap_or(default.chat),
        ui: settings.ui,
        limits: settings.node_limits(),
        unverified_media: settings.unverified_media.unwrap_or_default(),
        // Kept files have a history of their own; the tour would write into it with every start.
        play_tour: !args.no_tour && settings.data.is_none(),
        // The machine's own, so that clients outside can join with `ackscope token`.
        token_key: Some(load_or_create_token_key(&token_key_path(variable)?)?),
        record: record(variable),
        ..default
    })
}

/// What is done in the app is recorded as what `ackscope serve` does is, so that it can be looked at again.
fn record(variable: impl Fn(&str) -> Option<OsString>) -> Option<RecordOptions> {
    match place::options(variable) {
        Ok(options) => options.map(|options| RecordOptions { title: Some("By hand".to_owned()), ..options }),
        Err(no_place) => {
            tracing::warn!("{no_place}");
            None
        }
    }
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
