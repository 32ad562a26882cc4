//! Starts a program of the product, as a person would, and ends it whatever happens.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ackscope_protocol::control::BackendKind;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::home::Home;

/// What a program prints with `--json` when it is ready.
#[derive(Clone, Debug, Deserialize)]
pub struct Ready {
    /// The chat service's address.
    pub chat: String,
    /// The interface's address, token included.
    pub ui: String,
    /// What runs underneath.
    pub backend: BackendKind,
}

impl Ready {
    /// Host and port of the chat service and of the interface.
    pub fn addresses(&self) -> [&str; 2] {
        [&self.chat, &self.ui].map(|url| {
            let rest = url.strip_prefix("http://").unwrap_or(url);
            rest.split('/').next().unwrap_or(rest)
        })
    }
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    // Held open: a program that writes to a closed pipe fails.
    stdout: BufReader<ChildStdout>,
}

/// The path of a program of the product: one that is installed by its whole path, else it stands beside this test or
/// the folder this test stands in.
pub fn path_of(name: &str) -> Result<PathBuf> {
    if Path::new(name).is_absolute() {
        return Ok(name.into());
    }
    let own = std::env::current_exe().context("where this program is")?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("`{name}` is not built: run `./ackscope test`, which builds what the tests need"))
}

impl Program {
    /// Starts `name` with `args` and further environment variables, in `home`. What it complains goes to this test's
    /// output.
    pub fn start(home: &Home, name: &str, args: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let mut child = Command::new(path_of(name)?)
            .args(args)
            .current_dir(home.work())
            .envs(home.environment())
            // What is shown is the interface, which is the same on every backend.
            .env("ACKSCOPE_BACKEND", "embedded")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let stdout = child.stdout.take().context("the program has a standard output")?;
        Ok(Self { name: name.to_owned(), child, stdout: BufReader::new(stdout) })
    }

    /// Waits for the line that says where everything is.
    pub async fn ready(&mut self, limit: Duration) -> Result<Ready> {
        self.ready_as(limit).await
    }

    /// The same for a program that has less to say.
    pub async fn ready_as<T: DeserializeOwned>(&mut self, limit: Duration) -> Result<T> {
        let mut line = String::new();
        let read = tokio::time::timeout(limit, self.stdout.read_line(&mut line));
        let read = read.await.with_context(|| format!("{} was not ready within {} s", self.name, limit.as_secs()))?;
        if read.context("reading the ready line")? == 0 {
            let status = self.end(limit).await?;
            bail!("{} ended before it was ready: {status}", self.name);
        }
        serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", self.name))
    }

    /// Asks it to end, as Ctrl-C or a service manager does.
    pub async fn terminate(&self) -> Result<()> {
        let id = self.child.id().context("it has ended already")?;
        let status = Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        anyhow::ensure!(status.success(), "kill: {status}");
        Ok(())
    }

    /// Waits until it has ended.
    pub async fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        Ok(ended.with_context(|| format!("{} did not end within {} s", self.name, limit.as_secs()))??)
    }
}

/// Plays a scenario of the repository on the embedded backend and returns its recording, called `name`.
pub async fn record(home: &Home, scenario: &str, name: &str) -> Result<PathBuf> {
    let file = home.work().join(name);
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(scenario);
    let output = Command::new(path_of("ackscope")?)
        .arg("run")
        .arg(scenario)
        .args(["--backend", "embedded", "--record"])
        .arg(&file)
        .envs(home.environment())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    // A slow machine breaks budgets; the recording is there all the same.
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(file.is_file(), "nothing was recorded, {}: {said}", output.status);
    Ok(file)
}

/// Whether somebody listens at `address`.
pub async fn is_open(address: &str) -> bool {
    tokio::net::TcpStream::connect(address).await.is_ok()
}
