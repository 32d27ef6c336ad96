//! What is counted is what happened.

use std::collections::BTreeSet;
use std::path::Path;

use stickler::balance::drain::DrainPolicy;
use stickler::balance::{BackendSpec, Timestamp};
use stickler::observe::metrics::{Format, Tally};

use crate::support::{Backend, Client, Gate, Proxy, Scrape, Visitor, apps, get, pool, wait_until};

const REQUESTS: &str = "stickler_requests_total";
const COOKIE: &str = "[pools.pool.affinity]\nmode = \"cookie\"\n";

/// Requests that have ended, of those with these labels.
fn requests(scrape: &Scrape, labels: &[(&str, &str)]) -> f64 {
    scrape.sum(REQUESTS, labels)
}

#[test]
fn requests_are_counted_by_where_they_went_why_and_how_that_ended() {
    let backends = [
        Backend::named("b0"),
        Backend::answering(|request| {
            assert_eq!(request.target, "/");
            "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n".into()
        }),
    ];
    let addresses = backends.each_ref().map(|backend| backend.address.to_string());
    let routes = "[[routes]]\nhost = \"test\"\npool = \"pool\"\n";
    let settings = format!("balance = \"round_robin\"\n{COOKIE}");
    let proxy = Proxy::with(&format!("{routes}{}", pool(&addresses, &settings)));

    let mut visitor = Client::connect(proxy.address());
    let first = visitor.get("/", "");
    let cookie = format!("Cookie: {}\r\n", first.cookie().unwrap());
    for _ in 0..3 {
        visitor.get("/", &cookie);
    }
    let code = if first.status == 200 { "2xx" } else { "5xx" };
    get(proxy.address(), "/", "");
    get(proxy.address(), "/", "Cookie: stickler=forged\r\n");
    visitor.send("GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n");
    assert_eq!(visitor.response().status, 404);
    visitor.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert_eq!(visitor.response().status, 400);
    let mut rude = Client::connect(proxy.address());
    rude.send("GET / HTTP/9.9\r\n\r\n");
    assert_eq!(rude.response().status, 505);

    let scrape = proxy.scrape_after(4 + 1 + 1 + 3);
    assert_eq!(requests(&scrape, &[("cause", "bound"), ("code", code)]), 3.0);
    assert_eq!(requests(&scrape, &[("cause", "new")]), 3.0);
    assert_eq!(requests(&scrape, &[("pool", ""), ("backend", ""), ("code", "4xx")]), 2.0);
    assert_eq!(requests(&scrape, &[("pool", ""), ("code", "5xx")]), 1.0);
    let problems = |kind| scrape.sum("stickler_problems_total", &[("problem", kind)]);
    assert_eq!([problems("no_route"), problems("bad_request")], [1.0, 2.0]);
    let forged = [("pool", "pool"), ("reason", "forged")];
    assert_eq!(scrape.value("stickler_affinity_breaks_total", &forged), 1.0);
    assert_eq!(scrape.value("stickler_pool_sessions", &[]), 3.0);
    for name in ["b0", "b1"] {
        let labels = [("backend", name)];
        let count = requests(&scrape, &labels);
        let durations = scrape.value("stickler_request_duration_seconds_count", &labels);
        let heads = scrape.value("stickler_backend_response_head_seconds_count", &labels);
        assert_eq!([count, count], [durations, heads], "{name}");
        let infinite = [labels[0], ("le", "+Inf")];
        assert_eq!(scrape.value("stickler_request_duration_seconds_bucket", &infinite), count);
        let (whole, head) = (
            scrape.value("stickler_request_duration_seconds_sum", &labels),
            scrape.value("stickler_backend_response_head_seconds_sum", &labels),
        );
        assert!(head > 0.0 && head <= whole && whole < 20.0, "{head} {whole}");
        assert!(scrape.value("stickler_backend_sent_bytes_total", &labels) > 100.0);
        assert!(scrape.value("stickler_backend_received_bytes_total", &labels) > 30.0);
        let opened = scrape.value("stickler_backend_connections_opened_total", &labels);
        let reused = scrape.value("stickler_backend_connections_reused_total", &labels);
        assert_eq!(opened + reused, count);
        let ready = [labels[0], ("state", "ready")];
        assert_eq!(scrape.value("stickler_backend_state", &ready), 1.0);
    }
    let listener = [("listener", &*proxy.address().to_string())];
    assert_eq!(scrape.value("stickler_listener_connections_accepted_total", &listener), 4.0);
    assert!(scrape.value("stickler_listener_received_bytes_total", &listener) > 300.0);
    assert!(scrape.value("stickler_listener_sent_bytes_total", &listener) > 500.0);
    drop((visitor, rude));
    let open = || proxy.scrape().value("stickler_listener_connections", &[]) > 0.0;
    wait_until("all connections are closed", || !open());
}

