//! What a connection showed lately: whether its writes wait, and whether its client has several
//! requests under way at a time. Only when both are so does it pay to read on while a write is
//! carried out: handing the reading on wakes a thread for every write, which is many times what
//! the write itself costs.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A write that took the reader this long shows that writes wait.
const QUICK_TIME_MAX: Duration = Duration::from_millis(2);
/// So many times as long as it waited others read on beside the next writes, at most for
/// [`REMEMBERED_MAX`]: a disk that stops for a moment now and then costs the rest nothing.
const REMEMBERED_TIMES: u32 = 20;
const REMEMBERED_MAX: Duration = Duration::from_secs(1);

/// The memory of one connection.
pub(crate) struct Recent {
    begun: Instant,
    /// Nanoseconds after `begun` until which writes count as slow.
    slow_until_ns: AtomicU64,
    /// The same for requests that came while another was under way.
    several_until_ns: AtomicU64,
    under_way: AtomicUsize,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            slow_until_ns: AtomicU64::new(0),
            several_until_ns: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
        }
    }

    /// A write was read; `more` says that the next request is there already. Whether others should
    /// read on while it is carried out is the answer.
    pub(crate) fn write_begins(&self, now: Instant, more: bool) -> bool {
        let now_ns = self.ns(now);
        if self.under_way.fetch_add(1, Relaxed) > 0 || more {
            self.several_until_ns.store(now_ns + REMEMBERED_MAX.as_nanos() as u64, Relaxed);
        }
        now_ns < self.slow_until_ns.load(Relaxed) && now_ns < self.several_until_ns.load(Relaxed)
    }

    /// That write ended; `read` says that its thread was the reader all the time.
    pub(crate) fn write_ends(&self, began: Instant, read: bool) {
        self.under_way.fetch_sub(1, Relaxed);
        if !read {
            return;
        }
        let now = Instant::now();
        let took = now - began;
        if took > QUICK_TIME_MAX {
            let remembered = (took * REMEMBERED_TIMES).min(REMEMBERED_MAX);
            self.slow_until_ns.store(self.ns(now + remembered), Relaxed);
        }
    }

    fn ns(&self, at: Instant) -> u64 {
        (at - self.begun).as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow_write(recent: &Recent, began: Instant, more: bool) {
        recent.write_begins(began, more);
        recent.write_ends(began, true);
    }

    #[test]
    fn reading_goes_on_beside_writes_that_wait_while_several_are_under_way() {
        let recent = Recent::new();
        let long_ago = recent.begun;
        std::thread::sleep(2 * QUICK_TIME_MAX);
        slow_write(&recent, long_ago, false);
        let now = Instant::now();
        assert!(!recent.write_begins(now, false), "one at a time gains nothing");
        assert!(recent.write_begins(now, false), "a second one would wait behind the first");
        let later = now + 2 * REMEMBERED_MAX;
        assert!(!recent.write_begins(later, true), "the disk has been quick since");
    }

    #[test]
    fn quick_writes_are_carried_out_by_the_reader() {
        let recent = Recent::new();
        for _ in 0..3 {
            assert!(!recent.write_begins(Instant::now(), true));
        }
    }
}
