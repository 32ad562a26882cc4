//! A browser without a window, driven through its DevTools protocol.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::person::Person;
use super::picture::Picture;
use super::waiting::until;

/// How long the browser may take to start.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How long it may take for one command.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);
/// What the browser is called on different systems.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// What it says before the address of its DevTools.
const LISTENING: &str = "DevTools listening on ";

/// A browser with one page open. Dropping it ends it.
#[derive(Debug)]
pub struct Chromium {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    last_id: u64,
    // Ends the browser before its folder is removed: fields are dropped in this order.
    _process: Child,
    _profile: TempDir,
}

impl Chromium {
    /// Starts the browser and opens `url` in a page of `width` by `height`.
    pub async fn open(url: &str, width: u32, height: u32) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut process = Command::new(installed()?)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            // WebGL without a graphics card.
            .args(["--use-angle=swiftshader", "--enable-unsafe-swiftshader"])
            .args(["--remote-debugging-port=0", "--disable-dev-shm-usage"])
            .arg(format!("--window-size={width},{height}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting Chromium")?;
        let mut said = BufReader::new(process.stderr.take().context("Chromium has a standard error")?).lines();
        let address = tokio::time::timeout(START_LIMIT, devtools_address(&mut said))
            .await
            .context("Chromium did not start")??;
        // Read on: a full pipe would stop the browser.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        let (socket, _) = tokio_tungstenite::connect_async(&address).await.context("connecting to DevTools")?;
        let mut browser = Self { socket, session: None, last_id: 0, _process: process, _profile: profile };
        let target = browser.command("Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.command("Target.attachToTarget", attach).await?;
        browser.session = Some(attached["sessionId"].as_str().context("a session")?.to_owned());
        // A page nobody looks at gets no keyboard otherwise.
        browser.command("Emulation.setFocusEmulationEnabled", json!({"enabled": true})).await?;
        browser.navigate(url).await?;
        Ok(browser)
    }

    /// Goes to `url`. Answered when the page has taken the place of the one before: an expression that is evaluated
    /// while it does so is answered with an error.
    async fn navigate(&mut self, url: &str) -> Result<()> {
        let answer = self.command("Page.navigate", json!({"url": url})).await?;
        match answer["errorText"].as_str() {
            Some(reason) => bail!("{url}: {reason}"),
            None => Ok(()),
        }
    }

    /// The value of a JavaScript expression in the page.
    pub async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({"expression": expression, "returnByValue": true});
        let mut answer = self.command("Runtime.evaluate", parameters).await?;
        if let Some(exception) = answer.get("exceptionDetails") {
            bail!("{expression}: {exception}");
        }
        Ok(answer["result"]["value"].take())
    }

    /// Puts `text` where the cursor is, as an input method does.
    pub async fn insert_text(&mut self, text: &str) -> Result<()> {
        self.command("Input.insertText", json!({"text": text})).await.map(drop)
    }

    /// Presses a key by its X name: `Return`, `Escape`, a letter or a digit, with `ctrl+` before it if that is held.
    pub async fn press(&mut self, key: &str) -> Result<()> {
        let (name, is_ctrl) = key.strip_prefix("ctrl+").map_or((key, false), |name| (name, true));
        let mut event = match name {
            "Return" => json!({"key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13}),
            "Escape" => json!({"key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27}),
            _ => {
                let upper = name.to_ascii_uppercase();
                let [code @ (b'A'..=b'Z' | b'0'..=b'9')] = upper.as_bytes() else { bail!("no key is called `{key}`") };
                let place = if code.is_ascii_digit() { "Digit" } else { "Key" };
                json!({"key": name, "code": format!("{place}{upper}"), "windowsVirtualKeyCode": code})
            }
        };
        if is_ctrl {
            event["modifiers"] = json!(2);
        }
        for kind in ["keyDown", "keyUp"] {
            event["type"] = json!(kind);
            self.command("Input.dispatchKeyEvent", event.clone()).await?;
        }
        Ok(())
    }

    /// Opens `url` anew, with a script that runs before anything of it.
    pub async fn reopen(&mut self, url: &str, script: &str) -> Result<()> {
        // Without this the script is kept and never run.
        self.command("Page.enable", json!({})).await?;
        self.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": script})).await?;
        self.navigate("about:blank").await?;
        self.navigate(url).await
    }

    /// What the page looks like.
    pub async fn picture(&mut self) -> Result<Picture> {
        let answer = self.command("Page.captureScreenshot", json!({"format": "png"})).await?;
        let data = answer["data"].as_str().context("a picture")?;
        Picture::of_png(&base64::engine::general_purpose::STANDARD.decode(data)?)
    }

    async fn command(&mut self, method: &str, parameters: Value) -> Result<Value> {
        let outcome = tokio::time::timeout(COMMAND_LIMIT, self.exchange(method, parameters)).await;
        outcome.with_context(|| format!("{method} was not answered"))?.with_context(|| method.to_owned())
    }

    async fn exchange(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.last_id += 1;
        let mut request = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(request.to_string())).await?;
        loop {
            let message = self.socket.next().await.context("the browser has ended")??;
            let Message::Text(text) = message else { continue };
            let mut answer: Value = serde_json::from_str(&text)?;
            // Everything else is an event nobody asked for.
            if answer["id"] == json!(self.last_id) {
                match answer.get("error") {
                    Some(error) => bail!("{error}"),
                    None => return Ok(answer["result"].take()),
                }
            }
        }
    }
}

async fn devtools_address<R: AsyncRead + Unpin>(said: &mut Lines<BufReader<R>>) -> Result<String> {
    let mut heard = Vec::new();
    while let Some(line) = said.next_line().await? {
        if let Some(address) = line.strip_prefix(LISTENING) {
            return Ok(address.to_owned());
        }
        heard.push(line);
    }
    bail!("Chromium ended at once: {}", heard.join("\n"))
}

fn installed() -> Result<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|file| file.is_file())
        .context("no Chromium is installed; `./ackscope test` installs it")
}

impl Person for Chromium {
    async fn type_text(&mut self, text: &str) -> Result<()> {
        // Text goes to the element that has the focus, which is a field of the page only while one is drawn that has it.
        let has_field = "document.activeElement?.tagName === 'INPUT'";
        let wait = async || Ok((self.evaluate(has_field).await? == json!(true)).then_some(()));
        until("a text cursor in the page", COMMAND_LIMIT, wait).await?;
        self.insert_text(text).await
    }

    async fn press(&mut self, key: &str) -> Result<()> {
        Chromium::press(self, key).await
    }

    async fn look(&mut self) -> Result<Picture> {
        self.picture().await
    }
}
