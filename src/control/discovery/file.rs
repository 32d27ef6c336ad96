//! Backends in a file that somebody else writes.
//!
//! It is read every second, and what it says counts when it differs from what it said before. That
//! is cheap for a file of this size, and works with every way to replace a file: renamed over,
//! written in place, or behind a symbolic link that changes, as in a mounted ConfigMap.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::Found;
use crate::balance::BackendSpec;
use crate::config::file::Backend;

/// Between two looks.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// Bytes that such a file has at most.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// A file, and what it said last.
#[derive(Default)]
pub(super) struct Watched {
    last: Option<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    backends: Vec<Backend>,
}

impl Watched {
    /// What it says now; `None` if that is what it has said before.
    pub(super) async fn read(&mut self, path: &Path) -> Result<Option<Found>, String> {
        let size = tokio::fs::metadata(path).await.map_err(|error| error.to_string())?.len();
        if size > MAX_SIZE {
            return Err(format!("{size} bytes are too many"));
        }
        let bytes = tokio::fs::read(path).await.map_err(|error| error.to_string())?;
        if self.last.as_ref() == Some(&bytes) {
            return Ok(None);
        }
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        let backends = parse(&bytes, is_json);
        self.last = Some(bytes);
        Ok(Some(Found { backends: backends?, again_in: INTERVAL }))
    }
}

fn parse(bytes: &[u8], is_json: bool) -> Result<Vec<BackendSpec>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let backends = match is_json {
        false => toml::from_str::<Content>(text).map_err(|error| error.to_string())?.backends,
        true if text.trim_start().starts_with('[') => {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        }
        true => serde_json::from_str::<Content>(text).map_err(|error| error.to_string())?.backends,
    };
    let mut names = HashSet::new();
    let twice = backends.iter().find(|backend| !names.insert(&backend.name.0.0));
    match twice {
        Some(backend) => Err(format!("two backends are named {}", backend.name.0.0)),
        None => Ok(backends.iter().map(spec).collect()),
    }
}

fn spec(backend: &Backend) -> BackendSpec {
    BackendSpec {
        name: backend.name.0.0.clone(),
        incarnation: backend.incarnation.as_ref().map(|incarnation| incarnation.0.0.clone()),
        address: backend.address.0.clone(),
        weight: backend.weight,
        priority: backend.priority.unwrap_or(u32::from(backend.backup)),
        max_connections: backend.max_connections,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, is_json: bool) -> Result<Vec<(String, u32)>, String> {
        let backends = parse(text.as_bytes(), is_json)?;
        Ok(backends.into_iter().map(|spec| (spec.name, spec.weight)).collect())
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = "[[backends]]\nname = \"a\"\naddress = \"h:1\"\nweight = 2\n";
        let list = "[{\"name\": \"a\", \"address\": \"h:1\", \"weight\": 2}]";
        let object = format!("{{\"backends\": {list}}}");
        for (text, is_json) in [(toml, false), (list, true), (&object, true)] {
            assert_eq!(names(text, is_json), Ok(vec![("a".into(), 2)]), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_as_a_whole() {
        for text in [
            "[[backends]]\nname = \"a\"",
            "[[backends]]\nname = \"a b\"\naddress = \"h:1\"",
            "[[backends]]\nname = \"a\"\naddress = \"h:1\"\nwieght = 1",
            "[[backends]]\nname = \"a\"\naddress = \"h:1\"\n[[backends]]\nname = \"a\"\naddress = \"h:2\"",
            "[[backends]]\nname = \"a\"\naddress",
        ] {
            assert!(names(text, false).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn what_has_not_changed_is_no_news() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backends.json");
        let mut watched = Watched::default();
        assert!(watched.read(&path).await.is_err());
        std::fs::write(&path, "[]").unwrap();
        assert!(watched.read(&path).await.unwrap().is_some());
        assert!(watched.read(&path).await.unwrap().is_none());
        std::fs::write(&path, "[ ]").unwrap();
        assert!(watched.read(&path).await.unwrap().is_some());
    }
}
