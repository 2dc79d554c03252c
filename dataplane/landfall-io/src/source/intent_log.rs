//! The write-intent log of a disk on its file: bits before writes (I1), clearing after a flush
//! (I3), and how trust ends. What to do is decided in `landfall_core::intent`.
//!
//! The guest goes on whatever happens to the log: then it says, durably in one of three ways,
//! that nothing is known.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use landfall_core::intent::{self, Commit, IntentLog, Slot, Turn};
use landfall_core::slot::SLOT_LEN;
use landfall_core::{Bitmap, Extent};
use landfall_nbd::about_to_wait;

use super::disk::SourceDiskIo;
use super::sidecar::{Base, NO_BASE};
use crate::fault;
use crate::storage::{Points, Storage, remove, sync_parent};

const POINTS: Points = Points { read: "intent-read", write: "intent-write", sync: "intent-sync" };
const MARK: Points = Points { read: "mark-read", write: "mark-write", sync: "mark-sync" };
const MAKING: Points = Points { write: "intent-make", sync: "intent-make-sync", ..POINTS };

/// Regions looked at under one hold of the book: under a millisecond.
const LOOK_AT: usize = 2_048;
/// A write that was submitted and does not return holds a clearing up so long; it is tried again.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// The log of one disk. Until something is recovered or begun it notes nothing.
pub(super) struct IntentFile {
    log: Mutex<IntentLog>,
    done: Condvar,
    path: PathBuf,
    file: Mutex<Option<Storage>>,
    capacity: u64,
}

impl IntentFile {
    /// A log that notes nothing yet.
    pub(super) fn off(path: PathBuf, capacity: u64) -> Self {
        let mut log = IntentLog::unknown(capacity, 0);
        log.fail_open();
        Self { log: Mutex::new(log), done: Condvar::new(), path, file: Mutex::new(None), capacity }
    }

    /// Takes up what an earlier process left. The answer says which regions may differ. Pages that
    /// cannot be read say that all of theirs may.
    pub(super) fn recover(&self, lineage: u64) -> io::Result<Bitmap> {
        let file = self.make()?;
        // A bit that a killed process left in the cache only covers no write (I1).
        file.settle()?;
        let log = IntentLog::recover(self.capacity, lineage, |page| {
            [0, 1].map(|slot| read_slot(&file, intent::slot_off(page, slot)))
        });
        let suspects = log.suspects().clone();
        *self.file.lock().expect("log file") = Some(file);
        *self.log.lock().expect("log") = log;
        Ok(suspects)
    }

    /// Opens or makes the file at its full length, so that a full disk shows now.
    fn make(&self) -> io::Result<Storage> {
        let (file, new) = Storage::open_or_make(&self.path, MAKING)?;
        let len = intent::slot_off(intent::pages(self.capacity), 0);
        if file.file().metadata()?.len() < len {
            file.write(&vec![0; len as usize], 0)?;
            file.sync()?;
        }
        if new {
            sync_parent(&self.path)?;
        }
        Ok(file.with(POINTS))
    }

    fn write(&self, commit: &Commit) -> io::Result<()> {
        let file = self.file.lock().expect("log file");
        let file = file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        for write in &commit.writes {
            file.write(&write.bytes(), write.off())?;
        }
        file.sync()?;
        fault::point("intent-stored")
    }

    /// A new lineage is durable: everything may differ, and is noted from now on.
    fn distrusted(&self, lineage: u64) -> io::Result<()> {
        let file = self.make()?;
        *self.file.lock().expect("log file") = Some(file);
        self.log.lock().expect("log").distrusted(lineage);
        self.done.notify_all();
        Ok(())
    }

    fn fail_open(&self) {
        self.log.lock().expect("log").fail_open();
        self.done.notify_all();
    }

    /// Whether writes go on without being noted.
    pub(super) fn notes_nothing(&self) -> bool {
        self.log.lock().expect("log").failed_open()
    }

    /// Regions that a process would find suspect now.
    pub(super) fn suspects(&self) -> Bitmap {
        self.log.lock().expect("log").suspects().clone()
    }

    /// The write is in the dirty map.
    pub(super) fn leave(&self, turn: Turn) {
        self.log.lock().expect("log").end_write(turn);
    }
}

