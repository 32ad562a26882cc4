//! Where the brokers are and how to speak to them, read from one line of text.
//!
//! Either `host:port,host:port`, or a URL where TLS or a password is needed:
//! `sasl_ssl://user:password@host:port,host2:port?mechanism=SCRAM-SHA-256&ca=/path`.

use std::fmt;

use rdkafka::ClientConfig;

/// The port of a broker that is given without one.
const DEFAULT_PORT: u16 = 9_092;

/// Why a line of text is no address of brokers. None of the sentences repeats a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No broker is named.
    #[error("it names no broker; write host:port, several with commas")]
    Empty,
    /// A URL of another kind.
    #[error("`{0}://` is not known here; it is plaintext://, ssl://, sasl_plaintext:// or sasl_ssl://")]
    Scheme(String),
    /// A broker that is not `host:port`.
    #[error("`{0}` is not host:port")]
    Broker(String),
    /// A port that is no number from 1 to 65535.
    #[error("`{0}` is not a port; it is a number from 1 to 65535")]
    Port(String),
    /// A password where none is used, or none where one is needed.
    #[error("{0}")]
    Password(&'static str),
    /// A part after `?` that is not known.
    #[error("`{0}` is not known here; after the question mark come mechanism= and ca=")]
    Parameter(String),
    /// A mechanism that is not known.
    #[error("`{0}` is no mechanism; it is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")]
    Mechanism(String),
    /// A percent sign that is not followed by two hexadecimal digits, or bytes that are no text.
    #[error("{0} has a percent sign that is not followed by two hexadecimal digits of a character")]
    Percent(&'static str),
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    fn from_scheme(scheme: &str) -> Option<Self> {
        match scheme {
            "plaintext" | "kafka" => Some(Self::Plaintext),
            "ssl" => Some(Self::Ssl),
            "sasl_plaintext" => Some(Self::SaslPlaintext),
            "sasl_ssl" => Some(Self::SaslSsl),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    fn has_password(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// An address, read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// `host:port`, separated by commas.
    pub(super) servers: String,
    pub(super) protocol: Protocol,
    user: String,
    password: String,
    mechanism: String,
    /// A file of certificates that are trusted; empty for those of the system.
    ca: String,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let (protocol, rest) = match text.split_once("://") {
            Some((scheme, rest)) => {
                let protocol = Protocol::from_scheme(&scheme.to_ascii_lowercase())
                    .ok_or_else(|| AddressError::Scheme(scheme.to_owned()))?;
                (protocol, rest)
            }
            None => (Protocol::Plaintext, text),
        };
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        // The last `@`: one inside the password may have been left as it is.
        let (login, servers) = match rest.rsplit_once('@') {
            Some((login, servers)) => (Some(login), servers),
            None => (None, rest),
        };
        let (user, password) = match login {
            Some(_) if !protocol.has_password() => {
                return Err(AddressError::Password("a user and a password need sasl_plaintext:// or sasl_ssl://"));
            }
            Some(login) => {
                let (user, password) = login
                    .split_once(':')
                    .ok_or(AddressError::Password("before the @ comes user:password, here the colon is missing"))?;
                (decode(user, "the user")?, decode(password, "the password")?)
            }
            None if protocol.has_password() => {
                return Err(AddressError::Password("sasl_plaintext:// and sasl_ssl:// need user:password@"));
            }
            None => (String::new(), String::new()),
        };
        if protocol.has_password() && user.is_empty() {
            return Err(AddressError::Password("the user's name is empty"));
        }
        let (mut mechanism, mut ca) = ("PLAIN".to_owned(), String::new());
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "mechanism" => {
                    mechanism = value.to_ascii_uppercase();
                    if !["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].contains(&mechanism.as_str()) {
                        return Err(AddressError::Mechanism(value.to_owned()));
                    }
                }
                "ca" => ca = decode(value, "the path of ca=")?,
                _ => return Err(AddressError::Parameter(name.to_owned())),
            }
        }
        let servers = servers.trim_end_matches('/').split(',').map(str::trim).filter(|server| !server.is_empty());
        let servers = servers.map(server).collect::<Result<Vec<String>, AddressError>>()?;
        if servers.is_empty() {
            return Err(AddressError::Empty);
        }
        Ok(Self { servers: servers.join(","), protocol, user, password, mechanism, ca })
    }

    /// Whether it takes what only the cargo feature `kafka-tls` builds in: TLS, or SCRAM's hashes.
    pub(super) fn needs_tls(&self) -> bool {
        matches!(self.protocol, Protocol::Ssl | Protocol::SaslSsl)
            || (self.protocol.has_password() && self.mechanism != "PLAIN")
    }

    /// Enters it into the settings of a client.
    pub(super) fn configure(&self, config: &mut ClientConfig) {
        config.set("bootstrap.servers", &self.servers);
        if self.protocol != Protocol::Plaintext {
            config.set("security.protocol", self.protocol.as_str());
        }
        if self.protocol.has_password() {
            config.set("sasl.mechanism", &self.mechanism);
            config.set("sasl.username", &self.user).set("sasl.password", &self.password);
        }
        if !self.ca.is_empty() && matches!(self.protocol, Protocol::Ssl | Protocol::SaslSsl) {
            config.set("ssl.ca.location", &self.ca);
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("protocol", &self.protocol)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

/// The address without its user and password, to be shown.
pub(super) fn shown(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        (_, None) => text.to_owned(),
    }
}

fn server(text: &str) -> Result<String, AddressError> {
    let wrong = || AddressError::Broker(text.to_owned());
    // An IPv6 address stands in brackets, so that its colons are not taken for the one before the port.
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']').ok_or_else(wrong)?;
        let (host, rest) = text.split_at(end + 1);
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(wrong()),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]%".contains(c);
    if host.is_empty() || host == "[]" || !host.chars().all(is_host) {
        return Err(wrong());
    }
    let port = match port {
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => number,
            Ok(_) | Err(_) => return Err(AddressError::Port(port.to_owned())),
        },
        None => DEFAULT_PORT,
    };
    Ok(format!("{host}:{port}"))
}

