//! How fast a job may go: the dials, the room the guest needs, what is left of the line for whom.
//! Decided in the core once per window; this measures and sets.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use landfall_core::BLOCK;
use landfall_core::converge::{self, DrainRate, Outlook, Progress};
use landfall_core::dial::{self, Capacity, FOREGROUND_SHARE_WHILE_COPYING};
use landfall_core::guest::{LatencyYield, WINDOWS_PER_SECOND};
use landfall_core::ready::REMAINING_BYTES_MAX;
use landfall_core::throttle::TokenBucket;

use super::job::{Connection, Job};
use crate::clock::now_ns;
use crate::priority;

const WINDOW: Duration = Duration::from_millis(1000 / WINDOWS_PER_SECOND as u64);
/// Windows over which distinct dirty blocks are counted: two seconds.
const DISTINCT_WINDOWS: u32 = 2 * WINDOWS_PER_SECOND;
/// Lanes are busy throughout a window when this much waits for them at its end.
const BACKLOG_BYTES: u64 = 8 << 20;
/// What foreground may take of any line while the destination lacks units.
const FOREGROUND_MIN: f64 = 4.0 * 1024.0 * 1024.0;

/// The throttle's memory.
#[derive(Default)]
pub(super) struct Pace {
    pub(super) capacity: Capacity,
    pub(super) latency: LatencyYield,
    drain: DrainRate,
    dirtied: Option<f64>,
    outlook: Outlook,
    limit: Option<f64>,
    windows: u32,
}

/// What the background passes, both of them.
pub(super) struct Buckets {
    /// Content of the background: the dial, and the room that the guest needs.
    content: TokenBucket,
    /// Everything that goes on the line, as long as it is there: the absolute limit.
    line: TokenBucket,
}

impl Buckets {
    /// Buckets that pace nothing yet.
    pub(super) fn open(now_ns: u64) -> Self {
        Self { content: TokenBucket::unlimited(now_ns), line: TokenBucket::unlimited(now_ns) }
    }

    /// New rates, in bytes per second; in force at once.
    fn set_rates(&mut self, content: Option<f64>, line: Option<f64>, now_ns: u64) {
        self.content.set_rate(content, now_ns);
        self.line.set_rate(line, now_ns);
    }

    /// The longest extent that keeps both flows smooth, or how long the background must wait.
    fn turn(&mut self, now_ns: u64) -> Result<u64, Duration> {
        match self.content.wait_ns(now_ns).max(self.line.wait_ns(now_ns)) {
            0 => Ok(self.content.extent_max().min(self.line.extent_max())),
            wait => Err(Duration::from_nanos(wait)),
        }
    }

    /// So much went on the line. Foreground counts, but a burst of it silences the background
    /// for a second at most.
    fn take_line(&mut self, bytes: u64, foreground: bool) {
        if foreground { self.line.charge(bytes) } else { self.line.take(bytes) }
    }
}

/// What waits to be sent, as cheaply as the books tell it.
struct Backlog {
    copying: bool,
    dirty_bytes: u64,
}

/// Runs the windows of a job until it ends.
pub(super) fn run(job: &Arc<Job>) {
    let (mut at, mut windows) = (now_ns(), 0u32);
    while !job.stopped() {
        job.wait_at_least(WINDOW);
        let now = now_ns();
        job.window((now - at) as f64 / 1e9);
        at = now;
        windows = windows.wrapping_add(1);
        if windows.is_multiple_of(WINDOWS_PER_SECOND) {
            job.watch.tick(job);
        }
    }
}

