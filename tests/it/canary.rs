//! Routes over several pools: sessions keep theirs, and shares are kept.

use std::fmt::Write;
use std::num::NonZeroU32;
use std::time::Duration;

use stickler::balance::DrainPolicy;

use crate::operate::run;
use crate::support::{Backend, ON, Proxy, Response, get, wait_until};

/// A proxy with two pools behind one route, of these weights, and what their affinity says.
pub fn config(weights: [u32; 2], pools: [&Backend; 2], affinity: &str) -> String {
    let mut text = format!(
        "[[routes]]\nname = \"shop\"\npools = [{{ name = \"blue\", weight = {} }}, \
         {{ name = \"green\", weight = {} }}]\n",
        weights[0], weights[1]
    );
    for (name, backend) in ["blue", "green"].into_iter().zip(pools) {
        let address = backend.address;
        let _ = write!(
            text,
            "[pools.{name}.affinity]\n{affinity}\n\
             [[pools.{name}.backends]]\nname = \"{name}-1\"\naddress = \"{address}\"\n"
        );
    }
    text
}

pub const COOKIE: &str = "mode = \"cookie\"";

fn ask(proxy: &Proxy, cookie: Option<&str>) -> Response {
    let line = cookie.map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
    let response = get(proxy.address(), "/", &line);
    assert_eq!(response.status, 200, "{}", response.text());
    response
}

#[test]
fn sessions_keep_the_pool_that_they_began_in() {
    let (blue, green) = (Backend::named("blue"), Backend::named("green"));
    let proxy = Proxy::with(&config([75, 25], [&blue, &green], COOKIE));
    let mut sessions: Vec<(String, String)> = Vec::new();
    for _ in 0..40 {
        let response = ask(&proxy, None);
        sessions.push((response.cookie().unwrap(), response.text()));
    }
    let of_green = sessions.iter().filter(|(_, pool)| pool == "green").count();
    assert_eq!(of_green, 10, "arms take turns");
    for _ in 0..2 {
        for (cookie, pool) in &sessions {
            let response = ask(&proxy, Some(cookie));
            assert_eq!((&response.text(), response.cookie()), (pool, None));
        }
    }
    let last = green.last_request();
    assert_eq!(last.field("stickler-affinity"), Some("bound"));
    assert_eq!(last.field("cookie"), None, "the app sees no token, whichever pool sealed it");
    // A token of nobody's is no session, and no error.
    let forged = format!("{}x", &sessions[0].0[..sessions[0].0.len() - 1]);
    assert!(ask(&proxy, Some(&forged)).cookie().is_some());
}

#[test]
fn without_weight_there_are_no_new_sessions_and_those_there_are_stay() {
    let (blue, green) = (Backend::named("blue"), Backend::named("green"));
    let proxy = Proxy::with(&config([1, 1], [&blue, &green], COOKIE));
    let first = [ask(&proxy, None), ask(&proxy, None)];
    let of_green = first.iter().find(|response| response.text() == "green").unwrap();
    let cookie = of_green.cookie().unwrap();
    proxy.reload(&config([1, 0], [&blue, &green], COOKIE)).unwrap();
    for _ in 0..10 {
        assert_eq!(ask(&proxy, None).text(), "blue");
        assert_eq!(ask(&proxy, Some(&cookie)).text(), "green");
    }
}

