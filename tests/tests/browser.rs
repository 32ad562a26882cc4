//! The interface in a browser, as somebody uses it who ran `ackscope serve` (S4).

use std::time::Duration;

use ackscope_protocol::control::BackendKind;
use ackscope_tests::screen::chromium::Chromium;
use ackscope_tests::screen::observer::Observer;
use ackscope_tests::screen::output_dir;
use ackscope_tests::screen::program::{Program, is_open};
use ackscope_tests::screen::waiting::until;
use serde_json::{Value, json};

/// Generous: it says that something is wrong, not that something is slow.
const LIMIT: Duration = Duration::from_mins(1);

/// What the interface says that it draws.
async fn status(browser: &mut Chromium) -> anyhow::Result<Value> {
    let text = browser.evaluate("document.getElementById('ackscope-status')?.textContent ?? ''").await?;
    Ok(serde_json::from_str(text.as_str().unwrap_or_default()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_typed_into_the_page_is_drawn_persisted() {
    let text = "hello from the browser";
    let arguments = ["serve", "--backend", "embedded", "--chat", "127.0.0.1:0", "--ui", "127.0.0.1:0", "--json"];
    let mut serve = Program::start("ackscope", &arguments, &[]).unwrap();
    let ready = serve.ready(LIMIT).await.unwrap();
    assert_eq!(ready.backend, BackendKind::Embedded);
    let mut observer = Observer::connect(&ready.ui, LIMIT).await.unwrap();

    let mut browser = Chromium::open(&ready.ui, 1440, 900).await.unwrap();
    let before = until("the page shows the first users", LIMIT, async || {
        let status = status(&mut browser).await?;
        Ok((status["connected"] == json!(true) && status["users"].as_u64() >= Some(1)).then_some(status))
    })
    .await
    .unwrap();

    browser.insert_text(text).await.unwrap();
    browser.press_enter().await.unwrap();

    let message = observer.persisted(text, LIMIT).await.unwrap();
    let after = until("the page draws the message as persisted", LIMIT, async || {
        let status = status(&mut browser).await?;
        let lane = &status["last_lane"];
        Ok((lane["text"] == json!(text) && lane["state"] == json!("persisted")).then_some(status))
    })
    .await
    .unwrap();
    assert_eq!(after["last_lane"]["sender"], json!(message.sender));
    assert_eq!(after["lanes"].as_u64(), before["lanes"].as_u64().map(|lanes| lanes + 1), "one lane, not two");
    std::fs::write(output_dir().unwrap().join("browser.png"), browser.picture().await.unwrap()).unwrap();

    serve.terminate().await.unwrap();
    let ended = serve.end(LIMIT).await.unwrap();
    assert!(ended.success(), "{ended}");
    for address in ready.addresses() {
        assert!(!is_open(address).await, "{address} is still open");
    }
}
