//! What goes over the connections: foreground on prio, comparison and background on bulk, and
//! what comes back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use landfall_core::inflight::Ticket;
use landfall_core::sending::Sent;
use landfall_core::source::Pick;
use landfall_core::tree::{Hash, Taken, hash};
use landfall_core::{CHUNK, Extent, UNIT};
use landfall_wire::{
    Ack, ErrorMessage, HASHES_MAX, HEADER_LEN, HashKind, Hashes, Header, Run, Want, flags, kind,
};

use super::batch;
use super::cutover::Cutover;
use super::job::{Job, JobDiskIo};
use super::packing::{Packed, Packing};
use super::session::{Room, Session, error_code};
use crate::buffers::{Buffer, Pool};
use crate::clock::now_ns;
use crate::disk_file::is_zero;
use crate::link::{Frame, Link, LinkReader, invalid};

pub(super) const PRIO: usize = 0;
pub(super) const BULK: usize = 1;
/// Foreground gathers for so long when nothing hurries.
const FOREGROUND_EVERY: Duration = Duration::from_millis(20);
const HURRY: Duration = Duration::from_millis(2);
/// Longest hole in one frame.
const HOLE_MAX: u64 = 1 << 30;
/// Units in one comparison, and comparisons under way: bounds memory on both sides.
const COMPARE_UNITS: u64 = 256;
const COMPARES_OUT: u32 = 8;

/// Sends foreground and the steps of the hand-over until the session ends.
pub(super) fn send_prio(job: &Arc<Job>, cutover: &Arc<Cutover>, session: &Arc<Session>) {
    let mut scratch = Scratch::new();
    while !session.ended() {
        job.step_back(cutover.hurries());
        let paused = job.control.lock().expect("control").keeps_still();
        let mut busy = false;
        let mut tried = !paused;
        let outcome = cutover
            .step(job, session, scratch.buffer.content_mut(CHUNK as usize))
            .and_then(|stepped| {
                busy = stepped;
                for index in 0..job.disks.len() {
                    if !paused
                        && job.foreground_turn(cutover.hurries())
                        && let Some(room) = session.reserve(PRIO)
                    {
                        busy |= send_foreground(job, session, index, room, &mut scratch)?;
                    } else {
                        tried = false;
                    }
                }
                Ok(())
            });
        if let Err(error) = outcome {
            session.end(error.to_string());
        }
        if !busy {
            if tried {
                job.watch.drained(job);
            }
            let wait = if cutover.hurries() { HURRY } else { FOREGROUND_EVERY };
            let windows = session.windows.lock().expect("windows");
            drop(session.windows_changed.wait_timeout(windows, wait).expect("windows"));
        }
    }
}

fn send_foreground(
    job: &Job,
    session: &Session,
    index: usize,
    room: Room<'_>,
    scratch: &mut Scratch,
) -> io::Result<bool> {
    let disk = &job.disks[index];
    let next = || disk.disk.book.lock().expect("book").pick_foreground(CHUNK);
    let mut small: Vec<Pick> = Vec::new();
    let mut long = None;
    while batch::has_room(&small) {
        match next() {
            Some(pick) if pick.extent.len <= batch::PIECE_MAX && session.batches() => {
                small.push(pick);
            }
            other => {
                long = other;
                break;
            }
        }
    }
    if small.is_empty() && long.is_none() {
        return Ok(false);
    }
    let mut room = Some(room);
    let mut bytes = 0;
    if small.len() == 1 {
        let room = room.take().expect("not used yet");
        bytes += send_extent(job, session, (PRIO, index), small[0], room, scratch)?;
    } else if !small.is_empty() {
        let room = room.take().expect("not used yet");
        bytes += batch::send(job, session, index, small, room, scratch)?;
    }
    if let Some(pick) = long {
        // A batch is a fraction of an extent: the little it takes beside one is nobody's harm.
        let room = room.or_else(|| session.reserve(PRIO));
        match room {
            Some(room) => {
                bytes += send_extent(job, session, (PRIO, index), pick, room, scratch)?;
            }
            None => disk.disk.book.lock().expect("book").cancel(pick.ticket),
        }
    }
    job.foreground.add(bytes);
    job.charge_foreground(bytes);
    Ok(true)
}

