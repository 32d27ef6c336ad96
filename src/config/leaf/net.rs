//! Addresses, hosts and paths.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::HeaderValue;
use http::uri::Authority;
use ipnet::IpNet;

use super::Leaf;
use crate::balance::Address;
use crate::http::compression::MediaRange;
use crate::routing::{HostMatch, PathMatch, Template};

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

impl Leaf for ListenAddress {
    const FORMAT: &'static str = "listen-address";
    const EXPECTED: &'static str =
        "an address such as \"0.0.0.0:8080\", \"[::]:8080\", \"localhost:8080\" or \":8080\"";

    /// No name but `localhost` is looked up: what we listen on must not depend on a name server.
    /// Without an address it is every IPv4 address, as for nginx and HAProxy.
    fn parse(text: &str) -> Result<Self, String> {
        let port = |text: &str| {
            text.parse::<u16>().map_err(|_| format!("{text:?} is not a port from 0 to 65535"))
        };
        let address = if let Some(rest) = text.strip_prefix("localhost:") {
            SocketAddr::from((Ipv4Addr::LOCALHOST, port(rest)?))
        } else if let Some(rest) = text.strip_prefix(':') {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port(rest)?))
        } else {
            text.parse().map_err(|_| format!("{text:?} is not an IP address and a port"))?
        };
        Ok(ListenAddress(address))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// Where operators are let in, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminAddress(pub Option<SocketAddr>);

impl Leaf for AdminAddress {
    const FORMAT: &'static str = "admin-address";
    const EXPECTED: &'static str = "an address such as \"127.0.0.1:9900\", or \"off\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(AdminAddress(None)),
            _ => ListenAddress::parse(text).map(|address| AdminAddress(Some(address.0))),
        }
    }

    fn show(&self) -> String {
        self.0.map_or("off".into(), |address| address.to_string())
    }
}

/// A name in a backend's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName(pub String);

impl Leaf for ServerName {
    const FORMAT: &'static str = "server-name";
    const EXPECTED: &'static str = "a host name or an IP address such as \"app.internal\"";

