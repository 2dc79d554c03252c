//! Small fresh writes of the guest, many in one frame (BATCH).

use std::io;

use landfall_core::source::Pick;
use landfall_core::tree::hash;
use landfall_wire::{BATCH_EXTENTS_MAX, BatchList, Header, flags, kind};

use super::extents::{Scratch, send_frames, source_failed};
use super::job::Job;
use super::lanes::PRIO;
use super::session::{Room, Session};
use crate::clock::now_ns;
use crate::link::Frame;

/// Longer extents go in a frame of their own.
pub(super) const PIECE_MAX: u64 = 16 << 10;
/// A batch is full: its content still fits a core's cache, and waiting for more would only
/// delay the first.
const CONTENT_MAX: u64 = 256 << 10;

/// Whether another small extent fits a batch of these.
pub(super) fn has_room(picks: &[Pick]) -> bool {
    let content: u64 = picks.iter().map(|pick| pick.extent.len).sum();
    content + PIECE_MAX <= CONTENT_MAX && picks.len() < BATCH_EXTENTS_MAX
}

/// Reads picked extents (I2b) and sends them in one frame; the answer is the bytes of content.
pub(super) fn send(
    job: &Job,
    session: &Session,
    index: usize,
    mut picks: Vec<Pick>,
    room: Room<'_>,
    scratch: &mut Scratch,
) -> io::Result<u64> {
    picks.sort_by_key(|pick| pick.extent.off);
    let disk = &job.disks[index];
    let extents: Vec<(u64, u32)> =
        picks.iter().map(|pick| (pick.extent.off, pick.extent.len as u32)).collect();
    let raw: usize = extents.iter().map(|(_, len)| *len as usize).sum();
    let start = now_ns();
    let content = scratch.buffer.content_mut(raw);
    let mut at = 0;
    for (off, len) in &extents {
        let end = at + *len as usize;
        if let Err(error) = disk.disk.file.read(&mut content[at..end], *off) {
            return Err(source_failed(disk, session, &picks, error));
        }
        at = end;
    }
    disk.stages.read.passed(start, raw as u64);
    let start = now_ns();
    let digest = hash(content);
    disk.stages.hash.passed(start, raw as u64);
    scratch.packing.begin();
    let packed = scratch.packing.pack(job, session, index, content);
    let codec = packed.as_ref().map_or(0, |(codec, _)| codec.flags());
    let head = [&BatchList { extents }.encode()[..], &digest[..]].concat();
    let payload = match &packed {
        Some((_, range)) => scratch.packing.packed(range),
        None => content,
    };
    let header = Header {
        kind: kind::BATCH,
        flags: flags::FOREGROUND | flags::HASHED | codec,
        disk: index as u16,
        epoch: session.epoch,
        raw: raw as u32,
        ..Header::default()
    };
    room.sent(raw as u64);
    let frame = Frame { header, prefix: &head, payload };
    let tickets: Vec<_> = picks.iter().map(|pick| (pick.ticket, pick.extent.len)).collect();
    send_frames(job, session, (PRIO, index), &tickets, &[frame])?;
    Ok(raw as u64)
}
