//! Once a second: measures what the copy and the machine do, and changes the number of bulk
//! connections and the codec. What to change is decided in `landfall_core::tuning`.

use std::sync::atomic::Ordering::Relaxed;

use landfall_core::tuning::{Change, CodecChoice, Connections, Second};

use super::bulk::CONNECTIONS_MAX;
use super::job::Job;
use super::packing::STEPS;
use super::session::{READERS_AHEAD, Session};
use crate::clock::now_ns;
use crate::idle::Idle;

/// Background below this is nothing to judge by.
const GOODPUT_MIN: f64 = 1e6;

/// What was measured last.
pub(super) struct Growth {
    connections: Connections,
    codec: CodecChoice,
    idle: Idle,
    at_ns: u64,
    limited_ns: u64,
    sending_ns: u64,
}

impl Growth {
    pub(super) fn new() -> Self {
        Self {
            connections: Connections::default(),
            codec: CodecChoice::default(),
            idle: Idle::new(),
            at_ns: now_ns(),
            limited_ns: 0,
            sending_ns: 0,
        }
    }

    /// A second passed. Whether a connection is to be made is the answer.
    pub(super) fn second(&mut self, job: &Job, session: &Session) -> bool {
        let now = self.measure(job, session);
        if !job.codec_fixed.load(Relaxed) {
            let step = job.stages.codec_step.load(Relaxed);
            let change = self.codec.second(now, step as usize, STEPS.len() - 1);
            let next = match change {
                Some(Change::More) => step + 1,
                Some(Change::Less) => step - 1,
                None => step,
            };
            job.stages.codec_step.store(next, Relaxed);
        }
        let links = &session.bulk;
        match self.connections.second(now, links.in_use(), CONNECTIONS_MAX) {
            Some(Change::More) => !links.recall_one(),
            Some(Change::Less) => {
                links.retire_one();
                false
            }
            None => false,
        }
    }

    fn measure(&mut self, job: &Job, session: &Session) -> Second {
        let at_ns = now_ns();
        let limited_ns = job.stages.limit_wait.busy_ns();
        let elapsed = at_ns.saturating_sub(self.at_ns).max(1) as f64;
        let limited = limited_ns.saturating_sub(self.limited_ns) as f64 / elapsed;
        let sending_ns: u64 = job.disks.iter().map(|disk| disk.stages.send.busy_ns()).sum();
        let threads = (session.bulk.in_use() + READERS_AHEAD) as f64;
        let waiting = sending_ns.saturating_sub(self.sending_ns) as f64 / elapsed / threads;
        (self.at_ns, self.limited_ns, self.sending_ns) = (at_ns, limited_ns, sending_ns);
        let goodput = job.durable.per_second();
        let free = limited < 0.05 && job.background.per_second() > GOODPUT_MIN;
        Second { goodput, idle: self.idle.share(), free, waiting }
    }
}
