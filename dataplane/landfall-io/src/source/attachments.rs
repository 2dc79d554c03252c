//! The hypervisor's side of a VM: its disks come and go, are opened and closed. None of it waits
//! for a job.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use landfall_api::{Code, Problem, Uuid};
use landfall_core::converge::Distinct;
use landfall_core::source::SourceDisk;
use landfall_nbd::Export;

use super::book::Book;
use super::cutover;
use super::disk::SourceDiskIo;
use super::intent_log::IntentFile;
use super::job::Job;
use super::sidecar::{DiskPhase, NO_BASE, Sidecar};
use super::vm::SourceVm;
use crate::Result;
use crate::disk_file::{DiskFile, SOURCE};
use crate::meter::Meter;
use crate::stats::GuestStages;

impl SourceVm {
    /// Puts the tap in front of a disk. Repeatable. Ends a freeze, and is refused by a seal.
    pub fn attach(&self, disk: &Uuid, path: &Path, capacity: u64) -> Result<Arc<dyn Export>> {
        let mut inner = self.inner();
        let known = inner.disks.iter().find(|known| known.uuid == *disk).cloned();
        let attached = match known {
            Some(known) if known.path == path && known.file.capacity() == capacity => known,
            Some(_) => {
                let text = format!("disk {disk} is attached with another path or capacity");
                return Err(Problem::new(Code::DiskChanged, text));
            }
            None => {
                let opened = self.open_disk(disk, path, capacity, false)?;
                match inner.absent.iter().position(|absent| absent.uuid == *disk) {
                    Some(at) => self.return_absent(&mut inner, at, opened.clone())?,
                    None => inner.disks.push(opened.clone()),
                }
                opened
            }
        };
        // Whoever attaches says that this file is the disk; it is compared as a whole.
        if attached.replaced.swap(false, SeqCst) {
            attached.check_file(None);
        }
        let opened = self.cutover.opened();
        self.keep(&inner)?;
        opened.map_err(|_| {
            let token = self.cutover.lock().machine.token();
            let text = format!("disk {disk} was handed over with token {token}");
            Problem::new(Code::DiskSealed, text)
        })?;
        Ok(attached)
    }

    pub(super) fn open_disk(
        &self,
        uuid: &Uuid,
        path: &Path,
        capacity: u64,
        of_any_length: bool,
    ) -> Result<Arc<SourceDiskIo>> {
        let what = || format!("disk {uuid}");
        let file = match of_any_length {
            true => DiskFile::open_as_it_is(path, capacity, SOURCE),
            false => DiskFile::open(path, capacity, SOURCE),
        };
        let file = file.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => {
                Problem::new(Code::DiskChanged, format!("{}: {error}", what()))
            }
            _ => Problem::storage(what(), &error),
        })?;
        let state = |error| Problem::storage(format!("state of {}", what()), &error);
        let mut sidecar = Sidecar::open(path, uuid, capacity).map_err(state)?;
        if !sidecar.lock().map_err(state)? {
            let text = format!("{} is served by another process or host", what());
            return Err(Problem::new(Code::DiskBusy, text));
        }
        match sidecar.state.phase {
            DiskPhase::Ours => {}
            phase => self.cutover.restore(sidecar.state.token, phase == DiskPhase::Active),
        }
        let disk = Arc::new(SourceDiskIo {
            uuid: uuid.clone(),
            path: path.to_owned(),
            file,
            book: Book::new(SourceDisk::new(capacity)),
            distinct: Distinct::default(),
            intent: IntentFile::off(sidecar.path("intent"), capacity),
            sidecar: Mutex::new(sidecar),
            mark: self.state_dir.join(format!("untracked-{uuid}")),
            flush_failed: AtomicBool::new(false),
            never_clear: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            fault: Mutex::new(None),
            ended: AtomicBool::new(false),
            untracked: AtomicBool::new(false),
            incoming: Meter::default(),
            guest: GuestStages::default(),
            valve: self.cutover.valve.clone(),
        });
        disk.take_over();
        Ok(disk)
    }

    /// The tap goes. With `keep_state` the disk goes on elsewhere, and what is known of it stays
    /// beside it; else the storage policy is detached and the state goes too. Repeatable.
    pub fn detach(&self, disk: &Uuid, keep_state: bool) -> Result<()> {
        let mut inner = self.inner();
        let in_use = |job: &Arc<Job>| {
            job.disks.iter().any(|used| used.disk.uuid == *disk)
                || job.absent.iter().any(|(pair, _)| pair.source_uuid == *disk)
        };
        if let Some(job) = inner.job.take_if(|job| in_use(job)) {
            job.stop();
        }
        let Some(at) = inner.disks.iter().position(|known| known.uuid == *disk) else {
            inner.absent.retain(|absent| absent.uuid != *disk);
            return self.keep(&inner);
        };
        let gone = inner.disks.remove(at);
        if keep_state {
            gone.end_clean();
        } else {
            gone.end();
        }
        if inner.disks.is_empty() {
            self.cutover.reset();
            self.cutover.lock().open = false;
        }
        self.keep(&inner)?;
        if keep_state {
            return Ok(());
        }
        match std::fs::remove_dir_all(Sidecar::dir(&gone.path)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Problem::storage(format!("state of disk {disk}"), &error))
            }
            _ => Ok(()),
        }
    }

    /// Whether the VM's side has its disks open, as the hypervisor says.
    pub fn set_open(&self, open: bool) -> Result<()> {
        let inner = self.inner();
        if open {
            self.cutover.opened().map_err(cutover::problem)?;
        } else {
            self.cutover.lock().open = false;
        }
        self.keep(&inner)
    }

    /// Writes to a disk may have gone past the tap: both sides must be compared as a whole.
    pub fn set_untracked(&self, disk: &Uuid) {
        let inner = self.inner();
        let Some(found) = inner.disks.iter().find(|known| known.uuid == *disk) else { return };
        found.untracked.store(true, SeqCst);
        let base = found.sidecar.lock().expect("sidecar").state.base;
        if base != NO_BASE {
            found.lose_trust(base, "it was written past the tap");
        }
        let Some(job) = &inner.job else { return };
        if let Err(error) = job.raise_epoch(job.epoch.load(SeqCst) + 1) {
            tracing::error!(%error, "the epoch cannot be raised");
        }
        found.track(None);
        let session = job.control.lock().expect("control").session.clone();
        if let Some(session) = session {
            session.end("a disk was written past the tap");
        }
    }
}