#[test]
fn moves_have_their_reason_and_failed_attempts_are_no_requests() {
    let backends = apps::<2>();
    let settings = format!("eject = {{ connect_failures = 1, duration = \"1h\" }}\n{COOKIE}");
    let proxy = Proxy::before(&[&backends[0], &backends[1]], &settings);
    let mut visitor = Visitor::new(proxy.address());
    let home = visitor.visit();
    let home = usize::from(home.starts_with("b1"));
    let names = ["b0", "b1"];
    backends[home].die();
    visitor.visit();
    visitor.visit();
    let scrape = proxy.scrape_after(3);
    let (from, to) = ([("backend", names[home])], [("backend", names[1 - home])]);
    assert_eq!(requests(&scrape, &from), 1.0);
    assert_eq!(requests(&scrape, &[to[0], ("cause", "moved"), ("code", "2xx")]), 1.0);
    assert_eq!(requests(&scrape, &[to[0], ("cause", "bound")]), 1.0);
    let moved = [to[0], ("cause", "moved"), ("reason", "ejected")];
    assert_eq!(scrape.value("stickler_rerouted_requests_total", &moved), 1.0);
    assert!(scrape.value("stickler_backend_retries_total", &from) >= 1.0);
    assert!(scrape.value("stickler_backend_connect_failures_total", &from) >= 1.0);
    let ejected = [from[0], ("state", "ejected")];
    assert_eq!(scrape.value("stickler_backend_state", &ejected), 1.0);
}

#[test]
fn nobody_to_serve_is_a_problem_of_the_pool() {
    let proxy = Proxy::with(&pool(&["127.0.0.1:1".into()], "eject = false\nattempts = 1\n"));
    assert_eq!(get(proxy.address(), "/", "").status, 502);
    let id = proxy.member("b0").id();
    proxy.pool().set(id, stickler::balance::Condition::Down, true, Timestamp::ZERO);
    assert_eq!(get(proxy.address(), "/", "").status, 503);
    let scrape = proxy.scrape_after(2);
    let failed = [("pool", "pool"), ("backend", "b0"), ("cause", "free"), ("code", "5xx")];
    assert_eq!(requests(&scrape, &failed), 1.0);
    assert_eq!(requests(&scrape, &[("pool", "pool"), ("backend", ""), ("cause", "")]), 1.0);
    for problem in ["bad_gateway", "no_backend"] {
        let labels = [("pool", "pool"), ("problem", problem)];
        assert_eq!(scrape.value("stickler_problems_total", &labels), 1.0);
    }
}

#[test]
fn whoever_leaves_is_counted_once_and_nothing_stays_open() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::new(move |mut conversation| {
        while let Some(request) = conversation.request() {
            match request.target.as_str() {
                "/slow" => held.wait(),
                "/half" => {
                    conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
                    conversation.wait_for_close();
                    return;
                }
                "/broken" => {
                    conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
                    held.wait();
                    return;
                }
                _ => {}
            }
            conversation.answer(200, "ok");
        }
    });
    let proxy = Proxy::before(&[&backend], "");
    let send = |target: &str| {
        let mut client = Client::connect(proxy.address());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    };
    let slow = send("/slow");
    wait_until("it is in flight", || proxy.in_flight() == 1);
    drop(slow);
    let mut half = send("/half");
    half.head();
    half.reset();
    let mut broken = send("/broken");
    broken.head();
    let open = || {
        let snapshot = proxy.observer().metrics.snapshot(&[proxy.pool()]);
        snapshot.pools[0].total().get(Tally::Open)
    };
    wait_until("only one is served", || open() == 1);
    assert_eq!(proxy.in_flight(), 1);
    gate.open();
    broken.rest();
    for _ in 0..5 {
        assert_eq!(get(proxy.address(), "/", "").status, 200);
    }
    proxy.wait_until_quiet();
    let scrape = proxy.scrape_after(8);
    assert_eq!(open(), 0);
    assert_eq!(requests(&scrape, &[("backend", "b0")]), 8.0);
    assert_eq!(requests(&scrape, &[("code", "none")]), 1.0);
    let ends = |end| scrape.sum("stickler_broken_requests_total", &[("end", end)]);
    assert_eq!([ends("client_left"), ends("backend_broke")], [2.0, 1.0]);
    // What the decision core has counted, attempt by attempt, agrees.
    let attempts = proxy.member("b0").outcomes().iter().sum::<u64>();
    let retries = scrape.value("stickler_backend_retries_total", &[]);
    assert_eq!(attempts as f64, 8.0 + retries);
}

