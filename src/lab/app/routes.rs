//! The pages of the shop.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::SET_COOKIE;
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::answer::{Answer, COOKIE, Refusal, Standing, Whoami};
use super::request::Fields;
use super::sessions::{CART_SIZE, Session};
use super::{App, Claim};

type Shared = State<Arc<App>>;

pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/login", post(log_in))
        .route("/cart", get(show_cart).post(add_to_cart))
        .route("/checkout", post(check_out))
        .route("/logout", post(log_out))
        .route("/whoami", get(whoami))
        .layer(middleware::from_fn_with_state(app.clone(), work))
        // A health check asks whether the server is there, not how busy it is.
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(|State(app): Shared| async move { Refusal::no_such_page(&app.name) })
        .with_state(app)
}

async fn work(State(app): Shared, request: Request, next: Next) -> Response {
    app.work().await;
    next.run(request).await
}

async fn home(State(app): Shared) -> Html<String> {
    Html(include_str!("home.html").replace("{server}", &app.name))
}

async fn log_in(
    State(app): Shared,
    claim: Claim,
    fields: Fields,
) -> Result<impl IntoResponse, Refusal> {
    let user = fields.require("user", &app.name)?;
    let former = match claim {
        Claim::Sid(sid) => Some(sid),
        Claim::None | Claim::Unreadable => None,
    };
    let (sid, session) = app.log_in(former, user);
    let cookie = format!("{COOKIE}={sid}; Path=/; HttpOnly; SameSite=Lax");
    Ok(([(SET_COOKIE, cookie)], answer(&app, &session, session.cart.clone())))
}

async fn show_cart(State(app): Shared, claim: Claim) -> Result<Json<Answer>, Refusal> {
    app.with_session(claim, |session| Ok(answer(&app, session, session.cart.clone())))
}

async fn add_to_cart(
    State(app): Shared,
    claim: Claim,
    fields: Fields,
) -> Result<Json<Answer>, Refusal> {
    app.with_session(claim, |session| {
        let item = fields.require("item", &app.name)?;
        if session.cart.len() >= CART_SIZE {
            return Err(Refusal::cart_is_full(&app.name));
        }
        session.cart.push(item);
        Ok(answer(&app, session, session.cart.clone()))
    })
}

async fn check_out(State(app): Shared, claim: Claim) -> Result<Json<Answer>, Refusal> {
    app.with_session(claim, |session| {
        let bought = std::mem::take(&mut session.cart);
        Ok(answer(&app, session, bought))
    })
}

async fn log_out(State(app): Shared, claim: Claim) -> Result<impl IntoResponse, Refusal> {
    let last = app.log_out(claim)?;
    let cookie = format!("{COOKIE}=; Path=/; Max-Age=0");
    Ok(([(SET_COOKIE, cookie)], answer(&app, &last, last.cart.clone())))
}

/// Says who answers, to clients with a session, without one and with one that is not known.
async fn whoami(State(app): Shared, claim: Claim) -> Json<Whoami> {
    let found = app.with_session(claim, |session| Ok((session.user.clone(), session.requests)));
    let session = match (&found, claim) {
        (Ok(_), _) => Standing::Known,
        (Err(_), Claim::None) => Standing::None,
        (Err(_), Claim::Unreadable | Claim::Sid(_)) => Standing::Unknown,
    };
    let (user, requests) = found.map_or((None, 0), |(user, requests)| (Some(user), requests));
    Json(Whoami { server: app.name.clone(), session, user, requests })
}

fn answer(app: &App, session: &Session, cart: Vec<String>) -> Json<Answer> {
    let (user, requests) = (session.user.clone(), session.requests);
    Json(Answer { server: app.name.clone(), user, cart, requests })
}