/// What a sending thread works with.
pub(super) struct Scratch {
    pub(super) buffer: Buffer,
    pub(super) packing: Packing,
}

impl Scratch {
    fn new() -> Self {
        Self { buffer: Pool::new(1).take(), packing: Packing::default() }
    }
}

/// A source disk cannot be read: what was picked is to be sent another time, and the session
/// ends with the reason.
pub(super) fn source_failed(
    disk: &JobDiskIo,
    session: &Session,
    picks: &[Pick],
    error: io::Error,
) -> io::Error {
    let mut book = disk.disk.book.lock().expect("book");
    picks.iter().for_each(|pick| book.cancel(pick.ticket));
    drop(book);
    session.end_with("SOURCE_STORAGE_FAILED", format!("A source disk cannot be read: {error}"));
    error
}

/// Compares, then copies, until the session ends. Several threads do so, more than there are
/// connections: while some wait for a connection others read and hash.
pub(super) fn send_bulk(job: &Arc<Job>, cutover: &Arc<Cutover>, session: &Arc<Session>) {
    let mut scratch = Scratch::new();
    while !session.ended() {
        job.step_back(cutover.hurries());
        let paused = job.control.lock().expect("control").keeps_still();
        let outcome = match paused {
            true => Ok(false),
            false => compare(job, session, &mut scratch)
                .and_then(|busy| Ok(busy || send_background(job, session, &mut scratch)?)),
        };
        match outcome {
            Ok(true) => {}
            Ok(false) => {
                let wait = if cutover.hurries() { HURRY } else { FOREGROUND_EVERY };
                let windows = session.windows.lock().expect("windows");
                drop(session.windows_changed.wait_timeout(windows, wait).expect("windows"));
            }
            Err(error) => session.end(error.to_string()),
        }
    }
}

/// One step of background: a hole, or an extent with content.
fn send_background(job: &Job, session: &Session, scratch: &mut Scratch) -> io::Result<bool> {
    let next = job.disks.iter().enumerate().find_map(|(index, disk)| {
        let at = disk.disk.book.lock().expect("book").peek_background()?;
        Some((index, disk, at))
    });
    let Some((index, disk, at)) = next else { return Ok(false) };
    let Some(room) = wait_for_room(job, session) else { return Ok(false) };
    let Some(max) = job.background_turn() else { return Ok(true) };
    let hole = hole_at(session, index, disk, at)?;
    if hole > 0 {
        return send_hole(job, session, index, hole);
    }
    let pick = disk.disk.book.lock().expect("book").pick_background(max);
    let Some(pick) = pick else { return Ok(true) };
    let bytes = send_extent(job, session, (BULK, index), pick, room, scratch)?;
    job.background.add(bytes);
    job.bucket.lock().expect("bucket").take(bytes);
    Ok(true)
}

/// Waits a moment for room in the window.
fn wait_for_room<'a>(job: &Job, session: &'a Session) -> Option<Room<'a>> {
    if let Some(room) = session.reserve(BULK) {
        return Some(room);
    }
    let start = now_ns();
    let windows = session.windows.lock().expect("windows");
    drop(session.windows_changed.wait_timeout(windows, FOREGROUND_EVERY).expect("windows"));
    job.stages.window_wait.passed(start, 0);
    session.reserve(BULK)
}

/// Whole units of hole at `at`; up to the end of the disk if there is no more data. The file
/// system is asked once for every run of data, not for every extent.
fn hole_at(session: &Session, index: usize, disk: &JobDiskIo, at: u64) -> io::Result<u64> {
    let mut run = session.runs[index].lock().expect("runs");
    if (run.off..run.end()).contains(&at) {
        return Ok(0);
    }
    let file = &disk.disk.file;
    let data_at = file.next_data(at)?.unwrap_or(file.capacity());
    let hole = data_at.saturating_sub(at).min(HOLE_MAX);
    let hole = if data_at >= file.capacity() { hole } else { hole / UNIT * UNIT };
    if hole == 0 {
        *run = Extent::new(at, file.next_hole(data_at)?.saturating_sub(at).max(1));
    }
    Ok(hole)
}

