//! Certificates that change on disk, as they do when they are renewed.

use std::sync::Arc;
use std::time::Duration;

use crate::tls::Incoming;

/// How often their files are looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Looks for changes for good. A pair that cannot be used, which may be one that is just being
/// written, leaves the former one in use.
pub(super) async fn watch(incoming: Arc<Vec<Arc<Incoming>>>) {
    let mut interval = tokio::time::interval(PERIOD);
    loop {
        interval.tick().await;
        for incoming in incoming.iter() {
            let file = incoming.file().display();
            match incoming.reload_if_changed() {
                None => {}
                Some(Ok(())) => tracing::info!(%file, "certificates were read again"),
                Some(Err(error)) => {
                    tracing::error!(%error, "new certificates cannot be used, the former ones stay");
                }
            }
        }
    }
}
