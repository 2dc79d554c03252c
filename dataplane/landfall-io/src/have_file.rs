//! The have-map on the state disk: pages of 1 GiB, each in two slots. A page of which neither
//! slot is valid counts as empty: its units are copied again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use landfall_core::receiver::UNITS_PER_PAGE;
use landfall_core::{Bitmap, UNIT};

use crate::slots::{SLOT_LEN, decode_slot, encode_slot, sync_parent};

const MAGIC: [u8; 4] = *b"LFH1";
const WORDS: u64 = UNITS_PER_PAGE / 64;

/// An open have-map.
pub(crate) struct HaveFile {
    file: File,
    generations: HashMap<u64, u64>,
}

impl HaveFile {
    /// Opens or makes the file of a disk and reads its map.
    pub(crate) fn open(path: &Path, capacity: u64) -> io::Result<(Self, Bitmap)> {
        let made = !path.exists();
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if made {
            sync_parent(path)?;
        }
        let mut map = Bitmap::for_disk(capacity, UNIT);
        let mut generations = HashMap::new();
        for page in 0..map.len().div_ceil(UNITS_PER_PAGE) {
            let mut newest: Option<(u64, Vec<u8>)> = None;
            for slot in 0..2 {
                let mut bytes = vec![0; SLOT_LEN];
                if file.read_exact_at(&mut bytes, slot_off(page, slot)).is_err() {
                    continue;
                }
                if let Some((generation, content)) = decode_slot(MAGIC, &bytes)
                    && newest.as_ref().is_none_or(|(known, _)| generation > *known)
                {
                    newest = Some((generation, content.to_vec()));
                }
            }
            if let Some((generation, content)) = newest {
                generations.insert(page, generation);
                load_page(&mut map, page, &content);
            }
        }
        Ok((Self { file, generations }, map))
    }

    /// Writes pages durably, each to the slot that does not hold its newest version.
    pub(crate) fn store(&mut self, pages: &[(u64, Vec<u8>)]) -> io::Result<()> {
        for (page, content) in pages {
            let generation = self.generations.get(page).copied().unwrap_or(0) + 1;
            let bytes = encode_slot(MAGIC, generation, content);
            self.file.write_all_at(&bytes, slot_off(*page, generation % 2))?;
            self.generations.insert(*page, generation);
        }
        if pages.is_empty() { Ok(()) } else { self.file.sync_data() }
    }
}

/// The bytes of one page of a map.
pub(crate) fn page_bytes(map: &Bitmap, page: u64) -> Vec<u8> {
    (0..WORDS).flat_map(|word| map.word(page * WORDS + word).to_le_bytes()).collect()
}

fn load_page(map: &mut Bitmap, page: u64, content: &[u8]) {
    for (word, bytes) in content.chunks_exact(8).enumerate().take(WORDS as usize) {
        let value = u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        if value != 0 {
            map.merge_word(page * WORDS + word as u64, value);
        }
    }
}

fn slot_off(page: u64, slot: u64) -> u64 {
    (page * 2 + slot) * SLOT_LEN as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_survives_and_a_damaged_page_counts_as_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("have");
        let capacity = 3 << 30;
        let (mut file, mut map) = HaveFile::open(&path, capacity).unwrap();
        map.set(5..70);
        map.set(UNITS_PER_PAGE..UNITS_PER_PAGE + 3);
        let pages = [(0, page_bytes(&map, 0)), (1, page_bytes(&map, 1))];
        file.store(&pages).unwrap();
        let (_, read) = HaveFile::open(&path, capacity).unwrap();
        assert_eq!((read.ones(), read.all(5..70)), (68, true));
        let raw = OpenOptions::new().write(true).open(&path).unwrap();
        raw.write_all_at(&[1], slot_off(0, 1) + 100).unwrap();
        let (_, read) = HaveFile::open(&path, capacity).unwrap();
        assert_eq!((read.ones(), read.all(UNITS_PER_PAGE..UNITS_PER_PAGE + 3)), (3, true));
    }
}
