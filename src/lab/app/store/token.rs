//! Sessions in the client's cookie: a JSON Web Token, signed with HMAC-SHA-256 (RFC 7515, `HS256`).
//!
//! Every server with the same secret can read it, and no server remembers anything.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Session, Trouble};
use crate::balance::Timestamp;

/// `{"alg":"HS256","typ":"JWT"}`. No other is accepted, so nobody can ask for a weaker one.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// Browsers keep no cookie above 4,096 bytes, name and attributes included.
const LONGEST: usize = 4000;

/// Signs tokens, and reads those that it could have signed.
#[derive(Clone)]
pub(in crate::lab::app) struct Signer {
    mac: Hmac<Sha256>,
    timeout: Duration,
}

/// What a token says.
#[derive(Serialize, Deserialize)]
struct Claims {
    /// Seconds since the epoch, as RFC 7519 has it.
    exp: u64,
    #[serde(flatten)]
    session: Session,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Signer {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    pub(super) fn new(secret: &[u8], timeout: Duration) -> Self {
        let mac = Hmac::new_from_slice(secret).expect("any length will do");
        Signer { mac, timeout }
    }

    pub(super) fn sign(&self, session: &Session, now: Timestamp) -> Result<String, Trouble> {
        let exp = (now + self.timeout).since(Timestamp::ZERO).as_secs() + 1;
        let claims = Claims { exp, session: session.clone() };
        let claims = serde_json::to_vec(&claims).map_err(|bad| Trouble::Store(bad.to_string()))?;
        let mut token = format!("{HEADER}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let signature = self.mac.clone().chain_update(&token).finalize().into_bytes();
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        if token.len() > LONGEST { Err(Trouble::Full) } else { Ok(token) }
    }

    pub(super) fn read(&self, token: &str, now: Timestamp) -> Result<Session, Trouble> {
        self.verify(token, now).ok_or(Trouble::Unknown)
    }

    fn verify(&self, token: &str, now: Timestamp) -> Option<Session> {
        let (signed, signature) = token.rsplit_once('.')?;
        let payload = signed.strip_prefix(HEADER)?.strip_prefix('.')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        // In constant time, before anything in it is believed.
        self.mac.clone().chain_update(signed).verify_slice(&signature).ok()?;
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: Claims = serde_json::from_slice(&payload).ok()?;
        (claims.exp >= now.since(Timestamp::ZERO).as_secs()).then_some(claims.session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u32) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(1) * seconds
    }

    fn signer(secret: &str) -> Signer {
        Signer::new(secret.as_bytes(), Duration::from_secs(60))
    }

    #[test]
    fn a_token_is_read_by_whoever_has_the_secret_until_it_expires() {
        let session = Session { user: "ada".into(), cart: vec!["tea".into()], requests: 3 };
        let token = signer("s").sign(&session, at(100)).unwrap();
        assert_eq!(signer("s").verify(&token, at(120)), Some(session));
        assert_eq!(signer("other").verify(&token, at(120)), None);
        assert_eq!(signer("s").verify(&token, at(162)), None, "expired");
    }

    #[test]
    fn a_changed_token_is_worth_nothing() {
        let signer = signer("s");
        let token = signer.sign(&Session::of("ada".into()), at(0)).unwrap();
        for position in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character of a signature has bits that say nothing; the decoder refuses
            // them unless they are zero.
            assert_eq!(signer.verify(&changed, at(0)), None, "at {position}");
        }
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let payload = token.split('.').nth(1).unwrap();
        for bad in ["", ".", "..", &format!("{none}.{payload}."), &format!("{HEADER}.{payload}")] {
            assert_eq!(signer.verify(bad, at(0)), None, "{bad}");
        }
    }

    #[test]
    fn the_header_is_the_one_that_it_should_be() {
        let header = BASE64_URL_SAFE_NO_PAD.decode(HEADER).unwrap();
        assert_eq!(header, br#"{"alg":"HS256","typ":"JWT"}"#);
    }

    #[test]
    fn a_cookie_that_browsers_would_drop_is_not_made() {
        let mut session = Session::of("ada".into());
        session.cart = vec!["x".repeat(100); 50];
        assert!(matches!(signer("s").sign(&session, at(0)), Err(Trouble::Full)));
    }
}
