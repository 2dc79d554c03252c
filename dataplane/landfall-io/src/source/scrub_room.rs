//! How much of the machine re-reading takes: beside the copy, and beside the guest. It reads
//! nothing itself.

use std::time::{Duration, Instant};

use landfall_api::LimitedBy;

use super::cutover::Cutover;
use super::job::Job;
use crate::idle::Idle;

/// With more than this to be sent the copy needs the machine, unless so much of it is idle or the
/// copy is slow.
const REMAINING_MAX: u64 = 32 << 20;
const IDLE_SHARE_MIN: f64 = 0.25;
/// A copy slower than this, in bytes per second, is held up by its line or a limit, not by the
/// processors (1 Gbit/s are 125 MB): to read again what it brings takes a fraction of one.
const SLOW_COPY: f64 = 128e6;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Share of its time that is left to it when the guest's latency is up.
const YIELDING: f64 = 0.5;
const REST_MAX: Duration = Duration::from_secs(2);

/// Whether the copy leaves room on the machine: it is done, or it waits for its line or a limit.
/// What was just copied is rarely dirty again already.
pub(super) struct Room {
    idle: Idle,
    looked_at: Instant,
    share: f64,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { idle: Idle::new(), looked_at: Instant::now(), share: 0.0 }
    }

    pub(super) fn is_there(&mut self, job: &Job) -> bool {
        if self.looked_at.elapsed() >= LOOK_EVERY {
            (self.looked_at, self.share) = (Instant::now(), self.idle.share());
        }
        let mut remaining = 0;
        for disk in &job.disks {
            let book = disk.disk.book.lock().expect("book");
            remaining += book.missing_bytes() + book.dirty_bytes();
        }
        // Processors are idle too while a disk is the limit; then the copy comes first.
        let by_disk = || {
            let limit = job.watch.limited_by(false, false);
            matches!(limit, Some(LimitedBy::SourceDisk | LimitedBy::DestinationDisk))
        };
        let room = || self.share >= IDLE_SHARE_MIN || job.durable.per_second() < SLOW_COPY;
        remaining <= REMAINING_MAX || room() && !by_disk()
    }
}

/// How long to leave the machine alone after `took` of reading and hashing. With the guest at
/// work, half the dial takes a quarter of the time; alone, all of it.
pub(super) fn rest(job: &Job, cutover: &Cutover, took: Duration) -> Duration {
    if cutover.hurries() {
        return Duration::ZERO;
    }
    let rate = job.control.lock().expect("control").dials.replication_rate;
    let busy = job.disks.iter().any(|disk| disk.disk.incoming.per_second() > 0.0);
    let latency_is_up = job.pace.lock().expect("pace").latency.cap().is_some();
    let share = share(rate, busy) * if rate < 100 && latency_is_up { YIELDING } else { 1.0 };
    took.mul_f64((1.0 - share) / share).min(REST_MAX)
}

/// Share of the time the re-read works.
fn share(rate: u8, guest_is_busy: bool) -> f64 {
    let rate = f64::from(rate.max(1));
    let beside_guest = 0.25 + 0.75 * ((rate - 50.0) / 50.0).clamp(0.0, 1.0);
    (rate / 50.0).min(1.0) * if guest_is_busy { beside_guest } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn alone_it_takes_all_beside_a_guest_what_the_dial_says() {
        assert_eq!((share(50, false), share(100, true), share(99, false)), (1.0, 1.0, 1.0));
        assert_eq!((share(50, true), share(25, false), share(25, true)), (0.25, 0.5, 0.125));
        assert!(share(75, true) > share(50, true) && share(1, true) > 0.0);
    }
}