fn decode(text: &str, what: &'static str) -> Result<String, AddressError> {
    let wrong = || AddressError::Percent(what);
    let digit = |byte: Option<&u8>| {
        let digit = byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        digit.ok_or_else(wrong)
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => bytes.push(digit(rest.next())? << 4 | digit(rest.next())?),
            byte => bytes.push(*byte),
        }
    }
    // A NUL byte would end the text where the client reads it.
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Result<String, AddressError> {
        Address::parse(text).map(|address| address.servers)
    }

    #[test]
    fn brokers_are_hosts_with_ports() {
        assert_eq!(servers("localhost:9092").unwrap(), "localhost:9092");
        assert_eq!(servers(" a:1 , b-1.c:65535,").unwrap(), "a:1,b-1.c:65535");
        assert_eq!(servers("kafka").unwrap(), "kafka:9092");
        assert_eq!(servers("[::1]:9093,[fe80::1]").unwrap(), "[::1]:9093,[fe80::1]:9092");
        assert_eq!(servers("plaintext://a:1/").unwrap(), "a:1");
        for empty in ["", "  ", ",", "ssl://", "kafka:// , "] {
            assert_eq!(servers(empty), Err(AddressError::Empty), "{empty:?}");
        }
        for port in ["0", "65536", "", "-1", "+1", "x", "1:2"] {
            assert_eq!(servers(&format!("a:{port}")), Err(AddressError::Port(port.to_owned())), "{port:?}");
        }
        for broker in [":9092", "a b:1", "[::1", "[]:1", "[::1]x", "a/b:1"] {
            assert!(matches!(servers(broker), Err(AddressError::Broker(_))), "{broker:?}");
        }
        assert_eq!(servers("http://a:1"), Err(AddressError::Scheme("http".into())));
    }

    #[test]
    fn users_and_passwords_are_decoded() {
        let address = Address::parse("sasl_plaintext://an%61:p%40ss%3aw%C3%B6rd:@a:1,b:2").unwrap();
        assert_eq!((address.user.as_str(), address.password.as_str()), ("ana", "p@ss:wörd:"));
        assert_eq!((address.servers.as_str(), address.mechanism.as_str()), ("a:1,b:2", "PLAIN"));
        assert!(!address.needs_tls());
        // An `@` that was not encoded belongs to the password.
        assert_eq!(Address::parse("SASL_SSL://u:p@ss@a:1").unwrap().password, "p@ss");
        assert_eq!(Address::parse("sasl_ssl://u:@a:1").unwrap().password, "");
        for wrong in ["%", "%4", "%4x", "%+1", "%ff", "%00"] {
            let wrong = Address::parse(&format!("sasl_ssl://u:{wrong}@a:1"));
            assert_eq!(wrong, Err(AddressError::Percent("the password")));
        }
        for wrong in ["sasl_ssl://a:1", "sasl_ssl://u@a:1", "sasl_ssl://:p@a:1", "ssl://u:p@a:1", "u:p@a:1"] {
            assert!(matches!(Address::parse(wrong), Err(AddressError::Password(_))), "{wrong}");
        }
    }

    #[test]
    fn parameters_choose_the_mechanism_and_the_certificates() {
        let address = Address::parse("sasl_plaintext://u:p@a:1?mechanism=scram-sha-512&ca=/a%20b").unwrap();
        assert_eq!((address.mechanism.as_str(), address.ca.as_str()), ("SCRAM-SHA-512", "/a b"));
        assert!(address.needs_tls(), "SCRAM takes hashes that come with TLS");
        assert!(Address::parse("ssl://a:1").unwrap().needs_tls());
        assert!(!Address::parse("a:1").unwrap().needs_tls());
        assert_eq!(Address::parse("ssl://a:1?key=x"), Err(AddressError::Parameter("key".into())));
        let wrong = Address::parse("sasl_ssl://u:p@a:1?mechanism=GSSAPI");
        assert_eq!(wrong, Err(AddressError::Mechanism("GSSAPI".into())));
    }

    #[test]
    fn no_password_is_shown() {
        let text = "sasl_ssl://ana:s3cr@t@a:1,b:2?ca=/x";
        assert_eq!(shown(text), "sasl_ssl://…@a:1,b:2?ca=/x");
        assert_eq!(shown("u:s3cret@a:1"), "…@a:1");
        assert_eq!(shown("a:1"), "a:1");
        assert!(!format!("{:?}", Address::parse(text).unwrap()).contains("s3cr"));
    }
}
