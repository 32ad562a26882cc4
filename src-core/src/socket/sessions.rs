//! Who is connected to this node, and writing to them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use ackscope_protocol::UserId;
use ackscope_protocol::error::{ErrorCode, WireError};
use ackscope_protocol::wire::ServerEvent;
use parking_lot::{Mutex, RwLock};
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};
use tokio::sync::SetOnce;

/// One connection of a user.
pub struct Connection {
    user: UserId,
    id: String,
    outlet: Outlet,
    /// Events did not fit into the connection's queue; it has to be told.
    is_behind: AtomicBool,
    /// Set when it can be written to.
    is_open: SetOnce<()>,
    /// What is to be written before that, in order.
    held: Mutex<Vec<ServerEvent>>,
}

/// Most events that are held for a connection that is not open yet. That takes microseconds, in which an honest client says
/// nothing.
const HELD_MAX: usize = 64;

/// Where events go.
enum Outlet {
    /// Weak, because the socket's own handlers hold the connection.
    Socket(Weak<Socket>),
    /// What a test looks at.
    #[cfg(test)]
    Captured(Mutex<Vec<ServerEvent>>),
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
        Self::with_outlet(user, id, Outlet::Socket(Arc::downgrade(socket)))
    }

    fn with_outlet(user: UserId, id: String, outlet: Outlet) -> Self {
        Self { user, id, outlet, is_behind: AtomicBool::new(false), is_open: SetOnce::new(), held: Mutex::default() }
    }

    /// A connection that keeps what it is told.
    #[cfg(test)]
    pub(crate) fn captured(user: &str, id: &str) -> Arc<Self> {
        let user = user.parse().expect("a user id");
        let connection = Self::with_outlet(user, id.to_owned(), Outlet::Captured(Mutex::default()));
        connection.open();
        Arc::new(connection)
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

    /// From now on it can be written to; what was held goes first.
    pub fn open(&self) {
        let mut held = self.held.lock();
        for event in held.drain(..) {
            self.emit_now(&event);
        }
        // Under the lock: nobody holds anything after this, nor writes before it. Set already is open already.
        let (Ok(()) | Err(_)) = self.is_open.set(());
    }

    /// Whether it can be written to.
    pub fn is_open(&self) -> bool {
        self.is_open.initialized()
    }

    /// Waits until it can be written to; forever, when the client was gone before it was told that it is connected.
    pub async fn opened(&self) {
        self.is_open.wait().await;
    }

    /// Hands an event to the connection's queue, at once. When the queue is full the event is left out, and the
    /// client is told with an `error` event before the next one that fits: it can `sync`.
    pub fn emit(&self, event: &ServerEvent) {
        if !self.is_open() {
            let mut held = self.held.lock();
            if !self.is_open() {
                if held.len() < HELD_MAX {
                    held.push(event.clone());
                } else {
                    self.fall_behind();
                }
                return;
            }
        }
        self.emit_now(event);
    }

    fn emit_now(&self, event: &ServerEvent) {
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

/// A connection that hears of its user's conversations.
#[derive(Debug)]
pub struct Listening {
    sessions: Arc<Sessions>,
    connection: Arc<Connection>,
}

impl Listening {
    /// Ends it.
    pub fn end(&self) {
        self.sessions.remove(&self.connection);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.end();
    }
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

    /// The connection hears of its user's conversations from now on, until what is returned is dropped.
    pub fn add(self: &Arc<Self>, connection: Arc<Connection>) -> Listening {
        self.by_user.write().entry(connection.user.clone()).or_default().push(Arc::clone(&connection));
        Listening { sessions: Arc::clone(self), connection }
    }

    /// The connection is gone.
    fn remove(&self, connection: &Connection) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(number: usize) -> ServerEvent {
        ServerEvent::Error(WireError::new(ErrorCode::Internal, number.to_string()))
    }

    fn not_open() -> Arc<Connection> {
        let user = "ana".parse().expect("a user id");
        Arc::new(Connection::with_outlet(user, "node/1".to_owned(), Outlet::Captured(Mutex::default())))
    }

    #[test]
    fn what_is_told_before_a_connection_is_open_comes_first_when_it_is() {
        let connection = not_open();
        connection.emit(&told(0));
        connection.emit(&told(1));
        assert_eq!(connection.take_told(), []);
        connection.open();
        connection.emit(&told(2));
        assert_eq!(connection.take_told(), [0, 1, 2].map(told));
        connection.open();
        assert_eq!(connection.take_told(), [], "nothing is told twice");
    }

    #[test]
    fn what_is_too_much_before_that_is_missed_and_said() {
        let connection = not_open();
        for number in 0..=HELD_MAX {
            connection.emit(&told(number));
        }
        connection.open();
        assert_eq!(connection.take_told().len(), HELD_MAX + 1, "the first event also says that some were missed");
        let next = not_open();
        for number in 0..HELD_MAX {
            next.emit(&told(number));
        }
        next.open();
        assert_eq!(next.take_told(), (0..HELD_MAX).map(told).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn who_waits_for_an_open_connection_goes_on() {
        let connection = not_open();
        let waiting = connection.opened();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        connection.open();
        waiting.await;
    }

    #[test]
    fn a_connection_hears_until_its_listening_ends() {
        let (sessions, connection) = (Arc::new(Sessions::default()), not_open());
        let listening = sessions.add(Arc::clone(&connection));
        assert_eq!(sessions.of(connection.user()).len(), 1);
        drop(listening);
        assert!(sessions.of(connection.user()).is_empty());
    }
}
