//! The native menu. What belongs to the chat is in the interface; this is what belongs to the window.

use tauri::menu::{AboutMetadata, Menu, MenuBuilder, MenuEvent, MenuItem, SubmenuBuilder};
use tauri::{AppHandle, Manager as _, Wry};

use crate::window;

/// Zoom factors the View menu steps through, as in a browser.
const ZOOM_STEPS: [f64; 9] = [0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0];

/// Where zooming starts: the index of 1.0.
const ZOOM_NORMAL: usize = 4;

/// The window's zoom, as an index into [`ZOOM_STEPS`].
struct Zoom(std::sync::atomic::AtomicUsize);

/// Builds the menu.
pub(crate) fn build(app: &AppHandle) -> tauri::Result<Menu<Wry>> {
    app.manage(Zoom(ZOOM_NORMAL.into()));
    let item = |id: &str, text: &str, keys: &str| MenuItem::with_id(app, id, text, true, Some(keys));
    let about = AboutMetadata {
        name: Some("Ackscope".to_owned()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        comments: Some("A simulator and test harness for a chat backend, with the whole backend inside it".to_owned()),
        license: Some(env!("CARGO_PKG_LICENSE").to_owned()),
        website: Some(env!("CARGO_PKG_REPOSITORY").to_owned()),
        icon: app.default_window_icon().cloned(),
        ..AboutMetadata::default()
    };
    let file = SubmenuBuilder::new(app, "&File").item(&item("quit", "&Quit", "CmdOrCtrl+Q")?).build()?;
    let view = SubmenuBuilder::new(app, "&View")
        .item(&item("reload", "&Reload", "CmdOrCtrl+R")?)
        .separator()
        .item(&item("zoom_in", "Zoom &in", "CmdOrCtrl+=")?)
        .item(&item("zoom_out", "Zoom &out", "CmdOrCtrl+-")?)
        .item(&item("zoom_normal", "&Actual size", "CmdOrCtrl+0")?)
        .separator()
        .item(&item("full_screen", "&Full screen", "F11")?)
        .build()?;
    let help = SubmenuBuilder::new(app, "&Help").about_with_text("&About Ackscope", Some(about)).build()?;
    let menu = MenuBuilder::new(app).item(&file);
    if cfg!(target_os = "macos") {
        // There the keys for copy and paste exist only as menu items.
        let edit = SubmenuBuilder::new(app, "Edit").undo().redo().separator().cut().copy().paste().select_all();
        return menu.item(&edit.build()?).items(&[&view, &help]).build();
    }
    menu.items(&[&view, &help]).build()
}

/// Carries out what was chosen.
pub(crate) fn on_event(app: &AppHandle, event: &MenuEvent) {
    let id = event.id().as_ref();
    if id == "quit" {
        app.exit(0);
        return;
    }
    let Some(window) = app.get_webview_window(window::LABEL) else { return };
    let outcome = match id {
        "reload" => window.reload(),
        "zoom_in" | "zoom_out" | "zoom_normal" => window.set_zoom(next_zoom(app, id)),
        "full_screen" => window.is_fullscreen().and_then(|on| window.set_fullscreen(!on)),
        _ => Ok(()),
    };
    if let Err(error) = outcome {
        // The window goes on as it is; there is nothing to undo.
        tracing::warn!("the menu's `{id}` failed: {error}");
    }
}

fn next_zoom(app: &AppHandle, id: &str) -> f64 {
    use std::sync::atomic::Ordering::Relaxed;
    let zoom = app.state::<Zoom>();
    let now = zoom.0.load(Relaxed);
    let next = match id {
        "zoom_in" => (now + 1).min(ZOOM_STEPS.len() - 1),
        "zoom_out" => now.saturating_sub(1),
        _ => ZOOM_NORMAL,
    };
    zoom.0.store(next, Relaxed);
    ZOOM_STEPS[next]
}
