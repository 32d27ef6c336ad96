//! Files in `state_dir` that a restart finds.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a file says, if there is one. One that makes no sense is set aside, so that nothing in it
/// is lost for good, and counts as missing: a proxy that does not start serves nobody. `lost` says
/// what is not in force then.
pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    lost: &str,
    makes_sense: impl FnOnce(&T) -> io::Result<()>,
) -> Option<T> {
    let understood = || {
        let content = serde_json::from_slice(&fs::read(path)?)?;
        makes_sense(&content)?;
        Ok::<_, io::Error>(content)
    };
    match understood() {
        Ok(content) => Some(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let aside = path.with_extension("json.unreadable");
            let kept = fs::rename(path, &aside).map_or(path, |()| &aside);
            let kept = kept.display();
            tracing::warn!(%error, %kept, "{lost} cannot be read and is not in force");
            None
        }
    }
}

/// Is it a version that can be read?
pub(super) fn is_known(version: u32, known: u32) -> io::Result<()> {
    match version == known {
        true => Ok(()),
        false => {
            let error = format!("it is of version {version}, and {known} is what can be read");
            Err(io::Error::new(io::ErrorKind::InvalidData, error))
        }
    }
}

/// Writes it whole under another name, and then gives it its own: nobody ever reads half of it.
pub(super) fn write(path: &Path, content: &impl Serialize) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let fresh = path.with_extension("json.new");
    let mut file = File::create(&fresh)?;
    serde_json::to_writer_pretty(&mut file, content)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}

/// There is nothing to keep any more.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
