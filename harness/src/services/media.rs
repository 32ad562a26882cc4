//! The simulated media service: files go in with a signed URL and come out with another one.
//!
//! | request | answer |
//! |---|---|
//! | `POST /media` `{owner, file_name, content_type, size_bytes}` | 201 `{media_id, url, expires_at}` |
//! | `POST /media/check` `{owner, media}`, at most 100 | `{states}`: `verified` or `invalid` for each, in order |
//! | `GET /media/{media_id}` | `{media_id, owner, file_name, content_type, size_bytes, is_uploaded}` |
//! | `POST /media/{media_id}/download_url` | `{url, expires_at}` |
//! | `DELETE /media/{media_id}` | `{media_id}` |
//! | `PUT` of an upload URL, the body is the file | 201 `{media_id}` |
//! | `GET` of a download URL | the file |
//!
//! Reasons of refusals: `empty`, `too_large`, `type_not_allowed` and `storage_full` (507) of an
//! announcement; `not_found` of an item; `size_mismatch`, `type_mismatch`, `already_uploaded`, `bad_signature` and
//! `expired` of the URLs. An upload that was refused may be tried again until the URL expires; one that succeeded
//! makes its URL void. Expiry goes by the business clock. URLs are signed with a key of this start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ackscope_core::clock::Clock;
use ackscope_protocol::wire::{DownloadUrlAnswer, MediaState, UploadUrl, UploadUrlAnswer};
use ackscope_protocol::{MediaId, Timestamp, UserId};
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures_util::future::BoxFuture;
use futures_util::stream;
use hmac::{Hmac, Mac as _};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::ServiceError;
use super::database::Database;
use super::faults::{FaultSwitch, ServiceFault};
use super::media_types::{ALLOWED_TYPES, AllowedType, essence};
use super::search::parsed;
use super::server::{Listening, Refusal, Server, read_body, read_json};

/// Most bytes of a request that is no file.
const REQUEST_MAX_BYTES: u64 = 64 * 1024;
/// Most items of one check.
const CHECK_MAX: usize = 100;
/// Files that may be in memory at a time, going in or out.
const TRANSFERS_MAX: usize = 16;
/// How long a transfer waits for its turn.
const TRANSFER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Size of the pieces a file is sent in.
const PIECE_BYTES: usize = 64 * 1024;

const NOT_FOUND: Refusal = Refusal::new(StatusCode::NOT_FOUND, "not_found");
const ALREADY_UPLOADED: Refusal = Refusal::new(StatusCode::CONFLICT, "already_uploaded");
const BAD_SIGNATURE: Refusal = Refusal::new(StatusCode::FORBIDDEN, "bad_signature");
const EXPIRED: Refusal = Refusal::new(StatusCode::FORBIDDEN, "expired");
const SIZE_MISMATCH: Refusal = Refusal::unprocessable("size_mismatch");
const TYPE_MISMATCH: Refusal = Refusal::unprocessable("type_mismatch");
const STORAGE_FULL: Refusal = Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full");

const SCHEMA_VERSION: i64 = 1;
/// `bytes` is null until the file is uploaded, and last, so that the rest of a row is read without it.
const SCHEMA: &str = "
CREATE TABLE item (
    media_id TEXT PRIMARY KEY NOT NULL,
    owner TEXT NOT NULL,
    file_name TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    announced_at_ms INTEGER NOT NULL,
    upload_until_ms INTEGER NOT NULL,
    bytes BLOB
) STRICT;
CREATE INDEX item_size ON item (size_bytes);
CREATE INDEX item_announced ON item (upload_until_ms) WHERE bytes IS NULL;
";

/// Settings of the media service.
#[derive(Clone, Debug)]
pub struct MediaOptions {
    /// Where files are kept; none: in memory.
    pub folder: Option<PathBuf>,
    /// What URLs expire by.
    pub clock: Clock,
    /// Largest file that is taken.
    pub size_max_bytes: u64,
    /// Bytes of all files together; what is announced counts until it expires.
    pub total_max_bytes: u64,
    /// Items together, announced ones included.
    pub items_max: u64,
    /// Which files are taken.
    pub allowed_types: Vec<AllowedType>,
    /// How long an upload URL holds.
    pub upload_lifetime: Duration,
    /// How long a download URL holds.
    pub download_lifetime: Duration,
    /// For what its faults draw.
    pub seed: u64,
}

