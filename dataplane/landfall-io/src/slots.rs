//! A small state file of two slots. Their format and which of them counts is
//! `landfall_core::slot`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use landfall_core::slot::{SLOT_LEN, SlotPair};

use crate::fault;

const MAGIC: [u8; 4] = *b"LFS1";

/// An open state file.
pub(crate) struct SlotFile {
    file: File,
    pair: SlotPair,
}

impl SlotFile {
    /// Opens or makes the file; the answer holds the newest valid content, if there is any. A
    /// slot that cannot be read is an error, not an older state: that would forget a seal.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Option<Vec<u8>>)> {
        let made = !path.exists();
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if made {
            sync_parent(path)?;
        }
        // What a killed process wrote may be in the cache only: the next write goes to the other
        // slot, and must not endanger the only state that is durable.
        file.sync_data()?;
        let (first, second) = (read_slot(&file, 0)?, read_slot(&file, 1)?);
        let (pair, content) = SlotPair::recover(MAGIC, [first.as_deref(), second.as_deref()]);
        Ok((Self { file, pair }, content))
    }

    /// Writes the content durably. After an error the content before it still counts here; a
    /// later process may find either.
    pub(crate) fn store(&mut self, content: &[u8]) -> io::Result<()> {
        let (slot, bytes) = self.pair.next(content);
        fault::point("super-write")?;
        self.file.write_all_at(&bytes, slot * SLOT_LEN as u64)?;
        fault::point("super-sync")?;
        self.file.sync_data()?;
        fault::point("super-stored")?;
        self.pair.stored();
        Ok(())
    }
}

fn read_slot(file: &File, slot: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; SLOT_LEN];
    match file.read_exact_at(&mut bytes, slot * SLOT_LEN as u64) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a new name durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Replaces a small text file durably.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let file = File::create(&temporary)?;
    file.write_all_at(content, 0)?;
    file.sync_data()?;
    std::fs::rename(&temporary, path)?;
    sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_write_leaves_the_state_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("super");
        let (mut file, content) = SlotFile::open(&path).unwrap();
        assert_eq!(content, None);
        file.store(b"one").unwrap();
        file.store(b"two").unwrap();
        assert_eq!(SlotFile::open(&path).unwrap().1.unwrap(), b"two");
        for torn in [0, 9, 30, 4_000] {
            let raw = OpenOptions::new().write(true).open(&path).unwrap();
            raw.write_all_at(&[0xa5], torn).unwrap();
            assert_eq!(SlotFile::open(&path).unwrap().1.unwrap(), b"one", "byte {torn}");
        }
        let (mut file, _) = SlotFile::open(&path).unwrap();
        file.store(b"three").unwrap();
        assert_eq!(SlotFile::open(&path).unwrap().1.unwrap(), b"three");
    }
}
