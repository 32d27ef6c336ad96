//! How backends are spoken to: whom to believe, and what to show.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::certificate::Certificate;
use super::{Error, MinVersion, PairFiles, authorities, read};

/// How backends are to be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingSpec {
    /// The authorities that may have issued a backend's certificate. Absent: those of the system.
    pub ca: Option<PathBuf>,
    /// The name that must be in it. Absent: the host in the backend's address.
    pub server_name: Option<String>,
    /// What is shown to backends that ask who we are.
    pub certificate: Option<PairFiles>,
    /// The oldest protocol that is spoken.
    pub min_version: MinVersion,
    /// What is offered (ALPN).
    pub protocols: Protocols,
    /// Is whoever answers believed to be the backend?
    pub believes_anybody: bool,
}

impl OutgoingSpec {
    /// HTTP/1.1 to whoever one of these authorities vouches for.
    pub fn trusting(ca: Option<PathBuf>) -> Self {
        OutgoingSpec {
            ca,
            server_name: None,
            certificate: None,
            min_version: MinVersion::Tls12,
            protocols: Protocols::Http1,
            believes_anybody: false,
        }
    }
}

/// What is offered to backends (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1, without saying so: not every server knows ALPN.
    Http1,
    /// HTTP/2, and nothing else.
    Http2,
    /// Either; the backend chooses.
    Either,
}

/// How backends are spoken to.
#[derive(Debug)]
pub struct Outgoing {
    config: Arc<ClientConfig>,
    identity: u64,
    server_name: Option<ServerName<'static>>,
}

impl Outgoing {
    /// Reads the files.
    pub fn new(spec: &OutgoingSpec) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let about_none = |problem: String| Error::new(Path::new("tls"), problem);
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(spec.min_version.versions())
            .map_err(|error| about_none(error.to_string()))?;
        let builder = match (&spec.ca, spec.believes_anybody) {
            (_, true) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Credulous(provider.clone()))),
            (Some(ca), false) => builder.with_root_certificates(authorities(ca)?),
            (None, false) => builder.with_root_certificates(of_the_system()?),
        };
        let mut config = match &spec.certificate {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let certificate = Certificate::load(files, &provider)?;
                builder.with_client_cert_resolver(Arc::new(Always(certificate.key)))
            }
        };
        config.alpn_protocols = match spec.protocols {
            Protocols::Http1 => Vec::new(),
            Protocols::Http2 => vec![b"h2".to_vec()],
            Protocols::Either => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let server_name = spec.server_name.clone().map(ServerName::try_from).transpose();
        let server_name = server_name.map_err(|error| about_none(error.to_string()))?;
        Ok(Outgoing { config: Arc::new(config), identity: identity(spec)?, server_name })
    }

    /// The same for the same settings and contents of files, as far as these name any: what was
    /// verified by others was not verified by these.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// Agrees on keys with whom `host` (a name or an address; absent for a Unix socket) names, and
    /// makes sure that it is them.
    pub async fn secure<S>(&self, stream: S, host: Option<&str>) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match (&self.server_name, host) {
            (Some(name), _) => name.clone(),
            (None, host) => ServerName::try_from(host.unwrap_or("localhost").to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        TlsConnector::from(self.config.clone()).connect(name, stream).await
    }
}

fn identity(spec: &OutgoingSpec) -> Result<u64, Error> {
    let pair = spec.certificate.iter().flat_map(|pair| [&pair.cert, &pair.key]);
    let mut identity = xxh3_64(format!("{spec:?}").as_bytes());
    for file in spec.ca.iter().chain(pair) {
        identity = xxh3_64_with_seed(&read(file)?, identity);
    }
    Ok(identity)
}

/// The authorities that the system trusts.
fn of_the_system() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or(String::new(), |error| format!(" ({error})"));
        let problem = format!("the system trusts no certificate authority{why}: name a ca");
        return Err(Error::new(Path::new("tls"), problem));
    }
    Ok(roots)
}

/// Shows one certificate to whoever asks for any.
#[derive(Debug)]
struct Always(Arc<rustls::sign::CertifiedKey>);

impl rustls::client::ResolvesClientCert for Always {
    fn resolve(
        &self,
        _: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.0.key.choose_scheme(schemes).map(|_| self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Believes any certificate, if whoever shows it has its key.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
