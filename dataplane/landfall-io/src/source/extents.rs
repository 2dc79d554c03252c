//! Extents of a source disk on their way: read, hashed, packed and sent as DATA, ZERO or HOLE.
//! When they may go is not decided here.

use std::io;
use std::sync::atomic::Ordering::Relaxed;

use landfall_core::inflight::Ticket;
use landfall_core::sending::Sent;
use landfall_core::source::Pick;
use landfall_core::tree::{Hash, Taken, hash};
use landfall_core::{CHUNK, Extent, UNIT};
use landfall_wire::{HEADER_LEN, Header, Run, flags, kind};

use super::job::{Job, JobDiskIo};
use super::lanes::{BULK, PRIO};
use super::packing::{Packed, Packing};
use super::session::{Room, Session};
use crate::buffers::{Buffer, Pool};
use crate::clock::now_ns;
use crate::disk_file::is_zero;
use crate::link::Frame;

/// Longest hole in one frame.
const HOLE_MAX: u64 = 1 << 30;

/// What a sending thread works with.
pub(super) struct Scratch {
    pub(super) buffer: Buffer,
    pub(super) packing: Packing,
}

impl Scratch {
    pub(super) fn new() -> Self {
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

/// Whole units of hole at `at`; up to the end of the disk if there is no more data. The file
/// system is asked once for every run of data, not for every extent.
pub(super) fn hole_at(
    session: &Session,
    index: usize,
    disk: &JobDiskIo,
    at: u64,
) -> io::Result<u64> {
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
pub(super) fn send_hole(job: &Job, session: &Session, index: usize, max: u64) -> io::Result<bool> {
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
pub(super) fn send_extent(
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
    job.take_line(wire, lane == PRIO);
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
