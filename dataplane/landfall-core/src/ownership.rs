//! The receiver's side of the hand-over: who owns the destination disks. Every answer says what
//! must be persisted before it may be told to the peer.

/// Who owns the disks, with the token it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// The source.
    #[default]
    None,
    /// The source; a hand-over is prepared.
    Prepared(u64),
    /// The destination.
    Active(u64),
    /// Taken back by a newer token.
    Fenced(u64),
}

/// Why a step is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A newer token is known.
    StaleToken,
    /// The destination owns the disks already, or nobody here does.
    Owned,
    /// The proof does not fit what is on the disks here.
    ProofWrong,
}

/// What to do with an accepted step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Persist this, then answer.
    Persist(Ownership),
    /// It is persisted already: answer.
    Known,
}

impl Ownership {
    /// Token of the state; 0 before the first.
    pub fn token(&self) -> u64 {
        match *self {
            Self::None => 0,
            Self::Prepared(token) | Self::Active(token) | Self::Fenced(token) => token,
        }
    }

    /// Whether frames from the source may change the disks.
    pub fn writable(&self) -> bool {
        matches!(self, Self::None | Self::Prepared(_))
    }

    /// BARRIER(E).
    pub fn barrier(&self, token: u64) -> Result<Step, Refused> {
        match *self {
            Self::Active(_) | Self::Fenced(_) => Err(Refused::Owned),
            _ if token < self.token() => Err(Refused::StaleToken),
            Self::Prepared(known) if known == token => Ok(Step::Known),
            _ => Ok(Step::Persist(Self::Prepared(token))),
        }
    }

    /// OWN(E): the source says that it has sealed itself. `proven` is whether its roots are
    /// those of the disks here, all complete.
    pub fn own(&self, token: u64, proven: bool) -> Result<Step, Refused> {
        match *self {
            Self::Active(known) if known == token => Ok(Step::Known),
            Self::Active(_) | Self::Fenced(_) => Err(Refused::Owned),
            _ if token < self.token() => Err(Refused::StaleToken),
            _ if !proven => Err(Refused::ProofWrong),
            _ => Ok(Step::Persist(Self::Active(token))),
        }
    }

    /// RECLAIM: a newer token takes the disks back before the source may be written again.
    pub fn fence(&self, token: u64) -> Result<Step, Refused> {
        match *self {
            Self::Fenced(known) if known == token => Ok(Step::Known),
            _ if token <= self.token() => Err(Refused::StaleToken),
            _ => Ok(Step::Persist(Self::Fenced(token))),
        }
    }
}
