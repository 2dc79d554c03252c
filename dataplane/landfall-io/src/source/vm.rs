//! The source of one VM as its process sees it: attach and detach from the hypervisor's side,
//! jobs from the control plane's side. What is attached and which job runs is kept in the
//! state directory, so that a new process goes on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

use landfall_api::{
    AttachedDisk, AttachedVm, ByteCount, Code, Dials, Id, JobKind, JobSpec, JobStatus, Problem,
    Uuid,
};
use landfall_core::converge::Distinct;
use landfall_core::source::SourceDisk;
use landfall_nbd::Export;
use landfall_wire::Codec;

use super::book::Book;
use super::cutover::{self, Cutover};
use super::disk::SourceDiskIo;
use super::intent_log::IntentFile;
use super::job::{Job, JobDiskIo};
use super::kept::{Kept, KeptDisk, KeptJob};
use super::reread::Reread;
use super::sidecar::{DiskPhase, NO_BASE, Sidecar};
use super::{session, status, upkeep};
use crate::Result;
use crate::disk_file::DiskFile;
use crate::meter::Meter;
use crate::stats::{DiskStages, GuestStages};

/// The source of one VM.
pub struct SourceVm {
    vm: Uuid,
    state_dir: PathBuf,
    cutover: Arc<Cutover>,
    inner: Mutex<Inner>,
    ended: AtomicBool,
}

#[derive(Default)]
struct Inner {
    disks: Vec<Arc<SourceDiskIo>>,
    job: Option<Arc<Job>>,
}

impl SourceVm {
    /// Opens what an earlier process left, or begins with nothing. A restored job runs again as
    /// soon as its TLS configuration is installed.
    pub fn open(state_dir: &Path, vm: Uuid) -> Result<Arc<Self>> {
        std::fs::create_dir_all(state_dir).map_err(|e| Problem::storage("state directory", &e))?;
        let source = Arc::new(Self {
            vm,
            state_dir: state_dir.to_owned(),
            cutover: Cutover::new(),
            inner: Mutex::new(Inner::default()),
            ended: AtomicBool::new(false),
        });
        source.restore()?;
        let weak = Arc::downgrade(&source);
        std::thread::Builder::new()
            .name("lf-upkeep".into())
            .spawn(move || upkeep::run(&weak))
            .map_err(|error| Problem::storage("no thread", &error))?;
        Ok(source)
    }

    fn restore(&self) -> Result<()> {
        let kept = Kept::load(&self.state_dir)?;
        let mut inner = self.inner();
        for disk in kept.disks {
            // A disk that was resized meanwhile is served as before; its job says what is wrong.
            let opened = self.open_disk(&disk.uuid, &disk.path, disk.capacity.0, true)?;
            opened.check_file(None);
            inner.disks.push(opened);
        }
        if let Some(job) = &kept.job {
            self.end_half_seal(&inner, &job.spec)?;
        }
        self.cutover.lock().open = kept.open && !self.cutover.sealed();
        if let Some(job) = kept.job {
            let made = self.make_job(&inner, job.id, job.spec)?;
            made.control.lock().expect("control").paused = job.paused;
            inner.job = Some(made);
        }
        Ok(())
    }

    /// A process that ended while it sealed one disk after the other has released nothing, because
    /// OWN leaves after the last of them: the source goes on. A damaged state says nothing: then
    /// the seal stays.
    fn end_half_seal(&self, inner: &Inner, job: &JobSpec) -> Result<()> {
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

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("source")
    }

    fn keep(&self, inner: &Inner) -> Result<()> {
        let job = inner.job.as_ref().map(|job| {
            let control = job.control.lock().expect("control");
            KeptJob { id: job.id.clone(), paused: control.paused, spec: control.spec.clone() }
        });
        let disk = |disk: &Arc<SourceDiskIo>| KeptDisk {
            uuid: disk.uuid.clone(),
            path: disk.path.clone(),
            capacity: ByteCount(disk.file.capacity()),
        };
        let open = self.cutover.lock().open;
        let kept = Kept { open, disks: inner.disks.iter().map(disk).collect(), job };
        kept.store(&self.state_dir)
    }

