//! The routes as a table, in the order in which they are asked.

use std::cmp::Reverse;

use super::super::leaf::{Leaf, PathPrefix};
use super::super::{Pool, Route};
use super::handling;
use crate::routing::{HostMatch, PathMatch, Rule};

/// Host, path, other conditions, where they lead, and what is done on the way.
pub(super) fn rows(routes: &[Route], pools: &[Pool]) -> Vec<[String; 5]> {
    let mut routes: Vec<_> = routes.iter().collect();
    routes.sort_by_cached_key(|route| precedence(&route.rule)); // stable: the earlier stays first
    routes.into_iter().map(|route| row(route, pools)).collect()
}

/// The smaller, the earlier it is asked: the order that [`routing`](crate::routing) documents.
fn precedence(rule: &Rule) -> impl Ord + use<> {
    let host = match &rule.host {
        HostMatch::Exact(host) => (0, Reverse(0), host.clone()),
        HostMatch::Wildcard(suffix) => (1, Reverse(suffix.len()), suffix.clone()),
        HostMatch::Any => (2, Reverse(0), "".into()),
    };
    let path = match &rule.path {
        PathMatch::Exact(path) => (0, Reverse(0), path.clone()),
        PathMatch::Prefix(path) => (1, Reverse(path.len()), path.clone()),
    };
    (host, path, rule.methods.is_empty(), Reverse(rule.headers.len()))
}

fn row(route: &Route, pools: &[Pool]) -> [String; 5] {
    let rule = &route.rule;
    let path = match &rule.path {
        PathMatch::Exact(path) => format!("{path} exactly"),
        prefix @ PathMatch::Prefix(_) => PathPrefix(prefix.clone()).show(),
    };
    let mut conditions: Vec<_> = rule.methods.iter().map(http::Method::to_string).collect();
    conditions.extend(rule.headers.iter().map(|(name, value)| match value {
        Some(_) => format!("{name}: (a value)"), // perhaps a secret
        None => format!("{name}: *"),
    }));
    let host = match &rule.host {
        HostMatch::Any => "any host".into(),
        host => host.show(),
    };
    let action = handling::action(&route.action, pools);
    let handling = route.handling.as_deref().map(handling::handling).unwrap_or_default();
    [host, path, conditions.join(" "), action, handling]
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;
    use http::{HeaderValue, Method};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::routing::{HasField, Table};

    fn rule() -> impl Strategy<Value = Rule> {
        let hosts = ["*", "a.com", "x.a.com", "*.a.com", "*.com"];
        let methods = [vec![], vec![Method::GET], vec![Method::GET, Method::POST]];
        let x = (HeaderName::from_static("x"), None);
        let y = (HeaderName::from_static("y"), Some(HeaderValue::from_static("1")));
        let headers = [vec![], vec![x.clone()], vec![x, y]];
        let path = (select(vec!["/", "/a", "/a/b"]), any::<bool>());
        (select(hosts.to_vec()), path, select(methods.to_vec()), select(headers.to_vec())).prop_map(
            |(host, (path, exact), methods, headers)| Rule {
                host: host.parse().unwrap(),
                path: if exact { PathMatch::exact(path) } else { PathMatch::prefix(path) }.unwrap(),
                methods,
                headers,
            },
        )
    }

    fn admits(rule: &Rule, host: &str, path: &str, method: &Method, has: impl HasField) -> bool {
        Table::new([(rule.clone(), ())]).find(host, path, method, has).is_some()
    }

    proptest! {
        /// What the summary shows first is what the proxy takes.
        #[test]
        fn the_order_is_that_of_the_routing_table(
            rules in proptest::collection::vec(rule(), 1..8),
            host in select(vec!["a.com", "x.a.com", "y.a.com", "b.com", "b.org"]),
            path in select(vec!["/", "/a", "/a/b", "/a/b/c"]),
            method in select(vec![Method::GET, Method::POST, Method::PUT]),
            with_x: bool,
            with_y: bool,
        ) {
            let has = |name: &HeaderName, wanted: Option<&HeaderValue>| match name.as_str() {
                "x" => with_x && wanted.is_none_or(|value| value == "anything"),
                _ => with_y && wanted.is_none_or(|value| value == "1"),
            };
            let table = Table::new(rules.iter().cloned().enumerate().map(|(i, rule)| (rule, i)));
            let mut order: Vec<_> = (0..rules.len()).collect();
            order.sort_by_key(|&i| precedence(&rules[i]));
            let first = order.into_iter().find(|&i| admits(&rules[i], host, path, &method, has));
            prop_assert_eq!(table.find(host, path, &method, has).copied(), first);
        }
    }
}
