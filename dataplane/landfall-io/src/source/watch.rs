//! Looks at a job once a second: which stage is the limit, what the stages did lately, and how
//! far the destination is behind. It only reads; nothing is steered by it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use landfall_api::{DiskRates, LimitedBy, StageStatus};
use landfall_core::lag::{Lag, Marks};

use super::bottleneck::{self, Spent};
use super::job::{Job, JobDiskIo};
use crate::clock::now_ns;
use crate::stats::{Stage, StageFigures};

/// The limit is judged over so many seconds.
const LIMIT_SECONDS: usize = 5;
/// Between two looks at the stages; what counts as lately is one to two of them.
const LOOK_EVERY_NS: u64 = 5_000_000_000;
/// Stages of a disk, in the order data take.
const STAGES: usize = 8;

/// What was seen.
#[derive(Default)]
pub(super) struct Watch {
    seen: Mutex<Seen>,
    arrived_bytes: AtomicU64,
    under_way_bytes: AtomicU64,
}

#[derive(Default)]
struct Seen {
    seconds: VecDeque<(u64, Spent)>,
    looks: VecDeque<Look>,
    lag: Lag,
}

struct Look {
    at_ns: u64,
    disks: Vec<[StageFigures; STAGES]>,
    dirtied: Vec<u64>,
}

