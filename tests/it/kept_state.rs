//! What operators said, after the process has ended and another one has started.

use std::time::Duration;

use crate::operate::{admin_of, run};
use crate::support::{Files, ON, apps, pool, wait_until};

#[test]
fn drains_maintenance_weights_and_added_backends_are_there_after_a_restart() {
    let apps = apps::<4>();
    let [a, b, c, d] = apps.each_ref().map(|app| app.address.to_string());
    let config = pool(&[a, b, c], "[pools.pool.affinity]\nmode = \"cookie\"");
    let files = Files::with(&format!("{ON}{config}"));
    let (process, _) = files.run();
    let admin = admin_of(&process);
    let commands: [&[&str]; 4] = [
        &["drain", "pool/b0", "--deadline", "1h"],
        &["maintenance", "pool/b1"],
        &["weight", "pool/b2", "7"],
        &["add", "pool/b3", &d, "--weight", "2"],
    ];
    for command in commands {
        assert_eq!(run(&admin, command).code, Some(0), "{command:?}");
    }
    // Nobody was bound there.
    wait_until("it is drained", || admin.backend("b0")["state"] == "drained");
    process.signal("TERM");
    assert_eq!(process.end().code, Some(0));

    let (process, _) = files.run();
    let admin = admin_of(&process);
    let backends = admin.get("/v1/pools/pool")["backends"].clone();
    let backends = backends.as_array().unwrap().iter();
    let shown = |key: &str| backends.clone().map(|b| b[key].to_string()).collect::<Vec<_>>();
    assert_eq!(shown("name"), ["\"b0\"", "\"b1\"", "\"b2\"", "\"b3\""]);
    assert_eq!(shown("state"), ["\"drained\"", "\"maintenance\"", "\"ready\"", "\"ready\""]);
    assert_eq!(shown("weight"), ["1", "1", "7", "2"]);
    assert_eq!(admin.backend("b3")["origin"], "operator");
    assert_eq!(run(&admin, &["ready", "pool/b0"]).code, Some(0));
    assert_eq!(run(&admin, &["remove", "pool/b3"]).code, Some(0));
    drop(process); // killed: what was said is on disk already
    let (process, _) = files.run();
    let admin = admin_of(&process);
    assert_eq!(admin.backend("b0")["state"], "ready");
    assert_eq!(admin.get("/v1/pools/pool")["backends"].as_array().unwrap().len(), 3);
}

#[test]
fn a_drain_goes_on_with_the_deadline_that_it_had() {
    let apps = apps::<2>();
    let addresses = apps.each_ref().map(|app| app.address.to_string());
    let config = pool(&addresses, "[pools.pool.affinity]\nmode = \"cookie\"\n");
    let files = Files::with(&format!("{ON}{config}"));
    let (process, address) = files.run();
    let admin = admin_of(&process);
    let mut visitor = crate::support::Visitor::new(address);
    let home = visitor.visit()[..2].to_owned();
    let target = format!("pool/{home}");
    assert_eq!(run(&admin, &["drain", &target, "--deadline", "3s"]).code, Some(0));
    let deadline = admin.backend(&home)["drain"]["deadline"].clone();
    process.signal("TERM");
    assert_eq!(process.end().code, Some(0));
    let (process, address) = files.run();
    let admin = admin_of(&process);
    let backend = admin.backend(&home);
    assert_eq!((&backend["state"], &backend["drain"]["deadline"]), (&"draining".into(), &deadline));
    let mut visitor = crate::support::Visitor::with(address, visitor.cookie.as_ref().unwrap());
    wait_until("the deadline has come", || {
        std::thread::sleep(Duration::from_millis(50));
        visitor.visit().contains(&format!("moved;from=\"{home}\";reason=draining"))
    });
    wait_until("it is drained", || admin.backend(&home)["state"] == "drained");
}
