//! What a source does for its disks from time to time, whether a job runs or not: regions leave
//! the write-intent log, a log that could not be written is tried again, and the file is looked at.

use std::sync::Weak;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::disk::SourceDiskIo;
use super::job::Job;
use super::sidecar::{DiskPhase, NO_BASE};
use super::vm::SourceVm;

/// Regions are cleared so often: a kill costs the comparison of what was written since.
const CLEAR_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs until the source is closed or gone.
pub(super) fn run(source: &Weak<SourceVm>) {
    let mut cleared_at = Instant::now();
    loop {
        std::thread::sleep(LOOK_EVERY);
        let Some(source) = source.upgrade() else { return };
        if source.has_ended() {
            return;
        }
        let clear = cleared_at.elapsed() >= CLEAR_EVERY;
        source.look_after(clear);
        if clear {
            cleared_at = Instant::now();
        }
    }
}

/// One turn for one disk.
pub(super) fn look_after(disk: &SourceDiskIo, job: Option<&Job>, clear: bool) {
    let state = disk.sidecar.lock().expect("sidecar").state;
    let base = state.base;
    if base == NO_BASE || state.phase != DiskPhase::Ours || disk.ended.load(SeqCst) {
        return;
    }
    disk.check_file(job);
    if disk.flush_failed.swap(false, SeqCst) {
        disk.never_clear.store(true, SeqCst);
        // I8: pages that could not be written may be marked clean, so a later flush proves
        // nothing. Until the disk is opened anew no region leaves the log, and both sides are
        // compared.
        let (why, text) = ("a flush of the source disk failed", "A source disk cannot be flushed");
        disk.distrust(why, job, "SOURCE_STORAGE_FAILED", text);
    }
    if disk.intent.notes_nothing() {
        disk.lose_trust(base, "the write-intent log is tried again");
    }
    if clear
        && !disk.never_clear.load(SeqCst)
        && let Err(error) = disk.clear_quiet()
    {
        tracing::error!(disk = %disk.uuid, %error, "a source disk cannot be flushed");
    }
}
