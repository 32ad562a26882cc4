//! The one window.

use tauri::webview::NewWindowResponse;
use tauri::{AppHandle, Url, WebviewUrl, WebviewWindow, WebviewWindowBuilder};

/// The window's name inside Tauri.
pub(crate) const LABEL: &str = "main";

/// Opens the window with the splash page, which stays until the harness answers.
pub(crate) fn open(app: &AppHandle) -> tauri::Result<WebviewWindow> {
    WebviewWindowBuilder::new(app, LABEL, WebviewUrl::App("index.html".into()))
        .title("Ackscope")
        // The interface's own title says which backend runs and whether the harness is there.
        .on_document_title_changed(|window, title| {
            if let Err(error) = window.set_title(&title) {
                tracing::warn!("the window keeps its old title: {error}");
            }
        })
        .inner_size(1440.0, 900.0)
        .min_inner_size(900.0, 560.0)
        .center()
        // The page is handed files by the browser engine itself.
        .disable_drag_drop_handler()
        .on_navigation(is_ours)
        .on_new_window(|_, _| NewWindowResponse::Deny)
        .build()
}

/// Replaces the splash page's text by `sentence`.
pub(crate) fn show_failure(window: &WebviewWindow, sentence: &str) -> tauri::Result<()> {
    // A JSON string is a JavaScript string, so nothing in the sentence can end it.
    let text = serde_json::Value::from(sentence);
    window.eval(format!("document.getElementById('state').textContent = {text};"))
}

/// Whether the window may show `url`: the splash page and servers of this machine, nothing from elsewhere.
fn is_ours(url: &Url) -> bool {
    match url.scheme() {
        "tauri" => true,
        // `tauri.localhost` is the splash page on Windows.
        "http" => matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "tauri.localhost")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_shown() {
        for (address, shown) in [
            ("http://127.0.0.1:4000/?token=x", true),
            ("http://[::1]:4000/", true),
            ("tauri://localhost/index.html", true),
            ("http://example.org/", false),
            ("https://127.0.0.1.example.org/", false),
            ("http://127.0.0.1.example.org/", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(is_ours(&address.parse().expect("a URL")), shown, "{address}");
        }
    }
}
