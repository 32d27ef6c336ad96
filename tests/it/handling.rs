//! What routes do to requests and answers on their way.

use std::process::Command;

use crate::support::http2;
use crate::support::{Backend, Client, Files, Proxy, Response, get};

/// A proxy whose pool has this one backend, and these routes.
fn proxy(routes: &str, backend: &Backend) -> Proxy {
    Proxy::configured(routes, &[backend], "")
}

const TRUSTED: &str =
    "[[listeners]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n";

/// A GET by a client of this address, as a trusted proxy says.
fn get_as(proxy: &Proxy, address: &str, target: &str, lines: &str) -> Response {
    get(proxy.address(), target, &format!("X-Forwarded-For: {address}\r\n{lines}"))
}

#[test]
fn clients_are_sent_elsewhere() {
    let backend = Backend::named("a");
    let routes = "[[routes]]\npath = \"/old\"\n\
                  redirect = { to = \"https://new.example/shop{rest}{query}\", status = 301 }\n\
                  [[routes]]\npath = \"/same\"\nredirect = \"{rest}\"\n\
                  [[routes]]\npath = \"/safe\"\nredirect = \"https\"\n\
                  [[routes]]\npool = \"pool\"\n";
    let proxy = proxy(routes, &backend);
    for (target, status, location) in [
        ("/old/a%20b?c=d", 301, "https://new.example/shop/a%20b?c=d"),
        ("/old", 301, "https://new.example/shop"),
        ("/same//evil.example/x", 302, "/evil.example/x"),
        ("/same/\\evil.example", 302, "/%5Cevil.example"),
        ("/safe/x?y", 308, "https://test/safe/x?y"),
    ] {
        let response = get(proxy.address(), target, "");
        assert_eq!((response.status, response.field("location")), (status, Some(location)));
    }
    assert_eq!(get(proxy.address(), "/else", "").status, 200);
    assert_eq!(backend.requests().len(), 1, "redirects bother nobody");
    let scrape = proxy.scrape_after(6);
    let problems = |problem| scrape.sum("stickler_problems_total", &[("problem", problem)]);
    assert_eq!((problems("redirect"), problems("redirect_to_https")), (4.0, 1.0));
}

#[test]
fn curl_follows_a_redirect_to_where_it_leads() {
    let backend = Backend::named("a");
    let routes = "[[routes]]\npath = \"/old\"\nredirect = { to = \"/new{rest}{query}\", status = 307 }\n\
                  [[routes]]\npool = \"pool\"\n";
    let proxy = proxy(routes, &backend);
    let url = format!("http://{}/old/x?y=z", proxy.address());
    let output = Command::new("curl").args(["-sSL", "-d", "body", &url]).output();
    let output = output.expect("curl (Debian: curl)");
    assert!(output.status.success(), "{output:?}");
    let request = backend.last_request();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/new/x?y=z"));
    assert_eq!(request.body, b"body");
}

#[test]
fn backends_see_another_path() {
    let backend = Backend::named("a");
    let routes = "[[routes]]\npath = \"/api\"\npool = \"pool\"\n\
                  rewrite = { strip_prefix = \"/api\", add_prefix = \"/v2\" }\n\
                  [[routes]]\npool = \"pool\"\n";
    let proxy = proxy(routes, &backend);
    for (target, seen) in [
        ("/api/users?q=/api", "/v2/users?q=/api"),
        ("/api", "/v2"),
        ("/api/%2e%2e/api/../api/x", "/v2/x"),
        ("/apis", "/apis"),
    ] {
        assert_eq!(get(proxy.address(), target, "").status, 200);
        let request = backend.last_request();
        assert_eq!(request.target, seen, "{target}");
        let prefix = (target != "/apis").then_some("/api");
        assert_eq!(request.field("x-forwarded-prefix"), prefix);
    }
}

