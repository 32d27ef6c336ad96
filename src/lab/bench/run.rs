//! One run: a contender in a scenario, from the start of the first process to the end of the last.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::{Client, Stage};
use super::contender::Contender;
use super::fleet::{Fleet, Inspector};
use super::gauge::{Gauge, STEP};
use super::prediction::predict;
use super::proxy::{self, Configuration, Operator, ProxyProcess};
use super::record::Record;
use super::scenario::{Scenario, Scene, Told};
use super::settings::Settings;
use super::{BenchError, Progress};
use crate::balance::affinity::Key;
use crate::clock::Stopwatch;
use crate::lab::browser::Browser;
use crate::lab::report::{Details, Run};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// On a busy machine processes take their time to start, and a story that much longer.
const SLOW_STARTS: Duration = Duration::from_secs(5);

/// What is run.
pub(super) struct Bout<'a> {
    pub(super) settings: &'a Settings,
    pub(super) contender: &'a Contender,
    pub(super) scenario: Scenario,
    pub(super) repetition: u16,
}

/// Runs it, and gives what was measured.
pub(super) async fn run(
    bout: &Bout<'_>,
    redis: Option<String>,
    directory: &Path,
    progress: &dyn Progress,
) -> Result<Run, BenchError> {
    let Bout { settings, contender, scenario, repetition } = *bout;
    let workload = settings.workload(scenario, repetition);
    let mut fleet = Fleet::new(settings, contender.kind, redis, workload.seed)?;
    let at_first = scenario.servers_at_first(fleet.len());
    for index in 0..at_first {
        fleet.start(index).await?;
    }
    // One of its own: what an operator said to the proxy of another run must not be remembered.
    let directory = tempfile::tempdir_in(directory)?;
    let configuration = Configuration {
        policy: contender.policy,
        state_dir: directory.path().into(),
        key: Key::random(&mut StdRng::seed_from_u64(workload.seed)),
        idle_timeout: settings.idle_timeout(),
    };
    let backends = &fleet.addresses()[..at_first];
    let (proxy, mut operator) =
        ProxyProcess::start(&settings.stickler, configuration, backends).await?;

    let longest = settings.longest_run(scenario);
    let stage = Arc::new(Stage {
        clock: Stopwatch::start(),
        kind: contender.kind,
        record: Record::new(settings.warm_up, longest),
        stop: watch::Sender::new(false),
    });
    let mut clients = JoinSet::new();
    for session in workload.sessions() {
        let user = super::user_name(session.user);
        let address = proxy.address();
        let browser = Browser::new(address, &address.to_string())?.with_patience(PATIENCE);
        let browser = match HeaderValue::try_from(user.as_str()) {
            Ok(user) => browser.with_header(HeaderName::from_static(proxy::KEY_FIELD), user),
            Err(_) => browser,
        };
        clients.spawn(Client::new(stage.clone(), browser, user).play(session));
    }

    let watched = watch_over(bout, &stage, &mut fleet, &mut operator, progress).await;
    stage.stop.send_replace(true);
    // Everybody waits for no more than one answer, or perhaps a log-in after it.
    let leave = async { while clients.join_next().await.is_some() {} };
    let _ = timeout(PATIENCE * 3, leave).await;
    drop(clients);
    proxy.stop().await;
    fleet.kill_all().await;
    let (told, gauge, seconds) = watched?;
    Ok(result(bout, &stage, &told, &gauge, seconds))
}

/// Waits for the end of the warm-up, and from there on plays the scenario and measures until both
/// the time is over and the story has ended.
async fn watch_over(
    bout: &Bout<'_>,
    stage: &Stage,
    fleet: &mut Fleet,
    operator: &mut Operator,
    progress: &dyn Progress,
) -> Result<(Told, Gauge, f64), BenchError> {
    let Bout { settings, scenario, .. } = *bout;
    sleep(settings.warm_up.saturating_sub(stage.clock.elapsed())).await;
    progress.passed(settings.warm_up);
    let mut gauge = Gauge::new(fleet)?;
    gauge.begin().await;
    let scene = Scene {
        inspector: Inspector::new(fleet)?,
        fleet,
        operator,
        clock: stage.clock,
        length: settings.length,
        moment: settings.session_length() / 2,
        drain_for: settings.drain_for(),
    };
    let measured = Stopwatch::start();
    let longest = settings.longest_run(scenario).saturating_sub(settings.warm_up) + SLOW_STARTS;
    let story = async { timeout(longest, scenario.play(scene)).await };
    tokio::pin!(story);
    let mut told = None;
    let mut steps = Steps::default();
    while measured.elapsed() < settings.length || told.is_none() {
        tokio::select! {
            ended = &mut story, if told.is_none() => {
                // A story that takes too long is cut off; what it would have told is not measured.
                told = Some(ended.unwrap_or_else(|_| Ok(Told::default()))?);
            }
            length = steps.next(measured) => {
                gauge.step(length).await;
                progress.passed(length);
            }
        }
    }
    stage.record.end(stage.clock.elapsed());
    Ok((told.unwrap_or_default(), gauge, measured.elapsed().as_secs_f64()))
}

/// Steps of equal length, as far as the machine permits.
#[derive(Debug, Default)]
struct Steps {
    last: Duration,
}

impl Steps {
    /// Completes at the end of the step, and gives its true length.
    async fn next(&mut self, clock: Stopwatch) -> Duration {
        sleep((self.last + STEP).saturating_sub(clock.elapsed())).await;
        let now = clock.elapsed();
        let length = now.saturating_sub(self.last);
        self.last = now;
        length
    }
}

fn result(bout: &Bout<'_>, stage: &Stage, told: &Told, gauge: &Gauge, seconds: f64) -> Run {
    stage.record.with(|counts| {
        let has_channels = matches!(stage.kind, super::Kind::Hybrid | super::Kind::Websocket);
        Run {
            policy: bout.contender.label(),
            scenario: bout.scenario.as_str().into(),
            seconds,
            requests: counts.requests,
            errors: counts.errors.values().sum(),
            requests_lost: counts.requests_lost,
            latency: counts.latency(),
            sessions: counts.sessions,
            imbalance: gauge.imbalance(),
            load: gauge.load(),
            details: Details {
                state_ms: counts.state(),
                request_bytes: counts.request_bytes(),
                drain_seconds: told.drain_seconds.clone(),
                recovery_seconds: told.failed_at.map(|at| counts.recovery(at).as_secs_f64()),
                newcomers_share: told.newcomers_share,
                errors: counts.errors.clone(),
                channels_cut: has_channels.then_some(counts.channels_cut),
                generator_late_ms: Some(counts.lateness().p99),
                cost: None, // the report has the same without affinity, measured, if it was asked for
                predicted: predict(bout.settings, bout.contender, bout.scenario, bout.repetition),
            },
        }
    })
}
