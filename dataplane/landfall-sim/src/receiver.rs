//! The receiver process: start and recovery, connections, frames to the disks, hashing.

use std::collections::VecDeque;

use landfall_core::have_pages::HavePages;
use landfall_core::ownership::Ownership;
use landfall_core::receiver::{Fence, FrameBook, ReceiverDisk};
use landfall_core::slot::{SLOT_LEN, SlotPair};
use landfall_core::tree::Hashing;
use landfall_core::{CHUNK, UNIT};

use crate::net::{Applying, Entered, Msg, Reply};
use crate::oracle::unit_hash;
use crate::receiver_flush::Flush;
use crate::receiver_tasks::{Kind, Stage, Task};
use crate::rules::Rule;
use crate::scrub::chunk_hashes;
use crate::store::{SECTOR, render};
use crate::supers;
use crate::world::World;

/// The connections of one source.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) conns: Vec<u64>,
}

/// The process.
pub(crate) struct Receiver {
    pub(crate) books: Vec<ReceiverDisk>,
    pub(crate) pages: Vec<HavePages>,
    pub(crate) pair: SlotPair,
    pub(crate) fence: Fence,
    pub(crate) ownership: Ownership,
    pub(crate) session: Option<Session>,
    pub(crate) flush: Option<Flush>,
    pub(crate) tasks: VecDeque<Task>,
    pub(crate) hashing: Option<(usize, Hashing)>,
}

impl World {
    pub(crate) fn start_receiver(&mut self) -> bool {
        if self.keeps(Rule::StateFlushedAtStart) {
            let files = self.have_files.iter_mut().chain([&mut self.receiver_super]);
            files.for_each(|file| {
                file.end_flush(file.begin_flush());
                file.drop_clean();
            });
        }
        let (pair, content) = supers::recover(&self.receiver_super);
        let (fence, ownership) = content.map_or_else(Default::default, |c| {
            let (fence, ownership) = supers::decode_receiver(&c);
            (fence, ownership)
        });
        if self.keeps(Rule::I6FlushAtStart) {
            for disk in &mut self.targets {
                disk.end_flush(disk.begin_flush());
                disk.drop_clean();
            }
            self.changes += 1;
        }
        let (mut books, mut pages) = (Vec::new(), Vec::new());
        for (disk, capacity) in self.capacities.iter().enumerate() {
            let file = &self.have_files[disk];
            let (page, have) =
                HavePages::recover(*capacity, |off| Some(file.read_at(off, SLOT_LEN)));
            let mut book = ReceiverDisk::new(*capacity, have);
            let mut last = u64::MAX;
            for (sector, _) in self.targets[disk].range(0..u64::MAX) {
                if sector / 128 != last {
                    last = sector / 128;
                    let extent = landfall_core::Extent::new(sector * SECTOR, SECTOR);
                    book.tree_mut().touch(landfall_core::Extent::widened(&extent, UNIT, *capacity));
                }
            }
            books.push(book);
            pages.push(page);
        }
        self.receiver = Some(Receiver {
            books,
            pages,
            pair,
            fence,
            ownership,
            session: None,
            flush: None,
            tasks: VecDeque::new(),
            hashing: None,
        });
        self.note(|| "receiver starts".into());
        true
    }

    /// The process ends at once; with `power` what the disks had not written may be gone.
    pub(crate) fn stop_receiver(&mut self, power: bool) -> bool {
        if self.receiver.take().is_none() && !power {
            return false;
        }
        self.note(|| format!("FAULT receiver {}", if power { "loses power" } else { "killed" }));
        for conn in self.conns.values_mut().filter(|conn| conn.receiver_end) {
            conn.close_receiver(&mut self.random);
        }
        self.sweep();
        if power {
            let random = &mut self.random;
            self.targets.iter_mut().for_each(|disk| disk.lose_power(random));
            self.have_files.iter_mut().for_each(|file| file.lose_power(random));
            self.receiver_super.lose_power(random);
        }
        true
    }

