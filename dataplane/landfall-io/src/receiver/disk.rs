//! One destination disk: its file, its book and its have-map on the state disk.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use landfall_api::{Code, DiskPair, Problem};
use landfall_core::have_pages::page_bytes;
use landfall_core::receiver::{Applying, ReceiverDisk};
use landfall_core::tree::{Hash, hash};
use landfall_core::{CHUNK, Extent, UNIT};

use super::tree_file::TreeFile;
use crate::Result;
use crate::buffers::Pool;
use crate::clock::now_ns;
use crate::disk_file::{DiskFile, TARGET};
use crate::fault;
use crate::have_file::HaveFile;
use crate::stats::DestinationStages;

pub(super) struct Destination {
    pub(super) pair: DiskPair,
    pub(super) file: DiskFile,
    pub(super) book: Mutex<ReceiverDisk>,
    map: Mutex<HaveFile>,
    pub(super) leaves: TreeFile,
    written: AtomicU64,
    pub(super) stages: DestinationStages,
}

impl Destination {
    /// `None` when the disk is not attached.
    pub(super) fn open(
        disks_dir: &Path,
        state_dir: &Path,
        pair: &DiskPair,
    ) -> Result<Option<std::sync::Arc<Self>>> {
        let uuid = pair.destination_uuid.as_str();
        let file = match DiskFile::open(&disks_dir.join(uuid), pair.capacity_bytes.0, TARGET) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(Problem::new(Code::DiskChanged, format!("disk {uuid}: {error}")));
            }
            Err(error) => return Err(Problem::storage(format!("disk {uuid}"), &error)),
        };
        let capacity = file.capacity();
        // A killed process may have left writes in the cache only; if one of them never reached
        // the medium, the cache must not answer for it.
        file.sync().map_err(|e| Problem::storage(format!("disk {uuid}"), &e))?;
        file.drop_cache();
        let (map, have) = HaveFile::open(&state_dir.join(format!("{uuid}.have")), capacity)
            .map_err(|e| Problem::storage(format!("have-map of disk {uuid}"), &e))?;
        let mut book = ReceiverDisk::new(capacity, have);
        file.each_data(|extent| book.tree_mut().touch(extent));
        let leaves = TreeFile::open(&state_dir.join(format!("{uuid}.leaves")), &mut book)
            .map_err(|e| Problem::storage(format!("hash tree of disk {uuid}"), &e))?;
        Ok(Some(std::sync::Arc::new(Self {
            pair: pair.clone(),
            file,
            book: Mutex::new(book),
            map: Mutex::new(map),
            leaves,
            written: AtomicU64::new(0),
            stages: DestinationStages::default(),
        })))
    }

    /// Bytes of the have-map, bytes written.
    pub(super) fn figures(&self) -> (u64, u64) {
        let book = self.book.lock().expect("book");
        let have = (book.have().ones() * UNIT).min(book.capacity());
        (have, self.written.load(Relaxed))
    }

    pub(super) fn apply_data(&self, extent: Extent, data: &[u8]) -> io::Result<()> {
        let start = now_ns();
        let began = self.begin_apply();
        let written = fault::point("apply-write")
            .and_then(|()| self.file.write_once(data, extent.off))
            .and_then(|()| fault::point("apply-done"));
        self.stages.apply.passed(start, extent.len);
        self.written.fetch_add(extent.len, Relaxed);
        self.note(began, extent, written, true)
    }

    /// Zeroes and holes keep a thin disk thin: what is a hole already stays untouched.
    pub(super) fn apply_zeroes(&self, extent: Extent) -> io::Result<()> {
        let began = self.begin_apply();
        if self.file.is_hole(extent) {
            return self.note(began, extent, Ok(()), false);
        }
        let punched = self.file.punch(extent);
        self.note(began, extent, punched, true)
    }

    fn begin_apply(&self) -> Applying {
        self.book.lock().expect("book").begin_apply()
    }

    /// A failed write may have changed a part: its chunks are hashed again either way.
    fn note(
        &self,
        began: Applying,
        extent: Extent,
        done: io::Result<()>,
        changed: bool,
    ) -> io::Result<()> {
        let mut book = self.book.lock().expect("book");
        match done {
            Ok(()) => book
                .applied(began, extent, changed)
                .map_err(|_| io::Error::other("a flush failed while the frame was written")),
            Err(error) => {
                book.apply_failed(extent);
                Err(error)
            }
        }
    }

    /// I4: data durable, then have-map durable. Only after this may anything be acknowledged.
    /// Leaves on disk that the changes outdated are durably not valid either.
    pub(super) fn flush(&self) -> io::Result<()> {
        let doubtful = {
            let mut book = self.book.lock().expect("book");
            if !book.begin_flush() {
                return Ok(());
            }
            book.leaves().doubtful_pages()
        };
        let start = now_ns();
        let sync = || fault::point("data-sync").and_then(|()| self.file.sync());
        let synced = match doubtful.is_empty() {
            true => sync(),
            false => std::thread::scope(|scope| {
                let leaves = scope.spawn(|| self.leaves.store(&self.book, &doubtful, false));
                let synced = sync();
                let stopped = |_| Err(io::Error::other("storing leaves stopped"));
                synced.and(leaves.join().unwrap_or_else(stopped))
            }),
        };
        if let Err(error) = synced {
            let changed = self.book.lock().expect("book").flush_failed();
            if let Err(error) = self.store_map(&changed) {
                tracing::error!(%error, "the have-map cannot take back what a failed flush lost");
            }
            return Err(error);
        }
        let changed = self.book.lock().expect("book").flushed();
        let stored = self.store_map(&changed);
        self.stages.flush.passed(start, 0);
        stored
    }

    fn store_map(&self, changed: &BTreeSet<u64>) -> io::Result<()> {
        let mut map = self.map.lock().expect("map");
        let content = |page: &u64| {
            let book = self.book.lock().expect("book");
            (*page, page_bytes(book.have(), *page))
        };
        map.store(&changed.iter().map(content).collect::<Vec<_>>())?;
        self.book.lock().expect("book").stored(changed);
        Ok(())
    }

    /// Takes the hash of one stale chunk from the disk: of any, or of one that is all durable.
    pub(super) fn hash_next(
        &self,
        from: u64,
        any: bool,
        buf: &mut [u8],
    ) -> io::Result<Option<u64>> {
        let hashing = {
            let mut book = self.book.lock().expect("book");
            let next =
                if any { book.tree().stale().next(from, true) } else { book.next_stale(from) };
            let Some(leaf) = next else { return Ok(None) };
            book.tree_mut().begin(leaf)
        };
        let read = hashing.read(buf, |part, off| self.file.read_once(part, off));
        let mut book = self.book.lock().expect("book");
        match read {
            Ok(taken) => {
                book.tree_mut().put(&taken);
                Ok(Some(hashing.leaf()))
            }
            Err(error) => {
                book.tree_mut().abandon(hashing);
                Err(error)
            }
        }
    }

    /// Hashes of units as the disk holds them now.
    pub(super) fn unit_hashes(&self, first: u64, count: u64) -> io::Result<Vec<Hash>> {
        let capacity = self.file.capacity();
        let units = capacity.div_ceil(UNIT);
        let end = first.saturating_add(count).min(units);
        let mut hashes = Vec::with_capacity((end - first.min(end)) as usize);
        let mut buffer = Pool::new(1).take();
        let buf = buffer.content_mut(CHUNK as usize);
        let mut at = first * UNIT;
        if end > first {
            let compared = (end * UNIT).min(capacity) - at;
            self.doubt_leaves(Extent::new(at, compared))?;
        }
        while at < (end * UNIT).min(capacity) {
            let len = CHUNK.min((end * UNIT).min(capacity) - at) as usize;
            self.file.read_once(&mut buf[..len], at)?;
            hashes.extend(buf[..len].chunks(UNIT as usize).map(hash));
            at += len as u64;
        }
        Ok(hashes)
    }
}
