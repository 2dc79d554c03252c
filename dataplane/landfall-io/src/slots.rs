//! A small state file of two slots. Their format and which of them counts is
//! `landfall_core::slot`.

use std::io;
use std::path::Path;

use landfall_core::slot::{SLOT_LEN, SlotPair};

use crate::fault;
use crate::storage::{Points, Storage};

const POINTS: Points = Points { read: "super-read", write: "super-write", sync: "super-sync" };
const MAGIC: [u8; 4] = *b"LFS1";

/// An open state file.
pub(crate) struct SlotFile {
    file: Storage,
    pair: SlotPair,
}

impl SlotFile {
    /// Opens or makes the file; the answer holds the newest valid content, if there is any. A
    /// slot that cannot be read is an error, not an older state: that would forget a seal.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Option<Vec<u8>>)> {
        // What a killed process wrote is flushed by that: the next write goes to the other slot,
        // and must not endanger the only state that is durable.
        let file = Storage::open_state(path, POINTS)?;
        let (first, second) = (read_slot(&file, 0)?, read_slot(&file, 1)?);
        let (pair, content) = SlotPair::recover(MAGIC, [first.as_deref(), second.as_deref()]);
        Ok((Self { file, pair }, content))
    }

    /// Writes the content durably. After an error the content before it still counts here; a
    /// later process may find either.
    pub(crate) fn store(&mut self, content: &[u8]) -> io::Result<()> {
        let (slot, bytes) = self.pair.next(content);
        self.file.write(&bytes, slot * SLOT_LEN as u64)?;
        self.file.sync()?;
        fault::point("super-stored")?;
        self.pair.stored();
        Ok(())
    }
}

fn read_slot(file: &Storage, slot: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; SLOT_LEN];
    match file.read(&mut bytes, slot * SLOT_LEN as u64) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;

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
