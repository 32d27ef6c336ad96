//! `[[routes]]`.

use http::HeaderValue;
use http::header::HeaderName;

use super::Resolver;
use crate::config::at::At;
use crate::config::file::{self, OneOrMany, RedirectTo, RedirectWord};
use crate::config::leaf::{Parsed, RedirectStatus};
use crate::config::suggest::{list, nearest};
use crate::config::{Action, Pool, Redirect, Route};
use crate::routing::{HostMatch, PathMatch, Rule, Template};

impl Resolver<'_> {
    /// The routes, one for each host; `at` is the root.
    pub(super) fn routes(
        &mut self,
        file: &[file::Route],
        pools: &[Pool],
        at: At<'_>,
    ) -> Vec<Route> {
        if file.is_empty() {
            return self.only_route(pools, at);
        }
        let at_routes = at.key("routes");
        let mut routes: Vec<Route> = Vec::new();
        let mut places: Vec<At<'_>> = Vec::new();
        for (i, route) in file.iter().enumerate() {
            let at_route = at_routes.index(i);
            let action = self.action(route, pools, at_route, at);
            let handling = self.handling(route, at_route);
            for rule in self.rules(route, at_route) {
                if let Some(other) = routes.iter().position(|other| other.rule == rule) {
                    let title = "two routes match the same requests";
                    let mistake = self.mistakes.error(at_route, title);
                    mistake.label("this one is never reached");
                    mistake.with(places[other], "because of this");
                    for route in [at_route, places[other]] {
                        mistake.depends_on(route.key("headers")).depends_on(route.key("method"));
                    }
                    mistake.help("change one of host, path, method and headers, or leave one out");
                }
                let (action, handling) = (action.clone(), handling.clone());
                routes.push(Route { rule, action, handling });
                places.push(at_route);
            }
        }
        self.all_reached(file, pools, at);
        routes
    }

    /// Without routes everything goes to the only pool.
    fn only_route(&mut self, pools: &[Pool], at: At<'_>) -> Vec<Route> {
        if pools.len() > 1 {
            let title = "no routes: nothing says which requests go to which pool";
            let mistake = self.mistakes.error(at.key("routes"), title);
            let first = &pools[0].spec.name;
            mistake.help(format!(
                "write a route for each pool, such as\n[[routes]]\npath = \"/\"\npool = {first:?}"
            ));
        }
        vec![Route { rule: Rule::default(), action: Action::Pool(0), handling: None }]
    }

    /// Where the requests of a route go.
    fn action(&mut self, file: &file::Route, pools: &[Pool], at: At<'_>, root: At<'_>) -> Action {
        if let Some(arms) = &file.pools {
            return self.split(arms, file, pools, at, root);
        }
        match (&file.pool, &file.redirect) {
            (Some(name), None) => {
                Action::Pool(self.pool_named(name, pools, at.key("pool"), root).unwrap_or(0))
            }
            (None, Some(redirect)) => Action::Redirect(self.redirect_to(redirect, file, at)),
            (Some(_), Some(_)) => {
                let title = "routes.pool and routes.redirect exclude each other";
                let mistake = self.mistakes.error(at.key("redirect").name(), title);
                mistake.with(at.key("pool").name(), "see here");
                mistake.help("leave one of them out, or write two routes");
                Action::Pool(0)
            }
            (None, None) => {
                let mistake = self.mistakes.error(at, "routes: neither pool nor redirect");
                mistake.label("where do these requests go?");
                let names = list(pools.iter().map(|pool| pool.spec.name.as_str()));
                mistake.help(format!(
                    "write pool = ..., which is one of {names}, or redirect = \"https\""
                ));
                mistake.depends_on(at.key("pool")).depends_on(at.key("redirect"));
                mistake.depends_on(at.key("pools"));
                Action::Pool(0)
            }
        }
    }

    fn redirect_to(&mut self, redirect: &RedirectTo, file: &file::Route, at: At<'_>) -> Redirect {
        let keys = ["rewrite", "request_headers", "compression"];
        for key in keys {
            let why = "a redirect sends nothing to a backend";
            let help = format!("leave {key} out");
            self.useless(at.key(key), why, &help, at.key("redirect"));
        }
        let (to, status) = match redirect {
            RedirectTo::Word(RedirectWord::Https) => {
                let to = Template::https();
                let status = RedirectStatus::PERMANENT.0;
                return Redirect { to, status, is_to_https: true };
            }
            RedirectTo::Target(to) => (&to.0, RedirectStatus::FOUND.0),
            RedirectTo::Table(table) => (&table.to.0, table.status.0.0),
        };
        if to.wants_rest() && file.path_exact.is_some() {
            let mistake = self.mistakes.error(at.key("redirect"), "nothing can follow this path");
            mistake.label("`{rest}` would always be empty");
            mistake.with(at.key("path_exact"), "because of this");
            mistake.help("write path instead of path_exact, or leave {rest} out");
        }
        Redirect { to: to.clone(), status, is_to_https: false }
    }

    pub(super) fn pool_named(
        &mut self,
        name: &str,
        pools: &[Pool],
        at: At<'_>,
        root: At<'_>,
    ) -> Option<usize> {
        let found = pools.iter().position(|pool| pool.spec.name == name);
        if found.is_none() && !pools.is_empty() {
            let names = || pools.iter().map(|pool| pool.spec.name.as_str());
            let title = format!("there is no pool {}", self.written(at));
            let mistake = self.mistakes.error(at, title);
            match nearest(name, names()) {
                Some(meant) => mistake.label(format!("did you mean `{meant}`?")),
                None => mistake.label("no such pool"),
            };
            mistake.help(format!("the pools are {}", list(names())));
            mistake.depends_on(root.key("pools"));
        }
        found
    }

    /// One rule for each host of a route.
    fn rules(&mut self, file: &file::Route, at: At<'_>) -> Vec<Rule> {
        let hosts = match &file.host {
            None => vec![HostMatch::Any],
            Some(hosts) => self.items(hosts, at.key("host")),
        };
        let mut methods = match &file.method {
            None => Vec::new(),
            Some(methods) => self.items(methods, at.key("method")),
        };
        // In one order, so that equal rules are found to be equal.
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        methods.dedup();
        let path = self.path(file, at);
        let headers = headers(file);
        let rule = |host| Rule {
            host,
            path: path.clone(),
            methods: methods.clone(),
            headers: headers.clone(),
        };
        hosts.into_iter().map(rule).collect()
    }

    fn items<T: Clone>(&mut self, list: &OneOrMany<Parsed<T>>, at: At<'_>) -> Vec<T> {
        self.not_empty(list.as_slice(), at, "leave it out to match everything");
        list.as_slice().iter().map(|item| item.0.clone()).collect()
    }

    fn path(&mut self, file: &file::Route, at: At<'_>) -> PathMatch {
        match (&file.path, &file.path_exact) {
            (Some(_), Some(_)) => {
                let title = "routes.path and routes.path_exact exclude each other";
                let mistake = self.mistakes.error(at.key("path_exact").name(), title);
                mistake.with(at.key("path").name(), "see here");
                mistake.help("leave one of them out, or write two routes");
                PathMatch::default()
            }
            (None, Some(path)) => path.0.0.clone(),
            (Some(path), None) => path.0.0.clone(),
            (None, None) => PathMatch::default(),
        }
    }

    /// Warns of pools that no route names.
    fn all_reached(&mut self, file: &[file::Route], pools: &[Pool], at: At<'_>) {
        for pool in pools {
            let name = &pool.spec.name;
            let leads_there = |route: &file::Route| {
                let mut arms = route.pools.iter().flatten().map(|arm| &arm.name);
                route.pool.as_ref() == Some(name) || arms.any(|arm| arm == name)
            };
            if !file.iter().any(leads_there) {
                let title = format!("no route leads to pool `{name}`");
                let mistake = self.mistakes.warning(at.key("pools").key(name), title);
                mistake.label("no request will come here");
                mistake.help(format!("add a route with pool = {name:?}, or remove the pool"));
            }
        }
    }
}

fn headers(file: &file::Route) -> Vec<(HeaderName, Option<HeaderValue>)> {
    let conditions = file.headers.iter().filter_map(|(name, condition)| {
        // The check has seen to it that it is a name.
        Some((name.parse().ok()?, condition.0.0.clone()))
    });
    let mut headers: Vec<(HeaderName, _)> = conditions.collect();
    headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    headers
}
