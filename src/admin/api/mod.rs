//! The routes, each with its description, and the OpenAPI document that is made of both.

mod backends;
mod control;
mod events;
mod pools;
mod process;
mod reload;
mod sessions;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http::{Method, StatusCode, Uri};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use super::{Admin, guard, page};
use crate::balance::{Backend, Pool};

/// Bytes of a request body.
const BODY: usize = 64 * 1024;

/// What stands above the routes in the document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Stickler admin API",
        description = "Operate a running Stickler: see pools, backends and sessions, drain backends \
                       and bring them back, reload the configuration. Nothing is changed by a GET. \
                       Errors are problem details (RFC 9457)."
    ),
    tags(
        (name = "pools", description = "Pools and backends, and how they are"),
        (name = "operate", description = "Take backends out and in"),
        (name = "sessions", description = "Where sessions are bound"),
        (name = "process", description = "The process, its configuration, its health"),
    ),
    modifiers(&Bearer),
)]
struct Document;

/// The token, when one is configured.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", scheme);
    }
}

fn described() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(process::show))
        .routes(routes!(process::healthz))
        .routes(routes!(process::readyz))
        .routes(routes!(process::metrics))
        .routes(routes!(pools::list))
        .routes(routes!(pools::show))
        .routes(routes!(backends::show, backends::remove))
        .routes(routes!(backends::add))
        .routes(routes!(control::drain_progress, control::drain))
        .routes(routes!(control::ready))
        .routes(routes!(control::maintenance))
        .routes(routes!(control::weight))
        .routes(routes!(sessions::counts))
        .routes(routes!(sessions::show, sessions::release))
        .routes(routes!(sessions::release_all))
        .routes(routes!(reload::last, reload::reload))
        .routes(routes!(events::stream))
}

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

/// Everything that the admin address answers.
pub(super) fn router(admin: Arc<Admin>) -> Router {
    let (router, document) = described().split_for_parts();
    let document = async move || Json(document);
    router
        .route("/openapi.json", get(document))
        .route("/", get(page::page))
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_like_this)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(admin.clone(), guard::guard))
        .with_state(admin)
}

async fn nothing_here(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {:?}", uri.path());
    Problem::new(StatusCode::NOT_FOUND, detail).help("/openapi.json says what there is")
}

async fn not_like_this(method: Method, uri: Uri) -> impl IntoResponse {
    let detail = format!("{:?} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).help("/openapi.json says what it takes")
}

type App = State<Arc<Admin>>;

impl Admin {
    /// The pool of this name.
    fn pool(&self, name: &str) -> Result<Arc<Pool>, Problem> {
        self.controller.pool(name).ok_or_else(|| {
            let pools = self.controller.pools();
            Problem::no_pool(name, pools.iter().map(|pool| pool.name()))
        })
    }

    /// The backend of this name in the pool of that name.
    fn backend(&self, pool: &str, name: &str) -> Result<(Arc<Pool>, Arc<Backend>), Problem> {
        let pool = self.pool(pool)?;
        let backends = pool.backends();
        match backends.iter().find(|backend| backend.name() == name) {
            Some(backend) => Ok((pool, backend.clone())),
            None => {
                let names = backends.iter().map(|backend| backend.name());
                Err(Problem::no_backend(pool.name(), name, names))
            }
        }
    }
}
