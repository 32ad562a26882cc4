//! What the window shows while no run is there to be shown: how far a start is, and why there is none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tauri::{Url, WebviewWindow};

/// Most lines that are kept for a page that is not there yet.
const LINES_MAX: usize = 200;
/// Scheme of what a click on the page asks for; no such address is ever opened.
pub(crate) const SCHEME: &str = "ackscope";

/// Something that did not work, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    /// What happened.
    pub(crate) what: String,
    /// What it means.
    pub(crate) means: String,
    /// What to do.
    pub(crate) advice: String,
    /// What can be clicked: what is asked for, and its name.
    pub(crate) offers: Vec<(&'static str, &'static str)>,
}

/// Where the page is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Page {
    /// It is being loaded.
    #[default]
    Coming,
    /// It can be told.
    There,
    /// The window shows something else.
    Gone,
}

/// The page. Clones are the same.
#[derive(Clone)]
pub(crate) struct Splash {
    window: WebviewWindow,
    url: Url,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    page: Page,
    heading: String,
    lines: VecDeque<String>,
    failure: Option<Failure>,
}

impl Splash {
    /// The page in this window, which is at `url`.
    pub(crate) fn new(window: WebviewWindow, url: Url) -> Self {
        Self { window, url, state: Arc::default() }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if state.page == Page::There {
            self.draw(&state);
        }
    }

    /// Shows what is known. The page draws all of it each time, so nothing depends on when it was loaded.
    fn draw(&self, state: &State) {
        let drawn = serde_json::json!({
            "heading": state.heading, "lines": state.lines, "failure": state.failure, "scheme": SCHEME
        });
        // JSON is JavaScript, so nothing in the sentences can end it.
        if let Err(error) = self.window.eval(format!("globalThis.ackscope?.draw({drawn})")) {
            tracing::warn!("the start page could not be drawn: {error}");
        }
    }

    /// Brings the page back, empty, under a heading.
    pub(crate) fn show(&self, heading: &str) {
        let mut was_gone = false;
        self.change(|state| {
            was_gone = state.page == Page::Gone;
            let page = if was_gone { Page::Coming } else { state.page };
            *state = State { page, heading: heading.to_owned(), ..State::default() };
        });
        if was_gone && let Err(error) = self.window.navigate(self.url.clone()) {
            tracing::warn!("the start page could not be shown: {error}");
        }
    }

    /// Adds a line on how far a start is.
    pub(crate) fn say(&self, line: &str) {
        tracing::info!("{line}");
        self.change(|state| {
            if state.lines.len() >= LINES_MAX {
                state.lines.pop_front();
            }
            state.lines.push_back(line.to_owned());
        });
    }

    /// Shows why there is nothing to be shown.
    pub(crate) fn fail(&self, failure: Failure) {
        self.change(|state| state.failure = Some(failure));
    }

    /// Another page takes its place; it is told nothing of this one.
    pub(crate) fn leave(&self) {
        self.change(|state| state.page = Page::Gone);
    }

    /// A page has been loaded.
    pub(crate) fn loaded(&self, url: &Url) {
        if url.scheme() == self.url.scheme() && url.host_str() == self.url.host_str() {
            // What was loaded before something else took its place is not there.
            self.change(|state| {
                if state.page == Page::Coming {
                    state.page = Page::There;
                }
            });
        }
    }
}
