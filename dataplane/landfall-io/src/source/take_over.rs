//! How tracking begins, how it is left, and what a process believes of the state that it finds
//! beside a disk.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering::SeqCst;

use landfall_core::intent::region_bytes;
use landfall_core::{Bitmap, Extent, UNIT};

use super::disk::SourceDiskIo;
use super::map_file::{Identity, MapFile, MapHead, save};
use super::sidecar::{Base, DiskPhase, NO_BASE, SidecarState, fresh_number};
use crate::storage::remove;

impl SourceDiskIo {
    /// Goes on where an earlier process, here or on another host, stopped or was killed. Called
    /// before anything can be written.
    pub(super) fn take_over(&self) {
        let (state, doubtful) = {
            let sidecar = self.sidecar.lock().expect("sidecar");
            (sidecar.state, sidecar.doubtful)
        };
        if state.phase != DiskPhase::Ours || state.base == NO_BASE {
            return;
        }
        let inode = self.file.metadata().map(|meta| meta.ino());
        let believed = if self.mark.exists() {
            Err(io::Error::other("a process could not say that it lost track"))
        } else if doubtful {
            Err(io::Error::other("the super is damaged"))
        } else if inode.is_ok_and(|inode| inode != state.inode) {
            self.replaced.store(true, SeqCst);
            Err(io::Error::other("the disk is another file than before"))
        } else {
            self.believe(state)
        };
        if let Err(error) = believed {
            self.lose_trust(state.base, &error.to_string());
            self.track(None);
        }
        if let Err(error) = remove(&self.mark) {
            tracing::warn!(disk = %self.uuid, %error, "the mark of a lost track stays");
        }
    }

    /// The map of a clean close, or else the log, says what may differ. The map is void before
    /// anything can be written.
    fn believe(&self, state: SidecarState) -> io::Result<()> {
        let logged = self.intent.recover(state.lineage)?;
        if state.clean == 0 {
            tracing::info!(disk = %self.uuid, regions = logged.ones(), "the log is taken over");
            self.track(Some(logged));
            return Ok(());
        }
        let path = self.sidecar.lock().expect("sidecar").path("map");
        let head = self.map_head(state, state.clean)?;
        let map = MapFile::open(&path, &head, logged.len())?;
        self.track(Some(map.suspects.clone()));
        map.load(&mut self.book.lock().expect("book"))?;
        let mut sidecar = self.sidecar.lock().expect("sidecar");
        let next = SidecarState { clean: 0, ..sidecar.state };
        sidecar.store(next)?;
        tracing::info!(disk = %self.uuid, "the map of a clean close is taken over");
        if let Err(error) = remove(&path) {
            tracing::warn!(disk = %self.uuid, %error, "a map that is void stays");
        }
        Ok(())
    }

    fn map_head(&self, state: SidecarState, serial: u64) -> io::Result<MapHead> {
        Ok(MapHead {
            serial,
            disk: self.uuid.to_bytes(),
            capacity: self.file.capacity(),
            base: state.base,
            lineage: state.lineage,
            file: Identity::of(&self.file.metadata()?),
        })
    }

    /// Serves the disk no more. What is on disk stays as it is, as after a kill.
    pub(super) fn end(&self) {
        self.ended.store(true, SeqCst);
        self.drain();
        self.sidecar.lock().expect("sidecar").unlock();
    }

    /// Serves the disk no more, and leaves what is known beside it. The job has ended. Whatever
    /// fails here costs the next process no more than a kill.
    pub(super) fn end_clean(&self) {
        self.ended.store(true, SeqCst);
        self.drain();
        if let Err(error) = self.leave_map() {
            tracing::warn!(disk = %self.uuid, %error, "the disk is left without a map");
        }
        self.end();
    }

    /// What was left beside the disk counts no more, because it is going to be written.
    pub(super) fn void_map(&self) {
        let (voided, base) = {
            let mut sidecar = self.sidecar.lock().expect("sidecar");
            let state = sidecar.state;
            if state.clean == 0 {
                return;
            }
            (sidecar.store(SidecarState { clean: 0, ..state }), state.base)
        };
        if let Err(error) = voided {
            self.lose_trust(base, &format!("the map beside it cannot be voided: {error}"));
        }
    }

    /// Leaves what is known beside the disk. Nothing is written, and no session is up.
    pub(super) fn leave_map(&self) -> io::Result<()> {
        let state = self.sidecar.lock().expect("sidecar").state;
        let ours = state.phase == DiskPhase::Ours && state.base != NO_BASE;
        if !ours || self.never_clear.load(SeqCst) || self.intent.notes_nothing() {
            return Ok(());
        }
        self.sync()?;
        let book = self.book.lock().expect("book");
        if !book.tracking() || self.flush_failed.load(SeqCst) {
            return Ok(());
        }
        let head = self.map_head(state, fresh_number())?;
        let mut suspects = self.intent.suspects();
        let bytes = region_bytes(self.file.capacity());
        for region in 0..suspects.len() {
            let off = region * bytes;
            let extent = Extent::new(off, bytes.min(self.file.capacity() - off));
            if !book.doubtful(extent) {
                suspects.clear(region..region + 1);
            }
        }
        let mut sidecar = self.sidecar.lock().expect("sidecar");
        save(&sidecar.path("map"), &head, &book, &suspects)?;
        let next = SidecarState { clean: head.serial, ..sidecar.state };
        sidecar.store(next)
    }

    /// Ensures that writes are tracked for the destination disk `base`. What was tracked for it
    /// already goes on; else nothing is known.
    pub(super) fn track_for(&self, base: Base) {
        let known = self.sidecar.lock().expect("sidecar").state.base;
        if known != base || !self.book.lock().expect("book").tracking() {
            self.lose_trust(base, "it is the first time that it is tracked for this destination");
            self.track(None);
        }
    }

    /// Another job begins for the same destination: what an earlier one knew holds, but for the
    /// regions of the log, as after a restart.
    pub(super) fn believe_log(&self) {
        if self.intent.notes_nothing() || self.never_clear.load(SeqCst) {
            return;
        }
        let regions = self.intent.suspects();
        let bytes = region_bytes(self.file.capacity());
        self.book.lock().expect("book").begin_anew(regions, bytes);
    }

    /// There is no destination: it has nothing, and never will.
    pub(super) fn nothing_there(&self) {
        let have = Bitmap::for_disk(self.file.capacity(), UNIT);
        self.book.lock().expect("book").begin_session(have, false);
    }

    /// Tracking on first, then the look at what is allocated: a write between is noted by itself.
    /// Without `suspects` everything the destination has is to be compared.
    pub(super) fn track(&self, suspects: Option<Bitmap>) {
        let mut book = self.book.lock().expect("book");
        book.forget();
        book.track();
        if let Some(regions) = suspects {
            book.suspect_only(regions, region_bytes(self.file.capacity()));
        }
        drop(book);
        self.file.each_data(|extent| self.book.lock().expect("book").note_allocated(extent));
        self.untracked.store(false, SeqCst);
    }
}
