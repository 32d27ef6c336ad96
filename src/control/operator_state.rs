//! What operators have said, kept in `state_dir` so that it survives a restart.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::roster::WeightSet;
use super::state_file;
use crate::balance::{BackendSpec, DrainPolicy, Timestamp};

const NAME: &str = "operator.json";

/// The file's format. A later one that cannot be read as this gets another number.
const VERSION: u32 = 1;

/// What operators have said about all pools, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OperatorState {
    version: u32,
    pub(super) pools: BTreeMap<String, PoolState>,
}

/// About one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PoolState {
    /// Backends that were taken out of service, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) out_of_service: BTreeMap<String, OutOfService>,
    /// Weights, by backend.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) weights: BTreeMap<String, WeightSet>,
    /// Backends that were added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) added: Vec<KeptBackend>,
}

/// How a backend was taken out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub(super) enum OutOfService {
    /// It drains.
    Draining(Draining),
    /// It has drained.
    Drained,
    /// For maintenance.
    Maintenance,
}

/// A drain. All times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Draining {
    /// When it began, since the epoch.
    since: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    move_idle_after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moves_per_second: Option<NonZeroU32>,
}

/// A backend that is not in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptBackend {
    name: String,
    address: String,
    weight: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incarnation: Option<String>,
    #[serde(default)]
    priority: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_connections: Option<u32>,
}

impl From<&BackendSpec> for KeptBackend {
    fn from(spec: &BackendSpec) -> Self {
        KeptBackend {
            name: spec.name.clone(),
            address: spec.address.to_string(),
            weight: spec.weight,
            incarnation: spec.incarnation.clone(),
            priority: spec.priority,
            max_connections: spec.max_connections,
        }
    }
}

impl TryFrom<KeptBackend> for BackendSpec {
    type Error = String;

    fn try_from(added: KeptBackend) -> Result<Self, String> {
        Ok(BackendSpec {
            address: added.address.parse()?,
            name: added.name,
            incarnation: added.incarnation,
            weight: added.weight,
            priority: added.priority,
            max_connections: added.max_connections,
        })
    }
}

impl Draining {
    pub(super) fn new(policy: DrainPolicy, since: Timestamp) -> Self {
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Draining {
            since: since.as_millis(),
            deadline: policy.deadline.map(millis),
            move_idle_after: policy.move_idle_after.map(millis),
            moves_per_second: policy.moves_per_second,
        }
    }

    pub(super) fn since(&self) -> Timestamp {
        Timestamp::from_millis(self.since)
    }

    pub(super) fn policy(&self) -> DrainPolicy {
        DrainPolicy {
            deadline: self.deadline.map(Duration::from_millis),
            move_idle_after: self.move_idle_after.map(Duration::from_millis),
            moves_per_second: self.moves_per_second,
        }
    }
}

impl OperatorState {
    /// What was said before.
    pub(super) fn load(state_dir: &Path) -> Self {
        let lost = "what operators had said (drains, maintenance, weights, added backends)";
        let makes_sense = |state: &Self| state_file::is_known(state.version, VERSION);
        state_file::read(&state_dir.join(NAME), lost, makes_sense).unwrap_or_default()
    }

    /// Keeps it.
    pub(super) fn save(&mut self, state_dir: &Path) -> io::Result<()> {
        self.version = VERSION;
        self.pools.retain(|_, pool| *pool != PoolState::default());
        let path = state_dir.join(NAME);
        match self.pools.is_empty() {
            true => state_file::remove(&path),
            false => state_file::write(&path, self),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn state() -> OperatorState {
        let mut pool = PoolState::default();
        let policy = DrainPolicy { deadline: Some(Duration::from_secs(5)), ..Default::default() };
        let draining = OutOfService::Draining(Draining::new(policy, Timestamp::from_millis(7)));
        pool.out_of_service.insert("a".into(), draining);
        pool.out_of_service.insert("b".into(), OutOfService::Maintenance);
        pool.weights.insert("c".into(), WeightSet { weight: 5, instead_of: 1 });
        pool.added.push((&BackendSpec::new("d", "[::1]:80".parse().unwrap())).into());
        let mut state = OperatorState::default();
        state.pools.insert("shop".into(), pool);
        state
    }

    #[test]
    fn what_was_said_is_read_again_and_no_more_than_that_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("state");
        assert_eq!(OperatorState::load(&deep), OperatorState::default());
        let mut said = state();
        said.save(&deep).unwrap();
        assert_eq!(OperatorState::load(&deep), said);
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 1, "nothing else is left");
        let added = said.pools["shop"].added[0].clone();
        assert_eq!(BackendSpec::try_from(added).unwrap().address.to_string(), "[::1]:80");
        OperatorState::default().save(&deep).unwrap();
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["{", "{}", "{\"version\": 2, \"pools\": {}}"] {
            fs::write(dir.path().join(NAME), text).unwrap();
            assert_eq!(OperatorState::load(dir.path()), OperatorState::default());
            let kept = fs::read_to_string(dir.path().join("operator.json.unreadable")).unwrap();
            assert_eq!(kept, text);
        }
    }
}
