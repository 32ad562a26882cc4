//! Putting a file where the media service says (S1.7).

use std::time::Duration;

use ackscope_protocol::MediaId;
use ackscope_protocol::error::WireError;
use ackscope_protocol::text::{FileName, TextError};
use ackscope_protocol::wire;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{SimulatedUser, UserError};

/// Longest wait for the simulated media service.
const UPLOAD_LIMIT: Duration = Duration::from_secs(10);
/// What the file is called unless told otherwise.
const FILE_NAME: &str = "picture.png";
/// The type of the picture.
const CONTENT_TYPE: &str = "image/png";
/// A PNG of one transparent pixel.
const PICTURE: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 6,
    0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0, 0, 10, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0, 1, 0, 0, 5, 0, 1, 0x0d,
    0x0a, 0x2d, 0xb4, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

/// Why a file was not uploaded. A refusal by the service is not among these: it is an answer.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The user could not ask.
    #[error(transparent)]
    User(#[from] UserError),
    /// The bytes did not get to the media service.
    #[error("the file was not uploaded: {0}")]
    Put(String),
    /// A file name of our own making is none.
    #[error("not a file name: {0}")]
    Name(#[from] TextError),
}

/// Asks `media:upload_url` for a small picture and puts its bytes there, as a client would.
pub fn upload_picture<'a>(
    user: &'a SimulatedUser,
    file_name: Option<&'a FileName>,
) -> BoxFuture<'a, Result<Result<MediaId, WireError>, UploadError>> {
    Box::pin(async move {
        let file_name = file_name.cloned().map_or_else(|| FileName::new(FILE_NAME), Ok)?;
        upload(user, file_name, CONTENT_TYPE, PICTURE).await
    })
}

/// Asks `media:upload_url` for a file and puts its bytes there, as a client would. The type is one line.
pub fn upload<'a>(
    user: &'a SimulatedUser,
    file_name: FileName,
    content_type: &'a str,
    bytes: &'a [u8],
) -> BoxFuture<'a, Result<Result<MediaId, WireError>, UploadError>> {
    Box::pin(async move {
        if content_type.chars().any(char::is_control) {
            return Err(UploadError::Put(format!("{content_type:?} is no media type")));
        }
        let request =
            wire::UploadUrl { file_name, content_type: content_type.to_owned(), size_bytes: bytes.len() as u64 };
        let answer = match user.request(&request).await? {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        match tokio::time::timeout(UPLOAD_LIMIT, put(&answer.url, content_type, bytes)).await {
            Ok(Ok(())) => Ok(Ok(answer.media_id)),
            Ok(Err(problem)) => Err(UploadError::Put(problem)),
            Err(_) => Err(UploadError::Put(format!("{} does not answer", answer.url))),
        }
    })
}

/// Puts bytes at an `http` address.
async fn put(url: &str, content_type: &str, bytes: &[u8]) -> Result<(), String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url} is not an http address"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let exchange = async {
        let mut stream = TcpStream::connect(host).await?;
        let length = bytes.len();
        let head = format!(
            "PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = exchange.await.map_err(|error| format!("{url}: {error}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split_whitespace().nth(1).unwrap_or_default();
    if status.starts_with('2') { Ok(()) } else { Err(format!("{url} answers with status {status}")) }
}
