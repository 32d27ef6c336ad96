//! Certificates by ACME, from a real ACME server: Pebble, which is made for tests of that.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::support::{
    Address, Authority, Backend, NameServer, Process, Proxy, TlsClient, Zone, pool, wait_until,
};

/// An ACME server that asks us, and nobody else, whose names these are.
struct Pebble {
    _process: Process,
    /// Whose certificate its API has.
    authority: Authority,
    directory: String,
}

impl Pebble {
    fn start(names: &NameServer, http: u16, https: u16) -> Self {
        let authority = Authority::new();
        let pair = authority.issue("pebble", &["localhost", "127.0.0.1"]);
        let kept = [Address::free(), Address::free()];
        let [api, management] = kept.each_ref().map(|kept| kept.address);
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "{api}", "managementListenAddress": "{management}",
                "certificate": {:?}, "privateKey": {:?}, "httpPort": {http}, "tlsPort": {https},
                "ocspResponderURL": "", "externalAccountBindingRequired": false}}}}"#,
            pair.cert, pair.key
        );
        let file = authority.path().join("pebble.json");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("pebble");
        command.arg("-config").arg(&file).args(["-dnsserver", &names.address.to_string()]);
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
        let mut process = Process::of_package("pebble", &mut command);
        wait_until("Pebble listens", || {
            assert!(!process.has_ended(), "{}{}", process.stdout(), process.stderr());
            TcpStream::connect(api).is_ok()
        });
        Pebble { _process: process, authority, directory: format!("https://{api}/dir") }
    }

    /// The listener's table.
    fn toml(&self, domains: &str, challenge: &str) -> String {
        let (directory, ca) = (&self.directory, self.authority.file());
        format!(
            "[listeners.tls.acme]\ndomains = {domains}\nagree_to_terms = true\n\
             contact = \"mailto:ops@shop.test\"\ndirectory = \"{directory}\"\nca = {ca:?}\n\
             challenge = \"{challenge}\"\n"
        )
    }
}

/// The certificate that a client gets, whoever has issued it: its issuer.
fn issuer(address: SocketAddr, name: &str) -> String {
    let seen: Arc<std::sync::Mutex<Option<CertificateDer<'static>>>> = Arc::default();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut config = config;
    config.dangerous().set_certificate_verifier(Arc::new(Looks(seen.clone())));
    let _ = TlsClient::secured(address, name, &Arc::new(config));
    let certificate = seen.lock().unwrap().take();
    let certificate = certificate.map(|certificate| {
        use x509_cert::der::Decode;
        x509_cert::Certificate::from_der(&certificate).unwrap().tbs_certificate.issuer.to_string()
    });
    certificate.unwrap_or_default()
}

/// Looks at a certificate, and believes nobody.
#[derive(Debug)]
struct Looks(Arc<std::sync::Mutex<Option<CertificateDer<'static>>>>);

impl rustls::client::danger::ServerCertVerifier for Looks {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = Some(certificate.clone().into_owned());
        Err(rustls::Error::General("it was seen".into()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("it was seen".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("it was seen".into()))
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[test]
fn certificates_are_had_and_kept() {
    let names = NameServer::new(Zone::Hosts(vec![Ipv4Addr::LOCALHOST]));
    let backend = Backend::named("hello");
    for (challenge, domains) in
        [("http_01", "[\"shop.test\"]"), ("tls_alpn_01", "[\"shop.test\", \"www.shop.test\"]")]
    {
        let kept = [Address::free(), Address::free()];
        let [http, https] = kept.each_ref().map(|kept| kept.address);
        let pebble = Pebble::start(&names, http.port(), https.port());
        let state = tempfile::tempdir().unwrap();
        let config = format!(
            "[server]\nworkers = 2\nshutdown_timeout = \"100ms\"\nstate_dir = {:?}\n\
             [[listeners]]\naddress = \"{https}\"\n{}\
             [[listeners]]\naddress = \"{http}\"\nredirect_to_https = 443\n{}",
            state.path(),
            pebble.toml(domains, challenge),
            pool(&[backend.address.to_string()], ""),
        );
        let proxy = Proxy::with(&config);
        wait_until("a certificate is issued", || issuer(https, "shop.test").contains("Pebble"));
        let files = state.path().join("acme");
        for file in ["shop.test.pem", "shop.test.key"] {
            assert_eq!(mode(&files.join(file)), 0o600, "{file}");
        }
        let accounts = || {
            let files = fs::read_dir(&files).unwrap();
            files
                .filter(|file| {
                    file.as_ref().unwrap().file_name().to_string_lossy().contains("account")
                })
                .count()
        };
        assert_eq!(accounts(), 1);
        drop(proxy);
        // Another process finds it, and asks for no other one.
        let before = fs::read(files.join("shop.test.pem")).unwrap();
        let proxy = Proxy::with(&config);
        assert!(issuer(https, "shop.test").contains("Pebble"));
        drop(proxy);
        assert_eq!(fs::read(files.join("shop.test.pem")).unwrap(), before);
    }
}
