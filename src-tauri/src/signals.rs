//! Ctrl-C and its relatives end the app the way closing the window does, so that nothing is left behind.

use tauri::AppHandle;

/// Waits for a signal that asks the process to end, then ends the event loop.
pub(crate) async fn exit_on_signal(app: AppHandle) {
    match ended_by_signal().await {
        Ok(()) => app.exit(0),
        Err(error) => tracing::warn!("signals cannot be heard; only closing the window ends the app: {error}"),
    }
}

#[cfg(unix)]
async fn ended_by_signal() -> std::io::Result<()> {
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
async fn ended_by_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
