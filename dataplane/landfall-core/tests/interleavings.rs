//! Every interleaving of guest writes, sender, two connections, receiver, flush and two faults
//! on one unit with two blocks, against the real state machines. With all rules nothing is ever
//! lost; with any one rule of the caller broken a loss is found, which shows that the search
//! would see one.

mod search;

use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use landfall_core::inflight::Ticket;
use landfall_core::receiver::{FrameBook, ReceiverDisk};
use landfall_core::sending::{SendQueue, Sent};
use landfall_core::source::SourceDisk;
use landfall_core::{BLOCK, Bitmap, Extent, UNIT};

const WRITES: u8 = 2;
/// Versions of the two blocks.
type Content = [u8; 2];

/// Rules that the caller of the machines keeps; each can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Rule {
    /// I2: marked after the disk took the write, before the guest hears of it.
    MarkAfter,
    /// I2b: an extent is picked before it is read.
    PickBeforeRead,
    /// I4: an acknowledgement follows data flush and have-map.
    DurableAck,
    /// I4: what is applied after the flush began is not covered by it.
    NotedBeforeFlush,
    /// I6: nothing of an older session is applied after a new one began.
    Fence,
    /// What was applied before is flushed before a session begins.
    FlushBeforeSession,
    /// What a killed receiver left in the cache is flushed when it starts.
    FlushAtStart,
    /// 2G: in a unit the destination lacks, the whole unit is sent.
    TwoGranularities,
    /// Another epoch compares everything.
    CompareNewEpoch,
}

const RULES: [Rule; 9] = [
    Rule::MarkAfter,
    Rule::PickBeforeRead,
    Rule::DurableAck,
    Rule::NotedBeforeFlush,
    Rule::Fence,
    Rule::FlushBeforeSession,
    Rule::FlushAtStart,
    Rule::TwoGranularities,
    Rule::CompareNewEpoch,
];

#[derive(Clone, Hash)]
struct Frame {
    extent: (u64, u64),
    content: Content,
    seq: u64,
}

#[derive(Clone, Default)]
struct Connection {
    queue: SendQueue,
    frames: VecDeque<Frame>,
    book: FrameBook,
    acks: VecDeque<u64>,
}

#[derive(Clone, Hash, PartialEq, Eq)]
enum Guest {
    Idle,
    Submitted(usize, u8),
    Landed(usize),
}

#[derive(Clone)]
enum Sender {
    Idle,
    Picked { ticket: Ticket, extent: Extent, cut: Extent },
    Read { ticket: Option<Ticket>, extent: Extent, content: Content, cut: Extent },
}

#[derive(Clone)]
struct World {
    source: SourceDisk,
    disk: Content,
    guest: Guest,
    written: u8,
    senders: [Sender; 2],
    connected: bool,
    new_epoch: bool,
    connections: [Connection; 2],
    zombies: Vec<Frame>,
    receiver: ReceiverDisk,
    target: Content,
    target_durable: Content,
    have_durable: bool,
    flushing: Option<[u64; 2]>,
    hashed: Option<Content>,
    faults: u8,
}

fn block(at: usize) -> Extent {
    Extent::new(at as u64 * BLOCK, BLOCK)
}

