//! What the re-read of one disk has found: for the scrub, and for a verification. `scrub.rs`
//! reads; this keeps and reports. It must not do I/O.

use std::collections::VecDeque;

use landfall_api::{
    ByteCount, Difference, DiskPair, Verdict, Verified, VerifiedDisk, VerifyReport,
};
use landfall_core::scrub::{self, Mode, Scrub};
use landfall_core::source::SourceDisk;
use landfall_core::tree::{Hash, HashTree};
use landfall_core::{Extent, UNIT};

use super::cutover::hex;
use super::job::Job;
use crate::clock::now_text;

/// Differences that are shown; all are counted.
const EVIDENCE_MAX: usize = 16;

/// The re-read of one disk.
pub(super) struct Reread {
    pub(super) scrub: Scrub,
    pub(super) repaired: u64,
    pub(super) evidence: VecDeque<Difference>,
    /// When the last chunk was read again.
    pub(super) complete_at: Option<String>,
    /// When the roots were equal.
    pub(super) roots_equal_at: Option<String>,
    pub(super) verify: Option<DiskVerification>,
}

/// A verification of all disks.
pub(super) struct Verification {
    started_at: String,
    pub(super) finished_at: Option<String>,
}

/// A verification of one disk.
pub(super) struct DiskVerification {
    pub(super) scrub: Scrub,
    ours: HashTree,
    theirs: HashTree,
    differences: Vec<Difference>,
    touches: u64,
}

impl Reread {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            scrub: Scrub::new(capacity, Mode::Repair),
            repaired: 0,
            evidence: VecDeque::new(),
            complete_at: None,
            roots_equal_at: None,
            verify: None,
        }
    }

    /// A new epoch: what was read before does not count.
    pub(super) fn reset(&mut self) {
        self.scrub.reset();
        (self.complete_at, self.roots_equal_at) = (None, None);
    }

    /// What the equality rests on, and since when.
    pub(super) fn verified(&self) -> (Verified, Option<String>) {
        match self.scrub.complete() {
            true => (Verified::Reread, self.complete_at.clone()),
            false => (Verified::Transfer, self.roots_equal_at.clone()),
        }
    }

    /// What both sides read of a chunk is known: its hash, or the values of its parts.
    pub(super) fn judge(
        &mut self,
        book: &mut SourceDisk,
        verify: bool,
        leaf: u64,
        ours: &[Hash],
        theirs: &[Hash],
    ) -> scrub::Verdict {
        let Some(scrub) = self.which(verify) else { return scrub::Verdict::Live };
        let chunk = scrub.extent(leaf);
        let verdict = scrub.compared(book, leaf, ours, theirs);
        let difference = evidence(verdict, chunk, ours, theirs);
        if let Some(difference) = &difference {
            let offset = difference.offset_bytes.0;
            tracing::error!(offset, verify, "the disks of both sides differ");
            if verify {
                // The scrub looks at it too, and repairs it.
                self.scrub.doubt(leaf);
            } else {
                self.repaired += 1;
                self.evidence.truncate(EVIDENCE_MAX - 1);
                self.evidence.push_front(difference.clone());
            }
        }
        self.note_completeness();
        if let Some(run) = self.verify.as_mut().filter(|_| verify) {
            run.note(verdict, leaf, ours[0], theirs[0], difference);
        }
        verdict
    }

    /// A chunk could not be compared after all.
    pub(super) fn abandon(&mut self, book: &mut SourceDisk, verify: bool, leaf: u64) {
        if let Some(scrub) = self.which(verify) {
            scrub.abandon(book, leaf);
        }
    }

    /// The destination has said whether a node that is a hole here is one there too.
    pub(super) fn judge_node(
        &mut self,
        book: &mut SourceDisk,
        verify: bool,
        node: u64,
        theirs: &Hash,
    ) {
        let Some(scrub) = self.which(verify) else { return };
        let equal = book.tree().node(node).as_ref() == Some(theirs);
        scrub.compared_node(book, node, equal);
        self.note_completeness();
    }

    /// A node could not be compared after all.
    pub(super) fn abandon_node(&mut self, book: &mut SourceDisk, verify: bool, node: u64) {
        if let Some(scrub) = self.which(verify) {
            scrub.abandon_node(book, node);
        }
    }

    fn which(&mut self, verify: bool) -> Option<&mut Scrub> {
        match &mut self.verify {
            Some(run) if verify => Some(&mut run.scrub),
            _ if verify => None,
            _ => Some(&mut self.scrub),
        }
    }

    fn note_completeness(&mut self) {
        if self.scrub.complete() {
            self.complete_at.get_or_insert_with(now_text);
        } else {
            self.complete_at = None;
        }
    }
}

