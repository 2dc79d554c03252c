//! What was sent on one connection and is not durable yet, in order of its frames.

use std::collections::VecDeque;

use crate::inflight::Ticket;

/// One extent on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Index of the disk.
    pub disk: usize,
    /// Its entry in the disk's table.
    pub ticket: Ticket,
    /// Bytes of content sent for it.
    pub bytes: u64,
    /// When it was sent, in nanoseconds of the caller's clock.
    pub at_ns: u64,
}

/// Numbers of frames and what they carry.
#[derive(Clone, Debug, Default)]
pub struct SendQueue {
    last_seq: u64,
    waiting: VecDeque<(u64, Sent)>,
}

impl SendQueue {
    /// The number of the next frame.
    pub fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    /// The frame numbered last completes an extent. Said before the frame leaves.
    pub fn completes(&mut self, sent: Sent) {
        self.waiting.push_back((self.last_seq, sent));
    }

    /// All frames to `durable` are durable at the receiver. A number that was never given out
    /// is the peer's lie and counts for nothing.
    pub fn acknowledged(&mut self, durable: u64) -> Result<Vec<Sent>, u64> {
        if durable > self.last_seq {
            return Err(durable);
        }
        let count = self.waiting.partition_point(|(seq, _)| *seq <= durable);
        Ok(self.waiting.drain(..count).map(|(_, sent)| sent).collect())
    }

    /// Bytes on their way that the receiver says it has received, and those it has not.
    pub fn under_way(&self, received: u64) -> (u64, u64) {
        let arrived = self.waiting.partition_point(|(seq, _)| *seq <= received);
        let bytes = |at: std::ops::Range<usize>| self.waiting.range(at).map(|(_, s)| s.bytes).sum();
        (bytes(0..arrived), bytes(arrived..self.waiting.len()))
    }

    /// Extents on their way.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Everything that is not durable: the connection is lost.
    pub fn drain(&mut self) -> Vec<Sent> {
        self.waiting.drain(..).map(|(_, sent)| sent).collect()
    }
}

/// Bytes that may be on the way over all connections of a session.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    limit: u64,
    used: u64,
}

impl Window {
    /// An empty window.
    pub fn new(limit: u64) -> Self {
        Self { limit, used: 0 }
    }

    /// Whether something more may be sent. One extent may go over the limit, never two.
    pub fn open(&self) -> bool {
        self.used < self.limit
    }

    /// Bytes that may be on the way.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes on the way.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Bytes go out.
    pub fn take(&mut self, bytes: u64) {
        self.used += bytes;
    }

    /// Bytes were acknowledged.
    pub fn give_back(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }
}
