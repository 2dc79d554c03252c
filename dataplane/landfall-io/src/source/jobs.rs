//! The control plane's side of a VM: its one job and the commands to it. Each carries a lease and
//! may come twice.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use landfall_api::{Code, Dials, Id, JobKind, JobSpec, JobStatus, Problem};
use landfall_wire::Codec;

use super::job::{Connection, Job, JobDiskIo};
use super::reread::Reread;
use super::session::SNAPSHOT;
use super::sidecar::NO_BASE;
use super::vm::{Inner, SourceVm};
use super::{session, status};
use crate::Result;
use crate::stats::DiskStages;

impl SourceVm {
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
    pub(super) fn make_job(&self, inner: &Inner, id: Id, spec: JobSpec) -> Result<Arc<Job>> {
        if inner.disks.is_empty() && inner.absent.is_empty() {
            return Err(Problem::new(Code::UnknownVm, "no disk of the VM is attached"));
        }
        let (mut disks, mut absent) = (Vec::new(), Vec::new());
        for pair in &spec.disks {
            if let Some(lacking) = inner.absent.iter().find(|disk| disk.uuid == pair.source_uuid) {
                absent.push((pair.clone(), lacking.fault.clone()));
                continue;
            }
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
        let known = |disk: &JobDiskIo| disk.disk.sidecar.lock().expect("sidecar").state.epoch;
        let newest = disks.iter().map(known).max().unwrap_or(0);
        if !self.cutover.sealed() {
            for disk in &disks {
                let base = disk.pair.destination_uuid.to_bytes();
                if known(disk) < newest {
                    // The VM went on without this file, so its destination is another's.
                    disk.disk.lose_trust(base, "it was not there in the latest epoch");
                    disk.disk.track(None);
                }
                disk.disk.track_for(base);
                disk.disk.believe_log();
                if spec.kind == JobKind::Observe {
                    disk.disk.nothing_there();
                }
            }
        }
        let epoch = newest + 1;
        let job = Job::new(id, spec, disks, absent, epoch);
        // While a disk lacks there is no session, and it must not miss an epoch.
        if job.absent.is_empty() {
            job.raise_epoch(epoch).map_err(|e| Problem::storage("epoch", &e))?;
        }
        if job.control.lock().expect("control").spec.kind == JobKind::Verify {
            job.verify();
        }
        if inner.snapshot_ms.is_some() {
            job.hold_still();
            job.set_reason(Connection::Lost, "SNAPSHOT", SNAPSHOT.into());
        }
        session::start(&job, &self.cutover);
        Ok(job)
    }

    /// The job begins anew with the disks as they are now: a new epoch, the same desired state.
    pub(super) fn renew_job(&self, inner: &mut Inner) -> Result<()> {
        let Some(before) = inner.job.take() else { return Ok(()) };
        before.stop();
        let (spec, paused, tls) = {
            let control = before.control.lock().expect("control");
            (control.spec.clone(), control.paused, control.tls.clone())
        };
        self.end_half_seal(inner, &spec)?;
        let made = self.make_job(inner, before.id.clone(), spec)?;
        {
            let mut control = made.control.lock().expect("control");
            (control.paused, control.tls) = (paused, tls);
        }
        made.set_codec(before.fixed_codec());
        made.changed.notify_all();
        inner.job = Some(made);
        Ok(())
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

    /// Fixes the codec of the job, or lets it be chosen by what pays (`None`). It is kept, as the
    /// dials are.
    pub fn set_codec(&self, id: &Id, generation: u64, codec: Option<Codec>) -> Result<JobStatus> {
        self.command(id, generation, |job| {
            job.set_codec(codec);
            self.keep(&self.inner())
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
            self.cutover.not_failed(token)
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
