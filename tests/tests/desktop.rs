//! The desktop app in a real window, used with keyboard and eyes (S4).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use ackscope_tests::screen::display::{Display, WindowId};
use ackscope_tests::screen::observer::Observer;
use ackscope_tests::screen::output_dir;
use ackscope_tests::screen::program::{Program, Ready, is_open};
use ackscope_tests::screen::waiting::until;

/// Generous: it says that something is wrong, not that something is slow.
const LIMIT: Duration = Duration::from_mins(1);
/// `persisted` of the light theme in `ui/src/theme.rs`.
const PERSISTED: [u8; 3] = [0x1E, 0x92, 0x57];

/// Starts the app and waits until its window shows the harness's interface.
async fn open(display: &Display) -> (Program, Ready, WindowId) {
    let mut app = Program::start("ackscope-desktop", &["--json", "--no-tour"], &display.environment()).unwrap();
    let ready = app.ready(LIMIT).await.unwrap();
    let backend = format!("Ackscope · {}", ready.backend.as_str());
    let window = display.window_titled(&backend, LIMIT).await.unwrap();
    display.focus(window).await.unwrap();
    (app, ready, window)
}

/// Waits until the app has ended well and nothing of it listens.
async fn assert_gone(app: &mut Program, ready: &Ready) {
    let ended = app.end(LIMIT).await.unwrap();
    assert!(ended.success(), "{ended}");
    for address in ready.addresses() {
        assert!(!is_open(address).await, "{address} is still open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_typed_into_the_window_is_drawn_persisted_and_the_window_closes_everything() {
    let text = "hello from the window";
    let display = Display::start(1440, 900).await.unwrap();
    let (mut app, ready, window) = open(&display).await;
    let mut observer = Observer::connect(&ready.ui, LIMIT).await.unwrap();
    let before = display.count_pixels(PERSISTED).await.unwrap();

    display.type_text(text).await.unwrap();
    display.press("Return").await.unwrap();

    observer.persisted(text, LIMIT).await.unwrap();
    until("the window draws the message as persisted", LIMIT, async || {
        Ok((display.count_pixels(PERSISTED).await? > before).then_some(()))
    })
    .await
    .unwrap();
    display.save_picture(&output_dir().unwrap().join("desktop.png")).await.unwrap();

    display.close(window).unwrap();
    assert_gone(&mut app, &ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_closes_the_window_and_everything() {
    let display = Display::start(1000, 700).await.unwrap();
    let (mut app, ready, _) = open(&display).await;
    app.terminate().await.unwrap();
    assert_gone(&mut app, &ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_menus_quit_closes_everything() {
    let display = Display::start(1000, 700).await.unwrap();
    let (mut app, ready, _) = open(&display).await;
    display.press("ctrl+q").await.unwrap();
    assert_gone(&mut app, &ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_display_it_says_so() {
    let nowhere = [("DISPLAY", ":4999"), ("WAYLAND_DISPLAY", ""), ("GDK_BACKEND", "x11")];
    let mut app = Program::start("ackscope-desktop", &[], &nowhere).unwrap();
    let ended = app.end(LIMIT).await.unwrap();
    assert_eq!(ended.code(), Some(3));
}
