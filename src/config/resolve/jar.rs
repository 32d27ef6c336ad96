//! What browsers make of the affinity cookies of all pools together.

use super::Resolver;
use crate::balance::affinity::Mode;
use crate::config::at::At;
use crate::config::{Listener, Pool, Route};
use crate::routing::HostMatch;

/// A pool with an affinity cookie.
struct Baker<'a> {
    pool: &'a Pool,
    index: usize,
    /// The cookie's place.
    at: At<'a>,
    /// The hosts that set it.
    set_by: Vec<&'a HostMatch>,
    /// The hosts that browsers send it to.
    sent_to: Vec<HostMatch>,
}

impl<'a> Baker<'a> {
    fn new(index: usize, pool: &'a Pool, routes: &'a [Route], at: At<'a>) -> Self {
        let routes = routes.iter().filter(|route| route.leads_to(index));
        let set_by: Vec<_> = routes.map(|route| &route.rule.host).collect();
        let sent_to = match pool.cookie.domain.as_deref() {
            None => set_by.iter().map(|&host| host.clone()).collect(),
            Some(domain) => {
                vec![HostMatch::Exact(domain.into()), HostMatch::Wildcard(domain.into())]
            }
        };
        let at = at.key("pools").key(&pool.spec.name).key("affinity").key("cookie");
        Baker { pool, index, at, set_by, sent_to }
    }

    /// Would a browser keep one of the two cookies in the place of the other?
    fn clashes(&self, other: &Baker<'_>) -> bool {
        let (a, b) = (&self.pool.cookie, &other.pool.cookie);
        let meet = |host: &HostMatch| other.sent_to.iter().any(|other| overlap(host, other));
        a.name == b.name && a.path == b.path && self.sent_to.iter().any(meet)
    }
}

impl Resolver<'_> {
    /// Pools that one host can reach need cookies of different names: otherwise browsers overwrite
    /// one with the other, and a session moves whenever the user changes between them. And a
    /// cookie is only kept if its domain is that of the host which sets it.
    pub(super) fn cookies_are_kept(
        &mut self,
        listeners: &[Listener],
        routes: &[Route],
        pools: &[Pool],
        at: At<'_>,
    ) {
        let may_know_tls = may_know_tls(listeners, at.key("listeners"));
        for pool in pools {
            let is_used = pool.spec.affinity.mode == Mode::Cookie;
            let at = at.key("pools").key(&pool.spec.name).key("affinity").key("cookie");
            self.kept_by_browsers(&pool.cookie, may_know_tls || !is_used, at);
        }
        let with_cookie = pools.iter().enumerate();
        let with_cookie = with_cookie.filter(|(_, pool)| pool.spec.affinity.mode == Mode::Cookie);
        let bakers: Vec<_> =
            with_cookie.map(|(index, pool)| Baker::new(index, pool, routes, at)).collect();
        for (i, baker) in bakers.iter().enumerate() {
            let name = &baker.pool.spec.name;
            // Those that are always behind the same routes share their sessions: one cookie says
            // which of them has a session.
            let shares = |other: &&Baker<'_>| {
                let mut each = routes.iter();
                each.all(|route| route.leads_to(baker.index) == route.leads_to(other.index))
            };
            let others = bakers[..i].iter().filter(|other| baker.clashes(other) && !shares(other));
            for other in others {
                let other_name = &other.pool.spec.name;
                let title = format!(
                    "pools `{other_name}` and `{name}` share an affinity cookie and a host"
                );
                let mistake = self.mistakes.error(baker.at.key("name"), title);
                mistake.label("browsers would overwrite the other pool's cookie with this one");
                mistake.with(other.at.key("name"), "the other pool's");
                mistake.help(format!("rename it: cookie = {{ name = \"stickler-{name}\" }}"));
            }
            let foreign = |host: &&HostMatch| !baker.sent_to.iter().any(|to| overlap(host, to));
            if baker.set_by.iter().copied().any(|host| foreign(&host)) {
                let at_domain = baker.at.key("domain");
                let title = format!("{} is not the domain of every route to it", at_domain.path());
                let mistake = self.mistakes.error(at_domain, title);
                mistake.label("browsers drop a cookie that a host outside its domain sets");
                mistake.help("leave it out, so that the cookie belongs to the host that sets it");
            }
        }
    }
}

/// Does some listener speak HTTPS, or believe what a proxy says about the client's scheme, as far
/// as it could be read?
fn may_know_tls(listeners: &[Listener], at: At<'_>) -> bool {
    let mut each = listeners.iter().enumerate();
    at.is_doubtful()
        || each.any(|(i, listener)| {
            let at = at.index(i);
            let is_doubtful =
                at.key("trusted_proxies").is_doubtful() || at.key("tls").is_doubtful();
            is_doubtful || listener.tls.is_some() || !listener.trusted_proxies.is_empty()
        })
}

/// Is there a host that both match?
fn overlap(a: &HostMatch, b: &HostMatch) -> bool {
    let below = |host: &str, suffix: &str| {
        host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))
    };
    match (a, b) {
        (HostMatch::Any, _) | (_, HostMatch::Any) => true,
        (HostMatch::Exact(a), HostMatch::Exact(b)) => a == b,
        (HostMatch::Exact(host), HostMatch::Wildcard(suffix))
        | (HostMatch::Wildcard(suffix), HostMatch::Exact(host)) => below(host, suffix),
        (HostMatch::Wildcard(a), HostMatch::Wildcard(b)) => a == b || below(a, b) || below(b, a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_overlap_when_some_host_matches_both() {
        let overlap = |a: &str, b: &str| {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(overlap(&a, &b), overlap(&b, &a));
            overlap(&a, &b)
        };
        for (a, b) in [("*", "a.com"), ("*.a.com", "x.a.com"), ("*.a.com", "*.b.a.com")] {
            assert!(overlap(a, b), "{a} {b}");
        }
        for (a, b) in [("a.com", "b.com"), ("*.a.com", "a.com"), ("*.a.com", "*.ba.com")] {
            assert!(!overlap(a, b), "{a} {b}");
        }
    }
}
