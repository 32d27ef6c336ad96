//! Which certificate a client gets: the one for the name that it asks for, else the first.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::challenges::{ALPN, challenges};

/// Certificates by the names that they are for.
#[derive(Debug)]
pub(super) struct ByName {
    /// By exact name, and wildcards by what follows their asterisk: `.example.com`.
    names: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// All of them, in the order of the configuration.
    all: Vec<Arc<CertifiedKey>>,
    /// May an authority ask whose names these are?
    has_challenges: bool,
}

impl ByName {
    pub(super) fn new(certificates: Vec<Certificate>, has_challenges: bool) -> Self {
        let mut names: HashMap<String, Vec<_>> = HashMap::new();
        let mut all = Vec::new();
        for Certificate { key, names: of_key } in certificates {
            for name in of_key {
                let name = name.strip_prefix('*').unwrap_or(&name).to_owned();
                names.entry(name).or_default().push(key.clone());
            }
            all.push(key);
        }
        // Of several for one name the cheapest that the client understands: a signature with an
        // elliptic curve costs a tenth of one with RSA.
        for keys in names.values_mut() {
            keys.sort_by_key(|key| key.key.algorithm() == SignatureAlgorithm::RSA);
        }
        ByName { names, all, has_challenges }
    }

    fn named(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let name = name.to_ascii_lowercase();
        // A wildcard stands for one label (RFC 6125, section 6.4.3).
        let below = || self.names.get(&name[name.find('.')?..]);
        self.names.get(&name).or_else(below).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if self.has_challenges && hello.alpn().is_some_and(|mut offered| offered.any(|p| p == ALPN))
        {
            return hello.server_name().and_then(|name| challenges().certificate(name));
        }
        let named = hello.server_name().and_then(|name| self.named(name));
        let suits =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let mut candidates = named.unwrap_or(&self.all).iter();
        candidates.find(suits).or(self.all.first()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::PairFiles;
    use super::*;

    fn certificate(directory: &std::path::Path, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let files = PairFiles { cert: directory.join("cert"), key: directory.join("key") };
        std::fs::write(&files.cert, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        Certificate::load(&files, &rustls::crypto::aws_lc_rs::default_provider()).unwrap()
    }

    #[test]
    fn exact_names_come_before_wildcards_of_one_label() {
        let directory = tempfile::tempdir().unwrap();
        let first = certificate(directory.path(), &["*.example.com", "example.com"]);
        let second = certificate(directory.path(), &["Shop.example.com"]);
        let (wild, exact) = (first.key.clone(), second.key.clone());
        let by_name = ByName::new(vec![first, second], false);
        let found = |name| by_name.named(name).map(|keys| Arc::as_ptr(&keys[0]));
        assert_eq!(found("shop.example.com"), Some(Arc::as_ptr(&exact)));
        assert_eq!(found("SHOP.EXAMPLE.COM"), Some(Arc::as_ptr(&exact)));
        assert_eq!(found("api.example.com"), Some(Arc::as_ptr(&wild)));
        assert_eq!(found("example.com"), Some(Arc::as_ptr(&wild)));
        assert_eq!(found("a.b.example.com"), None);
        assert_eq!(found("localhost"), None);
    }
}
