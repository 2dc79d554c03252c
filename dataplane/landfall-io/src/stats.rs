//! Where time and bytes go, stage by stage: plain atomics that cost nanoseconds on the data
//! path. Nothing is decided here; status, metrics and the codec's feedback read it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock::now_ns;

/// Bins of a histogram: bin b holds durations below 2^b microseconds; the last holds the rest
/// (over half a minute).
pub const STAGE_BINS: usize = 26;

/// One stage: how often, how many bytes, how long.
#[derive(Default)]
pub struct Stage {
    count: AtomicU64,
    bytes: AtomicU64,
    busy_ns: AtomicU64,
    bins: [AtomicU64; STAGE_BINS],
}

/// A stage as it stood at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageFigures {
    /// Times the stage was passed.
    pub count: u64,
    /// Bytes that passed it.
    pub bytes: u64,
    /// Time spent in it, over all threads.
    pub busy_ns: u64,
    /// Durations; bin b counts those below 2^b microseconds that no lower bin counts.
    pub bins: [u64; STAGE_BINS],
}

impl Stage {
    /// Something that began at `start_ns` of our clock has passed.
    pub fn passed(&self, start_ns: u64, bytes: u64) {
        self.took(now_ns().saturating_sub(start_ns), bytes);
    }

    /// Something passed and took so long.
    pub fn took(&self, ns: u64, bytes: u64) {
        self.count.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.busy_ns.fetch_add(ns, Relaxed);
        self.bins[bin(ns)].fetch_add(1, Relaxed);
    }

    /// Time spent in the stage so far.
    pub fn busy_ns(&self) -> u64 {
        self.busy_ns.load(Relaxed)
    }

    /// The figures now; those of other threads that are just passing may be half in.
    pub fn figures(&self) -> StageFigures {
        StageFigures {
            count: self.count.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            busy_ns: self.busy_ns.load(Relaxed),
            bins: std::array::from_fn(|at| self.bins[at].load(Relaxed)),
        }
    }
}

fn bin(ns: u64) -> usize {
    let us = ns / 1_000;
    ((64 - us.leading_zeros()) as usize).min(STAGE_BINS - 1)
}

impl StageFigures {
    /// What came to these since an earlier look.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            bytes: self.bytes.saturating_sub(before.bytes),
            busy_ns: self.busy_ns.saturating_sub(before.busy_ns),
            bins: std::array::from_fn(|at| self.bins[at].saturating_sub(before.bins[at])),
        }
    }

    /// Upper bound of the bin that holds the percentile, in microseconds; none of nothing.
    pub fn percentile_us(&self, percent: u64) -> Option<f64> {
        let total: u64 = self.bins.iter().sum();
        let mut rest = (total * percent).div_ceil(100).max(1);
        let bin = self.bins.iter().position(|count| {
            let reached = rest <= *count;
            rest = rest.saturating_sub(*count);
            reached
        })?;
        Some((1u64 << bin) as f64)
    }
}

/// What the guest asked of one disk: time until its answer could be given.
#[derive(Default)]
pub struct GuestStages {
    /// Reads.
    pub read: Stage,
    /// Writes, trims and zeroes; bytes are those of content.
    pub write: Stage,
    /// Flushes.
    pub flush: Stage,
}

impl GuestStages {
    /// The stages with their names.
    pub fn named(&self) -> [(&'static str, &Stage); 3] {
        [("guest-read", &self.read), ("guest-write", &self.write), ("guest-flush", &self.flush)]
    }
}

/// Stages of one disk at the source.
#[derive(Default)]
pub struct DiskStages {
    /// Reading the source disk.
    pub read: Stage,
    /// Looking for zeroes and hashing.
    pub hash: Stage,
    /// Compressing; bytes are those that went in.
    pub codec: Stage,
    /// Waiting for a connection, encrypting and giving it to the kernel.
    pub send: Stage,
    /// From sending to the durable acknowledgement.
    pub ack: Stage,
    /// Bytes that came out of the codec, where it was used.
    pub packed_bytes: AtomicU64,
}

/// Stages all disks of a job share.
#[derive(Default)]
pub struct JobStages {
    /// Waiting because everything the window allows is on its way.
    pub window_wait: Stage,
    /// Waiting for the rate limit, or because the guest comes first.
    pub limit_wait: Stage,
    /// Codec in force: its number among the steps none, lz4, zstd -5, 1, 3, 6.
    pub codec_step: AtomicU64,
    /// Bulk connections in use.
    pub connections: AtomicU64,
}

/// Stages of one disk at the destination.
#[derive(Default)]
pub struct DestinationStages {
    /// Writing what came.
    pub apply: Stage,
    /// Making it durable, the have-map included.
    pub flush: Stage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_in_powers_of_two_of_a_microsecond() {
        let stage = Stage::default();
        stage.took(999, 1);
        stage.took(1_000, 2);
        stage.took(3_999, 4);
        stage.took(u64::MAX, 8);
        let figures = stage.figures();
        assert_eq!((figures.count, figures.bytes), (4, 15));
        assert_eq!((figures.bins[0], figures.bins[1], figures.bins[2]), (1, 1, 1));
        assert_eq!(figures.bins[STAGE_BINS - 1], 1);
        assert_eq!((figures.percentile_us(50), figures.percentile_us(75)), (Some(2.0), Some(4.0)));
        assert_eq!(figures.since(&figures).percentile_us(99), None);
    }
}
