//! The source's side of the hand-over: freeze, barrier, roots, seal. It holds all disks of the
//! VM together. The caller keeps every step under one lock, so that an attach either cancels
//! the freeze or comes after the seal, never between.

use crate::tree::Hash;

/// How far the hand-over is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not begun.
    #[default]
    Idle,
    /// Sending the residue.
    Draining,
    /// The barrier is out.
    AwaitingRoots,
    /// Both sides are equal.
    RootsEqual,
    /// They still differ after the repair.
    RootsDiffer,
    /// Sealed: HANDED_OFF is persisted.
    HandedOff,
    /// The receiver has persisted ACTIVE.
    Active,
    /// The source goes on.
    Cancelled,
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A newer token is known.
    StaleToken,
    /// The VM has its disks open.
    NotClosed,
    /// There is still something to copy.
    NotReady,
    /// The roots are not known to be equal.
    NotFrozen,
    /// The source is sealed.
    Sealed,
}

/// What the roots mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hand-over may follow.
    Equal,
    /// Find the chunks, send them again, then drain again.
    Repair,
    /// Refused for good.
    Differ,
    /// Not the answer that is waited for.
    Ignored,
}

/// What an accepted hand-over asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Persist HANDED_OFF, then call [`Handover::sealed`].
    PersistHandedOff,
    /// Tell the receiver (again).
    SendOwn,
    /// All is done.
    Done,
}

/// Roots of one disk on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    /// At the source.
    pub source: Hash,
    /// At the destination, from its disk.
    pub destination: Hash,
    /// Whether the destination has every unit.
    pub complete: bool,
}

impl Roots {
    /// Whether the disk may be handed over.
    pub fn equal(&self) -> bool {
        self.complete && self.source == self.destination
    }
}

/// The machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handover {
    phase: Phase,
    token: u64,
    round: u32,
    repaired: bool,
}

impl Handover {
    /// As it was persisted: sealed with this token.
    pub fn restore(token: u64, active: bool) -> Self {
        let phase = if active { Phase::Active } else { Phase::HandedOff };
        Self { phase, token, ..Self::default() }
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Highest token seen.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether the source may never be written again under this token.
    pub fn is_sealed(&self) -> bool {
        matches!(self.phase, Phase::HandedOff | Phase::Active)
    }

    /// Whether an attach would cancel something.
    pub fn frozen(&self) -> bool {
        matches!(
            self.phase,
            Phase::Draining | Phase::AwaitingRoots | Phase::RootsEqual | Phase::RootsDiffer
        )
    }

    /// FREEZE(E).
    pub fn freeze(&mut self, token: u64, closed: bool, ready: bool) -> Result<(), Refused> {
        if self.is_sealed() {
            return if token == self.token { Ok(()) } else { Err(Refused::Sealed) };
        }
        if token < self.token || (token == self.token && self.phase == Phase::Cancelled) {
            return Err(Refused::StaleToken);
        }
        if token == self.token && self.frozen() {
            return Ok(());
        }
        if !closed {
            return Err(Refused::NotClosed);
        }
        if !ready {
            return Err(Refused::NotReady);
        }
        *self = Self { phase: Phase::Draining, token, round: self.round, repaired: false };
        Ok(())
    }

    /// Everything was sent and hashed, and what is still on the way is before the barrier on the
    /// same connection: it may go out. The answer is its round.
    pub fn drained(&mut self) -> Option<u32> {
        if self.phase != Phase::Draining {
            return None;
        }
        self.phase = Phase::AwaitingRoots;
        self.round += 1;
        Some(self.round)
    }

    /// The receiver's answer to a barrier.
    pub fn roots(&mut self, token: u64, round: u32, roots: &[Roots]) -> Verdict {
        if self.phase != Phase::AwaitingRoots || token != self.token || round != self.round {
            return Verdict::Ignored;
        }
        if roots.iter().all(Roots::equal) {
            self.phase = Phase::RootsEqual;
            return Verdict::Equal;
        }
        if self.repaired {
            self.phase = Phase::RootsDiffer;
            return Verdict::Differ;
        }
        self.repaired = true;
        self.phase = Phase::Draining;
        Verdict::Repair
    }

    /// The connections are lost: a barrier that is out must go out again. With `repairing` the
    /// differing chunks were not all found yet: that attempt does not count.
    pub fn connection_lost(&mut self, repairing: bool) {
        if self.phase == Phase::AwaitingRoots {
            self.phase = Phase::Draining;
        }
        self.repaired &= !repairing;
    }

    /// The hypervisor opens a disk. A freeze ends by it; a seal refuses it. Whether something
    /// was cancelled is the answer.
    pub fn attach(&mut self) -> Result<bool, Refused> {
        if self.is_sealed() {
            return Err(Refused::Sealed);
        }
        let cancels = self.frozen();
        if cancels {
            self.phase = Phase::Cancelled;
        }
        Ok(cancels)
    }

    /// UNFREEZE(E).
    pub fn unfreeze(&mut self, token: u64) -> Result<(), Refused> {
        if token < self.token {
            return Err(Refused::StaleToken);
        }
        if self.is_sealed() {
            return Err(Refused::Sealed);
        }
        if self.frozen() {
            self.phase = Phase::Cancelled;
        }
        self.token = token;
        Ok(())
    }

    /// HAND_OVER(E).
    pub fn hand_over(&mut self, token: u64) -> Result<Next, Refused> {
        if token != self.token {
            return Err(if token < self.token { Refused::StaleToken } else { Refused::NotFrozen });
        }
        match self.phase {
            Phase::RootsEqual => Ok(Next::PersistHandedOff),
            Phase::HandedOff => Ok(Next::SendOwn),
            Phase::Active => Ok(Next::Done),
            _ => Err(Refused::NotFrozen),
        }
    }

    /// HANDED_OFF(E) is durable.
    pub fn sealed(&mut self) {
        debug_assert_eq!(self.phase, Phase::RootsEqual);
        self.phase = Phase::HandedOff;
    }

    /// The receiver has persisted ACTIVE(E).
    pub fn own_acknowledged(&mut self, token: u64) -> bool {
        let fits = self.phase == Phase::HandedOff && token == self.token;
        if fits {
            self.phase = Phase::Active;
        }
        fits
    }
}
