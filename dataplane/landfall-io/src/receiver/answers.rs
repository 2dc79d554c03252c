//! What the source asks for: hashes, the barrier's roots, the hand-over itself.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use landfall_core::CHUNK;
use landfall_core::ownership::{Ownership, Step};
use landfall_wire::{
    Barrier, BarrierAck, DiskRoot, ErrorCode, HashKind, Hashes, Own, OwnAck, PeerOwnership, Want,
};

use super::session::Refusal;
use super::{Destination, Receiver};
use crate::buffers::Pool;
use crate::fault;

/// A freeze that takes longer was cancelled, or does not hurry any more.
const HURRY_MAX: Duration = Duration::from_secs(10);

/// Whether the source is frozen and waits for this side.
#[derive(Default)]
pub(super) struct Hurry {
    state: Mutex<(Option<Instant>, bool)>,
    changed: Condvar,
}

impl Hurry {
    /// The source is frozen: what comes now is the last.
    pub(super) fn begin(&self) {
        self.state.lock().expect("hurry").0 = Some(Instant::now() + HURRY_MAX);
    }

    pub(super) fn on(&self) -> bool {
        self.state.lock().expect("hurry").0.is_some_and(|until| Instant::now() < until)
    }

    /// A disk was changed: in a hurry it is hashed at once.
    pub(super) fn applied(&self) {
        let mut state = self.state.lock().expect("hurry");
        if state.0.is_some() {
            state.1 = true;
            self.changed.notify_all();
        }
    }

    /// Until a disk was changed in a hurry, at most `wait`. Whether there is a hurry is the
    /// answer.
    pub(super) fn wait(&self, wait: Duration) -> bool {
        let state = self.state.lock().expect("hurry");
        let outcome = self.changed.wait_timeout_while(state, wait, |(_, changed)| !*changed);
        let (mut state, _) = outcome.expect("hurry");
        state.1 = false;
        state.0 = state.0.filter(|until| Instant::now() < *until);
        state.0.is_some()
    }
}

/// WANT.
pub(super) fn hashes(disk: &Destination, want: Want) -> io::Result<Hashes> {
    let Want { kind, first, count } = want;
    let hashes = match kind {
        HashKind::Units => disk.unit_hashes(first, count.into())?,
        HashKind::Reread | HashKind::RereadParts | HashKind::RereadNodes => disk.reread(want)?,
        HashKind::Leaves | HashKind::Nodes => {
            hash_all(disk)?;
            let book = disk.book.lock().expect("book");
            let tree = book.tree();
            let (limit, leaves) = match kind {
                HashKind::Leaves => (tree.leaves(), true),
                _ => (tree.nodes(), false),
            };
            let range = first..first.saturating_add(count.into()).min(limit);
            range.map_while(|at| if leaves { tree.leaf(at) } else { tree.node(at) }).collect()
        }
    };
    Ok(Hashes { kind, first, hashes })
}

/// Until every chunk has its hash, those that other threads are reading included.
fn hash_all(disk: &Destination) -> io::Result<()> {
    let mut buffer = Pool::new(1).take();
    let buf = buffer.content_mut(CHUNK as usize);
    loop {
        while disk.hash_next(0, true, buf)?.is_some() {}
        if disk.book.lock().expect("book").tree().fresh() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

impl Receiver {
    /// BARRIER: everything is durable, PREPARED(E) is persisted, the roots are from the disks.
    pub(super) fn barrier(
        &self,
        disks: &[Arc<Destination>],
        barrier: Barrier,
    ) -> Result<BarrierAck, Refusal> {
        let session = self.session.lock().expect("session").clone();
        // Both at once: what is hashed is what the flush makes durable, and a flush that fails
        // leaves no answer.
        std::thread::scope(|scope| {
            let hashing = scope.spawn(|| hash_disks(disks));
            self.flush(session.as_deref())?;
            self.persist(|ownership| ownership.barrier(barrier.token))?;
            Ok::<_, Refusal>(joined(hashing)?)
        })?;
        let roots = roots(disks)?;
        Ok(BarrierAck { token: barrier.token, round: barrier.round, roots })
    }

    /// OWN: the source is sealed. With its roots as proof this side becomes the owner.
    pub(super) fn own(&self, disks: &[Arc<Destination>], own: &Own) -> Result<OwnAck, Refusal> {
        if self.ownership() != Ownership::Active(own.token) {
            self.flush(None)?;
            let proven = roots(disks)? == own.roots && own.roots.iter().all(|root| root.complete);
            self.persist(|ownership| ownership.own(own.token, proven))?;
        }
        let ownership = self.ownership();
        Ok(OwnAck { token: ownership.token(), ownership: peer_view(ownership) })
    }

    pub(super) fn ownership(&self) -> Ownership {
        self.state.lock().expect("state").ownership
    }

    fn persist(
        &self,
        step: impl FnOnce(&Ownership) -> Result<Step, landfall_core::ownership::Refused>,
    ) -> Result<(), Refusal> {
        let mut state = self.state.lock().expect("state");
        fault::point("ownership")?;
        match step(&state.ownership) {
            Ok(Step::Known) => Ok(()),
            Ok(Step::Persist(next)) => {
                state.own(next)?;
                tracing::info!(ownership = ?next, "ownership persisted");
                Ok(())
            }
            Err(refused) => Err(Refusal::new(
                ErrorCode::Owned,
                state.ownership.token(),
                format!("the hand-over is refused: {refused:?}"),
            )),
        }
    }
}

/// Hashes whatever is stale; two disks are hashed at once, and a single disk by
/// two threads.
fn hash_disks(disks: &[Arc<Destination>]) -> io::Result<()> {
    std::thread::scope(|scope| {
        let hash_every_disk = || disks.iter().try_for_each(|disk| hash_all(disk));
        let helper = scope.spawn(hash_every_disk);
        hash_every_disk()?;
        joined(helper)
    })
}

fn joined(thread: ScopedJoinHandle<'_, io::Result<()>>) -> io::Result<()> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("hashing stopped")))
}

/// The roots; whatever is stale is hashed before.
fn roots(disks: &[Arc<Destination>]) -> io::Result<Vec<DiskRoot>> {
    if !disks.iter().all(|disk| disk.book.lock().expect("book").tree().fresh()) {
        hash_disks(disks)?;
    }
    let root = |disk: &Arc<Destination>| {
        let book = disk.book.lock().expect("book");
        let root = book.tree().root().ok_or_else(|| io::Error::other("a chunk changed"))?;
        Ok(DiskRoot { complete: book.complete(), root })
    };
    disks.iter().map(root).collect()
}

/// Ownership as it is said on the wire.
pub(super) fn peer_view(ownership: Ownership) -> PeerOwnership {
    match ownership {
        Ownership::None => PeerOwnership::None,
        Ownership::Prepared(_) => PeerOwnership::Prepared,
        Ownership::Active(_) => PeerOwnership::Active,
        Ownership::Fenced(_) => PeerOwnership::Fenced,
    }
}
