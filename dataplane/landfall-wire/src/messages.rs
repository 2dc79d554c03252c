//! Payloads of the frames after HELLO.

use crate::bytes::{Input, put_text, too_long};
use crate::hello::{DISKS_MAX, PeerOwnership};
use crate::{ALIGNMENT, WireError};

/// Hashes in one HASHES frame: a whole node of the tree.
pub const HASHES_MAX: usize = 1_024;
/// Chunks one WANT may ask the parts of: what fits in one HASHES frame.
pub const REREAD_PARTS_MAX: u64 = HASHES_MAX as u64 / 16;
const TEXT_LEN_MAX: usize = 512;

/// Length of a ZERO or HOLE extent, which may be longer than any buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Bytes on the disk.
    pub length: u64,
}

impl Run {
    /// The payload.
    pub fn encode(&self) -> [u8; 8] {
        self.length.to_le_bytes()
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Input::new(bytes, "ZERO");
        let length = input.u64()?;
        input.end()?;
        if length == 0 || !length.is_multiple_of(ALIGNMENT) {
            return Err(WireError::Invalid("run length"));
        }
        Ok(Self { length })
    }
}

/// ACK, on the connection it is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// Highest frame applied.
    pub received: u64,
    /// Highest frame of which it and all before are durable, have-map included.
    pub durable: u64,
    /// Chunks of all disks whose hash the receiver must still take from its disk.
    pub stale_chunks: u32,
}

impl Ack {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(20);
        out.extend_from_slice(&self.received.to_le_bytes());
        out.extend_from_slice(&self.durable.to_le_bytes());
        out.extend_from_slice(&self.stale_chunks.to_le_bytes());
        out
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Input::new(bytes, "ACK");
        let ack =
            Self { received: input.u64()?, durable: input.u64()?, stale_chunks: input.u32()? };
        input.end()?;
        if ack.durable > ack.received {
            return Err(WireError::Invalid("durable"));
        }
        Ok(ack)
    }
}

/// What WANT asks for and HASHES holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// 64 KiB units from `first`, read from the disk now.
    Units,
    /// Leaves of the tree from `first`.
    Leaves,
    /// Nodes of the tree from `first`.
    Nodes,
    /// Leaves from `first`, read from the disk again now, past its cache (feature REREAD).
    Reread,
    /// The same, but of each chunk the values of its sixteen 64 KiB subtrees, of a short last
    /// chunk its hash; `count` is of chunks.
    RereadParts,
    /// Nodes from `first`, said without reading where the disk has a hole over all of a node and
    /// its leaves are known to be those of zeroes; elsewhere 32 zero bytes. `count` is of nodes.
    RereadNodes,
}

impl HashKind {
    fn to_byte(self) -> u8 {
        match self {
            Self::Units => 0,
            Self::Leaves => 1,
            Self::Nodes => 2,
            Self::Reread => 3,
            Self::RereadParts => 4,
            Self::RereadNodes => 5,
        }
    }

    fn from_byte(byte: u8) -> Result<Self, WireError> {
        Ok(match byte {
            0 => Self::Units,
            1 => Self::Leaves,
            2 => Self::Nodes,
            3 => Self::Reread,
            4 => Self::RereadParts,
            5 => Self::RereadNodes,
            _ => return Err(WireError::Invalid("hash kind")),
        })
    }
}

/// WANT: asks for `count` hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Which hashes.
    pub kind: HashKind,
    /// Index of the first.
    pub first: u64,
    /// How many; at most [`HASHES_MAX`].
    pub count: u16,
}

impl Want {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.kind.to_byte()];
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Input::new(bytes, "WANT");
        let kind = HashKind::from_byte(input.u8()?)?;
        let want = Self { kind, first: input.u64()?, count: input.u16()? };
        input.end()?;
        if usize::from(want.count) > HASHES_MAX {
            return Err(too_long("WANT", want.count.into(), HASHES_MAX));
        }
        Ok(want)
    }
}

/// HASHES: the answer to one WANT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashes {
    /// Which hashes.
    pub kind: HashKind,
    /// Index of the first.
    pub first: u64,
    /// In order, without gaps.
    pub hashes: Vec<[u8; 32]>,
}

impl Hashes {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(11 + self.hashes.len() * 32);
        out.push(self.kind.to_byte());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&(self.hashes.len() as u16).to_le_bytes());
        self.hashes.iter().for_each(|hash| out.extend_from_slice(hash));
        out
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Input::new(bytes, "HASHES");
        let kind = HashKind::from_byte(input.u8()?)?;
        let first = input.u64()?;
        let count = input.count(HASHES_MAX, 32)?;
        let mut hashes = Vec::with_capacity(count);
        for _ in 0..count {
            hashes.push(input.array()?);
        }
        input.end()?;
        Ok(Self { kind, first, hashes })
    }
}

/// BARRIER: everything sent was acknowledged; prepare the hand-over with this token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// Token E.
    pub token: u64,
    /// Increases with every barrier of a session: answers are matched by it.
    pub round: u32,
}

