//! A node on the embedded backend, in this process, for tests of the backend alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ackscope_core::clock::Clock;
use ackscope_core::limits::Limits;
use ackscope_core::node::{Backend, EmbeddedBackendOptions, Node, NodeOptions, Roles};
use ackscope_core::probe::Probe;
use ackscope_core::token::TokenKey;
use tempfile::TempDir;

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
    /// Starts a node with limits in time that a busy machine does not reach: what is tested is not how fast it is.
    pub async fn start() -> Self {
        let patient = Duration::from_secs(10);
        Self::start_with(Limits { send_deadline: patient, request_deadline: patient, ..Limits::default() }).await
    }

    /// Starts a node with these limits.
    pub async fn start_with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let clock = Clock::default();
        let backend =
            Backend::embedded(dir.path(), &clock, EmbeddedBackendOptions::default()).expect("an embedded backend");
        let key = TokenKey::generate();
        let options = NodeOptions {
            name: "test".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            backend: backend.clone(),
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
        self.key.sign(&user.parse().expect("a user id"), self.clock.now(), Duration::from_secs(3_600))
    }

    /// Ends the node.
    pub async fn shutdown(self) {
        self.node.shutdown().await;
    }
}
