//! What the receiver says on a connection: acknowledgements, hashes, its part of the hand-over,
//! errors. Nothing is sent here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use landfall_wire::{Ack, ErrorMessage, HASHES_MAX, HashKind, Hashes, flags, kind};

use super::cutover::Cutover;
use super::handshake::error_code;
use super::job::Job;
use super::lanes::{BULK, PRIO};
use super::session::Session;
use crate::link::{Link, LinkReader, invalid};

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
        HashKind::Reread | HashKind::RereadParts | HashKind::RereadNodes => {
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
