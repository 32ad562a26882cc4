//! Where the harness is: read from the page's own URL, or from what was given on the command line.

use std::fmt;

use ackscope_protocol::control::CONTROL_PATH;

/// The address of a harness and the token that opens its control connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// `http` or `https`, host and port, such as `http://127.0.0.1:4000`.
    origin: String,
    /// As it stands in the URL, percent-encoding included: it is only passed on.
    token: String,
}

/// Why a text is not the address of a harness.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `http://` nor `https://` leads it.
    #[error("the address must begin with http:// or https://")]
    Scheme,
    /// Nothing stands between the scheme and the path.
    #[error("the address names no host")]
    Host,
    /// The query has no `token`, or an empty one.
    #[error("the address carries no token: open the whole address that the harness printed, with ?token=… at its end")]
    Token,
}

impl Address {
    /// Reads an address such as `http://127.0.0.1:4000/?token=x`. Path and fragment are ignored.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::Scheme)?;
        if !matches!(scheme, "http" | "https") {
            return Err(AddressError::Scheme);
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let host = place.split('/').next().unwrap_or_default();
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(AddressError::Host);
        }
        let token = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("token="))
            .filter(|token| !token.is_empty())
            .ok_or(AddressError::Token)?;
        Ok(Self { origin: format!("{scheme}://{host}"), token: token.to_owned() })
    }

    /// The harness without the token: what may be shown to people.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The URL of the control WebSocket. Holds the token: never show it.
    pub fn control_url(&self) -> String {
        // `http` becomes `ws` and `https` becomes `wss`.
        let rest = self.origin.strip_prefix("http").unwrap_or(&self.origin);
        format!("ws{rest}{CONTROL_PATH}?token={}", self.token)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret and must not reach a log.
        f.debug_struct("Address").field("origin", &self.origin).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_url_gives_the_control_url() {
        let address = Address::parse("http://127.0.0.1:4000/?token=abc%2B1&x=y#top").unwrap();
        assert_eq!(address.origin(), "http://127.0.0.1:4000");
        assert_eq!(address.control_url(), "ws://127.0.0.1:4000/control?token=abc%2B1");
        let secure = Address::parse("https://chat.test/ui/index.html?a=1&token=t").unwrap();
        assert_eq!(secure.control_url(), "wss://chat.test/control?token=t");
        assert!(!format!("{address:?}").contains("abc"), "the token must not reach a log");
    }

    #[test]
    fn a_wrong_address_says_what_is_wrong() {
        for (url, error) in [
            ("", AddressError::Scheme),
            ("127.0.0.1:4000", AddressError::Scheme),
            ("ftp://x/?token=1", AddressError::Scheme),
            ("http:///?token=1", AddressError::Host),
            ("http://x/", AddressError::Token),
            ("http://x/?token=", AddressError::Token),
            ("http://x/?tokens=1", AddressError::Token),
        ] {
            assert_eq!(Address::parse(url), Err(error), "{url}");
        }
    }
}
