//! One exchange with a service over HTTP: within a timeout, with a bounded answer, through the circuit breaker.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url, redirect};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::breaker::{Breaker, BreakerState};
use super::{ClientError, ClientOptions};

/// Most bytes of an answer that are read. The largest one expected, a page of search results, is below a tenth
/// of it.
const ANSWER_MAX_BYTES: usize = 1024 * 1024;
/// Most exchanges with one service at a time: each is a connection. Further ones wait, inside their timeout.
const CONCURRENT_MAX: usize = 256;
/// Connections that are kept for the next exchange.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// How long. Shorter than servers usually keep theirs, so that it is rarely the server that closes one just
/// when it is used again.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// Longest timeout that can be set; longer ones are this one.
const TIMEOUT_MAX: Duration = Duration::from_hours(1);
/// Most characters of a refusal's reason.
const REASON_MAX_CHARS: usize = 200;
/// Most bytes of a URL that a service hands out.
const URL_MAX_BYTES: usize = 4_096;

/// The way to one service.
#[derive(Debug)]
pub(super) struct Transport {
    target: Option<Target>,
    timeout: Duration,
    breaker: Breaker,
    places: Semaphore,
}

#[derive(Debug)]
struct Target {
    base: Url,
    http: reqwest::Client,
}

impl Transport {
    pub(super) fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let ClientOptions { base_url, timeout, breaker } = options;
        Ok(Self {
            target: base_url.map(|url| Target::new(&url)).transpose()?,
            timeout: timeout.min(TIMEOUT_MAX),
            breaker: Breaker::new(breaker),
            places: Semaphore::new(CONCURRENT_MAX),
        })
    }

    pub(super) fn is_configured(&self) -> bool {
        self.target.is_some()
    }

    pub(super) fn breaker_state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// The client's own timeout.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks, and lets `read` make sense of the body of a success; the text it fails with says what is wrong.
    ///
    /// `limit` cannot make the client's own timeout longer.
    pub(super) async fn exchange<T>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&(impl Serialize + Sync)>,
        limit: Duration,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, ClientError> {
        let target = self.target.as_ref().ok_or(ClientError::NotConfigured)?;
        let limit = limit.min(self.timeout);
        if limit.is_zero() {
            // The caller's budget is used up: that is not the service's fault and must not open the circuit.
            return Err(ClientError::TimedOut(limit));
        }
        let mut permit = None;
        let asked = timeout(limit, async {
            let place = self.places.acquire().await;
            permit = Some(self.breaker.admit().ok_or(ClientError::CircuitOpen)?);
            let answer = target.send(method, path, body).await;
            drop(place);
            answer.and_then(|bytes| read(&bytes).map_err(ClientError::Malformed))
        });
        let outcome = asked.await.unwrap_or(Err(ClientError::TimedOut(limit)));
        match (permit, &outcome) {
            (Some(permit), Err(error)) if error.is_unavailable() => permit.failed(),
            (Some(permit), _) => permit.succeeded(),
            // No place within the timeout, or not let through: the service was not asked.
            (None, _) => {}
        }
        outcome
    }
}

impl Target {
    fn new(base_url: &str) -> Result<Self, ClientError> {
        let base = service_address(base_url)?;
        let http = http_client_builder(base.scheme() == "https")?
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_MAX)
            .build()
            .map_err(|error| ClientError::InvalidUrl(describe(error)))?;
        Ok(Self { base, http })
    }

    /// The body of a success.
    async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Vec<u8>, ClientError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |error| ClientError::Unreachable(describe(error));
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > ANSWER_MAX_BYTES {
                return Err(ClientError::Malformed(format!("longer than {ANSWER_MAX_BYTES} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(bytes);
        }
        Err(refusal(status, &bytes).unwrap_or(ClientError::Status { status: status.as_u16() }))
    }
}

/// What was set as a service's address.
fn service_address(base_url: &str) -> Result<Url, ClientError> {
    let invalid = |problem: &str| ClientError::InvalidUrl(format!("{problem}: {base_url}"));
    let base = Url::parse(base_url.trim()).map_err(|error| invalid(&error.to_string()))?;
    if !is_web(&base) {
        return Err(invalid("it must begin with http:// or https://"));
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err(invalid("it must have neither a query nor a fragment"));
    }
    Ok(base)
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    reason: String,
}

/// The refusal an answer is, if it is one.
fn refusal(status: StatusCode, body: &[u8]) -> Option<ClientError> {
    let says_not_now = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if !status.is_client_error() || says_not_now {
        return None;
    }
    let reason = serde_json::from_slice::<ErrorAnswer>(body).ok()?.error.reason;
    let is_sound = (1..=REASON_MAX_CHARS).contains(&reason.chars().count()) && !reason.chars().any(char::is_control);
    is_sound.then_some(ClientError::Refused { reason })
}

/// Reads JSON; the error says what is wrong.
pub(super) fn json<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// Whether a service may hand `url` to users: http or https and of a bearable length.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    let is_sound = url.len() <= URL_MAX_BYTES && Url::parse(url).is_ok_and(|url| is_web(&url));
    if is_sound { Ok(()) } else { Err("the URL in it is none".into()) }
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

/// An HTTP client as this house uses them: no proxy from the environment, no redirects, and TLS that needs
/// nothing set for the whole process. With `uses_tls` the machine's own certificates are read.
pub fn http_client_builder(uses_tls: bool) -> Result<reqwest::ClientBuilder, ClientError> {
    let failed = |error: rustls::Error| ClientError::InvalidUrl(format!("TLS cannot be set up: {error}"));
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    // A machine without certificates must still reach a service on plain HTTP, so they are read only when needed.
    let tls = if uses_tls {
        tls.with_platform_verifier().map_err(failed)?
    } else {
        tls.with_root_certificates(RootCertStore::empty())
    };
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls.with_no_client_auth())
        .redirect(redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("ackscope/", env!("CARGO_PKG_VERSION"))))
}