#[test]
fn fields_change_both_ways_and_ours_stay_ours() {
    let backend = Backend::answering(|_| {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Powered-By: guess\r\nSet-Cookie: app=1\r\n\
         X-Frame: a\r\nLink: one\r\nCache-Control: public\r\n\r\nok"
            .into()
    });
    let routes = "[[routes]]\npool = \"pool\"\n[routes.request_headers]\n\
                  remove = [\"x-debug\"]\nset = { x-env = \"prod\" }\nadd = { x-note = \"ours\" }\n\
                  [routes.response_headers]\nremove = [\"x-powered-by\", \"set-cookie\"]\n\
                  set = { x-frame = \"b\", cache-control = \"max-age=1\" }\nadd = { link = \"two\" }\n";
    let settings = "[pools.pool.affinity]\nmode = \"cookie\"\n";
    let proxy = Proxy::configured(routes, &[&backend], settings);
    let lines = "X-Debug: 1\r\nx-DEBUG: 2\r\nX-Env: theirs\r\nX-Note: theirs\r\nX-Other: stays\r\n";
    let response = get(proxy.address(), "/", lines);
    let request = backend.last_request();
    assert!(request.fields("x-debug").is_empty());
    assert_eq!(request.field("x-env"), Some("prod"));
    assert_eq!(request.fields("x-note"), ["theirs", "ours"]);
    assert_eq!(request.field("x-other"), Some("stays"));
    assert_eq!(response.text(), "ok");
    assert_eq!(response.field("x-powered-by"), None);
    assert_eq!(response.field("x-frame"), Some("b"));
    assert_eq!(response.fields("link"), ["one", "two"]);
    // The app's cookie is gone. The proxy's is not, and a response with it is private.
    assert!(response.field("set-cookie").unwrap().starts_with("stickler="));
    assert_eq!(response.fields("cache-control"), ["max-age=1", "private"]);
}

#[test]
fn who_may_not_come_is_told_so() {
    let backend = Backend::named("a");
    let routes = format!(
        "{TRUSTED}[[routes]]\npath = \"/office\"\npool = \"pool\"\n\
         allow = [\"192.0.2.0/24\", \"2001:db8::/32\"]\ndeny = [\"192.0.2.128/25\"]\n\
         [[routes]]\npool = \"pool\"\ndeny = [\"198.51.100.7\"]\n"
    );
    let proxy = proxy(&routes, &backend);
    for (address, target, status) in [
        ("192.0.2.1", "/office", 200),
        ("192.0.2.200", "/office/x", 403),
        ("203.0.113.1", "/office", 403),
        ("2001:db8:1::5", "/office", 200),
        ("::ffff:192.0.2.1", "/office", 200),
        ("198.51.100.7", "/", 403),
        ("198.51.100.8", "/", 200),
        ("203.0.113.1", "/public/../office", 403),
    ] {
        let response = get_as(&proxy, address, target, "");
        assert_eq!(response.status, status, "{address} {target}");
    }
    let scrape = proxy.scrape_after(8);
    assert_eq!(scrape.sum("stickler_problems_total", &[("problem", "forbidden")]), 4.0);
}

/// A client cannot claim to be somebody else, and a PROXY protocol header says who it is.
#[test]
fn the_address_is_that_of_the_client_itself() {
    let backend = Backend::named("a");
    let routes = "[[routes]]\npool = \"pool\"\nallow = [\"192.0.2.0/24\"]\n";
    assert_eq!(get_as(&proxy(routes, &backend), "192.0.2.1", "/", "").status, 403);
    let listener = "[[listeners]]\naddress = \"127.0.0.1:0\"\n\
                    proxy_protocol = { from = [\"127.0.0.0/8\"] }\n";
    let proxy = proxy(&format!("{listener}{routes}"), &backend);
    for (source, status) in [("192.0.2.1", 200), ("198.51.100.1", 403)] {
        let mut client = Client::connect(proxy.address());
        client.send(format!("PROXY TCP4 {source} 192.0.2.9 1 2\r\n"));
        assert_eq!(client.get("/", "").status, status, "{source}");
    }
}

