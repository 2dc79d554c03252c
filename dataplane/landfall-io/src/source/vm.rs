//! The source of one VM as its process sees it. What is attached and which job runs is kept in the
//! state directory, so that a new process goes on (`restore.rs`). `attachments.rs` is the
//! hypervisor's side, `jobs.rs` the control plane's.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use landfall_api::{AttachedDisk, AttachedVm, ByteCount, Problem, Uuid};
use landfall_nbd::Export;
use landfall_wire::Codec;

use super::absent::AbsentDisk;
use super::cutover::Cutover;
use super::disk::SourceDiskIo;
use super::job::Job;
use super::kept::{Kept, KeptDisk, KeptJob};
use super::upkeep;
use crate::Result;

/// The source of one VM.
pub struct SourceVm {
    pub(super) vm: Uuid,
    pub(super) state_dir: PathBuf,
    pub(super) cutover: Arc<Cutover>,
    inner: Mutex<Inner>,
    ended: AtomicBool,
    pub(super) on_return: OnceLock<OnReturn>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) disks: Vec<Arc<SourceDiskIo>>,
    /// Attached, but their files are not there.
    pub(super) absent: Vec<AbsentDisk>,
    pub(super) job: Option<Arc<Job>>,
    /// When the disks were paused for a snapshot, in milliseconds since 1970.
    pub(super) snapshot_ms: Option<u64>,
}

/// Told of a disk that was absent and is there again, with its new export.
type OnReturn = Box<dyn Fn(&Uuid, Arc<dyn Export>) + Send + Sync>;

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
            on_return: OnceLock::new(),
        });
        source.restore()?;
        let weak = Arc::downgrade(&source);
        std::thread::Builder::new()
            .name("lf-upkeep".into())
            .spawn(move || upkeep::run(&weak))
            .map_err(|error| Problem::storage("no thread", &error))?;
        Ok(source)
    }

    /// Who is told of disks that come back. Once.
    pub fn on_return(&self, told: impl Fn(&Uuid, Arc<dyn Export>) + Send + Sync + 'static) {
        let _ = self.on_return.set(Box::new(told));
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("source")
    }

    pub(super) fn keep(&self, inner: &Inner) -> Result<()> {
        let job = inner.job.as_ref().map(|job| {
            let control = job.control.lock().expect("control");
            let codec = job.fixed_codec().map(Codec::flags);
            KeptJob {
                id: job.id.clone(),
                paused: control.paused,
                codec,
                spec: control.spec.clone(),
            }
        });
        let disk = |disk: &Arc<SourceDiskIo>| KeptDisk {
            uuid: disk.uuid.clone(),
            path: disk.path.clone(),
            capacity: ByteCount(disk.file.capacity()),
            replaced: disk.replaced.load(SeqCst),
        };
        let mut disks: Vec<KeptDisk> = inner.disks.iter().map(disk).collect();
        for absent in &inner.absent {
            disks.insert(absent.place.min(disks.len()), absent.kept());
        }
        let (open, snapshot_ms) = (self.cutover.lock().open, inner.snapshot_ms);
        let kept = Kept { open, disks, job, snapshot_ms };
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
        let inner = self.inner();
        let mut disks: Vec<AttachedDisk> = inner.disks.iter().map(disk).collect();
        disks.extend(inner.absent.iter().map(AbsentDisk::view));
        drop(inner);
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
            // During a snapshot the files are somebody else's.
            let disks = if inner.snapshot_ms.is_some() { Vec::new() } else { inner.disks.clone() };
            (inner.job.clone(), disks)
        };
        for disk in &disks {
            upkeep::look_after(disk, job.as_deref(), clear);
        }
        self.look_for_absent();
        self.end_overdue_snapshot();
    }

    /// Every figure of this VM.
    pub fn metrics(&self) -> landfall_api::metrics::Metrics {
        let (disks, job) = {
            let inner = self.inner();
            (inner.disks.clone(), inner.job.clone())
        };
        super::metrics::metrics(&self.vm, &disks, job.as_deref(), &self.cutover)
    }
}
