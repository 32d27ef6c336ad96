//! The event stream: what happens is heard as it happens.

use std::io::BufRead;
use std::sync::Arc;

use serde_json::Value;
use stickler::balance::Timestamp;
use stickler::observe::Event;

use crate::support::{Admin, Client, ON, Proxy, Visitor, apps, wait_until};

/// A reader of the event stream.
struct Events(Client);

impl Events {
    #[track_caller]
    fn of(admin: &Admin, query: &str) -> Self {
        let mut client = Client::connect(admin.address);
        let (host, lines) = (admin.address, &admin.lines);
        client.send(format!("GET /v1/events{query} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"));
        let head = client.head();
        assert!(head.contains(" 200 ") && head.contains("text/event-stream"), "{head}");
        Events(client)
    }

    /// The next event of this name.
    #[track_caller]
    fn next(&mut self, name: &str) -> Value {
        let mut is_it = false;
        loop {
            let mut line = String::new();
            assert_ne!(self.0.stream.read_line(&mut line).unwrap(), 0, "the stream has ended");
            let line = line.trim_end();
            if let Some(event) = line.strip_prefix("event: ") {
                is_it = event == name;
            }
            if let Some(data) = line.strip_prefix("data: ").filter(|_| is_it) {
                let data: Value = serde_json::from_str(data).unwrap();
                assert_eq!(data["event"], name, "it is named twice");
                return data;
            }
        }
    }
}

const STICKY: &str = "[pools.pool.affinity]\nmode = \"cookie\"\n";

#[test]
fn transitions_and_the_end_of_a_drain_are_heard() {
    let apps = apps::<2>();
    let proxy = Proxy::configured(ON, &[&apps[0], &apps[1]], STICKY);
    let admin = proxy.admin();
    let mut visitor = Visitor::new(proxy.address());
    let home = visitor.visit()[..2].to_owned();
    let mut events = Events::of(&admin, "");
    admin.post(&format!("/v1/pools/pool/backends/{home}/drain"), r#"{"deadline": "0s"}"#);
    let heard = events.next("transition");
    assert_eq!((&heard["pool"], &heard["backend"]), (&"pool".into(), &home.as_str().into()));
    assert_eq!((&heard["from"], &heard["to"]), (&"ready".into(), &"draining".into()));
    assert_eq!(heard["sessions"], 1);
    assert!(!heard["why"].as_str().unwrap().is_empty());
    let going = events.next("drain");
    assert_eq!((&going["drain"]["sessions"], &going["drain"]["ended"]), (&1.into(), &Value::Null));
    // The workers' clock is a little behind.
    wait_until("it moves", || visitor.visit().contains("moved"));
    assert_eq!(events.next("transition")["to"], "drained");
    let ended = loop {
        let heard = events.next("drain");
        if heard["drain"]["ended"].is_string() {
            break heard;
        }
    };
    assert_eq!(ended["drain"]["moved"], 1, "{ended}");
}

#[test]
fn weights_and_members_are_heard() {
    let apps = apps::<2>();
    let proxy = Proxy::configured(ON, &[&apps[0]], STICKY);
    let admin = proxy.admin();
    let mut events = Events::of(&admin, "");
    admin.post("/v1/pools/pool/backends/b0/weight", r#"{"weight": 5}"#);
    assert_eq!(events.next("weight")["weight"], 5);
    let new = format!(r#"{{"name": "b1", "address": "{}"}}"#, apps[1].address);
    admin.post("/v1/pools/pool/backends", &new);
    assert_eq!(events.next("membership")["added"][0], "b1");
    admin.order("DELETE", "/v1/pools/pool/backends/b1", "");
    assert_eq!(events.next("membership")["removed"][0], "b1");
}

#[test]
fn figures_come_at_once_and_every_second_for_who_asks() {
    let apps = apps::<1>();
    let proxy = Proxy::configured(ON, &[&apps[0]], STICKY);
    let mut events = Events::of(&proxy.admin(), "?figures=true");
    let requests = |figures: &Value| figures["pools"][0]["backends"][0]["requests"].as_u64();
    assert_eq!(requests(&events.next("figures")), Some(0));
    Visitor::new(proxy.address()).visit();
    let seen = (0..5).find_map(|_| requests(&events.next("figures")).filter(|&n| n > 0));
    assert_eq!(seen, Some(1));
}

/// Who does not read is told what is missing, and costs no memory meanwhile.
#[test]
fn who_reads_too_slowly_is_told_what_is_missing() {
    let apps = apps::<1>();
    let proxy = Proxy::configured(ON, &[&apps[0]], STICKY);
    let admin = proxy.admin();
    let mut events = Events::of(&admin, "");
    // More than fits into the buffers of a connection that nobody reads.
    let controller = proxy.controller();
    let (pool, backend): (Arc<str>, Arc<str>) = ("pool".into(), "b0".into());
    for weight in 0..100_000 {
        let (pool, backend) = (pool.clone(), backend.clone());
        controller.publish(Event::Weight { pool, backend, weight, at: Timestamp::ZERO });
    }
    assert!(events.next("lag")["missed"].as_u64().unwrap() > 0);
}
