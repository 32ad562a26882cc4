//! The media client against the media service, and files going in and out.

use std::time::Duration;

use ackscope_core::clients::transport::http_client_builder;
use ackscope_core::clients::{BreakerState, ClientError, MediaClient};
use ackscope_core::clock::Clock;
use ackscope_protocol::MediaId;
use ackscope_protocol::text::FileName;
use ackscope_protocol::wire::{MediaState, UploadUrl, UploadUrlAnswer};
use tokio::task::JoinSet;

use super::super::{MediaOptions, MediaService};
use super::{LONG, media_client, some_media, user};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
const MAX: u64 = 25 * 1024 * 1024;

async fn start(options: MediaOptions) -> (MediaService, MediaClient) {
    let service = MediaService::start(options).await.unwrap();
    let client = media_client(service.url());
    (service, client)
}

fn file(content_type: &str, size_bytes: u64) -> UploadUrl {
    UploadUrl { file_name: FileName::new("holiday.png").unwrap(), content_type: content_type.into(), size_bytes }
}

async fn announce(client: &MediaClient, content_type: &str, size_bytes: usize) -> UploadUrlAnswer {
    client.upload_url(&user("alice"), &file(content_type, size_bytes as u64)).await.unwrap()
}

/// Status and reason of a `PUT`; success has no reason.
async fn put(url: &str, content_type: Option<&str>, bytes: Vec<u8>) -> (u16, String) {
    let mut request = http_client_builder(false).unwrap().build().unwrap().put(url).body(bytes);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    answered(request).await
}