/// The whole chain of causes in one line, without the URL: it may hold a password.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(base_url: &str) -> Result<Transport, ClientError> {
        Transport::new(ClientOptions::media(Some(base_url.into())))
    }

    #[test]
    fn an_address_is_checked_when_the_client_is_made() {
        for good in ["http://127.0.0.1:1", "http://media/", " https://media.example.org/v1/ ", "http://u:p@[::1]:8/x"] {
            assert!(service_address(good).is_ok(), "{good}");
        }
        for bad in ["", "media", "127.0.0.1:80", "ftp://media", "http://", "http://x y", "file:///etc", "http://m/?a=b"]
        {
            assert!(matches!(transport(bad), Err(ClientError::InvalidUrl(_))), "{bad}");
        }
        assert!(transport("http://127.0.0.1:1").unwrap().is_configured());
        assert!(!Transport::new(ClientOptions::media(None)).unwrap().is_configured());
    }

    #[test]
    fn only_a_well_formed_4xx_is_a_refusal() {
        let body = br#"{"error": {"reason": "type_not_allowed", "more": 1}}"#;
        let refused = Some(ClientError::Refused { reason: "type_not_allowed".into() });
        assert_eq!(refusal(StatusCode::UNPROCESSABLE_ENTITY, body), refused);
        assert_eq!(refusal(StatusCode::NOT_FOUND, body), refused);
        for status in [200, 302, 408, 429, 500, 503] {
            assert_eq!(refusal(StatusCode::from_u16(status).unwrap(), body), None, "{status}");
        }
        let long = format!(r#"{{"error": {{"reason": "{}"}}}}"#, "x".repeat(201));
        for bad in ["", "no", "{}", r#"{"error": "no"}"#, r#"{"error": {"reason": ""}}"#, &long] {
            assert_eq!(refusal(StatusCode::BAD_REQUEST, bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(refusal(StatusCode::BAD_REQUEST, br#"{"error": {"reason": "a\nb"}}"#), None);
    }

    #[test]
    fn only_web_addresses_reach_users() {
        assert!(check_url("http://127.0.0.1:1/x?y=z").is_ok());
        for bad in ["", "/x", "javascript:alert(1)", "file:///etc/passwd", &format!("http://x/{}", "y".repeat(4_096))] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn without_an_address_nothing_is_asked() {
        let transport = Transport::new(ClientOptions::media(None)).unwrap();
        let asked = transport.exchange(Method::GET, &["x"], None::<&()>, Duration::from_secs(1), |_| Ok(()));
        assert_eq!(asked.await, Err(ClientError::NotConfigured));
    }

    #[tokio::test]
    async fn a_used_up_budget_does_not_count_against_the_service() {
        let options = ClientOptions::media(Some("http://127.0.0.1:1".into()));
        let transport = Transport::new(options).unwrap();
        for _ in 0..20 {
            let asked = transport.exchange(Method::GET, &["x"], None::<&()>, Duration::ZERO, |_| Ok(()));
            assert_eq!(asked.await, Err(ClientError::TimedOut(Duration::ZERO)));
        }
        assert_eq!(transport.breaker_state(), BreakerState::Closed);
    }
}
