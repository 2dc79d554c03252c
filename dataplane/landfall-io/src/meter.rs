//! Bytes per second over the last second, and a small histogram of latencies.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock::now_ns;

const BIN_NS: u64 = 100_000_000;
const BINS: usize = 11;

/// Rate over the last second.
#[derive(Default)]
pub(crate) struct Meter {
    bins: Mutex<([u64; BINS], u64)>,
}

impl Meter {
    pub(crate) fn add(&self, bytes: u64) {
        let mut bins = self.bins.lock().expect("meter");
        advance(&mut bins);
        let at = (bins.1 % BINS as u64) as usize;
        bins.0[at] += bytes;
    }

    /// Bytes in the ten complete bins before the running one.
    pub(crate) fn per_second(&self) -> f64 {
        let mut bins = self.bins.lock().expect("meter");
        advance(&mut bins);
        let running = (bins.1 % BINS as u64) as usize;
        let sum: u64 = bins.0.iter().sum::<u64>() - bins.0[running];
        sum as f64 * 1e9 / (BIN_NS * (BINS as u64 - 1)) as f64
    }
}

fn advance(bins: &mut ([u64; BINS], u64)) {
    let now = now_ns() / BIN_NS;
    let steps = now.saturating_sub(bins.1).min(BINS as u64);
    for step in 1..=steps {
        let at = ((now - steps + step) % BINS as u64) as usize;
        bins.0[at] = 0;
    }
    bins.1 = bins.1.max(now);
}

/// Latencies in powers of two divided by four, taken and emptied once a second.
pub(crate) struct Latencies {
    bins: [AtomicU64; 128],
}

impl Default for Latencies {
    fn default() -> Self {
        Self { bins: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Latencies {
    pub(crate) fn add(&self, ns: u64) {
        let value = ns.max(4);
        let power = 63 - value.leading_zeros() as usize;
        let quarter = (value >> (power - 2)) as usize & 3;
        self.bins[(power * 4 + quarter).min(127)].fetch_add(1, Relaxed);
    }

    /// The 95th percentile since the last call, if there was enough to speak of one.
    pub(crate) fn take_p95_ns(&self) -> Option<f64> {
        let counts: Vec<u64> = self.bins.iter().map(|bin| bin.swap(0, Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total < 20 {
            return None;
        }
        let mut rest = total - total / 20;
        let at = counts.iter().position(|count| {
            let reached = rest <= *count;
            rest = rest.saturating_sub(*count);
            reached
        })?;
        let (power, quarter) = (at / 4, at % 4);
        Some(2f64.powi(power as i32) * (1.0 + (quarter as f64 + 0.5) / 4.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p95_lies_near_the_slow_tail() {
        let latencies = Latencies::default();
        (0..94).for_each(|_| latencies.add(10_000));
        (0..6).for_each(|_| latencies.add(1_000_000));
        let p95 = latencies.take_p95_ns().unwrap();
        assert!((800_000.0..1_300_000.0).contains(&p95), "{p95}");
        assert_eq!(latencies.take_p95_ns(), None);
    }
}