#[test]
fn who_asks_too_often_waits() {
    let backend = Backend::named("a");
    let routes =
        |limit: &str| format!("{TRUSTED}[[routes]]\npool = \"pool\"\nrate_limit = {{ {limit} }}\n");
    let proxy = proxy(&routes("requests = 1, per = \"1h\", burst = 3"), &backend);
    let status = |address: &str| get_as(&proxy, address, "/", "").status;
    for _ in 0..3 {
        assert_eq!(status("192.0.2.1"), 200);
    }
    let refused = get_as(&proxy, "192.0.2.1", "/", "");
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
    assert_eq!(status("192.0.2.2"), 200, "another client is not to blame");
    // One IPv6 network is one client.
    for host in 0..3 {
        assert_eq!(status(&format!("2001:db8::{host}")), 200);
    }
    assert_eq!((status("2001:db8::77"), status("2001:db8:0:1::1")), (429, 200));
    assert_eq!(backend.requests().len(), 8);
    let scrape = proxy.scrape_after(10);
    assert_eq!(scrape.sum("stickler_problems_total", &[("problem", "rate_limited")]), 2.0);
}

#[test]
fn a_limit_by_key_counts_who_has_none_by_address() {
    let backend = Backend::named("a");
    let limit = "requests = 1, per = \"1h\", key = { header = \"x-api-key\" }";
    let routes = format!("[[routes]]\npool = \"pool\"\nrate_limit = {{ {limit} }}\n");
    let proxy = proxy(&routes, &backend);
    let status = |lines: &str| get(proxy.address(), "/", lines).status;
    assert_eq!((status("X-Api-Key: a\r\n"), status("X-Api-Key: a\r\n")), (200, 429));
    assert_eq!((status("X-Api-Key: b\r\n"), status("")), (200, 200));
    assert_eq!((status(""), status("X-Api-Key: \r\n")), (429, 429));
}

#[test]
fn a_reload_forgives_nobody_and_changes_what_it_says() {
    let backend = Backend::named("a");
    let pool = crate::support::pool(&[backend.address.to_string()], "");
    let config = |limit: &str, header: &str| {
        format!(
            "[[routes]]\nhost = [\"test\", \"other\"]\npool = \"pool\"\n\
             rate_limit = {{ {limit} }}\nresponse_headers = {{ set = {{ x-version = \"{header}\" }} }}\n{pool}"
        )
    };
    let proxy = Proxy::with(&config("requests = 1, per = \"1h\"", "1"));
    let ask = || get(proxy.address(), "/", "");
    let first = ask();
    assert_eq!((first.status, first.field("x-version")), (200, Some("1")));
    proxy.reload(&config("requests = 1, per = \"1h\"", "2")).unwrap();
    let second = ask();
    assert_eq!((second.status, second.field("x-version")), (429, Some("2")), "also on our answers");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(client.response().status, 429, "the hosts of a route share its limit");
    proxy.reload(&config("requests = 2, per = \"1h\"", "3")).unwrap();
    assert_eq!(ask().status, 200, "another limit begins anew");
    assert!(proxy.reload(&config("requests = 0", "4")).is_err());
    assert_eq!(ask().field("x-version"), Some("3"));
}

