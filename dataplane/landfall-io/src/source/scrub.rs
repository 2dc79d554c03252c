//! Reads both sides again, from their disks: the scrub before a job is ready, and a verification
//! that somebody asked for. Only hashes cross the network. It stands back behind copying and
//! the guest.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use landfall_api::JobKind;
use landfall_core::CHUNK;
use landfall_core::handover::Phase;
use landfall_core::scrub::Verdict;
use landfall_core::tree::{Hash, LEAVES_PER_NODE, zero_parts};
use landfall_wire::{HASHES_MAX, HashKind, Hashes, REREAD_PARTS_MAX, Want, features, kind};

use super::cutover::Cutover;
use super::job::{Job, JobDiskIo};
use super::scrub_room::{Room, rest};
use super::session::Session;
use crate::cold_reader::ColdReader;
use crate::disk_file::NextData;
use crate::link::Frame;

/// Chunks in one question: bounds what is read in vain when the guest writes meanwhile.
const ASK_CHUNKS: u64 = 8;
/// So few units of a chunk are read one by one; more are read with the whole chunk.
const UNITS_APART_MAX: u32 = 4;
/// Questions under way: the receiver reads one while the other's answer travels.
const ASKS_OUT: usize = 2;
/// How long it looks away when there is nothing to do.
const IDLE: Duration = Duration::from_millis(100);
/// The same while what is left is only dirty or on its way: about as long as that takes.
const IDLE_AMONG_DIRTY: Duration = Duration::from_millis(20);

/// Answers of the receiver that wait for this thread.
#[derive(Default)]
pub(super) struct Mailbox {
    answers: Mutex<Vec<(usize, Hashes)>>,
    came: Condvar,
}

impl Mailbox {
    pub(super) fn put(&self, disk: usize, hashes: Hashes) {
        self.answers.lock().expect("answers").push((disk, hashes));
        self.came.notify_all();
    }

    /// Something else happened that this thread should look at.
    pub(super) fn wake(&self) {
        self.came.notify_all();
    }

    fn wait(&self, wait: Duration) {
        let answers = self.answers.lock().expect("answers");
        drop(self.came.wait_timeout(answers, wait).expect("answers"));
    }

    fn take(&self, ask: &Ask) -> Option<Hashes> {
        let mut answers = self.answers.lock().expect("answers");
        let fits = |(disk, hashes): &(usize, Hashes)| {
            *disk == ask.disk && hashes.first == ask.range.start && hashes.kind == ask.kind
        };
        let at = answers.iter().position(fits)?;
        Some(answers.swap_remove(at).1)
    }
}

struct Ask {
    disk: usize,
    /// Chunks; of `RereadNodes` nodes.
    range: Range<u64>,
    /// `Reread`, or `RereadParts` where a guest may be writing beside, or `RereadNodes` in a hole.
    kind: HashKind,
    /// Units of each chunk that this side reads, a bit for each; of nodes none.
    units: Vec<u16>,
    /// For the verification; else for the scrub.
    verify: bool,
}

/// The session's re-reading thread.
pub(super) fn run(job: &Arc<Job>, cutover: &Arc<Cutover>, session: &Arc<Session>) {
    if session.features & features::REREAD == 0 {
        return;
    }
    let mut readers: Vec<Option<ColdReader>> = job.disks.iter().map(|_| None).collect();
    let mut asks: VecDeque<Ask> = VecDeque::new();
    let mut room = Room::new();
    while !session.ended() {
        job.step_back(cutover.hurries());
        while asks.len() < ASKS_OUT {
            let Some(ask) = next(job, cutover, &mut room) else { break };
            let sent = send(session, &ask);
            asks.push_back(ask);
            if let Err(error) = sent {
                session.end(error.to_string());
            }
        }
        let Some(ask) = asks.pop_front() else {
            finish_verification(job);
            session.rereads.wait(if among_dirty(job) { IDLE_AMONG_DIRTY } else { IDLE });
            continue;
        };
        let outcome = answer(job, session, &ask, &mut readers);
        let took = outcome.unwrap_or_else(|error| {
            session.end(error.to_string());
            Duration::ZERO
        });
        finish_verification(job);
        let rest = rest(job, cutover, took);
        let until = Instant::now() + rest;
        while Instant::now() < until && !session.ended() && !cutover.hurries() {
            std::thread::sleep(Duration::from_millis(20).min(rest));
        }
    }
    asks.iter().for_each(|ask| abandon(&job.disks[ask.disk], ask));
}

