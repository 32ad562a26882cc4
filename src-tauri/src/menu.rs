//! The native menu. What belongs to the chat is in the interface; this is what belongs to the window and to files.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};

use tauri::menu::{AboutMetadata, Menu, MenuBuilder, MenuEvent, MenuItem, PredefinedMenuItem, Submenu, SubmenuBuilder};
use tauri::{AppHandle, Manager as _, Wry};

use crate::backend::{Request, Requests};
use crate::recent::Recent;
use crate::{dialogs, window};

/// Zoom factors the View menu steps through, as in a browser.
const ZOOM_STEPS: [f64; 9] = [0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0];

/// Where zooming starts: the index of 1.0.
const ZOOM_NORMAL: usize = 4;

/// What the id of an entry of the recent recordings begins with; its place in the list follows.
const RECENT: &str = "recent:";

/// The window's zoom, as an index into [`ZOOM_STEPS`].
struct Zoom(AtomicUsize);

/// The recent recordings and the menu that shows them.
struct RecentMenu {
    menu: Submenu<Wry>,
    recent: Mutex<Recent>,
}

/// Builds the menu.
pub(crate) fn build(app: &AppHandle) -> tauri::Result<Menu<Wry>> {
    app.manage(Zoom(ZOOM_NORMAL.into()));
    let item =
        |id: &str, text: &str, keys: &str| MenuItem::with_id(app, id, text, true, (!keys.is_empty()).then_some(keys));
    let recent_menu = SubmenuBuilder::new(app, "Open &recent").build()?;
    let mut recent = Recent::load();
    for gone in recent.drop_missing() {
        tracing::info!("{} is no longer there and not among the recent recordings", gone.display());
    }
    fill(app, &recent_menu, recent.paths())?;
    let file = SubmenuBuilder::new(app, "&File")
        .item(&item("open", "&Open recording…", "CmdOrCtrl+O")?)
        .item(&recent_menu)
        .item(&item("live", "&Live run", "CmdOrCtrl+L")?)
        .separator()
        .item(&item("save_as", "&Save recording as…", "CmdOrCtrl+Shift+S")?)
        .separator()
        .item(&item("quit", "&Quit", "CmdOrCtrl+Q")?)
        .build()?;
    app.manage(RecentMenu { menu: recent_menu, recent: Mutex::new(recent) });
    let view = SubmenuBuilder::new(app, "&View")
        .item(&item("reload", "&Reload", "CmdOrCtrl+R")?)
        .separator()
        .item(&item("zoom_in", "Zoom &in", "CmdOrCtrl+=")?)
        .item(&item("zoom_out", "Zoom &out", "CmdOrCtrl+-")?)
        .item(&item("zoom_normal", "&Actual size", "CmdOrCtrl+0")?)
        .separator()
        .item(&item("full_screen", "&Full screen", "F11")?)
        .build()?;
    let about = AboutMetadata {
        name: Some("Ackscope".to_owned()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        comments: Some("A simulator and test harness for a chat backend, with the whole backend inside it".to_owned()),
        license: Some(env!("CARGO_PKG_LICENSE").to_owned()),
        website: Some(env!("CARGO_PKG_REPOSITORY").to_owned()),
        icon: app.default_window_icon().cloned(),
        ..AboutMetadata::default()
    };
    let help = SubmenuBuilder::new(app, "&Help")
        .item(&item("log", "Where the &log is…", "")?)
        .separator()
        .about_with_text("&About Ackscope", Some(about))
        .build()?;
    let menu = MenuBuilder::new(app).item(&file);
    if cfg!(target_os = "macos") {
        // There the keys for copy and paste exist only as menu items.
        let edit = SubmenuBuilder::new(app, "Edit").undo().redo().separator().cut().copy().paste().select_all();
        return menu.item(&edit.build()?).items(&[&view, &help]).build();
    }
    menu.items(&[&view, &help]).build()
}

/// Puts the recent recordings into their menu.
fn fill(app: &AppHandle, menu: &Submenu<Wry>, paths: &[PathBuf]) -> tauri::Result<()> {
    while menu.remove_at(0)?.is_some() {}
    for (place, path) in paths.iter().enumerate() {
        // An underscore or ampersand in a path is no mnemonic.
        let text = path.display().to_string().replace('&', "&&");
        menu.append(&MenuItem::with_id(app, format!("{RECENT}{place}"), text, true, None::<&str>)?)?;
    }
    if !paths.is_empty() {
        menu.append(&PredefinedMenuItem::separator(app)?)?;
    }
    let has_any = !paths.is_empty();
    menu.append(&MenuItem::with_id(app, "clear_recent", "&Clear the list", has_any, None::<&str>)?)
}

fn change_recent(app: &AppHandle, change: impl FnOnce(&mut Recent)) {
    let Some(shown) = app.try_state::<RecentMenu>() else { return };
    let paths = {
        let mut recent = shown.recent.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut recent);
        recent.paths().to_vec()
    };
    if let Err(error) = fill(app, &shown.menu, &paths) {
        tracing::warn!("the menu of recent recordings is not up to date: {error}");
    }
}

/// Puts a recording at the top of the recent ones.
pub(crate) fn remember(app: &AppHandle, file: &Path) {
    change_recent(app, |recent| recent.add(file));
}

/// Takes a recording off the recent ones.
pub(crate) fn forget(app: &AppHandle, file: &Path) {
    change_recent(app, |recent| recent.remove(file));
}

fn open_recent(app: &AppHandle, place: &str) {
    let chosen = app.try_state::<RecentMenu>().and_then(|shown| {
        let recent = shown.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.paths().get(place.parse::<usize>().ok()?).cloned()
    });
    let Some(file) = chosen else { return };
    if matches!(file.try_exists(), Ok(false)) {
        forget(app, &file);
        if let Some(window) = app.get_webview_window(window::LABEL) {
            dialogs::tell_missing(&window, &file);
        }
        return;
    }
    app.state::<Requests>().ask(Request::Open(file));
}

/// Carries out what was chosen.
pub(crate) fn on_event(app: &AppHandle, event: &MenuEvent) {
    let id = event.id().as_ref();
    if let Some(place) = id.strip_prefix(RECENT) {
        open_recent(app, place);
        return;
    }
    let Some(window) = app.get_webview_window(window::LABEL) else { return };
    let outcome = match id {
        "quit" => {
            app.exit(0);
            Ok(())
        }
        "open" => {
            dialogs::open(app);
            Ok(())
        }
        "live" => {
            app.state::<Requests>().ask(Request::Live);
            Ok(())
        }
        "save_as" => {
            dialogs::save_as(app);
            Ok(())
        }
        "clear_recent" => {
            change_recent(app, Recent::clear);
            Ok(())
        }
        "log" => {
            dialogs::tell_log(&window);
            Ok(())
        }
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