#[test]
fn errors_have_pages_of_ones_own() {
    let files = Files::with("");
    for (name, text) in [
        ("sorry.html", "<p>Sorry"),
        ("sorry.json", "{}\n"),
        ("gone.txt", "gone"),
        ("e.html", "any"),
        ("refused.html", "refused"),
        ("refused.json", "{\"refused\":true}"),
    ] {
        files.write(name, text);
    }
    files.configure(
        "[server]\nworkers = 1\nstate_dir = \"state\"\n\
         [server.timeouts]\nrequest_header = \"300ms\"\n\
         [server.error_pages]\n400-431 = [\"refused.html\", \"refused.json\"]\n502 = [\"sorry.html\", \"sorry.json\"]\n404 = \"gone.txt\"\n\
         [[routes]]\npath = \"/a\"\npool = \"app\"\n\
         [[routes]]\npath = \"/b\"\npool = \"app\"\nerror_pages = { 500-599 = \"e.html\" }\n\
         [[pools.app.backends]]\nname = \"a\"\naddress = \"127.0.0.1:9\"\n",
    );
    let (_process, address) = files.run();
    let page = |target: &str, accept: &str| {
        let response = get(address, target, &format!("Accept: {accept}\r\n"));
        assert!(response.field("x-request-id").is_some(), "it is found in the log all the same");
        let media = response.field("content-type").unwrap_or_default().to_owned();
        (response.status, media, response.text())
    };
    let html = "text/html; charset=utf-8".to_owned();
    let (status, media, text) = page("/nowhere", "*/*");
    assert_eq!((status, media.as_str(), text.as_str()), (404, "text/plain; charset=utf-8", "gone"));
    let (status, _, text) = page("/nowhere", "application/json");
    assert_eq!(status, 404);
    assert!(text.contains("nothing is served"), "no page for programs: the built-in one");
    assert_eq!(page("/b", "text/html"), (502, html.clone(), "any".into()));
    assert_eq!(page("/a", "*/*"), (502, html, "<p>Sorry".into()));
    assert_eq!(page("/a", "application/json"), (502, "application/json".into(), "{}\n".into()));
    // What is refused before it belongs to a route has those of all routes.
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nno field\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "a".repeat(100_000)), 431),
        ("GET / HTTP/1.1\r\nHost: a\r\n".to_owned(), 408), // and nothing more
    ] {
        let mut client = Client::connect(address);
        client.send(head);
        let response = client.try_response(false).unwrap();
        assert_eq!((response.status, response.text().as_str()), (status, "refused"));
        assert_eq!(response.field("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(response.field("connection"), Some("close"));
        assert!(response.field("x-request-id").is_some());
    }
}

#[test]
fn hsts_is_said_where_it_may_be() {
    let backend = Backend::answering(|request| {
        let own =
            if request.target == "/own" { "Strict-Transport-Security: max-age=5\r\n" } else { "" };
        format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{own}\r\n")
    });
    let routes = format!(
        "{TRUSTED}[[routes]]\nhost = \"test\"\npool = \"pool\"\nhsts = {{ max_age = \"60s\" }}\ndeny = [\"192.0.2.66\"]\n"
    );
    let proxy = proxy(&routes, &backend);
    let said = |address: &str, target: &str, scheme: &str| {
        let lines = format!("X-Forwarded-Proto: {scheme}\r\n");
        let response = get_as(&proxy, address, target, &lines);
        response.field("strict-transport-security").map(str::to_owned)
    };
    assert_eq!(said("192.0.2.1", "/", "http"), None);
    assert_eq!(said("192.0.2.1", "/", "https").as_deref(), Some("max-age=60"));
    assert_eq!(said("192.0.2.1", "/own", "https").as_deref(), Some("max-age=5"));
    assert_eq!(said("192.0.2.66", "/", "https").as_deref(), Some("max-age=60"), "403, too");
}

#[test]
fn http2_clients_are_treated_alike() {
    let backend = Backend::named("a");
    let routes = "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n\
                  [[routes]]\npath = \"/old\"\nredirect = \"https://{host}/new\"\n\
                  [[routes]]\npath = \"/api\"\npool = \"pool\"\nrewrite = { strip_prefix = \"/api\" }\n\
                  response_headers = { set = { x-a = \"b\" } }\n\
                  [routes.request_headers]\nset = { x-env = \"prod\" }\nremove = [\"x-debug\"]\n";
    let proxy = proxy(routes, &backend);
    http2::run(async {
        let mut sender = http2::connect(proxy.address()).await;
        let request = http2::get("/old").body(http2::whole("")).unwrap();
        let moved = http2::ask(&mut sender, request).await;
        assert_eq!(
            (moved.status().as_u16(), &moved.headers()["location"]),
            (302, &"https://shop.test/new".parse().unwrap())
        );
        let request = http2::get("/api/x").header("x-debug", "1").body(http2::whole("")).unwrap();
        let answer = http2::ask(&mut sender, request).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-a"]),
            (200, &"b".parse().unwrap())
        );
    });
    let request = backend.last_request();
    assert_eq!((request.target.as_str(), request.field("x-env")), ("/x", Some("prod")));
    assert_eq!(request.field("x-debug"), None);
}
