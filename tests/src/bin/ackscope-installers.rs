//! Tries installers as somebody would who was given them: installs the .deb, opens the app and a recording, removes it
//! again, and sees that nothing is left; starts the .AppImage where there is one, which installs nothing. Wants to be
//! root, and changes the machine for a minute.

#![allow(clippy::print_stdout, reason = "a program for people")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use ackscope_tests::screen::display::Display;
use ackscope_tests::screen::home::Home;
use ackscope_tests::screen::output_dir;
use ackscope_tests::screen::program::{Program, record};
use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// Longest wait for each thing.
const LIMIT: Duration = Duration::from_mins(1);
/// The package's name.
const PACKAGE: &str = "ackscope";
/// What a recording is to the desktop.
const MIME_TYPE: &str = "application/x-ackscope-recording";

#[tokio::main]
async fn main() -> Result<()> {
    let mut files = std::env::args_os().skip(1);
    let file = std::path::absolute(files.next().context("say which .deb to try")?)?;
    let portable = files.next().map(std::path::absolute).transpose()?;
    ensure!(say("dpkg-query", &["--show", PACKAGE]).await.is_err(), "{PACKAGE} is installed already; remove it first");
    let name = file.to_str().context("a name in Unicode")?;
    say("apt-get", &["install", "--yes", "--no-install-recommends", name]).await?;
    let installed = say("dpkg-query", &["--listfiles", PACKAGE]).await;
    let used = use_it().await;
    // Removed whatever came of it.
    say("apt-get", &["purge", "--yes", PACKAGE]).await?;
    used?;
    let left: Vec<PathBuf> = installed?
        .lines()
        .map(PathBuf::from)
        // Folders that other packages have too stay.
        .filter(|path| path.exists() && (!path.is_dir() || is_ours(path)))
        .collect();
    ensure!(left.is_empty(), "these are left: {left:?}");
    println!("the .deb: installed, used, removed; nothing is left");
    if let Some(portable) = portable {
        let home = Home::new()?;
        let recording = record(&home, "tour.yaml", "one.ackrec").await?;
        // Without FUSE, which containers do not have, it is unpacked first.
        open(
            &home,
            portable.to_str().context("a name in Unicode")?,
            &recording,
            Some(("APPIMAGE_EXTRACT_AND_RUN", "1")),
        )
        .await?;
        println!("the .AppImage: used");
    }
    Ok(())
}

fn is_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("ackscope"))
}

async fn use_it() -> Result<()> {
    say("desktop-file-validate", &["/usr/share/applications/Ackscope.desktop"]).await?;
    let home = Home::new()?;
    let recording = record(&home, "tour.yaml", "one.ackrec").await?;
    let kinds = std::fs::read_to_string("/usr/share/mime/globs2")?;
    let is_known = kinds.lines().any(|kind| kind.ends_with(&format!(":{MIME_TYPE}:*.ackrec")));
    ensure!(is_known, "the desktop does not know what a recording is");
    let opener = say("xdg-mime", &["query", "default", MIME_TYPE]).await?;
    ensure!(opener.trim() == "Ackscope.desktop", "a recording is opened with {opener:?}");
    let version = say("/usr/bin/ackscope", &["--version"]).await?;
    ensure!(version.starts_with("ackscope "), "it says {version:?}");

    open(&home, "/usr/bin/ackscope-desktop", &recording, None).await
}

/// Opens the app alone and with a recording.
async fn open(home: &Home, program: &str, recording: &Path, further: Option<(&str, &str)>) -> Result<()> {
    let named = recording.to_str().context("a name in Unicode")?;
    let display = Display::start(1440, 900).await?;
    // Without what the launcher sets for machines that have no graphics card.
    let is_for_user = |(name, _): &(&str, &str)| !name.starts_with("LIBGL") && !name.starts_with("WEBKIT");
    let environment: Vec<_> = display.environment().into_iter().filter(is_for_user).chain(further).collect();
    for (arguments, title) in [(&["--json"][..], "Ackscope · embedded"), (&["--json", named], "one.ackrec · Ackscope")]
    {
        let mut app = Program::start(home, program, arguments, &environment)?;
        let _: serde_json::Value = app.ready_as(LIMIT).await?;
        let window = display.window_titled(title, LIMIT).await?;
        display.save_picture(&output_dir()?.join("installed.png")).await?;
        display.close(window)?;
        let ended = app.end(LIMIT).await?;
        ensure!(ended.success(), "it ended with {ended}");
    }
    Ok(())
}

/// Runs a program that must succeed; what it says.
async fn say(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .await
        .with_context(|| format!("starting {program}"))?;
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {complained}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
