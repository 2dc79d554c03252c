//! Connections: frames keep their order on one of them and have none between two. A cut leaves
//! what was under way to a receiver that does not know of it yet.

use std::collections::VecDeque;
use std::ops::Range;

use landfall_core::receiver::{Applying as Began, FrameBook};
use landfall_core::sending::SendQueue;
use landfall_core::tree::Hash;
use landfall_core::{Bitmap, Extent};

use crate::random::Random;
use crate::world::World;

/// What a source says.
#[derive(Clone, Debug)]
pub(crate) enum Msg {
    Hello,
    /// Content as sectors that are not zero.
    Data {
        disk: usize,
        extent: Extent,
        content: Vec<(u64, u64)>,
    },
    WantUnits {
        disk: usize,
        units: Range<u64>,
    },
    WantLeaves {
        disk: usize,
    },
    WantReread {
        disk: usize,
        leaves: Range<u64>,
    },
    Barrier {
        token: u64,
        round: u32,
    },
    Own {
        token: u64,
        roots: Vec<Hash>,
    },
}

/// What a receiver says.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    HelloAck { active: Option<u64>, have: Vec<Bitmap> },
    Ack { durable: u64 },
    Units { disk: usize, first: u64, hashes: Vec<Hash> },
    Leaves { disk: usize, leaves: Vec<Option<Hash>> },
    Reread { hashes: Vec<Vec<Hash>> },
    BarrierAck { token: u64, round: u32, roots: Vec<(Hash, bool)> },
    OwnAck { token: u64 },
    Stale { epoch: u32 },
}

/// The receiver's end of a connection that was let in.
pub(crate) struct Entered {
    pub(crate) book: FrameBook,
    pub(crate) applying: Option<Applying>,
}

/// A frame of which a part is on the disk.
pub(crate) struct Applying {
    pub(crate) seq: u64,
    pub(crate) disk: usize,
    pub(crate) extent: Extent,
    pub(crate) content: Vec<(u64, u64)>,
    /// First sector that is not written yet.
    pub(crate) from: u64,
    pub(crate) began: Began,
}

/// One connection.
pub(crate) struct Conn {
    pub(crate) epoch: u32,
    pub(crate) session: u64,
    /// 0 prio, then bulk.
    pub(crate) lane: usize,
    pub(crate) to_receiver: VecDeque<(u64, Msg)>,
    pub(crate) to_source: VecDeque<Reply>,
    pub(crate) source_end: bool,
    pub(crate) receiver_end: bool,
    /// Whoever serves it at the receiver seldom gets a turn.
    pub(crate) slow: bool,
    /// Nothing passes any more and nobody was told.
    pub(crate) silent: bool,
    pub(crate) queue: SendQueue,
    pub(crate) entered: Option<Entered>,
}

impl Conn {
    /// Numbers and sends a message.
    pub(crate) fn send(&mut self, msg: Msg) {
        let seq = self.queue.next_seq();
        self.put(seq, msg);
    }

    /// Sends a message that has its number.
    pub(crate) fn put(&mut self, seq: u64, msg: Msg) {
        if self.receiver_end && !self.silent {
            self.to_receiver.push_back((seq, msg));
        }
    }

    pub(crate) fn reply(&mut self, reply: Reply) {
        if self.source_end && !self.silent {
            self.to_source.push_back(reply);
        }
    }

    /// The source's end is gone: a part of what is under way still arrives.
    pub(crate) fn close_source(&mut self, random: &mut Random) {
        self.source_end = false;
        self.to_source.clear();
        let kept = random.below(self.to_receiver.len() as u64 + 1) as usize;
        self.to_receiver.truncate(kept);
    }

    /// The receiver's end is gone.
    pub(crate) fn close_receiver(&mut self, random: &mut Random) {
        self.receiver_end = false;
        self.entered = None;
        self.to_receiver.clear();
        let kept = random.below(self.to_source.len() as u64 + 1) as usize;
        self.to_source.truncate(kept);
    }
}

impl World {
    /// A new connection with its HELLO under way.
    pub(crate) fn dial(&mut self, epoch: u32, session: u64, lane: usize) -> u64 {
        self.next_conn += 1;
        let mut conn = Conn {
            epoch,
            session,
            lane,
            to_receiver: VecDeque::new(),
            to_source: VecDeque::new(),
            source_end: true,
            receiver_end: self.receiver.is_some(),
            slow: self.random.one_in(4),
            silent: false,
            queue: SendQueue::default(),
            entered: None,
        };
        conn.send(Msg::Hello);
        self.conns.insert(self.next_conn, conn);
        self.next_conn
    }

    /// Connections nobody holds any more are gone.
    pub(crate) fn sweep(&mut self) {
        self.conns.retain(|_, conn| conn.source_end || conn.receiver_end);
    }

    /// Every connection of the source becomes silent, or one is reset.
    pub(crate) fn cut(&mut self) -> bool {
        let open: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| conn.source_end).map(|(id, _)| *id).collect();
        if open.is_empty() {
            return false;
        }
        if self.random.one_in(2) {
            for id in open {
                self.conns.get_mut(&id).expect("it is open").silent = true;
            }
        } else {
            let id = self.random.pick(&open);
            self.conns.get_mut(&id).expect("it is open").silent = true;
        }
        true
    }
}
