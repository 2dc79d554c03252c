//! Token buckets: pacing of the background, and of guest writes that dirty clean blocks.

const NS: f64 = 1e9;

/// A bucket that may go into debt by one transfer, so that its average is exact.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: Option<f64>,
    tokens: f64,
    at_ns: u64,
}

impl TokenBucket {
    /// Without a limit.
    pub fn unlimited(now_ns: u64) -> Self {
        Self { rate: None, tokens: 0.0, at_ns: now_ns }
    }

    /// Credit that may gather while the sender is kept from sending: 100 ms of the rate, at
    /// least 256 KiB. Less, and a busy machine stays below its rate.
    pub fn burst_bytes(rate: f64) -> f64 {
        (rate / 10.0).max(4.0 * crate::UNIT as f64)
    }

    /// A new rate is in force at once; no credit is carried over from a higher one.
    pub fn set_rate(&mut self, rate: Option<f64>, now_ns: u64) {
        if rate != self.rate {
            self.refill(now_ns);
            self.rate = rate;
            let burst = rate.map_or(0.0, Self::burst_bytes);
            self.tokens = self.tokens.clamp(-burst, 0.0);
        }
    }

    /// How long to wait before anything may be sent; 0 when it may go now.
    pub fn wait_ns(&mut self, now_ns: u64) -> u64 {
        self.refill(now_ns);
        match self.rate {
            Some(rate) if self.tokens < 0.0 => {
                if rate < 1.0 {
                    u64::MAX
                } else {
                    (-self.tokens / rate * NS).ceil() as u64
                }
            }
            Some(rate) if rate < 1.0 => u64::MAX,
            _ => 0,
        }
    }

    /// Bytes were sent.
    pub fn take(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.tokens -= bytes as f64;
        }
    }

    /// Bytes that were never held went out; they count all the same, and what the bucket paces
    /// makes room for them. The debt ends at one second of the rate, so that a burst does not
    /// silence the rest for long.
    pub fn charge(&mut self, bytes: u64) {
        if let Some(rate) = self.rate {
            self.tokens = (self.tokens - bytes as f64).max((-rate).min(self.tokens));
        }
    }

    /// The longest extent that keeps the flow smooth: 25 ms of the rate.
    pub fn extent_max(&self) -> u64 {
        match self.rate {
            None => crate::CHUNK,
            Some(rate) => {
                let smooth = (rate / 40.0) as u64 / crate::UNIT * crate::UNIT;
                smooth.clamp(crate::UNIT, crate::CHUNK)
            }
        }
    }

    fn refill(&mut self, now_ns: u64) {
        let elapsed = now_ns.saturating_sub(self.at_ns) as f64 / NS;
        self.at_ns = self.at_ns.max(now_ns);
        if let Some(rate) = self.rate {
            self.tokens = (self.tokens + rate * elapsed).min(Self::burst_bytes(rate));
        }
    }
}

/// Paces writes that dirty clean blocks to a share of the drain rate; never a rewrite of a
/// dirty block, never a flush. The delay per write is capped: at the cap the bucket goes into
/// debt and the job does not converge.
#[derive(Clone, Copy, Debug)]
pub struct WriteThrottle {
    rate: f64,
    delay_ns_max: u64,
    tokens: f64,
    at_ns: u64,
}

impl WriteThrottle {
    /// Off.
    pub fn off() -> Self {
        Self { rate: f64::INFINITY, delay_ns_max: 0, tokens: 0.0, at_ns: 0 }
    }

    /// Whether writes can be delayed at all.
    pub fn is_on(&self) -> bool {
        self.delay_ns_max > 0
    }

    /// `share` is 0 to 1; the dial's meaning stands in `dial.rs`.
    pub fn set(&mut self, drain_rate: f64, share: f64, delay_ns_max: u64) {
        self.rate = drain_rate * share;
        self.delay_ns_max = delay_ns_max;
    }

    /// A write made `bytes` dirty that were clean: how long it must wait.
    pub fn delay_ns(&mut self, bytes: u64, now_ns: u64) -> u64 {
        if self.delay_ns_max == 0 || bytes == 0 || !self.rate.is_finite() {
            return 0;
        }
        let elapsed = now_ns.saturating_sub(self.at_ns) as f64 / NS;
        self.at_ns = self.at_ns.max(now_ns);
        let burst = (self.rate / 20.0).max(crate::UNIT as f64);
        self.tokens = (self.tokens + self.rate * elapsed).min(burst) - bytes as f64;
        if self.tokens >= 0.0 {
            return 0;
        }
        let debt_max = self.rate.max(1.0);
        self.tokens = self.tokens.max(-debt_max);
        let wait = -self.tokens / self.rate.max(1.0) * NS;
        (wait as u64).min(self.delay_ns_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_is_never_held_counts_against_the_rate() {
        let mut bucket = TokenBucket::unlimited(0);
        bucket.set_rate(Some(8_000_000.0), 0);
        let (mut paced, mut held, mut now) = (0u64, 0u64, 0u64);
        while now < 20 * SECOND {
            now += SECOND / 100;
            held += 20_000;
            bucket.charge(20_000);
            while bucket.wait_ns(now) == 0 {
                bucket.take(65_536);
                paced += 65_536;
            }
        }
        let rate = (paced + held) as f64 / 20.0;
        assert!((rate / 8_000_000.0 - 1.0).abs() < 0.02, "{rate}");
    }

    #[test]
    fn a_burst_silences_the_paced_for_a_second_at_most() {
        let mut bucket = TokenBucket::unlimited(0);
        bucket.set_rate(Some(1_000_000.0), 0);
        bucket.charge(500_000_000);
        assert!(bucket.wait_ns(0) <= SECOND);
    }
}
