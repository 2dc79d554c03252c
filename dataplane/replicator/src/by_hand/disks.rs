//! The disks a user named: whether they are there, how large they are, and that nobody else
//! writes to them.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use landfall_api::{Code, Problem};

use super::{image_lock, trouble};

/// A disk that is there and ours for as long as this lives.
#[derive(Debug)]
pub struct HeldDisk {
    /// Its path without links.
    pub path: PathBuf,
    /// Its size in bytes.
    pub capacity: u64,
    /// Holds the lock.
    pub file: File,
}

impl HeldDisk {
    /// Takes a disk that must be there.
    pub fn take(path: &Path) -> Result<Self, Problem> {
        let shown = path.display();
        let file = File::options().read(true).write(true).open(path).map_err(|error| {
            let remedy = match error.kind() {
                std::io::ErrorKind::NotFound => "Give the path of a raw image or block device.",
                std::io::ErrorKind::PermissionDenied => "Run as a user who may read and write it.",
                _ => "Give the path of a raw image or block device that can be written.",
            };
            trouble(Code::StorageFailed, format!("{shown} cannot be opened: {error}"), remedy)
        })?;
        Self::hold(path, file)
    }

    /// Makes a sparse disk that is not there yet.
    pub fn create(path: &Path, capacity: u64) -> Result<Self, Problem> {
        let make = || {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
            file.set_len(capacity)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = make().map_err(|error: std::io::Error| {
            let detail = format!("{} cannot be made: {error}", path.display());
            trouble(Code::StorageFailed, detail, "Look at the folder and the free space there.")
        })?;
        Self::hold(path, file)
    }

    /// Capacity of a file that is not to be written.
    pub fn capacity_of(path: &Path) -> Result<u64, Problem> {
        let size = File::open(path).and_then(|mut file| file.seek(SeekFrom::End(0)));
        size.map_err(|error| {
            let detail = format!("{} cannot be read: {error}", path.display());
            trouble(Code::StorageFailed, detail, "Give the path of a raw image or block device.")
        })
    }

    fn hold(path: &Path, mut file: File) -> Result<Self, Problem> {
        let failed = |error| Problem::storage(path.display(), &error);
        let kind = file.metadata().map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(trouble(
                Code::BadRequest,
                format!("{} is neither a file nor a block device", path.display()),
                "Give a raw image or a block device.",
            ));
        }
        let capacity = file.seek(SeekFrom::End(0)).map_err(failed)?;
        if capacity == 0 || !capacity.is_multiple_of(512) {
            return Err(trouble(
                Code::BadRequest,
                format!("{} has {capacity} bytes, which is no size of a disk", path.display()),
                "A raw disk has a positive multiple of 512 bytes; `truncate -s %512 FILE` pads it.",
            ));
        }
        if !image_lock::take(&file).map_err(failed)? {
            return Err(trouble(
                Code::BadRequest,
                format!("{} is in use by another process", path.display()),
                "End the process that has it open (a running guest must use the NBD socket \
                 instead of the file), then start again.",
            ));
        }
        let path = std::fs::canonicalize(path).map_err(failed)?;
        Ok(Self { path, capacity, file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_does_not_fit_is_refused_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let missing = HeldDisk::take(&path).unwrap_err();
        assert!(missing.detail.contains("disk cannot be opened"), "{missing:?}");
        std::fs::write(&path, "odd").unwrap();
        assert!(HeldDisk::take(&path).unwrap_err().remedy.contains("512"));
        std::fs::remove_file(&path).unwrap();
        let held = HeldDisk::create(&path, 1024).unwrap();
        assert_eq!(held.capacity, 1024);
        assert!(HeldDisk::take(&path).unwrap_err().detail.contains("in use"));
        assert!(HeldDisk::take(folder.path()).is_err());
    }
}
