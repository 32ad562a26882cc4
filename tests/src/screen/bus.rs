//! A message bus of its own (D-Bus), for programs that find each other on it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long it may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running bus. Dropping it ends it.
#[derive(Debug)]
pub struct Bus {
    address: String,
    _daemon: Child,
}

impl Bus {
    /// Starts one.
    pub async fn start() -> Result<Self> {
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting dbus-daemon; `./ackscope test` installs it")?;
        let mut address = String::new();
        let mut stdout = BufReader::new(daemon.stdout.take().context("dbus-daemon has a standard output")?);
        tokio::time::timeout(START_LIMIT, stdout.read_line(&mut address)).await.context("it did not start")??;
        ensure!(!address.trim().is_empty(), "dbus-daemon ended at once");
        Ok(Self { address: address.trim().to_owned(), _daemon: daemon })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }
}
