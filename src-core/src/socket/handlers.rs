//! Which event goes where. Handlers translate; rules and I/O are the services'.

use ackscope_protocol::wire::{CreateConversation, History, ListConversations, Request, SendMessage, Sync};
use futures_util::FutureExt as _;
use socketioxide::extract::SocketRef;

use super::inbound::{Inbound, RequestHandler, SendHandler, UnknownHandler, Work};

/// Registers every event of S1.8 that is served.
pub fn register(socket: &SocketRef, inbound: &Inbound) {
    socket.on(SendMessage::EVENT, SendHandler(inbound.clone()));
    if let Some(older) = SendMessage::OLDER_NAME {
        socket.on(older, SendHandler(inbound.clone()));
    }
    request::<CreateConversation>(socket, inbound, |services, connection, request| {
        async move { services.conversations.create(connection.user(), &request).await }.boxed()
    });
    request::<ListConversations>(socket, inbound, |services, connection, request| {
        async move { services.conversations.list(connection.user(), &request).await }.boxed()
    });
    request::<History>(socket, inbound, |services, connection, request| {
        async move { services.messages.history(connection.user(), &request).await }.boxed()
    });
    request::<Sync>(socket, inbound, |services, connection, request| {
        async move { services.sync.since(connection.user(), &request).await }.boxed()
    });
    socket.on_fallback(UnknownHandler(inbound.clone()));
}

fn request<R>(socket: &SocketRef, inbound: &Inbound, work: Work<R>)
where
    R: Request + Send + 'static,
    R::Answer: Send,
{
    socket.on(R::EVENT, RequestHandler { inbound: inbound.clone(), work });
}
