//! Every kind of mistake, and what comes out when there is none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::balance::affinity::{AffinitySpec, Mode};
use crate::routing::Rule;

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const LISTENER: &str = "[[listeners]]\naddress = ':8080'\n";
const POOL: &str = "[[pools.app.backends]]\nname = 'a'\naddress = '10.0.0.1:80'\n";

fn environment(name: &str) -> Option<String> {
    match name {
        "KEY" => Some(KEY.into()),
        "SECRET" => Some("OpenSesame".into()),
        "PORT" => Some("8081".into()),
        "HOME" => Some("/home/op".into()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Loaded, ConfigError> {
    Config::parse("stickler.toml", text, Path::new("/etc/stickler"), &environment)
}

/// The configuration of a text that needs a listener and a pool to be complete.
fn config(text: &str) -> Config {
    match parse(&format!("{text}\n{LISTENER}{POOL}")) {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("{error}"),
    }
}

/// The mistakes of a text, each with its line and column.
fn mistakes(text: &str) -> Vec<String> {
    let shown = |mistake: &Mistake| match mistake.position() {
        Some((line, column)) => format!("{line}:{column} {}", mistake.title()),
        None => mistake.title().to_owned(),
    };
    parse(text).unwrap_err().mistakes().iter().map(shown).collect()
}

/// The mistakes of a text that needs a listener and a pool to be complete.
fn mistakes_in(text: &str) -> Vec<String> {
    mistakes(&format!("{text}\n{LISTENER}{POOL}"))
}

#[test]
fn defaults_are_those_that_are_documented() {
    let config = config("");
    assert_eq!(config.server.shutdown_timeout, Duration::from_secs(30));
    assert_eq!(config.server.state_dir, PathBuf::from("/home/op/.local/state/stickler"));
    assert_eq!(config.server.limits.header_bytes, 32 * 1024);
    assert_eq!(config.server.limits.body_bytes, u64::MAX);
    assert_eq!(config.listeners[0].address.to_string(), "0.0.0.0:8080");
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.routes[0].action, Action::Pool(0));
    assert!(config.routes[0].handling.is_none());
    assert_eq!(config.routes[0].rule, Rule::default());
    assert_eq!(config.pools[0].spec.affinity, AffinitySpec::default());
    assert!(config.pools[0].spec.ejection.is_some());
    assert!(config.pools[0].health.is_none());
}

#[test]
fn pools_keep_the_order_of_the_file_and_hosts_become_routes() {
    let text = "[[routes]]\nhost = ['a.com', '*.a.com']\npool = 'z'\n[[routes]]\npool = 'a'\n\
                [[pools.z.backends]]\nname = 'x'\naddress = 'x:1'\n\
                [[pools.a.backends]]\nname = 'x'\naddress = 'x:1'\n";
    let config = parse(&format!("{LISTENER}{text}")).unwrap().config;
    let names: Vec<_> = config.pools.iter().map(|pool| pool.spec.name.as_str()).collect();
    assert_eq!(names, ["z", "a"]);
    let actions: Vec<_> = config.routes.iter().map(|route| route.action.clone()).collect();
    assert_eq!(actions, [0, 0, 1].map(Action::Pool));
}

#[test]
fn the_state_directory_comes_from_the_environment() {
    let state_dir = |variables: &'static [(&str, &str)]| {
        let environment = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let text = format!("{LISTENER}{POOL}");
        let loaded = Config::parse("x", &text, Path::new(""), &environment).unwrap();
        loaded.config.server.state_dir.display().to_string()
    };
    assert_eq!(state_dir(&[("STATE_DIRECTORY", "/a:/b"), ("HOME", "/h")]), "/a");
    assert_eq!(state_dir(&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")]), "/x/stickler");
    assert_eq!(state_dir(&[("XDG_STATE_HOME", "relative"), ("HOME", "")]), "/var/lib/stickler");
    assert_eq!(
        config("server.state_dir = 'state'").server.state_dir,
        Path::new("/etc/stickler/state")
    );
}

#[test]
fn structural_mistakes() {
    for (text, expected) in [
        ("server.workrs = 1", "1:8 server: unknown key `workrs`"),
        ("nonsense = 1", "1:1 unknown key `nonsense`"),
        ("server = 1", "1:10 server cannot be an integer"),
        ("server.workers = 0", "1:18 server.workers is out of range"),
        ("server.workers = true", "1:18 server.workers cannot be true or false"),
        ("server.workers = 'many'", "1:18 server.workers: unknown value \"many\""),
        ("server.state_dir = 1979-05-27", "1:20 server.state_dir cannot be a date"),
        ("server.timeouts.idle = 30", "1:24 server.timeouts.idle cannot be an integer"),
        ("pools.app.attempts = 1.5", "1:22 pools.app.attempts cannot be a decimal number"),
        ("server.log.format = 'jsn'", "1:21 server.log.format: unknown value \"jsn\""),
        ("pools.'a b' = {}", "1:7 pools.a b: ' ' cannot be part of a name"),
        ("[[routes]]\nhost = 'a.com'", "1:1 routes: neither pool nor redirect"),
        ("server.limits.min_rate = 'x'", "1:26 server.limits.min_rate: \"x\" is not a size"),
        (
            "server.limits.header_count = 99999999999999999999",
            "1:30 server.limits.header_count is out of range",
        ),
    ] {
        assert_eq!(mistakes_in(text), [expected], "{text}");
    }
}

#[test]
fn contradictions() {
    for (text, expected) in [
        ("server.timeouts.idle = '0s'", "1:24 server.timeouts.idle cannot be zero"),
        ("server.limits.header_bytes = 1", "1:30 server.limits.header_bytes is out of range"),
        ("server.limits.uri_length = '1MiB'", "1:28 server.limits.uri_length is out of range"),
        (
            "server.limits.uri_length = '64KiB'",
            "1:28 server.limits.uri_length is larger than header_bytes",
        ),
        ("token.keys = []", "1:14 token.keys is empty"),
        ("[[routes]]\npool = 'ap'", "2:8 there is no pool 'ap'"),
        ("[[routes]]\nhost = []\npool = 'app'", "2:8 routes.host is empty"),
        (
            "[[routes]]\npool = 'app'\npath = '/'\npath_exact = '/'",
            "4:1 routes.path and routes.path_exact exclude each other",
        ),
        (
            "[[routes]]\npool = 'app'\n[[routes]]\npool = 'app'\npath = '/'",
            "3:1 two routes match the same requests",
        ),
        ("[[listeners]]\naddress = ':8080'", "4:11 two listeners on one address"),
        ("[pools.app.health]\nbody = 'ok'", "2:1 pools.app.health.body has no effect"),
        ("[pools.app.health]\npath = '/'\nexpect = []", "3:10 pools.app.health.expect is empty"),
        (
            "[pools.app.health]\nfast_interval = '3s'",
            "2:17 pools.app.health: fast_interval is longer than interval",
        ),
        ("pools.x = {}", "1:11 pools.x: no backends"),
        (
            "[pools.x]\nbackends = [{ name = 'a', address = 'a:1', weight = 0 }]",
            "2:12 pools.x: every backend has weight 0",
        ),
        (
            "[pools.x]\nbackends = [{ name = 'a', address = 'a:1' }, { name = 'a', address = 'b:1' }]",
            "2:55 two backends are named 'a'",
        ),
        (
            "[pools.x]\nbackends = [{ name = 'a', address = 'localhost:8080' }]",
            "2:37 pools.x.backends.address is a listener of this proxy",
        ),
    ] {
        let found = mistakes_in(text);
        assert!(found.iter().any(|found| found == expected), "{text}: {found:?}");
    }
}

#[test]
fn affinity_contradictions() {
    for (text, expected) in [
        ("cookie = {}", "cookie has no effect"),
        ("mode = 'hash'\nkey = 'path'\ncookie = {}", "cookie has no effect"),
        ("mode = 'cookie'\nkey = 'path'", "key has no effect"),
        ("algorithm = 'rendezvous'", "algorithm has no effect"),
        ("mode = 'hash'", "mode \"hash\" needs a key"),
        ("mode = 'hash'\nkey = {}", "key is not one field of the request"),
        ("mode = 'hash'\nkey = { header = 'a', query = 'b' }", "key is not one field"),
        (
            "mode = 'cookie'\nabsolute_timeout = '1m'",
            "idle_timeout is longer than absolute_timeout",
        ),
        ("mode = 'cookie'\nidle_timeout = '0s'", "idle_timeout cannot be zero"),
        ("idle_timeout = '1m'", "idle_timeout has no effect"),
        ("absolute_timeout = '1d'", "absolute_timeout has no effect"),
        ("when_unavailable = 'reject'", "when_unavailable has no effect"),
        ("max_sessions = 1", "max_sessions has no effect"),
        ("mode = 'hash'\nkey = 'path'\nabsolute_timeout = '1d'", "absolute_timeout has no effect"),
        ("mode = 'cookie'\ncookie = { same_site = 'none' }", "SameSite=None"),
        ("mode = 'cookie'\ncookie = { name = '__Host-x' }", "this name"),
        ("mode = 'cookie'\ncookie = { partitioned = true }", "Partitioned"),
        ("mode = 'cookie'\ncookie = { max_age = '900ms' }", "max_age is too short"),
        ("mode = 'cookie'\ncookie = { same_site = 'none', secure = false }", "SameSite=None"),
        ("mode = 'cookie'\ncookie = { partitioned = true, secure = false }", "Partitioned"),
        ("mode = 'cookie'\ncookie = { name = '__Secure-x', secure = false }", "this name"),
        (
            "mode = 'cookie'\ncookie = { name = '__Host-x', path = '/x', secure = true }",
            "__Host- cookie",
        ),
        ("mode = 'cookie'\ncookie = { max_age = '0s' }", "max_age cannot be zero"),
    ] {
        let found = mistakes_in(&format!("[pools.app.affinity]\n{text}"));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(expected), "{text}: {found:?}");
    }
}

#[test]
fn discovery_contradictions() {
    for (text, expected) in [
        ("", "needs one of dns, srv and file"),
        ("dns = 'a.b:1'\nfile = 'x'", "needs one of dns, srv and file"),
        ("dns = '10.0.0.1:80'", "discover.dns is not a host name"),
        ("file = 'x'\nmax_interval = '1s'", "max_interval has no effect"),
        ("srv = 'a.b'\nnameserver = 'dns:53'", "nameserver is not an IP address"),
        ("srv = 'a.b'\nmin_interval = '2m'", "min_interval is longer than max_interval"),
        ("srv = 'a.b'\nmin_interval = '0s'", "min_interval cannot be zero"),
    ] {
        let found = mistakes_in(&format!("[[pools.app.discover]]\n{text}"));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(expected), "{text}: {found:?}");
    }
    let found = "[[pools.app.discover]]\ndns = 'shop.internal:3000'\n";
    assert!(parse(&format!("{LISTENER}{found}")).is_ok(), "no backends are needed");
}

#[test]
fn behind_a_proxy_that_ends_tls_cookies_are_secure_where_they_must_be() {
    let listener = "[[listeners]]\naddress = ':80'\ntrusted_proxies = ['10.0.0.0/8']\n";
    let cookie = "affinity = { mode = 'cookie', cookie = { same_site = 'none' } }\n";
    assert!(parse(&format!("{listener}[pools.app]\n{cookie}{POOL}")).is_ok());
    assert!(parse(&format!("{LISTENER}[pools.app]\n{cookie}{POOL}")).is_err());
}

#[test]
fn a_mistake_hides_no_other_that_has_nothing_to_do_with_it() {
    for (text, expected) in [
        (
            "[server.limits]\nmin_rate = '-1'\nheader_count = 1\nheader_bytes = '1GiB'\n\
             uri_length = '64KiB'",
            &["min_rate", "header_count", "header_bytes is out", "uri_length is out"][..],
        ),
        (
            "[pools.app.affinity]\nmode = 'cokie'\nidle_timeout = '13h'\nabsolute_timeout = '1h'",
            &["mode", "idle_timeout is longer"],
        ),
        (
            "[pools.app.affinity]\nmode = 'cookie'\n\
             cookie = { name = 'a b', same_site = 'none', secure = false }",
            &["name", "SameSite=None"],
        ),
        (
            "[pools.app.health]\nrise = 0\nfast_interval = '1h'\nbody = 'ok'",
            &["rise", "fast_interval is longer", "body has no effect"],
        ),
        ("[token]\nkeys = ['x']\nkeys_file = 'y'", &["keys", "exclude each other"]),
        ("[token]\nkees = ['x']\nkeys_file = '/no/such'", &["unknown key", "cannot be read"]),
        (
            "[[routes]]\npool = 'x'\n[pools.x]\n\
             backends = [{ name = 'a', address = 'x' }, { name = 'a', address = 'y' }]",
            &["address", "two backends are named 'a'", "address"],
        ),
    ] {
        let found = mistakes_in(text);
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, part) in found.iter().zip(expected) {
            assert!(found.contains(part), "{part}: {found}");
        }
    }
}

