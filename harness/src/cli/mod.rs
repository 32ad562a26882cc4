//! Commands, one module each.
//!
//! A command ends with an [`Exit`]: 0 pass, 1 fail (an expectation, a budget, the audit), 2 wrong usage or file,
//! 3 inconclusive (the environment failed, not the system under test).

mod args;
mod bench;
mod chaos;
mod check;
mod compare;
mod desktop;
mod doctor;
mod load;
mod matrix;
mod node;
mod out;
mod record;
mod replay;
mod run;
mod serve;
mod signals;
mod token;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use self::args::{Cli, Command};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was as it should be.
    Pass,
    /// An expectation, a budget or a promise was broken.
    Fail,
    /// Wrong usage or a wrong file.
    Usage,
    /// The environment failed, or somebody interrupted.
    Inconclusive,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Pass => Self::SUCCESS,
            Exit::Fail => Self::from(1),
            Exit::Usage => Self::from(2),
            Exit::Inconclusive => Self::from(3),
        }
    }
}

/// Why a command could not do its work: one sentence and, by its kind, the exit code.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The request was wrong.
    Usage(anyhow::Error),
    /// The environment failed.
    Environment(anyhow::Error),
}

impl Trouble {
    /// The request was wrong.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    /// The environment failed.
    pub(crate) fn environment(error: impl Into<anyhow::Error>) -> Self {
        Self::Environment(error.into())
    }
}

/// Whatever is passed on with `?` is the environment's fault; wrong usage is said explicitly.
impl<E: Into<anyhow::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Environment(error.into())
    }
}

/// What commands give back.
pub(crate) type Outcome = Result<Exit, Trouble>;

/// Reads the command line and carries it out.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("ACKSCOPE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).compact().init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("ackscope").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out::error(&format!("no threads could be started: {error}"));
            return Exit::Inconclusive.into();
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::run(args).await,
            Command::Replay(args) => replay::replay(args).await,
            Command::Compare(args) => compare::compare(&args),
            Command::Check(args) => check::check(&args),
            Command::Serve(args) => serve::serve(args).await,
            Command::Token(args) => token::token(&args),
            Command::Doctor(args) => doctor::doctor(&args).await,
            Command::Matrix(args) => matrix::matrix(args).await,
            Command::Chaos(args) => chaos::chaos(args).await,
            Command::Faults(args) => chaos::faults(&args),
            Command::Load(args) => load::load(args).await,
            Command::Bench(args) => bench::bench(&args).await,
            Command::Desktop(args) => desktop::desktop(args).await,
            Command::Node(args) => node::node(args).await,
        }
    });
    // Tasks that wait for something that never comes must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(exit) => exit.into(),
        Err(Trouble::Usage(error)) => {
            out::error(&format!("{error:#}"));
            Exit::Usage.into()
        }
        Err(Trouble::Environment(error)) => {
            out::error(&format!("{error:#}"));
            Exit::Inconclusive.into()
        }
    }
}
