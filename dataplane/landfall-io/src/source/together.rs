//! What is done for all disks of a VM at once: their flushes and state files cost one wait, not
//! one each.

use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Condvar, Mutex};

use super::disk::SourceDiskIo;
use super::job::{Job, JobDiskIo};
use crate::fault;
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

/// A flush of disks that goes on beside other work. One that fails is noted at its disk (I8).
pub(super) struct DiskFlush {
    outcome: Arc<(Mutex<Outcome>, Condvar)>,
}

impl DiskFlush {
    /// Begins it. `failed` is called once if it does not succeed, on a thread of its own.
    pub(super) fn begin(
        disks: Vec<Arc<SourceDiskIo>>,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> Self {
        let outcome: Arc<(Mutex<Outcome>, Condvar)> = Arc::default();
        let shared = outcome.clone();
        let run = move || {
            let flush = |disk: &Arc<SourceDiskIo>| {
                fault::point("freeze-flush").and_then(|()| disk.sync()).map_err(|error| {
                    disk.flush_failed.store(true, SeqCst);
                    let what = format!("disk {} cannot be flushed: {error}", disk.uuid);
                    io::Error::new(error.kind(), what)
                })
            };
            let done = in_parallel(&disks, flush);
            let error = done.as_ref().err().map(copy_of);
            *shared.0.lock().expect("flush") = Some(done);
            shared.1.notify_all();
            if let Some(error) = error {
                failed(error);
            }
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
        outcome.as_ref()?.as_ref().err().map(copy_of)
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
