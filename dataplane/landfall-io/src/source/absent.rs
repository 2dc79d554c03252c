//! Disks of an earlier process whose files are not there: the others are served, their job says what
//! is missing, and they are taken up again as soon as they are back.

use std::path::PathBuf;
use std::sync::Arc;

use landfall_api::{AttachedDisk, ByteCount, JobDisk, Uuid, Verified};

use super::disk::SourceDiskIo;
use super::disk_fault::DiskFault;
use super::job::Job;
use super::kept::KeptDisk;
use super::vm::{Inner, SourceVm};
use crate::Result;

/// A disk that is attached and cannot be served.
pub(super) struct AbsentDisk {
    pub(super) uuid: Uuid,
    path: PathBuf,
    capacity: ByteCount,
    /// Which of the VM's disks it is.
    pub(super) place: usize,
    pub(super) fault: DiskFault,
}

impl AbsentDisk {
    pub(super) fn new(place: usize, kept: KeptDisk, error: &std::io::Error) -> Self {
        let fault = DiskFault::absent(&kept.path, &kept.uuid, error);
        tracing::error!(disk = %kept.uuid, code = fault.code, fault.message);
        Self { uuid: kept.uuid, path: kept.path, capacity: kept.capacity, place, fault }
    }

    pub(super) fn kept(&self) -> KeptDisk {
        KeptDisk {
            uuid: self.uuid.clone(),
            path: self.path.clone(),
            capacity: self.capacity,
            replaced: false,
        }
    }

    pub(super) fn view(&self) -> AttachedDisk {
        AttachedDisk {
            disk_uuid: self.uuid.clone(),
            path: self.path.display().to_string(),
            capacity_bytes: self.capacity,
            attached: false,
            untracked: false,
        }
    }
}

impl SourceVm {
    /// Takes up disks whose files are there again, and begins their job anew with them.
    pub(super) fn look_for_absent(&self) {
        // Without the lock: a file system that hangs must hold up nobody.
        let paths: Vec<PathBuf> =
            self.inner().absent.iter().map(|absent| absent.path.clone()).collect();
        let Some(path) = paths.into_iter().find(|path| std::fs::File::open(path).is_ok()) else {
            return;
        };
        let mut inner = self.inner();
        let Some(at) = inner.absent.iter().position(|absent| absent.path == path) else { return };
        let (uuid, path, capacity) = {
            let absent = &inner.absent[at];
            (absent.uuid.clone(), absent.path.clone(), absent.capacity.0)
        };
        let back = self.open_disk(&uuid, &path, capacity, true).and_then(|opened| {
            opened.check_file(None);
            self.return_absent(&mut inner, at, opened.clone())?;
            self.keep(&inner)?;
            Ok(opened)
        });
        drop(inner);
        match back {
            Ok(opened) if self.cutover.sealed() => drop(opened),
            Ok(opened) => {
                tracing::info!(disk = %uuid, "the disk is there again");
                if let Some(told) = self.on_return.get() {
                    told(&uuid, opened);
                }
            }
            Err(problem) => tracing::error!(disk = %uuid, "{problem}"),
        }
    }

    /// An absent disk was opened: it takes its place, and the job that lacked it begins anew.
    pub(super) fn return_absent(
        &self,
        inner: &mut Inner,
        at: usize,
        opened: Arc<SourceDiskIo>,
    ) -> Result<()> {
        let absent = inner.absent.remove(at);
        let place = absent.place.min(inner.disks.len());
        inner.disks.insert(place, opened);
        let lacks =
            |job: &Arc<Job>| job.absent.iter().any(|(pair, _)| pair.source_uuid == absent.uuid);
        if inner.job.as_ref().is_some_and(lacks) {
            self.renew_job(inner)?;
        }
        Ok(())
    }
}

/// What a status says of a disk that is not there: nothing is known.
pub(super) fn absent_view(pair: &landfall_api::DiskPair) -> JobDisk {
    let none = ByteCount(0);
    JobDisk {
        source_uuid: pair.source_uuid.clone(),
        destination_uuid: pair.destination_uuid.clone(),
        capacity_bytes: pair.capacity_bytes,
        allocated_bytes: none,
        copied_bytes: none,
        remaining_bytes: none,
        dirty_bytes: none,
        sent_bytes: none,
        wire_bytes: none,
        resent_bytes: none,
        skipped_bytes: none,
        compared_bytes: none,
        verified: Verified::default(),
        verified_at: None,
        scrubbed_bytes: none,
        scrub_repaired_chunks: 0,
        scrub_evidence: Vec::new(),
        rates: landfall_api::DiskRates::default(),
        stages: Vec::new(),
    }
}
