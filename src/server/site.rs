//! From a [`Config`] to what workers serve.

use std::path::PathBuf;
use std::sync::Arc;

use rand::rngs::StdRng;

use super::{StartError, keys};
use crate::balance::affinity::{Key, Keyring, Mode};
use crate::config::{self, Config};
use crate::control::Controller;
use crate::proxy::{ClientTicks, Destination, Site};
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
    pub(super) fn site(&self, config: &Config, controller: &Controller, keyring: Keyring) -> Site {
        let pools = controller.pools();
        let with_config = pools.iter().zip(&config.pools);
        let destinations: Vec<_> = with_config
            .map(|(pool, of_pool)| Arc::new(Destination::new(pool.clone(), of_pool, &config.pools)))
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
            events: controller.events().clone(),
        }
    }
}
