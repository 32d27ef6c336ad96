//! What happens to the app servers while the load goes on.

use std::time::Duration;

use tokio::time::sleep;

use super::BenchError;
use super::fleet::{Fleet, Inspector};
use super::proxy::{HEALTH_INTERVAL, Operator};
use crate::clock::Stopwatch;
use crate::lab::report::Share;
use crate::lab::report::verdict::scenario as names;

/// A story that is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Nothing happens.
    Steady,
    /// Nothing happens, but some users send many times more than others.
    Skewed,
    /// Nothing happens, but one session sends a large share of all requests.
    HotSession,
    /// The server with the most sessions is killed, and comes back.
    Crash,
    /// All servers are restarted, one after the other, without notice.
    Deploy,
    /// As [`Scenario::Deploy`], but each of them is drained first, over the admin API.
    DrainedDeploy,
    /// The other half of the fleet comes, by a reload of the configuration.
    ScaleOut,
    /// Half of the fleet is drained and goes, by a reload of the configuration.
    ScaleIn,
}

/// What a story tells besides what clients see.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// When the failure was, since the beginning of the load.
    pub(super) failed_at: Option<Duration>,
    /// Seconds that each drain took, until the proxy said that it was over.
    pub(super) drain_seconds: Vec<f64>,
    /// What new servers took over at first.
    pub(super) newcomers_share: Option<Share>,
}

/// Where and when a story is played.
pub(super) struct Scene<'a> {
    pub(super) fleet: &'a mut Fleet,
    pub(super) operator: &'a mut Operator,
    pub(super) inspector: Inspector,
    /// Runs since the load began.
    pub(super) clock: Stopwatch,
    /// How long the measurement is to be.
    pub(super) length: Duration,
    /// How long "at first" is.
    pub(super) moment: Duration,
    /// How long sessions may take to leave a server that is drained.
    pub(super) drain_for: Duration,
}

/// The proxy has noticed whatever it can notice after this time.
const NOTICED: Duration = HEALTH_INTERVAL.saturating_mul(3);

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 8] = [
        Scenario::Steady,
        Scenario::Skewed,
        Scenario::HotSession,
        Scenario::Crash,
        Scenario::Deploy,
        Scenario::DrainedDeploy,
        Scenario::ScaleOut,
        Scenario::ScaleIn,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scenario::Steady => names::STEADY,
            Scenario::Skewed => names::SKEWED,
            Scenario::HotSession => names::HOT_SESSION,
            Scenario::Crash => names::CRASH,
            Scenario::Deploy => names::DEPLOY,
            Scenario::DrainedDeploy => names::DRAINED_DEPLOY,
            Scenario::ScaleOut => names::SCALE_OUT,
            Scenario::ScaleIn => names::SCALE_IN,
        }
    }

    /// How many of so many servers run at the beginning.
    pub(super) fn servers_at_first(self, all: usize) -> usize {
        if self == Scenario::ScaleOut { (all / 2).max(1) } else { all }
    }

    /// Plays it, from the beginning of the measurement on.
    pub(super) async fn play(self, scene: Scene<'_>) -> Result<Told, BenchError> {
        match self {
            Scenario::Steady | Scenario::Skewed | Scenario::HotSession => Ok(Told::default()),
            Scenario::Crash => crash(scene).await,
            Scenario::Deploy => deploy(scene).await,
            Scenario::DrainedDeploy => drained_deploy(scene).await,
            Scenario::ScaleOut => scale_out(scene).await,
            Scenario::ScaleIn => scale_in(scene).await,
        }
    }
}

/// At a quarter of the time; back at six tenths.
async fn crash(mut scene: Scene<'_>) -> Result<Told, BenchError> {
    sleep(scene.length.mul_f64(0.25)).await;
    let stats = scene.inspector.look().await;
    let load = |i: &usize| stats[*i].as_ref().map(|stats| (stats.sessions, stats.requests));
    let busiest = (0..stats.len()).max_by_key(load).unwrap_or_default();
    let failed_at = Some(scene.clock.elapsed());
    scene.fleet.kill(busiest).await;
    sleep(scene.length.mul_f64(0.35)).await;
    scene.fleet.start(busiest).await?;
    Ok(Told { failed_at, ..Told::default() })
}