impl Default for MediaOptions {
    fn default() -> Self {
        Self {
            folder: None,
            clock: Clock::default(),
            size_max_bytes: 25 * 1024 * 1024,
            total_max_bytes: 512 * 1024 * 1024,
            items_max: 100_000,
            allowed_types: ALLOWED_TYPES.to_vec(),
            upload_lifetime: Duration::from_mins(15),
            download_lifetime: Duration::from_mins(15),
            seed: 0,
        }
    }
}

/// A file, or the announcement of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaItem {
    /// The id.
    pub media_id: MediaId,
    /// Who announced it.
    pub owner: UserId,
    /// The file's name.
    pub file_name: String,
    /// Its MIME type, in lower case and without parameters.
    pub content_type: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was announced.
    pub announced_at: Timestamp,
    /// Until when it can be uploaded.
    pub upload_until: Timestamp,
    /// Whether its bytes are there.
    pub is_uploaded: bool,
}

/// A running media service.
#[derive(Debug)]
pub struct MediaService {
    server: Server,
    database: Database,
}

/// What the handlers use.
struct Shared {
    options: MediaOptions,
    database: Database,
    signer: Signer,
    url: String,
    transfers: Arc<Semaphore>,
}

type Service = State<Arc<Shared>>;

impl MediaService {
    /// Starts it on a free port of loopback.
    pub fn start(options: MediaOptions) -> BoxFuture<'static, Result<Self, ServiceError>> {
        Box::pin(async move {
            let file = options.folder.as_ref().map(|folder| folder.join("media.sqlite"));
            let database = Database::open(file.as_deref(), SCHEMA_VERSION, SCHEMA).await?;
            let listening = Listening::start().await?;
            let seed = options.seed;
            let shared = Arc::new(Shared {
                options,
                database: database.clone(),
                signer: Signer::new(),
                url: listening.url(),
                transfers: Arc::new(Semaphore::new(TRANSFERS_MAX)),
            });
            let app = Router::new()
                .route("/media", post(announce))
                .route("/media/check", post(check))
                .route("/media/{media_id}", get(metadata).delete(delete))
                .route("/media/{media_id}/download_url", post(download_url))
                .route("/bytes/{media_id}", put(upload).get(download))
                .with_state(shared);
            Ok(Self { server: listening.serve(app, seed), database })
        })
    }

    /// Its address, as a client wants it.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// Sets the fault, or heals it.
    pub fn set_fault(&self, fault: Option<ServiceFault>) {
        self.server.faults().set(fault);
    }

    /// The fault switch.
    pub fn faults(&self) -> &FaultSwitch {
        self.server.faults()
    }

    /// What it knows of an item.
    pub async fn item(&self, media_id: MediaId) -> Result<Option<MediaItem>, ServiceError> {
        self.database.run(move |connection| item(connection, media_id)).await
    }

    /// Its items in the order of their ids: at most `limit`, after `after`.
    pub async fn items(&self, after: Option<MediaId>, limit: u32) -> Result<Vec<MediaItem>, ServiceError> {
        let after = after.map_or_else(String::new, |id| id.to_string());
        let page = "SELECT media_id, owner, file_name, content_type, size_bytes, announced_at_ms, upload_until_ms,
            bytes IS NOT NULL FROM item WHERE media_id > ?1 ORDER BY media_id LIMIT ?2";
        self.database
            .run(move |connection| {
                connection.prepare_cached(page)?.query_map(params![after, limit], item_of)?.collect()
            })
            .await
    }

    /// The bytes of an uploaded file.
    pub async fn bytes(&self, media_id: MediaId) -> Result<Option<Vec<u8>>, ServiceError> {
        self.database.run(move |connection| bytes(connection, media_id)).await
    }

    /// Answers what is under way and ends.
    pub fn shutdown(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.server.shutdown().await;
        })
    }
}

