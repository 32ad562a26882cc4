//! Which event goes where. Handlers translate; rules and I/O are the services'.

use ackscope_protocol::error::WireError;
use ackscope_protocol::wire::{
    AddParticipant, ArchiveConversation, CreateConversation, DeleteMessage, DownloadUrl, EditMessage, ForwardMessages,
    History, LeaveConversation, ListConversations, MuteConversation, React, RemoveParticipant, Request, SearchQuery,
    SendMessage, Sync, UnarchiveConversation, UnmuteConversation, Unreact, UploadUrl,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use socketioxide::extract::SocketRef;

use super::inbound::{Inbound, RequestHandler, SendHandler, UnknownHandler, Work};
use crate::changes::Later;

/// Registers every event of S1.8.
pub fn register(socket: &SocketRef, inbound: &Inbound) {
    socket.on(SendMessage::EVENT, SendHandler(inbound.clone()));
    if let Some(older) = SendMessage::OLDER_NAME {
        socket.on(older, SendHandler(inbound.clone()));
    }

    // What happens to messages is handed to the log in the order of the connection.
    request::<EditMessage>(socket, inbound, |services, caller, request| {
        services.changes.clone().edit(caller, request).boxed()
    });
    request::<DeleteMessage>(socket, inbound, |services, caller, request| {
        services.changes.clone().delete(caller, request).boxed()
    });
    request::<ForwardMessages>(socket, inbound, |services, caller, request| {
        services.changes.clone().forward(caller, request).boxed()
    });
    request::<React>(socket, inbound, |services, caller, request| {
        services.changes.clone().react(caller, request).boxed()
    });
    request::<Unreact>(socket, inbound, |services, caller, request| {
        services.changes.clone().unreact(caller, request).boxed()
    });

    // So are changes of conversations: a message that is sent after one was added reaches that one.
    request::<CreateConversation>(socket, inbound, |services, caller, request| {
        ordered(async move { services.conversations.create(&caller.user, &request).await })
    });
    request::<AddParticipant>(socket, inbound, |services, caller, request| {
        ordered(async move { services.conversations.add_participant(&caller.user, &request).await })
    });
    request::<RemoveParticipant>(socket, inbound, |services, caller, request| {
        ordered(async move { services.conversations.remove_participant(&caller.user, &request).await })
    });
    request::<LeaveConversation>(socket, inbound, |services, caller, request| {
        ordered(async move { services.conversations.leave(&caller.user, request.conversation_id).await })
    });
    request::<MuteConversation>(socket, inbound, |services, caller, request| {
        ordered(async move { services.conversations.mute(&caller.user, &request).await })
    });
    request::<UnmuteConversation>(socket, inbound, |services, caller, request| {
        ordered(async move { services.conversations.unmute(&caller.user, request.conversation_id).await })
    });
    request::<ArchiveConversation>(socket, inbound, |services, caller, request| {
        ordered(async move { services.conversations.archive(&caller.user, request.conversation_id, true).await })
    });
    request::<UnarchiveConversation>(socket, inbound, |services, caller, request| {
        ordered(async move { services.conversations.archive(&caller.user, request.conversation_id, false).await })
    });

    // Questions wait for nobody and nobody for them.
    request::<ListConversations>(socket, inbound, |services, caller, request| {
        side_by_side(async move { services.conversations.list(&caller.user, &request).await })
    });
    request::<History>(socket, inbound, |services, caller, request| {
        side_by_side(async move { services.messages.history(&caller.user, &request).await })
    });
    request::<UploadUrl>(socket, inbound, |services, caller, request| {
        side_by_side(async move { services.messages.media.upload_url(&caller.user, &request).await })
    });
    request::<DownloadUrl>(socket, inbound, |services, caller, request| {
        side_by_side(async move { services.messages.media.download_url(&caller.user, &request).await })
    });
    request::<SearchQuery>(socket, inbound, |services, caller, request| {
        side_by_side(async move { services.search.query(&caller.user, &request).await })
    });
    request::<Sync>(socket, inbound, |services, caller, request| {
        side_by_side(async move { services.sync.since(&caller.user, &request).await })
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

/// The whole of it stays in the connection's order.
fn ordered<T: Send + 'static>(
    work: impl Future<Output = Result<T, WireError>> + Send + 'static,
) -> BoxFuture<'static, Later<T>> {
    work.map(|result| std::future::ready(result).boxed()).boxed()
}

/// Nothing of it does.
fn side_by_side<T: Send + 'static>(
    work: impl Future<Output = Result<T, WireError>> + Send + 'static,
) -> BoxFuture<'static, Later<T>> {
    std::future::ready(work.boxed()).boxed()
}
