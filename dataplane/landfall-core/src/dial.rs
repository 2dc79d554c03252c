//! The two dials as law: from 0 to 100 to what the buckets do.

use std::collections::VecDeque;

const SECOND_NS: u64 = 1_000_000_000;
const MEMORY_NS: u64 = 600 * SECOND_NS;
const GOODPUT_SECONDS: usize = 5;

/// Highest 5 s goodput while uncapped within the last ten minutes.
#[derive(Clone, Debug, Default)]
pub struct Capacity {
    seconds: VecDeque<f64>,
    peaks: VecDeque<(u64, f64)>,
}

impl Capacity {
    /// Goodput of the last second. While a cap binds the measured value says nothing about the
    /// link, so the capacity stays as it was.
    pub fn sample(&mut self, now_ns: u64, goodput: f64, capped: bool) {
        if capped {
            self.seconds.clear();
            return;
        }
        self.seconds.push_back(goodput);
        if self.seconds.len() > GOODPUT_SECONDS {
            self.seconds.pop_front();
        }
        while self.peaks.len() > 1 && now_ns.saturating_sub(self.peaks[0].0) > MEMORY_NS {
            self.peaks.pop_front();
        }
        let mean = self.seconds.iter().sum::<f64>() / self.seconds.len() as f64;
        while self.peaks.back().is_some_and(|(_, peak)| *peak <= mean) {
            self.peaks.pop_back();
        }
        self.peaks.push_back((now_ns, mean));
    }

    /// Bytes per second, once known.
    pub fn bytes_per_second(&self) -> Option<f64> {
        self.peaks.front().map(|(_, peak)| *peak).filter(|peak| *peak > 0.0)
    }
}

/// What the replication rate allows the background, in bytes of content per second. `None` is no
/// limit. An absolute limit has a bucket of its own: it counts what goes on the line.
pub fn background_limit(replication_rate: u8, capacity: Option<f64>) -> Option<f64> {
    match (replication_rate, capacity) {
        (0, _) => Some(0.0),
        (rate @ 1..=49, Some(capacity)) => Some(f64::from(rate) / 50.0 * capacity),
        _ => None,
    }
}

/// The lower of two limits; `None` is no limit.
pub fn lower(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Guest latency the background tolerates, as a multiple of the baseline; `None` = any.
pub fn latency_tolerance(replication_rate: u8) -> Option<f64> {
    match replication_rate {
        0..=50 => Some(1.5),
        51..=99 => Some(1.5 + 2.5 * f64::from(replication_rate - 50) / 49.0),
        _ => None,
    }
}

/// Share of the drain rate that unique dirtying may take at a write-throttling dial.
pub fn throttle_share(write_throttling: u8) -> f64 {
    1.0 - 0.9 * f64::from(write_throttling.min(100)) / 100.0
}

/// Longest delay added to one write.
pub fn throttle_delay_ns(write_throttling: u8, absolute_ms: Option<u32>) -> u64 {
    if write_throttling == 0 {
        return 0;
    }
    match absolute_ms {
        Some(limit) => u64::from(limit) * 1_000_000,
        None => u64::from(write_throttling.min(100)) * 400_000,
    }
}

/// Nice value of threads that move data up to dial 50, and of a receiver: enough that a guest's
/// request hardly ever waits for a mover's time slice, not so much that a busy host starves the
/// copy.
pub const BACKGROUND_NICE: i32 = 8;

/// How much less of the processor the background takes than the guest's side, as the nice value
/// of its threads.
pub fn background_nice(replication_rate: u8) -> i32 {
    match replication_rate {
        0..=50 => BACKGROUND_NICE,
        51..=99 => (BACKGROUND_NICE - i32::from(replication_rate - 50) / 7).max(1),
        _ => 0,
    }
}

/// Share of what goes out that foreground may take while the destination lacks units: what is
/// rewritten meanwhile is sent once, afterwards.
pub const FOREGROUND_SHARE_WHILE_COPYING: f64 = 0.05;