#[test]
fn and_says_nothing_that_may_only_follow_from_it() {
    for text in [
        "[pools.app.health]\ninterval = '1x'\nfast_interval = '3s'",
        "[pools.app.health]\npaht = '/'\nbody = 'ok'",
        "[pools.app.affinity]\nmode = 'hahs'\nkey = 'path'\nidle_timeout = '13h'",
        "[pools.app.affinity]\nmode = 'hash'\nkeey = 'path'",
        "[server.limits]\nheader_bytes = 'x'\nuri_length = '48KiB'",
    ] {
        let found = mistakes_in(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
}

/// Two pools with cookie affinity, each behind a route of this host, with these cookies.
fn two_cookies(hosts: [&str; 2], cookies: [&str; 2]) -> Result<Loaded, ConfigError> {
    let part = |name: &str, host: &str, cookie: &str| {
        format!(
            "[[routes]]\nhost = '{host}'\npath = '/{name}'\npool = '{name}'\n\
             [pools.{name}]\naffinity = {{ mode = 'cookie', cookie = {{ {cookie} }} }}\n\
             backends = [{{ name = 'a', address = 'a:1' }}]\n"
        )
    };
    let parts = [part("x", hosts[0], cookies[0]), part("y", hosts[1], cookies[1])].concat();
    parse(&format!("{LISTENER}{parts}"))
}

#[test]
fn two_pools_on_a_host_need_two_cookies() {
    let same = two_cookies(["a.com", "*"], ["", ""]).unwrap_err();
    assert_eq!(same.mistakes()[0].title(), "pools `x` and `y` share an affinity cookie and a host");
    let domain = "domain = 'a.com'";
    assert!(two_cookies(["a.com", "b.a.com"], [domain, ""]).is_err());
    for (hosts, cookies) in [
        (["a.com", "a.com"], ["name = 'x'", "name = 'y'"]),
        (["a.com", "a.com"], ["path = '/x'", "path = '/y'"]),
        (["a.com", "b.com"], ["", ""]),
    ] {
        assert!(two_cookies(hosts, cookies).is_ok(), "{hosts:?} {cookies:?}");
    }
}

#[test]
fn a_cookie_belongs_to_the_domain_of_its_host() {
    assert!(two_cookies(["x.a.com", "b.com"], ["domain = 'a.com'", ""]).is_ok());
    let foreign = two_cookies(["a.org", "b.com"], ["domain = 'a.com'", ""]).unwrap_err();
    assert!(foreign.to_string().contains("not the domain of every route"));
}

#[test]
fn something_to_listen_on_to_go_to_and_to_go_by_is_needed() {
    let nothing = parse("").unwrap_err().to_string();
    assert!(nothing.contains("no listener") && nothing.contains("[[listeners]]"), "{nothing}");
    assert!(nothing.contains("no pool") && nothing.contains("[[pools.app.backends]]"), "{nothing}");
    let other = "[[pools.other.backends]]\nname = 'a'\naddress = '10.0.0.1:80'\n";
    let ambiguous = parse(&format!("{LISTENER}{POOL}{other}")).unwrap_err().to_string();
    assert!(ambiguous.contains("nothing says which requests go to which pool"), "{ambiguous}");
}

#[test]
fn mistakes_of_both_stages_come_together_and_without_consequences() {
    let text = "[server]\nshutdown_timeout = 30s\nstate = 'x'\n\
                [[listeners]]\nadress = ':80'\n\
                [[routes]]\nmethod = 'get'\npool = 'shp'\n\
                [pools.shop]\nbalance = 'fair'\nbackends = [{ name = 'a', address = 'a' }]\n\
                [pools.shop.affinity]\nmode = 'cokie'\ncookie = {}\n";
    assert_eq!(
        mistakes(text),
        [
            "2:20 not TOML: a string needs quotes",
            "3:1 server: unknown key `state`",
            // and not: a listener without an address, or no listener
            "5:1 listeners: unknown key `adress`",
            "7:10 routes.method: methods are in capitals: \"GET\"",
            "8:8 there is no pool 'shp'",
            "10:11 pools.shop.balance: unknown value \"fair\"",
            // and not: no backends
            "11:37 pools.shop.backends.address: an address is written host:port, [ipv6]:port or \
             unix:/path",
            // and not: the cookie has no effect
            "13:8 pools.shop.affinity.mode: unknown value \"cokie\"",
        ]
    );
}

#[test]
fn variables_stand_for_strings_and_are_never_shown() {
    let loaded = config("token.keys = ['${KEY}']\nserver.log.filter = '${LEVEL:-debug}'");
    assert_eq!(loaded.server.token_keys.len(), 1);
    assert_eq!(loaded.server.log.filter, "debug");
    for text in [
        "token.keys = ['${SECRET}']",
        "server.log.format = '${SECRET}'",
        "server.timeouts.idle = '${SECRET}'",
        "[[routes]]\nhost = '${SECRET}'\npool = '${SECRET}'",
        "[[routes]]\npool = '${SECRET}'",
        "[pools.x]\nbackends = [{ name = '${PORT}', address = 'a:1' }, { name = '${PORT}', address = 'a:1' }]",
        "token.keys_file = '${SECRET}'",
        "server.state_dir = '${SECRET}/${UNSET}'",
    ] {
        let error = parse(&format!("{text}\n{LISTENER}{POOL}")).unwrap_err().to_string();
        assert!(!error.contains("Sesame") && !error.contains("808"), "{error}");
        assert!(error.contains("${"), "{error}");
    }
}

#[test]
fn numbers_come_from_the_environment_too() {
    let config = config(
        "server.workers = '${WORKERS:-3}'\nserver.limits.requests_per_connection = '${PORT}'\n\
         [pools.app.health]\nport = '${PORT}'\npath = '/'\nbody = '${PORT}'",
    );
    assert_eq!((config.server.workers, config.server.limits.requests_per_connection), (3, 8081));
    let health = config.pools[0].health.as_ref().unwrap();
    assert_eq!(health.port, Some(8081));
    for (text, expected) in [
        ("server.workers = '4'", "expected \"auto\", or an integer from 1 to 1024"),
        ("server.workers = '${SECRET}'", "expected \"auto\", or an integer from 1 to 1024"),
        ("[pools.app.health]\nport = '${SECRET}'", "expected an integer from 1 to 65535"),
        ("[pools.app.health]\nport = '8080'", "expected an integer from 1 to 65535"),
    ] {
        let error = parse(&format!("{text}\n{LISTENER}{POOL}")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn keys_are_hidden_where_they_do_not_belong() {
    for text in [
        format!("[server]\ntoken.keys = ['{KEY}']"),
        "[server]\ntoken.keys = ['tooshort']".into(),
        format!("keys = ['{KEY}']"),
        format!("[token]\nkeys = {KEY}"),
        "[token]\nkeys = 9lV/MzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".into(),
        format!("[token]\nkeys = ['x'] # not {KEY}"),
        format!("[token]\n{KEY}\n"),
        format!("[token]\n'{KEY}' = 1\n"),
        format!("[token]\nkeys_file = '{KEY}'"),
    ] {
        let error = parse(&format!("{text}\n{LISTENER}{POOL}")).unwrap_err().to_string();
        let key = KEY.trim_end_matches('=');
        assert!(!error.contains(key) && !error.contains("tooshort"), "{text}\n{error}");
        assert!(!error.contains("9lV/"), "{error}");
    }
}

#[test]
fn secrets_in_the_file_are_blacked_out() {
    for text in [
        format!("[token]\nkeys = [ '{KEY}', 'tooshort' ]"),
        format!("[token]\nkees = '{KEY}'"),
        format!("[token]\nkeys = ['{KEY}' 'b']"),
        format!("token = {{ keys = '{KEY}', x = 1 }}"),
    ] {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains("'****"), "{error}");
        assert!(!error.contains(KEY) && !error.contains("tooshort"), "{error}");
    }
}

#[test]
fn keys_come_from_a_file_too() {
    let directory = tempfile::tempdir().unwrap();
    let load = |content: &str| {
        std::fs::write(directory.path().join("keys"), content).unwrap();
        let text = format!("token.keys_file = 'keys'\n{LISTENER}{POOL}");
        std::fs::write(directory.path().join("stickler.toml"), text).unwrap();
        Config::load(&directory.path().join("stickler.toml"), &environment)
    };
    let loaded = load(&format!("# current\n{KEY}\n\n  {KEY}\n")).unwrap();
    assert_eq!(loaded.config.server.token_keys.len(), 2);
    let error = load(&format!("{KEY}\nsecret\n")).unwrap_err().to_string();
    assert!(
        error.contains("line 2 of the file is not a key") && !error.contains("secret"),
        "{error}"
    );
    assert!(load("# none\n").unwrap_err().to_string().contains("holds no key"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Path::new("/no/such.toml"), &environment).unwrap_err();
    assert!(error.to_string().contains("cannot read /no/such.toml: No such file"), "{error}");
}

#[test]
fn a_file_that_is_not_utf_8_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("latin.toml");
    std::fs::write(
        &path,
        [b"[server]\n# Gr\xfc\xdfe\nworkers = 0\n", LISTENER.as_bytes()].concat(),
    )
    .unwrap();
    let error = Config::load(&path, &environment).unwrap_err();
    let found: Vec<_> = error.mistakes().iter().map(|m| (m.position(), m.title())).collect();
    assert_eq!(
        found[1..3],
        [(Some((2, 5)), "not UTF-8"), (Some((3, 11)), "server.workers is out of range")]
    );
}

#[test]
fn a_file_without_an_end_is_not_read_forever() {
    let error = Config::load(Path::new("/dev/zero"), &environment).unwrap_err();
    assert!(error.to_string().contains("larger than 16 MiB"), "{error}");
}

#[test]
fn what_is_strange_but_works_is_a_warning() {
    let other = "[[pools.other.backends]]\nname = 'a'\naddress = 'a:1'\n";
    let text = format!("[[listeners]]\naddress = ':0'\n[[routes]]\npool = 'app'\n{POOL}{other}");
    let warnings = parse(&text).unwrap().warnings;
    let titles: Vec<_> = warnings.iter().map(Mistake::title).collect();
    assert_eq!(titles, ["listeners.address has port 0", "no route leads to pool `other`"]);
    let check = "[pools.app.health]\npath = '/'\ndrain_status = 204\n";
    let warnings = parse(&format!("{LISTENER}{check}{POOL}")).unwrap().warnings;
    assert!(warnings[0].title().contains("drain_status is one of the expected"), "{warnings:?}");
    let apart = format!("{LISTENER}{check}expect = [200]\n{POOL}");
    assert!(parse(&apart).unwrap().warnings.is_empty());
}

#[test]
fn the_summary_shows_what_was_resolved_and_no_secret() {
    let config = config(
        "token.keys = ['${KEY}']\n[pools.app]\naffinity.mode = 'cookie'\n\
         health = { path = '/up?token=${SECRET}', body = '${SECRET}' }\n\
         [[routes]]\npool = 'app'\nheaders = { x-key = '${SECRET}' }\n",
    );
    let summary = config.to_string();
    for part in ["1 given", "0.0.0.0:8080", "x-key: (a value)", "10.0.0.1:80", "GET /up?...", "30m"]
    {
        assert!(summary.contains(part), "{part} in {summary}");
    }
    assert!(!summary.contains("Sesame") && !summary.contains(KEY), "{summary}");
    assert!(matches!(config.pools[0].spec.affinity.mode, Mode::Cookie));
}

/// Pieces that configuration files are made of, right and wrong.
fn fragment() -> impl Strategy<Value = String> {
    let fragments = [
        "[server]\n",
        "[server.limits]\n",
        "[token]\n",
        "[[listeners]]\n",
        "[[routes]]\n",
        "[pools.a]\n",
        "[pools.a.affinity]\n",
        "[[pools.a.backends]]\n",
        "[pools.a.health]\n",
        "[x\n",
        "]\n",
        "= ",
        "address = ':80'\n",
        "name = 'a'\n",
        "pool = 'a'\n",
        "mode = 'hash'\n",
        "key = { header = 'x' }\n",
        "keys = ['${KEY}', \"\\u00e4\"]\n",
        "workers = 3\n",
        "idle = 30s\n",
        "eject = false\n",
        "weight = 0\n",
        "host = ['a.com', '*.b.com']\n",
        "headers = { x-a = '*' }\n",
        "jitter = 0.1\n",
        "jitter = nan\n",
        "expect = [200, '300-399']\n",
        "'ä' = \"${\n",
        "\"\"\"",
        "'''",
        "{",
        "}",
        "\\",
        "\r\n",
        "é",
        "1e400\n",
        "cookie = { domain = 'a.com', secure = false, same_site = 'none' }\n",
    ];
    prop_oneof![
        4 => proptest::sample::select(fragments.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_text_panics_and_the_schema_agrees_with_the_types(
        fragments in proptest::collection::vec(fragment(), 0..12),
    ) {
        match parse(&fragments.concat()) {
            Ok(loaded) => prop_assert!(!loaded.config.to_string().is_empty()),
            Err(error) => {
                prop_assert!(!error.mistakes().is_empty());
                prop_assert!(!error.to_string().contains("this is a bug"), "{}", error);
            }
        }
    }
}
