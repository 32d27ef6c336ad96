//! What discovery has found, kept in `state_dir`: a proxy that starts while nobody answers goes on
//! with whom it knew.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::operator_state::KeptBackend;
use super::state_file;
use crate::balance::BackendSpec;
use crate::config::leaf::Leaf;
use crate::config::{Discover, DiscoverSource};

const NAME: &str = "discovered.json";

/// The file's format. A later one that cannot be read as this gets another number.
const VERSION: u32 = 1;

/// Who was found, by pool and source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FoundState {
    version: u32,
    pools: BTreeMap<String, BTreeMap<String, Vec<KeptBackend>>>,
}

impl FoundState {
    /// Who was found before a restart.
    pub(super) fn load(state_dir: &Path) -> Self {
        let makes_sense = |state: &Self| state_file::is_known(state.version, VERSION);
        let lost = "what discovery had found";
        state_file::read(&state_dir.join(NAME), lost, makes_sense).unwrap_or_default()
    }

    /// Who was found by a source, if it was ever asked in the same way.
    pub(super) fn of(&self, pool: &str, source: &Discover) -> Option<Vec<BackendSpec>> {
        let kept = self.pools.get(pool)?.get(&key(source))?;
        kept.iter().cloned().map(|backend| backend.try_into().ok()).collect()
    }

    /// Remembers who was found.
    pub(super) fn set(&mut self, pool: &str, source: &Discover, found: &[BackendSpec]) {
        let kept = found.iter().map(KeptBackend::from).collect();
        self.pools.entry(pool.to_owned()).or_default().insert(key(source), kept);
    }

    /// Keeps it, as far as anybody will ask for it.
    pub(super) fn save<'a>(
        &mut self,
        state_dir: &Path,
        sources: impl Iterator<Item = (&'a str, &'a Discover)>,
    ) -> io::Result<()> {
        let wanted: Vec<_> = sources.map(|(pool, source)| (pool, key(source))).collect();
        let is_wanted = |pool: &str, source: &str| {
            wanted.iter().any(|(wanted, key)| *wanted == pool && key == source)
        };
        for (pool, sources) in &mut self.pools {
            sources.retain(|source, _| is_wanted(pool, source));
        }
        self.pools.retain(|_, sources| !sources.is_empty());
        self.version = VERSION;
        let path = state_dir.join(NAME);
        match self.pools.is_empty() {
            true => state_file::remove(&path),
            false => state_file::write(&path, self),
        }
    }
}

/// What is asked for, and what follows for the names. Whom to ask, and how often, changes nothing.
fn key(source: &Discover) -> String {
    let what = match &source.source {
        DiscoverSource::Dns { host, port, .. } => format!("dns {host}:{port}"),
        DiscoverSource::Srv { name, .. } => format!("srv {name}"),
        DiscoverSource::File(path) => format!("file {}", path.display()),
    };
    match &source.name {
        Some(name) => format!("{what} as {}", name.show()),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Discover {
        Discover { source: DiscoverSource::File(path.into()), name: None, min_members: 1 }
    }

    #[test]
    fn who_was_found_is_known_again_as_long_as_somebody_asks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let backends = [BackendSpec::new("a", "[::1]:80".parse().unwrap())];
        let mut state = FoundState::default();
        let (one, other) = (file("one"), file("other"));
        state.set("shop", &one, &backends);
        state.set("shop", &other, &backends);
        state.save(path, [("shop", &one)].into_iter()).unwrap();
        let mut again = FoundState::load(path);
        assert_eq!(again.of("shop", &one).as_deref(), Some(&backends[..]));
        assert_eq!((again.of("shop", &other), again.of("api", &one)), (None, None));
        let renamed = "x-{address}".to_owned();
        let renamed = Discover { name: Leaf::parse(&renamed).ok(), ..one.clone() };
        assert_eq!(again.of("shop", &renamed), None, "under other names they are others");
        again.save(path, std::iter::empty()).unwrap();
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
    }
}