/// Whether the copy is complete and the scrub is not: what it lacks is what the guest writes.
fn among_dirty(job: &Job) -> bool {
    let wanted = job.control.lock().expect("control").spec.scrub;
    let waits = |disk: &JobDiskIo| {
        let reread = disk.reread.lock().expect("reread");
        !reread.scrub.ready() && disk.disk.book.lock().expect("book").background_complete()
    };
    wanted && job.disks.iter().any(waits)
}

/// What to read next: for a verification first, because somebody waits for it.
fn next(job: &Job, cutover: &Cutover, room: &mut Room) -> Option<Ask> {
    let (paused, scrub, rate) = {
        let control = job.control.lock().expect("control");
        let scrub = control.spec.scrub && control.spec.kind == JobKind::Replicate;
        (control.paused, scrub, control.dials.replication_rate)
    };
    let phase = cutover.phase();
    let draining = phase == Phase::Draining;
    if paused || !(draining || matches!(phase, Phase::Idle | Phase::Cancelled)) {
        return None;
    }
    let find = |verify: bool| {
        job.disks.iter().enumerate().find_map(|(disk, on)| next_on(disk, on, verify))
    };
    if !draining && let Some(ask) = find(true) {
        return Some(ask);
    }
    if scrub && (draining || rate > 0) && room.is_there(job) { find(false) } else { None }
}

fn next_on(index: usize, disk: &JobDiskIo, verify: bool) -> Option<Ask> {
    let mut reread = disk.reread.lock().expect("reread");
    let scrub = if verify { &mut reread.verify.as_mut()?.scrub } else { &mut reread.scrub };
    let first = scrub.peek(&disk.disk.book.lock().expect("book"))?;
    // A hole costs no reading: as much of it as one answer holds, and as whole chunks.
    let data = disk.disk.file.next_data(first * CHUNK).ok().flatten();
    let hole = data.unwrap_or(disk.disk.file.capacity()) / CHUNK - first;
    let whole = verify || hole > REREAD_PARTS_MAX;
    let to_node = LEAVES_PER_NODE - first % LEAVES_PER_NODE;
    let most = if whole { to_node.min(HASHES_MAX as u64) } else { REREAD_PARTS_MAX };
    let kind = if whole { HashKind::Reread } else { HashKind::RereadParts };
    let mut book = disk.disk.book.lock().expect("book");
    if let Some(range) = scrub.next_nodes(&mut book, first, hole, HASHES_MAX as u64) {
        let kind = HashKind::RereadNodes;
        return Some(Ask { disk: index, range, kind, units: Vec::new(), verify });
    }
    let range = scrub.next(&mut book, hole.max(ASK_CHUNKS).min(most), whole)?;
    let units = |leaf: u64| match scrub.asked(leaf) {
        few if !whole && few.count_ones() <= UNITS_APART_MAX => few,
        _ => u16::MAX,
    };
    Some(Ask { disk: index, units: range.clone().map(units).collect(), range, kind, verify })
}

fn send(session: &Session, ask: &Ask) -> io::Result<()> {
    let count = (ask.range.end - ask.range.start) as u16;
    let want = Want { kind: ask.kind, first: ask.range.start, count }.encode();
    let frame = Frame::new(kind::WANT, session.epoch, &want).disk(ask.disk);
    session.bulk.all().first().unwrap_or(&session.prio).send(&[frame], |_| {})
}

/// Reads this side while the receiver reads its own, then compares. The answer is the time of
/// reading.
fn answer(
    job: &Job,
    session: &Session,
    ask: &Ask,
    readers: &mut [Option<ColdReader>],
) -> io::Result<Duration> {
    let begun = Instant::now();
    let disk = &job.disks[ask.disk];
    if ask.kind == HashKind::RereadNodes {
        compare_nodes(disk, session, ask)?;
        return Ok(begun.elapsed());
    }
    let reader = readers[ask.disk].get_or_insert_with(|| ColdReader::new(&disk.disk.file));
    let ours = match disk.reread_chunks(reader, ask) {
        Ok(ours) => ours,
        Err(error) => {
            abandon(disk, ask);
            tracing::error!(%error, "a source disk cannot be read again");
            return Err(error);
        }
    };
    let took = begun.elapsed();
    let count = ours.iter().map(Vec::len).sum();
    let Some(theirs) = their_hashes(disk, session, ask, count)? else { return Ok(took) };
    let mut theirs = theirs.as_slice();
    let mut reread = disk.reread.lock().expect("reread");
    for (leaf, ours) in ask.range.clone().zip(&ours) {
        let (their, rest) = theirs.split_at(ours.len());
        theirs = rest;
        let mut book = disk.disk.book.lock().expect("book");
        let verdict = reread.judge(&mut book, ask.verify, leaf, ours, their);
        let chunk = book.tree().chunk(leaf);
        drop(book);
        if matches!(verdict, Verdict::Differs(_)) {
            disk.disk.note_difference(chunk);
        }
    }
    Ok(took)
}

