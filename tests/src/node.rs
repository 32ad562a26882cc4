//! A node on the embedded backend, in this process, for tests of the backend alone.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails there")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ackscope_core::clock::Clock;
use ackscope_core::limits::Limits;
use ackscope_core::node::{Backend, Clients, EmbeddedBackendOptions, Node, NodeOptions, Roles};
use ackscope_core::probe::Probe;
use ackscope_core::token::TokenKey;
use ackscope_harness::recorder::Recorder;
use ackscope_harness::users::{ConnectOptions, SimulatedUser, UserError};
use tempfile::TempDir;

use crate::people::patient_limits;

/// A running node and the folder of its file, which goes with it.
pub struct TestNode {
    /// The node.
    pub node: Node,
    /// What it runs on.
    pub backend: Backend,
    /// Business time.
    pub clock: Clock,
    key: TokenKey,
    _dir: TempDir,
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
        let dir = tempfile::tempdir().expect("a temporary folder");
        let clock = Clock::default();
        let options = EmbeddedBackendOptions::default();
        let backend = replace(Backend::embedded(dir.path(), &clock, options).expect("an embedded backend"));
        let key = TokenKey::generate();
        let options = NodeOptions {
            name: "test".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            backend: backend.clone(),
            clients,
            clock: clock.clone(),
            probe: Probe::off(),
            token_key: key.clone(),
            limits,
            roles: Roles::default(),
        };
        let node = Node::start(options).await.expect("a node");
        Self { node, backend, clock, key, _dir: dir }
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