/// I2b holds for holes too: whether it still is one is asked after the extent was picked.
fn send_hole(job: &Job, session: &Session, index: usize, max: u64) -> io::Result<bool> {
    let disk = &job.disks[index];
    let pick = disk.disk.book.lock().expect("book").pick_background(max);
    let Some(pick) = pick else { return Ok(true) };
    if !disk.disk.file.is_hole(pick.extent) {
        disk.disk.book.lock().expect("book").cancel(pick.ticket);
        return Ok(true);
    }
    let run = Run { length: pick.extent.len }.encode();
    let mut frame = Frame::new(kind::HOLE, session.epoch, &run).disk(index);
    frame.header.off = pick.extent.off;
    send_frames(job, session, (BULK, index), &[(pick.ticket, 0)], &[frame])?;
    disk.skipped.fetch_add(pick.extent.len, Relaxed);
    Ok(true)
}

/// Reads an extent and sends it: content as DATA, runs of zeroes as ZERO. The answer is the
/// bytes of content.
fn send_extent(
    job: &Job,
    session: &Session,
    (lane, index): (usize, usize),
    pick: Pick,
    room: Room<'_>,
    scratch: &mut Scratch,
) -> io::Result<u64> {
    let disk = &job.disks[index];
    let extent = pick.extent;
    let buf = scratch.buffer.content_mut(extent.len as usize);
    let whole = extent.whole(CHUNK, disk.disk.file.capacity());
    let hashing = (!whole.is_empty()).then(|| {
        let mut book = disk.disk.book.lock().expect("book");
        book.tree_mut().begin(whole.start)
    });
    let start = now_ns();
    if let Err(error) = disk.disk.file.read_once(buf, extent.off) {
        {
            let mut book = disk.disk.book.lock().expect("book");
            hashing.into_iter().for_each(|hashing| book.tree_mut().abandon(hashing));
        }
        return Err(source_failed(disk, session, &[pick], error));
    }
    disk.stages.read.passed(start, extent.len);
    let start = now_ns();
    let pieces = pieces(extent, buf);
    let taken = hashing.map(|hashing| hashing.of_chunk(buf));
    let hashes: Vec<Hash> = match (pieces.as_slice(), taken.as_ref().and_then(Taken::whole)) {
        ([_], Some(whole)) => vec![whole],
        _ => pieces.iter().map(|piece| piece.hash(buf)).collect(),
    };
    disk.stages.hash.passed(start, extent.len);
    if let Some(taken) = taken {
        disk.disk.book.lock().expect("book").tree_mut().put(&taken);
    }
    let runs: Vec<[u8; 8]> =
        pieces.iter().map(|piece| Run { length: piece.len as u64 }.encode()).collect();
    scratch.packing.begin();
    let mut pack = |piece: &Piece| {
        let content = (!piece.zero).then(|| &buf[piece.range()])?;
        scratch.packing.pack(job, session, index, content)
    };
    let packed: Vec<Packed> = pieces.iter().map(&mut pack).collect();
    let mark = if lane == PRIO { flags::FOREGROUND } else { 0 };
    let mut content = 0;
    let mut frames = Vec::with_capacity(pieces.len());
    for (at, piece) in pieces.iter().enumerate() {
        let off = extent.off + piece.at as u64;
        let base = Header {
            disk: index as u16,
            epoch: session.epoch,
            off,
            flags: mark,
            ..Header::default()
        };
        frames.push(if piece.zero {
            let header = Header { kind: kind::ZERO, ..base };
            Frame { header, prefix: &[], payload: &runs[at] }
        } else {
            content += piece.len as u64;
            let (codec, payload) = match &packed[at] {
                Some((codec, range)) => (codec.flags(), scratch.packing.packed(range)),
                None => (0, &buf[piece.range()]),
            };
            let flags = mark | flags::HASHED | codec;
            let header = Header { kind: kind::DATA, flags, raw: piece.len as u32, ..base };
            Frame { header, prefix: &hashes[at], payload }
        });
    }
    disk.skipped.fetch_add(extent.len - content, Relaxed);
    room.sent(content);
    send_frames(job, session, (lane, index), &[(pick.ticket, content)], &frames)?;
    Ok(content)
}

