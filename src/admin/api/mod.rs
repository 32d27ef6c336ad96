//! The routes, each with its description, and the OpenAPI document that is made of both.
#![allow(unused_qualifications, reason = "utoipa's macros write some")]

mod backends;
mod control;
mod events;
mod plan;
mod pools;
mod process;
mod reload;
mod sessions;
mod splits;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http::{Method, StatusCode, Uri};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
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
    security(("token" = [])),
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
        .routes(routes!(pools::unstick))
        .routes(routes!(backends::show, backends::remove))
        .routes(routes!(backends::add))
        .routes(routes!(control::drain_progress, control::drain))
        .routes(routes!(control::ready))
        .routes(routes!(control::maintenance))
        .routes(routes!(control::weight))
        .routes(routes!(sessions::counts))
        .routes(routes!(sessions::show, sessions::release))
        .routes(routes!(sessions::release_all))
        .routes(routes!(splits::list))
        .routes(routes!(splits::promote))
        .routes(routes!(splits::abort))
        .routes(routes!(plan::plan))
        .routes(routes!(reload::last, reload::reload))
        .routes(routes!(events::stream))
}

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    answered(described().into_openapi())
}

/// The document with the answers that any request may get.
fn answered(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let always =
        [("400", "The request makes no sense"), ("403", "The host or the origin is not ours")];
    let with_token = [("401", "The token is missing or wrong")];
    let with_body = [
        ("413", "The body is too large"),
        ("415", "The body is not application/json"),
        ("422", "The body is not what is expected"),
    ];
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let is_open = operation.security.is_some();
            let mut answers = always.to_vec();
            answers.extend(with_token.iter().filter(|_| !is_open));
            answers.extend(with_body.iter().filter(|_| operation.request_body.is_some()));
            for (status, description) in answers {
                let responses = &mut operation.responses.responses;
                responses.entry(status.to_owned()).or_insert_with(|| problem(description));
            }
        }
    }
    document
}

fn problem(description: &str) -> RefOr<Response> {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new().description(description);
    response.content(super::problem::MEDIA_TYPE, content).build().into()
}

/// Everything that the admin address answers.
pub(super) fn router(admin: Arc<Admin>) -> Router {
    let (router, document) = described().split_for_parts();
    let document = answered(document);
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