/// A disk's stages with their names.
pub(super) fn stages(disk: &JobDiskIo) -> [(&'static str, &Stage); STAGES] {
    let ([read, write, flush], ours) = (disk.disk.guest.named(), &disk.stages);
    [
        read,
        write,
        flush,
        ("read", &ours.read),
        ("hash", &ours.hash),
        ("codec", &ours.codec),
        ("send", &ours.send),
        ("ack", &ours.ack),
    ]
}

impl Watch {
    /// An acknowledgement says what had arrived without being durable, and what had not.
    pub(super) fn acknowledged(&self, arrived_bytes: u64, under_way_bytes: u64) {
        self.arrived_bytes.fetch_add(arrived_bytes, Relaxed);
        self.under_way_bytes.fetch_add(under_way_bytes, Relaxed);
    }

    /// Once a second.
    pub(super) fn tick(&self, job: &Job) {
        let now = now_ns();
        let spent = self.spent(job);
        let mut seen = self.seen.lock().expect("watch");
        seen.seconds.push_back((now, spent));
        if seen.seconds.len() > LIMIT_SECONDS + 1 {
            seen.seconds.pop_front();
        }
        if seen.looks.back().is_none_or(|look| now - look.at_ns >= LOOK_EVERY_NS) {
            let figures = |disk: &JobDiskIo| stages(disk).map(|(_, stage)| stage.figures());
            let dirtied = |disk: &JobDiskIo| disk.disk.book.lock().expect("book").dirtied_bytes();
            seen.looks.push_back(Look {
                at_ns: now,
                disks: job.disks.iter().map(figures).collect(),
                dirtied: job.disks.iter().map(dirtied).collect(),
            });
            if seen.looks.len() > 2 {
                seen.looks.pop_front();
            }
        }
    }

    /// Sums since the job began; those of connections since the session began.
    fn spent(&self, job: &Job) -> Spent {
        let mut spent = Spent {
            window_wait_ns: job.stages.window_wait.busy_ns(),
            limit_wait_ns: job.stages.limit_wait.busy_ns(),
            arrived_bytes: self.arrived_bytes.load(Relaxed),
            under_way_bytes: self.under_way_bytes.load(Relaxed),
            ..Spent::default()
        };
        let session = job.control.lock().expect("control").session.clone();
        for link in session.iter().flat_map(|session| session.links()) {
            let (busy_us, peer_full_us) = link.send_times_us();
            spent.busy_us += busy_us;
            spent.peer_full_us += peer_full_us;
        }
        for disk in &job.disks {
            spent.read_ns += disk.stages.read.busy_ns();
            spent.hash_ns += disk.stages.hash.busy_ns();
            spent.codec_ns += disk.stages.codec.busy_ns();
            spent.send_ns += disk.stages.send.busy_ns();
        }
        spent
    }

    /// What held the job back over the last seconds; none before the second look.
    pub(super) fn limited_by(&self, yielding: bool, comparing: bool) -> Option<LimitedBy> {
        let seen = self.seen.lock().expect("watch");
        let ((from_ns, from), (to_ns, to)) = (seen.seconds.front()?, seen.seconds.back()?);
        if to_ns <= from_ns {
            return None;
        }
        let spent = Spent {
            period_ns: to_ns - from_ns,
            read_ns: to.read_ns - from.read_ns,
            hash_ns: to.hash_ns - from.hash_ns,
            codec_ns: to.codec_ns - from.codec_ns,
            send_ns: to.send_ns - from.send_ns,
            window_wait_ns: to.window_wait_ns - from.window_wait_ns,
            limit_wait_ns: to.limit_wait_ns - from.limit_wait_ns,
            busy_us: to.busy_us.saturating_sub(from.busy_us),
            peer_full_us: to.peer_full_us.saturating_sub(from.peer_full_us),
            arrived_bytes: to.arrived_bytes - from.arrived_bytes,
            under_way_bytes: to.under_way_bytes - from.under_way_bytes,
        };
        Some(bottleneck::judge(&spent, yielding, comparing))
    }

    /// Nothing could be picked on any disk, because all that is dirty is on its way.
    pub(super) fn drained(&self, job: &Job) {
        let marks = |disk: &JobDiskIo| disk.disk.book.lock().expect("book").marks();
        let marks: Vec<Marks> = job.disks.iter().map(marks).collect();
        self.seen.lock().expect("watch").lag.drained(now_ns(), &marks);
    }

    /// The session ended.
    pub(super) fn interrupted(&self) {
        let mut seen = self.seen.lock().expect("watch");
        seen.lag.interrupted();
        seen.seconds.clear();
    }

    /// Every write older than this is durable at the destination; none before that is known.
    pub(super) fn lag_seconds(&self) -> Option<f64> {
        let at = self.seen.lock().expect("watch").lag.synced_at_ns()?;
        Some(now_ns().saturating_sub(at) as f64 / 1e9)
    }

    /// The stages of one disk, with what they did lately, and its rates.
    pub(super) fn disk(&self, disk: &JobDiskIo, index: usize) -> (Vec<StageStatus>, DiskRates) {
        let now = now_ns();
        let seen = self.seen.lock().expect("watch");
        let before = seen.looks.front();
        let seconds = before.map_or(0.0, |look| (now - look.at_ns) as f64 / 1e9);
        let rate = |bytes: u64| if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 };
        let mut rates = DiskRates::default();
        let mut views = Vec::with_capacity(STAGES);
        for (at, (name, stage)) in stages(disk).into_iter().enumerate() {
            let figures = stage.figures();
            let past = before.map_or(figures, |look| look.disks[index][at]);
            let lately = figures.since(&past);
            let bytes_per_second = rate(lately.bytes);
            match name {
                "guest-write" => rates.written_bytes_per_second = bytes_per_second,
                "send" => rates.sent_bytes_per_second = bytes_per_second,
                "ack" => rates.durable_bytes_per_second = bytes_per_second,
                _ => {}
            }
            views.push(StageStatus {
                stage: name.into(),
                bytes: figures.bytes.into(),
                count: figures.count,
                busy_seconds: figures.busy_ns as f64 / 1e9,
                bytes_per_second,
                p50_microseconds: lately.percentile_us(50),
                p99_microseconds: lately.percentile_us(99),
            });
        }
        let dirtied = disk.disk.book.lock().expect("book").dirtied_bytes();
        let before = before.map_or(dirtied, |look| look.dirtied[index]);
        rates.dirtied_bytes_per_second = rate(dirtied.saturating_sub(before));
        (views, rates)
    }
}
