//! What a re-read of both sides says: the scrub of a replication, and a verification.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ByteCount, Uuid};

/// What the equality of two disks rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verified {
    /// Hashes of what was sent, and the destination's root from its disk.
    #[default]
    Transfer,
    /// Besides, every chunk of both disks was read again and was equal.
    Reread,
}

/// A chunk that was read again on both sides and differed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Where it begins on the disk.
    pub offset_bytes: ByteCount,
    /// Its length.
    pub length_bytes: ByteCount,
    /// BLAKE3 of it at the source, hexadecimal.
    pub source_hash: String,
    /// BLAKE3 of it at the destination, hexadecimal.
    pub destination_hash: String,
    /// When it was seen, ISO 8601.
    pub at: String,
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Still reading.
    Running,
    /// Every chunk was read on both sides and was equal.
    Equal,
    /// At least one chunk differs.
    Different,
    /// No chunk differs, but some were being written all the time and could not be compared.
    Incomplete,
}

/// A verification: both sides were read from their disks, nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// The verdict over all disks.
    pub verdict: Verdict,
    /// ISO 8601.
    pub started_at: String,
    /// ISO 8601, once it is over.
    pub finished_at: Option<String>,
    /// Per disk.
    pub disks: Vec<VerifiedDisk>,
}

/// What a verification found about one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedDisk {
    /// UUID of the source disk.
    pub source_uuid: Uuid,
    /// UUID of the destination disk.
    pub destination_uuid: Uuid,
    /// Capacity of both.
    pub capacity_bytes: ByteCount,
    /// Bytes compared so far.
    pub compared_bytes: ByteCount,
    /// Bytes in chunks that were written again whenever they were to be compared.
    pub live_bytes: ByteCount,
    /// Root of the source as it was read, hexadecimal; none while chunks are missing or when the
    /// disk was written meanwhile.
    pub source_root: Option<String>,
    /// Root of the destination as it was read, hexadecimal.
    pub destination_root: Option<String>,
    /// Number of chunks that differ.
    pub differing_chunks: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
}
