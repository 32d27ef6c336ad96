//! `tls` of a listener and of a pool.

use std::path::PathBuf;

use http::HeaderValue;

use super::Resolver;
use crate::config::at::At;
use crate::config::file::{self, ClientAuthMode, ProxyProtocolVersion, Verify};
use crate::config::leaf::Parsed;
use crate::config::{BackendHttp2, ListenerTls, Transport};
use crate::proxy_protocol;
use crate::tls::{
    AcmeChallenge, AcmeSpec, ClientAuth, Error, Incoming, IncomingSpec, MinVersion, Outgoing,
    OutgoingSpec, PairFiles, Protocols,
};

impl Resolver<'_> {
    pub(super) fn tls(&mut self, file: &file::Tls, http2: Option<bool>, at: At<'_>) -> ListenerTls {
        let incoming = IncomingSpec {
            certificates: self.pairs(&file.certificates),
            min_version: min_version(file.min_version),
            http2: http2.unwrap_or(true),
            client_auth: file.client_auth.as_ref().map(|auth| ClientAuth {
                required: matches!(auth.mode, ClientAuthMode::Required),
                ca: self.beside(&auth.ca),
            }),
            acme: file.acme.as_ref().map(|acme| self.acme(acme, at.key("acme"))),
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

    fn acme(&mut self, file: &file::Acme, at: At<'_>) -> AcmeSpec {
        self.not_empty(&file.domains, at.key("domains"), "write domains = [\"shop.example.com\"]");
        if !file.agree_to_terms {
            let title = format!("{}.agree_to_terms is not true", at.path());
            let mistake = self.mistakes.error(at.key("agree_to_terms"), title);
            mistake.label("no authority issues certificates without it");
        }
        if !file.directory.starts_with("https://") {
            let title = format!("{} is no HTTPS URL", at.key("directory").path());
            self.mistakes.error(at.key("directory"), title).label("expected https://...");
        }
        AcmeSpec {
            domains: file.domains.iter().map(|name| name.0.0.clone()).collect(),
            contact: file.contact.iter().cloned().collect(),
            directory: file.directory.clone(),
            ca: file.ca.as_ref().map(|ca| self.beside(ca)),
            challenge: match file.challenge {
                file::AcmeChallenge::TlsAlpn01 => AcmeChallenge::TlsAlpn01,
                file::AcmeChallenge::Http01 => AcmeChallenge::Http01,
            },
            agrees_to_terms: file.agree_to_terms,
        }
    }

    fn pairs(&self, file: &[file::Certificate]) -> Vec<PairFiles> {
        file.iter().map(|pair| self.pair(pair)).collect()
    }

    fn pair(&self, file: &file::Certificate) -> PairFiles {
        PairFiles { cert: self.beside(&file.cert), key: self.beside(&file.key) }
    }

    /// What is said where there is one certificate and nothing else to choose.
    pub(super) fn one_pair(&mut self, file: &file::Certificate, at: At<'_>) -> IncomingSpec {
        let spec = IncomingSpec {
            certificates: vec![self.pair(file)],
            min_version: MinVersion::Tls12,
            http2: false,
            client_auth: None,
            acme: None,
        };
        self.pairs_make_sense(&spec, |_| at);
        spec
    }

    /// What is said to a pool's backends before HTTP; `at` is the pool.
    pub(super) fn transport(&mut self, file: &file::Pool, at: At<'_>) -> Transport {
        let why = "a connection of HTTP/2 is used for many clients";
        let http2 = match file.http2 {
            file::BackendHttp2::Switch(false) => BackendHttp2::No,
            file::BackendHttp2::Switch(true) => BackendHttp2::Yes,
            file::BackendHttp2::Choice(file::Http2Choice::Auto) => BackendHttp2::Auto,
        };
        if http2 == BackendHttp2::Auto && file.tls.is_none() {
            let title = format!("{} needs tls", at.key("http2").path());
            let mistake = self.mistakes.error(at.key("http2"), title);
            mistake.label("without it a backend cannot say which protocol it speaks");
            mistake.help("write true or false, or add a tls table");
        }
        if http2 != BackendHttp2::No && file.proxy_protocol.is_some() {
            let help = "leave out one of them";
            self.useless(at.key("proxy_protocol"), why, help, at.key("http2"));
        }
        Transport {
            http2,
            proxy_protocol: file.proxy_protocol.map(|version| match version {
                ProxyProtocolVersion::V1 => proxy_protocol::Version::V1,
                ProxyProtocolVersion::V2 => proxy_protocol::Version::V2,
            }),
            tls: file.tls.as_ref().map(|tls| self.backend_tls(tls, http2, at.key("tls"))),
        }
    }

    fn backend_tls(
        &mut self,
        file: &file::BackendTls,
        http2: BackendHttp2,
        at: At<'_>,
    ) -> OutgoingSpec {
        let believes_anybody = file.verify == Verify::DangerAcceptAnybody;
        if believes_anybody {
            let help = "leave it out, or leave out verify";
            self.useless(at.key("ca"), "nothing is verified", help, at.key("verify"));
            let title = format!("{}: whoever answers is believed", at.key("verify").path());
            let mistake = self.mistakes.warning(at.key("verify"), title);
            mistake.label("requests can be read and changed on their way to the backends");
        }
        let spec = OutgoingSpec {
            ca: file.ca.as_ref().map(|ca| self.beside(ca)),
            server_name: file.server_name.as_ref().map(|name| name.0.0.clone()),
            certificate: file.certificate.as_ref().map(|pair| self.pair(pair)),
            min_version: min_version(file.min_version),
            protocols: match http2 {
                BackendHttp2::No => Protocols::Http1,
                BackendHttp2::Yes => Protocols::Http2,
                BackendHttp2::Auto => Protocols::Either,
            },
            believes_anybody,
        };
        if let Err(error) = Outgoing::new(&spec) {
            let of_pair = |pair: &PairFiles| match () {
                () if error.file == pair.key => Some(at.key("certificate").key("key")),
                () if error.file == pair.cert => Some(at.key("certificate").key("cert")),
                () => None,
            };
            let at_file = match &spec.ca {
                Some(ca) if *ca == error.file => at.key("ca"),
                _ => spec.certificate.as_ref().and_then(of_pair).unwrap_or(at),
            };
            let title = format!("{} cannot be used", at_file.path());
            let label = self.in_short(&error);
            self.mistakes.error(at_file, title).label(label);
        }
        spec
    }

    /// A path that is relative to the configuration.
    pub(super) fn beside(&self, path: &Parsed<PathBuf>) -> PathBuf {
        self.directory.join(&path.0)
    }

    /// What is wrong with a file, which is named as it is in the configuration.
    fn in_short(&self, error: &Error) -> String {
        let file = error.file.strip_prefix(self.directory).unwrap_or(&error.file);
        format!("{}: {}", file.display(), error.problem)
    }

    /// Are the files there, and do they belong together?
    fn files_make_sense(&mut self, spec: &IncomingSpec, at: At<'_>) {
        let at_pairs = at.key("certificates");
        if spec.certificates.is_empty() && spec.acme.is_none() {
            let help = "write certificates = [{ cert = \"shop.pem\", key = \"shop.key\" }]";
            let title = format!("{}: no certificate", at_pairs.path());
            self.mistakes.error(at_pairs, title).label("clients would be refused").help(help);
        }
        self.pairs_make_sense(spec, |i| at_pairs.index(i));
        if let Some(auth) = &spec.client_auth
            && let Err(error) = Incoming::check(spec)
            && error.file == auth.ca
        {
            let at_ca = at.key("client_auth").key("ca");
            let title = format!("{}: this file cannot be used", at_ca.path());
            let label = self.in_short(&error);
            self.mistakes.error(at_ca, title).label(label);
        }
    }

    /// Each pair by itself; `at` says where it stands.
    fn pairs_make_sense<'a>(&mut self, spec: &IncomingSpec, at: impl Fn(usize) -> At<'a>) {
        for (i, pair) in spec.certificates.iter().enumerate() {
            let at_pair = at(i);
            let alone = IncomingSpec {
                certificates: vec![pair.clone()],
                client_auth: None,
                ..spec.clone()
            };
            if let Err(error) = Incoming::check(&alone) {
                let is_key = error.file == pair.key;
                let at_file = at_pair.key(if is_key { "key" } else { "cert" });
                let title = format!("{}: this file cannot be used", at_file.path());
                let label = self.in_short(&error);
                self.mistakes.error(at_file, title).label(label);
            }
        }
    }

    pub(super) fn hsts(&mut self, file: &file::Hsts, at: At<'_>) -> HeaderValue {
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

fn min_version(file: file::MinVersion) -> MinVersion {
    match file {
        file::MinVersion::Tls12 => MinVersion::Tls12,
        file::MinVersion::Tls13 => MinVersion::Tls13,
    }
}
