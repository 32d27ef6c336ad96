use std::fs;
use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use tempfile::TempDir;

use super::{Client, PATIENCE};

/// A client over TLS.
pub type TlsClient = Client<StreamOwned<ClientConnection, TcpStream>>;

/// A certificate authority, and a directory with what it has issued.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// The files of a certificate and its key.
#[derive(Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    /// `{ cert = "...", key = "..." }`
    pub fn toml(&self) -> String {
        format!("{{ cert = {:?}, key = {:?} }}", self.cert, self.key)
    }
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Test Authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, directory }
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Issues a certificate for these names, the first of which is also its subject. Files of the
    /// same `file` are overwritten.
    pub fn issue(&self, file: &str, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0].clone());
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair {
            cert: self.path().join(format!("{file}.pem")),
            key: self.path().join(format!("{file}.key")),
        };
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        fs::write(&pair.cert, certificate.pem()).unwrap();
        pair
    }

    /// What a client that trusts this authority says, with a certificate of its own or not.
    pub fn client(&self, pair: Option<&Pair>) -> ClientConfig {
        self.client_of(rustls::ALL_VERSIONS, pair)
    }

    /// The same with these versions only.
    pub fn client_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        pair: Option<&Pair>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ));
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let cert = CertificateDer::from_pem_file(&pair.cert).unwrap();
                let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        }
    }
}

/// The proxy's side of a connection to an app server that speaks TLS.
pub type TlsConversation = Client<StreamOwned<ServerConnection, TcpStream>>;

/// An app server that speaks TLS.
pub struct TlsBackend {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl TlsBackend {
    /// With this certificate. `asks_for` a certificate of this authority, or nothing. Does `script`
    /// with every connection.
    pub fn new(
        pair: &Pair,
        asks_for: Option<&Authority>,
        script: impl Fn(TlsConversation) + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match asks_for {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let cert = CertificateDer::from_pem_file(&pair.cert).unwrap();
        let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
        let config = Arc::new(builder.with_single_cert(vec![cert], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections: Arc<AtomicUsize> = Arc::default();
        let (counter, script) = (connections.clone(), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let (config, script) = (config.clone(), script.clone());
                thread::spawn(move || {
                    let mut session = ServerConnection::new(config).unwrap();
                    while session.is_handshaking() {
                        if session.complete_io(&mut stream).is_err() {
                            return;
                        }
                    }
                    script(Client { stream: BufReader::new(StreamOwned::new(session, stream)) });
                });
            }
        });
        TlsBackend { address, connections }
    }

    /// That answers every request with its body, or else with `name`.
    pub fn echoing(pair: &Pair, asks_for: Option<&Authority>, name: &'static str) -> Self {
        TlsBackend::new(pair, asks_for, move |mut conversation| {
            while let Some(length) = conversation.request_length() {
                let mut body = conversation.bytes(length);
                if body.is_empty() {
                    body = name.into();
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                conversation.send([head.as_bytes(), &body].concat());
            }
        })
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl TlsConversation {
    /// Reads a request's head, and tells how long its body is. `None` at the end.
    pub fn request_length(&mut self) -> Option<usize> {
        let mut length = 0;
        let mut line = self.line()?;
        while line != "\r\n" {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            line = self.line()?;
        }
        Some(length)
    }
}

impl TlsClient {
    /// Connects and agrees on keys; what went wrong, if that fails.
    pub fn secured(
        address: SocketAddr,
        name: &str,
        config: &Arc<ClientConfig>,
    ) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(config.clone(), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Client { stream: BufReader::new(StreamOwned::new(session, stream)) })
    }

    /// What has been agreed on.
    pub fn session(&self) -> &ClientConnection {
        &self.stream.get_ref().conn
    }
}
