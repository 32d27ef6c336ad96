//! Certificates that change on disk, as they do when they are renewed.

use std::sync::Arc;
use std::time::Duration;

use super::{Listeners, lock};
use crate::admin::Admin;
use crate::tls::Incoming;

/// How often their files are looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Looks for changes for good. A pair that cannot be used, which may be one that is just being
/// written, leaves the former one in use.
pub(super) async fn watch(listeners: Listeners, admin: Option<Arc<Admin>>) {
    let mut interval = tokio::time::interval(PERIOD);
    loop {
        interval.tick().await;
        let open: Vec<_> = lock(&listeners).iter().map(|open| open.entrance.clone()).collect();
        let tls = open.iter().filter_map(|entrance| entrance.tls.as_ref());
        tls.for_each(|tls| look(&tls.incoming));
        let of_admin = admin.as_ref().and_then(|admin| admin.tls());
        of_admin.iter().for_each(|tls| look(tls));
    }
}

fn look(incoming: &Incoming) {
    let file = incoming.file().display();
    match incoming.reload_if_changed() {
        None => {}
        Some(Ok(())) => tracing::info!(%file, "certificates were read again"),
        Some(Err(error)) => {
            tracing::error!(%error, "new certificates cannot be used, the former ones stay");
        }
    }
}