#[derive(Deserialize)]
struct Announcement {
    owner: UserId,
    #[serde(flatten)]
    file: UploadUrl,
}

async fn announce(State(shared): Service, request: Request) -> Result<Response, Refusal> {
    let Announcement { owner, file } = read_json(request, REQUEST_MAX_BYTES).await?;
    let options = &shared.options;
    let content_type = essence(&file.content_type);
    if file.size_bytes == 0 {
        return Err(Refusal::unprocessable("empty"));
    }
    if file.size_bytes > options.size_max_bytes {
        return Err(Refusal::unprocessable("too_large"));
    }
    if !options.allowed_types.iter().any(|allowed| allowed.content_type == content_type) {
        return Err(Refusal::unprocessable("type_not_allowed"));
    }
    let announced_at = options.clock.now();
    let item = MediaItem {
        media_id: MediaId::from_uuid(Uuid::new_v4()),
        owner,
        file_name: file.file_name.into_string(),
        content_type,
        size_bytes: file.size_bytes,
        announced_at,
        upload_until: later(announced_at, options.upload_lifetime),
        is_uploaded: false,
    };
    let (media_id, expires_at) = (item.media_id, item.upload_until);
    let (total_max_bytes, items_max) = (options.total_max_bytes, options.items_max);
    let has_room = shared.database.run(move |connection| insert(connection, &item, total_max_bytes, items_max)).await?;
    if !has_room {
        return Err(STORAGE_FULL);
    }
    let answer = UploadUrlAnswer { media_id, url: shared.signed_url(Right::Upload, media_id, expires_at), expires_at };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

#[derive(Deserialize)]
struct Check {
    owner: UserId,
    media: Vec<MediaId>,
}

async fn check(State(shared): Service, request: Request) -> Result<Response, Refusal> {
    let Check { owner, media } = read_json(request, REQUEST_MAX_BYTES).await?;
    if media.len() > CHECK_MAX {
        return Err(Refusal::unprocessable("too_many_items"));
    }
    let states = shared
        .database
        .run(move |connection| {
            let is_sound = |media_id| {
                let item = item(connection, media_id)?;
                Ok(item.is_some_and(|item| item.is_uploaded && item.owner == owner))
            };
            let state = |is_sound| if is_sound { MediaState::Verified } else { MediaState::Invalid };
            media.into_iter().map(|media_id| is_sound(media_id).map(state)).collect::<rusqlite::Result<Vec<_>>>()
        })
        .await?;
    Ok(Json(json!({"states": states})).into_response())
}

async fn metadata(State(shared): Service, Path(media_id): Path<String>) -> Result<Response, Refusal> {
    let media_id = id(&media_id)?;
    let item = shared.database.run(move |connection| item(connection, media_id)).await?.ok_or(NOT_FOUND)?;
    Ok(Json(json!({
        "media_id": item.media_id,
        "owner": item.owner,
        "file_name": item.file_name,
        "content_type": item.content_type,
        "size_bytes": item.size_bytes,
        "is_uploaded": item.is_uploaded,
    }))
    .into_response())
}

async fn download_url(State(shared): Service, Path(media_id): Path<String>) -> Result<Response, Refusal> {
    let media_id = id(&media_id)?;
    let item = shared.database.run(move |connection| item(connection, media_id)).await?;
    item.filter(|item| item.is_uploaded).ok_or(NOT_FOUND)?;
    let expires_at = later(shared.options.clock.now(), shared.options.download_lifetime);
    let url = shared.signed_url(Right::Download, media_id, expires_at);
    Ok(Json(DownloadUrlAnswer { url, expires_at }).into_response())
}

async fn delete(State(shared): Service, Path(media_id): Path<String>) -> Result<Response, Refusal> {
    let media_id = id(&media_id)?;
    let delete = "DELETE FROM item WHERE media_id = ?1";
    let deleted = shared
        .database
        .run(move |connection| connection.prepare_cached(delete)?.execute([media_id.to_string()]))
        .await?;
    if deleted == 0 { Err(NOT_FOUND) } else { Ok(Json(json!({"media_id": media_id})).into_response()) }
}

async fn upload(
    State(shared): Service,
    Path(media_id): Path<String>,
    grant: Result<Query<Grant>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let media_id = id(&media_id)?;
    shared.check_grant(Right::Upload, media_id, grant)?;
    let place = shared.transfer().await?;
    let item = shared.database.run(move |connection| item(connection, media_id)).await?.ok_or(NOT_FOUND)?;
    if item.is_uploaded {
        return Err(ALREADY_UPLOADED);
    }
    let claimed = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::to_str);
    let claims_another = claimed.is_some_and(|claimed| !claimed.is_ok_and(|it| essence(it) == item.content_type));
    let bytes = read_body(request, item.size_bytes, SIZE_MISMATCH).await?;
    if bytes.len() as u64 != item.size_bytes {
        return Err(SIZE_MISMATCH);
    }
    let mut allowed = shared.options.allowed_types.iter().filter(|allowed| allowed.content_type == item.content_type);
    if claims_another || !allowed.any(|allowed| allowed.content.fits(&bytes)) {
        return Err(TYPE_MISMATCH);
    }
    let store = "UPDATE item SET bytes = ?2 WHERE media_id = ?1 AND bytes IS NULL";
    let stored = shared
        .database
        .run(move |connection| connection.prepare_cached(store)?.execute(params![media_id.to_string(), bytes]))
        .await?;
    drop(place);
    // Somebody else was faster with the same URL, or the item was deleted meanwhile.
    if stored == 0 {
        Err(ALREADY_UPLOADED)
    } else {
        Ok((StatusCode::CREATED, Json(json!({"media_id": media_id}))).into_response())
    }
}

