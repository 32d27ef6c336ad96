//! TLS: certificates, and what rustls is to do with them. No HTTP.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`certificate`] | PEM files to a chain and its key, or what is wrong with them |
//! | [`by_name`] | which certificate a client gets |
//! | [`mod@challenges`] | what an authority that issues certificates asks to see |
//! | [`incoming`] | what a listener says to clients; replaced while it is in use |
//! | [`outgoing`] | how backends are spoken to |
//! | [`mod@subject`] | who a client's certificate says it is |

mod by_name;
mod certificate;
mod challenges;
mod incoming;
mod outgoing;
mod subject;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

pub use certificate::validity;
pub use challenges::{Challenges, challenges};
pub use incoming::{AcmeChallenge, AcmeSpec, ClientAuth, Incoming, IncomingSpec};
pub use outgoing::{Outgoing, OutgoingSpec, Protocols};
pub use subject::subject;

/// A certificate and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The certificate, followed by those that lead to its authority. PEM.
    pub cert: PathBuf,
    /// The certificate's private key. PEM.
    pub key: PathBuf,
}

/// The oldest protocol that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

impl MinVersion {
    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            MinVersion::Tls12 => "1.2",
            MinVersion::Tls13 => "1.3",
        }
    }

    fn versions(self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        static ONLY_13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
        match self {
            MinVersion::Tls12 => rustls::ALL_VERSIONS,
            MinVersion::Tls13 => ONLY_13,
        }
    }
}

/// Why some files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {problem}", file.display())]
pub struct Error {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

impl Error {
    /// A problem with a file that somebody else has found.
    pub fn about(file: &Path, problem: impl fmt::Display) -> Self {
        Error::new(file, problem)
    }

    fn new(file: &Path, problem: impl fmt::Display) -> Self {
        Error { file: file.into(), problem: problem.to_string() }
    }
}

/// Reads a file of a sensible size.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    /// More than the certificates of all authorities that there are.
    const LARGEST: u64 = 16 << 20;

    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > LARGEST {
            true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB")),
            false => Ok(bytes),
        }
    };
    read().map_err(|error| Error::new(path, error))
}

/// The certificates of a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| Error::new(path, error))?;
    match certificates.is_empty() {
        true => Err(Error::new(path, "it holds no certificate in PEM")),
        false => Ok(certificates),
    }
}

/// The certificate authorities of a file.
fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| Error::new(path, error))?;
    }
    Ok(roots)
}
