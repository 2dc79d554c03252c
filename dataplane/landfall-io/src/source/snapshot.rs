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
use crate::parallel::in_parallel;

/// Longest that writes wait for the end of a snapshot: a Linux guest gives its disk up after 30 s.
const SNAPSHOT_MAX_MS: u64 = 20_000;

/// A disk with its new export.
type Exchanged = Vec<(Uuid, Arc<dyn Export>)>;

impl SourceVm {
    /// Pauses the disks. When this returns nothing is written, nothing of what was written is in a
    /// cache only, and no session is up. Repeatable: the time limit begins anew. Refused while the
    /// disks are frozen; of a VM that was handed over nothing is written, so that nothing is paused.
    pub fn pause_for_snapshot(&self) -> Result<SnapshotAnswer> {
        const NOT_PAUSED: SnapshotAnswer = SnapshotAnswer { paused: false, time_left_ms: 0 };
        if !self.cutover.may_hold()? {
            return Ok(NOT_PAUSED);
        }
        // What takes long comes before anybody waits: the first flush, and the end of the session.
        let disks = self.inner().disks.clone();
        flush(&disks)?;
        let mut inner = self.inner();
        let still = inner.job.as_ref().is_none_or(|job| job.hold_still());
        match self.cutover.hold() {
            Ok(true) => {}
            refused => {
                if let Some(job) = &inner.job {
                    job.go_on();
                }
                return refused.map(|_| NOT_PAUSED);
            }
        }
        inner.snapshot_ms = Some(now_ms());
        let paused = self.settle(&inner, still);
        if let Err(problem) = paused {
            if let Err(second) = self.go_on(&mut inner) {
                tracing::error!("{second}");
            }
            return Err(problem);
        }
        tracing::info!("the disks are paused for a snapshot");
        Ok(SnapshotAnswer { paused: true, time_left_ms: SNAPSHOT_MAX_MS })
    }

    fn settle(&self, inner: &Inner, still: bool) -> Result<()> {
        self.keep(inner)?;
        fault::point("snapshot-pause").map_err(|e| Problem::storage("snapshot", &e))?;
        flush(&inner.disks)?;
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
        let mut moving = Vec::new();
        for (at, disk) in inner.disks.iter().enumerate() {
            let path = named.iter().find(|(uuid, _)| *uuid == disk.uuid).map(|(_, path)| path);
            let path = path.unwrap_or(&disk.path);
            if !is_same_file(disk, path) {
                fits(disk, path)?;
                moving.push((at, path.clone()));
            }
        }
        if !moving.is_empty() {
            // Nobody may write to the files before, also where no pause was asked for.
            self.cutover.hold()?;
            let moved = self.exchange_all(&mut inner, &moving, serve);
            if moved.is_err() && inner.snapshot_ms.is_none() {
                self.cutover.let_go();
            }
            moved?;
        }
        self.go_on(&mut inner)?;
        Ok(SnapshotAnswer { paused: false, time_left_ms: 0 })
    }

    /// What could be exchanged is served and replicated also where a later disk fails.
    fn exchange_all(
        &self,
        inner: &mut Inner,
        moving: &[(usize, PathBuf)],
        serve: impl FnOnce(Exchanged) -> Result<()>,
    ) -> Result<()> {
        let (mut exchanged, mut outcome) = (Vec::new(), Ok(()));
        for (at, path) in moving {
            match self.exchange(&inner.disks[*at], path) {
                Ok(opened) => {
                    exchanged.push((opened.uuid.clone(), opened.clone() as Arc<dyn Export>));
                    inner.disks[*at] = opened;
                }
                Err(problem) => {
                    outcome = Err(problem);
                    break;
                }
            }
        }
        if exchanged.is_empty() {
            return outcome;
        }
        self.cutover.valve.held.hang_up();
        let served = serve(exchanged);
        let renewed = self.renew_job(inner);
        self.keep(inner).and(renewed).and(served).and(outcome)
    }

    /// The disk goes on in another file. What stands beside the file before is void if it is not
    /// the same place: who comes back to it (a revert) must believe nothing.
    fn exchange(&self, before: &Arc<SourceDiskIo>, path: &Path) -> Result<Arc<SourceDiskIo>> {
        let (uuid, capacity) = (&before.uuid, before.file.capacity());
        tracing::info!(disk = %uuid, path = %path.display(), "the disk goes on in another file");
        // Its state may lie in the same place.
        before.sidecar.lock().expect("sidecar").unlock();
        let opened = self.open_disk(uuid, path, capacity, false).inspect_err(|_| {
            if let Err(error) = before.sidecar.lock().expect("sidecar").lock() {
                tracing::warn!(disk = %uuid, %error, "the disk is served without its lock");
            }
        })?;
        opened.replaced.store(false, SeqCst);
        if before.path != path {
            before.lose_trust(NO_BASE, "the disk goes on in another file");
        }
        before.end();
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

fn flush(disks: &[Arc<SourceDiskIo>]) -> Result<()> {
    let flush = |disk: &Arc<SourceDiskIo>| {
        let failed = |error| Problem::storage(format!("flush of disk {}", disk.uuid), &error);
        disk.sync().map_err(failed)
    };
    in_parallel(disks, flush)
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

/// Whether the disk can go on there.
fn fits(disk: &SourceDiskIo, path: &Path) -> Result<()> {
    let opened = DiskFile::open(path, disk.file.capacity(), SOURCE);
    opened.map(drop).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => {
            Problem::new(Code::DiskChanged, format!("disk {}: {error}", disk.uuid))
        }
        _ => Problem::storage(format!("disk {} at {}", disk.uuid, path.display()), &error),
    })
}

/// A path that cannot be looked at is left to whoever watches the disk.
fn is_same_file(disk: &SourceDiskIo, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (disk.file.metadata(), std::fs::metadata(path)) else {
        return disk.path == path;
    };
    disk.path == path && (open.dev(), open.ino()) == (named.dev(), named.ino())
}
