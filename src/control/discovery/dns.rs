//! Backends in the DNS.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, Record};

use super::Found;
use crate::balance::{Address, BackendSpec};
use crate::config::Lookup;
use crate::config::leaf::NameTemplate;

/// For a single try.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A backend for each address of a host name, named after the address: that is all there is. A
/// template may say more.
pub(super) async fn addresses(
    host: &str,
    port: u16,
    how: &Lookup,
    name: Option<&NameTemplate>,
) -> Result<Found, String> {
    let answer = resolver(how)?.lookup_ip(absolute(host)).await.map_err(|e| e.to_string())?;
    let mut backends: Vec<_> = answer.iter().map(|ip| of_address(ip, port)).collect();
    if let Some(name) = name {
        for (backend, ip) in backends.iter_mut().zip(answer.iter()) {
            backend.name = name.fill(ip, host, port);
        }
    }
    tidy(&mut backends);
    Ok(Found { backends, again_in: again_in(answer.as_lookup().answers(), how) })
}

/// A backend for each target of an SRV record, named after the target, or as a template says.
pub(super) async fn targets(
    record: &str,
    how: &Lookup,
    name: Option<&NameTemplate>,
) -> Result<Found, String> {
    let resolver = resolver(how)?;
    let answer = resolver.srv_lookup(absolute(record)).await.map_err(|error| error.to_string())?;
    let records = answer.answers();
    let targets = records.iter().filter_map(|record| match &record.data {
        RData::SRV(target) => Some(target),
        _ => None,
    });
    let targets: Vec<_> = targets.collect();
    let first = targets.iter().map(|target| target.priority).min().unwrap_or(0);
    let mut backends = Vec::with_capacity(targets.len());
    for target in targets {
        let host = target.target.to_utf8();
        let ips = resolver.lookup_ip(host.as_str()).await.map_err(|error| error.to_string())?;
        // The smallest, so that the order of an answer means nothing.
        let ip = ips.iter().min().ok_or_else(|| format!("{host} has no address"))?;
        let target_name = host.trim_end_matches('.');
        let name = name.map(|name| name.fill(ip, target_name, target.port));
        backends.push(BackendSpec {
            name: name.unwrap_or_else(|| target_name.to_owned()),
            weight: u32::from(target.weight).max(1),
            priority: u32::from(target.priority - first),
            ..of_address(ip, target.port)
        });
    }
    tell_apart(&mut backends);
    tidy(&mut backends);
    Ok(Found { backends, again_in: again_in(records, how) })
}

fn of_address(ip: IpAddr, port: u16) -> BackendSpec {
    let address = Address::Tcp { host: ip.to_string().into(), port };
    // Colons have no place in a name.
    BackendSpec::new(ip.to_string().replace(':', "-"), address)
}

/// Several backends on one target are named after their ports, too.
fn tell_apart(backends: &mut [BackendSpec]) {
    let names: Vec<String> = backends.iter().map(|backend| backend.name.clone()).collect();
    for backend in backends {
        let is_same = |name: &&String| **name == backend.name;
        if let (true, Address::Tcp { port, .. }) =
            (names.iter().filter(is_same).count() > 1, &backend.address)
        {
            backend.name = format!("{}-{port}", backend.name);
        }
    }
}

/// In an order that does not depend on the answer's.
fn tidy(backends: &mut Vec<BackendSpec>) {
    backends.sort_by(|a, b| a.name.cmp(&b.name));
    backends.dedup_by(|a, b| a.name == b.name);
}

fn again_in(records: &[Record], how: &Lookup) -> Duration {
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
    Duration::from_secs(ttl.into()).clamp(how.min_interval, how.max_interval)
}

/// Names are written as they are: no search list is tried.
fn absolute(name: &str) -> String {
    match name.ends_with('.') || !name.contains('.') {
        true => name.to_owned(),
        false => format!("{name}."),
    }
}

fn resolver(how: &Lookup) -> Result<TokioResolver, String> {
    let mut builder = match how.nameserver {
        None => TokioResolver::builder_tokio().map_err(|error| error.to_string())?,
        Some(address) => {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            server.connections.iter_mut().for_each(|to| to.port = address.port());
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 0; // we ask when the answer is too old, and not before
    options.timeout = TIMEOUT;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_an_answer_means_nothing() {
        let ip = |text: &str| of_address(text.parse().unwrap(), 80);
        let mut one = vec![ip("10.0.0.2"), ip("::1"), ip("10.0.0.1"), ip("10.0.0.2")];
        let mut other = vec![ip("10.0.0.1"), ip("10.0.0.2"), ip("::1")];
        tidy(&mut one);
        tidy(&mut other);
        assert_eq!(one, other);
        assert_eq!(one.last().unwrap().name, "10.0.0.2");
        assert_eq!(one[0].name, "--1");
    }

    #[test]
    fn two_on_one_target_have_names_of_their_own() {
        let on = |name: &str, port| BackendSpec {
            name: name.into(),
            ..of_address("10.0.0.1".parse().unwrap(), port)
        };
        let mut backends = vec![on("a.b", 1), on("a.b", 2), on("c.b", 1)];
        tell_apart(&mut backends);
        let names: Vec<_> = backends.iter().map(|backend| &*backend.name).collect();
        assert_eq!(names, ["a.b-1", "a.b-2", "c.b"]);
    }
}
