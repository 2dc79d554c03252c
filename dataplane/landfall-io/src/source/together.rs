//! What is done for all disks of a VM at once: their flushes and state files cost one wait, not
//! one each.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use super::disk::SourceDiskIo;
use super::job::{Job, JobDiskIo};
use crate::parallel::in_parallel;

/// Calls `act` for every disk, several at once. The first error counts; the others are still
/// done.
pub(super) fn each_disk<E: Send>(
    job: &Job,
    act: impl Fn(&JobDiskIo) -> Result<(), E> + Sync,
) -> Result<(), E> {
    in_parallel(&job.disks, act)
}

/// What came of a flush, once it is over.
type Outcome = Option<io::Result<()>>;

/// A flush of disks that goes on beside other work.
pub(super) struct DiskFlush {
    outcome: Arc<(Mutex<Outcome>, Condvar)>,
}

impl DiskFlush {
    /// Begins it.
    pub(super) fn begin(disks: Vec<Arc<SourceDiskIo>>) -> Self {
        let outcome: Arc<(Mutex<Outcome>, Condvar)> = Arc::default();
        let shared = outcome.clone();
        let run = move || {
            let done = in_parallel(&disks, |disk| disk.file.sync());
            *shared.0.lock().expect("flush") = Some(done);
            shared.1.notify_all();
        };
        std::thread::Builder::new()
            .name("lf-flush".into())
            .spawn(run)
            .expect("a thread can be started");
        Self { outcome }
    }

    /// Waits until it is over. The error of a failed one is the answer, every time.
    pub(super) fn wait(&self) -> Option<io::Error> {
        let outcome = self.outcome.0.lock().expect("flush");
        let outcome = self.outcome.1.wait_while(outcome, |outcome| outcome.is_none());
        let outcome = outcome.expect("flush");
        let error = outcome.as_ref()?.as_ref().err()?;
        Some(io::Error::new(error.kind(), error.to_string()))
    }
}
