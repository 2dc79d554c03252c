//! The 40-byte header in front of every payload, and the numbers of kinds and flags.

use crate::{Codec, WireError};

/// Bytes of a header.
pub const HEADER_LEN: usize = 40;
/// Longest extent one DATA frame describes: two such buffers per connection bound its memory.
pub const RAW_LEN_MAX: u32 = 1 << 20;
/// Longest payload: an extent and the BLAKE3 hash in front of it.
pub const PAYLOAD_LEN_MAX: u32 = RAW_LEN_MAX + 32;
/// Offsets and lengths of extents are multiples of this.
pub const ALIGNMENT: u64 = 512;

/// Kinds of frames. Numbers are never used for anything else later.
pub mod kind {
    /// First frame of a connection, from the source.
    pub const HELLO: u8 = 1;
    /// Its answer.
    pub const HELLO_ACK: u8 = 2;
    /// End of the HAVE frames: the session may begin.
    pub const RESUME: u8 = 3;
    /// Part of the have-map.
    pub const HAVE: u8 = 4;
    /// Content of an extent.
    pub const DATA: u8 = 5;
    /// Many small extents, hashed and packed as one block.
    pub const BATCH: u8 = 6;
    /// An extent that was written with zeroes.
    pub const ZERO: u8 = 7;
    /// An extent that is a hole.
    pub const HOLE: u8 = 8;
    /// Reserved: content named by its hash.
    pub const REF: u8 = 9;
    /// Answer to WANT.
    pub const HASHES: u8 = 10;
    /// Asks for hashes of what the receiver's disk holds.
    pub const WANT: u8 = 11;
    /// What was received and what is durable.
    pub const ACK: u8 = 12;
    /// All was acknowledged: persist PREPARED and give the roots.
    pub const BARRIER: u8 = 13;
    /// Its answer.
    pub const BARRIER_ACK: u8 = 14;
    /// Reserved: read-through.
    pub const FETCH: u8 = 15;
    /// Reserved: read-through.
    pub const FETCH_DATA: u8 = 16;
    /// The source is sealed: take the disks over, or a question about them.
    pub const OWN: u8 = 17;
    /// Reserved.
    pub const RATE: u8 = 18;
    /// Sign of life; both sides send one a second.
    pub const PING: u8 = 19;
    /// The connection cannot go on.
    pub const ERR: u8 = 20;
    /// The sender closes on purpose.
    pub const BYE: u8 = 21;
    /// Answer to OWN.
    pub const OWN_ACK: u8 = 22;
    /// The source is frozen: what comes from now on is the last, so hash and flush it at once.
    /// Skippable.
    pub const HURRY: u8 = 23;
}

/// Flags of a frame.
pub mod flags {
    /// A peer that does not know the kind skips the frame.
    pub const SKIPPABLE: u8 = 0x01;
    /// Write only where nothing is (device import; reserved in version 1).
    pub const IF_ABSENT: u8 = 0x02;
    /// The payload begins with the BLAKE3 hash of the raw bytes.
    pub const HASHED: u8 = 0x04;
    /// The extent is the guest's fresh write, not background.
    pub const FOREGROUND: u8 = 0x08;
    /// Codec of the content: 0 none, 1 lz4 block, 2 zstd frame.
    pub const CODEC_MASK: u8 = 0x70;
    /// All bits with a meaning.
    pub const KNOWN: u8 = SKIPPABLE | IF_ABSENT | HASHED | FOREGROUND | CODEC_MASK;
}

/// A frame's header. `len` is the payload's length on the wire, `raw` its meaning unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload that follow.
    pub len: u32,
    /// One of [`kind`].
    pub kind: u8,
    /// Bits of [`flags`].
    pub flags: u8,
    /// Index of the disk in HELLO.
    pub disk: u16,
    /// Epoch of the source.
    pub epoch: u32,
    /// Number of the frame on its connection, from 1, without gaps.
    pub seq: u64,
    /// Offset on the disk.
    pub off: u64,
    /// Bytes the extent has on the disk.
    pub raw: u32,
}

impl Header {
    /// The 40 bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..4].copy_from_slice(&self.len.to_le_bytes());
        out[4] = self.kind;
        out[5] = self.flags;
        out[6..8].copy_from_slice(&self.disk.to_le_bytes());
        out[8..12].copy_from_slice(&self.epoch.to_le_bytes());
        out[12..20].copy_from_slice(&self.seq.to_le_bytes());
        out[20..28].copy_from_slice(&self.off.to_le_bytes());
        out[28..32].copy_from_slice(&self.raw.to_le_bytes());
        let sum = crc32c::crc32c(&out);
        out[32..36].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Checks checksum and limits. The payload's memory is reserved only after this.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, WireError> {
        let mut summed = *bytes;
        summed[32..36].fill(0);
        if crc32c::crc32c(&summed).to_le_bytes() != bytes[32..36] {
            return Err(WireError::Checksum);
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let header = Self {
            len: u32_at(0),
            kind: bytes[4],
            flags: bytes[5],
            disk: u16::from_le_bytes([bytes[6], bytes[7]]),
            epoch: u32_at(8),
            seq: u64_at(12),
            off: u64_at(20),
            raw: u32_at(28),
        };
        limit("payload", header.len, PAYLOAD_LEN_MAX)?;
        if header.flags & !flags::KNOWN != 0 || u32_at(36) != 0 {
            return Err(WireError::Invalid("flags"));
        }
        match header.kind {
            kind::DATA => header.check_data()?,
            kind::BATCH => header.check_content()?,
            _ => {}
        }
        Ok(header)
    }

    /// Whether the payload of a DATA frame begins with its hash.
    pub fn hashed(&self) -> bool {
        self.flags & flags::HASHED != 0
    }

    fn check_data(&self) -> Result<(), WireError> {
        self.check_content()?;
        let prefix = if self.hashed() { 32 } else { 0 };
        // Packed content is shorter, else it is sent as it is.
        let fits = match Codec::from_flags(self.flags)? {
            Codec::None => self.len == self.raw + prefix,
            _ => self.len > prefix && self.len < self.raw + prefix,
        };
        if !fits {
            return Err(WireError::Invalid("data length"));
        }
        if self.off.is_multiple_of(ALIGNMENT) {
            Ok(())
        } else {
            Err(WireError::Invalid("alignment"))
        }
    }

    /// What content unpacks to is known, and bounded, before memory is taken for it.
    fn check_content(&self) -> Result<(), WireError> {
        limit("extent", self.raw, RAW_LEN_MAX)?;
        Codec::from_flags(self.flags)?;
        if self.raw == 0 || !u64::from(self.raw).is_multiple_of(ALIGNMENT) {
            return Err(WireError::Invalid("content length"));
        }
        Ok(())
    }
}

fn limit(what: &'static str, value: u32, limit: u32) -> Result<(), WireError> {
    if value > limit {
        return Err(WireError::TooLong { what, value: value.into(), limit: limit.into() });
    }
    Ok(())
}

/// A whole frame: the header with `len` set, then the payload.
pub fn frame_bytes(header: Header, payload: &[u8]) -> Vec<u8> {
    let header = Header { len: payload.len() as u32, ..header };
    let mut out = Vec::with_capacity(HEADER_LEN + payload.len());
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(payload);
    out
}
