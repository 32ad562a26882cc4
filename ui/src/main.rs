//! The interface as a program of its own, for development. Users get it in the shell or in a browser.

use std::path::PathBuf;

use ackscope_ui::app::{App, Host};
use ackscope_ui::connection::{Address, WebSockets};

const USAGE: &str = "Usage: ackscope-ui URL

URL  the address that `ackscope serve` printed, such as http://127.0.0.1:4000/?token=…
     (may also stand in ACKSCOPE_UI_URL)";

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err((code, message)) => {
            complain(&message);
            std::process::ExitCode::from(code)
        }
    }
}

fn run() -> Result<(), (u8, String)> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().or_else(|| std::env::var("ACKSCOPE_UI_URL").ok());
    let url = match url.as_deref() {
        None => return Err((2, format!("No address was given.\n\n{USAGE}"))),
        Some("-h" | "--help") => return Err((0, USAGE.to_owned())),
        Some(url) => url,
    };
    if arguments.next().is_some() {
        return Err((2, format!("More than one address was given.\n\n{USAGE}")));
    }
    let address = Address::parse(url).map_err(|error| (2, format!("{error}: {url}\n\n{USAGE}")))?;
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default().with_inner_size([1280.0, 800.0]).with_min_inner_size([640.0, 480.0]),
        ..eframe::NativeOptions::default()
    };
    eframe::run_native(
        "Ackscope",
        options,
        Box::new(move |creation| {
            ackscope_ui::theme::install(&creation.egui_ctx);
            Ok(Box::new(App::new(Ok(address), Box::new(WebSockets), Box::new(Window::new()))))
        }),
    )
    .map_err(|error| (1, format!("The window could not be opened: {error}")))
}

/// A window of its own: what is arranged in it is kept in a file.
struct Window {
    /// Absent when the user has no home.
    file: Option<PathBuf>,
}

impl Window {
    fn new() -> Self {
        let folder = std::env::var_os("XDG_STATE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")));
        Self { file: folder.map(|folder| folder.join("ackscope").join("view.json")) }
    }
}

impl Host for Window {
    fn show_status(&mut self, _json: &str) {}
    fn set_title(&mut self, _title: &str) {}

    fn remembered(&mut self) -> Option<String> {
        std::fs::read_to_string(self.file.as_ref()?).ok()
    }

    fn remember(&mut self, text: &str) {
        let Some(file) = &self.file else { return };
        let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) = folder.and_then(|()| std::fs::write(file, text)) {
            complain(&format!("The layout is not remembered: {} cannot be written: {error}", file.display()));
            self.file = None;
        }
    }
}

fn complain(message: &str) {
    use std::io::Write as _;
    // When stderr is closed there is nobody left to tell.
    writeln!(std::io::stderr(), "{message}").unwrap_or_default();
}
