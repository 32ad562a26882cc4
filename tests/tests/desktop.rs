//! The desktop app in a real window, used with keyboard and eyes (S4).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ackscope_harness::viewer::{Pace, Viewer};
use ackscope_tests::screen::bus::Bus;
use ackscope_tests::screen::display::{Display, WindowId};
use ackscope_tests::screen::home::Home;
use ackscope_tests::screen::observer::Observer;
use ackscope_tests::screen::output_dir;
use ackscope_tests::screen::program::{Program, Ready, is_open, record};
use ackscope_tests::screen::story::{choose, fault_story};
use ackscope_tests::screen::waiting::until;

/// Generous: it says that something is wrong, not that something is slow.
const LIMIT: Duration = Duration::from_mins(3);
/// `persisted` of the light theme in `ui/src/theme.rs`.
const PERSISTED: [u8; 3] = [0x1E, 0x92, 0x57];

/// Starts the app and waits until its window shows the harness's interface.
async fn open(display: &Display, home: &Home) -> (Program, Ready, WindowId) {
    let arguments = ["--json", "--no-tour"];
    let mut app = Program::start(home, "ackscope-desktop", &arguments, &display.environment()).unwrap();
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
    let home = Home::new().unwrap();
    let (mut app, ready, window) = open(&display, &home).await;
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
async fn what_was_done_in_the_window_passes_as_a_scenario() {
    let display = Display::start(1440, 900).await.unwrap();
    let home = Home::new().unwrap();
    let (mut app, ready, window) = open(&display, &home).await;
    let mut observer = Observer::connect(&ready.ui, LIMIT).await.unwrap();
    fault_story(&mut &display, &mut observer, &home, "desktop", LIMIT).await.unwrap();
    display.close(window).unwrap();
    assert_gone(&mut app, &ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_closes_the_window_and_everything() {
    let display = Display::start(1000, 700).await.unwrap();
    let home = Home::new().unwrap();
    let (mut app, ready, _) = open(&display, &home).await;
    app.terminate().await.unwrap();
    assert_gone(&mut app, &ready).await;
}

/// A window whose display hangs cannot be closed any more; what runs behind it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_hangs_does_not_keep_the_app_alive() {
    let display = Display::start(1000, 700).await.unwrap();
    let home = Home::new().unwrap();
    let (mut app, ready, _) = open(&display, &home).await;
    display.freeze().await.unwrap();
    app.terminate().await.unwrap();
    let ended = app.end(LIMIT).await.unwrap();
    // It is a matter of the moment whether the window wants an answer of the display before it goes.
    assert!(matches!(ended.code(), Some(0 | 3)), "{ended}");
    for address in ready.addresses() {
        assert!(!is_open(address).await, "{address} is still open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_menus_quit_closes_everything() {
    let display = Display::start(1000, 700).await.unwrap();
    let home = Home::new().unwrap();
    let (mut app, ready, _) = open(&display, &home).await;
    display.press("ctrl+q").await.unwrap();
    assert_gone(&mut app, &ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_display_it_says_so() {
    let home = Home::new().unwrap();
    let nowhere = [("DISPLAY", ":4999"), ("WAYLAND_DISPLAY", ""), ("GDK_BACKEND", "x11")];
    let mut app = Program::start(&home, "ackscope-desktop", &[], &nowhere).unwrap();
    let ended = app.end(LIMIT).await.unwrap();
    assert_eq!(ended.code(), Some(3));
}

/// What the app prints that shows a recording.
#[derive(serde::Deserialize)]
struct Shown {
    ui: String,
}

/// Names a file in the system's dialog.
async fn choose_file(display: &Display, title: &str, file: &Path) {
    let dialog = display.window_titled(title, LIMIT).await.unwrap();
    display.focus(dialog).await.unwrap();
    // The slash brings up the field for a path, or is written into the one that is there. What is typed before the field
    // is there is lost.
    let before = until("a dialog that is drawn", LIMIT, async || {
        let (one, other) = (display.picture().await?, display.picture().await?);
        Ok((one == other).then_some(other))
    });
    let before = before.await.unwrap();
    display.type_text("/").await.unwrap();
    let has_field = async || Ok((display.picture().await?.differs(&before) > 200).then_some(()));
    until("a field for the path", LIMIT, has_field).await.unwrap();
    display.press("ctrl+a").await.unwrap();
    display.type_text(file.to_str().unwrap()).await.unwrap();
    display.press("Return").await.unwrap();
}

/// The recent recordings as the app keeps them.
fn recent(home: &Home) -> Vec<PathBuf> {
    let text = std::fs::read(home.state().join("recent.json")).unwrap_or_else(|_| b"[]".to_vec());
    serde_json::from_slice(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_opened_without_a_backend_and_by_the_systems_dialog() {
    let display = Display::start(1440, 900).await.unwrap();
    let home = Home::new().unwrap();
    let one = record(&home, "tour.yaml", "one.ackrec").await.unwrap();
    let two = home.work().join("two.ackrec");
    std::fs::copy(&one, &two).unwrap();
    // A relative name, as somebody types it.
    let mut app = Program::start(&home, "ackscope-desktop", &["--json", "one.ackrec"], &display.environment()).unwrap();
    let shown: Shown = app.ready_as(LIMIT).await.unwrap();
    let window = display.window_titled("one.ackrec · Ackscope", LIMIT).await.unwrap();
    let observer = Observer::connect(&shown.ui, LIMIT).await.unwrap();
    assert!(observer.environment().reason.starts_with("Recording of"), "{:?}", observer.environment());
    assert_eq!(recent(&home), std::slice::from_ref(&one));

    display.focus(window).await.unwrap();
    display.press("ctrl+o").await.unwrap();
    choose_file(&display, "Open a recording", &two).await;
    let window = display.window_titled("two.ackrec · Ackscope", LIMIT).await.unwrap();
    assert_eq!(recent(&home), [two, one.clone()]);
    display.save_picture(&output_dir().unwrap().join("desktop-recording.png")).await.unwrap();

    // Its run again, as a file of another name.
    display.focus(window).await.unwrap();
    display.press("ctrl+shift+s").await.unwrap();
    let three = home.work().join("three.ackrec");
    choose_file(&display, "Save the recording", &three).await;
    until("the recording is saved", LIMIT, async || {
        Ok((std::fs::read(&three).unwrap_or_default() == std::fs::read(&one).unwrap()).then_some(()))
    })
    .await
    .unwrap();

    // There was no backend until it is asked for.
    display.focus(window).await.unwrap();
    display.press("ctrl+l").await.unwrap();
    let ready = app.ready(LIMIT).await.unwrap();
    display.window_titled("Ackscope · embedded", LIMIT).await.unwrap();
    display.close(window).unwrap();
    assert_gone(&mut app, &ready).await;
    assert!(!is_open(shown.ui.split('/').nth(2).unwrap()).await);
}

/// Waits for a message of the app, keeps its picture, and has read it.
async fn read_message(display: &Display, window: WindowId, name: &str) {
    let message = display.window_with(|title| title == "Ackscope", LIMIT).await.unwrap();
    display.focus(message).await.unwrap();
    display.save_picture(&output_dir().unwrap().join(name)).await.unwrap();
    display.press("Return").await.unwrap();
    until("no message", LIMIT, async || {
        Ok(display.titles().await?.iter().all(|title| title != "Ackscope").then_some(()))
    })
    .await
    .unwrap();
    display.focus(window).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_run_is_saved_found_among_the_recent_ones_and_missed_when_it_is_gone() {
    let display = Display::start(1000, 700).await.unwrap();
    let home = Home::new().unwrap();
    let (mut app, ready, window) = open(&display, &home).await;
    let mut observer = Observer::connect(&ready.ui, LIMIT).await.unwrap();
    display.press("ctrl+1").await.unwrap();
    display.type_text("kept in a file").await.unwrap();
    display.press("Return").await.unwrap();
    observer.persisted("kept in a file", LIMIT).await.unwrap();

    display.press("ctrl+shift+s").await.unwrap();
    let saved = home.work().join("live.ackrec");
    choose_file(&display, "Save the recording", &saved).await;
    let is_remembered = async || Ok((recent(&home) == std::slice::from_ref(&saved)).then_some(()));
    until("the recording among the recent ones", LIMIT, is_remembered).await.unwrap();

    // File, Open recent, the first one.
    let open_recent = async || {
        display.focus(window).await.unwrap();
        display.press("alt+f").await.unwrap();
        display.press("r").await.unwrap();
        display.press("Return").await.unwrap();
    };
    open_recent().await;
    display.window_titled("live.ackrec · Ackscope", LIMIT).await.unwrap();
    let viewer = Viewer::open(saved.clone(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Pace::Follow).await.unwrap();
    let mut observer = Observer::connect(viewer.ui_url(), LIMIT).await.unwrap();
    observer.persisted("kept in a file", LIMIT).await.unwrap();
    viewer.shutdown().await;

    std::fs::remove_file(&saved).unwrap();
    open_recent().await;
    read_message(&display, window, "desktop-missing.png").await;
    assert_eq!(recent(&home), <[PathBuf; 0]>::default());

    display.press("alt+h").await.unwrap();
    display.press("l").await.unwrap();
    read_message(&display, window, "desktop-log.png").await;
    display.close(window).unwrap();
    assert_gone(&mut app, &ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_recording_is_refused_with_advice() {
    let display = Display::start(1000, 700).await.unwrap();
    let home = Home::new().unwrap();
    std::fs::write(home.work().join("no.ackrec"), "this is no recording").unwrap();
    let mut app = Program::start(&home, "ackscope-desktop", &["no.ackrec"], &display.environment()).unwrap();
    let window = display.window_titled("Ackscope · not started", LIMIT).await.unwrap();
    display.save_picture(&output_dir().unwrap().join("desktop-no-recording.png")).await.unwrap();
    assert_eq!(recent(&home), <[PathBuf; 0]>::default());
    display.close(window).unwrap();
    assert_eq!(app.end(LIMIT).await.unwrap().code(), Some(2));

    let mut app = Program::start(&home, "ackscope-desktop", &["--json", "no.ackrec"], &display.environment()).unwrap();
    assert_eq!(app.end(LIMIT).await.unwrap().code(), Some(2), "a script is told at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_shows_its_recording_in_the_first_window() {
    let display = Display::start(1000, 700).await.unwrap();
    let bus = Bus::start().await.unwrap();
    let home = Home::with_bus(bus.address().to_owned()).unwrap();
    let one = record(&home, "tour.yaml", "one.ackrec").await.unwrap();
    std::fs::copy(&one, home.work().join("two.ackrec")).unwrap();
    let start = |file: &str| Program::start(&home, "ackscope-desktop", &[file], &display.environment()).unwrap();
    let mut first = start("one.ackrec");
    display.window_titled("one.ackrec · Ackscope", LIMIT).await.unwrap();
    let mut second = start("two.ackrec");
    assert!(second.end(LIMIT).await.unwrap().success(), "the second hands over and ends");
    let window = display.window_titled("two.ackrec · Ackscope", LIMIT).await.unwrap();
    let named = display.titles().await.unwrap().into_iter().filter(|title| title.contains("ackrec")).count();
    assert_eq!(named, 1, "one window is there");
    display.close(window).unwrap();
    assert!(first.end(LIMIT).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn size_and_look_are_found_again_by_the_next_start() {
    let home = Home::new().unwrap();
    let display = Display::start(1440, 900).await.unwrap();
    let (mut app, ready, window) = open(&display, &home).await;
    let bright = display.picture().await.unwrap().brightness();
    choose(&mut &display, "look: dark", LIMIT).await.unwrap();
    until("it is dark", LIMIT, async || Ok((display.picture().await?.brightness() < bright / 2.0).then_some(())))
        .await
        .unwrap();
    display.resize(window, 1111, 777).await.unwrap();
    until("it is smaller", LIMIT, async || Ok((display.size(window).await? == (1111, 777)).then_some(())))
        .await
        .unwrap();
    display.close(window).unwrap();
    assert_gone(&mut app, &ready).await;

    // The interface is at another port now, which to a browser is another place.
    let (mut app, again, window) = open(&display, &home).await;
    assert_ne!(again.ui, ready.ui);
    assert_eq!(display.size(window).await.unwrap(), (1111, 777));
    until("it is dark again", LIMIT, async || Ok((display.picture().await?.brightness() < bright / 2.0).then_some(())))
        .await
        .unwrap();
    display.save_picture(&output_dir().unwrap().join("desktop-again.png")).await.unwrap();
    display.close(window).unwrap();
    assert_gone(&mut app, &again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_does_not_start_is_explained_and_another_one_offered() {
    let display = Display::start(1000, 700).await.unwrap();
    let home = Home::new().unwrap();
    let mut environment = display.environment().to_vec();
    environment.extend([
        ("ACKSCOPE_MONGODB_URI", "mongodb://127.0.0.1:1/?directConnection=true&serverSelectionTimeoutMS=1000"),
        ("ACKSCOPE_REDIS_URL", "redis://127.0.0.1:1"),
        ("ACKSCOPE_KAFKA_BROKERS", "127.0.0.1:1"),
    ]);
    let arguments = ["--backend", "external", "--no-tour"];
    let mut app = Program::start(&home, "ackscope-desktop", &arguments, &environment).unwrap();
    let window = display.window_titled("Ackscope · not started", LIMIT).await.unwrap();
    display.save_picture(&output_dir().unwrap().join("desktop-not-started.png")).await.unwrap();
    // The first offer is to try again; the second one is the embedded backend.
    display.focus(window).await.unwrap();
    display.press("Tab").await.unwrap();
    display.press("Return").await.unwrap();
    let window = display.window_titled("Ackscope · embedded", LIMIT).await.unwrap();
    display.close(window).unwrap();
    assert!(app.end(LIMIT).await.unwrap().success());
    let log = std::fs::read_to_string(home.state().join("log/ackscope-desktop.log")).unwrap();
    assert!(log.contains("127.0.0.1:1") && log.contains("backend embedded"), "{log}");
    assert!(!log.contains("token="), "the log gives no access to the interface: {log}");
}
