//! Who a client's certificate says it is.

use std::fmt::Write;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// A certificate's subject as in RFC 4514 (`CN=alice,O=Example`), in printable ASCII: whatever
/// else is in it is written as `\C3\A9`, so that it can stand in a header field. `None` if it
/// cannot be read.
pub fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(printable(&certificate.tbs_certificate.subject.to_string()))
}

fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' => printable.push(char::from(byte)),
            _ => drop(write!(printable, "\\{byte:02X}")),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    fn of(name: &str) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        subject(certificate.der()).unwrap()
    }

    #[test]
    fn subjects_are_readable_and_harmless() {
        assert_eq!(of("alice"), "CN=alice,O=Example");
        assert_eq!(of("Ren\u{e9}"), "CN=Ren\\C3\\A9,O=Example");
        let injected = of("x\r\nX-Admin: yes");
        assert!(injected.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{injected}");
        assert!(of("a,O=Other").starts_with("CN=a\\,O"), "no other subject can be feigned");
        assert_eq!(subject(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
