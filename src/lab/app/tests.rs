use serde::de::DeserializeOwned;

use super::answer::{Answer, Standing, Whoami};
use super::*;
use crate::lab::browser::{Browser, Response};

/// Of an app server that takes no time.
pub(in crate::lab) fn settings(name: &str) -> Settings {
    Settings {
        name: name.into(),
        kind: Kind::Memory,
        service_time: Delay::NONE,
        concurrency: NonZeroU32::MIN,
        max_sessions: 100,
        session_timeout: Duration::from_secs(60),
        drain_for: Duration::ZERO,
        seed: 1,
    }
}

async fn visit(settings: Settings) -> Browser {
    Browser::new(spawn(settings).await, "shop.test").unwrap()
}

fn read<T: DeserializeOwned>(response: &Response) -> T {
    serde_json::from_slice(&response.body).unwrap()
}

#[tokio::test]
async fn a_session_from_log_in_to_log_out() {
    let mut browser = visit(settings("app-1")).await;
    let login = browser.post("/login", "user=ada").await.unwrap();
    let set_cookie = login.headers["set-cookie"].to_str().unwrap();
    assert!(set_cookie.contains("HttpOnly"), "{set_cookie}");
    assert_eq!(read::<Answer>(&login).user, "ada");
    browser.post("/cart", "item=tea").await.unwrap();
    browser.post("/cart?item=a+cup", "").await.unwrap();
    let cart: Answer = read(&browser.get("/cart").await.unwrap());
    assert_eq!(cart.cart, ["tea", "a cup"]);
    assert_eq!((cart.server.as_str(), cart.requests), ("app-1", 4));
    let bought: Answer = read(&browser.post("/checkout", "").await.unwrap());
    assert_eq!(bought.cart, ["tea", "a cup"]);
    assert!(read::<Answer>(&browser.get("/cart").await.unwrap()).cart.is_empty());
    assert!(!login.headers.contains_key(answer::AFFINITY));
    let last = browser.post("/logout", "").await.unwrap();
    assert_eq!(last.headers[answer::AFFINITY], answer::RELEASE);
    assert_eq!(read::<Answer>(&last).requests, 7);
    assert_eq!(browser.cookie(answer::COOKIE), None);
    let refusal: Refusal = read(&browser.get("/cart").await.unwrap());
    assert_eq!(refusal.error, "no_session");
}

#[tokio::test]
async fn another_servers_session_is_unknown_and_said_to_be() {
    let mut home = visit(settings("app-1")).await;
    home.post("/login", "user=ada").await.unwrap();
    let cookie = format!("sid={}", home.cookie(answer::COOKIE).unwrap());
    let browser = visit(settings("app-2")).await;
    let mut browser = browser.with_header(http::header::COOKIE, cookie.parse().unwrap());
    let pages = [("/cart", "item=tea"), ("/checkout", ""), ("/logout", "")];
    for (page, form) in pages {
        let response = browser.post(page, form).await.unwrap();
        assert_eq!(response.status, 401, "{page}");
        let refusal: Refusal = read(&response);
        assert_eq!(refusal.error, answer::UNKNOWN_SESSION);
        assert_eq!(refusal.server, "app-2");
    }
    let whoami: Whoami = read(&browser.get("/whoami").await.unwrap());
    assert_eq!((whoami.session, whoami.user), (Standing::Unknown, None));
    assert_eq!(browser.post("/login", "user=ada").await.unwrap().status, 200);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let mut browser = visit(settings("app-1")).await;
    assert_eq!(browser.post("/login", "").await.unwrap().status, 400);
    assert_eq!(browser.get("/nowhere").await.unwrap().status, 404);
    assert_eq!(browser.get("/login").await.unwrap().status, 405);
    browser.post("/login", "user=ada").await.unwrap();
    assert_eq!(browser.post("/cart", "item=").await.unwrap().status, 400);
    for _ in 0..store::CART_SIZE {
        assert_eq!(browser.post("/cart", "item=tea").await.unwrap().status, 200);
    }
    assert_eq!(browser.post("/cart", "item=tea").await.unwrap().status, 409);
    let huge = format!("item={}", "x".repeat(3 << 20));
    assert_eq!(browser.post("/cart", &huge).await.unwrap().status, 413);
}

#[tokio::test]
async fn requests_beyond_the_limit_queue_and_a_health_check_does_not() {
    let slow = Delay::fixed(Duration::from_millis(60));
    let address = spawn(Settings { service_time: slow, ..settings("app-1") }).await;
    let ask = |path: &'static str| async move {
        let mut browser = Browser::new(address, "shop.test").unwrap();
        browser.get(path).await.unwrap().latency
    };
    let (first, second, third, health) =
        tokio::join!(ask("/whoami"), ask("/whoami"), ask("/whoami"), ask("/healthz"));
    let slowest = first.max(second).max(third);
    assert!(slowest >= Duration::from_millis(180), "three in a row: {slowest:?}");
    assert!(health < slowest, "{health:?} is not below {slowest:?}");
}

