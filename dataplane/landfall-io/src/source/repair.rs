//! Finds the chunks in which roots differ, from nodes to leaves, and makes them dirty again. It
//! decides nothing: whether there is another round says the machine of the hand-over.

use std::io;

use landfall_core::tree::LEAVES_PER_NODE;
use landfall_wire::{HASHES_MAX, HashKind, Hashes, Want, kind};

use super::cutover::Cutover;
use super::job::{Job, JobDiskIo};
use super::session::Session;
use crate::link::Frame;

impl Cutover {
    pub(super) fn ask_nodes(&self, job: &Job, session: &Session, index: usize) -> io::Result<()> {
        let nodes = job.disks[index].disk.book.lock().expect("book").tree().nodes();
        let wants: Vec<Want> = (0..nodes)
            .step_by(HASHES_MAX)
            .map(|first| Want {
                kind: HashKind::Nodes,
                first,
                count: (nodes - first).min(HASHES_MAX as u64) as u16,
            })
            .collect();
        job.control.lock().expect("control").repairs_waiting += wants.len() as u64 - 1;
        wants.iter().try_for_each(|want| ask(session, index, want))
    }

    /// HASHES of nodes or leaves: the tree leads to the chunks that differ.
    pub(super) fn tree_hashes_came(
        &self,
        job: &Job,
        session: &Session,
        index: usize,
        theirs: &Hashes,
    ) -> io::Result<()> {
        let disk = job.disks.get(index).ok_or(io::ErrorKind::InvalidData)?;
        let (wants, repaired) = differing(disk, theirs);
        {
            let mut control = job.control.lock().expect("control");
            let waiting = control.repairs_waiting + wants.len() as u64;
            control.repairs_waiting = waiting.saturating_sub(1);
            if let Some(view) = control.handover_disks.get_mut(index) {
                view.repaired_chunks += repaired;
            }
        }
        wants.iter().try_for_each(|want| ask(session, index, want))
    }
}

/// What to ask next about nodes that differ; chunks that differ are to be sent again, and
/// counted.
fn differing(disk: &JobDiskIo, theirs: &Hashes) -> (Vec<Want>, u64) {
    let mut book = disk.disk.book.lock().expect("book");
    let (mut wants, mut repaired) = (Vec::new(), Vec::new());
    for (at, their) in theirs.hashes.iter().enumerate() {
        let at = theirs.first.saturating_add(at as u64);
        let tree = book.tree();
        match theirs.kind {
            HashKind::Nodes if at < tree.nodes() && tree.node(at) != Some(*their) => {
                let first = at * LEAVES_PER_NODE;
                let count = LEAVES_PER_NODE.min(tree.leaves() - first) as u16;
                wants.push(Want { kind: HashKind::Leaves, first, count });
            }
            HashKind::Leaves if at < tree.leaves() && tree.leaf(at) != Some(*their) => {
                book.repair(at);
                repaired.push(book.tree().chunk(at));
            }
            _ => {}
        }
    }
    drop(book);
    repaired.iter().for_each(|chunk| disk.disk.note_difference(*chunk));
    (wants, repaired.len() as u64)
}

fn ask(session: &Session, index: usize, want: &Want) -> io::Result<()> {
    let payload = want.encode();
    session.prio.send(&[Frame::new(kind::WANT, session.epoch, &payload).disk(index)], |_| {})
}
