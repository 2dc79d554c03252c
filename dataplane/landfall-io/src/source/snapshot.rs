//! A snapshot of the VM's disks: before it the guest's writes wait, everything is flushed and what is
//! known stands beside the disks; after it they go on, also in other files. It never holds the
//! guest for longer than a limit, whoever forgets to end it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{SystemTime, UNIX_EPOCH};

use landfall_api::{Code, Problem, SnapshotAnswer, Uuid};
use landfall_nbd::Export;

use super::disk::SourceDiskIo;
use super::sidecar::NO_BASE;
use super::vm::{Inner, SourceVm};
use crate::Result;
use crate::disk_file::{DiskFile, SOURCE};
use crate::fault;

/// Longest that writes wait for the end of a snapshot: a Linux guest gives its disk up after 30 s.
const SNAPSHOT_MAX_MS: u64 = 20_000;

/// A disk with its new export.
type Exchanged = Vec<(Uuid, Arc<dyn Export>)>;

impl SourceVm {
    /// Pauses the disks. When this returns nothing is written, nothing of what was written is in a
    /// cache only, and no session is up. Repeatable: the time limit begins anew. Refused while the
    /// disks are frozen; of a VM that was handed over nothing is written, so that nothing is paused.
    pub fn pause_for_snapshot(&self) -> Result<SnapshotAnswer> {
        let mut inner = self.inner();
        if !self.cutover.hold()? {
            return Ok(SnapshotAnswer { paused: false, time_left_ms: 0 });
        }
        inner.snapshot_ms = Some(now_ms());
        let paused = self.settle(&inner);
        if let Err(problem) = paused {
            let _ = self.go_on(&mut inner);
            return Err(problem);
        }
        tracing::info!("the disks are paused for a snapshot");
        Ok(SnapshotAnswer { paused: true, time_left_ms: SNAPSHOT_MAX_MS })
    }

    fn settle(&self, inner: &Inner) -> Result<()> {
        self.keep(inner)?;
        fault::point("snapshot-pause").map_err(|e| Problem::storage("snapshot", &e))?;
        let still = inner.job.as_ref().is_none_or(|job| job.hold_still());
        for disk in &inner.disks {
            let flushed = disk.sync();
            flushed.map_err(|e| Problem::storage(format!("flush of disk {}", disk.uuid), &e))?;
        }
        for disk in inner.disks.iter().filter(|_| still) {
            if let Err(error) = disk.leave_map() {
                tracing::warn!(disk = %disk.uuid, %error, "the snapshot has no map of the disk");
            }
        }
        fault::point("snapshot-paused").map_err(|e| Problem::storage("snapshot", &e))
    }

    /// Goes on after a snapshot, also where none was begun. Disks that are named go on in another
    /// file, and so does one whose name stands for another file now: it is compared as a whole,
    /// and `serve` is given its new export before anybody writes.
    pub fn resume_after_snapshot(
        &self,
        named: &[(Uuid, PathBuf)],
        serve: impl FnOnce(Exchanged) -> Result<()>,
    ) -> Result<SnapshotAnswer> {
        let mut inner = self.inner();
        if self.cutover.sealed() {
            return Ok(SnapshotAnswer { paused: false, time_left_ms: 0 });
        }
        for (uuid, _) in named {
            if !inner.disks.iter().any(|disk| disk.uuid == *uuid) {
                return Err(Problem::new(Code::UnknownDisk, format!("disk {uuid}")));
            }
        }
        fault::point("snapshot-resume").map_err(|e| Problem::storage("snapshot", &e))?;
        let mut exchanged = Vec::new();
        for at in 0..inner.disks.len() {
            let disk = inner.disks[at].clone();
            let path = named.iter().find(|(uuid, _)| *uuid == disk.uuid).map(|(_, path)| path);
            let path = path.unwrap_or(&disk.path);
            if is_same_file(&disk, path) {
                continue;
            }
            let opened = self.exchange(&disk, path)?;
            inner.disks[at] = opened.clone();
            exchanged.push((disk.uuid.clone(), opened as Arc<dyn Export>));
        }
        if !exchanged.is_empty() {
            self.renew_job(&mut inner)?;
            self.keep(&inner)?;
            self.cutover.valve.held.hang_up();
            serve(exchanged)?;
        }
        self.go_on(&mut inner)?;
        Ok(SnapshotAnswer { paused: false, time_left_ms: 0 })
    }

    /// The disk goes on in another file. What stands beside the file before is void if it is not
    /// the same place: who comes back to it (a revert) must believe nothing.
    fn exchange(&self, before: &Arc<SourceDiskIo>, path: &Path) -> Result<Arc<SourceDiskIo>> {
        let (uuid, capacity) = (&before.uuid, before.file.capacity());
        DiskFile::open(path, capacity, SOURCE).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => {
                Problem::new(Code::DiskChanged, format!("disk {uuid}: {error}"))
            }
            _ => Problem::storage(format!("disk {uuid} at {}", path.display()), &error),
        })?;
        tracing::info!(disk = %uuid, path = %path.display(), "the disk goes on in another file");
        if before.path != path {
            before.lose_trust(NO_BASE, "the disk goes on in another file");
        }
        before.end();
        let opened = self.open_disk(uuid, path, capacity, false)?;
        opened.replaced.store(false, SeqCst);
        Ok(opened)
    }

    /// Writes and sessions may come again.
    fn go_on(&self, inner: &mut Inner) -> Result<()> {
        inner.disks.iter().for_each(|disk| disk.void_map());
        let was_paused = inner.snapshot_ms.take().is_some();
        let kept = if was_paused { self.keep(inner) } else { Ok(()) };
        self.cutover.let_go();
        if let Some(job) = &inner.job {
            job.go_on();
        }
        kept
    }

    /// A snapshot that is not ended does not hold the guest for ever.
    pub(super) fn end_overdue_snapshot(&self) {
        let mut inner = self.inner();
        let Some(since) = inner.snapshot_ms else { return };
        if still_lasts(since) {
            return;
        }
        tracing::error!("nobody said that the snapshot is over: the disks go on without it");
        if let Err(problem) = self.go_on(&mut inner) {
            tracing::error!("{problem}");
        }
    }

    /// Writes that wait for the end of a snapshot are given up: their connections are hung up.
    pub fn hang_up_held(&self) {
        self.cutover.valve.held.hang_up();
    }
}

/// Whether a snapshot that began at this time may still be under way.
pub(super) fn still_lasts(since_ms: u64) -> bool {
    let now = now_ms();
    // A clock that was set back does not prolong it.
    since_ms <= now && now - since_ms < SNAPSHOT_MAX_MS
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// A path that cannot be looked at is left to whoever watches the disk.
fn is_same_file(disk: &SourceDiskIo, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (disk.file.metadata(), std::fs::metadata(path)) else {
        return disk.path == path;
    };
    disk.path == path && (open.dev(), open.ino()) == (named.dev(), named.ino())
}
