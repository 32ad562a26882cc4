//! Admitting a connection: the token, the number of connections, the handlers (S1.1).

use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;

use ackscope_protocol::error::{ErrorCode, WireError};
use serde::Deserialize;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::SocketRef;
use socketioxide::handler::ConnectHandler;
use socketioxide::socket::Socket;
use socketioxide_core::Value;

use super::handlers;
use super::inbound::Inbound;
use super::sessions::Connection;
use crate::node::Services;

/// Admits connections to `/chat`.
///
/// It is a handler of its own kind and not a closure, because closures run as tasks of their own: the event
/// handlers must stand before the client is told that it is connected, or its first events are lost.
#[derive(Clone)]
pub struct Admission {
    services: Arc<Services>,
}

/// Marks [`Admission`] as a handler.
pub struct Ordered;

/// What the client sends with its CONNECT packet.
#[derive(Deserialize)]
struct Auth {
    token: String,
}

impl Admission {
    /// Connections to these services.
    pub fn new(services: Arc<Services>) -> Self {
        Self { services }
    }

    fn admit(&self, socket: &Arc<Socket<LocalAdapter>>, auth: Option<&Value>) -> Result<(), WireError> {
        let unauthenticated = |sentence: &str| WireError::new(ErrorCode::Unauthenticated, sentence);
        let Some(Value::Str(text, None)) = auth else {
            return Err(unauthenticated("connect with `auth.token`"));
        };
        let auth: Auth =
            serde_json::from_str(text).map_err(|_| unauthenticated("connect with `auth.token`, a signed JWT"))?;
        let user = self
            .services
            .token_key
            .verify(&auth.token, self.services.clock.now())
            .map_err(|error| unauthenticated(&error.to_string()))?;
        let Some(place) = self.services.sessions.take_place(self.services.limits.connections_max) else {
            return Err(WireError::new(
                ErrorCode::Overloaded,
                "this node has no place for another connection; try again",
            ));
        };

        let connection = Arc::new(Connection::new(user, &self.services.name, socket));
        let socket = SocketRef::from(Arc::clone(socket));
        let inbound = Inbound::start(Arc::clone(&self.services), Arc::clone(&connection));
        handlers::register(&socket, &inbound);

        // It hears of everything from before the client is told that it is connected: whoever asks right after that for
        // its conversations, or where `sync` stands, misses nothing that comes later. The library tells the client first
        // and calls [`Self::call`] then, while the client's first events may be worked on already.
        let listening = self.services.sessions.add(Arc::clone(&connection));
        // The closure must be cloneable; what it holds is given back with its last copy, also where it never runs.
        let kept = Arc::new((place, listening));
        let gone = Arc::clone(&connection);
        socket.on_disconnect(move |reason: socketioxide::socket::DisconnectReason| {
            let (_, listening) = &*kept;
            listening.end();
            tracing::debug!(connection = gone.id(), %reason, "disconnected");
            drop(kept);
            std::future::ready(())
        });
        socket.extensions.insert(connection);
        Ok(())
    }
}

impl ConnectHandler<LocalAdapter, Ordered> for Admission {
    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket<LocalAdapter>>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>> {
        let admitted = self.admit(&socket, auth.as_ref());
        Box::pin(std::future::ready(admitted.map_err(|error| Box::new(error) as Box<dyn Display + Send>)))
    }

    fn call(&self, socket: Arc<Socket<LocalAdapter>>, _: Option<Value>) {
        // Before this the library takes it for gone and drops what is written.
        if let Some(connection) = socket.extensions.get::<Arc<Connection>>() {
            connection.open();
        }
    }
}
