//! Who the client is: what backends are told, and whose claims are believed.

use crate::support::{Backend, Proxy, Request, get};

/// Makes the test's own connections those of a trusted proxy.
const TRUSTED: &str =
    "[[listeners]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]";

const CLAIMS: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Server: evil\r\n\
                      X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6;proto=https\r\n";

/// What a backend sees of a request with these lines.
fn seen(tables: &str, style: &str, lines: &str) -> Request {
    let backend = Backend::named("a");
    let settings = format!("forward = {{ style = \"{style}\" }}");
    let proxy = Proxy::configured(tables, &[&backend], &settings);
    assert_eq!(get(proxy.address(), "/", lines).status, 200);
    backend.last_request()
}

/// Every field that says who the client is, in the order of the alphabet.
fn claims(request: &Request) -> Vec<String> {
    let is_claim =
        |name: &str| name.starts_with("x-forwarded-") || name == "x-real-ip" || name == "forwarded";
    let fields = request.fields.iter().map(|(name, value)| (name.to_lowercase(), value));
    let mut claims: Vec<_> = fields
        .filter(|(name, _)| is_claim(name))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    claims.sort();
    claims
}

#[test]
fn a_strangers_claims_are_replaced_in_every_style() {
    let ours = ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"];
    assert_eq!(claims(&seen("", "x_forwarded", CLAIMS)), ours);
    let forwarded = "forwarded: for=127.0.0.1;proto=http;host=\"test\"";
    assert_eq!(claims(&seen("", "forwarded", CLAIMS)), [forwarded]);
    assert_eq!(claims(&seen("", "both", CLAIMS)), [forwarded, ours[0], ours[1]]);
    assert_eq!(claims(&seen("", "off", CLAIMS)), [""; 0]);
}

#[test]
fn a_trusted_proxys_claims_are_kept_and_go_on() {
    let lines = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\nX-Forwarded-Port: 443\r\n";
    assert_eq!(
        claims(&seen(TRUSTED, "x_forwarded", lines)),
        [
            "x-forwarded-for: 6.6.6.6, 192.0.2.1, 127.0.0.1",
            "x-forwarded-host: shop",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
        ]
    );
    let lines = "Forwarded: for=192.0.2.1;proto=https\r\n";
    let trusted = format!("{TRUSTED}\nforwarded = \"forwarded\"");
    let request = seen(&trusted, "forwarded", lines);
    let list = request.fields("forwarded").join(", ");
    assert!(list.starts_with("for=192.0.2.1;proto=https, for=127.0.0.1;"), "{list}");
}

/// Most proxies write the one and pass the other on as it came, from anybody.
#[test]
fn what_a_trusted_proxy_does_not_write_is_not_believed() {
    let lines = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
                 Forwarded: for=6.6.6.6;proto=https\r\n";
    let request = seen(TRUSTED, "x_forwarded", lines);
    let theirs = ["x-forwarded-for: 192.0.2.1, 127.0.0.1", "x-forwarded-proto: http"];
    assert_eq!(claims(&request), theirs);
    let list = "forwarded: for=192.0.2.1;proto=http, for=127.0.0.1;proto=http;host=\"test\"";
    assert_eq!(claims(&seen(TRUSTED, "both", lines)), [list, theirs[0], theirs[1]]);

    let trusted = format!("{TRUSTED}\nforwarded = \"forwarded\"");
    let lines = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\nX-Real-IP: 6.6.6.6\r\n\
                 Forwarded: for=192.0.2.1;proto=https\r\n";
    let request = seen(&trusted, "x_forwarded", lines);
    let kept = "forwarded: for=192.0.2.1;proto=https";
    let ours = ["x-forwarded-for: 192.0.2.1, 127.0.0.1", "x-forwarded-proto: https"];
    assert_eq!(claims(&request), [kept, ours[0], ours[1]]);
}

#[test]
fn a_trusted_proxy_without_claims_gets_ours() {
    let ours = ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"];
    assert_eq!(claims(&seen(TRUSTED, "x_forwarded", "")), ours);
}

#[test]
fn trust_is_for_the_range_only() {
    let elsewhere = TRUSTED.replace("127.0.0.0/8", "127.0.0.2/32");
    let ours = ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"];
    assert_eq!(claims(&seen(&elsewhere, "x_forwarded", CLAIMS)), ours);
}

#[test]
fn addresses_of_ipv6_clients_are_written_as_they_must_be() {
    let backend = Backend::named("a");
    let listener = "[[listeners]]\naddress = \"[::1]:0\"";
    let settings = "forward = { style = \"both\" }";
    let proxy = Proxy::configured(listener, &[&backend], settings);
    get(proxy.address(), "/", "");
    let request = backend.last_request();
    assert_eq!(request.field("x-forwarded-for"), Some("::1"));
    let forwarded = request.field("forwarded").unwrap();
    assert!(forwarded.starts_with("for=\"[::1]\";"), "{forwarded}");
}

#[test]
fn an_ipv4_client_of_an_ipv6_listener_has_an_ipv4_address() {
    let backend = Backend::named("a");
    let proxy = Proxy::configured("[[listeners]]\naddress = \"[::]:0\"", &[&backend], "");
    let address = ([127, 0, 0, 1], proxy.address().port()).into();
    assert_eq!(get(address, "/", "").status, 200);
    assert_eq!(backend.last_request().field("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn no_stranger_may_say_it_in_other_words() {
    let lines = "X_Forwarded_For: 6.6.6.6\r\nStickler_Affinity: bound\r\nX_Real_IP: 6.6.6.6\r\n\
                 X-Forwarded-Ssl: on\r\nX-Forwarded-Scheme: https\r\nX-Forwarded-Prefix: /\r\n\
                 True-Client-IP: 6.6.6.6\r\nX-Client-IP: 6.6.6.6\r\nX_User: me\r\nX_Request_Id: mine\r\n";
    let names = |tables: &str| -> Vec<String> {
        let request = seen(tables, "x_forwarded", lines);
        request.fields.into_iter().map(|(name, _)| name.to_lowercase()).collect()
    };
    let ours = ["host", "x-forwarded-for", "x-forwarded-proto", "via", "x-request-id"];
    assert_eq!(names(""), ours);
    let with = "[server]\nworkers = 1\nshutdown_timeout = \"100ms\"\nunderscores_in_headers = true";
    assert_eq!(names(with), [ours[0], "x_user", ours[1], ours[2], ours[3], ours[4]]);
}
