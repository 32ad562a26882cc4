//! The interface as a program of its own, for development and tests. Users get it in the shell or in a browser.

use ackscope_ui::app::{App, NoPage};
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
            Ok(Box::new(App::new(&creation.egui_ctx, Ok(address), Box::new(WebSockets), Box::new(NoPage))))
        }),
    )
    .map_err(|error| (1, format!("The window could not be opened: {error}")))
}

fn complain(message: &str) {
    use std::io::Write as _;
    // When stderr is closed there is nobody left to tell.
    writeln!(std::io::stderr(), "{message}").unwrap_or_default();
}
