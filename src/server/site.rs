//! From a [`Config`] to what workers serve.

use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;
use rand::rngs::StdRng;

use super::{StartError, keys};
use crate::balance::affinity::{Key, Keyring, Mode};
use crate::config::{self, Config};
use crate::control::Controller;
use crate::proxy::{ClientTicks, Destination, Site, Transport};
use crate::routing::Table;

/// What all sites of a process have in common.
pub(super) struct Sites {
    state_dir: PathBuf,
    /// The key of our own, if it was needed.
    own_key: Option<Key>,
}

impl Sites {
    pub(super) fn new(state_dir: PathBuf) -> Self {
        Sites { state_dir, own_key: None }
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
        &self,
        config: &Config,
        controller: &Controller,
        keyring: Keyring,
        transports: Vec<Transport>,
    ) -> Site {
        let pools = controller.pools();
        let with_config = pools.iter().zip(&config.pools).zip(transports);
        let destinations: Vec<_> = with_config
            .map(|((pool, of_pool), transport)| {
                Arc::new(Destination::new(pool.clone(), of_pool, &config.pools, transport))
            })
            .collect();
        let routes = config.routes.iter();
        Site {
            routes: Table::new(
                routes.map(|route| (route.rule.clone(), destinations[route.pool].clone())),
            ),
            keyring,
            limits: config.server.limits,
            timeouts: ClientTicks::from(&config.server.timeouts),
            underscores_in_headers: config.server.underscores_in_headers,
            request_ids: config.server.request_id_header.as_ref().into(),
            starts_traces: config.server.starts_traces,
            http2: config.server.http2,
            guarded: guarded(&config.listeners),
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
