//! The commands that operate a running proxy: what they print, and the exit codes that scripts
//! live by.

use std::process::Command;

use serde_json::Value;

use crate::support::{
    Address, Admin, Backend, Ended, Files, ON, Process, Proxy, STICKLER, Visitor, apps, pool,
    wait_until,
};

pub const STICKY: &str = "[pools.pool.affinity]\nmode = \"cookie\"\n";

pub fn proxy(backends: &[&Backend]) -> (Proxy, Admin) {
    let proxy = Proxy::configured(ON, backends, STICKY);
    let admin = proxy.admin();
    (proxy, admin)
}

/// Starts a command for this proxy.
#[track_caller]
fn start(admin: &Admin, arguments: &[&str]) -> Process {
    Process::start(Command::new(STICKLER).args(arguments).env("STICKLER_ADMIN", admin.url()))
}

/// Runs it to its end.
#[track_caller]
pub fn run(admin: &Admin, arguments: &[&str]) -> Ended {
    start(admin, arguments).end()
}

#[track_caller]
pub fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
}

#[test]
fn status_shows_every_backend() {
    let apps = apps::<2>();
    let (proxy, admin) = proxy(&[&apps[0], &apps[1]]);
    Visitor::new(proxy.address()).visit();
    let ended = run(&admin, &["status"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.stdout.contains("pool: affinity cookie") && ended.stdout.contains("1 session,"));
    for name in ["b0", "b1"] {
        let line = ended.stdout.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        assert!(line.contains("ready") && line.contains("50.0 %"), "{line}");
    }
    assert!(!ended.stdout.contains('\u{1b}'), "no colors on a pipe");
    assert_eq!(json(&run(&admin, &["status", "--json"]))["pools"][0]["sessions"], 1);
    let other = run(&admin, &["status", "nope"]);
    assert_eq!(other.code, Some(1));
    assert!(other.stderr.contains("the pools are pool"), "{other:?}");
}

#[test]
fn a_drain_that_is_waited_for_ends_when_the_backend_is_empty() {
    let apps = apps::<2>();
    let (proxy, admin) = proxy(&[&apps[0], &apps[1]]);
    let mut visitor = Visitor::new(proxy.address());
    let home = visitor.visit()[..2].to_owned();
    let target = format!("pool/{home}");
    let mut drain = start(&admin, &["drain", &target, "--move-idle-after", "1ms", "--wait"]);
    wait_until("it drains", || admin.backend(&home)["state"] == "draining");
    assert!(!drain.has_ended());
    wait_until("the visitor has moved", || visitor.visit().contains("moved"));
    let ended = drain.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told = format!("{target} is drained");
    assert!(
        ended.stdout.starts_with(&told) && ended.stdout.contains("1 moved (draining 1)"),
        "{ended:?}"
    );
    assert!(ended.stderr.contains(" of 1 session left"), "on a pipe as lines: {ended:?}");
    let ready = run(&admin, &["ready", &target]);
    assert_eq!((ready.code, ready.stdout), (Some(0), format!("{target} is ready\n")));
}

#[test]
fn who_only_waits_changes_nothing_about_the_drain() {
    let apps = apps::<2>();
    let (proxy, admin) = proxy(&[&apps[0], &apps[1]]);
    let mut visitor = Visitor::new(proxy.address());
    let home = visitor.visit()[..2].to_owned();
    let target = format!("pool/{home}");
    assert_eq!(run(&admin, &["drain", &target, "--deadline", "300ms"]).code, Some(0));
    let waiting = start(&admin, &["drain", &target, "--wait"]);
    // Had that begun the drain anew, there would be no deadline, and nobody would have to.
    wait_until("the visitor has moved", || visitor.visit().contains("moved"));
    let ended = waiting.end();
    assert!(ended.stdout.contains("is drained"), "{ended:?}");
}

#[test]
fn exit_codes_tell_how_a_drain_went() {
    let apps = apps::<2>();
    let (proxy, admin) = proxy(&[&apps[0], &apps[1]]);
    // Nobody is bound there yet.
    let ended = run(&admin, &["drain", "pool/b0", "--wait", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json(&ended)["drain"]["sessions_at_start"], 0);
    let refused = run(&admin, &["drain", "pool/b1"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    assert_eq!(run(&admin, &["maintenance", "pool/b1"]).code, Some(3));
    let refused = run(&admin, &["weight", "pool/b1", "0"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    let forced = run(&admin, &["weight", "pool/b1", "0", "--force"]);
    assert_eq!(forced.code, Some(0), "{forced:?}");
    assert_eq!(run(&admin, &["weight", "pool/b1", "1"]).code, Some(0));
    assert_eq!(run(&admin, &["ready", "pool/b0"]).code, Some(0));
    let unknown = run(&admin, &["drain", "pool/b7"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("the backends are b0, b1"), "{unknown:?}");
    assert_eq!(run(&admin, &["drain", "b0"]).code, Some(2));
    assert_eq!(run(&admin, &["drain", "pool/b0", "--deadline", "soon"]).code, Some(2));

    let mut visitor = Visitor::new(proxy.address());
    let target = format!("pool/{}", &visitor.visit()[..2]);
    let restored = start(&admin, &["drain", &target, "--wait"]);
    wait_until("it drains", || admin.backend(&target[5..])["state"] == "draining");
    assert_eq!(run(&admin, &["ready", &target]).code, Some(0));
    let ended = restored.end();
    assert_eq!(ended.code, Some(5), "{ended:?}");

    let late = start(&admin, &["drain", &target, "--deadline", "50ms", "--wait"]);
    wait_until("the visitor has moved", || visitor.visit().contains("moved"));
    let ended = late.end();
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stdout.contains("is drained"), "{ended:?}");
}

#[test]
fn sessions_are_counted_shown_and_released() {
    let apps = apps::<2>();
    let (proxy, admin) = proxy(&[&apps[0], &apps[1]]);
    let mut visitors: Vec<_> = (0..3).map(|_| Visitor::new(proxy.address())).collect();
    visitors.iter_mut().for_each(|visitor| drop(visitor.visit()));
    let counted = run(&admin, &["sessions"]);
    assert!(counted.stdout.starts_with("pool: 3 sessions"), "{counted:?}");
    let unknown = run(&admin, &["sessions", "show", "0123456789abcdef"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("no pool knows"), "{unknown:?}");
    assert_eq!(run(&admin, &["sessions", "show", "ada"]).code, Some(2));
}

#[test]
fn maintenance_takes_a_backend_out_at_once() {
    let apps = apps::<2>();
    let (proxy, admin) = proxy(&[&apps[0], &apps[1]]);
    let mut visitor = Visitor::new(proxy.address());
    let home = visitor.visit()[..2].to_owned();
    let ended = run(&admin, &["maintenance", &format!("pool/{home}")]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("is in maintenance: 1 session bound to it"), "{ended:?}");
    assert!(!visitor.visit().starts_with(&home));
}

#[test]
fn a_proxy_that_cannot_be_reached_is_said_to_be_with_what_to_do() {
    let nobody = Address::free();
    let admin = Admin::at(nobody.address);
    for arguments in [&["status"][..], &["drain", "a/b"], &["sessions"], &["reload"], &["top"]] {
        let ended = run(&admin, arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?}");
        assert!(ended.stderr.contains("[admin]") && ended.stderr.contains("--admin"), "{ended:?}");
    }
    let other = Backend::named("not an admin API");
    let ended = run(&Admin::at(other.address), &["status"]);
    assert!(ended.stderr.contains("is not Stickler's admin API"), "{ended:?}");
    let ended = run(&admin, &["status", "--admin", "ftp://example.com"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}

#[test]
fn a_token_is_taken_from_a_file() {
    let files = Files::with("");
    let token = files.write("token", "0123456789abcdef");
    let backend = Backend::named("b0");
    let table = format!("{ON}token_file = \"{token}\"\n");
    let proxy = Proxy::configured(&table, &[&backend], "");
    let without = run(&proxy.admin(), &["status"]);
    assert_eq!(without.code, Some(1));
    assert!(without.stderr.contains("--token-file"), "{without:?}");
    assert_eq!(run(&proxy.admin(), &["status", "--token-file", &token]).code, Some(0));
}

#[test]
fn a_plan_says_who_would_move_and_moves_nobody() {
    let apps = apps::<2>();
    let (proxy, admin) = proxy(&[&apps[0], &apps[1]]);
    let mut visitor = Visitor::new(proxy.address());
    let home = visitor.visit()[..2].to_owned();
    let ended = run(&admin, &["plan", "--drain", &format!("pool/{home}")]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with("1 session of pool pool would move"), "{ended:?}");
    let plan = json(&run(&admin, &["plan", "--add", "pool/b9=2", "--json"]));
    assert!(plan["after"]["sessions"].is_number(), "{plan}");
    assert_eq!(admin.backend(&home)["state"], "ready", "nothing is done");
    assert_eq!(run(&admin, &["plan", "--remove", "pool/b7"]).code, Some(1));
    assert_eq!(run(&admin, &["plan"]).code, Some(2));
}

#[test]
fn top_needs_a_terminal_or_prints_lines_of_json() {
    let backend = Backend::named("b0");
    let proxy = Proxy::configured(ON, &[&backend], "");
    let ended = run(&proxy.admin(), &["top"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("stickler status"), "{ended:?}");
    let lines = start(&proxy.admin(), &["top", "--json"]);
    wait_until("there are two lines", || lines.stdout().lines().count() >= 2);
    let line = lines.stdout().lines().next().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["pools"][0]["name"], "pool");
}

#[test]
fn top_draws_drains_and_ends() {
    let apps = apps::<2>();
    let (_proxy, admin) = proxy(&[&apps[0], &apps[1]]);
    let keys = "sleep 2; printf d; sleep 1; printf y; sleep 2; printf q; sleep 1";
    let top = format!("stty rows 24 cols 120; {STICKLER} top --admin {}", admin.url());
    let shell = format!("({keys}) | script -qec '{top}' /dev/null");
    let mut command = Command::new("sh");
    let process = Process::of_package("bsdutils", command.args(["-c", &shell]));
    wait_until("it has drained", || admin.backend("b0")["state"] == "drained");
    let ended = process.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("b0") && ended.stdout.contains("Drain pool/b0?"), "{ended:?}");
}

#[test]
fn a_reload_says_what_has_changed_or_what_is_wrong() {
    let apps = apps::<2>();
    let config = |settings: &str| {
        let addresses: Vec<_> = apps.iter().map(|app| app.address.to_string()).collect();
        format!("{ON}{}", pool(&addresses, settings))
    };
    let files = Files::with(&config(""));
    let (process, _) = files.run();
    let admin = admin_of(&process);
    let none = run(&admin, &["reload", "--last"]);
    assert_eq!(none.code, Some(1), "{none:?}");
    let same = run(&admin, &["reload"]);
    assert_eq!(same.code, Some(0), "{same:?}");
    files.configure(&config("balance = \"fastest\"\n"));
    let wrong = run(&admin, &["reload"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("fastest") && wrong.stderr.contains("goes on"), "{wrong:?}");
    files.configure(&config("balance = \"random\"\n"));
    let right = run(&admin, &["reload", "--json"]);
    assert_eq!((right.code, &json(&right)["ok"]), (Some(0), &true.into()), "{right:?}");
    assert_eq!(admin.get("/v1/pools")["pools"][0]["balance"], "random");
    assert_eq!(admin.get("/v1/reload")["trigger"], "operator");
}

/// The admin address of a process, as it logs it.
#[track_caller]
pub fn admin_of(process: &Process) -> Admin {
    let mut address = None;
    wait_until("the admin address is told", || {
        let log = process.stderr();
        let line = log.lines().find_map(|line| line.split_once("dashboard for operators at http"));
        let url = line.map(|(_, rest)| rest.trim_start_matches('s').trim_start_matches("://"));
        address = url.and_then(|url| url.trim_end_matches('/').parse().ok());
        address.is_some()
    });
    Admin::at(address.unwrap())
}