/// What differs, as it is shown: the chunk, or its first part that does.
fn evidence(
    verdict: scrub::Verdict,
    chunk: Extent,
    ours: &[Hash],
    theirs: &[Hash],
) -> Option<Difference> {
    let scrub::Verdict::Differs(units) = verdict else { return None };
    let at = if ours.len() > 1 { units.trailing_zeros() as usize } else { 0 };
    let whole = ours.len() == 1;
    Some(Difference {
        offset_bytes: ByteCount(chunk.off + at as u64 * UNIT),
        length_bytes: ByteCount(if whole { chunk.len } else { UNIT }),
        source_hash: hex(ours.get(at)?),
        destination_hash: hex(theirs.get(at)?),
        at: now_text(),
    })
}

impl DiskVerification {
    fn new(book: &SourceDisk) -> Self {
        let capacity = book.capacity();
        Self {
            scrub: Scrub::new(capacity, Mode::Report),
            ours: HashTree::new(capacity),
            theirs: HashTree::new(capacity),
            differences: Vec::new(),
            touches: book.tree().touches(),
        }
    }

    fn note(
        &mut self,
        verdict: scrub::Verdict,
        leaf: u64,
        ours: Hash,
        theirs: Hash,
        difference: Option<Difference>,
    ) {
        if verdict != scrub::Verdict::Live {
            self.ours.load(leaf, ours);
            self.theirs.load(leaf, theirs);
        }
        if self.differences.len() < EVIDENCE_MAX {
            self.differences.extend(difference);
        }
    }

    fn report(&self, pair: &DiskPair, touches: u64) -> VerifiedDisk {
        let whole = self.scrub.left() == 0 && self.touches == touches;
        let root = |tree: &HashTree| tree.root().filter(|_| whole).map(|root| hex(&root));
        let compared = pair.capacity_bytes.0 - self.scrub.left_bytes();
        VerifiedDisk {
            source_uuid: pair.source_uuid.clone(),
            destination_uuid: pair.destination_uuid.clone(),
            capacity_bytes: pair.capacity_bytes,
            compared_bytes: ByteCount(compared),
            live_bytes: ByteCount(self.scrub.left_bytes()),
            source_root: root(&self.ours),
            destination_root: root(&self.theirs),
            differing_chunks: self.scrub.set_aside(),
            differences: self.differences.clone(),
        }
    }
}

impl Job {
    /// Begins a verification, unless one is under way.
    pub(super) fn verify(&self) {
        let mut verification = self.verification.lock().expect("verification");
        if verification.as_ref().is_some_and(|run| run.finished_at.is_none()) {
            return;
        }
        for disk in &self.disks {
            let mut reread = disk.reread.lock().expect("reread");
            let book = disk.disk.book.lock().expect("book");
            reread.verify = Some(DiskVerification::new(&book));
        }
        *verification = Some(Verification { started_at: now_text(), finished_at: None });
        drop(verification);
        let session = self.control.lock().expect("control").session.clone();
        session.inspect(|session| session.rereads.wake());
    }

    /// What the latest verification found.
    pub(super) fn verify_report(&self) -> Option<VerifyReport> {
        let verification = self.verification.lock().expect("verification");
        let run = verification.as_ref()?;
        let disks: Vec<VerifiedDisk> = self
            .disks
            .iter()
            .filter_map(|disk| {
                let reread = disk.reread.lock().expect("reread");
                let touches = disk.disk.book.lock().expect("book").tree().touches();
                Some(reread.verify.as_ref()?.report(&disk.pair, touches))
            })
            .collect();
        let verdict = if disks.iter().any(|disk| disk.differing_chunks > 0) {
            Verdict::Different
        } else if disks.iter().any(|disk| disk.live_bytes.0 > 0) {
            Verdict::Incomplete
        } else {
            Verdict::Equal
        };
        Some(VerifyReport {
            verdict: if run.finished_at.is_some() { verdict } else { Verdict::Running },
            started_at: run.started_at.clone(),
            finished_at: run.finished_at.clone(),
            disks,
        })
    }
}
