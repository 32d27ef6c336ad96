//! The demo's certificate: self-signed, made for one run, and gone with it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::Rng;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::cli::failure::Failure;

/// A certificate in a directory of its own, which nobody else may read.
#[derive(Debug)]
pub(super) struct Certificate {
    directory: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Makes one for this address and for `localhost`.
    pub(super) fn make(address: SocketAddr, rng: &mut dyn Rng) -> Result<Self, Failure> {
        let names = vec!["localhost".to_owned(), address.ip().to_string()];
        let made = rcgen::generate_simple_self_signed(names).map_err(Failure::failed)?;
        let name = format!("stickler-demo-{:016x}", rng.next_u64());
        let directory = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&directory).map_err(Failure::failed)?;
        let certificate = Certificate { directory, der: made.cert.der().clone() };
        let key = made.signing_key.serialize_pem();
        let written = write(&certificate.directory.join("demo.pem"), &made.cert.pem())
            .and_then(|()| write(&certificate.directory.join("demo.key"), &key));
        written.map_err(Failure::failed)?;
        Ok(certificate)
    }

    /// Where `demo.pem` and `demo.key` are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What browsers need that trust it and nothing else.
    pub(super) fn trust(&self) -> Result<Arc<ClientConfig>, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).map_err(Failure::failed)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Failure::failed)?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