/// An operator takes a canary back: its backends drain, and its sessions go to the other pool as
/// the policy says, each told why.
#[test]
fn a_pool_that_drains_gives_its_sessions_to_the_other() {
    let (blue, green) = (Backend::named("blue"), Backend::named("green"));
    let drain = format!(
        "{}[pools.green.drain]\nmove_idle_after = \"1ms\"\n",
        config([1, 1], [&blue, &green], COOKIE)
    );
    let proxy = Proxy::with(&drain);
    let first = [ask(&proxy, None), ask(&proxy, None)];
    let of_green = first.iter().find(|response| response.text() == "green").unwrap();
    let cookie = of_green.cookie().unwrap();
    let pools = proxy.controller().pools();
    let pool = pools.iter().find(|pool| pool.name() == "green").unwrap();
    let backend = pool.backends()[0].id();
    pool.drain(backend, pool.drain_policy(), true, stickler::clock::now()).unwrap();
    let mut moved = None;
    wait_until("the session moves", || {
        let response = ask(&proxy, Some(&cookie));
        let has_moved = response.text() == "blue";
        moved = Some(response).filter(|_| has_moved);
        has_moved
    });
    let told = blue.last_request();
    assert_eq!(told.field("stickler-affinity"), Some("moved;reason=draining"));
    let new = moved.unwrap().cookie().expect("the client is told");
    // What was sent with the old token follows, and the new one is at home.
    assert_eq!(ask(&proxy, Some(&cookie)).text(), "blue");
    let at_home = ask(&proxy, Some(&new));
    assert_eq!((at_home.text().as_str(), at_home.cookie()), ("blue", None));
    assert_eq!(blue.last_request().field("stickler-affinity"), Some("bound"));
    for _ in 0..5 {
        assert_eq!(ask(&proxy, None).text(), "blue", "nobody new comes to what drains");
    }
}

#[test]
fn keys_have_their_pool_and_the_keyless_are_shared_out() {
    let (blue, green) = (Backend::named("blue"), Backend::named("green"));
    let affinity = "mode = \"hash\"\nkey = { header = \"x-user\" }";
    let proxy = Proxy::with(&config([50, 50], [&blue, &green], affinity));
    let of_user = |user: u32| get(proxy.address(), "/", &format!("X-User: {user}\r\n")).text();
    let first: Vec<String> = (0..40).map(of_user).collect();
    assert_eq!(first, (0..40).map(of_user).collect::<Vec<_>>());
    let of_green = first.iter().filter(|pool| *pool == "green").count();
    assert!((8..=32).contains(&of_green), "{of_green}");
    let keyless = (0..100).filter(|_| ask(&proxy, None).text() == "green").count();
    assert!((40..=60).contains(&keyless), "{keyless}");
    // Shares are measured however requests find their pool.
    let has_shares = || {
        (0..100).for_each(|user| drop(of_user(user)));
        proxy.controller().splits()[0].1.is_some()
    };
    wait_until("shares are known", has_shares);
}

#[test]
fn without_sessions_every_request_is_shared_out() {
    let (blue, green) = (Backend::named("blue"), Backend::named("green"));
    let proxy = Proxy::with(&config([90, 10], [&blue, &green], "mode = \"none\""));
    let of_green = (0..200).filter(|_| ask(&proxy, None).text() == "green").count();
    assert!((16..=24).contains(&of_green), "{of_green} of 200");
    let scrape = proxy.scrape_after(200);
    let counted = scrape.sum("stickler_requests_total", &[("pool", "green")]);
    assert_eq!(counted, of_green as f64);
}

/// A pool that is down takes no part, and its sessions move.
#[test]
fn what_cannot_serve_is_passed_over() {
    let (blue, green) = (Backend::named("blue"), Backend::named("green"));
    let with_checks = |green: &Backend| {
        let mut text = config([1, 1], [&blue, green], COOKIE);
        for pool in ["blue", "green"] {
            let _ = write!(
                text,
                "[pools.{pool}.health]\ninterval = \"20ms\"\nfast_interval = \"20ms\"\n"
            );
        }
        text
    };
    let proxy = Proxy::with(&with_checks(&green));
    let first = [ask(&proxy, None), ask(&proxy, None)];
    let of_green = first.iter().find(|response| response.text() == "green").unwrap();
    let cookie = of_green.cookie().unwrap();
    green.die();
    let pools = proxy.controller().pools();
    let pool = pools.iter().find(|pool| pool.name() == "green").unwrap();
    wait_until("green is down", || !pool.takes_new());
    for _ in 0..4 {
        assert_eq!(ask(&proxy, None).text(), "blue");
    }
    assert_eq!(ask(&proxy, Some(&cookie)).text(), "blue");
}

