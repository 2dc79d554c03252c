//! Makes what was applied durable and acknowledges it: data flush, have-map, flush, ACK (I4).

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use landfall_wire::{Ack, kind};

use super::Receiver;
use super::session::Session;
use crate::fault;
use crate::link::Frame;
use crate::parallel::in_parallel;

/// Fresh writes of the guest that come in so soon after the first frame share its flush.
const GATHER_FOREGROUND: Duration = Duration::from_millis(10);
/// The same for background: nobody waits for it.
const GATHER: Duration = Duration::from_millis(50);
/// With so much waiting the flush begins at once: a third of the window, so that the source
/// never stands still for a flush.
const ENOUGH_BYTES: u64 = 16 << 20;
/// While the source is frozen: the barrier's own flush shall find little.
const GATHER_HURRY: Duration = Duration::from_millis(3);
const ENOUGH_BYTES_HURRY: u64 = 4 << 20;

/// Starts the thread that flushes whenever something was applied.
pub(super) fn start(receiver: &Arc<Receiver>) {
    let weak = Arc::downgrade(receiver);
    let run = move || {
        while let Some(receiver) = weak.upgrade() {
            if receiver.wait_for_work() {
                receiver.gather();
                receiver.flush_and_acknowledge();
            }
        }
    };
    std::thread::Builder::new()
        .name("lf-flush".into())
        .spawn(run)
        .expect("a thread can be started");
}

impl Receiver {
    fn wait_for_work(&self) -> bool {
        let work = self.work.lock().expect("work");
        let (mut work, _) = self
            .work_ready
            .wait_timeout_while(work, Duration::from_millis(500), |work| !work.any)
            .expect("work");
        std::mem::take(&mut work.any)
    }

    fn gather(&self) {
        let start = Instant::now();
        loop {
            let foreground = self.work.lock().expect("work").foreground;
            let (time_max, enough) = match (self.hurry.on(), foreground) {
                (true, _) => (GATHER_HURRY, ENOUGH_BYTES_HURRY),
                (_, true) => (GATHER_FOREGROUND, ENOUGH_BYTES),
                _ => (GATHER, ENOUGH_BYTES),
            };
            if start.elapsed() >= time_max || self.unflushed.load(Relaxed) >= enough {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.unflushed.store(0, Relaxed);
        self.work.lock().expect("work").foreground = false;
    }

    fn flush_and_acknowledge(self: &Arc<Self>) {
        let session = self.session.lock().expect("session").clone();
        if let Err(error) = self.flush(session.as_deref()) {
            tracing::error!(%error, "flush of a destination disk failed: the session ended");
        }
    }

    /// Flushes every disk, then acknowledges on every connection what was applied before. The
    /// books of connections are noted first: a frame is applied to its disk before its number
    /// is noted.
    pub(super) fn flush(&self, session: Option<&Session>) -> io::Result<()> {
        let _one_at_a_time = self.flushing.lock().expect("flushing");
        let lanes = session.map(Session::lanes).unwrap_or_default();
        lanes.iter().for_each(|lane| lane.book.lock().expect("book").begin_flush());
        if let Err(error) = in_parallel(&self.open_destinations(), |disk| disk.flush()) {
            // I8, before anybody else may flush: what failed is not tried again, and a flush
            // that finds nothing to do must not acknowledge it.
            let current = self.session.lock().expect("session").clone();
            current.iter().for_each(|session| session.fail_storage(&error));
            return Err(error);
        }
        fault::point("before-ack")?;
        let stale_chunks = self.stale_chunks();
        if session.is_some_and(Session::closed) {
            return Ok(());
        }
        for lane in &lanes {
            let (ack, news) = {
                let mut book = lane.book.lock().expect("book");
                let before = book.durable();
                book.flushed();
                let ack = Ack { received: book.received(), durable: book.durable(), stale_chunks };
                (ack, book.durable() != before)
            };
            if news {
                let frame = ack.encode();
                if lane.link.send(&[Frame::new(kind::ACK, lane.epoch, &frame)], |_| {}).is_err() {
                    lane.link.close();
                }
            }
        }
        Ok(())
    }

    /// Chunks whose hash must still be taken from a disk.
    pub(super) fn stale_chunks(&self) -> u32 {
        let disks = self.open_destinations();
        let stale =
            |disk: &Arc<super::Destination>| disk.book.lock().expect("book").tree().stale().ones();
        u32::try_from(disks.iter().map(stale).sum::<u64>()).unwrap_or(u32::MAX)
    }
}
