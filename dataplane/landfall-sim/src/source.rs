//! The source process: start and recovery, connections, what the receiver says, hashing.

use std::collections::VecDeque;

use landfall_core::handover::Handover;
use landfall_core::inflight::Ticket;
use landfall_core::scrub::Scrub;
use landfall_core::sending::Window;
use landfall_core::slot::SlotPair;
use landfall_core::source::SourceDisk;
use landfall_core::tree::{Hash, Hashing};
use landfall_core::{CHUNK, Extent};

use crate::intents::Intents;
use crate::net::Reply;
use crate::rules::Rule;
use crate::scrub::{Ask, new_scrubs};
use crate::store::{SECTOR, render};
use crate::supers::{self, SourceSuper};
use crate::world::World;

const WINDOW: u64 = 2 << 20;

/// How far the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Stores the new epoch beside this disk; written, but not durable yet.
    Starting(usize, bool),
    Running,
}

/// How far the connections are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Down,
    Opening(u64),
    /// All connections, and how many of them were answered.
    Joining(Vec<u64>, usize),
    Up(Vec<u64>),
}

/// What a sending thread is doing.
#[derive(Clone, Debug)]
pub(crate) enum Lane {
    Idle,
    Picked {
        disk: usize,
        ticket: Ticket,
        extent: Extent,
        hole: bool,
        trim: Option<Vec<u64>>,
    },
    /// Sectors before `from` were read.
    Reading {
        disk: usize,
        ticket: Option<Ticket>,
        extent: Extent,
        hashing: Option<Hashing>,
        content: Vec<(u64, u64)>,
        from: u64,
        trim: Option<Vec<u64>>,
    },
    /// Our units were hashed; theirs are beside them.
    Compared {
        disk: usize,
        first: u64,
        equal: Vec<bool>,
    },
}

/// The process.
pub(crate) struct Source {
    pub(crate) stage: Stage,
    pub(crate) books: Vec<SourceDisk>,
    pub(crate) intents: Vec<Intents>,
    pub(crate) pairs: Vec<SlotPair>,
    pub(crate) supers: Vec<SourceSuper>,
    pub(crate) epoch: u32,
    pub(crate) session: u64,
    pub(crate) distrust: bool,
    pub(crate) link: Link,
    pub(crate) lanes: [Lane; 3],
    pub(crate) windows: [Window; 2],
    pub(crate) wants_out: u32,
    pub(crate) answers: VecDeque<(usize, u64, Vec<Hash>)>,
    pub(crate) machine: Handover,
    pub(crate) repairs: u64,
    pub(crate) own_sent: bool,
    /// Disk whose seal is being stored, and whether it is written.
    pub(crate) sealing: Option<(usize, bool)>,
    pub(crate) hashing: Option<(usize, Hashing)>,
    pub(crate) scrubs: Vec<Scrub>,
    pub(crate) ask: Option<Ask>,
}

impl Source {
    /// Whether the tap answers and lets writes through.
    pub(crate) fn serves(&self) -> bool {
        self.stage == Stage::Running && !self.machine.is_sealed() && !self.machine.frozen()
    }
}

impl World {
    /// A process starts, or does its next step before it serves.
    pub(crate) fn source_process(&mut self) -> bool {
        let Some(source) = &self.source else { return self.start_source() };
        match source.stage {
            Stage::Starting(disk, written) => self.source_starts(disk, written),
            Stage::Running => self.seals(),
        }
    }

    fn start_source(&mut self) -> bool {
        if self.keeps(Rule::StateFlushedAtStart) {
            for file in self.source_supers.iter_mut().chain(&mut self.intent_files) {
                file.end_flush(file.begin_flush());
                file.drop_clean();
            }
        }
        let mut pairs = Vec::new();
        let mut known = Vec::new();
        for file in &self.source_supers {
            let (pair, content) = supers::recover(file);
            pairs.push(pair);
            known.push(content.map_or_else(SourceSuper::default, |c| SourceSuper::decode(&c)));
        }
        let sealed = known.iter().filter(|state| state.phase > 0).max_by_key(|s| s.phase).copied();
        let mut machine = Handover::default();
        // A seal that is not on every disk was never told to anybody: it is taken back.
        let whole = known.iter().all(|state| state.phase > 0);
        if !whole {
            known.iter_mut().for_each(|state| state.phase = 0);
        } else if let Some(state) = sealed
            && self.keeps(Rule::SealSurvivesRestart)
        {
            machine = Handover::restore(state.token, state.phase == 2);
        }
        let mut intents = Vec::new();
        for (disk, capacity) in self.capacities.iter().enumerate() {
            let kept = (known[disk].lineage > 0).then_some(&self.intent_files[disk]);
            known[disk].lineage = known[disk].lineage.max(1);
            intents.push(Intents::open(*capacity, known[disk].lineage, kept));
        }
        let epoch = known.iter().map(|state| state.epoch).max().unwrap_or(0) + 1;
        self.source = Some(Source {
            stage: Stage::Starting(0, false),
            books: self.capacities.iter().map(|capacity| SourceDisk::new(*capacity)).collect(),
            intents,
            pairs,
            supers: known,
            epoch,
            session: 0,
            distrust: self.keeps(Rule::I11CompareNewEpoch) || epoch == 1,
            link: Link::Down,
            lanes: [Lane::Idle, Lane::Idle, Lane::Idle],
            windows: [Window::new(WINDOW), Window::new(WINDOW - WINDOW / 4)],
            wants_out: 0,
            answers: VecDeque::new(),
            machine,
            repairs: 0,
            own_sent: false,
            sealing: None,
            hashing: None,
            scrubs: new_scrubs(&self.capacities),
            ask: None,
        });
        let suspects = |source: &Source| {
            source.intents.iter().map(|i| i.log.suspects().word(0)).collect::<Vec<u64>>()
        };
        let suspects = self.source.as_ref().map(suspects);
        self.note(|| format!("source starts, epoch {epoch}, suspect regions {suspects:?}"));
        true
    }

