//! A rolling deploy, as an operator makes one: one backend after the other is drained, replaced
//! and made ready, while everybody goes on. `benches/deploy/run` prints the figures.

use std::time::Duration;

use serde_json::Value;
use stickler::balance::{BackendState, Reason};

use crate::support::{Admin, Load, Move, ON, Proxy, app, app_at, wait_until};

const BACKENDS: usize = 5;

/// Its grain, within which the ledger knows when a session was seen last before a drain, is half a
/// second.
const SETTINGS: &str = "balance = \"least_connections\"\n\
    [pools.pool.affinity]\nmode = \"cookie\"\nidle_timeout = \"32s\"\n\
    [pools.pool.health]\npath = \"/healthz\"\ninterval = \"200ms\"\n";

/// What leaves room for the measurement, on a busy machine as well.
const DOUBT: Duration = Duration::from_millis(30);

/// How a backend is drained.
struct Policy {
    deadline: Duration,
    move_idle_after: Duration,
    moves_per_second: u32,
}

impl Policy {
    fn order(&self) -> String {
        format!(
            r#"{{"deadline": "{}ms", "move_idle_after": "{}ms", "moves_per_second": {}}}"#,
            self.deadline.as_millis(),
            self.move_idle_after.as_millis(),
            self.moves_per_second,
        )
    }

    /// Did the policy say that each of these sessions had to move then, and no others?
    fn said(&self, moves: &[Move], begun: Duration) {
        let deadline = begun + self.deadline;
        for one in moves {
            let has_paused = one.paused + DOUBT >= self.move_idle_after;
            assert!(one.reason == "draining" && (has_paused || one.at >= deadline), "{one:?}");
        }
        let mut late: Vec<_> =
            moves.iter().map(|one| one.at).filter(|&at| at >= deadline).collect();
        late.sort();
        // What is not used is kept for half a second.
        let least = (late.len() as f64 / f64::from(self.moves_per_second) - 0.5).max(0.0);
        let last = late.last().copied().unwrap_or(deadline);
        let too_fast = last + DOUBT < deadline + Duration::from_secs_f64(least);
        assert!(!too_fast, "{} moves in {:?}", late.len(), last - deadline);
    }
}

fn number(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap()
}

/// Drains a backend and waits until it is empty. Gives the report.
fn drain(admin: &Admin, name: &str, policy: &Policy) -> Value {
    admin.post(&format!("/v1/pools/pool/backends/{name}/drain"), &policy.order());
    wait_until("it is drained", || admin.backend(name)["state"] == "drained");
    admin.get(&format!("/v1/pools/pool/backends/{name}/drain"))
}

/// Rolls all backends under the load of so many sessions.
fn roll(sessions: usize, period: Duration, policy: &Policy) {
    let mut apps: Vec<_> = (0..BACKENDS).map(app).collect();
    let proxy = Proxy::configured(ON, &apps.iter().collect::<Vec<_>>(), SETTINGS);
    let admin = proxy.admin();
    let load = Load::start(proxy.address(), sessions, period);
    println!("{BACKENDS} backends, {sessions} sessions, each of them every {period:?}");
    let mut moved = 0;
    for (i, app) in apps.iter_mut().enumerate() {
        let name = format!("b{i}");
        let (bound, begun) = (load.homes()[&name] as u64, load.elapsed());
        let report = drain(&admin, &name, policy);
        let took = load.elapsed() - begun;
        let since = || load.seen().moves.into_iter().filter(|one| one.at >= begun);
        wait_until("everybody who has moved has heard of it", || since().count() as u64 >= bound);
        let moves: Vec<_> = since().collect();
        let by_pause = moves.iter().filter(|one| one.at < begun + policy.deadline).count();
        println!(
            "{name}: drained in {:.1} s: {bound} sessions, {} moved ({by_pause} in a pause), {} left \
             by themselves, {} no longer waited for",
            took.as_secs_f64(),
            number(&report, "moved"),
            number(&report, "left"),
            number(&report, "cut"),
        );
        let total = number(&report, "sessions_at_start") + number(&report, "joined");
        assert_eq!((total, number(&report, "moved")), (bound, bound), "{report}");
        assert_eq!((moves.len() as u64, number(&report, "cut")), (bound, 0), "{report}");
        assert!(moves.iter().all(|one| one.from == name), "nobody else moved");
        policy.said(&moves, begun);
        moved += bound;
        // Another version of the app, at the same address.
        app.die();
        *app = app_at(&app.address.to_string(), i);
        load.wait_for(50);
        admin.post(&format!("/v1/pools/pool/backends/{name}/ready"), "");
        wait_until("it is ready", || proxy.member(&name).state() == BackendState::Ready);
    }
    let took = load.elapsed();
    let (requests, seen) = load.finish();
    println!(
        "{requests} requests in {:.1} s: 0 failed; {moved} sessions moved, each because its \
         backend drained, 0 for another reason",
        took.as_secs_f64()
    );
    assert_eq!(seen.moves.len() as u64, moved);
    for &reason in Reason::ALL {
        let expected = if reason == Reason::Draining { moved } else { 0 };
        assert_eq!(proxy.pool().count_of(reason), expected, "{reason}");
    }
}

#[test]
fn a_rolling_deploy_fails_nobody_and_moves_whom_the_policy_says() {
    let policy = Policy {
        deadline: Duration::from_secs(1),
        move_idle_after: Duration::from_millis(500),
        moves_per_second: 100,
    };
    roll(100, Duration::from_millis(300), &policy);
}

#[test]
#[ignore = "takes a minute: benches/deploy/run"]
fn five_backends_are_rolled_under_two_thousand_sessions() {
    let policy = Policy {
        deadline: Duration::from_secs(3),
        move_idle_after: Duration::from_secs(2),
        moves_per_second: 300,
    };
    roll(2_000, Duration::from_millis(1_500), &policy);
}
