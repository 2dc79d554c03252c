//! The have-map on the state disk. Its format is `landfall_core::have_pages`.

use std::io;
use std::path::Path;

use landfall_core::Bitmap;
use landfall_core::have_pages::HavePages;
use landfall_core::slot::SLOT_LEN;

use crate::storage::{Points, Storage};

const POINTS: Points = Points { read: "have-read", write: "have-write", sync: "have-sync" };

/// An open have-map.
pub(crate) struct HaveFile {
    file: Storage,
    pages: HavePages,
}

impl HaveFile {
    /// Opens or makes the file of a disk and reads its map. What cannot be read counts as
    /// empty: its units are copied again.
    pub(crate) fn open(path: &Path, capacity: u64) -> io::Result<(Self, Bitmap)> {
        // As with every state in two slots: durable before the other slot is written.
        let file = Storage::open_state(path, POINTS)?;
        let (pages, map) = HavePages::recover(capacity, |off| {
            let mut bytes = vec![0; SLOT_LEN];
            file.read(&mut bytes, off).ok().map(|()| bytes)
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
            self.file.write(&write.bytes, write.off)?;
        }
        self.file.sync()?;
        pages.iter().for_each(|(page, _)| self.pages.stored(*page));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;

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
