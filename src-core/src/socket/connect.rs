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

        // The closure must be cloneable; the place is given back with its last copy.
        let place = Arc::new(place);
        let services = Arc::clone(&self.services);
        let gone = Arc::clone(&connection);
        socket.on_disconnect(move |reason: socketioxide::socket::DisconnectReason| {
            services.sessions.remove(&gone);
            tracing::debug!(connection = gone.id(), %reason, "disconnected");
            drop(place);
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
        let Some(connection) = socket.extensions.get::<Arc<Connection>>() else { return };
        self.services.sessions.add(Arc::clone(&connection));
        // It may have gone between the two: then its disconnect handler ran before it was added.
        if !socket.connected() {
            self.services.sessions.remove(&connection);
        }
    }
}
