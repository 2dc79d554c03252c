//! From freeze to equal roots: the residue, the barrier behind it, and the comparison of what both
//! sides hold. Which chunks differ is found in `repair.rs`.

use std::io;
use std::sync::atomic::Ordering::SeqCst;

use landfall_api::HandoverDisk;
use landfall_core::handover::{Phase, Roots, Verdict};
use landfall_core::tree::Hash;
use landfall_wire::{Barrier, BarrierAck, Own, flags, kind};

use super::cutover::{Cutover, hex};
use super::hashing::hash_next;
use super::job::{Job, JobDiskIo};
use super::scrub;
use super::seal::sealed_root;
use super::session::Session;
use crate::clock::now_text;
use crate::fault;
use crate::link::{Frame, invalid};

impl Cutover {
    /// What the prio thread does for the hand-over; whether it did something is the answer.
    pub(super) fn step(&self, job: &Job, session: &Session, buf: &mut [u8]) -> io::Result<bool> {
        match self.phase() {
            Phase::Draining => self.step_draining(job, session, buf),
            Phase::HandedOff if !session.own_sent.swap(true, SeqCst) => {
                let token = self.lock().machine.token();
                fault::point("own-send")?;
                let own = Own { token, roots: job.disks.iter().map(sealed_root).collect() };
                session
                    .prio
                    .send(&[Frame::new(kind::OWN, session.epoch, &own.encode())], |_| {})?;
                Ok(true)
            }
            Phase::Idle | Phase::Cancelled => {
                session.hurry_sent.store(false, SeqCst);
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn step_draining(&self, job: &Job, session: &Session, buf: &mut [u8]) -> io::Result<bool> {
        if job.control.lock().expect("control").repairs_waiting > 0 {
            return Ok(false);
        }
        if !session.hurry_sent.swap(true, SeqCst) {
            let mut frame = Frame::new(kind::HURRY, session.epoch, &[]);
            frame.header.flags = flags::SKIPPABLE;
            session.prio.send(&[frame], |_| {})?;
        }
        if !all_sent(job, session) {
            return Ok(false);
        }
        for disk in &job.disks {
            if hash_next(&disk.disk, 0, true, buf)?.is_some() {
                return Ok(true);
            }
            if !disk.disk.book.lock().expect("book").tree().fresh() {
                return Ok(false);
            }
        }
        if !scrub::nothing_left(job, session) {
            session.rereads.wake();
            return Ok(false);
        }
        let barrier = {
            let mut state = self.lock();
            let round = state.machine.drained();
            round.map(|round| Barrier { token: state.machine.token(), round })
        };
        if let Some(barrier) = barrier {
            fault::point("barrier-send")?;
            let payload = barrier.encode();
            session.prio.send(&[Frame::new(kind::BARRIER, session.epoch, &payload)], |_| {})?;
        }
        Ok(true)
    }

    /// BARRIER_ACK.
    pub(super) fn roots_came(
        &self,
        job: &Job,
        session: &Session,
        payload: &[u8],
    ) -> io::Result<()> {
        let ack = BarrierAck::decode(payload).map_err(invalid)?;
        if ack.roots.len() != job.disks.len() {
            return Err(io::Error::other("roots of other disks"));
        }
        let mut roots = Vec::with_capacity(ack.roots.len());
        for (disk, theirs) in job.disks.iter().zip(&ack.roots) {
            let source = local_root(disk)?;
            roots.push(Roots { source, destination: theirs.root, complete: theirs.complete });
        }
        let verdict = {
            let mut state = self.lock();
            let verdict = state.machine.roots(ack.token, ack.round, &roots);
            if verdict != Verdict::Ignored {
                note_roots(job, &roots);
            }
            if verdict == Verdict::Repair {
                let differ = roots.iter().filter(|roots| !roots.equal()).count() as u64;
                job.control.lock().expect("control").repairs_waiting = differ;
            }
            verdict
        };
        tracing::info!(?verdict, token = ack.token, round = ack.round, "roots compared");
        if verdict == Verdict::Repair {
            for (index, roots) in roots.iter().enumerate() {
                if !roots.equal() {
                    self.ask_nodes(job, session, index)?;
                }
            }
        }
        job.changed.notify_all();
        Ok(())
    }
}

/// Whether everything was sent, and what is not acknowledged yet went over prio: the receiver
/// carries it out before the barrier that follows it there.
fn all_sent(job: &Job, session: &Session) -> bool {
    let mut on_the_way = 0;
    for disk in &job.disks {
        let (sent, in_flight) = disk.disk.book.lock().expect("book").all_sent();
        if !sent {
            return false;
        }
        on_the_way += in_flight;
    }
    on_the_way == session.prio.queue(|queue| queue.waiting())
}

/// Of what the source disk holds, as it was hashed.
pub(super) fn local_root(disk: &JobDiskIo) -> io::Result<Hash> {
    let book = disk.disk.book.lock().expect("book");
    book.tree().root().ok_or_else(|| io::Error::other("a chunk changed after the freeze"))
}

fn note_roots(job: &Job, roots: &[Roots]) {
    for (disk, roots) in job.disks.iter().zip(roots) {
        let mut reread = disk.reread.lock().expect("reread");
        reread.roots_equal_at = roots.equal().then(now_text);
    }
    let mut control = job.control.lock().expect("control");
    let before = std::mem::take(&mut control.handover_disks);
    control.handover_disks = job
        .disks
        .iter()
        .zip(roots)
        .enumerate()
        .map(|(at, (disk, roots))| HandoverDisk {
            source_uuid: disk.pair.source_uuid.clone(),
            destination_uuid: disk.pair.destination_uuid.clone(),
            source_root: Some(hex(&roots.source)),
            destination_root: Some(hex(&roots.destination)),
            equal: roots.equal(),
            repaired_chunks: before.get(at).map_or(0, |view| view.repaired_chunks),
        })
        .collect();
}
