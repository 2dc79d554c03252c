//! Every interleaving of guest writes, the cache of the source disk, the write-intent log, the
//! sender, the receiver and two faults (`LANDFALL_FAULTS=3`: three) on one block, against the
//! real machines. With all rules nothing is ever lost; with I1, I1b or I3 broken a loss is found.

mod search;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use landfall_core::inflight::Ticket;
use landfall_core::intent::{Commit, IntentLog, Slot, Turn};
use landfall_core::receiver::ReceiverDisk;
use landfall_core::source::SourceDisk;
use landfall_core::{BLOCK, Bitmap, Extent, UNIT};

const WRITES: u8 = 2;
const EXTENT: Extent = Extent { off: 0, len: BLOCK };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Rule {
    /// I1: the region's bit is durable before the write is submitted.
    IntentFirst,
    /// I1b: a write to a region that is being cleared waits and sets it again.
    ClearFence,
    /// I3: the source disk is flushed before a region is cleared.
    FlushBeforeClear,
    /// I3: the region is looked at again when no write of before is under way.
    QuietWhenCleared,
    /// I2: the write is in the dirty map before it leaves the log's turn.
    MarkAfter,
    /// I4: only what is durable over there is acknowledged.
    DurableAck,
}

const RULES: [Rule; 6] = [
    Rule::IntentFirst,
    Rule::ClearFence,
    Rule::FlushBeforeClear,
    Rule::QuietWhenCleared,
    Rule::MarkAfter,
    Rule::DurableAck,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Guest {
    Idle,
    Waiting,
    Submitted,
    Landed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Clear {
    Idle,
    Begun,
    Flushing(u8),
}

#[derive(Clone)]
enum Sender {
    Idle,
    Picked(Ticket),
    Read(Ticket, u8),
}

#[derive(Clone)]
struct World {
    source: SourceDisk,
    log: IntentLog,
    turn: Option<Turn>,
    /// The page's slots on disk, and a commit whose page may be there or not.
    slots: [Slot; 2],
    commit: Option<Commit>,
    clear: Clear,
    disk: u8,
    disk_durable: u8,
    written: u8,
    guest: Guest,
    sender: Sender,
    connected: bool,
    new_epoch: bool,
    frame: Option<(Ticket, u8)>,
    flushing: Option<(u8, Option<Ticket>)>,
    applied: Option<Ticket>,
    ack: Option<Ticket>,
    receiver: ReceiverDisk,
    target: u8,
    target_durable: u8,
    faults: u8,
}

impl World {
    fn new(faults: u8) -> Self {
        let mut have = Bitmap::new(1);
        have.set(0..1);
        let mut source = SourceDisk::new(UNIT);
        source.track();
        Self {
            source,
            log: IntentLog::unknown(UNIT, 1),
            turn: None,
            slots: [Slot::Empty, Slot::Empty],
            commit: None,
            clear: Clear::Idle,
            disk: 0,
            disk_durable: 0,
            written: 0,
            guest: Guest::Idle,
            sender: Sender::Idle,
            connected: false,
            new_epoch: true,
            frame: None,
            flushing: None,
            applied: None,
            ack: None,
            receiver: ReceiverDisk::new(UNIT, have),
            target: 0,
            target_durable: 0,
            faults,
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let source = &self.source;
        (source.dirty().word(0), source.unverified(), source.quiet(EXTENT)).hash(&mut hasher);
        (source.dirty_bytes(), &self.guest, self.clear, self.turn.is_some()).hash(&mut hasher);
        (self.log.suspects().get(0), self.log.clearing().get(0), self.log.drained())
            .hash(&mut hasher);
        format!("{:?}", self.log).replace(|c: char| !c.is_ascii(), "").hash(&mut hasher);
        let valid = |slot: &Slot| match slot {
            Slot::Valid { generation, content } => Some((*generation, content[8])),
            _ => None,
        };
        (valid(&self.slots[0]), valid(&self.slots[1])).hash(&mut hasher);
        let commit = self.commit.as_ref().map(|commit| commit.writes[0].content[8]);
        (commit, self.disk, self.disk_durable, self.written).hash(&mut hasher);
        match &self.sender {
            Sender::Idle => 0.hash(&mut hasher),
            Sender::Picked(_) => 1.hash(&mut hasher),
            Sender::Read(_, version) => (2, version).hash(&mut hasher),
        }
        (self.connected, self.new_epoch, self.frame.map(|f| f.1)).hash(&mut hasher);
        let flushing = self.flushing.map(|(version, ticket)| (version, ticket.is_some()));
        (flushing, self.applied.is_some(), self.ack.is_some()).hash(&mut hasher);
        (self.target, self.target_durable, self.faults).hash(&mut hasher);
        hasher.finish()
    }

    fn violation(&self) -> Option<String> {
        let quiet = matches!(self.guest, Guest::Idle | Guest::Waiting);
        let clean = self.connected && quiet && self.source.clean();
        let lost = self.target != self.disk || self.target_durable != self.disk;
        (clean && lost).then(|| {
            format!(
                "clean, but source {}, destination {}, durable {}",
                self.disk, self.target, self.target_durable
            )
        })
    }

    fn successors(&self, rules: &BTreeSet<Rule>) -> Vec<(&'static str, World)> {
        let mut out = Vec::new();
        let mut add = |label: &'static str, act: &dyn Fn(&mut World) -> bool| {
            let mut next = self.clone();
            if act(&mut next) {
                out.push((label, next));
            }
        };
        add("write", &|w| w.write());
        add("submit", &|w| w.submit(rules));
        add("land", &|w| w.land(rules));
        add("mark and answer", &|w| w.mark(rules));
        add("source writes back", &|w| std::mem::replace(&mut w.disk_durable, w.disk) != w.disk);
        add("commit begins", &|w| w.begin_commit());
        add("commit ends", &|w| w.end_commit());
        add("clearing goes on", &|w| w.clears(rules));
        add("sender goes on", &|w| w.sends());
        add("apply", &|w| w.apply(rules));
        add("flush", &|w| w.flush());
        add("ack", &|w| w.acknowledged());
        add("connect", &|w| w.connect());
        add("compare", &|w| w.compare());
        add("FAULT cut", &|w| w.fault(|w| w.cut()));
        add("FAULT receiver loses power", &|w| w.fault(|w| w.receiver_stops()));
        for landed in [false, true] {
            add("FAULT source killed", &|w| w.fault(|w| w.source_stops(landed, false)));
            add("FAULT source loses power", &|w| w.fault(|w| w.source_stops(landed, true)));
        }
        out
    }

    fn write(&mut self) -> bool {
        let may = self.guest == Guest::Idle && self.written < WRITES;
        if may {
            self.written += 1;
            self.guest = Guest::Waiting;
        }
        may
    }

    fn submit(&mut self, rules: &BTreeSet<Rule>) -> bool {
        if self.guest != Guest::Waiting {
            return false;
        }
        let fenced = rules.contains(&Rule::ClearFence);
        if fenced || !self.log.suspects().get(0) {
            self.turn = self.log.begin_write(EXTENT);
            if self.turn.is_none() && rules.contains(&Rule::IntentFirst) {
                return false;
            }
        }
        self.guest = Guest::Submitted;
        true
    }

    fn land(&mut self, rules: &BTreeSet<Rule>) -> bool {
        if self.guest != Guest::Submitted {
            return false;
        }
        if !rules.contains(&Rule::MarkAfter)
            && let Some(turn) = self.turn.take()
        {
            self.log.end_write(turn);
        }
        self.disk = self.written;
        self.guest = Guest::Landed;
        true
    }

    fn mark(&mut self, rules: &BTreeSet<Rule>) -> bool {
        if self.guest != Guest::Landed {
            return false;
        }
        if rules.contains(&Rule::MarkAfter) {
            self.source.written(EXTENT);
        }
        if let Some(turn) = self.turn.take() {
            self.log.end_write(turn);
        }
        self.guest = Guest::Idle;
        true
    }

    fn begin_commit(&mut self) -> bool {
        if self.commit.is_some() {
            return false;
        }
        self.commit = self.log.begin_commit();
        self.commit.is_some()
    }

    fn store(&mut self, commit: &Commit) {
        for write in &commit.writes {
            let (generation, content) = (write.generation, write.content.clone());
            self.slots[(generation % 2) as usize] = Slot::Valid { generation, content };
        }
    }

    fn end_commit(&mut self) -> bool {
        let Some(commit) = self.commit.take() else { return false };
        self.store(&commit);
        self.log.committed(commit);
        true
    }

    fn clears(&mut self, rules: &BTreeSet<Rule>) -> bool {
        let careful = rules.contains(&Rule::QuietWhenCleared);
        let quiet = self.source.quiet(EXTENT);
        match self.clear {
            Clear::Idle => {
                if self.log.begin_clear(|_| quiet) {
                    self.clear = Clear::Begun;
                }
            }
            Clear::Begun => {
                if careful && !self.log.drained() {
                    return false;
                }
                if careful && !quiet {
                    self.log.keep(0);
                }
                self.clear = Clear::Flushing(self.disk);
            }
            Clear::Flushing(content) => {
                if rules.contains(&Rule::FlushBeforeClear) {
                    self.disk_durable = self.disk_durable.max(content);
                }
                self.log.flushed();
                self.clear = Clear::Idle;
            }
        }
        true
    }

    fn sends(&mut self) -> bool {
        if !self.connected {
            return false;
        }
        self.sender = match self.sender {
            Sender::Idle => match self.source.pick_foreground(UNIT) {
                Some(pick) => Sender::Picked(pick.ticket),
                None => return false,
            },
            Sender::Picked(ticket) => Sender::Read(ticket, self.disk),
            Sender::Read(ticket, version) => {
                self.frame = Some((ticket, version));
                Sender::Idle
            }
        };
        true
    }

    fn apply(&mut self, rules: &BTreeSet<Rule>) -> bool {
        let Some((ticket, version)) = self.frame.take() else { return false };
        self.target = version;
        let began = self.receiver.begin_apply();
        self.receiver.applied(began, EXTENT, true).expect("no flush fails here");
        if rules.contains(&Rule::DurableAck) {
            self.applied = Some(ticket);
        } else {
            self.ack = Some(ticket);
        }
        true
    }

    fn flush(&mut self) -> bool {
        match self.flushing.take() {
            None => {
                if !self.receiver.begin_flush() {
                    return false;
                }
                self.flushing = Some((self.target, self.applied.take()));
            }
            Some((version, ticket)) => {
                self.target_durable = version;
                let pages = self.receiver.flushed();
                self.receiver.stored(&pages);
                self.ack = ticket.filter(|_| self.connected).or(self.ack);
            }
        }
        true
    }

    fn acknowledged(&mut self) -> bool {
        let Some(ticket) = self.ack.take() else { return false };
        self.source.acknowledged(ticket);
        true
    }

    fn connect(&mut self) -> bool {
        if self.connected || self.flushing.is_some() {
            return false;
        }
        if self.receiver.begin_flush() {
            self.target_durable = self.target;
            let pages = self.receiver.flushed();
            self.receiver.stored(&pages);
        }
        self.connected = true;
        let distrust = std::mem::take(&mut self.new_epoch);
        self.source.begin_session(self.receiver.have().clone(), distrust);
        true
    }

    fn compare(&mut self) -> bool {
        if !self.connected || self.source.unverified() == 0 {
            return false;
        }
        self.source.compared(0, self.target == self.disk);
        true
    }

    fn fault(&mut self, act: impl Fn(&mut World)) -> bool {
        let may = self.faults > 0;
        if may {
            self.faults -= 1;
            act(self);
        }
        may
    }

    fn cut(&mut self) {
        self.connected = false;
        (self.frame, self.applied, self.ack) = (None, None, None);
        self.flushing = self.flushing.map(|(version, _)| (version, None));
        self.sender = Sender::Idle;
        self.source.connection_lost();
    }

    fn receiver_stops(&mut self) {
        self.cut();
        self.flushing = None;
        self.target = self.target_durable;
        self.receiver = ReceiverDisk::new(UNIT, self.receiver.have().clone());
    }

    /// A write under way may have landed, and a page under way may be on the disk.
    fn source_stops(&mut self, landed: bool, power: bool) {
        self.cut();
        if let Some(commit) = self.commit.take()
            && landed
        {
            self.store(&commit);
        }
        if landed && self.guest == Guest::Submitted {
            self.disk = self.written;
        }
        if power {
            self.disk = self.disk_durable;
        }
        (self.guest, self.turn, self.clear) = (Guest::Idle, None, Clear::Idle);
        let slots = self.slots.clone();
        self.log = IntentLog::recover(UNIT, 1, |_| slots.clone());
        self.source.forget();
        self.source.track();
        self.source.suspect_only(self.log.suspects().clone(), self.log.region_bytes());
        self.new_epoch = true;
    }
}

fn search(rules: &BTreeSet<Rule>, faults: u8) -> (usize, Option<String>) {
    let successors = |world: &World| world.successors(rules);
    search::search(World::new(faults), successors, World::fingerprint, World::violation)
}

fn faults() -> u8 {
    std::env::var("LANDFALL_FAULTS").map_or(2, |text| text.parse().expect("a number"))
}

#[test]
fn i1_i3_no_interleaving_with_the_log_loses_a_write() {
    let (states, loss) = search(&RULES.into(), faults());
    println!("{states} states");
    assert_eq!(loss, None);
    assert!(states > 5_000, "only {states} states");
}

#[test]
fn i1_i1b_i3_each_rule_of_the_log_is_needed() {
    for broken in RULES {
        let rules = RULES.into_iter().filter(|rule| *rule != broken).collect();
        let (states, loss) = search(&rules, faults());
        println!("without {broken:?}: {states} states, {loss:?}");
        assert!(loss.is_some(), "{broken:?} broken and no loss in {states} states");
    }
}
