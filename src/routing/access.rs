//! Who may use a route, by address.

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// Ranges of addresses that may come, and that may not. As with routes, the most specific one that
/// an address is in decides, whatever the order. An address in none of them may come unless it
/// takes being allowed: unless some range is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The longest prefix first, and whether it may come.
    ranges: Vec<(IpNet, bool)>,
    /// What goes for everybody else.
    otherwise: bool,
}

impl Access {
    /// No range may be in both.
    pub fn new(allowed: &[IpNet], denied: &[IpNet]) -> Self {
        let with = |ranges: &[IpNet], may| {
            ranges.iter().map(move |range| (range.trunc(), may)).collect::<Vec<_>>()
        };
        let mut ranges = [with(allowed, true), with(denied, false)].concat();
        ranges.sort_by_key(|(range, _)| Reverse(range.prefix_len()));
        Access { ranges, otherwise: allowed.is_empty() }
    }

    /// May this address come? An IPv4 address is not in IPv6 clothes any more.
    pub fn admits(&self, address: IpAddr) -> bool {
        let decisive = self.ranges.iter().find(|(range, _)| range.contains(&address));
        decisive.map_or(self.otherwise, |(_, may)| *may)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = |may| if may { "allowed" } else { "denied" };
        for (range, may) in &self.ranges {
            write!(f, "{range} {}, ", verdict(*may))?;
        }
        write!(f, "others {}", verdict(self.otherwise))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn access(allowed: &[&str], denied: &[&str]) -> Access {
        let ranges = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        Access::new(&ranges(allowed), &ranges(denied))
    }

    fn admits(access: &Access, address: &str) -> bool {
        access.admits(address.parse().unwrap())
    }

    #[test]
    fn the_most_specific_range_decides() {
        let access = access(&["10.0.0.0/8", "10.1.2.3/32"], &["10.1.0.0/16"]);
        assert!(admits(&access, "10.2.0.1") && admits(&access, "10.1.2.3"));
        assert!(!admits(&access, "10.1.2.4"));
        assert!(!admits(&access, "192.0.2.1"), "who is not allowed is not");
        assert!(!admits(&access, "fd00::1"));
    }

    #[test]
    fn with_denials_only_everybody_else_may_come() {
        let access = access(&[], &["192.0.2.0/24", "2001:db8::/32"]);
        assert!(admits(&access, "10.0.0.1") && admits(&access, "::1"));
        assert!(!admits(&access, "192.0.2.77") && !admits(&access, "2001:db8:1::1"));
    }

    #[test]
    fn the_bits_behind_a_prefix_do_not_count() {
        assert!(admits(&access(&["10.0.0.99/8"], &[]), "10.200.1.1"));
    }

    proptest! {
        /// Against the definition, bit by bit.
        #[test]
        fn like_the_definition(
            ranges in proptest::collection::vec((any::<u32>(), 0_u8..=32, any::<bool>()), 0..12),
            address: u32,
            nearby in any::<proptest::sample::Index>(),
        ) {
            // An address that is near one of the ranges: one by chance is in hardly any.
            let address = match ranges.is_empty() {
                true => address,
                false => nearby.get(&ranges).0 ^ (address >> 20),
            };
            let mask = |length: u8| u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            let mut distinct: Vec<(u32, u8, bool)> = Vec::new();
            for (base, length, may) in ranges {
                let base = base & mask(length);
                if !distinct.iter().any(|(other, l, _)| (*other, *l) == (base, length)) {
                    distinct.push((base, length, may));
                }
            }
            let nets = |wanted: bool| -> Vec<IpNet> {
                let of_kind = distinct.iter().filter(|(_, _, may)| *may == wanted);
                let net = |(base, length, _): &(u32, u8, bool)| {
                    IpNet::new(IpAddr::from(base.to_be_bytes()), *length).unwrap()
                };
                of_kind.map(net).collect()
            };
            let (allowed, denied) = (nets(true), nets(false));
            let best = distinct
                .iter()
                .filter(|(base, length, _)| address & mask(*length) == *base)
                .max_by_key(|(_, length, _)| *length);
            let expected = best.map_or(allowed.is_empty(), |(_, _, may)| *may);
            let address = IpAddr::from(address.to_be_bytes());
            prop_assert_eq!(Access::new(&allowed, &denied).admits(address), expected);
        }
    }
}
