//! What a new process finds of an earlier one: its disks, its job, and a seal that may be on some
//! disks only.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use landfall_api::{JobSpec, Problem};
use landfall_wire::Codec;

use super::absent::AbsentDisk;
use super::disk::SourceDiskIo;
use super::kept::Kept;
use super::sidecar::DiskPhase;
use super::snapshot::still_lasts;
use super::vm::{Inner, SourceVm};
use crate::Result;
use crate::disk_file::{DiskFile, SOURCE};

impl SourceVm {
    pub(super) fn restore(&self) -> Result<()> {
        let kept = Kept::load(&self.state_dir)?;
        let mut inner = self.inner();
        for (place, disk) in kept.disks.into_iter().enumerate() {
            if let Err(error) = DiskFile::open_as_it_is(&disk.path, disk.capacity.0, SOURCE) {
                inner.absent.push(AbsentDisk::new(place, disk, &error));
                continue;
            }
            // A disk that was changed meanwhile is served as it is; its job says what is wrong.
            let opened = self.open_disk(&disk.uuid, &disk.path, disk.capacity.0, true)?;
            opened.replaced.fetch_or(disk.replaced, SeqCst);
            opened.check_file(None);
            inner.disks.push(opened);
        }
        inner.snapshot_ms = kept.snapshot_ms.filter(|since| still_lasts(*since));
        if inner.snapshot_ms.is_some() {
            self.cutover.hold()?;
        }
        if let Some(job) = &kept.job {
            self.end_half_seal(&inner, &job.spec)?;
        }
        self.cutover.lock().open = kept.open && !self.cutover.sealed();
        if let Some(job) = kept.job {
            let made = self.make_job(&inner, job.id, job.spec)?;
            made.control.lock().expect("control").paused = job.paused;
            made.set_codec(job.codec.and_then(|code| Codec::from_flags(code).ok()));
            inner.job = Some(made);
        }
        if inner.disks.iter().any(|disk| disk.replaced.load(SeqCst)) {
            self.keep(&inner)?;
        }
        Ok(())
    }

    /// A process that ended while it sealed one disk after the other has released nothing, because
    /// OWN leaves after the last of them: the source goes on. A damaged state says nothing: then
    /// the seal stays.
    pub(super) fn end_half_seal(&self, inner: &Inner, job: &JobSpec) -> Result<()> {
        let of_job =
            |disk: &&Arc<SourceDiskIo>| job.disks.iter().any(|pair| pair.source_uuid == disk.uuid);
        let disks: Vec<&Arc<SourceDiskIo>> = inner.disks.iter().filter(of_job).collect();
        let known = |disk: &&&Arc<SourceDiskIo>| {
            let sidecar = disk.sidecar.lock().expect("sidecar");
            (sidecar.state.phase == DiskPhase::Ours, sidecar.state.epoch > 0 && !sidecar.doubtful)
        };
        let states: Vec<(bool, bool)> = disks.iter().map(|disk| known(&disk)).collect();
        let mixed = states.iter().any(|state| state.0) && states.iter().any(|state| !state.0);
        if !mixed || disks.len() < job.disks.len() || !states.iter().all(|state| state.1) {
            return Ok(());
        }
        tracing::warn!("a seal that is not on every disk is taken back");
        self.cutover.reset();
        for (disk, (ours, _)) in disks.iter().zip(states) {
            if !ours {
                let back = disk.take_back_seal();
                back.map_err(|e| Problem::storage(format!("seal of disk {}", disk.uuid), &e))?;
                disk.take_over();
            }
        }
        Ok(())
    }
}
