//! Small state files that are either the old or the new version after any crash:
//! written beside, synced, renamed, folder synced. Only the owner may read them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use landfall_api::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Makes a folder, with its parents, that only the owner may enter.
pub fn make_folder(path: &Path) -> Result<(), Problem> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Problem::storage(format_args!("cannot make {}", path.display()), &error))
}

/// Replaces `path` by `content`; durable on return.
pub fn write(path: &Path, content: &[u8]) -> Result<(), Problem> {
    replace(path, content)
        .map_err(|error| Problem::storage(format_args!("cannot write {}", path.display()), &error))
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// Replaces `path` by a JSON document.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Problem> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|error| Problem::storage("a state file has no JSON form", &error.into()))?;
    write(path, &text)
}

/// Reads a file; None when there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Problem> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem::storage(format_args!("cannot read {}", path.display()), &error)),
    }
}

/// Reads a JSON document; None when there is none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Problem> {
    let Some(content) = read(path)? else { return Ok(None) };
    serde_json::from_slice(&content).map(Some).map_err(|error| {
        Problem::storage(format_args!("{} is damaged", path.display()), &error.into())
    })
}

/// Removes a file; nothing happens when there is none.
pub fn remove(path: &Path) -> Result<(), Problem> {
    let removed = fs::remove_file(path).and_then(|()| match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    });
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Problem::storage(format_args!("cannot remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_state_file_is_private_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &1).unwrap();
        write_json(&path, &2).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(2));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn a_damaged_state_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        fs::write(&path, "{").unwrap();
        assert!(read_json::<u32>(&path).unwrap_err().detail.contains("state.json"));
    }
}