/// Sends frames that carry these extents, each with its bytes of content.
pub(super) fn send_frames(
    job: &Job,
    session: &Session,
    (lane, index): (usize, usize),
    extents: &[(Ticket, u64)],
    frames: &[Frame<'_>],
) -> io::Result<()> {
    let start = now_ns();
    let taken = match lane {
        PRIO => None,
        _ => Some(session.bulk.take().ok_or(io::ErrorKind::ConnectionAborted)?),
    };
    let link = taken.as_deref().unwrap_or(&session.prio);
    let at_ns = now_ns();
    link.send(frames, |queue| {
        for (ticket, bytes) in extents {
            queue.completes(Sent { disk: index, ticket: *ticket, bytes: *bytes, at_ns });
        }
    })?;
    drop(taken);
    let disk = &job.disks[index];
    let bytes = extents.iter().map(|(_, bytes)| bytes).sum();
    disk.stages.send.passed(start, bytes);
    let len = |frame: &Frame<'_>| (HEADER_LEN + frame.prefix.len() + frame.payload.len()) as u64;
    let wire = frames.iter().map(len).sum();
    disk.sent.fetch_add(bytes, Relaxed);
    disk.wire.fetch_add(wire, Relaxed);
    job.wire.add(wire);
    Ok(())
}

struct Piece {
    at: usize,
    len: usize,
    zero: bool,
}

impl Piece {
    /// Zeroes are sent without a hash.
    fn hash(&self, buf: &[u8]) -> Hash {
        if self.zero { [0; 32] } else { hash(&buf[self.range()]) }
    }

    fn range(&self) -> std::ops::Range<usize> {
        self.at..self.at + self.len
    }
}

/// Cuts an extent into runs of zeroes and of content, at borders of units only: a frame that
/// covers a unit in part could never enter the have-map.
fn pieces(extent: Extent, buf: &[u8]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut at = 0;
    while at < buf.len() {
        let to_border = UNIT - (extent.off + at as u64) % UNIT;
        let len = (to_border as usize).min(buf.len() - at);
        let zero = is_zero(&buf[at..at + len]);
        match pieces.last_mut() {
            Some(last) if last.zero == zero => last.len += len,
            _ => pieces.push(Piece { at, len, zero }),
        }
        at += len;
    }
    pieces
}

/// One step of comparison: an answer that came, or the next question.
fn compare(job: &Job, session: &Session, scratch: &mut Scratch) -> io::Result<bool> {
    let answer = session.answers.lock().expect("answers").pop_front();
    if let Some((index, hashes)) = answer {
        let disk = job.disks.get(index).ok_or(io::ErrorKind::InvalidData)?;
        compare_units(disk, &hashes, scratch.buffer.content_mut(CHUNK as usize))?;
        session.wants_out.fetch_sub(1, SeqCst);
        return Ok(true);
    }
    if session.wants_out.load(SeqCst) >= COMPARES_OUT {
        return Ok(false);
    }
    let next = job.disks.iter().enumerate().find_map(|(index, disk)| {
        let range = disk.disk.book.lock().expect("book").next_compare(COMPARE_UNITS)?;
        Some((index, range))
    });
    let Some((index, range)) = next else { return Ok(false) };
    session.wants_out.fetch_add(1, SeqCst);
    let count = (range.end - range.start) as u16;
    let want = Want { kind: HashKind::Units, first: range.start, count }.encode();
    let link = session.bulk.take().ok_or(io::ErrorKind::ConnectionAborted)?;
    link.send(&[Frame::new(kind::WANT, session.epoch, &want).disk(index)], |_| {})?;
    Ok(true)
}

fn compare_units(disk: &JobDiskIo, theirs: &Hashes, buf: &mut [u8]) -> io::Result<()> {
    let capacity = disk.disk.file.capacity();
    let per_read = CHUNK / UNIT;
    for (batch, hashes) in theirs.hashes.chunks(per_read as usize).enumerate() {
        let first = theirs.first + batch as u64 * per_read;
        let off = first.checked_mul(UNIT).filter(|off| *off < capacity);
        let off = off.ok_or(io::ErrorKind::InvalidData)?;
        let len = (hashes.len() as u64 * UNIT).min(capacity - off) as usize;
        let start = now_ns();
        disk.disk.file.read_once(&mut buf[..len], off)?;
        disk.stages.read.passed(start, len as u64);
        let start = now_ns();
        let ours: Vec<Hash> = buf[..len].chunks(UNIT as usize).map(hash).collect();
        disk.stages.hash.passed(start, len as u64);
        let mut book = disk.disk.book.lock().expect("book");
        for (at, (our, their)) in ours.iter().zip(hashes).enumerate() {
            book.compared(first + at as u64, our == their);
            if our != their {
                book.add_again(UNIT);
            }
        }
        disk.compared.fetch_add(len as u64, Relaxed);
    }
    Ok(())
}

/// Reads what the receiver says on one connection until it ends.
pub(super) fn read(
    job: &Arc<Job>,
    cutover: &Arc<Cutover>,
    session: &Arc<Session>,
    link: &Arc<Link>,
    mut reader: LinkReader,
) {
    let lane = if Arc::ptr_eq(link, &session.prio) { PRIO } else { BULK };
    let mut payload = Vec::new();
    while !session.ended() {
        job.step_back(cutover.hurries());
        let outcome = reader.read(&mut payload).and_then(|header| match header.kind {
            kind::ACK => acknowledged(job, session, link, lane, &payload),
            kind::HASHES => {
                let hashes = Hashes::decode(&payload).map_err(invalid)?;
                received_hashes(job, cutover, session, header.disk.into(), hashes)
            }
            kind::BARRIER_ACK => cutover.roots_came(job, session, &payload),
            kind::OWN_ACK => cutover.own_acknowledged(job, &payload),
            kind::ERR => {
                let message = ErrorMessage::decode(&payload).map_err(invalid)?;
                let (code, _) = error_code(message.code);
                session.end_with(code, format!("The receiver ended it: {}", message.text));
                Ok(())
            }
            kind::PING | kind::BYE => Ok(()),
            _ if header.flags & flags::SKIPPABLE != 0 => Ok(()),
            other => Err(io::Error::other(format!("frame of kind {other} is not expected"))),
        });
        if let Err(error) = outcome {
            session.end(error.to_string());
        }
    }
}

fn received_hashes(
    job: &Job,
    cutover: &Cutover,
    session: &Session,
    index: usize,
    hashes: Hashes,
) -> io::Result<()> {
    debug_assert!(hashes.hashes.len() <= HASHES_MAX);
    match hashes.kind {
        HashKind::Units => {}
        HashKind::Reread | HashKind::RereadParts => {
            session.rereads.put(index, hashes);
            return Ok(());
        }
        _ => return cutover.tree_hashes_came(job, session, index, &hashes),
    }
    session.answers.lock().expect("answers").push_back((index, hashes));
    session.windows_changed.notify_all();
    Ok(())
}

/// I4: only what is durable over there leaves the books here.
fn acknowledged(
    job: &Job,
    session: &Session,
    link: &Link,
    lane: usize,
    payload: &[u8],
) -> io::Result<()> {
    let ack = Ack::decode(payload).map_err(invalid)?;
    job.remote_stale_chunks.store(ack.stale_chunks, Relaxed);
    let (done, (arrived, under_way)) =
        link.queue(|queue| (queue.acknowledged(ack.durable), queue.under_way(ack.received)));
    job.watch.acknowledged(arrived, under_way);
    let done = done
        .map_err(|seq| io::Error::other(format!("frame {seq} was acknowledged but never sent")))?;
    if done.is_empty() {
        return Ok(());
    }
    let mut bytes = 0;
    for sent in done {
        job.disks[sent.disk].disk.book.lock().expect("book").acknowledged(sent.ticket);
        job.disks[sent.disk].stages.ack.passed(sent.at_ns, sent.bytes);
        bytes += sent.bytes;
    }
    job.durable.add(bytes);
    session.give_back(lane, bytes);
    Ok(())
}
