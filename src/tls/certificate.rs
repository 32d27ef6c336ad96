//! PEM files to a chain and its key, or what is wrong with them.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use x509_cert::der::Decode;

use super::{Error, PairFiles, certificates, read};

/// A certificate that can be shown, and the names that it is for.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// In lower case; wildcards as `*.example.com`.
    pub(super) names: Vec<String>,
}

impl Certificate {
    /// Reads both files of a pair, and makes sure that they belong together.
    pub(super) fn load(files: &PairFiles, provider: &CryptoProvider) -> Result<Self, Error> {
        let chain = certificates(&files.cert)?;
        let names = names(&chain[0]).map_err(|problem| Error::new(&files.cert, problem))?;
        let key = private_key(files)?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| Error::new(&files.key, error))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A key that does not say what its public half is may well be the right one.
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(TlsError::InconsistentKeys(_)) => {
                let problem = format!("this is not the key of {}", files.cert.display());
                return Err(Error::new(&files.key, problem));
            }
            Err(error) => return Err(Error::new(&files.cert, error)),
        }
        Ok(Certificate { key: Arc::new(certified), names })
    }
}

fn private_key(files: &PairFiles) -> Result<PrivateKeyDer<'static>, Error> {
    const ENCRYPTED: &[u8] = b"ENCRYPTED";

    let pem = read(&files.key)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let is_encrypted = pem.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED);
        match (is_encrypted, error) {
            (true, _) => {
                Error::new(&files.key, "the key is encrypted, which cannot be undone here")
            }
            (_, rustls::pki_types::pem::Error::NoItemsFound) => {
                Error::new(&files.key, "it holds no private key in PEM")
            }
            (_, error) => Error::new(&files.key, error),
        }
    })
}

/// The names that a certificate is for.
fn names(certificate: &rustls::pki_types::CertificateDer<'_>) -> Result<Vec<String>, String> {
    let parsed = webpki::EndEntityCert::try_from(certificate);
    let parsed = parsed.map_err(|error| format!("its certificate cannot be used: {error}"))?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

/// From when and until when the first certificate of a file is good.
pub fn validity(file: &Path) -> Result<(SystemTime, SystemTime), Error> {
    let certificates = certificates(file)?;
    let certificate = certificates.first().map_or(&[][..], |first| first.as_ref());
    let certificate = x509_cert::Certificate::from_der(certificate);
    let certificate = certificate.map_err(|error| Error::new(file, error))?;
    let validity = certificate.tbs_certificate.validity;
    Ok((validity.not_before.to_system_time(), validity.not_after.to_system_time()))
}
