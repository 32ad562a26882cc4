//! A node on the embedded backend, in this process, for tests of the backend alone.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails there")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ackscope_core::clock::Clock;
use ackscope_core::limits::Limits;
use ackscope_core::node::{Backend, Clients, EMBEDDED_FILE, EmbeddedBackendOptions, Node, NodeOptions, Roles};
use ackscope_core::probe::Probe;
use ackscope_core::token::TokenKey;
use ackscope_harness::recorder::Recorder;
use ackscope_harness::users::{ConnectOptions, SimulatedUser, UserError};
use tempfile::TempDir;

use crate::people::patient_limits;

async fn start(
    name: &str,
    backend: &Backend,
    clients: &Clients,
    clock: &Clock,
    key: &TokenKey,
    limits: &Limits,
    roles: Roles,
) -> Node {
    let options = NodeOptions {
        name: name.to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        backend: backend.clone(),
        clients: clients.clone(),
        clock: clock.clone(),
        probe: Probe::off(),
        token_key: key.clone(),
        limits: limits.clone(),
        roles,
    };
    Node::start(options).await.expect("a node")
}

/// A running node and the folder of its file, which goes with the last node on it.
pub struct TestNode {
    /// The node.
    pub node: Node,
    /// What it runs on.
    pub backend: Backend,
    /// Business time.
    pub clock: Clock,
    clients: Clients,
    limits: Limits,
    key: TokenKey,
    dir: Arc<TempDir>,
}

impl TestNode {
    /// Starts a node with [`patient_limits`].
    pub async fn start() -> Self {
        Self::start_with(patient_limits()).await
    }

    /// Starts a node with these limits.
    pub async fn start_with(limits: Limits) -> Self {
        Self::start_on(limits, |backend| backend).await
    }

    /// Starts a node on an embedded backend of which parts may be replaced.
    pub async fn start_on(limits: Limits, replace: impl FnOnce(Backend) -> Backend) -> Self {
        let clients = Clients::at(None, None).expect("clients of nothing");
        Self::start_beside(clients, limits, replace).await
    }

    /// Starts a node that asks these services, on an embedded backend of which parts may be replaced.
    pub async fn start_beside(clients: Clients, limits: Limits, replace: impl FnOnce(Backend) -> Backend) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let clock = Clock::default();
        let options = EmbeddedBackendOptions::default();
        let backend = replace(Backend::embedded(dir.path(), &clock, options).expect("an embedded backend"));
        let key = TokenKey::generate();
        let node = start("test", &backend, &clients, &clock, &key, &limits, Roles::default()).await;
        Self { node, backend, clock, clients, limits, key, dir }
    }

    /// Starts another node on the same backend, of which parts may be replaced for it, with the same clock and keys.
    pub async fn beside(&self, name: &str, roles: Roles, replace: impl FnOnce(Backend) -> Backend) -> Self {
        let Self { clients, limits, clock, key, dir, .. } = self;
        let backend = replace(self.backend.clone());
        let node = start(name, &backend, clients, clock, key, limits, roles).await;
        let (clients, limits, clock) = (clients.clone(), limits.clone(), clock.clone());
        Self { node, backend, clock, clients, limits, key: key.clone(), dir: Arc::clone(dir) }
    }

    /// Ends the node and starts another one on the same backend.
    pub async fn restart(self) -> Self {
        let Self { node, backend, clock, clients, limits, key, dir } = self;
        node.shutdown().await;
        let node = start("again", &backend, &clients, &clock, &key, &limits, Roles::default()).await;
        Self { node, backend, clock, clients, limits, key, dir }
    }

    /// The file everything is in.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join(EMBEDDED_FILE)
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.node.address())
    }

    /// A token that holds for an hour of business time.
    pub fn token(&self, user: &str) -> String {
        self.key.sign(&user.parse().expect("a user id"), self.clock.now(), Duration::from_hours(1))
    }

    /// Connects a simulated user.
    pub async fn connect(&self, user: &str) -> Arc<SimulatedUser> {
        self.try_connect(user).await.expect("a connected user")
    }

    /// Connects a simulated user, unless the node refuses it.
    pub async fn try_connect(&self, user: &str) -> Result<Arc<SimulatedUser>, UserError> {
        let recorder = Recorder::new(100_000);
        let options = ConnectOptions::new(user.parse().expect("a user id"), self.token(user), self.url(), recorder);
        SimulatedUser::connect(options).await
    }

    /// Ends the node.
    pub async fn shutdown(self) {
        self.node.shutdown().await;
    }
}
