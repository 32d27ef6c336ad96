use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;
const MOMENT: u64 = 1_760_104_536 * SECOND;

fn key(text: &str) -> SessionKey {
    text.parse().unwrap()
}

/// The hash of a key that consists of this value.
fn hash(value: &'static str) -> Option<u64> {
    key("user").hash(|_| Some(value.into()))
}

fn parse(format: &str, line: &str, session: &str) -> Entry {
    let format: Format = format.parse().unwrap();
    format.parse(line.as_bytes(), &key(session)).unwrap_or_else(|why| panic!("{line}: {why}"))
}

const STICKLER: &str = r#"{"time":"2025-10-10T13:55:36.123Z","client":"192.0.2.7","method":"GET","host":"a","path":"/","protocol":"HTTP/1.1","user_agent":"curl","status":200,"bytes_in":0,"bytes_out":5,"pool":"shop","backend":"shop-1","cause":"bound","end":"complete","attempts":1,"session":"00c0ffee00c0ffee","request_id":"1","duration_us":3000,"body_us":0,"queue_us":900,"connect_us":100,"failed_us":0,"head_us":1500,"transfer_us":500}"#;
const CADDY: &str = r#"{"level":"info","ts":1760104536.25,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"10.1.1.1","client_ip":"192.0.2.7","headers":{"User-Agent":["curl/7.82.0"],"Cookie":["a=1; sid=abc"]}},"user_id":"ada","duration":0.25,"status":200}"#;
const HAPROXY: &str = r#"Feb  6 12:14:14 localhost haproxy[14389]: 192.0.2.7:33317 [10/Oct/2025:13:55:36.655] http-in static/srv1 10/0/30/69/109 200 2750 sid=abc - ---- 1/1/1/1/0 0/0 {example.com|ada} {} "GET /index.html HTTP/1.1""#;
const COMBINED_LINE: &str = r#"192.0.2.7 - ada [10/Oct/2025:13:55:36 +0000] "GET /a\"b HTTP/1.1" 200 2326 "http://x/\"y" "Mozilla/5.0 (X11)""#;
const COMMON_LINE: &str =
    r#"192.0.2.7 - ada [10/Oct/2025:13:55:36 +0000] "GET / HTTP/1.0" 200 2326"#;

#[test]
fn sticklers_own() {
    let entry = parse("stickler", STICKLER, "session");
    assert_eq!((entry.at, entry.grain), (MOMENT + 123 * MILLI, MILLI));
    assert_eq!(entry.took, Some(2 * MILLI), "without waiting and connecting");
    assert_eq!(entry.key, hash("00c0ffee00c0ffee"));
    assert_eq!(parse("stickler", STICKLER, "address").key, hash("192.0.2.7"));
    assert_eq!(parse("stickler", STICKLER, "cookie:sid").key, None);
}

#[test]
fn caddys() {
    let entry = parse("caddy", CADDY, "cookie:sid");
    assert_eq!((entry.at, entry.took), (MOMENT, Some(SECOND / 4)), "written at the end");
    assert_eq!(entry.key, hash("abc"));
    assert_eq!(parse("caddy", CADDY, "user").key, hash("ada"));
    assert_eq!(parse("caddy", CADDY, "address").key, hash("192.0.2.7"));
    assert_eq!(parse("caddy", CADDY, "header:user-agent").key, hash("curl/7.82.0"));
    let iso = CADDY.replace("1760104536.25", "\"2025-10-10T13:55:36.250Z\"");
    assert_eq!(parse("caddy", &iso, "user").at, MOMENT);
}

#[test]
fn haproxys() {
    let entry = parse("haproxy", HAPROXY, "cookie:sid");
    assert_eq!((entry.at, entry.took), (MOMENT + 655 * MILLI, Some(69 * MILLI)));
    assert_eq!(entry.key, hash("abc"));
    assert_eq!(parse("haproxy", HAPROXY, "header:2").key, hash("ada"));
    assert_eq!(parse("haproxy", HAPROXY, "address").key, hash("192.0.2.7"));
    let ipv6 = HAPROXY.replace("192.0.2.7:33317", "2001:db8::7:33317");
    assert_eq!(parse("haproxy", &ipv6, "address").key, hash("2001:db8::7"));
    let aborted = HAPROXY.replace("10/0/30/69/109 200", "10/0/30/-1/109 -1");
    assert_eq!(parse("haproxy", &aborted, "address").took, Some(109 * MILLI));
}

#[test]
fn combined_and_common() {
    let entry = parse("combined", COMBINED_LINE, "user");
    assert_eq!((entry.at, entry.grain, entry.took), (MOMENT, SECOND, None));
    assert_eq!(entry.key, hash("ada"));
    assert_eq!(parse("combined", COMBINED_LINE, "user-agent").key, hash("Mozilla/5.0 (X11)"));
    assert_eq!(parse("common", COMMON_LINE, "address").key, hash("192.0.2.7"));
    let nobody = COMBINED_LINE.replace("- ada", "- -");
    assert_eq!(parse("combined", &nobody, "user").key, None);
}

