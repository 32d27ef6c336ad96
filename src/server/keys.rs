//! A token key of our own, for those who configured none: made once and kept, so that sessions
//! survive a restart.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rand_core::Rng;

use super::StartError;
use crate::balance::affinity::Key;

/// The key in `state_dir`. Made on the first start.
pub(super) fn own(state_dir: &Path, rng: &mut dyn Rng) -> Result<Key, StartError> {
    let path = state_dir.join("token.key");
    let shown = path.display();
    let key = read_or_make(state_dir, &path, rng)
        .map_err(|source| StartError::Key { path: shown.to_string(), source })?;
    tracing::info!(
        path = %shown,
        "tokens are sealed with a key of this proxy's own; proxies that are to share sessions \
         need a shared key in [token]"
    );
    Ok(key)
}

fn read_or_make(state_dir: &Path, path: &Path, rng: &mut dyn Rng) -> io::Result<Key> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let mode = fs::metadata(path)?.permissions().mode();
            if mode & 0o077 != 0 {
                let path = path.display();
                tracing::warn!(%path, "others may read the token key; chmod 600 it");
            }
            let spoilt = |why| io::Error::new(io::ErrorKind::InvalidData, why);
            return Key::from_base64(&text).map_err(spoilt);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::create_dir_all(state_dir)?;
    let key = Key::random(rng);
    match write(&key, path, rng) {
        Ok(()) => Ok(key),
        // Another process was faster: its key counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.exists() => {
            read_or_make(state_dir, path, rng)
        }
        Err(error) => Err(error),
    }
}

/// Writes the key whole under a name that nobody else uses, and then gives it its own: nobody ever
/// reads half a key.
fn write(key: &Key, path: &Path, rng: &mut dyn Rng) -> io::Result<()> {
    let fresh = path.with_extension(format!("new-{:016x}", rng.next_u64()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let written = writeln!(file, "{}", key.to_base64())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&fresh, path));
    let _ = fs::remove_file(&fresh);
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("deep/state");
        let mut rng = StdRng::seed_from_u64(1);
        let first = own(&state, &mut rng).unwrap();
        assert_eq!(own(&state, &mut rng).unwrap(), first);
        let mode = fs::metadata(state.join("token.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_spoilt_key_is_an_error_and_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token.key"), "half a ke").unwrap();
        let error = own(dir.path(), &mut StdRng::seed_from_u64(1)).unwrap_err().to_string();
        assert!(error.contains("token.key") && error.contains("remove it"), "{error}");
        assert!(!error.contains("may write"), "not a matter of rights: {error}");
        assert_eq!(fs::read_to_string(dir.path().join("token.key")).unwrap(), "half a ke");
    }

    #[test]
    fn what_another_process_left_behind_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        // In a container every proxy is process 1.
        let left = dir.path().join(format!("token.new-{}", std::process::id()));
        fs::write(&left, "half a ke").unwrap();
        own(dir.path(), &mut StdRng::seed_from_u64(1)).unwrap();
        assert!(left.exists(), "it may be another proxy's that is at it");
    }
}
