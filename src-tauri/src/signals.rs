//! Ctrl-C and its relatives end the app the way closing the window does, so that nothing is left behind.

use std::io::Write as _;
use std::time::Duration;

use tauri::AppHandle;
use tokio_util::sync::CancellationToken;

use crate::SHUTDOWN_LIMIT;

/// How long the event loop may take to end before it counts as hanging.
const EVENT_LOOP_LIMIT: Duration = Duration::from_secs(10);

/// What is left to do when the event loop does not end.
pub(crate) struct Ending {
    /// Asks the backend to stop.
    pub(crate) stop: CancellationToken,
    /// The backend has stopped.
    pub(crate) stopped: CancellationToken,
}

/// Waits for a signal that asks the process to end, then ends the event loop. One that hangs, as it does when the display
/// does not answer, takes the process with it, after a while or with the next signal; the backend is stopped all the same.
pub(crate) async fn exit_on_signal(app: AppHandle, ending: Ending) {
    if let Err(error) = asked_to_end().await {
        tracing::warn!("signals cannot be heard; only closing the window ends the app: {error}");
        return;
    }
    app.exit(0);
    // The process ends in here as a rule, and the task with it.
    let (Ok(_) | Err(_)) = tokio::time::timeout(EVENT_LOOP_LIMIT, asked_to_end()).await;
    if ending.stop.is_cancelled() {
        // The event loop has ended; the backend takes its time.
        return;
    }
    ending.stop.cancel();
    let (Ok(()) | Err(_)) = tokio::time::timeout(SHUTDOWN_LIMIT, ending.stopped.cancelled()).await;
    writeln!(std::io::stderr(), "ackscope-desktop: the window does not answer; the app ends without it").ok();
    std::process::exit(3);
}

#[cfg(unix)]
async fn asked_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome?,
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

#[cfg(not(unix))]
async fn asked_to_end() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
