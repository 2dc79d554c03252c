//! Whether a final migration may begin, and what stands in the way.

/// Most that may remain to be sent.
pub const REMAINING_BYTES_MAX: u64 = 64 << 20;
/// Longest projected drain and re-hash together.
pub const PROJECTED_SECONDS_MAX: f64 = 10.0;

/// What is known when it is judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Whether a session is in force.
    pub connected: bool,
    /// Whether the user paused the job.
    pub paused: bool,
    /// Units still to be compared.
    pub unverified_units: u64,
    /// Bytes the destination never had.
    pub missing_bytes: u64,
    /// Whether the have-map is complete.
    pub background_complete: bool,
    /// Bytes dirty or on the way.
    pub dirty_bytes: u64,
    /// Drain rate, when known.
    pub drain_bytes_per_second: Option<f64>,
    /// Bytes to hash at the slower side.
    pub stale_bytes: u64,
    /// Whether both sides must still be read again.
    pub scrub_left: bool,
    /// Rate of hashing.
    pub hash_bytes_per_second: f64,
}

/// One thing in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// No session is in force.
    NotConnected,
    /// The user paused the job.
    Paused,
    /// Both sides are being compared.
    Comparing,
    /// The first copy is not complete.
    Copying,
    /// More remains than may.
    TooMuchRemaining,
    /// The stop would take too long.
    TooSlow,
    /// Both sides are still to be read again from their disks.
    ScrubNotDone,
}

/// Projected seconds: draining, hashing.
pub fn projected(facts: &Facts) -> (f64, f64) {
    let remaining = (facts.missing_bytes + facts.dirty_bytes) as f64;
    let drain = match facts.drain_bytes_per_second {
        _ if remaining == 0.0 => 0.0,
        Some(rate) if rate >= 1.0 => remaining / rate,
        _ => remaining / (16.0 * 1024.0 * 1024.0),
    };
    (drain, facts.stale_bytes as f64 / facts.hash_bytes_per_second.max(1.0))
}

/// Everything in the way, in the order it is overcome.
pub fn obstacles(facts: &Facts) -> Vec<Obstacle> {
    let (drain, rehash) = projected(facts);
    let all = [
        (!facts.connected, Obstacle::NotConnected),
        (facts.paused, Obstacle::Paused),
        (facts.unverified_units > 0, Obstacle::Comparing),
        (!facts.background_complete, Obstacle::Copying),
        (facts.missing_bytes + facts.dirty_bytes > REMAINING_BYTES_MAX, Obstacle::TooMuchRemaining),
        (drain + rehash > PROJECTED_SECONDS_MAX, Obstacle::TooSlow),
        (facts.scrub_left, Obstacle::ScrubNotDone),
    ];
    all.into_iter().filter(|(stands, _)| *stands).map(|(_, obstacle)| obstacle).collect()
}
