//! Whether a replication catches up with the guest, and when. It does when the guest dirties
//! distinct blocks more slowly than they drain; rewrites of a block that waits cost nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bits of the sketch: good for about 300,000 distinct blocks per window, 8 KiB of memory.
const BITS: u64 = 1 << 16;
const WORDS: usize = (BITS / 64) as usize;
/// Time constant of the drain rate.
const DRAIN_SECONDS: f64 = 5.0;
/// Dirtying of this share of the drain rate leaves nothing to catch up with.
const HOPELESS_SHARE: f64 = 0.95;
/// A time further away than this is none.
const SECONDS_MAX: f64 = 30.0 * 86_400.0;

/// Counts distinct blocks without remembering them: linear counting over a hashed bitmap. Adding
/// costs a few nanoseconds and takes no lock.
pub struct Distinct {
    words: Box<[AtomicU64]>,
}

impl Default for Distinct {
    fn default() -> Self {
        Self { words: (0..WORDS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Distinct {
    /// A block was written.
    pub fn add(&self, block: u64) {
        let bit = mix(block) % BITS;
        let word = &self.words[(bit / 64) as usize];
        let mask = 1 << (bit % 64);
        // A hot block finds its bit set: then the line stays shared among processors.
        if word.load(Relaxed) & mask == 0 {
            word.fetch_or(mask, Relaxed);
        }
    }

    /// Blocks since the last call, as an estimate.
    pub fn take(&self) -> f64 {
        let ones: u64 = self.words.iter().map(|w| u64::from(w.swap(0, Relaxed).count_ones())).sum();
        let zeroes = (BITS - ones).max(1) as f64;
        -(BITS as f64) * (zeroes / BITS as f64).ln()
    }
}

/// Spreads neighbouring blocks over the sketch (the finaliser of SplitMix64).
fn mix(block: u64) -> u64 {
    let mixed = (block ^ block >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

/// Durable rate while there is something to drain. What goes out while the source only follows
/// the guest says how fast the guest is, not the link.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrainRate {
    rate: Option<f64>,
}

impl DrainRate {
    /// One window of `seconds`: the durable rate, and whether the lanes were busy all the time.
    pub fn sample(&mut self, seconds: f64, rate: f64, draining: bool) {
        if draining && rate > 0.0 {
            let weight = 1.0 - (-seconds / DRAIN_SECONDS).exp();
            self.rate = Some(self.rate.map_or(rate, |known| known + weight * (rate - known)));
        }
    }

    /// Bytes per second, once known.
    pub fn bytes_per_second(&self) -> Option<f64> {
        self.rate
    }
}

/// What the law is asked about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Bytes the destination lacks altogether.
    pub missing_bytes: f64,
    /// Bytes of which it has an older version.
    pub dirty_bytes: f64,
    /// Distinct bytes the guest dirties per second.
    pub dirtied_per_second: f64,
    /// Durable bytes per second while draining.
    pub drained_per_second: Option<f64>,
    /// What may remain for the job to be ready.
    pub ready_bytes: f64,
}

/// What is to be expected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Outlook {
    /// Nothing was drained yet.
    #[default]
    Unknown,
    /// Ready after about so many seconds (as likely earlier as later).
    Converges {
        /// Seconds from now.
        seconds: f64,
    },
    /// The guest dirties faster than it drains: it will not be ready by itself.
    DoesNotConverge,
}

/// Rounds of copying, each as long as what the one before left behind: R(i+1) = w R(i) / C. Their
/// sum is R / (C - w); with w at C there is no end. This is the fixed point of the round formula
/// for a working set larger than what is left; a smaller one only ends sooner.
pub fn outlook(progress: &Progress) -> Outlook {
    let remaining = progress.missing_bytes + progress.dirty_bytes;
    let Some(drain) = progress.drained_per_second.filter(|rate| *rate > 0.0) else {
        return match remaining <= progress.ready_bytes {
            true => Outlook::Converges { seconds: 0.0 },
            false => Outlook::Unknown,
        };
    };
    // While units are missing, what is written to them costs nothing extra.
    let had = match remaining > 0.0 {
        true => 1.0 - 0.5 * (progress.missing_bytes / remaining),
        false => 1.0,
    };
    if progress.dirtied_per_second >= HOPELESS_SHARE * drain {
        return match remaining <= progress.ready_bytes {
            true => Outlook::Converges { seconds: 0.0 },
            false => Outlook::DoesNotConverge,
        };
    }
    let over = (remaining - progress.ready_bytes).max(0.0);
    let seconds = over / (drain - had * progress.dirtied_per_second);
    match seconds <= SECONDS_MAX {
        true => Outlook::Converges { seconds },
        false => Outlook::DoesNotConverge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_blocks_are_counted_within_a_few_percent_and_rewrites_once() {
        let sketch = Distinct::default();
        for count in [10u64, 1_000, 20_000, 100_000] {
            (0..3).for_each(|_| (0..count).for_each(|block| sketch.add(block * 7)));
            let estimate = sketch.take();
            let error = (estimate - count as f64).abs() / count as f64;
            assert!(error < 0.1, "{count}: {estimate}");
        }
        assert_eq!(sketch.take(), 0.0);
    }

    #[test]
    fn the_drain_rate_is_learnt_while_draining_only() {
        let mut drain = DrainRate::default();
        drain.sample(1.0, 5e6, false);
        assert_eq!(drain.bytes_per_second(), None);
        drain.sample(1.0, 100e6, true);
        (0..100).for_each(|_| drain.sample(1.0, 5e6, false));
        assert_eq!(drain.bytes_per_second(), Some(100e6));
        (0..100).for_each(|_| drain.sample(0.25, 50e6, true));
        assert!((drain.bytes_per_second().unwrap() / 50e6 - 1.0).abs() < 0.02);
    }

    /// The rounds of the formula, carried out.
    fn seconds_of_rounds(mut remaining: f64, w: f64, c: f64, ready: f64) -> f64 {
        let mut seconds = 0.0;
        while remaining > ready {
            let step = 0.01;
            remaining += (w - c) * step;
            seconds += step;
        }
        seconds
    }

    #[test]
    fn half_the_link_converges_in_the_time_of_the_rounds() {
        let progress = Progress {
            missing_bytes: 0.0,
            dirty_bytes: 1e9,
            dirtied_per_second: 50e6,
            drained_per_second: Some(100e6),
            ready_bytes: 64e6,
        };
        let Outlook::Converges { seconds } = outlook(&progress) else { panic!("it converges") };
        let rounds = seconds_of_rounds(1e9, 50e6, 100e6, 64e6);
        assert!((seconds / rounds - 1.0).abs() < 0.01, "{seconds} {rounds}");
    }

    #[test]
    fn over_the_link_it_says_so_and_with_throttling_it_does_not() {
        let mut progress = Progress {
            missing_bytes: 1e9,
            dirty_bytes: 1e9,
            dirtied_per_second: 150e6,
            drained_per_second: Some(100e6),
            ready_bytes: 64e6,
        };
        assert_eq!(outlook(&progress), Outlook::DoesNotConverge);
        progress.dirtied_per_second = 100e6 * crate::dial::throttle_share(50);
        assert!(matches!(outlook(&progress), Outlook::Converges { .. }));
        progress.drained_per_second = None;
        assert_eq!(outlook(&progress), Outlook::Unknown);
        progress.missing_bytes = 0.0;
        progress.dirty_bytes = 1e6;
        assert_eq!(outlook(&progress), Outlook::Converges { seconds: 0.0 });
    }
}