/// Nodes that are holes here: nothing is read.
fn compare_nodes(disk: &JobDiskIo, session: &Session, ask: &Ask) -> io::Result<()> {
    let count = (ask.range.end - ask.range.start) as usize;
    let Some(theirs) = their_hashes(disk, session, ask, count)? else { return Ok(()) };
    let mut reread = disk.reread.lock().expect("reread");
    let mut book = disk.disk.book.lock().expect("book");
    for (node, theirs) in ask.range.clone().zip(&theirs) {
        reread.judge_node(&mut book, ask.verify, node, theirs);
    }
    Ok(())
}

/// Waits for the receiver's answer of `count` hashes; `None` when the session ended before.
fn their_hashes(
    disk: &JobDiskIo,
    session: &Session,
    ask: &Ask,
    count: usize,
) -> io::Result<Option<Vec<Hash>>> {
    loop {
        if let Some(theirs) = session.rereads.take(ask) {
            if theirs.hashes.len() == count {
                return Ok(Some(theirs.hashes));
            }
            abandon(disk, ask);
            return Err(io::Error::other("hashes of other chunks than were asked for"));
        }
        if session.ended() {
            abandon(disk, ask);
            return Ok(None);
        }
        session.rereads.wait(IDLE);
    }
}

fn abandon(disk: &JobDiskIo, ask: &Ask) {
    let mut reread = disk.reread.lock().expect("reread");
    let mut book = disk.disk.book.lock().expect("book");
    for at in ask.range.clone() {
        match ask.kind {
            HashKind::RereadNodes => reread.abandon_node(&mut book, ask.verify, at),
            _ => reread.abandon(&mut book, ask.verify, at),
        }
    }
}

/// The verification ends when nothing is left but what the guest writes all the time.
fn finish_verification(job: &Job) {
    let mut verification = job.verification.lock().expect("verification");
    let Some(run) = verification.as_mut().filter(|run| run.finished_at.is_none()) else { return };
    let over = job.disks.iter().all(|disk| {
        let reread = disk.reread.lock().expect("reread");
        reread.verify.as_ref().is_none_or(|run| run.scrub.left() == 0 || run.scrub.only_live_left())
    });
    if over {
        run.finished_at = Some(crate::clock::now_text());
        job.changed.notify_all();
    }
}

/// Whether every chunk that can be read again was.
pub(super) fn nothing_left(job: &Job, session: &Session) -> bool {
    let wanted = job.control.lock().expect("control").spec.scrub;
    !wanted
        || session.features & features::REREAD == 0
        || job.disks.iter().all(|disk| disk.reread.lock().expect("reread").scrub.left() == 0)
}

impl JobDiskIo {
    /// Hashes of chunks, or of their parts, each read from the disk now. Holes are known zeroes.
    fn reread_chunks(&self, reader: &mut ColdReader, ask: &Ask) -> io::Result<Vec<Vec<Hash>>> {
        let file = &self.disk.file;
        let parts = ask.kind == HashKind::RereadParts;
        let mut hashes = Vec::with_capacity((ask.range.end - ask.range.start) as usize);
        let mut data = NextData::of(file);
        for (leaf, units) in ask.range.clone().zip(&ask.units) {
            let (chunk, zeroes, known) = {
                let book = self.disk.book.lock().expect("book");
                (book.tree().chunk(leaf), book.tree().zero(leaf), book.tree().leaf(leaf))
            };
            if data.from(chunk.off)? >= chunk.end() && known == Some(zeroes) {
                hashes.push(if parts { zero_parts(chunk.len) } else { vec![zeroes] });
                continue;
            }
            let hashing = self.disk.book.lock().expect("book").tree_mut().begin_units(leaf, *units);
            let taken = reader.take(file, hashing);
            let mut book = self.disk.book.lock().expect("book");
            match taken {
                Ok(taken) => {
                    book.tree_mut().put(&taken);
                    let in_part = || io::Error::other("a chunk was read in part");
                    hashes.push(match parts {
                        true => taken.parts_read(),
                        false => vec![taken.whole().ok_or_else(in_part)?],
                    });
                }
                Err(error) => {
                    book.tree_mut().abandon(hashing);
                    return Err(error);
                }
            }
        }
        Ok(hashes)
    }
}
