//! The way in from the page.

use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use web_sys::HtmlCanvasElement;

use crate::app::{App, Host};
use crate::connection::{Address, WebSockets};

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
                Ok(Box::new(App::new(&creation.egui_ctx, address, Box::new(WebSockets), Box::new(Page))))
            }),
        )
        .await
}

struct Page;

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
}
