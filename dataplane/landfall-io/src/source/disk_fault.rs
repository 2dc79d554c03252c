//! Whether the file under the tap still is the disk: it may be resized, replaced by another or
//! removed by somebody who does not know of the tap. The guest goes on with the file that is open;
//! replication stops and says why.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

use landfall_api::Uuid;

use super::disk::SourceDiskIo;
use super::job::Job;

/// What is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DiskFault {
    /// Stable code, as it stands in the job's reason.
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: String,
}

impl DiskFault {
    fn new(code: &'static str, path: &Path, disk: &Uuid, what: &str) -> Self {
        let path = path.display();
        let remedy = match code {
            "DISK_REPLACED" => {
                "put the file back, or attach the disk again to compare it as a whole"
            }
            "DISK_RESIZED" => "give it its size back, or end the migration and begin another",
            _ => "put the file back, or end the migration",
        };
        let message = format!("{path} {what}; replication of disk {disk} stops: {remedy}");
        Self { code, message }
    }

    /// The file of a disk cannot be opened: nobody can serve it.
    pub(super) fn absent(path: &Path, disk: &Uuid, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => {
                Self::new("DISK_REMOVED", path, disk, "is not there any more")
            }
            _ => {
                let what = format!("cannot be opened ({error})");
                Self::new("SOURCE_STORAGE_FAILED", path, disk, &what)
            }
        }
    }
}

impl SourceDiskIo {
    /// Looks at the open file and at what is under its name now.
    pub(super) fn look_at_file(&self) -> io::Result<Option<DiskFault>> {
        let open = self.file.metadata()?;
        let fault = |code, what: &str| Ok(Some(DiskFault::new(code, &self.path, &self.uuid, what)));
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return fault("DISK_REMOVED", "is not there any more");
            }
            Ok(named) if (named.dev(), named.ino()) != (open.dev(), open.ino()) => {
                return fault("DISK_REPLACED", "is another file than the one the guest writes to");
            }
            Ok(_) if self.replaced.load(SeqCst) => {
                return fault(
                    "DISK_REPLACED",
                    "is another file than before the source was started",
                );
            }
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        let capacity = self.file.capacity();
        if !open.file_type().is_block_device() && open.len() != capacity {
            let what = format!("has {} bytes instead of {capacity}", open.len());
            return fault("DISK_RESIZED", &what);
        }
        Ok(None)
    }

    /// Notes what is found. Where something is newly wrong, the destination's state is not
    /// trusted any more and the session ends.
    pub(super) fn check_file(&self, job: Option<&Job>) {
        let found = match self.look_at_file() {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(disk = %self.uuid, %error, "the disk file cannot be looked at");
                return;
            }
        };
        let before = std::mem::replace(&mut *self.fault.lock().expect("fault"), found.clone());
        let Some(fault) = found.filter(|found| before.as_ref() != Some(found)) else { return };
        tracing::error!(disk = %self.uuid, code = fault.code, fault.message);
        self.distrust(&fault.message, job, fault.code, &fault.message);
    }

    /// Nothing of what both sides hold is believed any more, and the session begins anew.
    pub(super) fn distrust(&self, why: &str, job: Option<&Job>, code: &'static str, text: &str) {
        let base = self.sidecar.lock().expect("sidecar").state.base;
        self.lose_trust(base, why);
        let used = |job: &&Job| job.disks.iter().any(|used| used.disk.uuid == self.uuid);
        let Some(job) = job.filter(used) else { return };
        self.book.lock().expect("book").suspect_all();
        if let Err(error) = job.raise_epoch(job.epoch.load(SeqCst) + 1) {
            tracing::error!(%error, "the epoch cannot be raised");
        }
        let session = job.control.lock().expect("control").session.clone();
        if let Some(session) = session {
            session.end_with(code, text.to_owned());
        }
    }
}

impl Job {
    /// What is wrong with one of its disks.
    pub(super) fn disk_fault(&self) -> Option<DiskFault> {
        if let Some((_, fault)) = self.absent.first() {
            return Some(fault.clone());
        }
        self.disks.iter().find_map(|disk| disk.disk.fault.lock().expect("fault").clone())
    }
}