impl Job {
    /// Sets what the dials and the last windows allow; in force at the next extent.
    pub(super) fn apply_limit(&self) {
        let dials = self.control.lock().expect("control").dials.clone();
        let rate = dials.replication_rate;
        let line = dials.bytes_per_second_max.map(|limit| limit.0 as f64);
        let (content, drain) = {
            let mut pace = self.pace.lock().expect("pace");
            let capacity = pace.capacity.bytes_per_second();
            let limit = dial::background_limit(rate, capacity);
            pace.limit = dial::lower(limit, line);
            let yielding = dial::latency_tolerance(rate).and_then(|_| pace.latency.cap());
            (dial::lower(limit, yielding), pace.drain.bytes_per_second())
        };
        self.nice.store(dial::background_nice(rate), Relaxed);
        self.buckets.lock().expect("buckets").set_rates(content, line, now_ns());
        self.buckets_changed.notify_all();
        let share = dial::throttle_share(dials.write_throttling);
        let delay =
            dial::throttle_delay_ns(dials.write_throttling, dials.added_write_latency_ms_max);
        if let Some(disk) = self.disks.first() {
            let valve = &disk.disk.valve;
            // Before anything was drained nobody knows what the guest would have to keep to.
            let on = delay > 0 && drain.is_some();
            if let Some(drain) = drain {
                valve.throttle.lock().expect("throttle").set(drain, share, delay);
            }
            valve.throttling.store(on && !self.stopped(), SeqCst);
        }
    }

    /// One window: what was learnt about line and guest changes the limits.
    fn window(&self, seconds: f64) {
        let (connected, tolerance, rate) = {
            let control = self.control.lock().expect("control");
            let rate = control.dials.replication_rate;
            let connected = control.connection == Connection::Up && !control.paused;
            (connected, dial::latency_tolerance(rate), rate)
        };
        let backlog = self.backlog();
        let durable = self.durable.per_second();
        let background = self.background.per_second();
        let copies = backlog.copying && background > 0.0;
        let busy = connected && (copies || backlog.dirty_bytes > BACKLOG_BYTES);
        let p95 = self.disks.first().and_then(|d| d.disk.valve.latencies.take_p95_ns());
        let foreground = {
            let mut pace = self.pace.lock().expect("pace");
            let pace = &mut *pace;
            pace.windows = pace.windows.wrapping_add(1);
            if connected && pace.windows.is_multiple_of(WINDOWS_PER_SECOND) {
                let capped = pace.limit.is_some() || pace.latency.cap().is_some();
                pace.capacity.sample(now_ns(), durable, capped);
            }
            pace.latency.window(p95, background, tolerance);
            pace.drain.sample(seconds, durable, busy);
            if pace.windows.is_multiple_of(DISTINCT_WINDOWS) {
                let blocks: f64 = self.disks.iter().map(|d| d.disk.distinct.take()).sum();
                let span = seconds * f64::from(DISTINCT_WINDOWS);
                let fresh = blocks * BLOCK as f64 / span;
                pace.dirtied = Some(pace.dirtied.map_or(fresh, |known| (known + fresh) / 2.0));
                self.look_ahead(pace);
            }
            // The dial must never hold foreground; the line it shares with the first copy may.
            let drain = pace.drain.bytes_per_second();
            drain
                .filter(|_| backlog.copying && rate >= 50)
                .map(|drain| (drain * FOREGROUND_SHARE_WHILE_COPYING).max(FOREGROUND_MIN))
        };
        self.foreground_bucket.lock().expect("bucket").set_rate(foreground, now_ns());
        self.apply_limit();
    }

    fn backlog(&self) -> Backlog {
        let mut backlog = Backlog { copying: false, dirty_bytes: 0 };
        for disk in &self.disks {
            let book = disk.disk.book.lock().expect("book");
            backlog.copying |= book.have().ones() < book.have().len();
            backlog.dirty_bytes += book.dirty().ones() * BLOCK;
        }
        backlog
    }

    fn look_ahead(&self, pace: &mut Pace) {
        let mut progress = Progress {
            dirtied_per_second: pace.dirtied.unwrap_or(0.0),
            drained_per_second: pace.drain.bytes_per_second(),
            ready_bytes: REMAINING_BYTES_MAX as f64,
            ..Progress::default()
        };
        for disk in &self.disks {
            let book = disk.disk.book.lock().expect("book");
            progress.missing_bytes += book.missing_bytes() as f64;
            progress.dirty_bytes += book.dirty_bytes() as f64;
        }
        let outlook = converge::outlook(&progress);
        let ends = |outlook| matches!(outlook, Outlook::DoesNotConverge);
        if ends(outlook) != ends(pace.outlook) {
            tracing::info!(?outlook, ?progress, "the outlook has changed");
        }
        pace.outlook = outlook;
    }

    /// Whether the job catches up with the guest, and when.
    pub(super) fn outlook(&self) -> Outlook {
        self.pace.lock().expect("pace").outlook
    }

