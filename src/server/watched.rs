//! Files that are looked at every second, to see whether they say something else.
//!
//! They are read instead of being watched: that is cheap for files of this size, and it does not
//! matter how somebody replaces them, in place, by renaming, or behind a symbolic link as in a
//! mounted ConfigMap.

use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::time::Duration;

use foldhash::fast::FixedState;

/// Between two looks.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// What the files said.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// When that was last acted on.
    known: Option<u64>,
    /// At the last look.
    last: Option<u64>,
}

impl Watched {
    /// Do they say something else than they did when this was last true, or first asked? Not
    /// before they have said the same twice: an editor may be half-way through.
    pub(super) async fn have_changed(&mut self, files: &[PathBuf]) -> bool {
        let now = Some(fingerprint(files).await);
        let is_settled = std::mem::replace(&mut self.last, now) == now;
        let former = self.known;
        if former.is_none() || is_settled {
            self.known = now;
        }
        is_settled && former.is_some() && former != now
    }
}

async fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    for file in files {
        match tokio::fs::read(file).await {
            Ok(bytes) => hasher.write(&bytes),
            Err(error) => hasher.write_u8(error.kind() as u8),
        }
        hasher.write_u64(u64::MAX);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_once_and_when_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let files = [dir.path().join("a"), dir.path().join("b")];
        fs::write(&files[0], "1").unwrap();
        let mut watched = Watched::default();
        assert!(!watched.have_changed(&files).await && !watched.have_changed(&files).await);
        fs::write(&files[1], "half").unwrap();
        assert!(!watched.have_changed(&files).await, "it may go on");
        fs::write(&files[1], "whole").unwrap();
        assert!(!watched.have_changed(&files).await);
        assert!(watched.have_changed(&files).await);
        assert!(!watched.have_changed(&files).await);
        let fresh = dir.path().join("fresh");
        fs::write(&fresh, "2").unwrap();
        fs::rename(fresh, &files[0]).unwrap();
        assert!(!watched.have_changed(&files).await);
        assert!(watched.have_changed(&files).await, "renamed over");
    }
}