    /// Disks to serve: all that are attached and not sealed.
    pub fn exports(&self) -> Vec<(Uuid, Arc<dyn Export>)> {
        if self.cutover.sealed() {
            return Vec::new();
        }
        let export =
            |disk: &Arc<SourceDiskIo>| (disk.uuid.clone(), disk.clone() as Arc<dyn Export>);
        self.inner().disks.iter().map(export).collect()
    }

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
                inner.disks.push(opened.clone());
                opened
            }
        };
        let opened = self.cutover.opened();
        self.keep(&inner)?;
        opened.map_err(|_| {
            let token = self.cutover.lock().machine.token();
            let text = format!("disk {disk} was handed over with token {token}");
            Problem::new(Code::DiskSealed, text)
        })?;
        Ok(attached)
    }

    fn open_disk(
        &self,
        uuid: &Uuid,
        path: &Path,
        capacity: u64,
        of_any_length: bool,
    ) -> Result<Arc<SourceDiskIo>> {
        let what = || format!("disk {uuid}");
        let file = match of_any_length {
            true => DiskFile::open_as_it_is(path, capacity),
            false => DiskFile::open(path, capacity),
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
        let Some(at) = inner.disks.iter().position(|known| known.uuid == *disk) else {
            return Ok(());
        };
        let in_use = |job: &Arc<Job>| job.disks.iter().any(|used| used.disk.uuid == *disk);
        if let Some(job) = inner.job.take_if(|job| in_use(job)) {
            job.stop();
        }
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

    /// What is attached.
    pub fn attached(&self) -> AttachedVm {
        let sealed = self.cutover.sealed();
        let disk = |disk: &Arc<SourceDiskIo>| AttachedDisk {
            disk_uuid: disk.uuid.clone(),
            path: disk.path.display().to_string(),
            capacity_bytes: ByteCount(disk.file.capacity()),
            attached: !sealed,
            untracked: disk.untracked.load(SeqCst),
        };
        let disks = self.inner().disks.iter().map(disk).collect();
        AttachedVm { vm_uuid: self.vm.clone(), open: self.cutover.lock().open, disks }
    }

    /// Whether writes to a disk may have gone past the tap.
    pub fn untracked(&self, disk: &Uuid) -> bool {
        let inner = self.inner();
        inner.disks.iter().any(|known| known.uuid == *disk && known.untracked.load(SeqCst))
    }

    /// Ends the job's threads and connections, and serves the disks no more. What is kept on disk
    /// stays as it is, as after a kill.
    pub fn close(&self) {
        self.end().iter().for_each(|disk| disk.end());
    }

    /// The same, and leaves beside each disk what is known of it: whoever opens it next, here or on
    /// another host, goes on without comparing or reading it. Nobody writes any more.
    pub fn close_clean(&self) {
        self.end().iter().for_each(|disk| disk.end_clean());
    }

    fn end(&self) -> Vec<Arc<SourceDiskIo>> {
        self.ended.store(true, SeqCst);
        let (job, disks) = {
            let inner = self.inner();
            (inner.job.clone(), inner.disks.clone())
        };
        if let Some(job) = job {
            job.stop();
        }
        disks
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(SeqCst)
    }

    /// Looks after disk files and write-intent logs, and with `clear` takes what is quiet out of
    /// the logs. It happens by itself every second, and every tenth with `clear`.
    pub fn look_after(&self, clear: bool) {
        let (job, disks) = {
            let inner = self.inner();
            (inner.job.clone(), inner.disks.clone())
        };
        for disk in &disks {
            upkeep::look_after(disk, job.as_deref(), clear);
        }
    }

    /// The job that runs or waits for its TLS configuration.
    pub fn job(&self) -> Option<(Id, JobSpec)> {
        let inner = self.inner();
        let job = inner.job.as_ref()?;
        let spec = job.control.lock().expect("control").spec.clone();
        Some((job.id.clone(), spec))
    }

    /// Ensures a job. The same again changes nothing but the lease; another one while a job
    /// runs is refused.
    pub fn ensure_job(&self, id: &Id, spec: JobSpec) -> Result<JobStatus> {
        spec.check()?;
        if spec.kind == JobKind::Probe {
            let text = "only replicate, verify and observe are known";
            return Err(Problem::new(Code::UnsupportedKind, text));
        }
        let mut inner = self.inner();
        if let Some(job) = inner.job.clone() {
            if job.id != *id {
                let text = format!("job {} holds the VM", job.id);
                return Err(Problem::new(Code::VmBusy, text));
            }
            lease(&job, spec.generation)?;
            let restart = {
                let mut control = job.control.lock().expect("control");
                if control.spec.disks != spec.disks {
                    let text = "the job's disks cannot change: end it and begin another";
                    return Err(Problem::new(Code::DiskChanged, text));
                }
                let moved = control.spec.receiver != spec.receiver;
                let dials = control.dials.clone();
                control.spec = JobSpec { dials, ..spec };
                if moved { control.session.clone() } else { None }
            };
            if let Some(session) = restart {
                session.end("the receiver has another address");
            }
            self.keep(&inner)?;
            return Ok(status::status(&job, &self.cutover, &self.vm));
        }
        let job = self.make_job(&inner, id.clone(), spec)?;
        inner.job = Some(job.clone());
        self.keep(&inner)?;
        Ok(status::status(&job, &self.cutover, &self.vm))
    }

    /// Raises the epoch of the disks and begins to track them.
    fn make_job(&self, inner: &Inner, id: Id, spec: JobSpec) -> Result<Arc<Job>> {
        if inner.disks.is_empty() {
            return Err(Problem::new(Code::UnknownVm, "no disk of the VM is attached"));
        }
        let mut disks = Vec::new();
        for pair in &spec.disks {
            let found = inner.disks.iter().find(|known| known.uuid == pair.source_uuid);
            let disk = found.cloned().ok_or_else(|| {
                Problem::new(Code::UnknownDisk, format!("disk {}", pair.source_uuid))
            })?;
            if disk.file.capacity() != pair.capacity_bytes.0 {
                let text = format!("disk {} has another capacity", pair.source_uuid);
                return Err(Problem::new(Code::DiskChanged, text));
            }
            disks.push(JobDiskIo {
                pair: pair.clone(),
                disk,
                sent: AtomicU64::new(0),
                wire: AtomicU64::new(0),
                skipped: AtomicU64::new(0),
                compared: AtomicU64::new(0),
                reread: Mutex::new(Reread::new(pair.capacity_bytes.0)),
                stages: DiskStages::default(),
            });
        }
        if !self.cutover.sealed() {
            for disk in &disks {
                disk.disk.track_for(disk.pair.destination_uuid.to_bytes());
                if spec.kind == JobKind::Observe {
                    disk.disk.nothing_there();
                }
            }
        }
        let known = |disk: &JobDiskIo| disk.disk.sidecar.lock().expect("sidecar").state.epoch;
        let epoch = disks.iter().map(known).max().unwrap_or(0) + 1;
        let job = Job::new(id, spec, disks, epoch);
        job.raise_epoch(epoch).map_err(|e| Problem::storage("epoch", &e))?;
        if job.control.lock().expect("control").spec.kind == JobKind::Verify {
            job.verify();
        }
        session::start(&job, &self.cutover);
        Ok(job)
    }

    fn with_job<T>(&self, id: &Id, act: impl FnOnce(&Arc<Job>) -> Result<T>) -> Result<T> {
        let job = self.inner().job.clone().filter(|job| job.id == *id);
        act(&job.ok_or_else(|| Problem::new(Code::UnknownJob, format!("job {id}")))?)
    }

    /// The same for a command that carries its lease.
    fn command(
        &self,
        id: &Id,
        generation: u64,
        act: impl FnOnce(&Arc<Job>) -> Result<()>,
    ) -> Result<JobStatus> {
        self.with_job(id, |job| {
            lease(job, generation)?;
            act(job)?;
            Ok(status::status(job, &self.cutover, &self.vm))
        })
    }

    /// Connections made from now on use this configuration. The caller's verifier has checked
    /// that the peer's name is the one in the job.
    pub fn install_tls(&self, id: &Id, tls: Arc<rustls::ClientConfig>) -> Result<()> {
        self.with_job(id, |job| {
            job.control.lock().expect("control").tls = Some(tls);
            job.changed.notify_all();
            Ok(())
        })
    }

    /// Sets the dials; they are in force when this returns.
    pub fn set_dials(&self, id: &Id, generation: u64, dials: Dials) -> Result<Dials> {
        dials.check()?;
        self.command(id, generation, |job| {
            job.set_dials(dials);
            self.keep(&self.inner())
        })
        .map(|status| status.dials)
    }

    /// Fixes the codec of the running job, or lets it be chosen by what pays (`None`). It is not
    /// kept: after a restart the choice is free again.
    pub fn set_codec(&self, id: &Id, generation: u64, codec: Option<Codec>) -> Result<JobStatus> {
        self.command(id, generation, |job| {
            job.set_codec(codec);
            Ok(())
        })
    }

    /// Pauses both lanes; the connection stays.
    pub fn pause(&self, id: &Id, generation: u64) -> Result<JobStatus> {
        self.set_paused(id, generation, true)
    }

    /// Goes on after a pause.
    pub fn resume(&self, id: &Id, generation: u64) -> Result<JobStatus> {
        self.set_paused(id, generation, false)
    }

    fn set_paused(&self, id: &Id, generation: u64, paused: bool) -> Result<JobStatus> {
        self.command(id, generation, |job| {
            job.control.lock().expect("control").paused = paused;
            self.keep(&self.inner())
        })
    }

    /// Begins to read both sides again and to compare them; returns at once. Writes nothing, and
    /// changes nothing while one is under way.
    pub fn verify(&self, id: &Id, generation: u64) -> Result<JobStatus> {
        self.command(id, generation, |job| {
            job.verify();
            Ok(())
        })
    }

    /// Begins the hand-over; returns when both sides are compared, or after a moment.
    pub fn freeze(&self, id: &Id, generation: u64, token: u64) -> Result<JobStatus> {
        self.command(id, generation, |job| {
            let ready = landfall_core::ready::obstacles(&status::facts(job)).is_empty();
            self.cutover.freeze(job, token, ready)?;
            self.cutover.wait_compared(job);
            Ok(())
        })
    }

    /// Seals the source and makes the receiver the owner. Repeatable.
    pub fn hand_over(&self, id: &Id, generation: u64, token: u64) -> Result<JobStatus> {
        self.command(id, generation, |job| self.cutover.hand_over(job, token))
    }

    /// Cancels the hand-over.
    pub fn unfreeze(&self, id: &Id, generation: u64, token: u64) -> Result<JobStatus> {
        self.command(id, generation, |job| self.cutover.unfreeze(job, token))
    }

    /// Ends the job; the taps pass through again. Repeatable.
    pub fn stop_job(&self, id: &Id, generation: u64) -> Result<()> {
        let mut inner = self.inner();
        let Some(job) = inner.job.clone().filter(|job| job.id == *id) else { return Ok(()) };
        lease(&job, generation)?;
        job.stop();
        inner.job = None;
        self.cutover.cancel();
        for disk in &job.disks {
            disk.disk.lose_trust(NO_BASE, "the job has ended");
            disk.disk.book.lock().expect("book").forget();
        }
        self.keep(&inner)
    }

    /// Every figure of this VM.
    pub fn metrics(&self) -> landfall_api::metrics::Metrics {
        let (disks, job) = {
            let inner = self.inner();
            (inner.disks.clone(), inner.job.clone())
        };
        super::metrics::metrics(&self.vm, &disks, job.as_deref(), &self.cutover)
    }

    /// State, rates and counters of the job.
    pub fn status(&self, id: &Id) -> Result<JobStatus> {
        self.with_job(id, |job| Ok(status::status(job, &self.cutover, &self.vm)))
    }
}

/// Fences commands of an older holder of the job.
fn lease(job: &Job, generation: u64) -> Result<()> {
    let mut control = job.control.lock().expect("control");
    let known = control.spec.generation;
    if generation < known {
        let text = format!("generation {generation} is older than {known}");
        return Err(Problem::new(Code::StaleGeneration, text));
    }
    control.spec.generation = generation;
    Ok(())
}