    /// Whether what limits the background is the guest's latency and nothing lower.
    pub(super) fn yields_to_guest(&self) -> bool {
        let pace = self.pace.lock().expect("pace");
        let cap = pace.latency.cap();
        cap.is_some_and(|cap| pace.limit.is_none_or(|limit| cap < limit))
    }

    /// Waits until the background may send, at most a moment. Whether it may is the answer,
    /// with the longest extent that keeps the flow smooth.
    pub(super) fn background_turn(&self) -> Option<u64> {
        let start = now_ns();
        let mut buckets = self.buckets.lock().expect("buckets");
        let wait = match buckets.turn(start) {
            Ok(extent) => return Some(extent),
            Err(wait) => wait.min(Duration::from_millis(100)),
        };
        drop(self.buckets_changed.wait_timeout(buckets, wait).expect("buckets"));
        self.stages.limit_wait.passed(start, 0);
        None
    }

    /// Whether foreground may send now. It always may, except that while the destination lacks
    /// units most of the line is theirs: what the guest rewrites meanwhile is sent once.
    pub(super) fn foreground_turn(&self, hurries: bool) -> bool {
        hurries || self.foreground_bucket.lock().expect("bucket").wait_ns(now_ns()) == 0
    }

    /// The background sent so much content.
    pub(super) fn take_background(&self, bytes: u64) {
        self.background.add(bytes);
        self.buckets.lock().expect("buckets").content.take(bytes);
    }

    /// Foreground sent so much content.
    pub(super) fn take_foreground(&self, bytes: u64) {
        self.foreground.add(bytes);
        self.foreground_bucket.lock().expect("bucket").take(bytes);
    }

    /// So much went on the line, packed and with its headers. An absolute limit is one of
    /// everything that is sent: foreground is never held by it, the background makes room.
    pub(super) fn take_line(&self, bytes: u64, foreground: bool) {
        self.wire.add(bytes);
        self.buckets.lock().expect("buckets").take_line(bytes, foreground);
    }

    /// The calling mover steps back behind the threads that serve the guest, as far as the dial
    /// says; not while a hand-over hurries, because then there is no guest.
    pub(super) fn step_back(&self, hurries: bool) {
        priority::set_nice(if hurries { 0 } else { self.nice.load(Relaxed) });
    }
}

/// A bucket that paces nothing yet.
pub(super) fn open_bucket() -> TokenBucket {
    TokenBucket::unlimited(now_ns())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 10_000_000;

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut buckets = Buckets::open(0);
        buckets.content.take(1 << 40);
        buckets.take_line(1 << 40, false);
        assert_eq!(buckets.turn(0), Ok(landfall_core::CHUNK));
    }

    #[test]
    fn the_background_waits_for_the_slower_and_sends_what_is_smooth_for_both() {
        for content_is_slower in [false, true] {
            let (slow, fast) = (RATE as f64, 20.0 * RATE as f64);
            let (content, line) = if content_is_slower { (slow, fast) } else { (fast, slow) };
            let mut buckets = Buckets::open(0);
            buckets.set_rates(Some(content), Some(line), 0);
            let (one, other) = (buckets.content.extent_max(), buckets.line.extent_max());
            assert_ne!(one, other);
            assert_eq!(buckets.turn(0), Ok(one.min(other)));
            buckets.content.take(RATE);
            buckets.take_line(RATE, false);
            assert_eq!(buckets.turn(0), Err(Duration::from_secs(1)));
            assert_eq!(buckets.turn(500_000_000), Err(Duration::from_millis(500)));
            assert_eq!(buckets.turn(1_000_000_000), Ok(one.min(other)));
        }
    }

    #[test]
    fn foreground_silences_the_background_for_a_second_at_most() {
        let mut buckets = Buckets::open(0);
        buckets.set_rates(None, Some(RATE as f64), 0);
        buckets.take_line(RATE / 2, true);
        assert_eq!(buckets.turn(0), Err(Duration::from_millis(500)));
        buckets.take_line(60 * RATE, true);
        assert_eq!(buckets.turn(0), Err(Duration::from_secs(1)));
        // What the background itself has sent counts in full.
        buckets.take_line(RATE, false);
        assert_eq!(buckets.turn(0), Err(Duration::from_secs(2)));
    }
}
