//! A small state file of two slots. The newer valid one counts; a write goes to the other, so
//! that a torn write leaves the state before it. Each slot: magic, CRC-32C, generation, length.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a slot: written with one system call, aligned like a disk's physical sector.
pub(crate) const SLOT_LEN: usize = 4096;
const HEAD_LEN: usize = 24;
const MAGIC: [u8; 4] = *b"LFS1";

/// An open state file.
pub(crate) struct SlotFile {
    file: File,
    generation: u64,
}

impl SlotFile {
    /// Opens or makes the file; the answer holds the newest valid content, if there is any.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Option<Vec<u8>>)> {
        let made = !path.exists();
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if made {
            sync_parent(path)?;
        }
        let mut newest: Option<(u64, Vec<u8>)> = None;
        for slot in 0..2 {
            let mut bytes = vec![0; SLOT_LEN];
            if file.read_exact_at(&mut bytes, slot * SLOT_LEN as u64).is_err() {
                continue;
            }
            if let Some((generation, content)) = decode_slot(MAGIC, &bytes)
                && newest.as_ref().is_none_or(|(known, _)| generation > *known)
            {
                newest = Some((generation, content.to_vec()));
            }
        }
        let generation = newest.as_ref().map_or(0, |(generation, _)| *generation);
        Ok((Self { file, generation }, newest.map(|(_, content)| content)))
    }

    /// Writes the content durably. After an error the content before it still counts.
    pub(crate) fn store(&mut self, content: &[u8]) -> io::Result<()> {
        let generation = self.generation + 1;
        let bytes = encode_slot(MAGIC, generation, content);
        self.file.write_all_at(&bytes, generation % 2 * SLOT_LEN as u64)?;
        self.file.sync_data()?;
        self.generation = generation;
        Ok(())
    }
}

/// A slot with its head.
pub(crate) fn encode_slot(magic: [u8; 4], generation: u64, content: &[u8]) -> Vec<u8> {
    assert!(content.len() <= SLOT_LEN - HEAD_LEN, "state of {} bytes", content.len());
    let mut bytes = vec![0; SLOT_LEN];
    bytes[0..4].copy_from_slice(&magic);
    bytes[8..16].copy_from_slice(&generation.to_le_bytes());
    bytes[16..20].copy_from_slice(&(content.len() as u32).to_le_bytes());
    bytes[HEAD_LEN..HEAD_LEN + content.len()].copy_from_slice(content);
    let sum = crc32c::crc32c(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Generation and content of a slot that was written whole.
pub(crate) fn decode_slot(magic: [u8; 4], bytes: &[u8]) -> Option<(u64, &[u8])> {
    let sum = u32::from_le_bytes(bytes[4..8].try_into().ok()?);
    let mut summed = bytes.to_vec();
    summed[4..8].fill(0);
    if bytes[0..4] != magic || crc32c::crc32c(&summed) != sum {
        return None;
    }
    let generation = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
    let length = u32::from_le_bytes(bytes[16..20].try_into().ok()?) as usize;
    bytes.get(HEAD_LEN..HEAD_LEN + length).map(|content| (generation, content))
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
