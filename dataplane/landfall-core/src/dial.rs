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

/// What the replication rate allows the background; the lower of dial and absolute limit binds.
/// `None` is no limit.
pub fn background_limit(
    replication_rate: u8,
    absolute: Option<u64>,
    capacity: Option<f64>,
) -> Option<f64> {
    let dial = match (replication_rate, capacity) {
        (0, _) => Some(0.0),
        (rate @ 1..=49, Some(capacity)) => Some(f64::from(rate) / 50.0 * capacity),
        _ => None,
    };
    match (dial, absolute.map(|limit| limit as f64)) {
        (Some(dial), Some(absolute)) => Some(dial.min(absolute)),
        (dial, absolute) => dial.or(absolute),
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

/// Backs the background off when guest writes get slower than their own baseline: halves after
/// a second over it, goes up by a tenth after each second under it, and never below a tenth of
/// the capacity.
#[derive(Clone, Copy, Debug, Default)]
pub struct LatencyYield {
    baseline_ns: Option<f64>,
    cap: Option<f64>,
}

/// Slower than the baseline by less than this is noise of the scheduler, not our doing.
const NOISE_NS: f64 = 2_000_000.0;
/// A cap as high as this binds nothing.
const CAP_MAX: f64 = 4e9;

impl LatencyYield {
    /// The cap in force, if any.
    pub fn cap(&self) -> Option<f64> {
        self.cap
    }

    /// One second's p95 of the guest's writes (`None`: too few) and background goodput.
    pub fn second(&mut self, p95_ns: Option<f64>, goodput: f64, tolerance: Option<f64>) {
        let (Some(p95), Some(tolerance)) = (p95_ns, tolerance) else {
            self.recover();
            return;
        };
        let idle = goodput < 1.0;
        let baseline = match self.baseline_ns {
            Some(known) if idle => known * 0.8 + p95 * 0.2,
            Some(known) => known.min(p95.max(known * 0.95)),
            None => p95,
        };
        self.baseline_ns = Some(baseline);
        if !idle && p95 > (baseline * tolerance).max(baseline + NOISE_NS) {
            let floor = (goodput / 10.0).max(1024.0 * 1024.0);
            self.cap = Some((self.cap.unwrap_or(goodput).min(goodput) / 2.0).max(floor));
        } else {
            self.recover();
        }
    }

    fn recover(&mut self) {
        let next = self.cap.map(|cap| cap * 1.1 + 256.0 * 1024.0);
        self.cap = next.filter(|cap| *cap < CAP_MAX);
    }
}