async fn answered(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: serde_json::Value = answer.json().await.unwrap();
    (status, body["error"]["reason"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

async fn get(url: &str) -> reqwest::Response {
    http_client_builder(false).unwrap().build().unwrap().get(url).send().await.unwrap()
}

async fn state_for(client: &MediaClient, owner: &str, media: MediaId) -> MediaState {
    client.check(&user(owner), &[media], LONG).await.unwrap()[0]
}

#[tokio::test]
async fn a_file_goes_in_and_comes_out() {
    let (service, client) = start(MediaOptions::default()).await;
    let mut request = file("Image/PNG; x=y", PNG.len() as u64);
    request.file_name = FileName::new("Grüße \"aus\"\r\n../Köln.png").unwrap();
    let announced = client.upload_url(&user("alice"), &request).await.unwrap();
    let media = announced.media_id;
    assert_eq!(state_for(&client, "alice", media).await, MediaState::Invalid, "announced only");
    assert_eq!(client.owner(media).await, Ok(Some(user("alice"))));
    assert_eq!(client.download_url(media).await, Ok(None), "announced only");

    assert_eq!(put(&announced.url, Some("image/png"), PNG.to_vec()).await, (201, String::new()));
    assert_eq!(state_for(&client, "alice", media).await, MediaState::Verified);
    assert_eq!(state_for(&client, "bob", media).await, MediaState::Invalid, "somebody else's");
    assert_eq!(service.bytes(media).await.unwrap().unwrap(), PNG);
    let item = service.item(media).await.unwrap().unwrap();
    assert!(item.is_uploaded);
    assert_eq!(item.content_type, "image/png");

    let download = client.download_url(media).await.unwrap().unwrap();
    let answer = get(&download.url).await;
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(
        answer.headers()["content-disposition"],
        "attachment; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%22aus%22%0D%0A..%2FK%C3%B6ln.png"
    );
    assert_eq!(answer.bytes().await.unwrap(), PNG);

    assert_eq!(client.delete(media).await, Ok(()));
    assert_eq!(client.delete(media).await, Ok(()), "gone already");
    assert_eq!(client.owner(media).await, Ok(None));
    assert_eq!(client.download_url(media).await, Ok(None));
    assert_eq!(state_for(&client, "alice", media).await, MediaState::Invalid);
    assert_eq!(get(&download.url).await.status().as_u16(), 404);
    assert_eq!(client.breaker_state(), BreakerState::Closed);
    service.shutdown().await;
}

#[tokio::test]
async fn one_request_checks_all_in_order() {
    let (service, client) = start(MediaOptions::default()).await;
    let announced = [announce(&client, "image/png", PNG.len()).await, announce(&client, "image/png", PNG.len()).await];
    put(&announced[1].url, None, PNG.to_vec()).await;
    let media = [some_media(), announced[1].media_id, announced[0].media_id, announced[1].media_id];
    let before = service.faults().requests();
    let states = client.check(&user("alice"), &media, LONG).await.unwrap();
    assert_eq!(states, [MediaState::Invalid, MediaState::Verified, MediaState::Invalid, MediaState::Verified]);
    assert_eq!(service.faults().requests(), before + 1);
    assert_eq!(client.check(&user("alice"), &[], LONG).await, Ok(vec![]));
    assert_eq!(service.faults().requests(), before + 1, "nothing to ask");
    service.shutdown().await;
}

#[tokio::test]
async fn announcements_at_the_limits() {
    let (service, client) = start(MediaOptions::default()).await;
    for (content_type, size, reason) in [
        ("image/png", 0, Some("empty")),
        ("image/png", 1, None),
        ("image/png", MAX, None),
        ("image/png", MAX + 1, Some("too_large")),
        ("image/png", u64::MAX, Some("too_large")),
        ("image/svg+xml", 10, Some("type_not_allowed")),
        ("text/html", 10, Some("type_not_allowed")),
        ("application/octet-stream", 10, Some("type_not_allowed")),
        ("", 10, Some("type_not_allowed")),
        ("image/png\0", 10, Some("type_not_allowed")),
        ("TEXT/plain; charset=utf-8", 10, None),
    ] {
        let outcome = client.upload_url(&user("alice"), &file(content_type, size)).await;
        let refusal = reason.map(|reason| ClientError::Refused { reason: reason.into() });
        assert_eq!(outcome.err(), refusal, "{content_type:?} of {size}");
    }
    assert_eq!(client.breaker_state(), BreakerState::Closed, "refusals do not count");
    service.shutdown().await;
}

#[tokio::test]
async fn what_is_put_must_be_what_was_announced() {
    let (service, client) = start(MediaOptions::default()).await;
    let announced = announce(&client, "image/png", PNG.len()).await;
    let longer = [PNG, b"x"].concat();
    let mut gif = PNG.to_vec();
    gif[..6].copy_from_slice(b"GIF89a");
    for (content_type, bytes, reason) in [
        (None, PNG[1..].to_vec(), "size_mismatch"),
        (None, longer, "size_mismatch"),
        (None, vec![], "size_mismatch"),
        (None, vec![0; 1024 * 1024], "size_mismatch"),
        (None, vec![0; PNG.len()], "type_mismatch"),
        (None, gif, "type_mismatch"),
        (Some("image/gif"), PNG.to_vec(), "type_mismatch"),
    ] {
        let size = bytes.len();
        assert_eq!(put(&announced.url, content_type, bytes).await, refused(422, reason), "{size} bytes");
        assert_eq!(state_for(&client, "alice", announced.media_id).await, MediaState::Invalid);
    }
    // After all that the right file is still taken, once.
    assert_eq!(put(&announced.url, Some("image/png"), PNG.to_vec()).await.0, 201);
    assert_eq!(put(&announced.url, Some("image/png"), PNG.to_vec()).await, refused(409, "already_uploaded"));
    service.shutdown().await;
}

#[tokio::test]
async fn the_largest_file_goes_through() {
    let (service, client) = start(MediaOptions::default()).await;
    let bytes = vec![b'a'; 25 * 1024 * 1024];
    let announced = announce(&client, "text/plain", bytes.len()).await;
    let longer = [&bytes[..], b"a"].concat();
    assert_eq!(put(&announced.url, None, longer).await, refused(422, "size_mismatch"));
    assert_eq!(put(&announced.url, None, bytes.clone()).await.0, 201);
    let download = client.download_url(announced.media_id).await.unwrap().unwrap();
    assert_eq!(get(&download.url).await.bytes().await.unwrap(), bytes);
    service.shutdown().await;
}

#[tokio::test]
async fn addresses_hold_for_one_thing_and_a_while() {
    let clock = Clock::default();
    let lifetime = Duration::from_mins(15);
    let (service, client) = start(MediaOptions { clock: clock.clone(), ..MediaOptions::default() }).await;
    let announced = announce(&client, "image/png", PNG.len()).await;
    let other = announce(&client, "image/png", PNG.len()).await;
    let left = announced.expires_at.millis_since(clock.now());
    assert!((0..=lifetime.as_millis().try_into().unwrap()).contains(&left), "{left} ms left");

    let (path, grant) = announced.url.split_once('?').unwrap();
    let later = grant.replacen("expires_ms=", "expires_ms=9", 1);
    let other_path = other.url.split_once('?').unwrap().0;
    for forged in [
        path.to_owned(),
        format!("{path}?{later}"),
        format!("{other_path}?{grant}"),
        format!("{path}?expires_ms=x&signature="),
    ] {
        assert_eq!(put(&forged, None, PNG.to_vec()).await, refused(403, "bad_signature"), "{forged}");
        assert_eq!(get(&forged).await.status().as_u16(), 403, "{forged}");
    }
    assert_eq!(get(&announced.url).await.status().as_u16(), 403, "an upload URL downloads nothing");
    assert_eq!(put(&announced.url, None, PNG.to_vec()).await.0, 201);

    let download = client.download_url(announced.media_id).await.unwrap().unwrap();
    assert_eq!(get(&download.url).await.status().as_u16(), 200);
    assert_eq!(put(&download.url, None, PNG.to_vec()).await, refused(403, "bad_signature"));
    clock.advance_ms(15 * 60 * 1_000);
    let expired = get(&download.url).await;
    assert_eq!(expired.status().as_u16(), 403);
    assert!(expired.text().await.unwrap().contains("expired"));
    assert_eq!(put(&other.url, None, PNG.to_vec()).await, refused(403, "expired"));
    assert_eq!(state_for(&client, "alice", announced.media_id).await, MediaState::Verified, "files do not expire");
    service.shutdown().await;
}

#[tokio::test]
async fn of_many_uploads_to_one_address_one_succeeds() {
    let (service, client) = start(MediaOptions::default()).await;
    let announced = announce(&client, "image/png", PNG.len()).await;
    let mut uploads = JoinSet::new();
    for _ in 0..20 {
        let url = announced.url.clone();
        uploads.spawn(async move { put(&url, None, PNG.to_vec()).await.0 });
    }
    let outcomes = uploads.join_all().await;
    assert_eq!(outcomes.iter().filter(|status| **status == 201).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|status| matches!(status, 201 | 409)), "{outcomes:?}");
    service.shutdown().await;
}

#[tokio::test]
async fn storage_is_bounded_and_what_never_came_makes_room() {
    let clock = Clock::default();
    let options = MediaOptions { clock: clock.clone(), total_max_bytes: 100, items_max: 3, ..MediaOptions::default() };
    let (service, client) = start(options).await;
    let full = Err(ClientError::Status { status: 507 });
    let ask = async |size| client.upload_url(&user("alice"), &file("text/plain", size)).await.map(|_| ());
    assert_eq!(ask(60).await, Ok(()));
    assert_eq!(ask(41).await, full);
    assert_eq!(ask(40).await, Ok(()));
    assert_eq!(ask(1).await, full);
    clock.advance_ms(15 * 60 * 1_000);
    for size in [98, 1, 1] {
        assert_eq!(ask(size).await, Ok(()));
    }
    clock.advance_ms(15 * 60 * 1_000);
    for _ in 0..3 {
        assert_eq!(ask(1).await, Ok(()));
    }
    assert_eq!(ask(1).await, full, "a fourth item");
    assert_eq!(service.items(None, 10).await.unwrap().len(), 3);
    service.shutdown().await;
}

#[tokio::test]
async fn files_in_a_folder_are_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = MediaOptions { folder: Some(folder.path().join("media")), ..MediaOptions::default() };
    let (service, client) = start(options.clone()).await;
    let announced = announce(&client, "image/png", PNG.len()).await;
    put(&announced.url, None, PNG.to_vec()).await;
    service.shutdown().await;
    let (service, client) = start(options).await;
    assert_eq!(state_for(&client, "alice", announced.media_id).await, MediaState::Verified);
    let download = client.download_url(announced.media_id).await.unwrap().unwrap();
    assert_eq!(get(&download.url).await.bytes().await.unwrap(), PNG);
    service.shutdown().await;
}

#[tokio::test]
async fn what_is_no_id_is_not_found() {
    let (service, _) = start(MediaOptions::default()).await;
    for path in ["media/x", "media/%00", "media/..%2f..%2fetc", "bytes/x?expires_ms=1&signature=1"] {
        let http = http_client_builder(false).unwrap().build().unwrap();
        let outcome = answered(http.get(format!("{}/{path}", service.url()))).await;
        assert_eq!(outcome, refused(404, "not_found"), "{path}");
    }
    service.shutdown().await;
}