    fn source_starts(&mut self, disk: usize, written: bool) -> bool {
        let fails = self.fails("source super");
        let Some(source) = &mut self.source else { return false };
        let file = &mut self.source_supers[disk];
        let next = SourceSuper { epoch: source.epoch, ..source.supers[disk] };
        if !written {
            supers::write_next(file, &source.pairs[disk], &next.encode());
            source.stage = Stage::Starting(disk, true);
            return true;
        }
        let mark = file.begin_flush();
        if fails {
            file.fail_flush(mark, &mut self.random);
            return self.stop_source(false);
        }
        file.end_flush(mark);
        source.pairs[disk].stored();
        source.supers[disk] = next;
        source.stage = Stage::Starting(disk + 1, false);
        if disk + 1 == self.capacities.len() {
            source.stage = Stage::Running;
            if !source.machine.is_sealed() {
                self.track();
            }
        }
        true
    }

    /// Tracking on first, then the look at what is allocated.
    fn track(&mut self) {
        let Some(source) = &mut self.source else { return };
        for (book, disk) in source.books.iter_mut().zip(&self.source_disks) {
            book.forget();
            book.track();
            let mut last = u64::MAX;
            for (sector, _) in disk.range(0..u64::MAX) {
                if sector / 8 != last {
                    last = sector / 8;
                    book.note_allocated(Extent::new(sector * SECTOR, SECTOR));
                }
            }
        }
        for (book, intents) in source.books.iter_mut().zip(&source.intents) {
            book.suspect_only(intents.log.suspects().clone(), intents.log.region_bytes());
        }
    }

    /// The process ends at once; with `power` what the disks had not written may be gone.
    pub(crate) fn stop_source(&mut self, power: bool) -> bool {
        if self.source.take().is_none() && !power {
            return false;
        }
        self.note(|| format!("FAULT source {}", if power { "loses power" } else { "killed" }));
        for conn in self.conns.values_mut().filter(|conn| conn.source_end) {
            conn.close_source(&mut self.random);
        }
        self.sweep();
        self.guest.ops.clear();
        if power {
            for file in &mut self.source_supers {
                file.lose_power(&mut self.random);
            }
            for file in &mut self.intent_files {
                file.lose_power(&mut self.random);
            }
            for disk in &mut self.source_disks {
                disk.lose_power(&mut self.random);
            }
            self.check_survivors();
        }
        true
    }

    /// Connects, or notices a loss.
    pub(crate) fn source_link(&mut self) -> bool {
        let Some(source) = &mut self.source else { return false };
        let done = source.machine.phase() == landfall_core::handover::Phase::Active;
        if source.stage != Stage::Running || done {
            return false;
        }
        match source.link.clone() {
            Link::Down => {
                source.session += 1;
                let (epoch, session) = (source.epoch, source.session);
                let prio = self.dial(epoch, session, 0);
                self.source.as_mut().expect("it runs").link = Link::Opening(prio);
                true
            }
            Link::Opening(prio) => self.notice(&[prio]),
            Link::Joining(conns, _) | Link::Up(conns) => self.notice(&conns),
        }
    }

    fn notice(&mut self, conns: &[u64]) -> bool {
        let lost = |id: &u64| {
            let conn = &self.conns[id];
            conn.silent || (!conn.receiver_end && conn.to_source.is_empty())
        };
        let lost = conns.iter().any(lost);
        if lost {
            self.connection_lost();
        }
        lost
    }

