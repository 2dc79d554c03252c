//! The leaves of a destination's hash tree on the state disk: `landfall_core::leaves` decides
//! what may stand there, this reads and writes it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use landfall_core::Extent;
use landfall_core::leaves::CHUNKS_PER_PAGE;
use landfall_core::receiver::ReceiverDisk;
use landfall_core::slot::SLOT_LEN;

use super::{Destination, Receiver, start_ticking};
use crate::storage::{Points, Storage};

const POINTS: Points = Points { read: "leaves-read", write: "leaves-write", sync: "leaves-sync" };

/// Leaves are kept so long after their chunk last changed, or up to twice that.
const STORE_EVERY: Duration = Duration::from_secs(5);
/// Pages written at once, 30 GiB of disk: bounds what a flush may have to wait for.
const PAGES_MAX: usize = 256;

/// The open file of one disk.
pub(super) struct TreeFile {
    /// Held from the image of a page until it is written: images go out in their order.
    file: Mutex<Storage>,
}

impl TreeFile {
    /// Opens or makes the file and gives the book its leaves.
    pub(super) fn open(path: &Path, book: &mut ReceiverDisk) -> io::Result<Self> {
        // A leaf that a killed process took back in the cache must not come back.
        let file = Storage::open_state(path, POINTS)?;
        book.recover_leaves(|page| {
            let mut bytes = vec![0; SLOT_LEN];
            file.read(&mut bytes, page * SLOT_LEN as u64).ok().map(|()| bytes)
        });
        Ok(Self { file: Mutex::new(file) })
    }

    /// Writes pages durably as the book has them now.
    pub(super) fn store(
        &self,
        book: &Mutex<ReceiverDisk>,
        pages: &BTreeSet<u64>,
        all: bool,
    ) -> io::Result<()> {
        if pages.is_empty() {
            return Ok(());
        }
        let file = self.file.lock().expect("leaves");
        let write = |page: &u64| {
            let bytes = book.lock().expect("book").leaf_page(*page, all);
            file.write(&bytes, page * SLOT_LEN as u64)
        };
        pages.iter().try_for_each(write).and_then(|()| file.sync()).inspect_err(|_| {
            let mut book = book.lock().expect("book");
            pages.iter().for_each(|page| book.leaves_mut().store_failed(*page));
        })
    }
}

impl Destination {
    /// Keeps what is worth keeping; with `all` what changed lately too.
    pub(super) fn store_leaves(&self, all: bool) -> io::Result<()> {
        let pages = {
            let mut book = self.book.lock().expect("book");
            if !all {
                book.leaves_mut().age();
            }
            let max = if all { usize::MAX } else { PAGES_MAX };
            book.leaves().pages_to_store(book.tree(), all, max)
        };
        self.leaves.store(&self.book, &pages, all)
    }

    /// The source compares an extent: it may have been written by a receiver that was killed
    /// before it could say so.
    pub(super) fn doubt_leaves(&self, extent: Extent) -> io::Result<()> {
        if !self.book.lock().expect("book").doubt(extent) {
            return Ok(());
        }
        let chunks = extent.touched(landfall_core::CHUNK);
        let pages = chunks.start / CHUNKS_PER_PAGE..=(chunks.end - 1) / CHUNKS_PER_PAGE;
        self.leaves.store(&self.book, &pages.collect(), false)
    }
}

/// Starts the thread that keeps leaves once their chunks are quiet.
pub(super) fn start(receiver: &Arc<Receiver>) {
    start_ticking(receiver, "lf-leaves", STORE_EVERY, |receiver| {
        for disk in receiver.open_destinations() {
            if let Err(error) = disk.store_leaves(false) {
                tracing::warn!(%error, "leaves cannot be kept: the disk is read again at a start");
            }
        }
    });
}

impl Receiver {
    /// Ends on purpose: nothing is lost without this, but the next start is quicker.
    pub fn close(&self) {
        let _one_at_a_time = self.admission.lock().expect("admission");
        let session = self.session.lock().expect("session").take();
        if let Some(session) = session {
            session.close_and_join();
        }
        if let Err(error) = self.flush(None) {
            tracing::error!(%error, "the last flush failed");
            return;
        }
        for disk in self.open_destinations() {
            if let Err(error) = disk.store_leaves(true) {
                tracing::warn!(%error, "leaves cannot be kept: the disk is read again at a start");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use landfall_api::{ByteCount, DiskPair, Uuid};
    use landfall_core::CHUNK;

    use super::*;

    const DISK: u64 = 8 * CHUNK;

    fn open(dir: &Path) -> Arc<Destination> {
        let uuid =
            |digit: &str| Uuid::parse(&"00000000-0000-0000-0000-00000000000x".replace('x', digit));
        let pair = DiskPair {
            source_uuid: uuid("1").unwrap(),
            destination_uuid: uuid("2").unwrap(),
            capacity_bytes: ByteCount(DISK),
        };
        Destination::open(dir, dir, &pair).unwrap().unwrap()
    }

    fn hash_all(disk: &Destination) {
        let mut buf = vec![0; CHUNK as usize];
        while disk.hash_next(0, true, &mut buf).unwrap().is_some() {}
    }

    fn stale(disk: &Destination) -> u64 {
        disk.book.lock().unwrap().tree().stale().ones()
    }

    #[test]
    fn a_receiver_that_starts_again_reads_only_what_changed_since() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("00000000-0000-0000-0000-000000000002");
        File::create_new(&name).unwrap().set_len(DISK).unwrap();
        let disk = open(dir.path());
        for chunk in 0..6 {
            disk.apply_data(Extent::new(chunk * CHUNK, CHUNK), &vec![7; CHUNK as usize]).unwrap();
        }
        disk.flush().unwrap();
        hash_all(&disk);
        disk.store_leaves(true).unwrap();
        let root = disk.book.lock().unwrap().tree().root().unwrap();
        drop(disk);
        let disk = open(dir.path());
        assert_eq!(stale(&disk), 0);
        assert_eq!(disk.book.lock().unwrap().tree().root(), Some(root));
        // Acknowledged, then killed: the leaf on disk is not believed.
        disk.apply_data(Extent::new(2 * CHUNK, 4096), &[8; 4096]).unwrap();
        disk.flush().unwrap();
        drop(disk);
        let disk = open(dir.path());
        assert_eq!(stale(&disk), 1);
        hash_all(&disk);
        assert_ne!(disk.book.lock().unwrap().tree().root(), Some(root));
        // The source compares a chunk that it sent and was not answered about.
        disk.unit_hashes(4 * 16, 1).unwrap();
        assert_eq!(stale(&disk), 1);
        drop(disk);
        // The other chunk was read meanwhile, and was kept with it.
        assert_eq!(stale(&open(dir.path())), 1);
    }
}
