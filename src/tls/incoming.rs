//! What a listener says to clients; replaced while it is in use.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};

use super::by_name::ByName;
use super::certificate::Certificate;
use super::challenges::ALPN;
use super::{Error, MinVersion, PairFiles, authorities};

/// What a listener is to say to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingSpec {
    /// The certificates, at least one; the first is for clients that ask for no name of the others.
    pub certificates: Vec<PairFiles>,
    /// The oldest protocol that is spoken.
    pub min_version: MinVersion,
    /// Is HTTP/2 offered?
    pub http2: bool,
    /// Are clients asked for a certificate?
    pub client_auth: Option<ClientAuth>,
    /// A certificate that is had from an authority. Its files are among the others when listeners
    /// are opened.
    pub acme: Option<AcmeSpec>,
}

/// How a certificate is had from an authority (RFC 8555).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeSpec {
    /// The names that it is for.
    pub domains: Vec<String>,
    /// Whom the authority may write to, as URIs.
    pub contact: Vec<String>,
    /// The authority's directory.
    pub directory: String,
    /// Whose certificate the directory has. Absent: one that the system trusts.
    pub ca: Option<PathBuf>,
    /// How the authority makes sure that the names are ours.
    pub challenge: AcmeChallenge,
    /// Does the operator agree to the authority's terms?
    pub agrees_to_terms: bool,
}

/// How an authority makes sure that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// It asks on port 80.
    Http01,
    /// It asks on port 443.
    TlsAlpn01,
}

impl AcmeChallenge {
    /// As the specifications write it.
    pub fn as_str(self) -> &'static str {
        match self {
            AcmeChallenge::Http01 => "HTTP-01",
            AcmeChallenge::TlsAlpn01 => "TLS-ALPN-01",
        }
    }
}

/// How clients are asked for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// Is a client without one refused?
    pub required: bool,
    /// The authorities that may have issued it. PEM.
    pub ca: PathBuf,
}

/// What a listener says to clients. Its files can be read again while it is in use: who is
/// connected stays so, and who comes gets what there is then.
#[derive(Debug)]
pub struct Incoming {
    spec: IncomingSpec,
    current: ArcSwap<ServerConfig>,
    /// Seals session tickets, for all workers, with keys that rotate. Each listener has its own: a
    /// ticket is as good as the client certificate that was shown for it, so none may be taken to
    /// a listener that asks for another one.
    tickets: Arc<dyn ProducesTickets>,
    /// What the files looked like when they were last read, or tried to be.
    seen: Mutex<Vec<Option<Look>>>,
}

/// What tells two states of a file apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    modified: Option<SystemTime>,
    length: u64,
}

impl Incoming {
    /// Reads the files.
    pub fn new(spec: IncomingSpec) -> Result<Self, Error> {
        let seen = look(&spec);
        let tickets = tickets(&spec)?;
        let current = ArcSwap::from_pointee(config(&spec, &tickets)?);
        Ok(Incoming { spec, current, tickets, seen: Mutex::new(seen) })
    }

    /// Do these files make sense?
    pub fn check(spec: &IncomingSpec) -> Result<(), Error> {
        config(spec, &tickets(spec)?).map(drop)
    }

    /// For the next client.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again. If they cannot be used, everything stays as it is.
    pub fn reload(&self) -> Result<(), Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = look(&self.spec);
        // Who was let in by former authorities may have to be refused by these, so their tickets
        // are not good any more.
        let tickets = match &self.spec.client_auth {
            Some(_) => tickets(&self.spec)?,
            None => self.tickets.clone(),
        };
        self.current.store(Arc::new(config(&self.spec, &tickets)?));
        Ok(())
    }

    /// The same if any of them has changed; `None` if not. What failed is not tried again before
    /// something changes.
    pub fn reload_if_changed(&self) -> Option<Result<(), Error>> {
        let changed = *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != look(&self.spec);
        changed.then(|| self.reload())
    }

    /// What it is to say.
    pub fn spec(&self) -> &IncomingSpec {
        &self.spec
    }

    /// The file that clients get unless they ask for another name.
    pub fn file(&self) -> &Path {
        self.spec.certificates.first().map_or(Path::new(""), |pair| &pair.cert)
    }
}