fn read_slot(file: &Storage, off: u64) -> Slot {
    let mut bytes = vec![0; SLOT_LEN];
    match file.read(&mut bytes, off) {
        Ok(()) => Slot::read(Some(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Slot::Empty,
        Err(_) => Slot::Damaged,
    }
}

impl SourceDiskIo {
    /// I1: returns when the write may be submitted. A covered region costs one short lock.
    pub(super) fn enter(&self, extent: Extent) -> Turn {
        let mut log = self.intent.log.lock().expect("log");
        loop {
            if let Some(turn) = log.begin_write(extent) {
                return turn;
            }
            about_to_wait();
            match log.begin_commit() {
                Some(commit) => {
                    drop(log);
                    self.commit(commit);
                    log = self.intent.log.lock().expect("log");
                }
                None => log = self.intent.done.wait(log).expect("log"),
            }
        }
    }

    /// Writes the pages for everybody who waits.
    fn commit(&self, commit: Commit) {
        let written = self.intent.write(&commit);
        let mut log = self.intent.log.lock().expect("log");
        match written {
            Ok(()) => {
                log.committed(commit);
                drop(log);
                self.intent.done.notify_all();
            }
            Err(error) => {
                log.commit_failed(commit);
                drop(log);
                let base = self.sidecar.lock().expect("sidecar").state.base;
                self.lose_trust(base, &format!("the write-intent log cannot be written: {error}"));
            }
        }
    }

    /// From now on nothing is known of how the disk differs from `base`, durably: by a new lineage
    /// in the super, else by the log's absence, else by a mark in the VM's folder. With
    /// [`NO_BASE`] nothing is noted either. The guest goes on in any case.
    pub(super) fn lose_trust(&self, base: Base, why: &str) {
        let mut sidecar = self.sidecar.lock().expect("sidecar");
        tracing::info!(disk = %self.uuid, why, "the destination's state is not trusted");
        let inode = self.file.metadata().map_or(0, |meta| meta.ino());
        let begun = sidecar.begin_lineage(base, inode);
        let lineage = sidecar.state.lineage;
        let outcome = match (&begun, base) {
            (Ok(()), NO_BASE) => {
                self.intent.fail_open();
                Ok(())
            }
            (Ok(()), _) => self.intent.distrusted(lineage),
            (Err(error), _) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        let Err(error) = outcome else { return };
        tracing::error!(disk = %self.uuid, %error, "writes are not noted in the write-intent log");
        self.intent.fail_open();
        if begun.is_ok() {
            return;
        }
        let gone = ["intent", "map"].iter().try_for_each(|name| {
            let path = sidecar.path(name);
            remove(&path).and_then(|()| sync_parent(&path))
        });
        let told = gone.or_else(|_| Storage::create(&self.mark, MARK)?.sync());
        let told = told.and_then(|()| sync_parent(&self.mark));
        if let Err(error) = told {
            tracing::error!(disk = %self.uuid, %error, "nor can it be said: it is tried again");
        }
    }

    /// A difference was found that no write made: it is noted like one.
    pub(super) fn note_difference(&self, extent: Extent) {
        let turn = self.enter(extent);
        self.intent.leave(turn);
    }

    /// I3: takes quiet regions out of the log. An error is the source disk's: it could not be
    /// flushed (I8).
    pub(super) fn clear_quiet(&self) -> io::Result<()> {
        let candidates = self.quiet_among(&self.intent.suspects());
        let mut log = self.intent.log.lock().expect("log");
        if candidates.ones() == 0 || !log.begin_clear(|region| candidates.get(region)) {
            return Ok(());
        }
        let begin = Instant::now();
        while !log.drained() {
            if begin.elapsed() > DRAIN_TIME_MAX {
                log.cancel_clear();
                return Ok(());
            }
            drop(log);
            std::thread::sleep(Duration::from_millis(1));
            log = self.intent.log.lock().expect("log");
        }
        let clearing = log.clearing().clone();
        drop(log);
        let quiet = self.quiet_among(&clearing);
        let mut log = self.intent.log.lock().expect("log");
        let mut at = 0;
        while let Some(region) = clearing.next(at, true) {
            if !quiet.get(region) {
                log.keep(region);
            }
            at = region + 1;
        }
        drop(log);
        let flushed = self.sync();
        let mut log = self.intent.log.lock().expect("log");
        if flushed.is_err() || self.flush_failed.load(SeqCst) {
            log.cancel_clear();
            return flushed;
        }
        log.flushed();
        while log.clearing().ones() > 0 {
            match log.begin_commit() {
                Some(commit) => {
                    drop(log);
                    self.commit(commit);
                    return Ok(());
                }
                None => log = self.intent.done.wait(log).expect("log"),
            }
        }
        Ok(())
    }

    fn quiet_among(&self, regions: &Bitmap) -> Bitmap {
        let mut quiet = Bitmap::new(regions.len());
        let bytes = intent::region_bytes(self.file.capacity());
        let mut at = 0;
        loop {
            let book = self.book.lock().expect("book");
            for _ in 0..LOOK_AT {
                let Some(region) = regions.next(at, true) else { return quiet };
                at = region + 1;
                let off = region * bytes;
                let extent = Extent::new(off, bytes.min(self.file.capacity() - off));
                if book.quiet(extent) {
                    quiet.set(region..at);
                }
            }
        }
    }
}
