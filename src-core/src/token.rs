//! Access tokens: signed JWTs whose `sub` is the user (S1.1).
//!
//! HS256 and nothing else; in particular not `none`. Expiry follows the business clock (S2).

use std::time::Duration;

use ackscope_protocol::{Timestamp, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// Bytes of a signing key: as long as the hash, which RFC 7518 §3.2 asks for at least.
pub const KEY_BYTES: usize = 32;

/// The key tokens are signed and checked with.
#[derive(Clone)]
pub struct TokenKey {
    bytes: [u8; KEY_BYTES],
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(secret)")
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: UserId,
    /// Seconds since the epoch.
    exp: i64,
}

/// Why a token does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JWT, not HS256, a wrong signature, or claims that do not read.
    #[error("the token does not hold")]
    Invalid,
    /// `exp` has passed by the business clock.
    #[error("the token has expired")]
    Expired,
}

/// A key must have [`KEY_BYTES`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signing key has {KEY_BYTES} bytes, this one has {0}")]
pub struct KeyLengthError(pub usize);

impl TokenKey {
    /// A new random key.
    pub fn generate() -> Self {
        let mut bytes = [0; KEY_BYTES];
        bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        bytes[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        Self { bytes }
    }

    /// A key from its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyLengthError> {
        Ok(Self { bytes: bytes.try_into().map_err(|_| KeyLengthError(bytes.len()))? })
    }

    /// The bytes, for a file only its owner reads.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A token for `user` that holds for `ttl` from `now`, in business time.
    pub fn sign(&self, user: &UserId, now: Timestamp, ttl: Duration) -> String {
        let ttl_secs = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims { sub: user.clone(), exp: (now.as_millis() / 1_000).saturating_add(ttl_secs) };
        let key = EncodingKey::from_secret(&self.bytes);
        // Cannot fail: HS256 with a secret, and claims that are plain JSON. An empty token would be refused.
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap_or_default()
    }

    /// Who the token speaks for.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<UserId, TokenError> {
        let mut validation = Validation::new(Algorithm::HS256);
        // Checked below, against the business clock.
        validation.validate_exp = false;
        validation.required_spec_claims = ["sub", "exp"].map(str::to_owned).into();
        let key = DecodingKey::from_secret(&self.bytes);
        let data = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(|_| TokenError::Invalid)?;
        if data.claims.exp.saturating_mul(1_000) <= now.as_millis() {
            return Err(TokenError::Expired);
        }
        Ok(data.claims.sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_769_860_800_000;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn ana() -> UserId {
        "ana".parse().unwrap()
    }

    #[test]
    fn a_token_speaks_for_its_user_until_it_expires() {
        let key = TokenKey::generate();
        let token = key.sign(&ana(), at(NOW), Duration::from_mins(1));
        assert_eq!(key.verify(&token, at(NOW)), Ok(ana()));
        assert_eq!(key.verify(&token, at(NOW + 59_999)), Ok(ana()));
        assert_eq!(key.verify(&token, at(NOW + 60_000)), Err(TokenError::Expired));
    }

    #[test]
    fn what_another_key_signed_does_not_hold() {
        let token = TokenKey::generate().sign(&ana(), at(NOW), Duration::from_mins(1));
        assert_eq!(TokenKey::generate().verify(&token, at(NOW)), Err(TokenError::Invalid));
    }

    #[test]
    fn alg_none_and_rubbish_do_not_hold() {
        let key = TokenKey::generate();
        // {"alg":"none","typ":"JWT"} . {"sub":"ana","exp":9999999999} . (empty)
        let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbmEiLCJleHAiOjk5OTk5OTk5OTl9.";
        for bad in [none, "", "a.b.c", "null"] {
            assert_eq!(key.verify(bad, at(NOW)), Err(TokenError::Invalid), "{bad}");
        }
    }

    #[test]
    fn a_token_without_expiry_does_not_hold() {
        let key = TokenKey::generate();
        let claims = serde_json::json!({ "sub": "ana" });
        let token =
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(key.as_bytes()))
                .unwrap();
        assert_eq!(key.verify(&token, at(NOW)), Err(TokenError::Invalid));
    }
}
