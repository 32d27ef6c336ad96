//! Who may use the admin address, and what they cannot do with it.

use std::path::Path;

use stickler::config::Config;

use crate::support::{Backend, Client, Files, ON, Proxy, pool, wait_until};

fn proxy() -> (Backend, Proxy) {
    let backend = Backend::named("b0");
    let proxy = Proxy::configured(ON, &[&backend], "");
    (backend, proxy)
}

#[test]
fn a_name_that_is_not_ours_is_refused_whatever_is_asked() {
    let (_backend, proxy) = proxy();
    let admin = proxy.admin();
    for target in ["/", "/v1/pools", "/healthz", "/nothing"] {
        for host in ["evil.example", "evil.example:9900", "10.0.0.1"] {
            let mut client = Client::connect(admin.address);
            client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let response = client.response();
            assert_eq!(response.status, 403, "{host} {target}");
            assert_eq!(response.field("content-type"), Some("application/problem+json"));
            assert!(response.text().contains("allowed_hosts"), "{}", response.text());
        }
    }
    let mut client = Client::connect(admin.address);
    let response = client.send("GET /v1/pools HTTP/1.1\r\nHost: localhost:1\r\n\r\n").response();
    assert_eq!(response.status, 200);
}

#[test]
fn a_name_that_is_allowed_is_answered() {
    let backend = Backend::named("b0");
    let hosts = format!("{ON}allowed_hosts = [\"*.ops.example\"]\n");
    let proxy = Proxy::configured(&hosts, &[&backend], "");
    for (host, status) in [("a.ops.example:9900", 200), ("ops.example", 403)] {
        let mut client = Client::connect(proxy.admin().address);
        client.send(format!("GET /v1/pools HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().status, status, "{host}");
    }
}

#[test]
fn pages_of_others_cannot_act() {
    let (_backend, proxy) = proxy();
    let admin = proxy.admin();
    let drain = |lines: &str| {
        admin.send("POST", "/v1/pools/pool/backends/b0/drain", lines, r#"{"force": true}"#)
    };
    assert_eq!(
        drain("Origin: http://evil.example\r\nContent-Type: application/json\r\n").status,
        403
    );
    assert_eq!(drain("Sec-Fetch-Site: cross-site\r\nContent-Type: text/plain\r\n").status, 403);
    assert_eq!(drain("Content-Type: text/plain\r\n").status, 415, "what a form can send");
    assert_eq!(admin.backend("b0")["state"], "ready");
    let own = format!("Origin: {}\r\nContent-Type: application/json\r\n", admin.url());
    assert_eq!(drain(&own).status, 200);
    wait_until("it has drained", || admin.backend("b0")["state"] == "drained");
}

#[test]
fn a_token_is_demanded_for_all_but_the_page_and_the_health() {
    let backend = Backend::named("b0");
    let files = Files::with("");
    let token = files.write("token", "0123456789abcdef\n");
    let token_file = format!("{ON}token_file = \"{token}\"\n");
    let proxy = Proxy::configured(&token_file, &[&backend], "");
    let admin = proxy.admin();
    for target in ["/", "/healthz", "/readyz"] {
        assert_eq!(admin.send("GET", target, "", "").status, 200, "{target}");
    }
    for target in ["/v1/pools", "/metrics", "/openapi.json", "/v1/events", "/nothing"] {
        for lines in [
            "",
            "Authorization: Bearer 0123456789abcdeF\r\n",
            "Authorization: Bearer 0123456789abcde\r\n",
            "Authorization: Basic 0123456789abcdef\r\n",
            "Authorization: 0123456789abcdef\r\n",
        ] {
            let response = admin.send("GET", target, lines, "");
            assert_eq!(response.status, 401, "{target} {lines}");
            assert!(response.field("www-authenticate").unwrap().starts_with("Bearer"));
        }
    }
    assert_eq!(admin.send("POST", "/v1/pools/pool/backends/b0/ready", "", "").status, 401);
    let known = admin.with_token("0123456789abcdef");
    assert_eq!(known.get("/v1/pools")["pools"][0]["name"], "pool");
    assert_eq!(known.send("GET", "/nothing", "", "").status, 404);
    let readiness = admin.get("/readyz").to_string();
    assert!(!readiness.contains("\"pool\""), "names are for who knows the token: {readiness}");
}

#[test]
fn other_machines_need_a_token_or_the_configuration_is_wrong() {
    let load = |table: &str| {
        let text = format!(
            "[admin]\n{table}\n[[listeners]]\naddress = \"127.0.0.1:8080\"\n{}",
            pool(&["127.0.0.1:1".into()], "")
        );
        Config::parse("a.toml", &text, Path::new("/nonexistent"), &|_| None)
    };
    for open in ["address = \"0.0.0.0:9900\"", "address = \":9900\"", "address = \"10.0.0.1:9900\""]
    {
        let error = load(open).unwrap_err().to_string();
        assert!(error.contains("token_file"), "{error}");
    }
    for closed in ["address = \"127.0.0.1:9900\"", "address = \"[::1]:9900\"", "address = \"off\""]
    {
        assert!(load(closed).is_ok(), "{closed}");
    }
    let files = Files::with("");
    for bad in ["0123456789abcde", "0123456789 abcdef", "\n"] {
        let token = files.write("token", bad);
        let error = load(&format!("address = \":9900\"\ntoken_file = \"{token}\"")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("token_file") && !error.contains("0123456"), "{error}");
    }
    assert!(load("address = \":9900\"\ntoken_file = \"/nonexistent/token\"").is_err());
}

#[test]
fn two_proxies_start_on_one_machine_and_the_second_says_what_to_set() {
    // Somebody has the default, whoever it is.
    let _taken = std::net::TcpListener::bind("127.0.0.1:9900");
    let files = Files::with(&format!("[admin]\n{}", pool(&["127.0.0.1:1".into()], "")));
    let (process, _) = files.run();
    let log = process.stderr();
    assert!(log.contains("127.0.0.1:9900") && log.contains("admin.address"), "{log}");
}

#[test]
fn an_address_that_was_asked_for_must_be_had() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let table = format!("[admin]\naddress = \"{}\"\n", taken.local_addr().unwrap());
    let files = Files::with(&(table + &pool(&["127.0.0.1:1".into()], "")));
    let ended = files.start().end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("cannot listen on"), "{ended:?}");
}

#[test]
fn every_answer_is_kept_out_of_caches_and_frames() {
    let (_backend, proxy) = proxy();
    for target in ["/", "/v1/pools", "/nothing"] {
        let response = proxy.admin().send("GET", target, "", "");
        assert_eq!(response.field("cache-control"), Some("no-store"), "{target}");
        assert_eq!(response.field("x-content-type-options"), Some("nosniff"));
        assert_eq!(response.field("x-frame-options"), Some("DENY"));
        assert_eq!(response.field("access-control-allow-origin"), None);
    }
    let page = proxy.admin().send("GET", "/", "", "");
    let policy = page.field("content-security-policy").unwrap();
    let nonce = policy.split_once("script-src 'nonce-").unwrap().1.split_once('\'').unwrap().0;
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let html = page.text();
    assert_eq!(html.matches(&format!("nonce=\"{nonce}\"")).count(), 2, "style and script");
    assert!(!html.contains("@NONCE@") && !html.contains("@SCRIPT@") && !html.contains("@STYLE@"));
    let again = proxy.admin().send("GET", "/", "", "").text();
    assert!(!again.contains(nonce), "it is used once");
}

#[test]
fn what_is_too_large_or_too_much_is_refused() {
    let (_backend, proxy) = proxy();
    let admin = proxy.admin();
    let large = format!("{{\"deadline\": \"{}\"}}", " ".repeat(100_000));
    let (status, problem) = admin.order("POST", "/v1/pools/pool/backends/b0/drain", &large);
    assert_eq!((status, &problem["status"]), (413, &413.into()));
    let field = format!("X-Large: {}\r\n", "x".repeat(100_000));
    let mut client = Client::connect(admin.address);
    client.send(format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{field}\r\n"));
    assert!(client.try_response(false).is_none_or(|response| response.status == 431));
    let streams: Vec<_> = (0..32)
        .map(|_| {
            let mut client = Client::connect(admin.address);
            client.send("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert!(client.head().contains(" 200 "));
            client
        })
        .collect();
    let response = admin.send("GET", "/v1/events", "", "");
    assert_eq!((response.status, response.field("retry-after")), (503, Some("1")));
    drop(streams);
    wait_until("there is room again", || {
        let mut client = Client::connect(admin.address);
        client.send("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.head().contains(" 200 ")
    });
}
