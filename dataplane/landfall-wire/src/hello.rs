//! HELLO and HELLO_ACK: who speaks, about which disks, in which version and session.

use crate::bytes::{Input, put_text};
use crate::{PROTOCOL_MAX, PROTOCOL_MIN, WireError};

/// Disks of one VM.
pub const DISKS_MAX: usize = 60;
const ID_LEN_MAX: usize = 128;

/// Bits of optional features. Those both sides have are in force.
pub mod features {
    /// DATA and BATCH may be packed with lz4.
    pub const CODEC_LZ4: u64 = 1;
    /// DATA and BATCH may be packed with zstd.
    pub const CODEC_ZSTD: u64 = 1 << 1;
    /// BATCH: many small extents in one frame.
    pub const BATCH: u64 = 1 << 2;
    /// WANT and HASHES of leaves that are read from the disk again, past the page cache.
    pub const REREAD: u64 = 1 << 3;
}
const DISK_LEN: usize = 40;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Foreground, barriers, ownership. Exactly one; it opens the session.
    Prio,
    /// Background and comparison.
    Bulk,
}

/// One pair of disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloDisk {
    /// UUID of the source disk.
    pub source: [u8; 16],
    /// UUID of the destination disk.
    pub destination: [u8; 16],
    /// Capacity of both.
    pub capacity_bytes: u64,
}

/// First frame of every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lowest version the source speaks.
    pub protocol_min: u16,
    /// Highest version the source speaks.
    pub protocol_max: u16,
    /// Optional features the source has.
    pub features: u64,
    /// What this connection is for.
    pub lane: Lane,
    /// Session of the source, increasing within an epoch.
    pub session: u64,
    /// Lease generation of the job.
    pub generation: u64,
    /// The migration, as in the certificates.
    pub migration: String,
    /// Version of the source's program.
    pub build: String,
    /// The disks; a frame names one by its index here.
    pub disks: Vec<HelloDisk>,
}

impl Hello {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + self.disks.len() * DISK_LEN);
        out.extend_from_slice(&self.protocol_min.to_le_bytes());
        out.extend_from_slice(&self.protocol_max.to_le_bytes());
        out.extend_from_slice(&self.features.to_le_bytes());
        out.push(match self.lane {
            Lane::Prio => 0,
            Lane::Bulk => 1,
        });
        out.extend_from_slice(&self.session.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        put_text(&mut out, &self.migration, ID_LEN_MAX);
        put_text(&mut out, &self.build, ID_LEN_MAX);
        out.extend_from_slice(&(self.disks.len() as u16).to_le_bytes());
        for disk in &self.disks {
            out.extend_from_slice(&disk.source);
            out.extend_from_slice(&disk.destination);
            out.extend_from_slice(&disk.capacity_bytes.to_le_bytes());
        }
        out
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Input::new(bytes, "HELLO");
        let protocol_min = input.u16()?;
        let protocol_max = input.u16()?;
        let features = input.u64()?;
        let lane = match input.u8()? {
            0 => Lane::Prio,
            1 => Lane::Bulk,
            _ => return Err(WireError::Invalid("lane")),
        };
        let session = input.u64()?;
        let generation = input.u64()?;
        let migration = input.text(ID_LEN_MAX)?;
        let build = input.text(ID_LEN_MAX)?;
        let count = input.count(DISKS_MAX, DISK_LEN)?;
        let mut disks = Vec::with_capacity(count);
        for _ in 0..count {
            let disk = HelloDisk {
                source: input.array()?,
                destination: input.array()?,
                capacity_bytes: input.u64()?,
            };
            if disk.capacity_bytes == 0 || !disk.capacity_bytes.is_multiple_of(crate::ALIGNMENT) {
                return Err(WireError::Invalid("capacity"));
            }
            disks.push(disk);
        }
        input.end()?;
        Ok(Self {
            protocol_min,
            protocol_max,
            features,
            lane,
            session,
            generation,
            migration,
            build,
            disks,
        })
    }
}

/// The highest version both sides speak, and the features both have.
pub fn negotiate(hello: &Hello, features: u64) -> Option<(u16, u64)> {
    let version = hello.protocol_max.min(PROTOCOL_MAX);
    let fits = version >= hello.protocol_min.max(PROTOCOL_MIN);
    fits.then_some((version, hello.features & features))
}

/// Who owns the destination disks, as the receiver has it on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerOwnership {
    /// The source.
    None,
    /// The source; a hand-over is prepared.
    Prepared,
    /// The destination.
    Active,
    /// Taken back with a newer token.
    Fenced,
}

impl PeerOwnership {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Prepared => 1,
            Self::Active => 2,
            Self::Fenced => 3,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Result<Self, WireError> {
        Ok(match byte {
            0 => Self::None,
            1 => Self::Prepared,
            2 => Self::Active,
            3 => Self::Fenced,
            _ => return Err(WireError::Invalid("ownership")),
        })
    }
}

/// Answer to HELLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloAck {
    /// Version in force.
    pub protocol: u16,
    /// Features in force.
    pub features: u64,
    /// Bytes that may be sent and not yet durable, over all connections.
    pub window_bytes: u64,
    /// Who owns the disks.
    pub ownership: PeerOwnership,
    /// Token of that ownership.
    pub token: u64,
    /// Version of the receiver's program.
    pub build: String,
}

impl HelloAck {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&self.protocol.to_le_bytes());
        out.extend_from_slice(&self.features.to_le_bytes());
        out.extend_from_slice(&self.window_bytes.to_le_bytes());
        out.push(self.ownership.to_byte());
        out.extend_from_slice(&self.token.to_le_bytes());
        put_text(&mut out, &self.build, ID_LEN_MAX);
        out
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Input::new(bytes, "HELLO_ACK");
        let ack = Self {
            protocol: input.u16()?,
            features: input.u64()?,
            window_bytes: input.u64()?,
            ownership: PeerOwnership::from_byte(input.u8()?)?,
            token: input.u64()?,
            build: input.text(ID_LEN_MAX)?,
        };
        input.end()?;
        Ok(ack)
    }
}
