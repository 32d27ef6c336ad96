//! `[[pools.NAME.discover]]`.

use std::net::{IpAddr, SocketAddr};

use super::Resolver;
use crate::balance::Address;
use crate::config::at::At;
use crate::config::file;
use crate::config::leaf::{NameTemplate, Parsed};
use crate::config::{Discover, DiscoverSource, Lookup};

impl Resolver<'_> {
    pub(super) fn discover(&mut self, file: &[file::Discover], at: At<'_>) -> Vec<Discover> {
        let sources = file.iter().enumerate();
        sources.filter_map(|(i, discover)| self.one_source(discover, at.index(i))).collect()
    }

    fn one_source(&mut self, file: &file::Discover, at: At<'_>) -> Option<Discover> {
        let source = match (&file.dns, &file.srv, &file.file) {
            (Some(address), None, None) => {
                let (host, port) = self.host_and_port(address, at)?;
                DiscoverSource::Dns { host, port, lookup: self.lookup(file, at) }
            }
            (None, Some(name), None) => {
                DiscoverSource::Srv { name: name.0.0.clone(), lookup: self.lookup(file, at) }
            }
            (None, None, Some(path)) => {
                for key in ["name", "nameserver", "min_interval", "max_interval"] {
                    let why = match key {
                        "name" => "in a file each backend has its name",
                        _ => "a file is not looked up, it is watched",
                    };
                    self.useless(at.key(key), why, "leave it out", at.key("file"));
                }
                DiscoverSource::File(self.directory.join(&path.0))
            }
            _ => {
                let title = format!("{} needs one of dns, srv and file", at.path());
                let mistake = self.mistakes.error(at, title);
                mistake.help("write dns = \"shop.internal:3000\", srv = \"_http._tcp.shop.internal\" or file = \"backends.toml\"");
                return None;
            }
        };
        let name = file.name.as_ref().map(|name| name.0.clone());
        if let Some(name) = &name {
            self.tells_apart(name, &source, at.key("name"));
        }
        let min_members = usize::try_from(file.min_members).unwrap_or(0);
        Some(Discover { source, name, min_members })
    }

    /// Has every backend a name of its own then?
    fn tells_apart(&mut self, name: &NameTemplate, source: &DiscoverSource, at: At<'_>) {
        let is_address = name.has(NameTemplate::ADDRESS);
        let (is_apart, help) = match source {
            DiscoverSource::Dns { .. } => {
                (is_address && !name.has(NameTemplate::TARGET), "write \"app-{address}\"")
            }
            DiscoverSource::Srv { .. } => (
                is_address || name.has(NameTemplate::TARGET),
                "write \"app-{target}\", or \"app-{address}\"",
            ),
            DiscoverSource::File(_) => return,
        };
        if !is_apart {
            let title = format!("{} does not tell backends apart", at.path());
            self.mistakes.error(at, title).label("several would have this name").help(help);
        }
    }

    fn host_and_port(&mut self, address: &Parsed<Address>, at: At<'_>) -> Option<(String, u16)> {
        match &address.0 {
            Address::Tcp { host, port } if host.parse::<IpAddr>().is_err() => {
                Some((host.to_string(), *port))
            }
            _ => {
                let at = at.key("dns");
                let mistake = self.mistakes.error(at, format!("{} is not a host name", at.path()));
                mistake.label("there is nothing to look up").help("write it as a backend");
                None
            }
        }
    }

    fn lookup(&mut self, file: &file::Discover, at: At<'_>) -> Lookup {
        let nameserver = file.nameserver.as_ref().and_then(|address| {
            let ip = match &address.0 {
                Address::Tcp { host, port } => {
                    host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, *port))
                }
                Address::Unix(_) => None,
            };
            if ip.is_none() {
                let at = at.key("nameserver");
                let title = format!("{} is not an IP address with a port", at.path());
                self.mistakes.error(at, title).label("expected something like \"10.0.0.2:53\"");
            }
            ip
        });
        let min_interval = self.positive(&file.min_interval, at.key("min_interval"));
        let max_interval = self.positive(&file.max_interval, at.key("max_interval"));
        if min_interval > max_interval {
            let (min, max) = (at.key("min_interval"), at.key("max_interval"));
            let place = if min.exists() { min } else { max };
            let title = format!("{}: min_interval is longer than max_interval", at.path());
            self.mistakes.error(place, title).depends_on(min).depends_on(max);
        }
        Lookup { nameserver, min_interval, max_interval }
    }
}
