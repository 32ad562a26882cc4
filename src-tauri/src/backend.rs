//! The harness's life inside the app: start, show, wait, stop.

use std::io::Write as _;

use ackscope_harness::host::{Host, HostError, HostOptions};
use tauri::{Url, WebviewWindow};
use tokio_util::sync::CancellationToken;

use crate::window;

/// Why the backend could not start or be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    #[error(transparent)]
    Start(#[from] HostError),
    #[error("the interface's address `{0}` is no URL")]
    Address(String),
    #[error("the window could not show the interface: {0}")]
    Show(#[from] tauri::Error),
    #[error("the ready line could not be written to standard output: {0}")]
    Output(#[from] std::io::Error),
}

impl BackendError {
    /// Whether the request was wrong, rather than the environment.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::Start(error) if error.is_usage())
    }
}

/// Runs the harness and shows its interface in `window` until `stop`.
///
/// When it cannot start and somebody looks at the window, the window says why and stays until it is closed;
/// a script (`json`) gets its answer at once.
pub(crate) async fn run(
    options: HostOptions,
    window: WebviewWindow,
    json: bool,
    stop: CancellationToken,
) -> Result<(), BackendError> {
    let outcome = run_until(options, &window, json, &stop).await;
    if let Err(error) = &outcome {
        if json {
            window.close()?;
        } else {
            window::show_failure(&window, &error.to_string())?;
            stop.cancelled().await;
        }
    }
    outcome
}

async fn run_until(
    options: HostOptions,
    window: &WebviewWindow,
    json: bool,
    stop: &CancellationToken,
) -> Result<(), BackendError> {
    let host = tokio::select! {
        host = Host::start(options) => host?,
        // Closed while it was starting: dropping the start undoes what it did so far.
        () = stop.cancelled() => return Ok(()),
    };
    let shown = show(&host, window, json);
    if shown.is_ok() {
        stop.cancelled().await;
    }
    host.shutdown().await;
    shown
}

fn show(host: &Host, window: &WebviewWindow, json: bool) -> Result<(), BackendError> {
    let url = Url::parse(host.ui_url()).map_err(|_| BackendError::Address(host.ui_url().to_owned()))?;
    window.navigate(url)?;
    if json {
        let ready = serde_json::json!({
            "chat": host.chat_url(),
            "ui": host.ui_url(),
            "backend": host.environment().backend.as_str(),
        });
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{ready}")?;
        stdout.flush()?;
    }
    Ok(())
}
