//! What a certificate authority asks to see, by ACME (RFC 8555 and 8737), before it believes that a
//! name is ours. One process answers for all its listeners: tokens cannot be guessed and belong to
//! one order each, so there is nothing to keep apart.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use rustls::sign::CertifiedKey;

/// By which a client says that it is an authority (RFC 8737, section 4).
pub(super) const ALPN: &[u8] = b"acme-tls/1";

/// The answers that are waited for.
#[derive(Debug, Default)]
pub struct Challenges {
    /// What is to be read at `/.well-known/acme-challenge/` and a token.
    tokens: RwLock<HashMap<String, String>>,
    /// What is to be shown to who asks for a name.
    certificates: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

/// Those of this process.
pub fn challenges() -> &'static Challenges {
    static CHALLENGES: LazyLock<Challenges> = LazyLock::new(Challenges::default);
    &CHALLENGES
}

impl Challenges {
    /// The answer to a path, if it asks for one.
    pub fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix("/.well-known/acme-challenge/")?;
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    /// From now on this is the answer.
    pub fn expect_token(&self, token: &str, answer: &str) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(token.to_owned(), answer.to_owned());
    }

    /// It was given.
    pub fn forget_token(&self, token: &str) {
        self.tokens.write().unwrap_or_else(PoisonError::into_inner).remove(token);
    }

    /// From now on this is shown to authorities that ask for a name.
    pub fn expect_name(&self, name: &str, certificate: Arc<CertifiedKey>) {
        let mut names = self.certificates.write().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned(), certificate);
    }

    /// It was shown.
    pub fn forget_name(&self, name: &str) {
        self.certificates.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    pub(super) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let names = self.certificates.read().unwrap_or_else(PoisonError::into_inner);
        names.get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_given_until_they_are_forgotten() {
        let challenges = Challenges::default();
        challenges.expect_token("t", "t.key");
        assert_eq!(challenges.answer("/.well-known/acme-challenge/t"), Some("t.key".into()));
        for other in ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/t/"] {
            assert_eq!(challenges.answer(other), None);
        }
        challenges.forget_token("t");
        assert_eq!(challenges.answer("/.well-known/acme-challenge/t"), None);
    }
}
