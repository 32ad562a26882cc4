//! The way in from the page.

use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use web_sys::HtmlCanvasElement;

use crate::app::{App, Host};
use crate::connection::{Address, WebSockets};
use crate::theme;

/// Element of the page that says what is drawn.
const STATUS_ELEMENT: &str = "ackscope-status";

/// Starts the interface on a canvas of the page. The harness is where the page came from.
#[wasm_bindgen]
pub async fn start(canvas: HtmlCanvasElement) -> Result<(), JsValue> {
    let url = web_sys::window().ok_or("there is no window")?.location().href()?;
    let address = Address::parse(&url);
    eframe::WebRunner::new()
        .start(
            canvas,
            eframe::WebOptions::default(),
            Box::new(move |creation| {
                theme::install(&creation.egui_ctx);
                Ok(Box::new(App::new(address, Box::new(WebSockets), Box::new(Page))))
            }),
        )
        .await
}

struct Page;

/// Cookie in which the arrangement is kept: the harness takes another port in every run, which to `localStorage` is
/// another place each time. Cookies go by host alone.
const COOKIE: &str = "ackscope_view";
/// For how long, in seconds: a year.
const COOKIE_MAX_AGE_SECS: u32 = 365 * 24 * 3_600;

fn html_document() -> Option<web_sys::HtmlDocument> {
    web_sys::window()?.document()?.dyn_into().ok()
}

/// Cookies cannot hold every character; hexadecimal digits they can.
fn from_hex(text: &str) -> Option<String> {
    let pairs = text.as_bytes().chunks_exact(2);
    let bytes: Option<Vec<u8>> =
        pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    String::from_utf8(bytes?).ok()
}

fn to_hex(text: &str) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        // Writing to a string does not fail.
        write!(hex, "{byte:02x}").unwrap_or_default();
    }
    hex
}

impl Host for Page {
    fn show_status(&mut self, json: &str) {
        if let Some(element) = web_sys::window()
            .and_then(|window| window.document())
            .and_then(|document| document.get_element_by_id(STATUS_ELEMENT))
            .and_then(|element| element.dyn_into::<web_sys::HtmlElement>().ok())
        {
            element.set_text_content(Some(json));
        }
    }

    fn set_title(&mut self, title: &str) {
        if let Some(document) = web_sys::window().and_then(|window| window.document()) {
            document.set_title(title);
        }
    }

    fn remembered(&mut self) -> Option<String> {
        let cookies = html_document()?.cookie().ok()?;
        let value = cookies.split(';').find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))?;
        from_hex(value)
    }

    fn remember(&mut self, text: &str) {
        let cookie = format!("{COOKIE}={}; path=/; max-age={COOKIE_MAX_AGE_SECS}; samesite=strict", to_hex(text));
        // A browser that keeps no cookies begins with the usual layout.
        if let Some(document) = html_document() {
            document.set_cookie(&cookie).unwrap_or_default();
        }
    }
}
