//! Is this a host, and which one is meant?

/// Is this a valid `Host` (RFC 9110, section 7.2): a host, not empty, and perhaps a port?
pub fn is_valid_host(value: &[u8]) -> bool {
    let (host_is_valid, port) = match value {
        [b'[', rest @ ..] => match rest.iter().position(|&b| b == b']') {
            Some(end) => (is_ip_literal(&rest[..end]), &rest[end + 1..]),
            None => return false,
        },
        _ => {
            let end = value.iter().position(|&b| !REG_NAME[b as usize]).unwrap_or(value.len());
            (end > 0, &value[end..])
        }
    };
    let port_is_valid = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host_is_valid && port_is_valid
}

fn is_ip_literal(address: &[u8]) -> bool {
    let text = std::str::from_utf8(address).unwrap_or_default();
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Bytes of a registered name (RFC 3986, section 3.2.2): unreserved, percent and sub-delims. A
/// comma is left out, although allowed: nobody's name has one, and a list of two hosts does.
static REG_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 128 {
        let byte = b as u8;
        table[b] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
            );
        b += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_told_from_other_things() {
        for good in ["a", "example.com:8080", "10.0.0.1", "[::1]", "[::1]:80", "a_b:", "xn--a.b"] {
            assert!(is_valid_host(good.as_bytes()), "{good:?} was refused");
        }
        for bad in [
            "",
            ":80",
            "a b",
            "a,b",
            "a:b",
            "a:80:80",
            "a/b",
            "user@a",
            "[::1",
            "::1",
            "[]",
            "[::1]x",
            "a:123456",
            "http://a",
            "a\t",
            "\u{e4}",
            "[::1%25eth0]",
        ] {
            assert!(!is_valid_host(bad.as_bytes()), "{bad:?} was accepted");
        }
    }

    proptest! {
        /// What we take for a host is one host to others, too: nobody finds a user, a path, a second
        /// host or the end of a line in it.
        #[test]
        fn a_host_is_one_to_everybody(value in "[a-c\\[\\]:@/?#,\\\\ .%0-9_;&='\"\t\r\n-]{0,12}") {
            if is_valid_host(value.as_bytes()) {
                let is_apart = |b: u8| b.is_ascii_whitespace() || b"@/?#,\\\"".contains(&b);
                prop_assert!(!value.bytes().any(is_apart), "{:?}", value);
                if !value.contains('%') {
                    let parsed: http::uri::Authority = value.parse().unwrap();
                    prop_assert_eq!(parsed.as_str(), value);
                }
            }
        }
    }
}
