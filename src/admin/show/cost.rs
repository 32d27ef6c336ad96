//! From measured costs to what the API says.

use std::sync::Arc;

use super::counted;
use crate::admin::view;
use crate::balance::affinity::Mode;
use crate::balance::cost::{self, Figures};
use crate::balance::{Backend, BackendId, Pool, Reason};
use crate::observe::{self, PoolCost};

/// What stickiness costs this pool, in one window.
pub(crate) fn cost(measured: &PoolCost, pool: &Pool) -> view::Cost {
    let PoolCost { window, figures, spread } = measured;
    let backends: &[Arc<Backend>] = &pool.backends();
    let is_sticky = pool.affinity().mode != Mode::None;
    let name = |id: BackendId| {
        backends.iter().find(|backend| backend.id() == id).map(|backend| backend.name())
    };
    let imbalance = |load: &cost::Imbalance| view::Imbalance {
        peak_to_mean: load.peak_to_mean,
        busiest: load.peak.and_then(name).map(ToOwned::to_owned),
        jain: load.jain,
        variation: load.variation,
    };
    let moves = Reason::ALL.iter().zip(figures.moves);
    view::Cost {
        window: window.as_str().to_owned(),
        seconds: figures.elapsed.as_secs_f64(),
        requests: figures.count,
        is_meaningful: figures.is_meaningful(),
        in_words: figures.in_words(*window, is_sticky, name),
        headroom_cost: figures.headroom_cost(),
        forced_share: figures.forced_share,
        real: view::Loads {
            requests: imbalance(&figures.requests),
            in_flight_time: imbalance(&figures.busy),
            sessions: Some(imbalance(&figures.sessions)),
        },
        even: view::Loads {
            requests: imbalance(&figures.even_requests),
            in_flight_time: imbalance(&figures.even_busy),
            sessions: None,
        },
        spread: spread
            .map(|spread| view::Spread { p50: compared(&spread.p50), p99: compared(&spread.p99) }),
        blast_radius: blast_radius(figures, name),
        moves: counted(moves.map(|(reason, count)| (reason.as_str(), count))),
        backends: backends.iter().filter_map(|backend| part(figures, backend)).collect(),
    }
}

fn compared(compared: &observe::Compared) -> view::Compared {
    view::Compared {
        busiest_ms: compared.busiest.as_secs_f64() * 1e3,
        pool_ms: compared.pool.as_secs_f64() * 1e3,
        ratio: compared.ratio(),
    }
}

fn blast_radius<'a>(
    figures: &Figures,
    name: impl Fn(BackendId) -> Option<&'a str>,
) -> Option<view::BlastRadius> {
    let radius = figures.blast_radius;
    Some(view::BlastRadius {
        backend: name(radius.backend?)?.to_owned(),
        sessions: radius.sessions,
        share: radius.share,
    })
}

fn part(figures: &Figures, backend: &Backend) -> Option<view::Part> {
    let part = figures.backends.iter().find(|part| part.id == backend.id())?;
    Some(view::Part {
        name: backend.name().to_owned(),
        requests: part.requests,
        in_flight_time: part.busy,
        sessions: part.sessions,
        in_flight_share: part.busy_share,
        even_in_flight_share: part.even_busy_share,
    })
}