#[test]
fn operators_promote_and_abort() {
    let (blue, green) = (Backend::named("blue"), Backend::named("green"));
    let text = config([50, 50], [&blue, &green], COOKIE);
    let drains = "[pools.blue.drain]\nmove_idle_after = \"1ms\"\n\
                  [pools.green.drain]\nmove_idle_after = \"1ms\"\n";
    let proxy = Proxy::with(&format!("{ON}{text}{drains}"));
    let admin = proxy.admin();
    let route = admin.get("/v1/routes")["routes"][0].clone();
    assert_eq!(route["name"], "shop");
    assert_eq!(route["pools"][1]["pool"], "green");
    assert_eq!(route["pools"][1]["wanted"], 0.5);
    let first = [ask(&proxy, None), ask(&proxy, None)];
    let shown = run(&admin, &["status"]).stdout;
    assert!(shown.contains("route shop: its requests by pool"), "{shown}");
    let arms = shown.rsplit_once("route shop").unwrap().1;
    let line = arms.lines().find(|line| line.trim_start().starts_with("green")).unwrap();
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!(cells, ["green", "yes", "50", "50.0", "%", "-", "1"], "too few to have a share");
    let session = |pool: &str| {
        first.iter().find(|response| response.text() == pool).unwrap().cookie().unwrap()
    };
    let (of_blue, of_green) = (session("blue"), session("green"));
    let order = |what: &str| {
        let json = "content-type: application/json\r\n";
        admin.send("POST", &format!("/v1/routes/{what}"), json, "{}").status
    };
    assert_eq!(order("shop/pools/green/abort"), 200);
    assert_eq!(order("shop/pools/blue/abort"), 409, "nobody would be left");
    assert_eq!((order("shop/pools/red/abort"), order("x/pools/blue/abort")), (404, 404));
    wait_until("green's session moves", || ask(&proxy, Some(&of_green)).text() == "blue");
    assert_eq!(order("shop/pools/green/promote"), 200);
    wait_until("blue's session moves", || ask(&proxy, Some(&of_blue)).text() == "green");
    for _ in 0..4 {
        assert_eq!(ask(&proxy, None).text(), "green");
    }
    let route = admin.get("/v1/routes")["routes"][0].clone();
    assert_eq!(route["pools"][0]["takes_new"], false);
}

/// What an operator does not say of how to drain is as each drained pool's own policy says, not
/// as that of the pool that stays.
#[test]
fn half_an_order_is_filled_from_the_policy_of_each_pool_that_drains() {
    let (blue, green) = (Backend::named("blue"), Backend::named("green"));
    let text = config([50, 50], [&blue, &green], COOKIE);
    let drains = "[pools.blue.drain]\nmove_idle_after = \"7m\"\n\
                  [pools.green.drain]\nmove_idle_after = \"3m\"\ndeadline = \"1h\"\n";
    let proxy = Proxy::with(&format!("{ON}{text}{drains}"));
    let admin = proxy.admin();
    // One session in each, so that neither has drained at once.
    let _sessions = [ask(&proxy, None), ask(&proxy, None)];
    admin.post("/v1/routes/shop/pools/green/promote", r#"{"moves_per_second": 4}"#);
    let policy = |pool: &str| {
        let pools = proxy.controller().pools();
        let pool = pools.iter().find(|found| found.name() == pool).unwrap();
        pool.drain_progress(pool.backends()[0].id(), stickler::clock::now()).unwrap().policy
    };
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    let of_blue = DrainPolicy {
        deadline: None,
        move_idle_after: minutes(7),
        moves_per_second: NonZeroU32::new(4),
    };
    assert_eq!(policy("blue"), of_blue, "nothing of green's policy");
    admin.post("/v1/routes/shop/pools/blue/promote", r#"{"deadline": "5m"}"#);
    let of_green =
        DrainPolicy { deadline: minutes(5), move_idle_after: minutes(3), moves_per_second: None };
    assert_eq!(policy("green"), of_green);
}
