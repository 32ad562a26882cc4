//! Takes the picture of the app that the README shows: the app on a display in memory, playing its tour.

use std::path::PathBuf;
use std::time::Duration;

use ackscope_tests::screen::display::Display;
use ackscope_tests::screen::home::Home;
use ackscope_tests::screen::observer::Observer;
use ackscope_tests::screen::program::Program;
use anyhow::{Context as _, Result};

/// Longest wait for each thing.
const LIMIT: Duration = Duration::from_mins(1);
/// The tour has ended and is drawn when nothing has happened for so long.
const QUIET: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<()> {
    let file: PathBuf = std::env::args_os().nth(1).context("say which PNG file to write")?.into();
    let home = Home::new()?;
    let display = Display::start(1440, 900).await?;
    let mut app = Program::start(&home, "ackscope-desktop", &["--json"], &display.environment())?;
    let ready = app.ready(LIMIT).await?;
    let mut observer = Observer::connect(&ready.ui, LIMIT).await?;
    let window = display.window_titled(&format!("Ackscope · {}", ready.backend.as_str()), LIMIT).await?;
    observer.settled(QUIET, LIMIT).await?;
    // The guide of the first start lies over what the picture is of.
    display.focus(window).await?;
    display.press("Escape").await?;
    observer.settled(QUIET, LIMIT).await?;
    display.save_picture(&file).await?;
    app.terminate().await?;
    app.end(LIMIT).await?;
    Ok(())
}
