//! Files for the media service, as a client uploads and downloads them.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails there")]

use ackscope_harness::users::SimulatedUser;
use ackscope_protocol::MediaId;
use ackscope_protocol::text::FileName;
use ackscope_protocol::wire::UploadUrl;

/// A PNG of one pixel.
pub const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 6,
    0, 0, 0, 0x1f, 0x15, 0xc4, 0x89,
];

/// A request for a place to put [`PNG`].
pub fn png() -> UploadUrl {
    UploadUrl {
        file_name: FileName::new("dot.png").expect("a file name"),
        content_type: "image/png".to_owned(),
        size_bytes: PNG.len() as u64,
    }
}

/// An HTTP client as this house uses them.
pub fn http() -> reqwest::Client {
    ackscope_core::clients::transport::http_client_builder(false).expect("an HTTP client").build().expect("a client")
}

/// Announces [`PNG`] and uploads it.
pub async fn upload(user: &SimulatedUser) -> MediaId {
    let place = user.request(&png()).await.expect("an answer").expect("a place to upload to");
    let answer = http().put(&place.url).header("content-type", "image/png").body(PNG).send().await;
    let status = answer.expect("the media service answers").status();
    assert!(status.is_success(), "{status}");
    place.media_id
}

/// Downloads what a URL names.
pub async fn download(url: &str) -> Vec<u8> {
    let answer = http().get(url).send().await.expect("the media service answers");
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.bytes().await.expect("the whole file").to_vec()
}