#[test]
fn a_given_log_format() {
    let format = "$msec|${remote_addr}|$cookie_sid|$request_time|$upstream_response_time";
    let line = "1760104536.500|192.0.2.7|abc|0.500|0.010, 0.125";
    let entry = parse(format, line, "cookie:sid");
    assert_eq!((entry.at, entry.took), (MOMENT, Some(125 * MILLI)));
    assert_eq!(entry.key, hash("abc"));
    let wrong = |text: &str| text.parse::<Format>().unwrap_err();
    assert!(wrong("$remote_addr $status").contains("$time_local"));
    assert!(wrong("$time_local$status").contains("ends"));
    assert!(wrong("combind").contains("combined"));
}

#[test]
fn formats_are_recognized() {
    for (line, name) in [
        (STICKLER, "stickler"),
        (CADDY, "caddy"),
        (HAPROXY, "haproxy"),
        (COMBINED_LINE, "combined"),
        (COMMON_LINE, "common"),
    ] {
        let lines = [line.into(), b"garbage".to_vec(), line.into()];
        assert_eq!(Format::detect(&lines).map(|format| format.as_str()), Some(name));
    }
    assert_eq!(Format::detect(&[b"garbage".to_vec()]), None);
    assert_eq!(Format::detect(&[]), None);
}

fn formats() -> Vec<Format> {
    let given = "$time_iso8601 [$remote_addr] \"$http_cookie\" $request_time";
    let names = Format::NAMES.into_iter().chain([given]);
    names.map(|name| name.parse().unwrap()).collect()
}

proptest! {
    /// Whatever a line is, and wherever it breaks off.
    #[test]
    fn no_line_panics(
        noise in proptest::collection::vec(any::<u8>(), 0..80),
        at in 0usize..400,
        cut in 0usize..400,
    ) {
        let key = key("session+user+address+user-agent+cookie:sid+header:1");
        for format in formats() {
            let _ = format.parse(&noise, &key);
            for line in [STICKLER, CADDY, HAPROXY, COMBINED_LINE, COMMON_LINE] {
                let mut mangled = line.as_bytes()[..cut.min(line.len())].to_vec();
                let at = at.min(mangled.len());
                mangled.splice(at..at, noise.iter().copied());
                let _ = format.parse(&mangled, &key);
            }
        }
    }

    /// What is written is read.
    #[test]
    fn generated_lines_are_read_as_they_were_meant(
        seconds in 1_000_000_000u64..4_000_000_000,
        millis in 0u64..1_000,
        took in 0u64..100_000,
        user in "[a-z0-9@.]{1,20}",
        agent in "[ -!#-\\[\\]-~]{1,40}",
        octets: [u8; 4],
    ) {
        let address = std::net::Ipv4Addr::from(octets).to_string();
        let moment = std::time::UNIX_EPOCH + std::time::Duration::from_millis(seconds * 1_000 + millis);
        let iso = humantime::format_rfc3339_millis(moment);
        let at = (seconds * 1_000 + millis) * MILLI;
        let quoted = serde_json::to_string(&agent).unwrap();
        let own = |value: &str| key("user").hash(|_| Some(value.to_owned().into()));
        // A blank at either end of a value, or nothing but a dash, is not a value.
        prop_assume!(agent.trim() == agent && agent != "-");

        let line = format!(r#"{{"time":"{iso}","client":"{address}","user_agent":{quoted},"duration_us":{took}}}"#);
        let entry = parse("stickler", &line, "user-agent");
        prop_assert_eq!((entry.at, entry.took, entry.key), (at, Some(took * 1_000), own(&agent)));

        let line = format!(r#"{{"ts":"{iso}","request":{{"client_ip":"{address}","headers":{{"User-Agent":[{quoted}]}}}},"user_id":"{user}"}}"#);
        let entry = parse("caddy", &line, "user");
        prop_assert_eq!((entry.at, entry.key), (at, own(&user)));
        prop_assert_eq!(parse("caddy", &line, "user-agent").key, own(&agent));

        let line = format!("{address} - {user} [{iso}] \"GET / HTTP/1.1\" 200 5 \"-\" \"{agent}\"");
        let format = "$remote_addr - $remote_user [$time_iso8601] \"$request\" $status $bytes_sent \"$http_referer\" \"$http_user_agent\"";
        prop_assume!(!agent.ends_with('\\'));
        let entry = parse(format, &line, "user-agent");
        prop_assert_eq!((entry.at, entry.key), (at, own(&agent)));
        prop_assert_eq!(parse(format, &line, "user").key, own(&user));
        prop_assert_eq!(parse(format, &line, "address").key, own(&address));
    }
}
