//! The source's hand-over: one lock over machine, gate and seal, so that an attach cancels a
//! freeze or comes after the seal, never between. `barrier.rs` takes it from the freeze to equal
//! roots, `repair.rs` finds what differs, `seal.rs` makes it final.

use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use landfall_api::{Code, Problem};
use landfall_core::handover::{Handover, Next, Phase, Refused};
use landfall_core::throttle::WriteThrottle;
use landfall_core::tree::Hash;

use super::disk::{Gate, SourceDiskIo, Valve};
use super::job::Job;
use super::together::DiskFlush;
use crate::Result;
use crate::clock::{now_ns, now_text};
use crate::meter::Latencies;

/// Longest that a hand-over waits for the receiver before the caller has to ask again.
const OWN_MAX: Duration = Duration::from_secs(30);

/// How long a freeze is waited for before its caller has to look at the status.
const COMPARED_MAX: Duration = Duration::from_millis(250);

/// Whether the VM's side has its disks open, and how far the hand-over is.
pub(super) struct State {
    pub(super) machine: Handover,
    pub(super) open: bool,
    /// A seal failed, and these disks may hold it: taken back before anybody writes again.
    pub(super) half_sealed: Vec<Arc<SourceDiskIo>>,
    /// The flush of the source disks since the latest freeze.
    pub(super) flush: Option<Arc<DiskFlush>>,
}

/// Shared by the taps, the job and the commands of one VM.
pub(super) struct Cutover {
    state: Mutex<State>,
    pub(super) valve: Arc<Valve>,
}

impl Cutover {
    pub(super) fn new() -> Arc<Self> {
        Arc::new_cyclic(|weak: &std::sync::Weak<Self>| {
            let weak = weak.clone();
            let thaw = move || {
                if let Some(cutover) = weak.upgrade() {
                    let _ = cutover.opened();
                }
            };
            let valve = Valve {
                gate: RwLock::new(Gate::Open),
                thaw: Box::new(thaw),
                throttle: Mutex::new(WriteThrottle::off()),
                throttling: false.into(),
                latencies: Latencies::default(),
            };
            Self {
                state: Mutex::new(State {
                    machine: Handover::default(),
                    open: false,
                    half_sealed: Vec::new(),
                    flush: None,
                }),
                valve: Arc::new(valve),
            }
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("cutover")
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().machine.phase()
    }

    pub(super) fn sealed(&self) -> bool {
        self.lock().machine.is_sealed()
    }

    /// Whether the destination owns the disks: nothing is left to do.
    pub(super) fn done(&self) -> bool {
        self.phase() == Phase::Active
    }

    /// Whether somebody waits for the residue.
    pub(super) fn hurries(&self) -> bool {
        matches!(self.phase(), Phase::Draining | Phase::AwaitingRoots | Phase::HandedOff)
    }

    /// As the sidecars say after a restart.
    pub(super) fn restore(&self, token: u64, active: bool) {
        self.lock().machine = Handover::restore(token, active);
        self.set_gate(Gate::Sealed);
    }

    /// The seal ends with the storage policy.
    pub(super) fn reset(&self) {
        self.lock().machine = Handover::default();
        self.set_gate(Gate::Open);
    }

    /// The VM's side opens its disks: ends a freeze, or is refused by the seal.
    pub(super) fn opened(&self) -> std::result::Result<(), Refused> {
        let mut state = self.lock();
        state.without_seal()?;
        if state.machine.attach()? {
            tracing::warn!("the VM's disks were opened: the freeze is cancelled");
        }
        state.open = true;
        self.set_gate(Gate::Open);
        Ok(())
    }

    fn set_gate(&self, gate: Gate) {
        *self.valve.gate.write().expect("gate") = gate;
    }

    /// FREEZE(E).
    pub(super) fn freeze(&self, job: &Job, token: u64, ready: bool) -> Result<()> {
        let flush = {
            let mut state = self.lock();
            let (before, open) = (state.machine.phase(), state.open);
            state.machine.freeze(token, !open, ready).map_err(problem)?;
            let begun = state.machine.phase() == Phase::Draining && before != Phase::Draining;
            if begun {
                self.set_gate(Gate::Frozen);
                let mut control = job.control.lock().expect("control");
                control.frozen_at = Some((now_text(), now_ns()));
                (control.active_at, control.data_path_ms) = (None, None);
                control.handover_disks = Vec::new();
                control.repairs_waiting = 0;
            }
            begun
        };
        if flush {
            let files = job.disks.iter().map(|disk| disk.disk.clone()).collect();
            self.lock().flush = Some(Arc::new(DiskFlush::begin(files)));
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

    /// UNFREEZE(E).
    pub(super) fn unfreeze(&self, job: &Job, token: u64) -> Result<()> {
        let mut state = self.lock();
        state.without_seal().map_err(problem)?;
        state.machine.unfreeze(token).map_err(problem)?;
        self.set_gate(Gate::Open);
        job.changed.notify_all();
        Ok(())
    }

    /// The job ends: a freeze ends with it, a seal stays.
    pub(super) fn cancel(&self) {
        let mut state = self.lock();
        let token = state.machine.token();
        if state.without_seal().is_ok() && state.machine.unfreeze(token).is_ok() {
            self.set_gate(Gate::Open);
        }
    }

    /// HAND_OVER(E): seals, then waits until the receiver has persisted ACTIVE(E).
    pub(super) fn hand_over(&self, job: &Job, token: u64) -> Result<()> {
        let flush = self.lock().flush.clone();
        if let Some(flush) = flush {
            // Without the lock, which an attach needs; the seal asks again.
            flush.wait();
        }
        {
            let mut state = self.lock();
            match state.machine.hand_over(token).map_err(problem)? {
                Next::PersistHandedOff => self.seal(job, &mut state, token)?,
                Next::SendOwn | Next::Done => {}
            }
        }
        job.changed.notify_all();
        job.wake_session();
        let deadline = Instant::now() + OWN_MAX;
        while !self.done() {
            if Instant::now() > deadline || job.stopped() {
                let text = "the receiver has not confirmed that it owns the disks";
                return Err(Problem::new(Code::TimedOut, text));
            }
            job.wait(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The connections are lost: a barrier that was out goes out again.
    pub(super) fn connection_lost(&self, job: &Job) {
        let mut state = self.lock();
        let mut control = job.control.lock().expect("control");
        state.machine.connection_lost(control.repairs_waiting > 0);
        control.repairs_waiting = 0;
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A refusal of the machine as the control API says it.
pub(super) fn problem(refused: Refused) -> Problem {
    let (code, text) = match refused {
        Refused::StaleToken => {
            (Code::StaleToken, "this token was cancelled or a newer one is known")
        }
        Refused::NotClosed => (Code::NotClosed, "the VM has its disks open"),
        Refused::NotReady => (Code::NotReady, "the status names what is in the way"),
        Refused::NotFrozen => (Code::NotFrozen, "the roots are not known to be equal"),
        Refused::Sealed => (Code::HandedOff, "the source is sealed"),
    };
    Problem::new(code, text)
}
