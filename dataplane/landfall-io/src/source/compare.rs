//! Comparison of what both sides may have already: the receiver's hashes of units against those of
//! the source disk. What is equal need not be sent.

use std::io;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use landfall_core::tree::{Hash, hash};
use landfall_core::{CHUNK, UNIT};
use landfall_wire::{HashKind, Hashes, Want, kind};

use super::extents::Scratch;
use super::job::{Job, JobDiskIo};
use super::session::Session;
use crate::clock::now_ns;
use crate::link::Frame;

/// Units in one comparison, and comparisons under way: bounds memory on both sides.
const COMPARE_UNITS: u64 = 256;
const COMPARES_OUT: u32 = 8;

/// One step of comparison: an answer that came, or the next question.
pub(super) fn compare(job: &Job, session: &Session, scratch: &mut Scratch) -> io::Result<bool> {
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
