//! The PROXY protocol, versions 1 and 2: who a connection is really from, said before anything
//! else on it. <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>
//!
//! Bytes to meaning and back; no sockets. The grammar is the `ppp` crate's; where a header ends is
//! found here, so that nothing behind it is ever read.

use std::net::{IpAddr, SocketAddr};

use ppp::{v1, v2};

/// The first bytes of a version 2 header.
const SIGNATURE: &[u8] = v2::PROTOCOL_PREFIX;
/// Those of a version 1 header.
const WORD: &[u8] = b"PROXY ";
/// Bytes of a version 2 header before its addresses.
const FIXED: usize = 16;
/// Bytes of a version 1 header at most, its line end included.
const LONGEST_LINE: usize = 107;
/// Bytes of a version 2 header that are accepted. Its length field would allow 64 KiB.
pub const LONGEST: usize = 4096;
/// The extension of version 2 that says whether the client came over TLS, and its bit for it.
const SSL: (u8, u8) = (0x20, 0x01);

/// Which form a header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its bytes.
    pub length: usize,
    /// Whom the connection is from; `None` if from the sender itself.
    pub source: Option<SocketAddr>,
    /// Did the client come to the sender over TLS, as far as it says?
    pub is_tls: bool,
}

/// There is no header, or one that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY protocol header")]
pub struct Malformed;

/// Reads the header at the beginning of `bytes`. `None` if there is more to come of it.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some(length) = extent(bytes)? else { return Ok(None) };
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    let (source, is_tls) = match bytes.starts_with(SIGNATURE) {
        true => read_v2(header)?,
        false => (read_v1(header)?, false),
    };
    Ok(Some(Header { length, source, is_tls }))
}

/// How long is it? `None` if that cannot be said yet.
fn extent(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let may_be = |prefix: &[u8]| {
        let known = bytes.len().min(prefix.len());
        bytes[..known] == prefix[..known]
    };
    if may_be(SIGNATURE) {
        let Some(length) = bytes.get(FIXED - 2..FIXED) else { return Ok(None) };
        let length = FIXED + usize::from(u16::from_be_bytes([length[0], length[1]]));
        return if length <= LONGEST { Ok(Some(length)) } else { Err(Malformed) };
    }
    if !may_be(WORD) {
        return Err(Malformed);
    }
    let line = &bytes[..bytes.len().min(LONGEST_LINE)];
    match line.windows(2).position(|pair| pair == b"\r\n") {
        Some(at) => Ok(Some(at + 2)),
        None if bytes.len() < LONGEST_LINE => Ok(None),
        None => Err(Malformed),
    }
}

fn read_v1(line: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    let header = v1::Header::try_from(line).map_err(|_| Malformed)?;
    Ok(match header.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
    })
}

fn read_v2(bytes: &[u8]) -> Result<(Option<SocketAddr>, bool), Malformed> {
    let header = v2::Header::try_from(bytes).map_err(|_| Malformed)?;
    if header.command == v2::Command::Local {
        return Ok((None, false));
    }
    let source = match header.addresses {
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        v2::Addresses::IPv4(ip) => Some((ip.source_address, ip.source_port).into()),
        v2::Addresses::IPv6(ip) => Some((ip.source_address, ip.source_port).into()),
    };
    let mut is_tls = false;
    for extension in header.tlvs() {
        let extension = extension.map_err(|_| Malformed)?;
        let says_tls = extension.value.first().is_some_and(|flags| flags & SSL.1 != 0);
        is_tls |= extension.kind == SSL.0 && says_tls;
    }
    Ok((source, is_tls))
}

