//! The source's hand-over: one lock over machine, gate and seal, so that an attach cancels a
//! freeze or comes after the seal, never between.

use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use landfall_api::{Code, HandoverDisk, Problem};
use landfall_core::handover::{Handover, Next, Phase, Refused, Roots, Verdict};
use landfall_core::throttle::WriteThrottle;
use landfall_core::tree::{Hash, LEAVES_PER_NODE};
use landfall_wire::{
    Barrier, BarrierAck, DiskRoot, HASHES_MAX, HashKind, Hashes, Own, OwnAck, PeerOwnership, Want,
    flags, kind,
};

use super::disk::{Gate, SourceDiskIo, Valve};
use super::hashing::hash_next;
use super::job::{Job, JobDiskIo};
use super::scrub;
use super::session::Session;
use super::sidecar::DiskPhase;
use super::together::{DiskFlush, each_disk};
use crate::Result;
use crate::clock::{now_ns, now_text};
use crate::fault;
use crate::link::{Frame, invalid};
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
    half_sealed: Vec<Arc<SourceDiskIo>>,
    /// The flush of the source disks since the latest freeze.
    pub(super) flush: Option<Arc<DiskFlush>>,
}

impl State {
    fn take_back_seal(&mut self) -> io::Result<()> {
        while let Some(disk) = self.half_sealed.last() {
            disk.take_back_seal()?;
            self.half_sealed.pop();
        }
        Ok(())
    }

    /// The same for whoever would write next: a seal that stays refuses it.
    fn without_seal(&mut self) -> std::result::Result<(), Refused> {
        self.take_back_seal().map_err(|error| {
            tracing::error!(%error, "a seal that failed cannot be taken back");
            Refused::Sealed
        })
    }
}

