//! What a process believes of the state that it finds beside a disk, and how tracking begins.

use std::io;
use std::sync::atomic::Ordering::SeqCst;

use landfall_core::intent::region_bytes;
use landfall_core::{Bitmap, UNIT};

use super::disk::SourceDiskIo;
use super::sidecar::{Base, DiskPhase, NO_BASE, SidecarState};

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
        let believed = match (self.mark.exists(), doubtful) {
            (true, _) => Err("a process could not say that it lost track".into()),
            (_, true) => Err("the super is damaged".into()),
            _ => self.believe(state).map_err(|error| error.to_string()),
        };
        if let Err(why) = &believed {
            self.lose_trust(state.base, why);
        }
        self.track(believed.ok());
        if let Err(error) = std::fs::remove_file(&self.mark)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(disk = %self.uuid, %error, "the mark of a lost track stays");
        }
    }

    /// The regions that may differ.
    fn believe(&self, state: SidecarState) -> io::Result<Bitmap> {
        self.intent.recover(state.lineage)
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