/// A header for a connection from `source` to `destination`; `None`: from us, as health checks are.
pub fn write(version: Version, from_to: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let from_to = from_to.map(|(from, to)| same_family(from, to));
    match (version, from_to) {
        (Version::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (Version::V1, Some(from_to)) => v1::Addresses::from(from_to).to_string().into_bytes(),
        (Version::V2, from_to) => {
            let command = if from_to.is_some() { v2::Command::Proxy } else { v2::Command::Local };
            let addresses = from_to.map_or(v2::Addresses::Unspecified, v2::Addresses::from);
            let built = v2::Builder::with_addresses(
                v2::Version::Two | command,
                v2::Protocol::Stream,
                addresses,
            )
            .build();
            // Only extensions can be too long, and there are none.
            built.unwrap_or_default()
        }
    }
}

/// Both addresses as IPv4, or both as IPv6: the protocol knows no mixture.
fn same_family(from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |address: SocketAddr| (address.ip().to_canonical(), address.port());
    let as_v6 = |address: (IpAddr, u16)| match address {
        (IpAddr::V4(ip), port) => SocketAddr::from((ip.to_ipv6_mapped(), port)),
        (IpAddr::V6(ip), port) => SocketAddr::from((ip, port)),
    };
    let (from, to) = (canonical(from), canonical(to));
    match from.0.is_ipv4() == to.0.is_ipv4() {
        true => (from.into(), to.into()),
        false => (as_v6(from), as_v6(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n";

    fn followed(header: &[u8]) -> Vec<u8> {
        [header, REQUEST].concat()
    }

    #[test]
    fn lines_are_read_to_their_end() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
        let header = read(&followed(line)).unwrap().unwrap();
        assert_eq!((header.length, header.is_tls), (line.len(), false));
        assert_eq!(header.source, Some("192.0.2.1:56324".parse().unwrap()));
        let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                       ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert!(read(longest.as_bytes()).unwrap().unwrap().source.is_some());
        assert_eq!(read(b"PROXY UNKNOWN\r\n").unwrap().unwrap().source, None);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let mut too_long = b"PROXY UNKNOWN ".to_vec();
        too_long.resize(200, b'x');
        let mut huge = [SIGNATURE, &[0x21, 0x11]].concat();
        huge.extend_from_slice(&[0xff, 0xff]);
        for bad in [
            REQUEST,
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 x\r\n",
            b"PROXY TCP4 192.0.2.300 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY\r\n",
            b"proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            &too_long,
            &huge,
        ] {
            assert_eq!(read(bad), Err(Malformed), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_sender_that_speaks_for_itself_is_itself() {
        for version in [Version::V1, Version::V2] {
            let header = write(version, None);
            let read = read(&followed(&header)).unwrap().unwrap();
            assert_eq!((read.length, read.source), (header.len(), None));
        }
    }

    #[test]
    fn tls_in_front_of_the_sender_is_known() {
        let from_to: (SocketAddr, SocketAddr) =
            ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        for (flags, is_tls) in [(1, true), (0, false)] {
            let command = v2::Version::Two | v2::Command::Proxy;
            let builder = v2::Builder::with_addresses(command, v2::Protocol::Stream, from_to);
            let header = builder.write_tlv(SSL.0, &[flags, 0, 0, 0, 0]).unwrap().build().unwrap();
            assert_eq!(read(&header).unwrap().unwrap().is_tls, is_tls);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            from: SocketAddr, to: SocketAddr, is_v2: bool, cut in 0_usize..200,
        ) {
            let version = if is_v2 { Version::V2 } else { Version::V1 };
            let header = write(version, Some((from, to)));
            let whole = followed(&header);
            let found = read(&whole).unwrap().unwrap();
            prop_assert_eq!(found.length, header.len());
            let source = found.source.unwrap();
            prop_assert_eq!(source.ip().to_canonical(), from.ip().to_canonical());
            prop_assert_eq!(source.port(), from.port());
            // However little has arrived, it is no mistake.
            prop_assert_eq!(read(&header[..cut.min(header.len() - 1)]), Ok(None));
        }

        #[test]
        fn noise_is_no_danger(bytes: Vec<u8>, is_v2: bool) {
            let start = if is_v2 { SIGNATURE } else { WORD };
            let _ = read(&[start, &bytes].concat());
            let _ = read(&bytes);
        }
    }
}
