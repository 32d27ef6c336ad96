//! The unstick experiment: a share of the sessions goes anywhere, and what the app answers them
//! says whether it still needs stickiness.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{
    Address, Admin, Backend, Client, ON, Process, Proxy, Request, Response, Visitor,
    app_process_with, apps, get, pool, wait_until,
};

/// Where an app keeps the users that it has seen.
type Store = Arc<Mutex<HashSet<String>>>;

/// An app server that greets a user at `/login`, and knows those that its store knows. Of others
/// it says so.
fn shop(store: Store) -> Backend {
    Backend::answering(move |request: &Request| {
        let user = request.field("x-user").unwrap_or_default().to_owned();
        let mut users = store.lock().unwrap();
        let is_known = match request.target.as_str() {
            "/login" => {
                users.insert(user);
                true
            }
            _ => users.contains(&user),
        };
        let told = request.field("stickler-affinity").unwrap_or("nothing");
        let (status, word) = match is_known {
            true => ("200 OK", ""),
            false => ("401 Unauthorized", "Stickler-Affinity: unknown\r\n"),
        };
        let length = told.len();
        format!("HTTP/1.1 {status}\r\n{word}Content-Length: {length}\r\n\r\n{told}")
    })
}

/// A user that logs in and then asks for things, with a cookie.
struct User {
    client: Client,
    lines: String,
}

impl User {
    fn log_in(proxy: &Proxy, number: usize) -> Self {
        let mut client = Client::connect(proxy.address());
        let name = format!("X-User: user-{number}\r\n");
        let cookie = client.get("/login", &name).cookie().unwrap();
        User { client, lines: format!("{name}Cookie: {cookie}\r\n") }
    }

    fn ask(&mut self) -> Response {
        self.client.get("/", &self.lines)
    }
}

fn settings(affinity: &str) -> String {
    format!("balance = \"round_robin\"\n[pools.pool.affinity]\nmode = \"cookie\"\n{affinity}")
}

/// So many users, each of whom asks so often, before three servers with these stores.
fn run(stores: [Store; 3], users: usize, requests: usize) -> (Proxy, Admin) {
    let backends = stores.map(shop);
    let backends = backends.each_ref();
    let proxy = Proxy::configured(ON, &backends, &settings("unstick = { percent = 50 }\n"));
    for number in 0..users {
        let mut user = User::log_in(&proxy, number);
        for _ in 0..requests {
            user.ask();
        }
    }
    let admin = proxy.admin();
    let all = (users * (requests + 1)) as u64;
    proxy.scrape_after(all);
    (proxy, admin)
}

#[test]
fn an_app_that_keeps_sessions_in_memory_is_found_to_need_stickiness() {
    let (proxy, admin) = run(Default::default(), 40, 10);
    let found = admin.get("/v1/pools/pool/unstick");
    assert_eq!((&found["verdict"], &found["percent"]), (&json!("unsafe"), &json!(50.0)));
    let words = found["in_words"].as_str().unwrap();
    assert!(words.starts_with("Not safe:") && words.contains("did not know"), "{words}");
    let (bound, free) = (&found["bound"], &found["free"]);
    assert_eq!(bound["requests"].as_u64().unwrap() + free["requests"].as_u64().unwrap(), 400);
    assert_eq!(bound["unknown_sessions"], 0);
    assert_eq!(bound["statuses"], json!({ "2xx": bound["requests"] }));
    // Two of three requests meet a server that does not know the user.
    let unknown = &found["differences"]["unknown"];
    assert!((0.6..0.72).contains(&unknown["free"].as_f64().unwrap()), "{unknown}");
    assert!(unknown["p"].as_f64().unwrap() < 1e-9 && unknown["is_worse"] == true, "{unknown}");
    assert_eq!(found["differences"]["refused"]["is_worse"], true);
    assert_eq!(found["differences"]["failed"]["is_worse"], false);
    // The pool says the same, and so do the metrics and the command.
    assert_eq!(admin.get("/v1/pools/pool")["unstick"]["verdict"], "unsafe");
    let scrape = proxy.scrape();
    let verdict = |of| scrape.value("stickler_unstick_verdict", &[("verdict", of)]);
    assert_eq!(["too_early", "safe", "unsafe"].map(verdict), [0.0, 0.0, 1.0]);
    let free = [("arm", "free")];
    let unknown = scrape.value("stickler_unstick_unknown_sessions_total", &free);
    assert_eq!(unknown, scrape.sum("stickler_backend_unknown_sessions_total", &[]));
    let refused = [free[0], ("code", "4xx")];
    assert_eq!(scrape.value("stickler_unstick_requests_total", &refused), unknown);
    let unstuck = scrape.sum("stickler_requests_total", &[("cause", "unstuck")]);
    assert_eq!(scrape.value("stickler_unstick_request_duration_seconds_count", &free), unstuck);
}

