//! FREEZE and its early ends: by a command, by the job's end, and by a source disk that cannot be
//! flushed. In each of them the guest goes on at the source.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_api::Reason;
use landfall_core::handover::Phase;

use super::cutover::{Cutover, problem};
use super::disk::Gate;
use super::job::Job;
use super::together::DiskFlush;
use crate::Result;
use crate::clock::{now_ns, now_text};

/// How long a freeze is waited for before its caller has to look at the status.
const COMPARED_MAX: Duration = Duration::from_millis(250);

impl Cutover {
    /// FREEZE(E).
    pub(super) fn freeze(self: &Arc<Self>, job: &Arc<Job>, token: u64, ready: bool) -> Result<()> {
        {
            let mut state = self.lock();
            if let Some(failure) = state.failure(token) {
                return Err(failure);
            }
            let (before, open) = (state.machine.phase(), state.open);
            state.machine.freeze(token, !open, ready).map_err(problem)?;
            if state.machine.phase() == Phase::Draining && before != Phase::Draining {
                self.set_gate(Gate::Frozen);
                let mut control = job.control.lock().expect("control");
                control.frozen_at = Some((now_text(), now_ns()));
                (control.active_at, control.data_path_ms) = (None, None);
                control.handover_disks = Vec::new();
                control.repairs_waiting = 0;
                drop(control);
                let disks = job.disks.iter().map(|disk| disk.disk.clone()).collect();
                let (cutover, frozen) = (self.clone(), job.clone());
                let failed = move |error| cutover.flush_failed(&frozen, token, &error);
                state.flush = Some(Arc::new(DiskFlush::begin(disks, failed)));
                state.failed = None;
            }
        }
        job.changed.notify_all();
        job.wake_session();
        Ok(())
    }

    /// Waits a moment for the outcome of a freeze: most are over before a caller could ask again.
    pub(super) fn wait_compared(&self, job: &Job) {
        let deadline = Instant::now() + COMPARED_MAX;
        let under_way = || matches!(self.phase(), Phase::Draining | Phase::AwaitingRoots);
        while under_way() && !job.stopped() && Instant::now() < deadline {
            job.wait(Duration::from_millis(5));
        }
    }

    /// The source disks cannot be flushed, so they cannot be sealed either: the guest goes on here,
    /// and whoever asked for the freeze hears why.
    pub(super) fn flush_failed(&self, job: &Job, token: u64, error: &io::Error) {
        let mut state = self.lock();
        if state.machine.token() != token || !state.machine.frozen() {
            return;
        }
        tracing::error!(token, %error, "the freeze is cancelled");
        if state.machine.unfreeze(token).is_ok() {
            let message = format!("The freeze was cancelled: {error}");
            let code = "SOURCE_STORAGE_FAILED".to_owned();
            state.failed = Some((token, Reason { code, message, since: now_text() }));
            self.open_gate(&state);
        }
        drop(state);
        job.changed.notify_all();
    }

    /// An error if the freeze with this token was cancelled by a source disk.
    pub(super) fn not_failed(&self, token: u64) -> Result<()> {
        self.lock().failure(token).map_or(Ok(()), Err)
    }

    /// UNFREEZE(E).
    pub(super) fn unfreeze(&self, job: &Job, token: u64) -> Result<()> {
        let mut state = self.lock();
        state.without_seal().map_err(problem)?;
        state.machine.unfreeze(token).map_err(problem)?;
        self.open_gate(&state);
        job.changed.notify_all();
        Ok(())
    }

    /// The job ends: a freeze ends with it, a seal stays.
    pub(super) fn cancel(&self) {
        let mut state = self.lock();
        let token = state.machine.token();
        if state.without_seal().is_ok() && state.machine.unfreeze(token).is_ok() {
            self.open_gate(&state);
        }
    }
}