#[tokio::test]
async fn what_is_in_flight_is_finished_before_the_server_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = Delay::fixed(Duration::from_millis(50));
    let settings = Settings { service_time: slow, ..settings("app-1") };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async { stopped.await.unwrap() };
    let server = tokio::spawn(serve(listener, settings, stopped));
    let mut browser = Browser::new(address, "shop.test").unwrap();
    assert_eq!(browser.get("/healthz").await.unwrap().status, 200);
    let request = tokio::spawn(async move { browser.get("/whoami").await });
    sleep(Duration::from_millis(20)).await;
    stop.send(()).unwrap();
    assert_eq!(request.await.unwrap().unwrap().status, 200);
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_token_is_known_by_every_server_with_the_secret() {
    let kind = || Kind::Jwt { secret: "shared".into() };
    let mut home = visit(Settings { kind: kind(), ..settings("app-1") }).await;
    home.post("/login", "user=ada").await.unwrap();
    home.post("/cart", "item=tea").await.unwrap();
    let cookie = format!("sid={}", home.cookie(answer::COOKIE).unwrap());
    let at = async |kind: Kind| {
        let browser = visit(Settings { kind, ..settings("app-2") }).await;
        let mut browser = browser.with_header(http::header::COOKIE, cookie.parse().unwrap());
        browser.get("/cart").await.unwrap()
    };
    let away = at(kind()).await;
    let timing = away.headers["server-timing"].to_str().unwrap();
    assert!(timing.starts_with("state;dur=0."), "{timing}");
    let away: Answer = read(&away);
    assert_eq!((away.server.as_str(), away.cart), ("app-2", vec!["tea".to_owned()]));
    let refusal: Refusal = read(&at(Kind::Jwt { secret: "another".into() }).await);
    assert_eq!(refusal.error, answer::UNKNOWN_SESSION);
}

#[tokio::test]
async fn a_channel_shops_and_talks_to_its_room() {
    let address = spawn(Settings { kind: Kind::Websocket, ..settings("app-1") }).await;
    let enter = async |user: &str| {
        let mut browser = Browser::new(address, &address.to_string()).unwrap();
        browser.post("/login", &format!("user={user}")).await.unwrap();
        browser.channel("/live?room=tea").await.unwrap()
    };
    let (mut ada, mut bob) = (enter("ada").await, enter("bob").await);
    assert_eq!(ada.ask("anything").await.unwrap(), "anything");
    let cart = |text: String| serde_json::from_str::<Answer>(&text).unwrap().cart;
    assert_eq!(cart(ada.ask("add tea").await.unwrap()), ["tea"]);
    assert_eq!(cart(ada.ask("cart").await.unwrap()), ["tea"]);
    assert!(cart(bob.ask("cart").await.unwrap()).is_empty(), "it is ada's");
    let said: answer::Said = serde_json::from_str(&ada.ask("say hello").await.unwrap()).unwrap();
    assert_eq!((said.user.as_str(), said.text.as_str()), ("ada", "hello"));
    let heard: answer::Said = serde_json::from_str(&bob.ask("x").await.unwrap()).unwrap();
    assert_eq!(heard, said, "it was there before bob's own echo");
    let mut stranger = Browser::new(address, &address.to_string()).unwrap();
    let refused = stranger.channel("/live").await.unwrap_err().to_string();
    assert!(refused.contains("401"), "{refused}");
    let stats: answer::Stats = read(&stranger.get("/stats").await.unwrap());
    assert_eq!((stats.sessions, stats.channels), (2, 2));
}

#[tokio::test]
async fn a_server_that_is_to_stop_asks_to_be_drained_until_its_last_session_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Settings { drain_for: Duration::from_secs(60), ..settings("app-1") };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, settings, async { stopped.await.unwrap() }));
    let mut browser = Browser::new(address, "shop.test").unwrap();
    browser.post("/login", "user=ada").await.unwrap();
    let asks = async || {
        let health = Browser::new(address, "shop.test").unwrap().get("/healthz").await.unwrap();
        (health.status.as_u16(), health.headers.contains_key(answer::DRAIN))
    };
    assert_eq!(asks().await, (200, false));
    stop.send(()).unwrap();
    while asks().await != (200, true) {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(asks().await, (200, true));
    sleep(3 * LOOK).await;
    assert!(!server.is_finished(), "ada is still there");
    assert_eq!(browser.post("/logout", "").await.unwrap().status, 200);
    server.await.unwrap().unwrap();
}