/// From a tenth of the time to eight tenths, at equal distances.
async fn deploy(scene: Scene<'_>) -> Result<Told, BenchError> {
    sleep(scene.length.mul_f64(0.1)).await;
    let failed_at = Some(scene.clock.elapsed());
    let servers = scene.fleet.len();
    let distance = scene.length.mul_f64(0.7).div_f64(servers as f64);
    for index in 0..servers {
        let begun = Stopwatch::start();
        scene.fleet.stop(index).await;
        scene.fleet.start(index).await?;
        sleep(distance.saturating_sub(begun.elapsed()).max(NOTICED)).await;
    }
    Ok(Told { failed_at, ..Told::default() })
}

/// One after the other, each as soon as the one before it is back: drain, restart, ready.
async fn drained_deploy(scene: Scene<'_>) -> Result<Told, BenchError> {
    sleep(scene.length.mul_f64(0.1)).await;
    let mut drain_seconds = Vec::new();
    for index in 0..scene.fleet.len() {
        let (name, _) = scene.fleet.addresses().swap_remove(index);
        scene.operator.drain(&name, scene.drain_for).await?;
        let took = scene.operator.drained(std::slice::from_ref(&name), scene.drain_for).await?;
        drain_seconds.extend(took);
        scene.fleet.stop(index).await;
        scene.fleet.start(index).await?;
        scene.operator.ready(&name).await?;
    }
    Ok(Told { drain_seconds, ..Told::default() })
}

/// At three tenths of the time.
async fn scale_out(mut scene: Scene<'_>) -> Result<Told, BenchError> {
    sleep(scene.length.mul_f64(0.3)).await;
    let servers = scene.fleet.len();
    let newcomers = Scenario::ScaleOut.servers_at_first(servers)..servers;
    for index in newcomers.clone() {
        scene.fleet.start(index).await?;
    }
    scene.operator.list(&scene.fleet.addresses()).await?;
    // Their first moments begin when the proxy sends them something.
    let begun = Stopwatch::start();
    let before = loop {
        let now = requests(&mut scene.inspector).await;
        if newcomers.clone().all(|i| now[i] > 0) || begun.elapsed() > scene.length / 2 {
            break now;
        }
        sleep(Duration::from_millis(20)).await;
    };
    sleep(scene.moment).await;
    let after = requests(&mut scene.inspector).await;
    let done: Vec<f64> =
        before.iter().zip(&after).map(|(b, a)| a.saturating_sub(*b) as f64).collect();
    let actual = done[newcomers.clone()].iter().sum::<f64>() / done.iter().sum::<f64>().max(1.0);
    let fair = newcomers.len() as f64 / servers as f64;
    Ok(Told { newcomers_share: Some(Share { actual, fair }), ..Told::default() })
}

/// At three tenths of the time, all at once: drain, reload without them, stop.
async fn scale_in(scene: Scene<'_>) -> Result<Told, BenchError> {
    sleep(scene.length.mul_f64(0.3)).await;
    let mut staying = scene.fleet.addresses();
    let leaving = staying.split_off((staying.len() / 2).max(1));
    let names: Vec<String> = leaving.into_iter().map(|(name, _)| name).collect();
    for name in &names {
        scene.operator.drain(name, scene.drain_for).await?;
    }
    let drain_seconds = scene.operator.drained(&names, scene.drain_for).await?;
    scene.operator.list(&staying).await?;
    for index in staying.len()..staying.len() + names.len() {
        scene.fleet.stop(index).await;
    }
    Ok(Told { drain_seconds, ..Told::default() })
}

async fn requests(inspector: &mut Inspector) -> Vec<u64> {
    let stats = inspector.look().await;
    stats.iter().map(|stats| stats.as_ref().map_or(0, |stats| stats.requests)).collect()
}
