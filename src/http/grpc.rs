//! What a proxy has to know of gRPC: how a call says what it is, how long it may take, and how it
//! went, and the standard health check. The protobuf of that is two fields, so it is read and
//! written by hand. <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::time::Duration;

use thiserror::Error;

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Is this the `Content-Type` of a call?
pub fn is_call(content_type: &[u8]) -> bool {
    let Some(rest) = content_type.strip_prefix(b"application/grpc") else { return false };
    // Not gRPC-Web, which is ordinary HTTP to us.
    rest.is_empty() || matches!(rest[0], b'+' | b';')
}

/// How long a call may take: `grpc-timeout`.
pub fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// How a call went: `grpc-status`.
pub fn status(value: &[u8]) -> Option<u8> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The path of `grpc.health.v1.Health/Check`.
pub const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

/// A `HealthCheckRequest` for this service, as a message on a stream.
pub fn health_request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a); // field 1, a string
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// What a server says about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// It cannot tell.
    Unknown,
    /// It serves.
    Serving,
    /// It does not.
    NotServing,
    /// It has no such service.
    ServiceUnknown,
}

/// A message that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the answer is no HealthCheckResponse")]
pub struct Malformed;

/// Reads a `HealthCheckResponse`, a message on a stream.
pub fn health_response(framed: &[u8]) -> Result<Serving, Malformed> {
    let (prefix, message) = framed.split_at_checked(PREFIX).ok_or(Malformed)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if prefix[0] != 0 || message.len() != length {
        return Err(Malformed);
    }
    let mut rest = message;
    let mut status = 0; // what is left out is zero
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut rest)?,
            (_, 0) => drop(varint(&mut rest)?),
            (_, 1) => rest = rest.get(8..).ok_or(Malformed)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut rest)?).map_err(|_| Malformed)?;
                rest = rest.get(length..).ok_or(Malformed)?;
            }
            (_, 5) => rest = rest.get(4..).ok_or(Malformed)?,
            _ => return Err(Malformed),
        }
    }
    Ok(match status {
        1 => Serving::Serving,
        2 => Serving::NotServing,
        3 => Serving::ServiceUnknown,
        _ => Serving::Unknown,
    })
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn calls_are_told_from_other_requests() {
        for call in ["application/grpc", "application/grpc+proto", "application/grpc;a=b"] {
            assert!(is_call(call.as_bytes()), "{call}");
        }
        for other in ["application/json", "application/grpc-web+proto", ""] {
            assert!(!is_call(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn timeouts_are_read_as_the_specification_says() {
        assert_eq!(timeout(b"1S"), Some(Duration::from_secs(1)));
        assert_eq!(timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(timeout(b"100m"), Some(Duration::from_millis(100)));
        assert_eq!(timeout(b"5u"), Some(Duration::from_micros(5)));
        for none in ["", "S", "1", "1s", "-1S", "123456789S", "1 S"] {
            assert_eq!(timeout(none.as_bytes()), None, "{none}");
        }
        assert_eq!((status(b"14"), status(b"x"), status(b"")), (Some(14), None, None));
    }

    #[test]
    fn health_is_asked_and_told() {
        assert_eq!(health_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(health_request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(health_request(&"x".repeat(200))[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
        assert_eq!(health_response(&[0, 0, 0, 0, 2, 8, 1]), Ok(Serving::Serving));
        assert_eq!(health_response(&[0, 0, 0, 0, 2, 8, 2]), Ok(Serving::NotServing));
        assert_eq!(health_response(&[0, 0, 0, 0, 0]), Ok(Serving::Unknown));
        // A later version may say more.
        assert_eq!(health_response(&[0, 0, 0, 0, 5, 0x12, 1, b'?', 8, 1]), Ok(Serving::Serving));
        for bad in [&[][..], &[0, 0, 0, 0, 9], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 2, 8, 0x80]] {
            assert_eq!(health_response(bad), Err(Malformed), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (timeout(&bytes), status(&bytes), is_call(&bytes), health_response(&bytes));
            let length = (bytes.len() as u32).to_be_bytes();
            let _ = health_response(&[&[0], &length[..], &bytes].concat());
        }
    }
}