#[test]
fn a_tunnel_is_one_request_that_ends_with_it() {
    let backend = Backend::new(|mut conversation| {
        conversation.head().unwrap();
        conversation.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        conversation.wait_for_close();
    });
    let proxy = Proxy::before(&[&backend], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    client.head();
    assert_eq!(requests(&proxy.scrape(), &[]), 0.0);
    assert_eq!(proxy.scrape().value("stickler_backend_in_flight", &[]), 1.0);
    drop(client);
    let scrape = proxy.scrape_after(1);
    assert_eq!(requests(&scrape, &[("code", "1xx"), ("backend", "b0")]), 1.0);
    assert_eq!(scrape.value("stickler_request_duration_seconds_count", &[("backend", "b0")]), 0.0);
    assert_eq!(scrape.sum("stickler_broken_requests_total", &[]), 0.0);
}

#[test]
fn a_backend_that_was_removed_is_shown_until_its_last_request_has_ended() {
    let gate = Gate::new();
    let held = gate.clone();
    let slow = Backend::answering(move |_| {
        held.wait();
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into()
    });
    let stays = Backend::named("stays");
    let proxy = Proxy::before(&[&slow], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it is in flight", || proxy.in_flight() == 1);
    let address = stays.address.to_string().parse().unwrap();
    proxy.pool().set_backends(&[BackendSpec::new("stays", address)], Timestamp::ZERO);
    let scrape = proxy.scrape();
    assert_eq!(scrape.value("stickler_backend_in_flight", &[("backend", "b0")]), 1.0);
    assert_eq!(scrape.sum("stickler_backend_state", &[("backend", "b0")]), 0.0, "it has none");
    gate.open();
    assert_eq!(client.response().status, 200);
    let is_shown = || proxy.scrape().values_of("backend").contains("b0");
    wait_until("nothing is said of it any more", || !is_shown());
    assert_eq!(get(proxy.address(), "/", "").text(), "stays");
    assert_eq!(requests(&proxy.scrape(), &[("backend", "stays")]), 1.0);
}

#[test]
fn a_drain_shows_what_becomes_of_its_sessions() {
    let backends = apps::<2>();
    let proxy = Proxy::before(&[&backends[0], &backends[1]], COOKIE);
    let mut visitor = Visitor::new(proxy.address());
    let home = visitor.visit()[..2].to_owned();
    let home = proxy.member(&home);
    let labels = [("backend", home.name())];
    assert_eq!(proxy.scrape().sum("stickler_drain_start_timestamp_seconds", &labels), 0.0);
    let now = stickler::clock::now();
    proxy.pool().drain(home.id(), DrainPolicy::default(), false, now).unwrap();
    let fate = |fate| proxy.scrape().value("stickler_drain_sessions", &[labels[0], ("fate", fate)]);
    assert_eq!([fate("staying"), fate("moved")], [1.0, 0.0]);
    let scrape = proxy.scrape();
    let began = scrape.value("stickler_drain_start_timestamp_seconds", &labels);
    let end = scrape.value("stickler_drain_estimated_end_timestamp_seconds", &labels);
    assert!((began - now.as_millis() as f64 / 1e3).abs() < 0.01 && end > began);
    proxy.pool().maintenance(home.id(), true, stickler::clock::now()).unwrap();
    visitor.visit();
    wait_until("the session has moved", || fate("moved") == 1.0);
    assert_eq!(fate("staying"), 0.0);
}

#[test]
fn reloads_are_counted() {
    let proxy = Proxy::before(&[&Backend::named("a")], "");
    let metrics = proxy.observer().metrics;
    let outcomes = |scrape: &Scrape| {
        ["success", "failure"]
            .map(|outcome| scrape.value("stickler_config_reloads_total", &[("outcome", outcome)]))
    };
    let last = |scrape: &Scrape| scrape.value("stickler_config_last_reload_successful", &[]);
    let scrape = proxy.scrape();
    assert_eq!((outcomes(&scrape), last(&scrape)), ([0.0, 0.0], 1.0));
    metrics.note_reload(true, Timestamp::from_millis(5_000));
    metrics.note_reload(false, Timestamp::from_millis(6_000));
    let scrape = proxy.scrape();
    assert_eq!((outcomes(&scrape), last(&scrape)), ([1.0, 1.0], 0.0));
    assert_eq!(scrape.value("stickler_config_loaded_timestamp_seconds", &[]), 5.0);
}

#[test]
fn the_process_says_how_it_is() {
    let proxy = Proxy::before(&[&Backend::named("a")], "");
    let scrape = proxy.scrape();
    // Counted in hundredths, of which there may be none yet.
    assert!(scrape.value("process_cpu_seconds_total", &[]) >= 0.0);
    for name in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
    ] {
        assert!(scrape.value(name, &[]) > 0.0, "{name}");
    }
    // It is told in hundredths of a second, and a proxy starts in less.
    wait_until("CPU time", || proxy.scrape().value("process_cpu_seconds_total", &[]) > 0.0);
}

/// A scrape in which every metric has a sample.
fn everything() -> Scrape {
    let [a, b] = apps();
    let settings = format!(
        "balance = \"round_robin\"\nattempts = 2\neject = {{ connect_failures = 1, duration = \"1h\" }}\n{COOKIE}unstick = {{ percent = 0.001 }}\n"
    );
    let text = pool(&[a.address.to_string(), b.address.to_string()], &settings);
    let text = text.replace("name = \"b0\"\n", "name = \"b0\"\nmax_connections = 100\n");
    let proxy = Proxy::with(&text);
    let mut visitor = Visitor::new(proxy.address());
    let home = visitor.visit();
    if home.starts_with("b0") {
        a.die()
    } else {
        b.die()
    }
    visitor.visit();
    let has_cost = |scrape: &Scrape| scrape.names().contains("stickler_cost_headroom_ratio");
    wait_until("the cost of stickiness is measured", || has_cost(&proxy.scrape()));
    let left = proxy.member(if home.starts_with("b0") { "b1" } else { "b0" });
    let now = stickler::clock::now();
    proxy.pool().drain(left.id(), DrainPolicy::default(), true, now).unwrap();
    let mut rude = Client::connect(proxy.address());
    rude.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    rude.reset();
    proxy.scrape_after(3)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Words that are names of metrics.
fn names_in(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    words.filter(|word| word.starts_with("stickler_") || word.starts_with("process_")).collect()
}

#[test]
fn the_docs_name_every_metric_and_no_other() {
    let scrape = everything();
    let names: BTreeSet<_> = scrape.names();
    // A histogram is documented by its own name.
    let base = |name: &str| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
        histogram.filter(|base| scrape.types.contains_key(*base)).unwrap_or(name).to_owned()
    };
    let expected: BTreeSet<_> = names.iter().map(|name| base(name)).collect();
    let docs = read("docs/metrics.md");
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: BTreeSet<_> =
        rows.filter(|name| !names_in(name).is_empty()).map(str::to_owned).collect();
    assert_eq!(documented, expected);
    for file in ["docs/grafana-dashboard.json", "docs/alerts.yml", "docs/metrics.md"] {
        let text = read(file);
        let used = names_in(&text);
        assert!(used.len() >= 8, "{file} names only {used:?}");
        let unknown: Vec<_> = used
            .into_iter()
            .filter(|name| !names.contains(name) && !scrape.types.contains_key(*name))
            .collect();
        assert!(unknown.is_empty(), "{file} names what is not there: {unknown:?}");
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("docs/grafana-dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 8);
}

#[test]
fn names_keep_the_rules() {
    let scrape = everything();
    for (name, kind) in &scrape.types {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(!name.contains("milli") && !name.contains("_ms"), "{name}: base units");
    }
    let known = [
        "arm", "backend", "cause", "code", "end", "fate", "le", "listener", "log", "of", "outcome",
        "pool", "problem", "quantile", "reason", "state", "verdict", "version", "window", "world",
    ];
    assert_eq!(scrape.labels().into_iter().collect::<Vec<_>>(), known, "bounded, all of them");
    assert!(!scrape.text.contains("# EOF"));
    let proxy = Proxy::before(&[&Backend::named("a")], "");
    let observer = proxy.observer();
    let text = observer.metrics.render(&[proxy.pool()], Format::OpenMetrics);
    assert!(text.ends_with("\n# EOF\n"));
}