impl SourceDiskIo {
    /// Makes it ours again, durably.
    pub(super) fn take_back_seal(&self) -> io::Result<()> {
        let mut sidecar = self.sidecar.lock().expect("sidecar");
        let state = sidecar.state;
        sidecar.store(super::sidecar::SidecarState { phase: DiskPhase::Ours, ..state })
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

    /// Persists HANDED_OFF(E) in every sidecar. After an error in the middle the command is
    /// repeated, or the seal is taken back before the source is written again: nothing was
    /// released yet. A restart takes back a seal that is not on every disk.
    fn seal(&self, job: &Job, state: &mut State, token: u64) -> Result<()> {
        let mut gate = self.valve.gate.write().expect("gate");
        let clean = |disk: &JobDiskIo| disk.disk.book.lock().expect("book").clean();
        if state.open || !job.disks.iter().all(clean) {
            return Err(Problem::new(Code::NotFrozen, "the disks changed after the barrier"));
        }
        if let Some(error) = state.flush.as_ref().and_then(|flush| flush.wait()) {
            return Err(Problem::storage("flush of a source disk", &error));
        }
        // Should one fail, any of them may hold the seal.
        state.half_sealed = job.disks.iter().map(|disk| disk.disk.clone()).collect();
        each_disk(job, |disk| {
            fault::point("seal-disk").map_err(|e| Problem::storage("seal", &e))?;
            let root = local_root(disk).map_err(|e| Problem::storage("hash tree", &e))?;
            let mut sidecar = disk.disk.sidecar.lock().expect("sidecar");
            let next = super::sidecar::SidecarState {
                phase: DiskPhase::HandedOff,
                token,
                root,
                ..sidecar.state
            };
            let stored = sidecar.store(next);
            stored.map_err(|e| Problem::storage(format!("seal of disk {}", disk.disk.uuid), &e))
        })?;
        state.half_sealed.clear();
        state.machine.sealed();
        *gate = Gate::Sealed;
        tracing::info!(token, "the source is sealed");
        Ok(())
    }

    /// What the prio thread does for the hand-over; whether it did something is the answer.
    pub(super) fn step(&self, job: &Job, session: &Session, buf: &mut [u8]) -> io::Result<bool> {
        match self.phase() {
            Phase::Draining => self.step_draining(job, session, buf),
            Phase::HandedOff if !session.own_sent.swap(true, SeqCst) => {
                let token = self.lock().machine.token();
                fault::point("own-send")?;
                let own = Own { token, roots: job.disks.iter().map(sealed_root).collect() };
                session
                    .prio
                    .send(&[Frame::new(kind::OWN, session.epoch, &own.encode())], |_| {})?;
                Ok(true)
            }
            Phase::Idle | Phase::Cancelled => {
                session.hurry_sent.store(false, SeqCst);
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn step_draining(&self, job: &Job, session: &Session, buf: &mut [u8]) -> io::Result<bool> {
        if job.control.lock().expect("control").repairs_waiting > 0 {
            return Ok(false);
        }
        if !session.hurry_sent.swap(true, SeqCst) {
            let mut frame = Frame::new(kind::HURRY, session.epoch, &[]);
            frame.header.flags = flags::SKIPPABLE;
            session.prio.send(&[frame], |_| {})?;
        }
        if !all_sent(job, session) {
            return Ok(false);
        }
        for disk in &job.disks {
            if hash_next(&disk.disk, 0, true, buf)?.is_some() {
                return Ok(true);
            }
            if !disk.disk.book.lock().expect("book").tree().fresh() {
                return Ok(false);
            }
        }
        if !scrub::nothing_left(job, session) {
            session.rereads.wake();
            return Ok(false);
        }
        let barrier = {
            let mut state = self.lock();
            let round = state.machine.drained();
            round.map(|round| Barrier { token: state.machine.token(), round })
        };
        if let Some(barrier) = barrier {
            fault::point("barrier-send")?;
            let payload = barrier.encode();
            session.prio.send(&[Frame::new(kind::BARRIER, session.epoch, &payload)], |_| {})?;
        }
        Ok(true)
    }

    /// BARRIER_ACK.
    pub(super) fn roots_came(
        &self,
        job: &Job,
        session: &Session,
        payload: &[u8],
    ) -> io::Result<()> {
        let ack = BarrierAck::decode(payload).map_err(invalid)?;
        if ack.roots.len() != job.disks.len() {
            return Err(io::Error::other("roots of other disks"));
        }
        let mut roots = Vec::with_capacity(ack.roots.len());
        for (disk, theirs) in job.disks.iter().zip(&ack.roots) {
            let source = local_root(disk)?;
            roots.push(Roots { source, destination: theirs.root, complete: theirs.complete });
        }
        let verdict = {
            let mut state = self.lock();
            let verdict = state.machine.roots(ack.token, ack.round, &roots);
            if verdict != Verdict::Ignored {
                note_roots(job, &roots);
            }
            if verdict == Verdict::Repair {
                let differ = roots.iter().filter(|roots| !roots.equal()).count() as u64;
                job.control.lock().expect("control").repairs_waiting = differ;
            }
            verdict
        };
        tracing::info!(?verdict, token = ack.token, round = ack.round, "roots compared");
        if verdict == Verdict::Repair {
            for (index, roots) in roots.iter().enumerate() {
                if !roots.equal() {
                    self.ask_nodes(job, session, index)?;
                }
            }
        }
        job.changed.notify_all();
        Ok(())
    }

    fn ask_nodes(&self, job: &Job, session: &Session, index: usize) -> io::Result<()> {
        let nodes = job.disks[index].disk.book.lock().expect("book").tree().nodes();
        let wants: Vec<Want> = (0..nodes)
            .step_by(HASHES_MAX)
            .map(|first| Want {
                kind: HashKind::Nodes,
                first,
                count: (nodes - first).min(HASHES_MAX as u64) as u16,
            })
            .collect();
        job.control.lock().expect("control").repairs_waiting += wants.len() as u64 - 1;
        wants.iter().try_for_each(|want| ask(session, index, want))
    }

    /// HASHES of nodes or leaves: the tree leads to the chunks that differ.
    pub(super) fn tree_hashes_came(
        &self,
        job: &Job,
        session: &Session,
        index: usize,
        theirs: &Hashes,
    ) -> io::Result<()> {
        let disk = job.disks.get(index).ok_or(io::ErrorKind::InvalidData)?;
        let (wants, repaired) = differing(disk, theirs);
        {
            let mut control = job.control.lock().expect("control");
            let waiting = control.repairs_waiting + wants.len() as u64;
            control.repairs_waiting = waiting.saturating_sub(1);
            if let Some(view) = control.handover_disks.get_mut(index) {
                view.repaired_chunks += repaired;
            }
        }
        wants.iter().try_for_each(|want| ask(session, index, want))
    }

    /// OWN_ACK.
    pub(super) fn own_acknowledged(&self, job: &Job, payload: &[u8]) -> io::Result<()> {
        let ack = OwnAck::decode(payload).map_err(invalid)?;
        self.learn_ownership(job, ack.ownership, ack.token).map(drop)
    }

    /// What the receiver has on its disk. Whether it fits what is known here is the answer.
    pub(super) fn learn_ownership(
        &self,
        job: &Job,
        ownership: PeerOwnership,
        token: u64,
    ) -> io::Result<bool> {
        if !matches!(ownership, PeerOwnership::Active | PeerOwnership::Fenced) {
            return Ok(true);
        }
        let mut state = self.lock();
        if ownership != PeerOwnership::Active || !state.machine.own_acknowledged(token) {
            return Ok(state.machine.phase() == Phase::Active);
        }
        {
            let mut control = job.control.lock().expect("control");
            control.active_at = Some(now_text());
            control.data_path_ms =
                control.frozen_at.as_ref().map(|(_, at)| (now_ns() - at) / 1_000_000);
        }
        each_disk(job, |disk| {
            let mut sidecar = disk.disk.sidecar.lock().expect("sidecar");
            let next = super::sidecar::SidecarState { phase: DiskPhase::Active, ..sidecar.state };
            sidecar.store(next)
        })?;
        job.changed.notify_all();
        Ok(true)
    }

    /// The connections are lost: a barrier that was out goes out again.
    pub(super) fn connection_lost(&self, job: &Job) {
        let mut state = self.lock();
        let mut control = job.control.lock().expect("control");
        state.machine.connection_lost(control.repairs_waiting > 0);
        control.repairs_waiting = 0;
    }
}

/// What to ask next about nodes that differ; chunks that differ are to be sent again, and
/// counted.
fn differing(disk: &JobDiskIo, theirs: &Hashes) -> (Vec<Want>, u64) {
    let mut book = disk.disk.book.lock().expect("book");
    let (mut wants, mut repaired) = (Vec::new(), Vec::new());
    for (at, their) in theirs.hashes.iter().enumerate() {
        let at = theirs.first.saturating_add(at as u64);
        let tree = book.tree();
        match theirs.kind {
            HashKind::Nodes if at < tree.nodes() && tree.node(at) != Some(*their) => {
                let first = at * LEAVES_PER_NODE;
                let count = LEAVES_PER_NODE.min(tree.leaves() - first) as u16;
                wants.push(Want { kind: HashKind::Leaves, first, count });
            }
            HashKind::Leaves if at < tree.leaves() && tree.leaf(at) != Some(*their) => {
                book.repair(at);
                repaired.push(book.tree().chunk(at));
            }
            _ => {}
        }
    }
    drop(book);
    repaired.iter().for_each(|chunk| disk.disk.note_difference(*chunk));
    (wants, repaired.len() as u64)
}

fn ask(session: &Session, index: usize, want: &Want) -> io::Result<()> {
    let payload = want.encode();
    session.prio.send(&[Frame::new(kind::WANT, session.epoch, &payload).disk(index)], |_| {})
}

/// Whether everything was sent, and what is not acknowledged yet went over prio: the receiver
/// carries it out before the barrier that follows it there.
fn all_sent(job: &Job, session: &Session) -> bool {
    let mut on_the_way = 0;
    for disk in &job.disks {
        let (sent, in_flight) = disk.disk.book.lock().expect("book").all_sent();
        if !sent {
            return false;
        }
        on_the_way += in_flight;
    }
    on_the_way == session.prio.queue(|queue| queue.waiting())
}

fn local_root(disk: &JobDiskIo) -> io::Result<Hash> {
    let book = disk.disk.book.lock().expect("book");
    book.tree().root().ok_or_else(|| io::Error::other("a chunk changed after the freeze"))
}

fn sealed_root(disk: &JobDiskIo) -> DiskRoot {
    let root = disk.disk.sidecar.lock().expect("sidecar").state.root;
    DiskRoot { complete: true, root }
}

fn note_roots(job: &Job, roots: &[Roots]) {
    for (disk, roots) in job.disks.iter().zip(roots) {
        let mut reread = disk.reread.lock().expect("reread");
        reread.roots_equal_at = roots.equal().then(now_text);
    }
    let mut control = job.control.lock().expect("control");
    let before = std::mem::take(&mut control.handover_disks);
    control.handover_disks = job
        .disks
        .iter()
        .zip(roots)
        .enumerate()
        .map(|(at, (disk, roots))| HandoverDisk {
            source_uuid: disk.pair.source_uuid.clone(),
            destination_uuid: disk.pair.destination_uuid.clone(),
            source_root: Some(hex(&roots.source)),
            destination_root: Some(hex(&roots.destination)),
            equal: roots.equal(),
            repaired_chunks: before.get(at).map_or(0, |view| view.repaired_chunks),
        })
        .collect();
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