impl World {
    fn new(faults: u8) -> Self {
        let mut source = SourceDisk::new(UNIT);
        source.track();
        source.note_allocated(Extent::new(0, UNIT));
        Self {
            source,
            disk: [1, 1],
            guest: Guest::Idle,
            written: 1,
            senders: [Sender::Idle, Sender::Idle],
            connected: false,
            new_epoch: true,
            connections: Default::default(),
            zombies: Vec::new(),
            receiver: ReceiverDisk::new(UNIT, Bitmap::new(1)),
            target: [0, 0],
            target_durable: [0, 0],
            have_durable: false,
            flushing: None,
            hashed: None,
            faults,
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let bits = |map: &Bitmap| map.word(0);
        (bits(self.source.dirty()), bits(self.source.have()), self.source.unverified())
            .hash(&mut hasher);
        (self.disk, &self.guest, self.written, self.connected, self.new_epoch).hash(&mut hasher);
        for sender in &self.senders {
            match sender {
                Sender::Idle => 0.hash(&mut hasher),
                Sender::Picked { extent, cut, .. } => (1, extent, cut).hash(&mut hasher),
                Sender::Read { extent, content, cut, .. } => {
                    (2, extent, content, cut).hash(&mut hasher);
                }
            }
        }
        for connection in &self.connections {
            (&connection.frames, &connection.acks).hash(&mut hasher);
            (connection.book.received(), connection.book.durable()).hash(&mut hasher);
        }
        for frame in &self.zombies {
            (frame.extent, frame.content).hash(&mut hasher);
        }
        (self.receiver.complete(), self.receiver.unflushed()).hash(&mut hasher);
        (self.target, self.target_durable, self.have_durable, self.flushing).hash(&mut hasher);
        (self.hashed, self.faults).hash(&mut hasher);
        hasher.finish()
    }

    /// A clean source means: the destination holds the same, durably.
    fn violation(&self) -> Option<String> {
        // The two-granularity rule as an invariant of its own: what counts as had was there.
        let had = self.connected && self.source.have().get(0);
        if (had || self.have_durable) && self.target_durable.contains(&0) {
            return Some(format!("2G: the unit counts as had and holds {:?}", self.target_durable));
        }
        let quiet = self.guest == Guest::Idle && self.connected && self.source.clean();
        let lost = self.target != self.disk || self.target_durable != self.disk;
        (quiet && (lost || !self.have_durable)).then(|| {
            format!(
                "clean, but source {:?}, destination {:?}, durable {:?}",
                self.disk, self.target, self.target_durable
            )
        })
    }

    fn successors(&self, rules: &BTreeSet<Rule>) -> Vec<(String, World)> {
        let mut out = Vec::new();
        let mut add = |label: &str, act: &dyn Fn(&mut World) -> bool| {
            let mut next = self.clone();
            if act(&mut next) {
                out.push((label.to_owned(), next));
            }
        };
        for at in 0..2 {
            add("submit", &|w| w.submit(at, rules));
        }
        add("land", &|w| w.land());
        add("mark and answer", &|w| w.mark(rules));
        for lane in 0..2 {
            add("send step", &|w| w.send_step(lane, rules));
            add("apply", &|w| w.apply(lane, rules));
            add("ack arrives", &|w| w.ack(lane));
        }
        add("zombie applied", &|w| w.apply_zombie(rules));
        add("flush begins", &|w| w.begin_flush());
        add("flush ends", &|w| w.end_flush(rules));
        add("receiver hashes", &|w| w.hash_unit());
        add("source compares", &|w| w.compare());
        add("connect", &|w| w.connect(rules));
        add("FAULT cut", &|w| w.fault(|w| w.cut()));
        add("FAULT receiver killed", &|w| w.fault(|w| w.receiver_stops(w.target, rules)));
        add("FAULT receiver loses power", &|w| {
            w.fault(|w| w.receiver_stops(w.target_durable, rules))
        });
        for at in 0..2 {
            add("FAULT receiver loses power, one block kept", &|w| {
                w.fault(|w| {
                    let mut kept = w.target_durable;
                    kept[at] = w.target[at];
                    w.target_durable = kept;
                    w.receiver_stops(kept, rules);
                })
            });
        }
        add("FAULT source killed", &|w| w.fault(|w| w.source_stops()));
        out
    }

    fn submit(&mut self, at: usize, rules: &BTreeSet<Rule>) -> bool {
        let may = self.guest == Guest::Idle && self.written <= WRITES;
        if may {
            self.written += 1;
            self.guest = Guest::Submitted(at, self.written);
            if !rules.contains(&Rule::MarkAfter) {
                self.source.written(block(at));
            }
        }
        may
    }

    fn land(&mut self) -> bool {
        let Guest::Submitted(at, version) = self.guest else { return false };
        self.disk[at] = version;
        self.guest = Guest::Landed(at);
        true
    }

    fn mark(&mut self, rules: &BTreeSet<Rule>) -> bool {
        let Guest::Landed(at) = self.guest else { return false };
        if rules.contains(&Rule::MarkAfter) {
            self.source.written(block(at));
        }
        self.guest = Guest::Idle;
        true
    }

    /// Lane 0 sends foreground, lane 1 background.
    fn send_step(&mut self, lane: usize, rules: &BTreeSet<Rule>) -> bool {
        if !self.connected {
            return false;
        }
        let sender = std::mem::replace(&mut self.senders[lane], Sender::Idle);
        self.senders[lane] = match sender {
            Sender::Idle if !rules.contains(&Rule::PickBeforeRead) => {
                let extent = Extent::new(0, UNIT);
                Sender::Read { ticket: None, extent, content: self.disk, cut: extent }
            }
            Sender::Idle => {
                let first_dirty = self.source.dirty().next(0, true);
                let Some((ticket, extent)) = self.pick(lane) else { return false };
                let narrow =
                    first_dirty.filter(|_| lane == 0 && !rules.contains(&Rule::TwoGranularities));
                let cut = narrow.map_or(extent, |at| block(at as usize));
                Sender::Picked { ticket, extent, cut }
            }
            Sender::Picked { ticket, extent, cut } => {
                Sender::Read { ticket: Some(ticket), extent, content: self.disk, cut }
            }
            Sender::Read { ticket, extent, content, cut } => {
                let picked = ticket.map(|ticket| (ticket, extent)).or_else(|| self.pick(lane));
                let Some((ticket, extent)) = picked else { return true };
                let connection = &mut self.connections[lane];
                let seq = connection.queue.next_seq();
                connection.queue.completes(Sent { disk: 0, ticket, bytes: 0, at_ns: 0 });
                let sent = if ticket_was_cut(&extent, &cut) { cut } else { extent };
                connection.frames.push_back(Frame { extent: (sent.off, sent.len), content, seq });
                Sender::Idle
            }
        };
        true
    }

    fn pick(&mut self, lane: usize) -> Option<(Ticket, Extent)> {
        let pick = match lane {
            0 => self.source.pick_foreground(UNIT),
            _ => self.source.pick_background(UNIT),
        };
        pick.map(|pick| (pick.ticket, pick.extent))
    }

    fn write_target(&mut self, frame: &Frame) {
        let extent = Extent::new(frame.extent.0, frame.extent.1);
        for at in 0..2 {
            if extent.overlaps(&block(at)) {
                self.target[at] = frame.content[at];
            }
        }
        let began = self.receiver.begin_apply();
        self.receiver.applied(began, extent, true).expect("no flush fails here");
    }

    fn apply(&mut self, lane: usize, rules: &BTreeSet<Rule>) -> bool {
        let Some(frame) = self.connections[lane].frames.pop_front() else { return false };
        self.write_target(&frame);
        self.connections[lane].book.applied(frame.seq).expect("frames keep their order");
        if !rules.contains(&Rule::DurableAck) {
            self.connections[lane].acks.push_back(frame.seq);
        }
        true
    }

    fn apply_zombie(&mut self, rules: &BTreeSet<Rule>) -> bool {
        let may = !self.connected || !rules.contains(&Rule::Fence);
        if !may || self.zombies.is_empty() {
            return false;
        }
        let frame = self.zombies.remove(0);
        self.write_target(&frame);
        true
    }

    fn begin_flush(&mut self) -> bool {
        if self.flushing.is_some() || !self.receiver.begin_flush() {
            return false;
        }
        self.connections.iter_mut().for_each(|connection| connection.book.begin_flush());
        self.flushing = Some([self.target[0].into(), self.target[1].into()]);
        true
    }

    fn end_flush(&mut self, rules: &BTreeSet<Rule>) -> bool {
        let Some(content) = self.flushing.take() else { return false };
        self.target_durable = content.map(|version| version as u8);
        let pages = self.receiver.flushed();
        self.receiver.stored(&pages);
        self.have_durable |= self.receiver.complete();
        for connection in &mut self.connections {
            if !rules.contains(&Rule::NotedBeforeFlush) {
                connection.book.begin_flush();
            }
            connection.book.flushed();
            if self.connected && rules.contains(&Rule::DurableAck) {
                connection.acks.push_back(connection.book.durable());
            }
        }
        true
    }

    fn ack(&mut self, lane: usize) -> bool {
        let Some(durable) = self.connections[lane].acks.pop_front() else { return false };
        let done = self.connections[lane].queue.acknowledged(durable).expect("it was sent");
        done.into_iter().for_each(|sent| self.source.acknowledged(sent.ticket));
        true
    }

    fn hash_unit(&mut self) -> bool {
        let may = self.connected && self.hashed.is_none() && self.source.unverified() > 0;
        if may {
            self.hashed = Some(self.target);
        }
        may
    }

    fn compare(&mut self) -> bool {
        let Some(theirs) = self.hashed.take() else { return false };
        self.source.compared(0, theirs == self.disk);
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

    /// Frames on their way may still be applied by threads that do not know of the cut.
    fn cut(&mut self) {
        self.connected = false;
        for connection in &mut self.connections {
            self.zombies.extend(connection.frames.drain(..));
            *connection = Connection::default();
        }
        self.senders = [Sender::Idle, Sender::Idle];
        self.hashed = None;
        self.source.connection_lost();
    }

    fn receiver_stops(&mut self, content: Content, rules: &BTreeSet<Rule>) {
        self.cut();
        self.zombies.clear();
        self.flushing = None;
        self.target = content;
        if rules.contains(&Rule::FlushAtStart) {
            self.target_durable = content;
        }
        let mut have = Bitmap::new(1);
        if self.have_durable {
            have.set(0..1);
        }
        self.receiver = ReceiverDisk::new(UNIT, have);
    }

    fn source_stops(&mut self) {
        self.cut();
        self.guest = Guest::Idle;
        self.source.forget();
        self.source.track();
        self.source.note_allocated(Extent::new(0, UNIT));
        self.new_epoch = true;
    }

    fn connect(&mut self, rules: &BTreeSet<Rule>) -> bool {
        if self.connected || self.flushing.is_some() {
            return false;
        }
        if rules.contains(&Rule::Fence) {
            self.zombies.clear();
        }
        if rules.contains(&Rule::FlushBeforeSession) && self.receiver.begin_flush() {
            self.target_durable = self.target;
            let pages = self.receiver.flushed();
            self.receiver.stored(&pages);
            self.have_durable |= self.receiver.complete();
        }
        self.connected = true;
        let distrust = self.new_epoch && rules.contains(&Rule::CompareNewEpoch);
        self.source.begin_session(self.receiver.have().clone(), distrust);
        self.new_epoch = false;
        true
    }
}

fn ticket_was_cut(extent: &Extent, cut: &Extent) -> bool {
    cut.off >= extent.off && cut.end() <= extent.end()
}

/// Searches everything; the answer is the number of states and the first loss.
fn search(rules: &BTreeSet<Rule>, faults: u8) -> (usize, Option<String>) {
    let successors = |world: &World| world.successors(rules);
    search::search(World::new(faults), successors, World::fingerprint, World::violation)
}

#[test]
fn no_interleaving_with_two_faults_loses_a_write() {
    let (states, loss) = search(&RULES.into(), 2);
    assert_eq!(loss, None);
    assert!(states > 30_000, "only {states} states");
}

#[test]
fn each_rule_is_needed() {
    for broken in RULES {
        let rules = RULES.into_iter().filter(|rule| *rule != broken).collect();
        let (states, loss) = search(&rules, 2);
        assert!(loss.is_some(), "{broken:?} broken and no loss in {states} states");
    }
}
