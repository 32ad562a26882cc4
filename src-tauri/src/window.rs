//! The one window.

use std::sync::{Arc, Mutex, PoisonError};

use tauri::webview::{NewWindowResponse, PageLoadEvent};
use tauri::{AppHandle, Manager as _, Url, WebviewUrl, WebviewWindow, WebviewWindowBuilder};

use crate::backend;
use crate::splash::{SCHEME, Splash};

/// The window's name inside Tauri.
pub(crate) const LABEL: &str = "main";

/// What the window is called: what the page says, after the name of the recording that is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Title(Arc<Mutex<Option<String>>>);

impl Title {
    /// Sets the name of what is shown.
    pub(crate) fn name(&self, name: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    fn of(&self, page: &str) -> String {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(name) => format!("{name} · {page}"),
            None => page.to_owned(),
        }
    }
}

/// Opens the window with the start page, which stays until there is a run to be shown.
pub(crate) fn open(app: &AppHandle, title: &Title) -> tauri::Result<(WebviewWindow, Splash)> {
    let clicks = app.clone();
    let named = title.clone();
    let window = WebviewWindowBuilder::new(app, LABEL, WebviewUrl::App("index.html".into()))
        .title("Ackscope")
        // The interface's own title says which backend runs and whether the harness is there.
        .on_document_title_changed(move |window, page| {
            if let Err(error) = window.set_title(&named.of(&page)) {
                tracing::warn!("the window keeps its old title: {error}");
            }
        })
        .inner_size(1440.0, 900.0)
        .min_inner_size(900.0, 560.0)
        // Not larger than the screen: the menu would be beyond its edge.
        .prevent_overflow()
        .center()
        // The page is handed files by the browser engine itself.
        .disable_drag_drop_handler()
        .on_navigation(move |url| {
            if url.scheme() == SCHEME {
                backend::clicked(&clicks, url.path());
                return false;
            }
            is_ours(url)
        })
        .on_new_window(|_, _| NewWindowResponse::Deny)
        .on_page_load(|window, load| {
            if load.event() == PageLoadEvent::Finished
                && let Some(splash) = window.try_state::<Splash>()
            {
                splash.loaded(load.url());
            }
        })
        .build()?;
    let splash = Splash::new(window.clone(), window.url()?);
    app.manage(splash.clone());
    Ok((window, splash))
}

/// Brings the window before the others: somebody started the app once more.
pub(crate) fn bring_forward(app: &AppHandle) {
    let Some(window) = app.get_webview_window(LABEL) else { return };
    if let Err(error) = window.unminimize().and_then(|()| window.show()).and_then(|()| window.set_focus()) {
        tracing::warn!("the window could not be brought forward: {error}");
    }
}

/// Whether the window may show `url`: the start page and servers of this machine, nothing from elsewhere.
fn is_ours(url: &Url) -> bool {
    match url.scheme() {
        "tauri" => true,
        // `tauri.localhost` is the start page on Windows.
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
            ("ackscope:quit", false),
        ] {
            assert_eq!(is_ours(&address.parse().expect("a URL")), shown, "{address}");
        }
    }

    #[test]
    fn a_recording_is_named_in_the_title() {
        let title = Title::default();
        assert_eq!(title.of("Ackscope · embedded"), "Ackscope · embedded");
        title.name(Some("run.ackrec".to_owned()));
        assert_eq!(title.of("Ackscope · embedded"), "run.ackrec · Ackscope · embedded");
    }
}
