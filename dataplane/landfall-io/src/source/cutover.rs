//! The source's hand-over: one lock over machine, gate and seal, so that an attach cancels a
//! freeze or comes after the seal, never between. `freeze.rs` begins it and ends it early,
//! `barrier.rs` takes it to equal roots, `repair.rs` finds what differs, `seal.rs` makes it final.

use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use landfall_api::{Code, Problem, Reason};
use landfall_core::handover::{Handover, Next, Phase, Refused};
use landfall_core::throttle::WriteThrottle;
use landfall_core::tree::Hash;

use super::disk::{Gate, SourceDiskIo, Valve};
use super::hold::Hold;
use super::job::Job;
use super::together::DiskFlush;
use crate::Result;
use crate::meter::Latencies;

/// Longest that a hand-over waits for the receiver before the caller has to ask again.
const OWN_MAX: Duration = Duration::from_secs(30);

/// Whether the VM's side has its disks open, and how far the hand-over is.
pub(super) struct State {
    pub(super) machine: Handover,
    pub(super) open: bool,
    /// Paused for a snapshot.
    snapshot: bool,
    /// A seal failed, and these disks may hold it: taken back before anybody writes again.
    pub(super) half_sealed: Vec<Arc<SourceDiskIo>>,
    /// The flush of the source disks since the latest freeze.
    pub(super) flush: Option<Arc<DiskFlush>>,
    /// The freeze with this token was cancelled, because a source disk could not be flushed.
    pub(super) failed: Option<(u64, Reason)>,
}

impl State {
    /// What the freeze with this token ended by, if the source disks were to blame.
    pub(super) fn failure(&self, token: u64) -> Option<Problem> {
        let (_, reason) = self.failed.as_ref().filter(|(failed, _)| *failed == token)?;
        Some(Problem {
            remedy: "Look at the health of the source's datastore. The guest goes on at the source; when the job is ready again, freeze with a newer token.".into(),
            ..Problem::new(Code::StorageFailed, reason.message.clone())
        })
    }

    /// Why the latest freeze was cancelled, where that was our doing.
    pub(super) fn cancelled_by(&self) -> Option<Reason> {
        let (_, reason) =
            self.failed.as_ref().filter(|(token, _)| *token == self.machine.token())?;
        Some(reason.clone())
    }
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
                held: Hold::default(),
                throttle: Mutex::new(WriteThrottle::off()),
                throttling: false.into(),
                latencies: Latencies::default(),
            };
            Self {
                state: Mutex::new(State {
                    machine: Handover::default(),
                    open: false,
                    snapshot: false,
                    half_sealed: Vec::new(),
                    flush: None,
                    failed: None,
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
        let mut state = self.lock();
        state.machine = Handover::default();
        self.open_gate(&state);
    }

    /// The VM's side opens its disks: ends a freeze, or is refused by the seal.
    pub(super) fn opened(&self) -> std::result::Result<(), Refused> {
        let mut state = self.lock();
        state.without_seal()?;
        if state.machine.attach()? {
            tracing::warn!("the VM's disks were opened: the freeze is cancelled");
        }
        state.open = true;
        self.open_gate(&state);
        Ok(())
    }

    /// As it is without a freeze or a seal.
    pub(super) fn open_gate(&self, state: &State) {
        self.set_gate(if state.snapshot { Gate::Held } else { Gate::Open });
    }

    /// Whether writes may be held for a snapshot: not during a hand-over, which must not wait for
    /// anything; false where nothing is written any more.
    pub(super) fn may_hold(&self) -> Result<bool> {
        may_hold(&self.lock())
    }

    /// Writes wait for the end of a snapshot, if they may. None is under way when this returns.
    pub(super) fn hold(&self) -> Result<bool> {
        let mut state = self.lock();
        if !may_hold(&state)? {
            return Ok(false);
        }
        state.snapshot = true;
        self.valve.held.set(true);
        self.open_gate(&state);
        Ok(true)
    }

    /// The snapshot is over.
    pub(super) fn let_go(&self) {
        let mut state = self.lock();
        state.snapshot = false;
        if !state.machine.is_sealed() && !state.machine.frozen() {
            self.open_gate(&state);
        }
        self.valve.held.set(false);
    }

    pub(super) fn set_gate(&self, gate: Gate) {
        *self.valve.gate.write().expect("gate") = gate;
    }

    /// HAND_OVER(E): seals, then waits until the receiver has persisted ACTIVE(E).
    pub(super) fn hand_over(&self, job: &Job, token: u64) -> Result<()> {
        let flush = self.lock().flush.clone();
        // Without the lock, which an attach needs; the seal asks again.
        let flushed = flush.and_then(|flush| flush.wait());
        if let Some(error) = flushed {
            self.flush_failed(job, token, &error);
        }
        {
            let mut state = self.lock();
            if let Some(failure) = state.failure(token) {
                let refused = Problem::new(Code::NotFrozen, failure.detail);
                return Err(Problem { remedy: failure.remedy, ..refused });
            }
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

fn may_hold(state: &State) -> Result<bool> {
    if state.machine.frozen() {
        return Err(Problem {
            remedy: "Wait until the hand-over is over, or cancel it (unfreeze).".into(),
            ..Problem::new(Code::NotReady, "the disks are frozen for their hand-over")
        });
    }
    Ok(!state.machine.is_sealed())
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
