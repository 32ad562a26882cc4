//! The node under load.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ackscope_core::clients::BreakerState;
use ackscope_core::clock::Clock;
use ackscope_core::limits::Limits;
use ackscope_core::node::{Clients, Node, NodeOptions, Roles};
use ackscope_core::probe::Probe;
use ackscope_core::token::TokenKey;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::Runtime;

use super::LoadError;
use super::process::ProcessFigures;
use crate::environment::{Environment, EnvironmentOptions, Settings};
use crate::report::put;

/// How long a server may take until it takes connections.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long clients may take to be gone before the node ends with them.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
/// How often that is looked at.
const GOODBYE_POLL: Duration = Duration::from_millis(10);
/// How long a server may take to end before it is killed.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How long a server may take to say how it is.
const FIGURES_LIMIT: Duration = Duration::from_secs(10);
/// The word on the standard input of a node that asks for [`NodeFigures`].
pub const FIGURES: &str = "figures";

/// What a node under load is given besides its key.
#[derive(Clone, Default)]
pub struct NodeSettings {
    /// What it does; everything when nothing is said.
    pub roles: Roles,
    /// The backend. A node in a process of its own is given it in its environment, see
    /// [`Infrastructure::variables`](crate::environment::Infrastructure::variables).
    pub environment: EnvironmentOptions,
    /// What the process of its own is given in its environment; nothing: the embedded backend.
    pub variables: Vec<(&'static str, String)>,
    /// Address of the media service; none: it runs without.
    pub media: Option<String>,
    /// Address of the search service; none: it runs without.
    pub search: Option<String>,
    /// Limits that differ from the defaults, by their names.
    pub limits: Vec<(&'static str, u64)>,
}

/// How a node is, as one line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFigures {
    /// Records that each consumer group has before it, all topics together.
    pub lag: BTreeMap<String, u64>,
    /// Messages that are delivered and not known to be persisted.
    pub unpersisted: u64,
    /// Clients whose circuit is not closed.
    pub open_circuits: Vec<String>,
}

impl NodeFigures {
    /// What has not come to rest, one line; empty when everything has.
    pub fn still(&self) -> String {
        let mut parts = Vec::new();
        for (group, records) in self.lag.iter().filter(|(_, records)| **records > 0) {
            parts.push(format!("{group} is {records} records behind"));
        }
        if self.unpersisted > 0 {
            parts.push(format!("{} delivered messages are not persisted", self.unpersisted));
        }
        parts.extend(self.open_circuits.iter().map(|client| format!("the circuit to {client} is not closed")));
        parts.join(", ")
    }
}

/// The line a server prints when it takes connections.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReadyLine {
    /// Where the chat service listens, such as `http://127.0.0.1:41234`.
    pub chat: String,
}

/// A node with nothing around it: no interface, no users, nothing recorded.
pub struct BareNode {
    node: Node,
    environment: Environment,
}

impl BareNode {
    /// Starts one on a free port of loopback.
    pub fn start(token_key: TokenKey, settings: NodeSettings) -> BoxFuture<'static, Result<Self, LoadError>> {
        Box::pin(async move {
            let NodeSettings { roles, environment, media, search, limits: set, variables: _ } = settings;
            let clock = Clock::default();
            let mut limits = Limits::default();
            for (name, value) in set {
                limits.set(name, value).map_err(|error| LoadError::Server(error.to_string()))?;
            }
            let environment =
                Environment::start(environment, &clock).await.map_err(|error| LoadError::Server(error.to_string()))?;
            let backend =
                environment.backend().cloned().ok_or_else(|| LoadError::Server("the backend has ended".to_owned()))?;
            let node = Node::start(NodeOptions {
                // Unlike any other on the same log, which may be in a process of its own.
                name: format!("node-{}", std::process::id()),
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                backend,
                clients: Clients::at(media, search).map_err(|error| LoadError::Server(error.to_string()))?,
                clock,
                probe: Probe::off(),
                token_key,
                limits,
                roles,
            })
            .await
            .map_err(|error| LoadError::Server(error.to_string()))?;
            Ok(Self { node, environment })
        })
    }

    /// Where it listens.
    pub fn chat_url(&self) -> String {
        format!("http://{}", self.node.address())
    }

    /// How it is.
    pub async fn figures(&self) -> Result<NodeFigures, LoadError> {
        let mut lag = BTreeMap::new();
        for (group, _, records) in self.node.lag().await.map_err(|error| LoadError::Server(error.to_string()))? {
            *lag.entry(group).or_default() += records;
        }
        let clients = self.node.clients();
        let circuits = [("media", clients.media.breaker_state()), ("search", clients.search.breaker_state())];
        let is_open = |(_, state): &(&str, BreakerState)| *state != BreakerState::Closed;
        let open_circuits = circuits.into_iter().filter(is_open).map(|(client, _)| client.to_owned()).collect();
        Ok(NodeFigures { lag, unpersisted: self.node.unpersisted() as u64, open_circuits })
    }

    /// Ends it and removes its files.
    pub async fn shutdown(self) {
        // Connections that are still noticing their clients' goodbye hold the backend.
        let left = async {
            let mut look = tokio::time::interval(GOODBYE_POLL);
            while self.node.connections() > 0 {
                look.tick().await;
            }
        };
        if tokio::time::timeout(GOODBYE_LIMIT, left).await.is_err() {
            tracing::debug!(connections = self.node.connections(), "the node ends with clients connected");
        }
        self.node.shutdown().await;
        self.environment.shutdown().await;
    }
}