impl Barrier {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.token.to_le_bytes().to_vec();
        out.extend_from_slice(&self.round.to_le_bytes());
        out
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Input::new(bytes, "BARRIER");
        let barrier = Self { token: input.u64()?, round: input.u32()? };
        input.end()?;
        Ok(barrier)
    }
}

/// Root of one disk's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskRoot {
    /// Whether the have-map covers the whole disk.
    pub complete: bool,
    /// The root.
    pub root: [u8; 32],
}

fn put_roots(out: &mut Vec<u8>, roots: &[DiskRoot]) {
    out.extend_from_slice(&(roots.len() as u16).to_le_bytes());
    for disk in roots {
        out.push(u8::from(disk.complete));
        out.extend_from_slice(&disk.root);
    }
}

fn read_roots(input: &mut Input<'_>) -> Result<Vec<DiskRoot>, WireError> {
    let count = input.count(DISKS_MAX, 33)?;
    let mut roots = Vec::with_capacity(count);
    for _ in 0..count {
        let complete = match input.u8()? {
            0 => false,
            1 => true,
            _ => return Err(WireError::Invalid("complete")),
        };
        roots.push(DiskRoot { complete, root: input.array()? });
    }
    Ok(roots)
}

/// BARRIER_ACK: PREPARED is durable; the roots come from the disks after the flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BarrierAck {
    /// Token of the barrier.
    pub token: u64,
    /// Round of the barrier.
    pub round: u32,
    /// One per disk of HELLO, in its order.
    pub roots: Vec<DiskRoot>,
}

impl BarrierAck {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.token.to_le_bytes().to_vec();
        out.extend_from_slice(&self.round.to_le_bytes());
        put_roots(&mut out, &self.roots);
        out
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Input::new(bytes, "BARRIER_ACK");
        let (token, round) = (input.u64()?, input.u32()?);
        let roots = read_roots(&mut input)?;
        input.end()?;
        Ok(Self { token, round, roots })
    }
}

/// OWN: the source has persisted HANDED_OFF; the roots are the proof it releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Token E.
    pub token: u64,
    /// Roots of the source, one per disk of HELLO.
    pub roots: Vec<DiskRoot>,
}

impl Own {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.token.to_le_bytes().to_vec();
        put_roots(&mut out, &self.roots);
        out
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Input::new(bytes, "OWN");
        let token = input.u64()?;
        let roots = read_roots(&mut input)?;
        input.end()?;
        Ok(Self { token, roots })
    }
}

/// OWN_ACK: what the receiver has on its disk after OWN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAck {
    /// Token of that state.
    pub token: u64,
    /// The state.
    pub ownership: PeerOwnership,
}

impl OwnAck {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.token.to_le_bytes().to_vec();
        out.push(self.ownership.to_byte());
        out
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Input::new(bytes, "OWN_ACK");
        let ack = Self { token: input.u64()?, ownership: PeerOwnership::from_byte(input.u8()?)? };
        input.end()?;
        Ok(ack)
    }
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// No common version.
    Version,
    /// The migration or the disks are not those of this receiver.
    WrongMigration,
    /// Epoch or session of an earlier source; `value` is the epoch known here.
    Stale,
    /// A frame was malformed or came at the wrong time.
    Protocol,
    /// A destination disk or the state disk failed.
    Storage,
    /// A destination disk is full.
    DiskFull,
    /// The destination disks are not prepared yet.
    NotPrepared,
    /// The destination owns the disks: nothing is written any more.
    Owned,
    /// Generation of an earlier holder of the job; `value` is the one known here.
    StaleGeneration,
    /// A code of a later version.
    Other(u16),
}

impl ErrorCode {
    fn to_number(self) -> u16 {
        match self {
            Self::Version => 1,
            Self::WrongMigration => 2,
            Self::Stale => 3,
            Self::Protocol => 4,
            Self::Storage => 5,
            Self::DiskFull => 6,
            Self::NotPrepared => 7,
            Self::Owned => 8,
            Self::StaleGeneration => 9,
            Self::Other(number) => number,
        }
    }

    fn from_number(number: u16) -> Self {
        match number {
            1 => Self::Version,
            2 => Self::WrongMigration,
            3 => Self::Stale,
            4 => Self::Protocol,
            5 => Self::Storage,
            6 => Self::DiskFull,
            7 => Self::NotPrepared,
            8 => Self::Owned,
            9 => Self::StaleGeneration,
            other => Self::Other(other),
        }
    }
}

/// ERR: the last frame before the sender closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMessage {
    /// Why.
    pub code: ErrorCode,
    /// A number that belongs to the code.
    pub value: u64,
    /// For people; no secrets.
    pub text: String,
}

impl ErrorMessage {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.code.to_number().to_le_bytes().to_vec();
        out.extend_from_slice(&self.value.to_le_bytes());
        put_text(&mut out, &self.text, TEXT_LEN_MAX);
        out
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Input::new(bytes, "ERR");
        let code = ErrorCode::from_number(input.u16()?);
        let message = Self { code, value: input.u64()?, text: input.text(TEXT_LEN_MAX)? };
        input.end()?;
        Ok(message)
    }
}
