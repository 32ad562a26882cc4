//! Who is connected to this node, and writing to them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use ackscope_protocol::UserId;
use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::wire::ServerEvent;
use parking_lot::RwLock;
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};

/// One connection of a user.
pub struct Connection {
    user: UserId,
    id: String,
    outlet: Outlet,
    /// Events did not fit into the connection's queue; it has to be told.
    is_behind: AtomicBool,
}

/// Where events go.
enum Outlet {
    /// Weak, because the socket's own handlers hold the connection.
    Socket(Weak<Socket>),
    /// What a test looks at.
    #[cfg(test)]
    Captured(parking_lot::Mutex<Vec<ServerEvent>>),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("user", &self.user).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection of `user`. Its id is unique among all nodes.
    pub fn new(user: UserId, node: &str, socket: &Arc<Socket>) -> Self {
        let id = format!("{node}/{}", socket.id);
        Self { user, id, outlet: Outlet::Socket(Arc::downgrade(socket)), is_behind: AtomicBool::new(false) }
    }

    /// A connection that keeps what it is told.
    #[cfg(test)]
    pub(crate) fn captured(user: &str, id: &str) -> Arc<Self> {
        let user = user.parse().expect("a user id");
        let outlet = Outlet::Captured(parking_lot::Mutex::default());
        Arc::new(Self { user, id: id.to_owned(), outlet, is_behind: AtomicBool::new(false) })
    }

    /// What a captured connection was told since the last call.
    #[cfg(test)]
    pub(crate) fn take_told(&self) -> Vec<ServerEvent> {
        match &self.outlet {
            Outlet::Socket(_) => Vec::new(),
            Outlet::Captured(told) => std::mem::take(&mut *told.lock()),
        }
    }

    /// Whose it is.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// `node/connection`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Hands an event to the connection's queue, at once. When the queue is full the event is left out, and the
    /// client is told with an `error` event before the next one that fits: it can `sync`.
    pub fn emit(&self, event: &ServerEvent) {
        if self.is_behind.load(Ordering::Relaxed) {
            let error =
                WireError::new(ErrorCode::Overloaded, "this connection read too slowly and missed events; sync");
            if !self.write(&ServerEvent::Error(error)) {
                return;
            }
            self.is_behind.store(false, Ordering::Relaxed);
        }
        if !self.write(event) {
            self.fall_behind();
        }
    }

    /// Something did not fit into the connection's queue.
    pub fn fall_behind(&self) {
        if !self.is_behind.swap(true, Ordering::Relaxed) {
            tracing::warn!(connection = self.id, user = %self.user, "a slow reader misses events");
        }
    }

    fn write(&self, event: &ServerEvent) -> bool {
        #[cfg(test)]
        if let Outlet::Captured(told) = &self.outlet {
            told.lock().push(event.clone());
            return true;
        }
        #[cfg_attr(not(test), expect(irrefutable_let_patterns, reason = "tests have another outlet"))]
        let Outlet::Socket(socket) = &self.outlet else { return true };
        // A connection that is gone misses nothing that `sync` would not give it.
        let Some(socket) = socket.upgrade() else { return true };
        let name = event.name();
        let result = match event {
            ServerEvent::Ack(data) => socket.emit(name, data),
            ServerEvent::New(data) | ServerEvent::Edited(data) => socket.emit(name, data),
            ServerEvent::Deleted(data) => socket.emit(name, data),
            ServerEvent::Reaction(data) => socket.emit(name, data),
            ServerEvent::Delivered(data) => socket.emit(name, data),
            ServerEvent::ConversationUpdated(data) => socket.emit(name, data),
            ServerEvent::Error(data) => socket.emit(name, data),
        };
        match result {
            Ok(()) | Err(SendError::Socket(SocketError::Closed)) => true,
            Err(SendError::Socket(SocketError::InternalChannelFull)) => false,
            Err(SendError::Serialize(error)) => {
                tracing::error!(%error, name, "an event cannot be written");
                true
            }
        }
    }
}

/// Everybody connected to this node.
#[derive(Debug, Default)]
pub struct Sessions {
    by_user: RwLock<HashMap<UserId, Vec<Arc<Connection>>>>,
    count: AtomicUsize,
}

/// A place among the connections of a node; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    sessions: Arc<Sessions>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sessions {
    /// Takes a place, unless `max` are taken.
    pub fn take_place(self: &Arc<Self>, max: usize) -> Option<Place> {
        let take = |count: usize| (count < max).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Place { sessions: Arc::clone(self) })
    }

    /// The connection hears of its user's conversations from now on.
    pub fn add(&self, connection: Arc<Connection>) {
        self.by_user.write().entry(connection.user.clone()).or_default().push(connection);
    }

    /// The connection is gone.
    pub fn remove(&self, connection: &Connection) {
        let mut by_user = self.by_user.write();
        if let Some(connections) = by_user.get_mut(&connection.user) {
            connections.retain(|other| other.id != connection.id);
            if connections.is_empty() {
                by_user.remove(&connection.user);
            }
        }
    }

    /// The connections of a user.
    pub fn of(&self, user: &UserId) -> Vec<Arc<Connection>> {
        self.by_user.read().get(user).cloned().unwrap_or_default()
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}
