//! Where time and bytes of a job go, as its status says it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ByteCount;

/// What holds a job back now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LimitedBy {
    /// Reading the source disk.
    SourceDisk,
    /// Hashing.
    Hash,
    /// Compressing.
    Codec,
    /// The path to the receiver.
    Network,
    /// Writing, flushing or reading at the destination.
    DestinationDisk,
    /// The replication rate or the absolute limit.
    RateLimit,
    /// The guest's own writes come first.
    GuestYield,
    /// Window by round trip: the path is long, not full.
    Window,
    /// There is nothing to send.
    Idle,
}

impl LimitedBy {
    /// All of them with their names.
    pub const ALL: [(Self, &str); 9] = [
        (Self::SourceDisk, "source-disk"),
        (Self::Hash, "hash"),
        (Self::Codec, "codec"),
        (Self::Network, "network"),
        (Self::DestinationDisk, "destination-disk"),
        (Self::RateLimit, "rate-limit"),
        (Self::GuestYield, "guest-yield"),
        (Self::Window, "window"),
        (Self::Idle, "idle"),
    ];
}

/// The codec in force and what it achieved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CodecStatus {
    /// `none`, `lz4` or `zstd`.
    pub name: String,
    /// Bytes that went in for each byte that came out; none before anything did.
    pub ratio: Option<f64>,
}

/// One stage: since the process began, and over the last five to ten seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// `guest-read`, `guest-write`, `guest-flush`, `read`, `hash`, `codec`, `send`, `ack`.
    pub stage: String,
    /// Bytes that passed it since the process began.
    pub bytes: ByteCount,
    /// Times it was passed since the process began.
    pub count: u64,
    /// Time spent in it since the process began, over all threads.
    pub busy_seconds: f64,
    /// Bytes per second, lately.
    pub bytes_per_second: f64,
    /// Median duration of one pass, lately; none when there was none. Upper bound of a bucket
    /// of a power of two.
    pub p50_microseconds: Option<f64>,
    /// 99th percentile, likewise.
    pub p99_microseconds: Option<f64>,
}

/// Rates of one disk over the last five to ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskRates {
    /// What the guest writes.
    pub written_bytes_per_second: f64,
    /// Clean blocks that guest writes make dirty.
    pub dirtied_bytes_per_second: f64,
    /// What is sent, logical.
    pub sent_bytes_per_second: f64,
    /// What becomes durable at the destination, logical.
    pub durable_bytes_per_second: f64,
}
