//! How the background makes room for the guest: it backs off when the guest's writes become
//! slower than they are without it. Time comes in as windows of equal length.

/// Windows per second; the caller measures the guest's writes over each of them.
pub const WINDOWS_PER_SECOND: u32 = 4;
/// Slower than the baseline by less than this is noise of the scheduler, not our doing.
const NOISE_NS: f64 = 200_000.0;
/// Windows over the limit in a row before the background backs off; one is enough when it is
/// far over.
const WINDOWS_OVER: u32 = 2;
const FAR_OVER: f64 = 4.0;
/// Windows that a step is given to show its effect.
const WINDOWS_SETTLE: u32 = 1;
/// The background never goes below this share of what it reached without a cap.
const FLOOR_SHARE: f64 = 0.1;
const FLOOR_MIN: f64 = 1024.0 * 1024.0;
/// Growth per window once the guest is fine, and while it writes nothing.
const GROWTH: f64 = 1.1;
const GROWTH_ALONE: f64 = 1.5;
/// Share of a new idle value in the baseline; less of it at the floor, where the guest is
/// nearly alone: if it stays slow there, it is slow by itself.
const LEARN_IDLE: f64 = 0.2;
const LEARN_FLOOR: f64 = 0.05;

/// Halves the background when guest writes are over their limit, lets it grow again after.
#[derive(Clone, Copy, Debug, Default)]
pub struct LatencyYield {
    baseline_ns: Option<f64>,
    cap: Option<f64>,
    reached: f64,
    over: u32,
    settle: u32,
}

impl LatencyYield {
    /// The cap in force in bytes per second, if any.
    pub fn cap(&self) -> Option<f64> {
        self.cap
    }

    /// p95 of guest writes without the background, once known.
    pub fn baseline_ns(&self) -> Option<f64> {
        self.baseline_ns
    }

    /// One window: p95 of the guest's writes (`None`: too few to say), what the background
    /// moved in bytes per second, and the tolerance of the dial (`None`: never yields).
    pub fn window(&mut self, p95_ns: Option<f64>, goodput: f64, tolerance: Option<f64>) {
        if self.cap.is_none() {
            self.reached = goodput.max(self.reached * 0.99);
        }
        let Some(tolerance) = tolerance else {
            (self.cap, self.over) = (None, 0);
            return;
        };
        let Some(p95) = p95_ns else {
            self.over = 0;
            return self.grow(GROWTH_ALONE);
        };
        let floor = (self.reached * FLOOR_SHARE).max(FLOOR_MIN);
        let idle = goodput < 1.0;
        let at_floor = self.cap.is_some_and(|cap| cap <= floor);
        let baseline = match self.baseline_ns {
            Some(known) if idle => known + LEARN_IDLE * (p95 - known),
            Some(known) if at_floor && p95 > known => known + LEARN_FLOOR * (p95 - known),
            Some(known) => known.min(p95.max(known * 0.95)),
            None => p95,
        };
        self.baseline_ns = Some(baseline);
        let limit = (baseline * tolerance).max(baseline + NOISE_NS);
        self.over = if p95 > limit && !idle { self.over + 1 } else { 0 };
        if self.settle > 0 {
            self.settle -= 1;
        } else if self.over >= WINDOWS_OVER || self.over > 0 && p95 > limit * FAR_OVER {
            let before = self.cap.map_or(goodput, |cap| cap.min(goodput));
            self.cap = Some((before / 2.0).max(floor));
            self.settle = WINDOWS_SETTLE;
        } else if self.over == 0 {
            self.grow(GROWTH);
        }
    }

    fn grow(&mut self, by: f64) {
        let next = self.cap.map(|cap| cap * by + FLOOR_MIN / 4.0);
        // Far over what was ever reached a cap binds nothing.
        self.cap = next.filter(|cap| *cap < 2.0 * self.reached.max(FLOOR_MIN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Option<f64> = Some(1.5);

    fn known() -> LatencyYield {
        let mut law = LatencyYield::default();
        (0..10).for_each(|_| law.window(Some(1e6), 0.0, TOLERANCE));
        (0..10).for_each(|_| law.window(Some(1e6), 100e6, TOLERANCE));
        law
    }

    #[test]
    fn it_halves_within_half_a_second_and_comes_back_within_seconds() {
        let mut law = known();
        assert_eq!(law.cap(), None);
        law.window(Some(2e6), 100e6, TOLERANCE);
        assert_eq!(law.cap(), None, "one window is noise");
        law.window(Some(2e6), 100e6, TOLERANCE);
        assert_eq!(law.cap(), Some(50e6));
        (0..20).for_each(|_| law.window(Some(1e6), 50e6, TOLERANCE));
        assert_eq!(law.cap(), None);
    }

    #[test]
    fn a_stall_counts_at_once_and_noise_does_not() {
        let mut law = known();
        law.window(Some(50e6), 100e6, TOLERANCE);
        assert_eq!(law.cap(), Some(50e6));
        let mut quick = LatencyYield::default();
        (0..10).for_each(|_| quick.window(Some(5e3), 0.0, TOLERANCE));
        (0..100).for_each(|_| quick.window(Some(150e3), 100e6, TOLERANCE));
        assert_eq!(quick.cap(), None);
    }

    #[test]
    fn it_stops_at_a_tenth_and_learns_that_a_slow_guest_is_slow_by_itself() {
        let mut law = known();
        for _ in 0..40 {
            let goodput = law.cap().unwrap_or(100e6);
            law.window(Some(3e6), goodput, TOLERANCE);
            assert!(law.cap().is_none_or(|cap| cap >= 9e6), "{:?}", law.cap());
        }
        for _ in 0..200 {
            let goodput = law.cap().unwrap_or(100e6).min(100e6);
            law.window(Some(3e6), goodput, TOLERANCE);
        }
        assert_eq!(law.cap(), None, "its latency does not depend on us");
    }

    #[test]
    fn at_one_hundred_it_never_yields() {
        let mut law = known();
        (0..3).for_each(|_| law.window(Some(9e6), 100e6, TOLERANCE));
        assert!(law.cap().is_some());
        law.window(Some(9e6), 100e6, None);
        assert_eq!(law.cap(), None);
    }
}
