//! The system's own dialogs.

use ackscope_harness::recording::EXTENSION;
use tauri::{AppHandle, Manager as _, WebviewWindow};
use tauri_plugin_dialog::{DialogExt as _, FileDialogBuilder, FilePath, MessageDialogKind};

use crate::backend::{Request, Requests};
use crate::splash::Failure;
use crate::{log_file, window};

/// Asks for a recording and opens it.
pub(crate) fn open(app: &AppHandle) {
    let requests = app.state::<Requests>().inner().clone();
    recordings(app, "Open a recording").pick_file(move |chosen| {
        if let Some(file) = local(chosen) {
            requests.ask(Request::Open(file));
        }
    });
}

/// Asks for a file and saves what is shown as a recording there.
pub(crate) fn save_as(app: &AppHandle) {
    let requests = app.state::<Requests>().inner().clone();
    let dialog = recordings(app, "Save the recording").set_file_name(format!("run.{EXTENSION}"));
    dialog.save_file(move |chosen| {
        if let Some(mut file) = local(chosen) {
            if file.extension().is_none() {
                file.set_extension(EXTENSION);
            }
            requests.ask(Request::SaveAs(file));
        }
    });
}

fn recordings(app: &AppHandle, title: &str) -> FileDialogBuilder<tauri::Wry> {
    let dialog = app.dialog().file().set_title(title).add_filter("Ackscope recordings", &[EXTENSION]);
    match app.get_webview_window(window::LABEL) {
        Some(window) => dialog.set_parent(&window),
        None => dialog,
    }
}

fn local(chosen: Option<FilePath>) -> Option<std::path::PathBuf> {
    chosen?.into_path().map_err(|error| tracing::warn!("what was chosen is no local file: {error}")).ok()
}

/// Says what did not work while something else is shown.
pub(crate) fn tell_failure(window: &WebviewWindow, failure: &Failure) {
    let Failure { what, means, advice, .. } = failure;
    tell(window, MessageDialogKind::Error, &format!("{what}\n\n{means}\n\n{advice}"));
}

/// Says that a recording is no longer there.
pub(crate) fn tell_missing(window: &WebviewWindow, file: &std::path::Path) {
    let text = format!(
        "{} is no longer there.\n\nIt was moved, renamed or removed, and is taken off the list of recent \
         recordings.\n\nIf you know where it is now, open it with File, Open recording.",
        file.display()
    );
    tell(window, MessageDialogKind::Warning, &text);
}

/// Says where the log is.
pub(crate) fn tell_log(window: &WebviewWindow) {
    let text = match log_file::place() {
        Some(file) => format!(
            "{}\n\nWhat was before is in the same folder, in the file that ends in .1. Start the app with \
             ACKSCOPE_LOG=debug for more.",
            file.display()
        ),
        None => "There is no log file, because neither XDG_STATE_HOME nor HOME is set; standard error has all of it."
            .to_owned(),
    };
    tell(window, MessageDialogKind::Info, &text);
}

fn tell(window: &WebviewWindow, kind: MessageDialogKind, text: &str) {
    window.dialog().message(text).title("Ackscope").kind(kind).parent(window).show(|_| {});
}