    /// All connections of the source end; what was under way is put back.
    pub(crate) fn connection_lost(&mut self) {
        self.note(|| "source loses the connection".into());
        for conn in self.conns.values_mut().filter(|conn| conn.source_end) {
            conn.close_source(&mut self.random);
        }
        self.sweep();
        let Some(source) = &mut self.source else { return };
        for lane in &mut source.lanes {
            if let Lane::Reading { disk, hashing: Some(hashing), .. } = lane {
                source.books[*disk].tree_mut().abandon(*hashing);
            }
            *lane = Lane::Idle;
        }
        source.link = Link::Down;
        source.abandon_ask();
        source.books.iter_mut().for_each(SourceDisk::connection_lost);
        source.machine.connection_lost(source.repairs > 0);
        source.repairs = 0;
        source.wants_out = 0;
        source.answers.clear();
        source.own_sent = false;
        source.windows = [Window::new(WINDOW), Window::new(WINDOW - WINDOW / 4)];
    }

    /// The next thing the receiver said on one connection.
    pub(crate) fn source_reads(&mut self) -> bool {
        let waiting: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.source_end && !conn.silent && !conn.to_source.is_empty())
            .map(|(id, _)| *id)
            .collect();
        if waiting.is_empty() {
            return false;
        }
        let id = self.random.pick(&waiting);
        let reply = self.conns.get_mut(&id).expect("it is open").to_source.pop_front();
        match reply.expect("something waits") {
            Reply::HelloAck { active, have } => self.hello_acknowledged(id, active, have),
            Reply::Ack { durable } => self.source_acknowledged(id, durable),
            Reply::Units { disk, first, hashes } => {
                let source = self.source.as_mut().expect("it reads");
                source.answers.push_back((disk, first, hashes));
            }
            Reply::Reread { hashes } => {
                if let Some(ask) = &mut self.source.as_mut().expect("it reads").ask {
                    ask.theirs = Some(hashes);
                }
            }
            Reply::Leaves { disk, leaves } => self.leaves_came(disk, &leaves),
            Reply::BarrierAck { token, round, roots } => self.roots_came(token, round, &roots),
            Reply::OwnAck { token } => self.own_acknowledged(token),
            Reply::Stale { epoch } => {
                let source = self.source.as_mut().expect("it reads");
                if epoch >= source.epoch {
                    for state in &mut source.supers {
                        state.epoch = epoch;
                    }
                    source.epoch = epoch + 1;
                    source.session = 0;
                    source.distrust = true;
                    source.books.iter_mut().for_each(SourceDisk::suspect_all);
                    source.abandon_ask();
                    source.scrubs.iter_mut().for_each(Scrub::reset);
                    source.stage = Stage::Starting(0, false);
                }
                self.connection_lost();
            }
        }
        true
    }

    fn hello_acknowledged(
        &mut self,
        id: u64,
        active: Option<u64>,
        have: Vec<landfall_core::Bitmap>,
    ) {
        let source = self.source.as_mut().expect("it reads");
        match source.link.clone() {
            Link::Opening(prio) if prio == id => {
                if let Some(token) = active {
                    self.own_acknowledged(token);
                    return;
                }
                if source.machine.is_sealed() {
                    source.link = Link::Up(vec![prio]);
                    return;
                }
                let distrust = std::mem::take(&mut source.distrust);
                for (book, have) in source.books.iter_mut().zip(have) {
                    book.begin_session(have, distrust);
                }
                let (epoch, session) = (source.epoch, source.session);
                let conns = vec![prio, self.dial(epoch, session, 1), self.dial(epoch, session, 2)];
                self.source.as_mut().expect("it runs").link = Link::Joining(conns, 0);
            }
            Link::Joining(conns, answered) => {
                source.link = match answered {
                    0 => Link::Joining(conns, 1),
                    _ => Link::Up(conns),
                };
            }
            _ => {}
        }
    }

    fn source_acknowledged(&mut self, id: u64, durable: u64) {
        let conn = self.conns.get_mut(&id).expect("it is open");
        let lane = conn.lane.min(1);
        let done = conn.queue.acknowledged(durable);
        let source = self.source.as_mut().expect("it reads");
        match done {
            Ok(done) => {
                for sent in done {
                    source.books[sent.disk].acknowledged(sent.ticket);
                    source.windows[lane].give_back(sent.bytes);
                }
            }
            Err(seq) => self.violate(format!("frame {seq} acknowledged and never sent")),
        }
    }

    /// The hashing thread: one chunk in two steps.
    pub(crate) fn source_hashes(&mut self) -> bool {
        let Some(source) = &mut self.source else { return false };
        if let Some((disk, hashing)) = source.hashing.take() {
            let mut buf = vec![0; CHUNK as usize];
            let read = |part: &mut [u8], off: u64| {
                render(&self.source_disks[disk], off, part);
                Ok::<_, ()>(())
            };
            let taken = hashing.read(&mut buf, read).expect("memory can be read");
            source.books[disk].tree_mut().put(&taken);
            return true;
        }
        if !self.moving {
            return false;
        }
        for (disk, book) in source.books.iter_mut().enumerate() {
            if let Some(leaf) = book.next_stale(0) {
                source.hashing = Some((disk, book.tree_mut().begin(leaf)));
                return true;
            }
        }
        false
    }
}
