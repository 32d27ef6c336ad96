//! What happens, as it happens: server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::IntoParams;

use super::App;
use crate::admin::extract::Query;
use crate::admin::problem::Problem;
use crate::admin::{show, view};
use crate::clock;
use crate::observe;

/// How often a silent stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After so long a reader may connect again when a stream has broken off.
const RETRY: Duration = Duration::from_secs(2);

/// What to hear of.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// All pools, every second, too.
    #[serde(default)]
    figures: bool,
}

/// What happens from now on, as server-sent events
///
/// Events are named after what happened, and their data is JSON. Who reads too slowly is told how
/// many events are missing (`lag`); of the figures only the latest are kept. So many streams may
/// be open at a time.
#[utoipa::path(get, path = "/v1/events", tag = "process", operation_id = "events",
    params(EventsQuery),
    responses(
        (status = 200, description = "The stream", body = view::Event, content_type = "text/event-stream"),
        (status = 503, description = "Too many streams are open", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn stream(
    State(admin): App,
    Query(query): Query<EventsQuery>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    let place = admin.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("{} event streams are open already", super::super::STREAMS);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    let figures = query.figures.then(|| {
        let first = view::Event::Figures(admin.show_pools(clock::now()));
        let mut next = admin.snapshots.subscribe();
        next.mark_unchanged();
        (text(&first), next)
    });
    let (first, figures) = figures.unzip();
    let reader = Reader { events: admin.controller.subscribe(), first, figures, _place: place };
    let stream = unfold(reader, |mut reader| async {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Who hears of it.
struct Reader {
    events: broadcast::Receiver<observe::Event>,
    /// What is to be said at once.
    first: Option<Arc<str>>,
    figures: Option<watch::Receiver<Arc<str>>>,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// The next event; `None` when the process ends.
    async fn next(&mut self) -> Option<sse::Event> {
        if let Some(first) = self.first.take() {
            return Some(sse::Event::default().event("figures").data(first).retry(RETRY));
        }
        tokio::select! {
            biased;
            event = self.events.recv() => match event {
                Ok(event) => Some(said(&show::event(&event, clock::now()))),
                Err(RecvError::Lagged(missed)) => {
                    Some(said(&view::Event::Lag(view::Lag { missed })))
                }
                Err(RecvError::Closed) => None,
            },
            figures = renewed(&mut self.figures) => {
                figures.map(|figures| sse::Event::default().event("figures").data(figures))
            }
        }
    }
}

/// The next figures, for who wants any.
async fn renewed(figures: &mut Option<watch::Receiver<Arc<str>>>) -> Option<Arc<str>> {
    match figures {
        None => std::future::pending().await,
        Some(figures) => {
            figures.changed().await.ok()?;
            Some(figures.borrow_and_update().clone())
        }
    }
}

fn said(event: &view::Event) -> sse::Event {
    sse::Event::default().event(event.name()).data(text(event))
}

fn text(event: &view::Event) -> Arc<str> {
    serde_json::to_string(event).unwrap_or_default().into()
}
