//! Once a second: measures what the copy and the machine do, and changes the number of bulk
//! connections. What to change is decided in `landfall_core::tuning`.

use landfall_core::tuning::{Change, Connections, Second};

use super::bulk::CONNECTIONS_MAX;
use super::job::Job;
use super::session::Session;
use crate::clock::now_ns;
use crate::idle::Idle;

/// Background below this is nothing to judge by.
const GOODPUT_MIN: f64 = 1e6;

/// What was measured last.
pub(super) struct Growth {
    connections: Connections,
    idle: Idle,
    at_ns: u64,
    limited_ns: u64,
}

impl Growth {
    pub(super) fn new() -> Self {
        let (connections, idle) = (Connections::default(), Idle::new());
        Self { connections, idle, at_ns: now_ns(), limited_ns: 0 }
    }

    /// A second passed. Whether a connection is to be made is the answer.
    pub(super) fn second(&mut self, job: &Job, session: &Session) -> bool {
        let now = self.measure(job);
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

    fn measure(&mut self, job: &Job) -> Second {
        let at_ns = now_ns();
        let limited_ns = job.stages.limit_wait.busy_ns();
        let elapsed = at_ns.saturating_sub(self.at_ns).max(1) as f64;
        let limited = limited_ns.saturating_sub(self.limited_ns) as f64 / elapsed;
        (self.at_ns, self.limited_ns) = (at_ns, limited_ns);
        let goodput = job.durable.per_second();
        let free = limited < 0.05 && job.background.per_second() > GOODPUT_MIN;
        Second { goodput, idle: self.idle.share(), free, waiting: 0.0 }
    }
}