#[test]
fn an_app_that_shares_its_sessions_is_found_to_be_safe() {
    let store = Store::default();
    let (_proxy, admin) = run([store.clone(), store.clone(), store], 40, 50);
    let found = admin.get("/v1/pools/pool/unstick");
    assert_eq!(found["verdict"], "safe", "{found}");
    let words = found["in_words"].as_str().unwrap();
    assert!(words.starts_with("Safe so far:") && words.contains("never said"), "{words}");
    assert_eq!(found["free"]["statuses"], json!({ "2xx": found["free"]["requests"] }));
}

/// Both arms of sessions: the free ones go anywhere, and stay free.
#[test]
fn free_sessions_keep_their_token_and_live_nowhere() {
    let [a, b, c] = apps();
    let proxy = Proxy::configured(ON, &[&a, &b, &c], &settings("unstick = { percent = 50 }\n"));
    let (mut bound, mut free) = (0, 0);
    for _ in 0..24 {
        let mut visitor = Visitor::new(proxy.address());
        let first = visitor.visit();
        assert!(first.ends_with(" new"), "{first}");
        let (home, token) = (first[..2].to_owned(), visitor.cookie.clone());
        let answers: Vec<String> = (0..6).map(|_| visitor.visit()).collect();
        assert_eq!(visitor.cookie, token, "there is nothing to tell the client");
        let told: HashSet<&str> = answers.iter().map(|answer| &answer[3..]).collect();
        let servers: HashSet<&str> = answers.iter().map(|answer| &answer[..2]).collect();
        if told == HashSet::from(["unstuck"]) {
            free += 1;
            assert_eq!(servers.len(), 3, "{answers:?}");
        } else {
            bound += 1;
            assert_eq!((told, servers), (["bound"].into(), [&*home].into()));
        }
    }
    assert!(bound > 3 && free > 3, "{bound} {free}");
    assert_eq!(proxy.pool().ledger().len(), bound, "nobody is lost with a server who is free");
    // Not even a home that is gone makes a free session move.
    let breaks = || {
        let reasons = stickler::balance::Reason::ALL;
        reasons.iter().map(|reason| proxy.pool().count_of(*reason)).sum::<u64>()
    };
    assert_eq!(breaks(), 0);
}

#[test]
fn a_drain_does_not_wait_for_free_sessions_and_an_end_of_the_experiment_binds_them_again() {
    let backends = apps::<2>();
    let addresses = backends.each_ref().map(|backend| backend.address.to_string());
    let config = |affinity: &str| format!("{ON}{}", pool(&addresses, &settings(affinity)));
    let proxy = Proxy::with(&config(""));
    let admin = proxy.admin();
    assert_eq!(admin.send("GET", "/v1/pools/pool/unstick", "", "").status, 404);
    let mut visitor = Visitor::new(proxy.address());
    let home = visitor.visit()[..2].to_owned();
    assert_eq!(visitor.visit(), format!("{home} bound"));
    assert_eq!(proxy.pool().ledger().len(), 1);
    proxy.reload(&config("unstick = { percent = 100 }\n")).unwrap();
    assert!(visitor.visit().ends_with(" unstuck"));
    assert_eq!(proxy.pool().ledger().len(), 0, "it lives nowhere");
    admin.post(&format!("/v1/pools/pool/backends/{home}/drain"), "{}");
    wait_until("it has drained", || admin.backend(&home)["state"] == "drained");
    let other = if home == "b0" { "b1" } else { "b0" };
    assert_eq!(visitor.visit(), format!("{other} unstuck"));
    let words = admin.get("/v1/pools/pool/unstick")["in_words"].clone();
    assert!(words.as_str().unwrap().starts_with("No bound request"), "{words}");
    admin.post(&format!("/v1/pools/pool/backends/{home}/ready"), "{}");
    proxy.reload(&config("")).unwrap();
    assert_eq!(visitor.visit(), format!("{home} bound"), "its token still says so");
    assert!(admin.get("/v1/pools/pool").get("unstick").is_none());
}