    fn parse(text: &str) -> Result<Self, String> {
        match rustls::pki_types::ServerName::try_from(text) {
            Ok(_) => Ok(ServerName(text.into())),
            Err(_) => Err(format!("{text:?} is neither a host name nor an IP address")),
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Leaf for Address {
    const FORMAT: &'static str = "backend-address";
    const EXPECTED: &'static str =
        "an address such as \"10.0.0.11:3000\", \"app.internal:3000\" or \"unix:/run/app.sock\"";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Leaf for IpNet {
    const FORMAT: &'static str = "ip-range";
    const EXPECTED: &'static str = "an address range such as \"10.0.0.0/8\", or one address";

    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        text.parse().map_err(|_| format!("{text:?} is not a range of IP addresses"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Leaf for HostMatch {
    const FORMAT: &'static str = "host";
    const EXPECTED: &'static str =
        "a host such as \"shop.example.com\" or \"*.example.com\", or \"*\" for any";

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(inside) = text.strip_prefix('[') {
            let address = inside.strip_suffix(']').unwrap_or_default();
            address.parse::<Ipv6Addr>().map_err(|_| format!("{text:?} is not an IPv6 address"))?;
        }
        text.parse()
    }

    fn show(&self) -> String {
        match self {
            HostMatch::Any => "*".into(),
            HostMatch::Exact(host) => host.to_string(),
            HostMatch::Wildcard(suffix) => format!("*.{suffix}"),
        }
    }
}

/// A path and what is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(pub PathMatch);

impl Leaf for PathPrefix {
    const FORMAT: &'static str = "path-prefix";
    const EXPECTED: &'static str = "a path such as \"/\" or \"/api\"";

    fn parse(text: &str) -> Result<Self, String> {
        PathMatch::prefix(text).map(PathPrefix)
    }

    fn show(&self) -> String {
        path_text(&self.0)
    }
}

/// A single path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactPath(pub PathMatch);

impl Leaf for ExactPath {
    const FORMAT: &'static str = "path";
    const EXPECTED: &'static str = "a path such as \"/login\"";

    fn parse(text: &str) -> Result<Self, String> {
        PathMatch::exact(text).map(ExactPath)
    }

    fn show(&self) -> String {
        path_text(&self.0)
    }
}

fn path_text(path: &PathMatch) -> String {
    match path {
        PathMatch::Prefix(prefix) if prefix.is_empty() => "/".into(),
        PathMatch::Prefix(path) | PathMatch::Exact(path) => path.to_string(),
    }
}

/// A request target in origin form: a path and perhaps a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(pub String);

impl Leaf for Target {
    const FORMAT: &'static str = "request-target";
    const EXPECTED: &'static str = "a path such as \"/healthz\" or \"/status?full=1\"";

    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("{text:?} does not begin with a slash"));
        }
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
            return Err(format!("{bad:?} cannot be part of a request target"));
        }
        Ok(Target(text.into()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Leaf for MediaRange {
    const FORMAT: &'static str = "media-range";
    const EXPECTED: &'static str = "a media type such as \"text/html\" or \"text/*\"";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Leaf for Template {
    const FORMAT: &'static str = "redirect-target";
    const EXPECTED: &'static str =
        "a target such as \"https://{host}{path}{query}\" or \"/new{rest}{query}\"";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// The value of a `Host` field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostHeader(pub HeaderValue);

impl Leaf for HostHeader {
    const FORMAT: &'static str = "authority";
    const EXPECTED: &'static str = "a host such as \"app.internal\" or \"app.internal:3000\"";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a host with or without a port");
        let authority: Authority = text.parse().map_err(|_| wrong())?;
        if authority.host().is_empty() || text.contains('@') {
            return Err(wrong());
        }
        HeaderValue::from_str(text).map(HostHeader).map_err(|_| wrong())
    }

    fn show(&self) -> String {
        String::from_utf8_lossy(self.0.as_bytes()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Option<String> {
        ListenAddress::parse(text).ok().map(|address| address.show())
    }

    #[test]
    fn listen_addresses_need_no_name_server() {
        assert_eq!(listen("0.0.0.0:8080").as_deref(), Some("0.0.0.0:8080"));
        assert_eq!(listen("[::]:80").as_deref(), Some("[::]:80"));
        assert_eq!(listen("localhost:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(listen(":80").as_deref(), Some("0.0.0.0:80"));
        for bad in ["", "80", "example.com:80", ":http", ":65536", "localhost", "1.2.3.4"] {
            assert_eq!(listen(bad), None, "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_admin_address_can_be_off() {
        let parsed = |text| AdminAddress::parse(text).map(|address| address.show());
        assert_eq!(parsed("off"), Ok("off".into()));
        assert_eq!(parsed("localhost:9900"), Ok("127.0.0.1:9900".into()));
        assert!(AdminAddress::parse("on").is_err());
    }

    #[test]
    fn one_address_is_a_range_too() {
        assert_eq!(IpNet::parse("10.0.0.1").map(|net| net.show()), Ok("10.0.0.1/32".into()));
        assert_eq!(IpNet::parse("fd00::/8").map(|net| net.show()), Ok("fd00::/8".into()));
        assert!(IpNet::parse("10.0.0.0/33").is_err());
    }

    #[test]
    fn paths_and_hosts_are_shown_as_they_are_written() {
        for text in ["*", "*.example.com", "shop.example.com"] {
            assert_eq!(HostMatch::parse(text).map(|host| host.show()), Ok(text.into()));
        }
        assert!(HostMatch::parse("[::1]").is_ok() && HostMatch::parse("[a b]").is_err());
        assert_eq!(PathPrefix::parse("/").map(|path| path.show()), Ok("/".into()));
        assert_eq!(ExactPath::parse("/a/").map(|path| path.show()), Ok("/a/".into()));
        assert!(Target::parse("healthz").is_err() && Target::parse("/a b").is_err());
    }

    #[test]
    fn host_headers() {
        for good in ["app", "app.internal:3000", "[::1]:80", "10.0.0.1"] {
            assert!(HostHeader::parse(good).is_ok(), "{good:?} was refused");
        }
        for bad in ["", "a b", "user@app", "http://app", "app/x", "a\nb"] {
            assert!(HostHeader::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
