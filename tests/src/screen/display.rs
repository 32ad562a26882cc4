//! A display in memory (Xvfb) with a hand on its keyboard (xdotool) and an eye on its pixels (ImageMagick).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use x11rb::protocol::xproto::{ClientMessageEvent, ConnectionExt as _, EventMask};

use super::person::Person;
use super::picture::Picture;
use super::waiting::until;

/// How long the display server may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A window on a [`Display`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowId(u32);

/// A running display. Dropping it ends it.
#[derive(Debug)]
pub struct Display {
    name: String,
    width: u32,
    server: Child,
}

impl Display {
    /// Starts one on a free number.
    pub async fn start(width: u32, height: u32) -> Result<Self> {
        let mut server = Command::new("Xvfb")
            // It chooses the number itself and tells it when it takes connections.
            .args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0", &format!("{width}x{height}x24")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting Xvfb; `./ackscope test` installs it")?;
        let mut number = String::new();
        let mut stdout = BufReader::new(server.stdout.take().context("Xvfb has a standard output")?);
        tokio::time::timeout(START_LIMIT, stdout.read_line(&mut number)).await.context("Xvfb did not start")??;
        ensure!(!number.trim().is_empty(), "Xvfb ended at once");
        Ok(Self { name: format!(":{}", number.trim()), width, server })
    }

    /// What a program needs in its environment to draw here, without a graphics card.
    pub fn environment(&self) -> [(&str, &str); 4] {
        [
            ("DISPLAY", &self.name),
            ("GDK_BACKEND", "x11"),
            ("LIBGL_ALWAYS_SOFTWARE", "1"),
            ("WEBKIT_DISABLE_DMABUF_RENDERER", "1"),
        ]
    }

    /// Lets the display answer nobody any more.
    pub async fn freeze(&self) -> Result<()> {
        let id = self.server.id().context("Xvfb has ended")?;
        let status = Command::new("kill").args(["-STOP", &id.to_string()]).status().await?;
        ensure!(status.success(), "kill: {status}");
        Ok(())
    }

    /// Waits for a visible window whose title has `part` in it.
    pub async fn window_titled(&self, part: &str, limit: Duration) -> Result<WindowId> {
        let found = self.window_with(|title| title.contains(part), limit).await;
        found.with_context(|| format!("titled {part:?}"))
    }

    /// Waits for a visible window with such a title.
    pub async fn window_with(&self, is_it: impl Fn(&str) -> bool, limit: Duration) -> Result<WindowId> {
        until("a window", limit, async || {
            // Finding none is an error to xdotool; here it only means that it is too early.
            let found = self.xdotool(&["search", "--onlyvisible", "--name", "."]).await.unwrap_or_default();
            for id in found.lines() {
                let title = self.xdotool(&["getwindowname", id]).await.unwrap_or_default();
                if is_it(title.trim_end()) {
                    return Ok(Some(WindowId(id.parse()?)));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Gives `window` the keyboard. There is no window manager to do it.
    pub async fn focus(&self, window: WindowId) -> Result<()> {
        self.xdotool(&["windowfocus", "--sync", &window.0.to_string()]).await.map(drop)
    }

    /// Types `text` on the keyboard.
    pub async fn type_text(&self, text: &str) -> Result<()> {
        self.xdotool(&["type", "--delay", "20", text]).await.map(drop)
    }

    /// Presses a key by its X name, such as `Return` or `ctrl+q`.
    pub async fn press(&self, key: &str) -> Result<()> {
        self.xdotool(&["key", key]).await.map(drop)
    }

    /// Asks the program to close `window`, as the cross in a title bar does.
    pub fn close(&self, window: WindowId) -> Result<()> {
        let (connection, _) = x11rb::connect(Some(&self.name))?;
        let protocols = connection.intern_atom(false, b"WM_PROTOCOLS")?.reply()?.atom;
        let delete = connection.intern_atom(false, b"WM_DELETE_WINDOW")?.reply()?.atom;
        let event = ClientMessageEvent::new(32, window.0, protocols, [delete, 0, 0, 0, 0]);
        connection.send_event(false, window.0, EventMask::NO_EVENT, event)?.check()?;
        Ok(())
    }

    /// Makes `window` as large as that.
    pub async fn resize(&self, window: WindowId, width: u32, height: u32) -> Result<()> {
        let (width, height) = (width.to_string(), height.to_string());
        self.xdotool(&["windowsize", &window.0.to_string(), &width, &height]).await.map(drop)
    }

    /// How large `window` is.
    pub async fn size(&self, window: WindowId) -> Result<(u32, u32)> {
        let said = self.xdotool(&["getwindowgeometry", "--shell", &window.0.to_string()]).await?;
        let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
        let size = value("WIDTH=").zip(value("HEIGHT="));
        size.with_context(|| format!("the size of the window is not in {said:?}"))
    }

    /// The titles of the visible windows.
    pub async fn titles(&self) -> Result<Vec<String>> {
        let found = self.xdotool(&["search", "--onlyvisible", "--name", "."]).await.unwrap_or_default();
        let mut titles = Vec::new();
        for id in found.lines() {
            // One that went meanwhile has no title any more.
            titles.extend(self.xdotool(&["getwindowname", id]).await.map(|title| title.trim().to_owned()));
        }
        Ok(titles)
    }

    /// Writes what is on the display into a PNG file.
    pub async fn save_picture(&self, file: &Path) -> Result<()> {
        self.picture().await?.save(file)
    }

    /// What is on the display.
    pub async fn picture(&self) -> Result<Picture> {
        let bytes = self.run("import", &["-window", "root", "-depth", "8", "rgb:-"]).await?;
        Picture::of_rgb(self.width, bytes)
    }

    /// How many pixels have exactly this colour.
    pub async fn count_pixels(&self, colour: [u8; 3]) -> Result<usize> {
        Ok(self.picture().await?.count(|pixel| pixel == colour))
    }

    async fn xdotool(&self, args: &[&str]) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.run("xdotool", args).await?).into_owned())
    }

    async fn run(&self, tool: &str, args: &[&str]) -> Result<Vec<u8>> {
        let output = Command::new(tool)
            .args(args)
            .env("DISPLAY", &self.name)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("starting {tool}; `./ackscope test` installs it"))?;
        ensure!(output.status.success(), "{tool} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }
}

/// Somebody before the display; the keyboard is with the window that has the focus.
impl Person for &Display {
    async fn type_text(&mut self, text: &str) -> Result<()> {
        Display::type_text(self, text).await
    }

    async fn press(&mut self, key: &str) -> Result<()> {
        Display::press(self, key).await
    }

    async fn look(&mut self) -> Result<Picture> {
        self.picture().await
    }
}
