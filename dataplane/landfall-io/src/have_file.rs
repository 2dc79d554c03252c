//! The have-map on the state disk. Its format is `landfall_core::have_pages`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use landfall_core::Bitmap;
use landfall_core::have_pages::HavePages;
use landfall_core::slot::SLOT_LEN;

use crate::fault;
use crate::slots::sync_parent;

/// An open have-map.
pub(crate) struct HaveFile {
    file: File,
    pages: HavePages,
}

impl HaveFile {
    /// Opens or makes the file of a disk and reads its map. What cannot be read counts as
    /// empty: its units are copied again.
    pub(crate) fn open(path: &Path, capacity: u64) -> io::Result<(Self, Bitmap)> {
        let made = !path.exists();
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if made {
            sync_parent(path)?;
        }
        // As with every state in two slots: durable before the other slot is written.
        file.sync_data()?;
        let (pages, map) = HavePages::recover(capacity, |off| {
            let mut bytes = vec![0; SLOT_LEN];
            file.read_exact_at(&mut bytes, off).ok().map(|()| bytes)
        });
        Ok((Self { file, pages }, map))
    }

    /// Writes pages durably, each to the slot that does not hold its newest version. After an
    /// error the versions before still count.
    pub(crate) fn store(&mut self, pages: &[(u64, Vec<u8>)]) -> io::Result<()> {
        if pages.is_empty() {
            return Ok(());
        }
        for (page, content) in pages {
            let write = self.pages.next(*page, content);
            fault::point("have-write")?;
            self.file.write_all_at(&write.bytes, write.off)?;
        }
        fault::point("have-sync")?;
        self.file.sync_data()?;
        pages.iter().for_each(|(page, _)| self.pages.stored(*page));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use landfall_core::have_pages::page_bytes;
    use landfall_core::receiver::UNITS_PER_PAGE;

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
        raw.write_all_at(&[1], SLOT_LEN as u64 + 100).unwrap();
        let (_, read) = HaveFile::open(&path, capacity).unwrap();
        assert_eq!((read.ones(), read.all(UNITS_PER_PAGE..UNITS_PER_PAGE + 3)), (3, true));
    }
}
