//! The threads that send: foreground and the hand-over on prio, comparison and background on
//! bulk. When each of them may send what is decided here; `extents.rs` reads and sends it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use landfall_core::CHUNK;
use landfall_core::source::Pick;

use super::batch;
use super::compare::compare;
use super::cutover::Cutover;
use super::extents::{Scratch, hole_at, send_extent, send_hole};
use super::job::Job;
use super::session::{Room, Session};
use crate::clock::now_ns;

pub(super) const PRIO: usize = 0;
pub(super) const BULK: usize = 1;
/// Foreground gathers for so long when nothing hurries.
const FOREGROUND_EVERY: Duration = Duration::from_millis(20);
const HURRY: Duration = Duration::from_millis(2);

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
    job.take_foreground(bytes);
    Ok(true)
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
    job.take_background(bytes);
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
