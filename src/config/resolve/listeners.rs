//! `[[listeners]]`, and what must not have the same address.

use std::net::{IpAddr, SocketAddr};

use super::Resolver;
use crate::balance::Address;
use crate::config::at::At;
use crate::config::file;
use crate::config::{Family, Listener, Pool, ProxyProtocol};

impl Resolver<'_> {
    /// The listeners; `at` is the root.
    pub(super) fn listeners(&mut self, file: &[file::Listener], at: At<'_>) -> Vec<Listener> {
        let at = at.key("listeners");
        if file.is_empty() {
            let mistake =
                self.mistakes.error(at, "no listener: clients have nowhere to connect to");
            mistake.help("write\n[[listeners]]\naddress = \"0.0.0.0:8080\"");
        }
        let mut listeners: Vec<Listener> = Vec::with_capacity(file.len());
        for (i, listener) in file.iter().enumerate() {
            let at_address = at.index(i).key("address");
            let address = listener.address.0.0;
            if address.port() == 0 {
                let mistake = self.mistakes.warning(at_address, "listeners.address has port 0");
                mistake.label("the kernel will choose a port");
            }
            if let Some(other) = listeners.iter().position(|other| clash(other.address, address)) {
                let mistake = self.mistakes.error(at_address, "two listeners on one address");
                let at_other = at.index(other).key("address");
                mistake.label("this is taken").with(at_other, "by this");
            }
            listeners.push(Listener {
                address,
                max_connections: usize::try_from(listener.max_connections).unwrap_or(usize::MAX),
                trusted_proxies: listener.trusted_proxies.iter().map(|range| range.0).collect(),
                forwarded: match listener.forwarded {
                    file::Family::XForwarded => Family::XForwarded,
                    file::Family::Forwarded => Family::Forwarded,
                },
                proxy_protocol: listener
                    .proxy_protocol
                    .as_ref()
                    .map(|file| self.proxy_protocol(file, at.index(i).key("proxy_protocol"))),
                tls: listener
                    .tls
                    .as_ref()
                    .map(|tls| self.tls(tls, listener.http2, at.index(i).key("tls"))),
                http2: listener.http2.unwrap_or(listener.tls.is_some()),
                redirect_to_https: self.redirect(listener, at.index(i)),
            });
        }
        listeners
    }

    fn proxy_protocol(&mut self, file: &file::ProxyProtocol, at: At<'_>) -> ProxyProtocol {
        self.not_empty(&file.from, at.key("from"), "name the load balancers, or leave it all out");
        ProxyProtocol {
            from: file.from.iter().map(|range| range.0).collect(),
            timeout: self.positive(&file.timeout, at.key("timeout")),
        }
    }

    fn redirect(&mut self, file: &file::Listener, at: At<'_>) -> Option<u16> {
        if file.redirect_to_https.is_some() {
            let why = "a listener with it serves HTTPS already";
            let help = "put it on the listener for plain HTTP";
            if file.tls.is_some() {
                self.useless(at.key("redirect_to_https"), why, help, at.key("tls"));
            }
        }
        file.redirect_to_https
    }

    /// No backend is one of our own listeners: requests would go round in circles.
    pub(super) fn no_loops(&mut self, listeners: &[Listener], pools: &[Pool], at: At<'_>) {
        for pool in pools {
            let at_pool = at.key("pools").key(&pool.spec.name);
            for (i, backend) in pool.spec.backends.iter().enumerate() {
                let is_ours = |own: &Listener| arrives_at(&backend.address, own.address);
                if let Some(own) = listeners.iter().position(is_ours) {
                    let at_address = at_pool.key("backends").index(i).key("address");
                    let at_own = at.key("listeners").index(own).key("address");
                    let title = format!("{} is a listener of this proxy", at_address.path());
                    let mistake = self.mistakes.error(at_address, title);
                    mistake.label("requests would go round in circles");
                    mistake.with(at_own, "this listener");
                }
            }
        }
    }
}

/// Could only one of these addresses be bound?
pub(super) fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    let meet = a.ip() == b.ip() || any && a.is_ipv4() == b.is_ipv4();
    a.port() == b.port() && a.port() != 0 && meet
}

/// Would a connection to `address` arrive at a listener on `own`, as far as can be said without a
/// name server?
pub(super) fn arrives_at(address: &Address, own: SocketAddr) -> bool {
    let Address::Tcp { host, port } = address else { return false };
    let ip = match host.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) if **host == *"localhost" => IpAddr::from([127, 0, 0, 1]),
        Err(_) => return false,
    };
    let here = ip.is_loopback() || ip.is_unspecified();
    *port == own.port() && (ip == own.ip() || here && own.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_clash_when_only_one_could_be_bound() {
        let clash = |a: &str, b: &str| clash(a.parse().unwrap(), b.parse().unwrap());
        assert!(clash("0.0.0.0:80", "127.0.0.1:80"));
        assert!(clash("[::1]:80", "[::]:80"));
        assert!(!clash("0.0.0.0:80", "[::]:80"), "that depends on the system");
        assert!(!clash("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!clash("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"), "the kernel chooses two");
    }

    #[test]
    fn a_backend_is_ours_when_its_connections_come_to_us() {
        let arrives =
            |address: &str, own: &str| arrives_at(&address.parse().unwrap(), own.parse().unwrap());
        for (address, own) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("127.0.0.1:80", "0.0.0.0:80"),
            ("localhost:80", "127.0.0.1:80"),
            ("localhost:80", "[::]:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
        ] {
            assert!(arrives(address, own), "{address} {own}");
        }
        for (address, own) in [
            ("127.0.0.1:81", "127.0.0.1:80"),
            ("10.0.0.1:80", "0.0.0.0:80"),
            ("app:80", "127.0.0.1:80"),
            ("unix:/run/80", "127.0.0.1:80"),
        ] {
            assert!(!arrives(address, own), "{address} {own}");
        }
    }
}
