//! What a source does for its disks from time to time, whether a job runs or not: regions leave
//! the write-intent log, and a log that could not be written is tried again.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::disk::SourceDiskIo;
use super::job::Job;
use super::sidecar::{Base, NO_BASE};
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
pub(super) fn look_after(disk: &Arc<SourceDiskIo>, job: Option<&Arc<Job>>, clear: bool) {
    let base = disk.sidecar.lock().expect("sidecar").state.base;
    if base == NO_BASE || disk.ended.load(SeqCst) {
        return;
    }
    if disk.flush_failed.swap(false, SeqCst) {
        disk.never_clear.store(true, SeqCst);
        flush_failed(disk, base, job);
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

/// I8: pages that could not be written may be marked clean, so a later flush proves nothing. Until
/// the disk is opened anew no region leaves the log any more, and both sides are compared.
fn flush_failed(disk: &SourceDiskIo, base: Base, job: Option<&Arc<Job>>) {
    disk.lose_trust(base, "a flush of the source disk failed");
    let Some(job) = job.filter(|job| job.disks.iter().any(|used| used.disk.uuid == disk.uuid))
    else {
        return;
    };
    disk.book.lock().expect("book").suspect_all();
    if let Err(error) = job.raise_epoch(job.epoch.load(SeqCst) + 1) {
        tracing::error!(%error, "the epoch cannot be raised");
    }
    let session = job.control.lock().expect("control").session.clone();
    if let Some(session) = session {
        session.end_with("SOURCE_STORAGE_FAILED", "A source disk cannot be flushed".into());
    }
}
