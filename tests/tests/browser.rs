//! The interface in a browser, as somebody uses it who ran `ackscope serve` (S4).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use ackscope_protocol::control::BackendKind;
use ackscope_tests::screen::chromium::Chromium;
use ackscope_tests::screen::home::Home;
use ackscope_tests::screen::observer::Observer;
use ackscope_tests::screen::output_dir;
use ackscope_tests::screen::program::{Program, Ready, is_open};
use ackscope_tests::screen::story::fault_story;
use ackscope_tests::screen::waiting::until;
use serde_json::{Value, json};

/// Generous: it says that something is wrong, not that something is slow.
const LIMIT: Duration = Duration::from_mins(3);

/// What the interface says that it draws.
async fn status(browser: &mut Chromium) -> anyhow::Result<Value> {
    let text = browser.evaluate("document.getElementById('ackscope-status')?.textContent ?? ''").await?;
    Ok(serde_json::from_str(text.as_str().unwrap_or_default()).unwrap_or_default())
}

/// Starts the harness and waits until it serves.
async fn serve(home: &Home) -> (Program, Ready) {
    let arguments = ["serve", "--backend", "embedded", "--chat", "127.0.0.1:0", "--ui", "127.0.0.1:0", "--json"];
    let mut serve = Program::start(home, "ackscope", &arguments, &[]).unwrap();
    let ready = serve.ready(LIMIT).await.unwrap();
    assert_eq!(ready.backend, BackendKind::Embedded);
    (serve, ready)
}

/// Waits until the page shows the first users; what it says then.
async fn first_users(browser: &mut Chromium) -> Value {
    until("the page shows the first users", LIMIT, async || {
        let status = status(browser).await?;
        Ok((status["connected"] == json!(true) && status["users"].as_u64() >= Some(1)).then_some(status))
    })
    .await
    .unwrap()
}

/// Ends the harness; nothing of it may listen then.
async fn end(serve: &mut Program, ready: &Ready) {
    serve.terminate().await.unwrap();
    let ended = serve.end(LIMIT).await.unwrap();
    assert!(ended.success(), "{ended}");
    for address in ready.addresses() {
        assert!(!is_open(address).await, "{address} is still open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_typed_into_the_page_is_drawn_persisted() {
    let text = "hello from the browser";
    let home = Home::new().unwrap();
    let (mut serve, ready) = serve(&home).await;
    let mut observer = Observer::connect(&ready.ui, LIMIT).await.unwrap();

    let mut browser = Chromium::open(&ready.ui, 1440, 900).await.unwrap();
    let before = first_users(&mut browser).await;

    browser.insert_text(text).await.unwrap();
    browser.press("Return").await.unwrap();

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
    browser.picture().await.unwrap().save(&output_dir().unwrap().join("browser.png")).unwrap();
    end(&mut serve, &ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_comes_compressed_and_the_browser_keeps_it() {
    let home = Home::new().unwrap();
    let (mut serve, ready) = serve(&home).await;
    // The time from the address to the first frame that is the interface's own.
    let watch = "new MutationObserver(() => {
        if (document.getElementById('message')?.hidden) {
            requestAnimationFrame(() => requestAnimationFrame(() => { window.paintedMs ??= performance.now(); }));
        }
    }).observe(document, { subtree: true, childList: true, attributes: true });";
    let mut browser = Chromium::open("about:blank", 1440, 900).await.unwrap();
    browser.reopen(&ready.ui, watch).await.unwrap();
    let first = painted(&mut browser).await;
    browser.reopen(&ready.ui, watch).await.unwrap();
    let again = painted(&mut browser).await;
    for (which, visit) in [("first visit", &first), ("again", &again)] {
        let Visit { painted_ms, sent_bytes, decoded_bytes, .. } = visit;
        println!("{which}: first frame after {painted_ms:.0} ms, {sent_bytes} of {decoded_bytes} bytes sent");
    }

    assert!(first.decoded_bytes > 1_000_000, "{first:?}");
    assert!(first.encoded_bytes * 2 < first.decoded_bytes, "{first:?}");
    assert!(first.sent_bytes > first.encoded_bytes, "{first:?}");
    assert!(again.sent_bytes < 10_000, "what the browser has was sent again: {again:?}");
    end(&mut serve, &ready).await;
}

/// A visit: when the first frame was there, and what the page loaded of script and program.
#[derive(Debug, serde::Deserialize)]
struct Visit {
    painted_ms: f64,
    sent_bytes: u64,
    encoded_bytes: u64,
    decoded_bytes: u64,
}

async fn painted(browser: &mut Chromium) -> Visit {
    let visit = "(() => {
        if (!window.paintedMs) return null;
        const all = performance.getEntriesByType('resource').filter(({ name }) => /\\.(js|wasm)$/.test(name));
        const sum = (field) => all.reduce((sum, entry) => sum + entry[field], 0);
        return { painted_ms: window.paintedMs, sent_bytes: sum('transferSize'),
            encoded_bytes: sum('encodedBodySize'), decoded_bytes: sum('decodedBodySize') };
    })()";
    until("the first frame", LIMIT, async || Ok(serde_json::from_value(browser.evaluate(visit).await?)?)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_in_the_page_passes_as_a_scenario() {
    let home = Home::new().unwrap();
    let (mut serve, ready) = serve(&home).await;
    let mut observer = Observer::connect(&ready.ui, LIMIT).await.unwrap();
    let mut browser = Chromium::open(&ready.ui, 1440, 900).await.unwrap();
    first_users(&mut browser).await;
    fault_story(&mut browser, &mut observer, &home, "browser", LIMIT).await.unwrap();
    end(&mut serve, &ready).await;
}
