//! `tls` of a listener.

use std::path::PathBuf;

use http::HeaderValue;

use super::Resolver;
use crate::config::ListenerTls;
use crate::config::at::At;
use crate::config::file::{self, ClientAuthMode};
use crate::config::leaf::Parsed;
use crate::tls::{ClientAuth, Incoming, IncomingSpec, MinVersion, PairFiles};

impl Resolver<'_> {
    pub(super) fn tls(&mut self, file: &file::Tls, at: At<'_>) -> ListenerTls {
        let incoming = IncomingSpec {
            certificates: self.pairs(&file.certificates),
            min_version: match file.min_version {
                file::MinVersion::Tls12 => MinVersion::Tls12,
                file::MinVersion::Tls13 => MinVersion::Tls13,
            },
            http2: false,
            client_auth: file.client_auth.as_ref().map(|auth| ClientAuth {
                required: matches!(auth.mode, ClientAuthMode::Required),
                ca: self.beside(&auth.ca),
            }),
        };
        self.files_make_sense(&incoming, at);
        ListenerTls {
            incoming,
            subject_header: file.client_auth.as_ref().map(|auth| auth.subject_header.0.clone()),
            hsts: file.hsts.as_ref().map(|hsts| self.hsts(hsts, at.key("hsts"))),
            handshake_timeout: self.positive(&file.handshake_timeout, at.key("handshake_timeout")),
            max_handshakes: usize::try_from(file.max_handshakes).unwrap_or(usize::MAX),
        }
    }

    fn pairs(&self, file: &[file::Certificate]) -> Vec<PairFiles> {
        let pair = |pair: &file::Certificate| PairFiles {
            cert: self.beside(&pair.cert),
            key: self.beside(&pair.key),
        };
        file.iter().map(pair).collect()
    }

    /// A path that is relative to the configuration.
    pub(super) fn beside(&self, path: &Parsed<PathBuf>) -> PathBuf {
        self.directory.join(&path.0)
    }

    /// Are the files there, and do they belong together?
    fn files_make_sense(&mut self, spec: &IncomingSpec, at: At<'_>) {
        let at_pairs = at.key("certificates");
        if spec.certificates.is_empty() {
            let help = "write certificates = [{ cert = \"shop.pem\", key = \"shop.key\" }]";
            let title = format!("{}: no certificate", at_pairs.path());
            self.mistakes.error(at_pairs, title).label("clients would be refused").help(help);
        }
        for (i, pair) in spec.certificates.iter().enumerate() {
            let at_pair = at_pairs.index(i);
            let alone = IncomingSpec {
                certificates: vec![pair.clone()],
                client_auth: None,
                ..spec.clone()
            };
            if let Err(error) = Incoming::check(&alone) {
                let is_key = error.file == pair.key;
                let at_file = at_pair.key(if is_key { "key" } else { "cert" });
                let title = format!("{}: this file cannot be used", at_file.path());
                self.mistakes.error(at_file, title).label(error.to_string());
            }
        }
        if let Some(auth) = &spec.client_auth
            && let Err(error) = Incoming::check(spec)
            && error.file == auth.ca
        {
            let at_ca = at.key("client_auth").key("ca");
            let title = format!("{}: this file cannot be used", at_ca.path());
            self.mistakes.error(at_ca, title).label(error.to_string());
        }
    }

    fn hsts(&mut self, file: &file::Hsts, at: At<'_>) -> HeaderValue {
        /// What the makers of browsers ask for.
        const PRELOADED: u64 = 365 * 24 * 3600;

        let max_age = file.max_age.0.as_secs();
        if file.preload && (max_age < PRELOADED || !file.include_subdomains) {
            let at_preload = at.key("preload");
            let title = format!("{} asks for more", at_preload.path());
            let mistake = self.mistakes.error(at_preload, title);
            mistake.label("with include_subdomains = true and a max_age of a year at least");
            mistake.depends_on(at.key("max_age")).depends_on(at.key("include_subdomains"));
        }
        let mut value = format!("max-age={max_age}");
        value.push_str(if file.include_subdomains { "; includeSubDomains" } else { "" });
        value.push_str(if file.preload { "; preload" } else { "" });
        // Letters, digits and punctuation.
        HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("max-age=0"))
    }
}
