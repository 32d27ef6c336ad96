//! The admin address: bound before anything is served, and served by the control thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;

use super::StartError;
use crate::admin::{self, Admin};
use crate::config;
use crate::control::{Controller, Guest};

/// What serves operators.
pub(super) struct Operators {
    /// Where; nowhere if it is off.
    pub(super) address: Option<SocketAddr>,
    /// What the control thread does for it.
    pub(super) guests: Vec<Guest>,
}

/// Binds the admin address, if there is to be one.
///
/// If nobody asked for it, the proxy starts without one when another process has the default: two
/// proxies on one machine are nothing special.
pub(super) fn start(
    config: &config::Admin,
    controller: &Arc<Controller>,
    listeners: &[SocketAddr],
    stopping: &watch::Receiver<bool>,
    rng: &mut StdRng,
) -> Result<Operators, StartError> {
    let nobody = || Ok(Operators { address: None, guests: Vec::new() });
    let Some(address) = config.address else { return nobody() };
    let bound = match admin::bind(address) {
        Ok(bound) => bound,
        Err(error) if config.is_given => return Err(StartError::Listen { address, source: error }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(
                "no admin API, dashboard or metrics: another process has {address}; set \
                 admin.address to another port, or to \"off\""
            );
            return nobody();
        }
        Err(error) => {
            tracing::warn!(%error, "no admin API, dashboard or metrics at {address}");
            return nobody();
        }
    };
    let address = bound.address()?;
    let rng = StdRng::from_rng(rng);
    let admin = Admin::new(controller.clone(), config, address, listeners.to_vec(), rng);
    let serve = admin::serve(bound, admin, stopping.clone());
    Ok(Operators { address: Some(address), guests: vec![Box::pin(serve)] })
}