async fn download(
    State(shared): Service,
    Path(media_id): Path<String>,
    grant: Result<Query<Grant>, QueryRejection>,
) -> Result<Response, Refusal> {
    let media_id = id(&media_id)?;
    shared.check_grant(Right::Download, media_id, grant)?;
    let place = shared.transfer().await?;
    let (item, bytes) =
        shared.database.run(move |connection| Ok((item(connection, media_id)?, bytes(connection, media_id)?))).await?;
    let (Some(item), Some(bytes)) = (item, bytes) else { return Err(NOT_FOUND) };
    let name = percent_encoded(&item.file_name);
    let headers = [
        (header::CONTENT_TYPE, item.content_type),
        (header::CONTENT_LENGTH, bytes.len().to_string()),
        // A file of a stranger is saved, not shown, and never guessed at.
        (header::CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{name}")),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
    ];
    // The place is held until the last piece is gone.
    let pieces = stream::unfold((Bytes::from(bytes), place), |(mut rest, place)| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        Some((Ok::<_, std::convert::Infallible>(piece), (rest, place)))
    });
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// An id out of a path; what is none is no item.
fn id(text: &str) -> Result<MediaId, Refusal> {
    text.parse().map_err(|_| NOT_FOUND)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_millis(at.as_millis().saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

/// A file's name as a header takes it (RFC 5987).
fn percent_encoded(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let (Ok(()) | Err(_)) = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// Adds an announcement; false when there is no room for it.
fn insert(
    connection: &mut Connection,
    item: &MediaItem,
    total_max_bytes: u64,
    items_max: u64,
) -> rusqlite::Result<bool> {
    let transaction = connection.transaction()?;
    // What was announced and never came makes room.
    transaction
        .prepare_cached("DELETE FROM item WHERE bytes IS NULL AND upload_until_ms <= ?1")?
        .execute([item.announced_at.as_millis()])?;
    let (items, total): (u64, u64) = transaction
        .prepare_cached("SELECT count(*), coalesce(sum(size_bytes), 0) FROM item")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let has_room = items < items_max && total.saturating_add(item.size_bytes) <= total_max_bytes;
    if has_room {
        transaction
            .prepare_cached(
                "INSERT INTO item
                    (media_id, owner, file_name, content_type, size_bytes, announced_at_ms, upload_until_ms)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                item.media_id.to_string(),
                item.owner.as_str(),
                item.file_name,
                item.content_type,
                item.size_bytes,
                item.announced_at.as_millis(),
                item.upload_until.as_millis(),
            ])?;
    }
    transaction.commit()?;
    Ok(has_room)
}

fn item(connection: &Connection, media_id: MediaId) -> rusqlite::Result<Option<MediaItem>> {
    let one = "SELECT media_id, owner, file_name, content_type, size_bytes, announced_at_ms, upload_until_ms,
        bytes IS NOT NULL FROM item WHERE media_id = ?1";
    connection.prepare_cached(one)?.query_row([media_id.to_string()], item_of).optional()
}

fn item_of(row: &Row<'_>) -> rusqlite::Result<MediaItem> {
    Ok(MediaItem {
        media_id: parsed(row, 0)?,
        owner: parsed(row, 1)?,
        file_name: row.get(2)?,
        content_type: row.get(3)?,
        size_bytes: row.get(4)?,
        announced_at: Timestamp::from_millis(row.get(5)?),
        upload_until: Timestamp::from_millis(row.get(6)?),
        is_uploaded: row.get(7)?,
    })
}

fn bytes(connection: &Connection, media_id: MediaId) -> rusqlite::Result<Option<Vec<u8>>> {
    let one = "SELECT bytes FROM item WHERE media_id = ?1";
    Ok(connection.prepare_cached(one)?.query_row([media_id.to_string()], |row| row.get(0)).optional()?.flatten())
}

/// What a signed URL lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Upload,
    Download,
}

/// What a signed URL carries.
#[derive(Deserialize)]
struct Grant {
    expires_ms: i64,
    signature: String,
}

impl Shared {
    fn signed_url(&self, right: Right, media_id: MediaId, expires_at: Timestamp) -> String {
        let expires_ms = expires_at.as_millis();
        let signature = self.signer.sign(right, media_id, expires_ms);
        format!("{}/bytes/{media_id}?expires_ms={expires_ms}&signature={signature}", self.url)
    }

    fn check_grant(
        &self,
        right: Right,
        media_id: MediaId,
        grant: Result<Query<Grant>, QueryRejection>,
    ) -> Result<(), Refusal> {
        let Query(grant) = grant.map_err(|_| BAD_SIGNATURE)?;
        if !self.signer.holds(right, media_id, &grant) {
            return Err(BAD_SIGNATURE);
        }
        if self.options.clock.now().as_millis() < grant.expires_ms { Ok(()) } else { Err(EXPIRED) }
    }

    /// A place for a file in memory.
    async fn transfer(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = Arc::clone(&self.transfers).acquire_owned();
        let busy = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy");
        tokio::time::timeout(TRANSFER_WAIT_MAX, place).await.map_err(|_| busy)?.map_err(|_| busy)
    }
}

/// Signs URLs.
struct Signer {
    key: Hmac<Sha256>,
}

impl Signer {
    fn new() -> Self {
        // 244 random bits.
        let mut secret = [0_u8; 64];
        secret[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        secret[16..32].copy_from_slice(Uuid::new_v4().as_bytes());
        Self { key: Hmac::new(&secret.into()) }
    }

    fn sign(&self, right: Right, media_id: MediaId, expires_ms: i64) -> String {
        format!("{:x}", self.mac(right, media_id, expires_ms).finalize().into_bytes())
    }

    fn holds(&self, right: Right, media_id: MediaId, grant: &Grant) -> bool {
        use subtle::ConstantTimeEq as _;
        let expected = self.sign(right, media_id, grant.expires_ms);
        expected.as_bytes().ct_eq(grant.signature.as_bytes()).into()
    }

    fn mac(&self, right: Right, media_id: MediaId, expires_ms: i64) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(&[match right {
            Right::Upload => b'u',
            Right::Download => b'd',
        }]);
        mac.update(media_id.as_uuid().as_bytes());
        mac.update(&expires_ms.to_be_bytes());
        mac
    }
}
