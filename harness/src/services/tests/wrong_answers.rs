//! Services that answer, and wrongly.

use std::convert::Infallible;
use std::time::Duration;

use ackscope_core::clients::{ClientError, MediaClient, SearchClient};
use ackscope_protocol::text::FileName;
use ackscope_protocol::wire::UploadUrl;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;

use super::super::server::{Listening, Server};
use super::{media_client, options, search_client, some_conversation, some_media, some_message, user};

/// A service that gives one answer to everything.
async fn always(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Server {
    let listening = Listening::start().await.unwrap();
    let app = Router::new().route("/{*path}", axum::routing::any(async move || answer()));
    listening.serve(app, 0)
}

async fn always_json(body: serde_json::Value) -> Server {
    let text = body.to_string();
    always(move || text.clone().into_response()).await
}

async fn check_two(client: &MediaClient) -> Result<(), ClientError> {
    client.check(&user("alice"), &[some_media(), some_media()], super::LONG).await.map(|_| ())
}

fn assert_malformed<T: std::fmt::Debug>(outcome: &Result<T, ClientError>) {
    assert!(matches!(outcome, Err(ClientError::Malformed(_))), "{outcome:?}");
}

#[tokio::test]
async fn states_that_do_not_belong_to_the_items() {
    for states in [
        json!({"states": []}),
        json!({"states": ["verified"]}),
        json!({"states": ["verified", "invalid", "verified"]}),
        json!({"states": ["verified", "unverified"]}),
        json!({"states": ["verified", "VERIFIED"]}),
        json!({"states": ["verified", null]}),
        json!(["verified", "verified"]),
    ] {
        let service = always_json(states).await;
        assert_malformed(&check_two(&media_client(service.url())).await);
        service.shutdown().await;
    }
}

#[tokio::test]
async fn answers_about_something_else() {
    let service = always_json(json!({"media_id": some_media(), "owner": "mallory"})).await;
    let client = media_client(service.url());
    assert_malformed(&client.owner(some_media()).await);
    assert_malformed(&client.delete(some_media()).await);
    service.shutdown().await;
    let service = always_json(json!({"applied": 2})).await;
    assert_malformed(&search_client(service.url()).apply(&[super::search::put("x", 1)]).await);
    service.shutdown().await;
}

#[tokio::test]
async fn addresses_that_no_user_should_get() {
    let at = "2026-01-31T12:00:00.000Z";
    let file = UploadUrl { file_name: FileName::new("a").unwrap(), content_type: "text/plain".into(), size_bytes: 1 };
    for url in ["", "relative", "javascript:alert(1)", "file:///etc/passwd"] {
        let service = always_json(json!({"media_id": some_media(), "url": url, "expires_at": at})).await;
        let client = media_client(service.url());
        assert_malformed(&client.upload_url(&user("alice"), &file).await);
        assert_malformed(&client.download_url(some_media()).await);
        service.shutdown().await;
    }
}

#[tokio::test]
async fn hits_that_were_not_asked_for() {
    async fn ask(client: &SearchClient, conversation: ackscope_protocol::ConversationId) -> Result<usize, ClientError> {
        client.query("x", &[conversation], 2, 0).await.map(|hits| hits.len())
    }
    let ours = some_conversation();
    let hit = |conversation_id| json!({"message_id": some_message(), "conversation_id": conversation_id});
    let twice = hit(ours);
    for (hits, is_sound) in [
        (json!([hit(ours), hit(ours)]), true),
        (json!([hit(ours), hit(ours), hit(ours)]), false),
        (json!([hit(ours), hit(some_conversation())]), false),
        (json!([twice, twice]), false),
        (json!([{"message_id": "x", "conversation_id": ours}]), false),
    ] {
        let service = always_json(json!({"hits": hits})).await;
        let outcome = ask(&search_client(service.url()), ours).await;
        if is_sound {
            assert_eq!(outcome, Ok(2));
        } else {
            assert_malformed(&outcome);
        }
        service.shutdown().await;
    }
}

#[tokio::test]
async fn a_flood_is_not_read_to_its_end() {
    let flood = || {
        // Never ends; 64 KiB at a time.
        let pieces = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from(vec![b' '; 65_536])));
        Body::from_stream(pieces).into_response()
    };
    let service = always(flood).await;
    let client = media_client(service.url());
    assert_malformed(&tokio::time::timeout(Duration::from_mins(1), check_two(&client)).await.unwrap());
    service.shutdown().await;
}

#[tokio::test]
async fn only_refusals_are_refusals() {
    let body = r#"{"error": {"reason": "no"}}"#;
    for status in [201, 301, 302, 307, 400, 404, 408, 422, 429, 500, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        // A redirect leads to an answer that would be fine; it must not be followed.
        let service = always(move || (status, [(header::LOCATION, "/elsewhere")], body).into_response()).await;
        let outcome = check_two(&media_client(service.url())).await;
        match status.as_u16() {
            201 => assert_malformed(&outcome),
            400 | 404 | 422 => assert_eq!(outcome, Err(ClientError::Refused { reason: "no".into() })),
            status => assert_eq!(outcome, Err(ClientError::Status { status })),
        }
        assert_eq!(service.faults().requests(), 1, "asked once for {status}");
        service.shutdown().await;
    }
}

#[tokio::test]
async fn a_service_without_tls_is_unreachable_over_https() {
    let service = always_json(json!({"states": ["verified", "verified"]})).await;
    let client = match MediaClient::new(options(&service.url().replace("http://", "https://"))) {
        // A bare machine: the error says so, and there is nothing more to be seen here.
        Err(ClientError::InvalidUrl(problem)) if problem.contains("No CA certificates") => return,
        client => client.unwrap(),
    };
    let outcome = check_two(&client).await;
    assert!(matches!(outcome, Err(ClientError::Unreachable(_))), "{outcome:?}");
    service.shutdown().await;
}

#[tokio::test]
async fn a_wrong_path_is_no_missing_item() {
    let service = Listening::start().await.unwrap().serve(Router::new(), 0);
    let client = media_client(service.url());
    let refused = Err(ClientError::Refused { reason: "no_such_route".into() });
    assert_eq!(client.owner(some_media()).await, refused.clone().map(|()| None));
    assert_eq!(client.delete(some_media()).await, refused);
    service.shutdown().await;
}

#[tokio::test]
async fn refusals_do_not_open_the_circuit() {
    let service = always(|| (StatusCode::NOT_FOUND, r#"{"error": {"reason": "not_found"}}"#).into_response()).await;
    let client = media_client(service.url());
    for _ in 0..20 {
        assert_eq!(client.owner(some_media()).await, Ok(None));
        assert_eq!(client.download_url(some_media()).await, Ok(None));
        assert_eq!(client.delete(some_media()).await, Ok(()));
        assert_eq!(check_two(&client).await, Err(ClientError::Refused { reason: "not_found".into() }));
    }
    service.shutdown().await;
}
