//! Keeps the hash tree of the destination's disks close to what they hold, while nothing hurries
//! and the disks have time for it. It must not answer anybody: `answers.rs` does.

use std::sync::Arc;
use std::time::Duration;

use landfall_core::CHUNK;

use super::Receiver;
use crate::buffers::Pool;
use crate::clock::now_ns;

const HASH_EVERY: Duration = Duration::from_millis(250);
/// Chunks hashed per tick and disk in the background.
const HASHES_PER_TICK: usize = 256;
/// Chunks between two looks whether the disk still has time.
const HASHES_PER_LOOK: usize = 16;
/// Disks that were written to for more than this share of the time have none to be read: reading
/// would slow the copy down, and a direct read keeps the writes to the same file waiting.
const WRITING_SHARE_MAX: f64 = 0.25;

/// How busy the disks were with writing what came.
struct Writing {
    at_ns: u64,
    busy_ns: u64,
}

impl Writing {
    fn of(receiver: &Receiver) -> Self {
        let disks = receiver.open_destinations();
        let busy_ns = disks.iter().map(|disk| disk.stages.apply.busy_ns()).sum();
        Self { at_ns: now_ns(), busy_ns }
    }

    /// Threads that were writing on average since an earlier look.
    fn since(&self, before: &Self) -> f64 {
        let elapsed = self.at_ns.saturating_sub(before.at_ns).max(1);
        self.busy_ns.saturating_sub(before.busy_ns) as f64 / elapsed as f64
    }
}

/// Starts the thread that hashes chunks when all of them is durable; in a hurry at once.
pub(super) fn start(receiver: &Arc<Receiver>) {
    let weak = Arc::downgrade(receiver);
    let mut before = Writing::of(receiver);
    let run = move || {
        let mut buffer = Pool::new(1).take();
        let buf = buffer.content_mut(CHUNK as usize);
        while let Some(receiver) = weak.upgrade() {
            let hurries = receiver.hurry.wait(HASH_EVERY);
            crate::priority::set_nice(if hurries { 0 } else { 19 });
            let now = Writing::of(&receiver);
            let has_time = now.since(&before) <= WRITING_SHARE_MAX;
            before = now;
            if hurries || has_time {
                hash_some(&receiver, hurries, buf);
            }
        }
    };
    std::thread::Builder::new().name("lf-hash".into()).spawn(run).expect("a thread can be started");
}

fn hash_some(receiver: &Receiver, hurries: bool, buf: &mut [u8]) {
    for disk in receiver.open_destinations() {
        let mut from = 0;
        let mut looked = Writing::of(receiver);
        for done in 1..=HASHES_PER_TICK {
            match disk.hash_next(from, hurries, buf) {
                Ok(Some(leaf)) => from = leaf + 1,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "a destination disk cannot be read for its hash");
                    break;
                }
            }
            if !hurries && done.is_multiple_of(HASHES_PER_LOOK) {
                let now = Writing::of(receiver);
                if now.since(&looked) > WRITING_SHARE_MAX {
                    return;
                }
                looked = now;
            }
        }
    }
}