#[test]
fn keys_are_freed_as_sessions_are() {
    let [a, b] = apps();
    let affinity = "balance = \"round_robin\"\n[pools.pool.affinity]\nmode = \"hash\"\n\
                    key = { header = \"x-user\" }\nunstick = { percent = 50 }\n";
    let proxy = Proxy::before(&[&a, &b], affinity);
    let told = |user: usize| {
        let line = format!("X-User: user-{user}\r\n");
        let answers = [(); 3].map(|()| get(proxy.address(), "/", &line).text()[3..].to_owned());
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        answers[0].clone()
    };
    let all: Vec<String> = (0..32).map(told).collect();
    let free = all.iter().filter(|told| *told == "unstuck").count();
    assert!(
        (6..=26).contains(&free) && all.iter().all(|t| t == "unstuck" || t == "keyed"),
        "{all:?}"
    );
    assert_eq!(proxy.pool().ledger().len(), 32 - free);
    assert_eq!(get(proxy.address(), "/", "").text()[3..], *"nothing", "without a key it is free");
}

/// Clients hear nothing of what the app says about a session.
#[test]
fn a_client_does_not_hear_that_its_session_is_unknown() {
    let backend = shop(Store::default());
    let proxy = Proxy::before(&[&backend], &settings(""));
    let response = get(proxy.address(), "/", "X-User: nobody\r\n");
    assert_eq!((response.status, response.fields("stickler-affinity").len()), (401, 0));
    let unknown = || proxy.scrape().value("stickler_backend_unknown_sessions_total", &[]);
    assert_eq!(unknown(), 1.0);
}

/// A Redis on a free port, and its address.
fn redis() -> (Process, String) {
    let kept = Address::free();
    let port = kept.address.port().to_string();
    let mut command = std::process::Command::new("redis-server");
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let redis = Process::of_package("redis-server", &mut command);
    wait_until("Redis listens", || redis.stdout().contains("Ready to accept connections"));
    (redis, format!("redis://127.0.0.1:{port}"))
}

/// The verdict on three demo apps of this kind, whose users look at their carts.
fn verdict_on(kind: &[&str], users: usize, looks: usize) -> Value {
    let name = |number: usize| format!("app-{number}");
    let apps: Vec<_> =
        (0..3).map(|number| app_process_with(&name(number), "127.0.0.1:0", kind)).collect();
    let addresses: Vec<_> = apps.iter().map(|(_, address)| address.to_string()).collect();
    let settings = settings("unstick = { percent = 50 }\n");
    let proxy = Proxy::with(&format!("{ON}{}", pool(&addresses, &settings)));
    for number in 0..users {
        let mut user = Client::connect(proxy.address());
        user.send(format!(
            "POST /login?user=user-{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        ));
        let cookies = user.response().fields("set-cookie").join("; ");
        let cookies: Vec<&str> = cookies
            .split("; ")
            .filter(|part| part.starts_with("sid=") || part.starts_with("stickler="))
            .collect();
        assert_eq!(cookies.len(), 2, "{cookies:?}");
        let line = format!("Cookie: {}\r\n", cookies.join("; "));
        (0..looks).for_each(|_| drop(user.get("/cart", &line)));
    }
    proxy.scrape_after((users * (looks + 1)) as u64);
    proxy.admin().get("/v1/pools/pool/unstick")
}

#[test]
fn the_demo_app_is_safe_with_redis_and_clearly_not_with_its_own_memory() {
    let memory = verdict_on(&["--kind", "memory"], 30, 10);
    assert_eq!(memory["verdict"], "unsafe", "{memory}");
    assert_eq!(memory["bound"]["unknown_sessions"], 0);
    assert!(memory["differences"]["unknown"]["p"].as_f64().unwrap() < 1e-9, "{memory}");
    let (_redis, url) = redis();
    let redis = verdict_on(&["--kind", "redis", "--redis", &url], 40, 40);
    assert_eq!(redis["verdict"], "safe", "{redis}");
    assert_eq!(redis["free"]["unknown_sessions"], 0);
}