    pub(crate) fn closes(&mut self, id: u64) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.close_receiver(&mut self.random);
        }
        if let Some(receiver) = &mut self.receiver
            && let Some(session) = &mut receiver.session
        {
            session.conns.retain(|other| *other != id);
            if session.conns.is_empty() {
                receiver.session = None;
            }
        }
        self.sweep();
    }

    /// One connection goes on: a frame is read, or the rest of it is written.
    pub(crate) fn receiver_reads(&mut self) -> bool {
        if self.receiver.is_none() {
            return false;
        }
        let busy = |conn: &crate::net::Conn| {
            let applying = conn.entered.as_ref().is_some_and(|entered| entered.applying.is_some());
            conn.receiver_end && (applying || !conn.to_receiver.is_empty() || !conn.source_end)
        };
        let ready: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| busy(conn)).map(|(id, _)| *id).collect();
        if ready.is_empty() {
            return false;
        }
        let id = self.random.pick(&ready);
        if self.conns[&id].slow && !self.random.one_in(20) {
            return false;
        }
        let receiver = self.receiver.as_ref().expect("it runs");
        let conn = self.conns.get_mut(&id).expect("it is open");
        if conn.entered.as_ref().is_some_and(|entered| entered.applying.is_some()) {
            self.applies(id);
            return true;
        }
        let waits = receiver.tasks.iter().any(|task| task.conn == id && task.kind.in_line());
        if waits {
            return false;
        }
        let in_force = receiver.session.as_ref().is_some_and(|s| s.conns.contains(&id));
        let Some((seq, msg)) = conn.to_receiver.pop_front() else {
            self.closes(id);
            return true;
        };
        match (msg, conn.entered.is_some()) {
            (Msg::Hello, false) => self.hello(id),
            (_, false) => self.closes(id),
            (msg, true) if in_force || !self.keeps(Rule::I6Fence) => self.frame(id, seq, msg),
            _ => self.closes(id),
        }
        true
    }

    fn hello(&mut self, id: u64) {
        let conn = &self.conns[&id];
        let (epoch, number, lane) = (conn.epoch, conn.session, conn.lane);
        let receiver = self.receiver.as_mut().expect("it runs");
        if lane == 0 {
            receiver.tasks.push_back(Task { conn: id, kind: Kind::Open, stage: Stage::Begin });
            return;
        }
        let joined = receiver.fence.check(epoch, number).is_ok();
        match receiver.session.as_mut().filter(|_| joined) {
            Some(session) => {
                session.conns.push(id);
                self.enter(id, Reply::HelloAck { active: None, have: Vec::new() });
            }
            None => self.refuse(id, 0),
        }
    }

    pub(crate) fn enter(&mut self, id: u64, answer: Reply) {
        let conn = self.conns.get_mut(&id).expect("it is open");
        let mut book = FrameBook::default();
        book.applied(1).expect("HELLO is the first frame");
        conn.entered = Some(Entered { book, applying: None });
        conn.reply(answer);
    }

    pub(crate) fn refuse(&mut self, id: u64, epoch: u32) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.reply(Reply::Stale { epoch });
            conn.receiver_end = false;
            conn.entered = None;
            conn.to_receiver.clear();
        }
        self.closes(id);
    }

    fn frame(&mut self, id: u64, seq: u64, msg: Msg) {
        let receiver = self.receiver.as_mut().expect("it runs");
        let task = |kind| Task { conn: id, kind, stage: Stage::Begin };
        match msg {
            Msg::Data { disk, extent, content } => {
                if !receiver.ownership.writable() {
                    return self.closes(id);
                }
                let from = extent.off / SECTOR;
                let began = receiver.books[disk].begin_apply();
                let applying = Applying { seq, disk, extent, content, from, began };
                let conn = self.conns.get_mut(&id).expect("it is open");
                conn.entered.as_mut().expect("it entered").applying = Some(applying);
                return;
            }
            Msg::WantUnits { disk, units } => {
                let hash = |unit| unit_hash(&self.targets[disk], unit);
                let (first, hashes) = (units.start, units.map(hash).collect());
                let conn = self.conns.get_mut(&id).expect("it is open");
                conn.reply(Reply::Units { disk, first, hashes });
            }
            Msg::WantReread { disk, leaves } => {
                let capacity = self.capacities[disk];
                let read = |leaf| chunk_hashes(&self.targets[disk], leaf, capacity);
                let hashes = leaves.map(read).collect();
                let conn = self.conns.get_mut(&id).expect("it is open");
                conn.reply(Reply::Reread { hashes });
            }
            Msg::WantLeaves { disk } => receiver.tasks.push_back(task(Kind::Leaves { disk })),
            Msg::Barrier { token, round } => {
                receiver.tasks.push_back(task(Kind::Barrier { token, round }));
            }
            Msg::Own { token, roots } => receiver.tasks.push_back(task(Kind::Own { token, roots })),
            Msg::Hello => return self.closes(id),
        }
        self.applied(id, seq);
    }

    fn applied(&mut self, id: u64, seq: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(entered) = conn.entered.as_mut() else { return };
        if let Err(wanted) = entered.book.applied(seq) {
            self.violate(format!("frame {wanted} is missing"));
        }
        if !self.keeps(Rule::I4DurableAck) {
            self.conns.get_mut(&id).expect("it is open").reply(Reply::Ack { durable: seq });
        }
    }

    /// Writes the next part of a frame; after the last it is noted.
    fn applies(&mut self, id: u64) {
        let conn = self.conns.get_mut(&id).expect("it is open");
        let entered = conn.entered.as_mut().expect("it entered");
        let mut applying = entered.applying.take().expect("a frame is there");
        let (disk, extent) = (applying.disk, applying.extent);
        let end = extent.end() / SECTOR;
        let failed = self.target_full && !self.calm || self.fails("target write");
        let receiver = self.receiver.as_mut().expect("it runs");
        let target = &mut self.targets[disk];
        let hole = applying.content.is_empty()
            && applying.from == extent.off / SECTOR
            && target.is_hole(applying.from..end);
        if hole {
            return match receiver.books[disk].applied(applying.began, extent, false) {
                Ok(()) => self.applied(id, applying.seq),
                Err(_) => self.closes(id),
            };
        }
        self.changes += 1;
        let part = failed || self.random.one_in(3);
        let to = if part { applying.from + self.random.below(end - applying.from) } else { end };
        let first = applying.content.partition_point(|(sector, _)| *sector < applying.from);
        let last = applying.content.partition_point(|(sector, _)| *sector < to);
        let mut at = applying.from;
        for (sector, version) in &applying.content[first..last] {
            target.punch(at..*sector);
            target.write(*sector, *version);
            at = sector + 1;
        }
        target.punch(at..to);
        self.check_not_owned_when_applied();
        let receiver = self.receiver.as_mut().expect("it runs");
        if failed {
            receiver.books[disk].apply_failed(extent);
            return self.closes(id);
        }
        if to < end {
            applying.from = to;
            let conn = self.conns.get_mut(&id).expect("it is open");
            conn.entered.as_mut().expect("it entered").applying = Some(applying);
            return;
        }
        let noted = if self.broken == Some(Rule::TwoGranularitiesReceiver) {
            extent.widened(UNIT, self.capacities[disk])
        } else {
            extent
        };
        match receiver.books[disk].applied(applying.began, noted, true) {
            Ok(()) => self.applied(id, applying.seq),
            Err(_) => self.closes(id),
        }
    }

    /// The hashing thread: one chunk in two steps.
    pub(crate) fn receiver_hashes(&mut self) -> bool {
        let Some(receiver) = &mut self.receiver else { return false };
        if let Some((disk, hashing)) = receiver.hashing.take() {
            let mut buf = vec![0; CHUNK as usize];
            let read = |part: &mut [u8], off: u64| {
                render(&self.targets[disk], off, part);
                Ok::<_, ()>(())
            };
            let taken = hashing.read(&mut buf, read).expect("memory can be read");
            receiver.books[disk].tree_mut().put(&taken);
            return true;
        }
        let asked = receiver.tasks.iter().any(|task| task.stage == Stage::Hash);
        if !self.moving && !asked {
            return false;
        }
        for (disk, book) in receiver.books.iter_mut().enumerate() {
            let next = if asked { book.tree().stale().next(0, true) } else { book.next_stale(0) };
            if let Some(leaf) = next {
                receiver.hashing = Some((disk, book.tree_mut().begin(leaf)));
                return true;
            }
        }
        false
    }
}
