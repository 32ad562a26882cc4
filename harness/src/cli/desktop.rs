//! `ackscope desktop`: the app when it is there and can be shown, else the interface in a browser.

use std::path::PathBuf;

use anyhow::Context as _;

use super::args::{DesktopArgs, RecordArgs, load_settings};
use super::serve::serve_with;
use super::{Exit, Outcome};

/// The app's program, which stands next to this one.
const APP: &str = if cfg!(windows) { "ackscope-desktop.exe" } else { "ackscope-desktop" };

/// Opens the app, or serves the interface and says why.
pub(crate) async fn desktop(args: DesktopArgs) -> Outcome {
    let settings = load_settings(args.backend.flags_with(&args.limits))?;
    let why = match (app(), has_display()) {
        (Some(app), true) => {
            let mut command = tokio::process::Command::new(&app);
            command.envs(settings.variables());
            let status = command.status().await.with_context(|| format!("{} could not be started", app.display()))?;
            return Ok(if status.success() { Exit::Pass } else { Exit::Inconclusive });
        }
        (None, _) => format!("There is no {APP} next to this program, so the interface is served for a browser."),
        (_, false) => "There is no display, so the interface is served for a browser.".to_owned(),
    };
    serve_with(settings, &RecordArgs::default(), false, Some(&why)).await
}

fn app() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join(APP);
    path.is_file().then_some(path)
}

/// Whether a window could be shown. Only Linux has machines that cannot.
fn has_display() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(target_os = "linux") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}
