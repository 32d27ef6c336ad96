//! From a [`Config`] to what workers serve.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;
use rand::Rng;
use rand::rngs::StdRng;

use super::{StartError, keys};
use crate::balance::affinity::{Key, Keyring, Mode};
use crate::balance::split;
use crate::config::{self, Config};
use crate::control::{Arm, Controller, SplitRoute, Steered};
use crate::proxy::{
    Action, ClientTicks, Destination, Handling, Limiter, Redirect, Route, Site, Split, Transport,
};
use crate::routing::{Rule, Table};

/// What all sites of a process have in common.
pub(super) struct Sites {
    state_dir: PathBuf,
    /// The key of our own, if it was needed.
    own_key: Option<Key>,
    /// The rate limits in force.
    limiters: Vec<Limited>,
    /// The routes with several pools, by name.
    splits: BTreeMap<String, Steered>,
}

impl Sites {
    pub(super) fn new(state_dir: PathBuf) -> Self {
        Sites { state_dir, own_key: None, limiters: Vec::new(), splits: BTreeMap::new() }
    }

    /// What opens and seals tokens.
    pub(super) fn keyring(
        &mut self,
        config: &Config,
        rng: &mut StdRng,
    ) -> Result<Keyring, StartError> {
        let is_sealing = |pool: &config::Pool| pool.spec.affinity.mode == Mode::Cookie;
        let needs_key = config.pools.iter().any(is_sealing);
        let keys = match &config.server.token_keys[..] {
            [] if needs_key => vec![self.own_key(rng)?],
            [] => vec![Key::random(rng)], // seals nothing
            keys => keys.to_vec(),
        };
        Ok(Keyring::new(&keys))
    }

    fn own_key(&mut self, rng: &mut StdRng) -> Result<Key, StartError> {
        let key = match self.own_key.take() {
            Some(key) => key,
            None => keys::own(&self.state_dir, rng)?,
        };
        Ok(self.own_key.insert(key).clone())
    }

    /// What workers serve. The controller has the pools already.
    pub(super) fn site(
        &mut self,
        config: &Config,
        controller: &Controller,
        keyring: Keyring,
        transports: Vec<Transport>,
        rng: &mut StdRng,
    ) -> Site {
        let pools = controller.pools();
        let with_config = pools.iter().zip(&config.pools).zip(transports);
        let destinations: Vec<_> = with_config
            .map(|((pool, of_pool), transport)| {
                Arc::new(Destination::new(pool.clone(), of_pool, &config.pools, transport))
            })
            .collect();
        let routes = self.routes(config, &destinations, rng);
        controller.set_splits(self.splits.values().cloned().collect());
        Site {
            routes: Table::new(routes),
            keyring,
            limits: config.server.limits,
            timeouts: ClientTicks::from(&config.server.timeouts),
            underscores_in_headers: config.server.underscores_in_headers,
            request_ids: config.server.request_id_header.as_ref().into(),
            starts_traces: config.server.starts_traces,
            http2: config.server.http2,
            guarded: guarded(&config.listeners),
            error_pages: config.server.error_pages.clone(),
            answers_authorities: config.listeners.iter().any(|listener| {
                listener.tls.as_ref().is_some_and(|tls| tls.incoming.acme.is_some())
            }),
            tells_local_address: config
                .pools
                .iter()
                .any(|pool| pool.transport.proxy_protocol.is_some()),
            events: controller.events().clone(),
        }
    }
}

impl Sites {
    /// The routes, compiled. What has been counted for a rate limit that stays as it was stays.
    fn routes(
        &mut self,
        config: &Config,
        destinations: &[Arc<Destination>],
        rng: &mut StdRng,
    ) -> Vec<(Rule, Route)> {
        let former = std::mem::take(&mut self.limiters);
        let mut steered: BTreeMap<String, Steered> = BTreeMap::new();
        let mut handlings: Vec<(Arc<config::Handling>, Arc<Handling>)> = Vec::new();
        let mut routes = Vec::new();
        for route in &config.routes {
            let handling = route.handling.as_ref().map(|of_route| {
                let is_it = |(other, _): &&(Arc<_>, _)| Arc::ptr_eq(other, of_route);
                if let Some((_, handling)) = handlings.iter().find(is_it) {
                    return handling.clone(); // for another host of the same route
                }
                let limiter = of_route.rate_limit.as_ref().map(|limit| {
                    let is_it = |l: &&Limited| l.rule == route.rule && l.limit == *limit;
                    let limiter = former.iter().find(is_it).map(|l| l.limiter.clone());
                    let limiter =
                        limiter.unwrap_or_else(|| Arc::new(Limiter::new(limit, rng.next_u64())));
                    let (rule, limit) = (route.rule.clone(), limit.clone());
                    self.limiters.push(Limited { rule, limit, limiter: limiter.clone() });
                    limiter
                });
                let handling = Arc::new(Handling::new(of_route.clone(), limiter));
                handlings.push((of_route.clone(), handling.clone()));
                handling
            });
            let action = match &route.action {
                config::Action::Pool(index) => Action::Pool(destinations[*index].clone()),
                config::Action::Split(of_route) => {
                    let arms = of_route.arms.iter().map(|(i, _)| destinations[*i].clone());
                    let steered = steered.entry(of_route.name.clone());
                    let steered = steered.or_insert_with(|| self.steered(of_route, config));
                    let split = Split::new(arms.collect(), steered.steering.clone());
                    Action::Split(Arc::new(split))
                }
                config::Action::Redirect(to) => {
                    Action::Redirect(Arc::new(Redirect::new(to, &route.rule.path)))
                }
            };
            routes.push((route.rule.clone(), Route { action, handling }));
        }
        self.splits = steered;
        routes
    }

    /// How sessions are steered to the pools of a route: as before, if they are the same.
    fn steered(&self, split: &config::Split, config: &Config) -> Steered {
        let arm = |(i, weight): &(usize, u32)| Arm {
            pool: config.pools[*i].spec.name.clone(),
            weight: *weight,
        };
        let arms: Vec<Arm> = split.arms.iter().map(arm).collect();
        let former = self.splits.get(&split.name).filter(|former| former.route.arms == arms);
        former.cloned().unwrap_or_else(|| {
            let named = arms.iter().map(|arm| (arm.pool.as_str(), arm.weight));
            let steering = Arc::new(split::Split::new(named));
            Steered { route: SplitRoute { name: split.name.clone(), arms }, steering }
        })
    }
}

/// A rate limit in force.
struct Limited {
    /// The first rule of the route that has it.
    rule: Rule,
    limit: config::RateLimit,
    limiter: Arc<Limiter>,
}

/// How backends are spoken to, pool by pool. The files are read.
pub(super) fn transports(config: &Config) -> Result<Vec<Transport>, StartError> {
    let transports = config.pools.iter().map(|pool| Transport::new(&pool.transport));
    Ok(transports.collect::<Result<_, _>>()?)
}

/// The fields in which apps are told something that clients could forge, on whatever listener.
fn guarded(listeners: &[config::Listener]) -> Vec<HeaderName> {
    let tls = listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let mut guarded: Vec<_> = tls.filter_map(|tls| tls.subject_header.clone()).collect();
    guarded.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    guarded.dedup();
    guarded
}
