//! Token keys: given, or made once and kept, so that a restart keeps the sessions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Backend, Files, Process, STICKLER, Visitor, apps, get, pool};

const KEY: &str = "bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0=";
const COOKIE: &str = "[pools.pool.affinity]\nmode = \"cookie\"\n";

/// The files of a proxy before this backend, with these tables.
fn files(tables: &str, backend: &Backend, settings: &str) -> Files {
    Files::with(&format!("{tables}{}", pool(&[backend.address.to_string()], settings)))
}

#[test]
fn without_keys_one_is_made_and_sessions_survive_a_restart() {
    let [b0] = apps();
    let files = files("", &b0, COOKIE);
    let (mut proxy, address) = files.run();
    let mut visitor = Visitor::new(address);
    visitor.visit();
    let key = fs::read_to_string(files.key()).unwrap();
    assert_eq!(fs::metadata(files.key()).unwrap().permissions().mode() & 0o777, 0o600);
    let said = proxy.stderr();
    assert!(said.contains("shared key") && said.contains("token.key"), "{said}");
    assert!(!said.contains(key.trim()), "the log tells the key: {said}");
    proxy.kill();
    let (proxy, address) = files.run();
    assert!(proxy.stderr().contains("shared key"), "at every start");
    assert_eq!(Visitor::with(address, &visitor.cookie.unwrap()).visit(), "b0 bound");
    assert_eq!(fs::read_to_string(files.key()).unwrap(), key, "it is made once");
}

#[test]
fn another_state_directory_is_another_key() {
    let [b0] = apps();
    let (one, other) = (files("", &b0, COOKIE), files("", &b0, COOKIE));
    let ((_one, here), (_other, there)) = (one.run(), other.run());
    let cookie = get(here, "/", "").cookie().unwrap();
    assert_eq!(Visitor::with(here, &cookie).visit(), "b0 bound");
    assert_eq!(Visitor::with(there, &cookie).visit(), "b0 new");
}

#[test]
fn proxies_that_start_together_agree_on_one_key() {
    let [b0] = apps();
    let files = files("", &b0, COOKIE);
    let mut proxies = [(); 4].map(|()| files.start());
    let addresses = proxies.each_mut().map(Process::listening);
    let cookie = get(addresses[0], "/", "").cookie().unwrap();
    for address in addresses {
        assert_eq!(Visitor::with(address, &cookie).visit(), "b0 bound");
    }
    let left = fs::read_dir(files.key().parent().unwrap()).unwrap();
    let left: Vec<_> =
        left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left.iter().filter(|name| name.starts_with("token")).count(), 1, "{left:?}");
}

#[test]
fn no_key_is_made_where_none_is_needed() {
    let [b0] = apps();
    let given = format!("[token]\nkeys = [\"{KEY}\"]\n");
    for (tables, settings) in [(given.as_str(), COOKIE), ("", "")] {
        let files = files(tables, &b0, settings);
        let (_proxy, address) = files.run();
        assert_eq!(get(address, "/", "").status, 200);
        assert!(!files.key().exists());
    }
}

#[test]
fn keys_come_from_the_file_the_environment_or_a_file_of_their_own() {
    let [b0] = apps();
    let tables = [
        format!("[token]\nkeys = [\"{KEY}\"]\n"),
        "[token]\nkeys = [\"${SOME_KEY}\"]\n".into(),
        "[token]\nkeys_file = \"some.keys\"\n".into(),
    ];
    let mut cookie = None;
    for tables in tables {
        let files = files(&tables, &b0, COOKIE);
        fs::write(files.path().join("some.keys"), format!("# the newest first\n{KEY}\n")).unwrap();
        let mut run = Command::new(STICKLER);
        let mut proxy = Process::start(run.arg("run").arg(files.config()).env("SOME_KEY", KEY));
        let address = proxy.listening();
        let cookie = cookie.get_or_insert_with(|| get(address, "/", "").cookie().unwrap());
        assert_eq!(Visitor::with(address, cookie).visit(), "b0 bound", "{tables}");
        assert!(!proxy.stderr().contains(KEY), "{}", proxy.stderr());
    }
}

#[test]
fn a_key_that_others_can_read_is_warned_about() {
    let [b0] = apps();
    let files = files("", &b0, COOKIE);
    drop(files.run());
    fs::set_permissions(files.key(), fs::Permissions::from_mode(0o644)).unwrap();
    let (proxy, _) = files.run();
    assert!(proxy.stderr().contains("chmod 600"), "{}", proxy.stderr());
}

#[test]
fn a_spoilt_key_stops_the_start_and_is_left_as_it_is() {
    let [b0] = apps();
    let files = files("", &b0, COOKIE);
    fs::create_dir_all(files.key().parent().unwrap()).unwrap();
    for spoilt in ["", "half a ke", "c2hvcnQ="] {
        fs::write(files.key(), spoilt).unwrap();
        let ended = files.start().end();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("token.key"), "{ended:?}");
        assert_eq!(fs::read_to_string(files.key()).unwrap(), spoilt);
    }
}

#[test]
fn a_state_directory_that_cannot_be_made_stops_the_start() {
    let [b0] = apps();
    let files = files("", &b0, COOKIE);
    fs::write(files.path().join("state"), "not a directory").unwrap();
    let ended = files.start().end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("state_dir") && ended.stderr.contains("[token]"), "{ended:?}");
}
