//! The folders of a person nobody else is: settings, state and caches.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// Folders of its own for what programs keep, so that a test finds nothing of another and leaves nothing. Dropping it
/// removes them.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    bus: String,
}

impl Home {
    /// Makes one. Nothing in it is on a message bus that the machine may have.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("making a folder for a test")?;
        for name in ["config", "data", "state", "cache", "work"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let bus = format!("unix:path={}", folder.path().join("no-bus").display());
        Ok(Self { folder, bus })
    }

    /// The same with a message bus, by the address it tells.
    pub fn with_bus(address: String) -> Result<Self> {
        Ok(Self { bus: address, ..Self::new()? })
    }

    /// What a program needs in its environment to live here.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let folder = |name: &str| self.folder.path().join(name).display().to_string();
        vec![
            ("XDG_CONFIG_HOME", folder("config")),
            ("XDG_DATA_HOME", folder("data")),
            ("XDG_STATE_HOME", folder("state")),
            ("XDG_CACHE_HOME", folder("cache")),
            ("DBUS_SESSION_BUS_ADDRESS", self.bus.clone()),
        ]
    }

    /// The folder programs are started in; it is empty at first.
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Where Ackscope keeps what it makes: recordings, scenarios, the log.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state/ackscope")
    }

    /// The folder all of it is in.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