fn look(spec: &IncomingSpec) -> Vec<Option<Look>> {
    let pairs = spec.certificates.iter().flat_map(|pair| [&pair.cert, &pair.key]);
    let files = pairs.chain(spec.client_auth.iter().map(|auth| &auth.ca));
    files
        .map(|file| {
            let metadata = fs::metadata(file).ok()?;
            Some(Look { modified: metadata.modified().ok(), length: metadata.len() })
        })
        .collect()
}

fn tickets(spec: &IncomingSpec) -> Result<Arc<dyn ProducesTickets>, Error> {
    Ticketer::new().map_err(|error| first(spec, error))
}

fn config(spec: &IncomingSpec, tickets: &Arc<dyn ProducesTickets>) -> Result<ServerConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certificates = spec.certificates.iter().map(|files| Certificate::load(files, &provider));
    let has_challenges =
        spec.acme.as_ref().is_some_and(|acme| acme.challenge == AcmeChallenge::TlsAlpn01);
    let certificates = ByName::new(certificates.collect::<Result<_, _>>()?, has_challenges);
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(spec.min_version.versions())
        .map_err(|error| first(spec, error))?;
    let builder = match &spec.client_auth {
        None => builder.with_no_client_auth(),
        Some(auth) => builder.with_client_cert_verifier(verifier(auth, &provider)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.ticketer = tickets.clone();
    config.session_storage = Arc::new(NoServerSessionStorage {}); // tickets do it without memory
    config.alpn_protocols = match spec.http2 {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    if has_challenges {
        config.alpn_protocols.push(ALPN.to_vec());
    }
    Ok(config)
}

fn verifier(
    auth: &ClientAuth,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let roots = Arc::new(authorities(&auth.ca)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    let builder = if auth.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| Error::new(&auth.ca, error))
}

/// An error that is about no file in particular.
fn first(spec: &IncomingSpec, error: impl std::fmt::Display) -> Error {
    let file = spec.certificates.first().map_or(Path::new(""), |pair| &pair.cert);
    Error::new(file, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(files: &PairFiles, key_of_another: bool) {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let key = if key_of_another { &other } else { &made.signing_key };
        fs::write(&files.cert, made.cert.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
    }

    fn spec(directory: &Path) -> IncomingSpec {
        let files = PairFiles { cert: directory.join("a.crt"), key: directory.join("a.key") };
        write(&files, false);
        IncomingSpec {
            certificates: vec![files],
            min_version: MinVersion::Tls12,
            http2: false,
            acme: None,
            client_auth: None,
        }
    }

    #[test]
    fn a_bad_pair_leaves_the_good_one_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let spec = spec(directory.path());
        let incoming = Incoming::new(spec.clone()).unwrap();
        let first = incoming.config();
        assert!(incoming.reload_if_changed().is_none(), "nothing has changed");
        write(&spec.certificates[0], true);
        let error = incoming.reload().unwrap_err().to_string();
        assert!(error.contains("a.key: this is not the key of") && error.contains("a.crt"));
        assert!(Arc::ptr_eq(&first, &incoming.config()));
        assert!(incoming.reload_if_changed().is_none(), "it is known already");
        fs::remove_file(&spec.certificates[0].key).unwrap();
        assert!(incoming.reload_if_changed().unwrap().is_err());
        write(&spec.certificates[0], false);
        incoming.reload_if_changed().unwrap().unwrap();
        assert!(!Arc::ptr_eq(&first, &incoming.config()));
    }

    #[test]
    fn what_is_wrong_with_files_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let spec = spec(directory.path());
        let PairFiles { cert, key } = &spec.certificates[0];
        let check = || Incoming::check(&spec).unwrap_err().to_string();
        let pem = fs::read(key).unwrap();
        fs::write(key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap();
        assert!(check().contains("a.key: the key is encrypted"), "{}", check());
        fs::write(key, "nothing").unwrap();
        assert!(check().contains("a.key: it holds no private key"), "{}", check());
        fs::write(key, pem).unwrap();
        fs::write(cert, "nothing").unwrap();
        assert!(check().contains("a.crt: it holds no certificate"), "{}", check());
        let client_auth = Some(ClientAuth { required: true, ca: directory.path().join("ca") });
        let with_auth = IncomingSpec { client_auth, ..self::spec(directory.path()) };
        assert!(Incoming::check(&with_auth).unwrap_err().to_string().contains("ca: No such file"));
    }
}
