//! The clients of the backend against the services: round trips, limits, and every fault.

mod faults;
mod media;
mod search;
mod wrong_answers;

use std::time::Duration;

use ackscope_core::clients::{BreakerOptions, ClientOptions, MediaClient, SearchClient};
use ackscope_protocol::{ConversationId, MediaId, MessageId, UserId};
use uuid::Uuid;

/// Longer than anything here takes on a busy machine; only a test that fails waits for it.
const LONG: Duration = Duration::from_secs(30);

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn some_media() -> MediaId {
    MediaId::from_uuid(Uuid::new_v4())
}

fn some_message() -> MessageId {
    MessageId::from_uuid(Uuid::new_v4())
}

fn some_conversation() -> ConversationId {
    ConversationId::from_uuid(Uuid::new_v4())
}

fn options(url: &str) -> ClientOptions {
    ClientOptions { base_url: Some(url.into()), timeout: LONG, breaker: BreakerOptions::default() }
}

fn media_client(url: &str) -> MediaClient {
    MediaClient::new(options(url)).unwrap()
}

fn search_client(url: &str) -> SearchClient {
    SearchClient::new(options(url)).unwrap()
}

/// Waits until `condition` holds.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let held = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, held).await.is_ok(), "never happened: {what}");
}
