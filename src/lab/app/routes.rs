//! The pages of the shop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderName, HeaderValue, Uri};
use axum::middleware::{self, Next};
use axum::response::{AppendHeaders, Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use url::form_urlencoded;

use super::answer::{
    AFFINITY, Answer, COOKIE, DRAIN, RELEASE, Refusal, STATE_METRIC, Standing, Stats, UNKNOWN,
    Whoami,
};
use super::request::Fields;
use super::store::{CART_SIZE, Session, Visit};
use super::{App, Claim, live};
use crate::clock;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The room of a channel that asks for none.
const LOBBY: &str = "lobby";

type Shared = State<Arc<App>>;

pub(super) fn router(app: Arc<App>) -> Router {
    let shop = Router::new()
        .route("/", get(home))
        .route("/login", post(log_in))
        .route("/cart", get(show_cart).post(add_to_cart))
        .route("/checkout", post(check_out))
        .route("/logout", post(log_out))
        .route("/whoami", get(whoami))
        .layer(middleware::from_fn_with_state(app.clone(), work));
    let channels = match app.kind.has_channels() {
        true => Router::new().route("/live", get(open_channel)),
        false => Router::new(),
    };
    shop.merge(channels)
        // A health check asks whether the server is there, not how busy it is.
        .route("/healthz", get(health))
        .route("/stats", get(stats))
        .fallback(|State(app): Shared| async move { Refusal::no_such_page(&app.name) })
        .with_state(app)
}

async fn work(State(app): Shared, request: Request, next: Next) -> Response {
    app.work().await;
    next.run(request).await
}

/// Well in any case; and a wish to be drained, when it is to stop.
async fn health(State(app): Shared) -> Response {
    if !app.draining.load(Ordering::Relaxed) {
        return "ok\n".into_response();
    }
    app.drain_requests.fetch_add(1, Ordering::Relaxed);
    (AppendHeaders([(DRAIN, "1")]), "ok\n").into_response()
}

async fn stats(State(app): Shared) -> Json<Stats> {
    Json(Stats {
        server: app.name.clone(),
        requests: app.requests.load(Ordering::Relaxed),
        sessions: app.store.sessions_here(clock::now()) as u64,
        channels: app.rooms.members(),
    })
}

async fn home(State(app): Shared) -> Html<String> {
    let page = include_str!("home.html").replace("{server}", &app.name);
    Html(page.replace("{keeps}", app.kind.keeps()))
}

/// A session's state, and what the client must know to keep it.
pub(super) struct Reply {
    pub(super) answer: Answer,
    cookie: Option<String>,
    took: Duration,
}

impl Reply {
    fn new(app: &App, visit: Visit<(Session, Vec<String>)>) -> Self {
        let Visit { value: (session, cart), cookie, took } = visit;
        let Session { user, requests, .. } = session;
        Reply { answer: Answer { server: app.name.clone(), user, cart, requests }, cookie, took }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Json(self.answer).into_response();
        let fields = response.headers_mut();
        let timing = format!("{STATE_METRIC};dur={:.3}", self.took.as_secs_f64() * 1e3);
        let cookie = self.cookie.map(|value| match value.as_str() {
            "" => format!("{COOKIE}=; Path=/; Max-Age=0"),
            value => format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax"),
        });
        for (name, value) in [(SERVER_TIMING, Some(timing)), (SET_COOKIE, cookie)] {
            // Ids and tokens are ASCII, and so is a number.
            if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
                fields.insert(name, value);
            }
        }
        response
    }
}

async fn log_in(State(app): Shared, claim: Claim, fields: Fields) -> Result<Reply, Refusal> {
    let user = fields.require("user", &app.name)?;
    let visit = app.log_in(&claim, user).await?;
    let Visit { value, cookie, took } = visit;
    Ok(Reply::new(&app, Visit { value: (value, Vec::new()), cookie, took }))
}

async fn show_cart(State(app): Shared, claim: Claim) -> Result<Reply, Refusal> {
    cart(&app, &claim).await
}

async fn add_to_cart(State(app): Shared, claim: Claim, fields: Fields) -> Result<Reply, Refusal> {
    match fields.require("item", &app.name) {
        Ok(item) => put(&app, &claim, item).await,
        // Who has no session is told that first.
        Err(refusal) => cart(&app, &claim).await.and(Err(refusal)),
    }
}

async fn check_out(State(app): Shared, claim: Claim) -> Result<Reply, Refusal> {
    purchase(&app, &claim).await
}

/// What is in the cart.
pub(super) async fn cart(app: &App, claim: &Claim) -> Result<Reply, Refusal> {
    let visit = app.with_session(claim, |session| (session.clone(), session.cart.clone())).await?;
    Ok(Reply::new(app, visit))
}

/// Puts an item into the cart.
pub(super) async fn put(app: &App, claim: &Claim, item: String) -> Result<Reply, Refusal> {
    let put = |session: &mut Session| {
        if session.cart.len() >= CART_SIZE {
            return Err(Refusal::cart_is_full(&app.name));
        }
        session.cart.push(item);
        Ok((session.clone(), session.cart.clone()))
    };
    let Visit { value, cookie, took } = app.with_session(claim, put).await?;
    Ok(Reply::new(app, Visit { value: value?, cookie, took }))
}

/// Buys what is in the cart.
pub(super) async fn purchase(app: &App, claim: &Claim) -> Result<Reply, Refusal> {
    let buy = |session: &mut Session| {
        let bought = std::mem::take(&mut session.cart);
        (session.clone(), bought)
    };
    Ok(Reply::new(app, app.with_session(claim, buy).await?))
}

/// Tells the proxy, too, that the session is over: whoever drains this server need not wait for it.
async fn log_out(State(app): Shared, claim: Claim) -> Result<impl IntoResponse, Refusal> {
    let mut last = cart(&app, &claim).await?;
    app.log_out(&claim).await?;
    last.cookie = Some(String::new());
    Ok(([(AFFINITY, RELEASE)], last))
}

/// Says who answers, to clients with a session, without one and with one that is not known.
async fn whoami(State(app): Shared, claim: Claim) -> Response {
    let look = |session: &mut Session| (session.user.clone(), session.requests);
    let found = app.with_session(&claim, look).await;
    let session = match (&found, &claim) {
        (Ok(_), _) => Standing::Known,
        (Err(_), Claim::None) => Standing::None,
        (Err(_), Claim::Value(_)) => Standing::Unknown,
    };
    let (user, requests) = found.map_or((None, 0), |visit| (Some(visit.value.0), visit.value.1));
    let word = (session == Standing::Unknown).then_some([(AFFINITY, UNKNOWN)]);
    let answer = Json(Whoami { server: app.name.clone(), session, user, requests });
    (word.map(AppendHeaders), answer).into_response()
}

/// A channel needs a session, like everything in the shop; a refusal is an answer over HTTP.
async fn open_channel(
    State(app): Shared,
    claim: Claim,
    uri: Uri,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let user = app.with_session(&claim, |session| session.user.clone()).await?.value;
    let mut fields = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let room = fields.find(|(name, _)| name == "room");
    let room = room.map_or_else(|| LOBBY.to_owned(), |(_, room)| room.into_owned());
    let upgrade = upgrade.max_message_size(live::LONGEST_MESSAGE);
    Ok(upgrade.on_upgrade(move |socket| live::serve(app, claim, user, room, socket)))
}
