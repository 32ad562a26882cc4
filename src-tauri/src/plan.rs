//! How the backend is started: what the flags, the settings file and the environment ask for.

use std::ffi::OsString;
use std::path::PathBuf;

use ackscope_harness::environment::containers::Progress;
use ackscope_harness::environment::{
    BackendChoice, EnvironmentOptions, Settings, SettingsError, TokenKeyError, load_or_create_token_key, token_key_path,
};
use ackscope_harness::host::HostOptions;
use ackscope_harness::recording::{RecordOptions, place};

/// What every start of the backend is made from.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    settings: Settings,
    play_tour: bool,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("the current folder cannot be read: {0}")]
    Folder(std::io::Error),
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

impl Plan {
    /// Reads it. The tour is played unless `no_tour` says so, or files are kept: those have a history of their own, and
    /// the tour would write into it with every start.
    pub(crate) fn read(
        backend: Option<BackendChoice>,
        data: Option<PathBuf>,
        no_tour: bool,
    ) -> Result<Self, PlanError> {
        let flags = Settings { backend, data, ..Settings::default() };
        let folder = std::env::current_dir().map_err(PlanError::Folder)?;
        let settings = Settings::load(flags, &folder, variable)?;
        let play_tour = !no_tour && settings.data.is_none();
        Ok(Self { settings, play_tour })
    }

    /// The backend that is asked for.
    pub(crate) fn choice(&self) -> BackendChoice {
        self.settings.backend.unwrap_or_default()
    }

    /// Asks for another backend.
    pub(crate) fn choose(&mut self, choice: BackendChoice) {
        self.settings.backend = Some(choice);
    }

    /// Options for one start, which is recorded as what `ackscope serve` does is. `progress` is told how far a slow one
    /// is.
    pub(crate) fn options(&self, progress: Progress) -> Result<HostOptions, TokenKeyError> {
        let settings = &self.settings;
        let default = HostOptions::default();
        Ok(HostOptions {
            environment: EnvironmentOptions { progress: Some(progress), ..settings.environment() },
            chat: settings.chat.unwrap_or(default.chat),
            ui: settings.ui,
            limits: settings.node_limits(),
            unverified_media: settings.unverified_media.unwrap_or_default(),
            play_tour: self.play_tour,
            // The machine's own, so that clients outside can join with `ackscope token`.
            token_key: Some(load_or_create_token_key(&token_key_path(variable)?)?),
            record: record(),
            ..default
        })
    }
}

fn record() -> Option<RecordOptions> {
    match place::options(variable) {
        Ok(options) => options.map(|options| RecordOptions { title: Some("By hand".to_owned()), ..options }),
        Err(no_place) => {
            tracing::warn!("{no_place}");
            None
        }
    }
}