/// Where the load goes.
pub enum Server {
    /// A process of its own, which ends with this one.
    Process {
        /// The process.
        child: Box<Child>,
        /// Kept open: its end is the process's end. Takes the word [`FIGURES`].
        stdin: ChildStdin,
        /// What it answers.
        stdout: BufReader<ChildStdout>,
        /// Where it listens.
        chat_url: String,
    },
    /// Threads of this process.
    Threads {
        /// Its threads.
        runtime: Runtime,
        /// The node.
        node: Box<BareNode>,
        /// Where it listens.
        chat_url: String,
    },
    /// One that runs already and is none of ours.
    Elsewhere {
        /// Where it listens.
        chat_url: String,
    },
}

impl Server {
    /// Starts `program node` and waits until it takes connections.
    pub fn process<'a>(
        program: &'a Path,
        token_key: &'a TokenKey,
        settings: &'a NodeSettings,
    ) -> BoxFuture<'a, Result<Self, LoadError>> {
        Box::pin(async move {
            let mut command = Command::new(program);
            command.arg("node");
            // What this process was given in its environment is not what the node is to run on.
            for name in Settings::VARIABLES {
                command.env_remove(name);
            }
            if settings.variables.is_empty() {
                command.env("ACKSCOPE_BACKEND", "embedded");
            }
            command.envs(settings.variables.iter().map(|(name, value)| (name, value)));
            for (flag, is_set) in [("--no-socket", settings.roles.socket), ("--no-consumer", settings.roles.consumer)] {
                if !is_set {
                    command.arg(flag);
                }
            }
            for (flag, address) in [("--media", &settings.media), ("--search", &settings.search)] {
                if let Some(address) = address {
                    command.args([flag, address]);
                }
            }
            for (name, value) in &settings.limits {
                command.args(["--limit", &format!("{name}={value}")]);
            }
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .map_err(LoadError::machine("the server could not be started"))?;
            let missing = || LoadError::Server("it has no standard input and output".to_owned());
            let (mut stdin, stdout) =
                (child.stdin.take().ok_or_else(missing)?, child.stdout.take().ok_or_else(missing)?);
            let mut line = String::new();
            for byte in token_key.as_bytes() {
                put(&mut line, format_args!("{byte:02x}"));
            }
            line.push('\n');
            stdin.write_all(line.as_bytes()).await.map_err(LoadError::machine("the server did not take its key"))?;
            let mut stdout = BufReader::new(stdout);
            let ReadyLine { chat } = ready_line(&mut stdout).await?;
            Ok(Self::Process { child: Box::new(child), stdin, stdout, chat_url: chat })
        })
    }

    /// Starts a node on threads of its own. Blocks until it takes connections: not from within a runtime.
    pub fn threads(token_key: TokenKey) -> Result<Self, LoadError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("server")
            .build()
            .map_err(LoadError::machine("no threads could be started"))?;
        let node = runtime.block_on(BareNode::start(
            token_key,
            NodeSettings { environment: EnvironmentOptions::embedded(), ..NodeSettings::default() },
        ))?;
        let chat_url = node.chat_url();
        Ok(Self::Threads { runtime, node: Box::new(node), chat_url })
    }

    /// Where it listens.
    pub fn chat_url(&self) -> &str {
        match self {
            Self::Process { chat_url, .. } | Self::Threads { chat_url, .. } | Self::Elsewhere { chat_url } => chat_url,
        }
    }

    /// The number of its process, for one of its own.
    pub fn process_id(&self) -> Option<u32> {
        match self {
            Self::Process { child, .. } => child.id(),
            Self::Threads { .. } | Self::Elsewhere { .. } => None,
        }
    }

    /// Ends a process of its own with SIGKILL.
    pub async fn kill(&mut self) -> Result<(), LoadError> {
        match self {
            Self::Process { child, .. } => {
                child.kill().await.map_err(LoadError::machine("the server could not be killed"))
            }
            Self::Threads { .. } | Self::Elsewhere { .. } => {
                Err(LoadError::Plan("only a server in a process of its own can be killed".to_owned()))
            }
        }
    }

    /// Waits until a process of its own has ended by itself.
    pub async fn ended(&mut self) -> Result<(), LoadError> {
        match self {
            Self::Process { child, .. } => {
                child.wait().await.map(drop).map_err(LoadError::machine("the server's end could not be seen"))
            }
            Self::Threads { .. } | Self::Elsewhere { .. } => Ok(()),
        }
    }

    /// How it runs, for a report.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Process { .. } => "server in a process of its own",
            Self::Threads { .. } => "server in this process, on threads of its own",
            Self::Elsewhere { .. } => "server elsewhere",
        }
    }

    /// How its node is, for one of ours.
    pub async fn node_figures(&mut self) -> Result<NodeFigures, LoadError> {
        match self {
            Self::Process { stdin, stdout, .. } => {
                let mut line = String::new();
                let asked = tokio::time::timeout(FIGURES_LIMIT, async {
                    stdin.write_all(format!("{FIGURES}\n").as_bytes()).await?;
                    stdout.read_line(&mut line).await
                });
                asked.await.unwrap_or_else(|_| Err(late(FIGURES_LIMIT))).map_err(LoadError::machine(NOT_SAID))?;
                serde_json::from_str(&line).map_err(|_| LoadError::Server(NOT_SAID.to_owned()))
            }
            Self::Threads { node, .. } => node.figures().await,
            Self::Elsewhere { .. } => Err(LoadError::Plan("a server elsewhere does not say how it is".to_owned())),
        }
    }

    /// Its processor time and memory, where they can be told apart from the generator's.
    pub fn figures(&self) -> Option<ProcessFigures> {
        match self {
            Self::Process { child, .. } => ProcessFigures::of(child.id()?),
            Self::Threads { .. } | Self::Elsewhere { .. } => None,
        }
    }

    /// Ends it, if it is ours.
    pub async fn shutdown(self) -> Result<(), LoadError> {
        match self {
            Self::Process { mut child, stdin, .. } => {
                drop(stdin);
                let ended = tokio::time::timeout(END_LIMIT, child.wait()).await;
                match ended {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(LoadError::machine("the server's end could not be seen")(error)),
                    Err(_) => child.kill().await.map_err(LoadError::machine("the server could not be killed")),
                }
            }
            Self::Threads { runtime, node, .. } => {
                let ending = runtime.spawn(node.shutdown());
                let ended = ending.await.map_err(|error| LoadError::Server(error.to_string()));
                runtime.shutdown_background();
                ended
            }
            Self::Elsewhere { .. } => Ok(()),
        }
    }
}

const NOT_SAID: &str = "the server did not say how it is";

fn late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("not within {} s", limit.as_secs()))
}

/// Waits for the line a server prints when it takes connections.
pub(super) async fn ready_line<R>(stdout: &mut BufReader<R>) -> Result<ReadyLine, LoadError>
where
    R: tokio::io::AsyncRead + Unpin,
{
    let mut line = String::new();
    let reading = tokio::time::timeout(READY_LIMIT, stdout.read_line(&mut line));
    let read = reading.await.unwrap_or_else(|_| Err(late(READY_LIMIT)));
    read.map_err(LoadError::machine("the server did not say that it is ready"))?;
    serde_json::from_str(&line).map_err(|_| LoadError::Server("it ended before it was ready".to_owned()))
}
