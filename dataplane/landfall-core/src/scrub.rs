//! What of a disk was read again on both sides and was equal. Chunks are read, and compared by
//! their 64 KiB units: a unit counts only while nothing of it is dirty or on the way, and one
//! that changes meanwhile is tried again, so that a busy guest leaves little to try.
//!
//! The caller reads and hashes; this decides what next, and what an answer means.

mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::source::SourceDisk;
use crate::tree::Hash;
use crate::{Bitmap, CHUNK, Extent, UNIT};

/// A chunk that differs so often is set aside: sending it once more does not help.
pub const DIFFERENCES_MAX: u32 = 3;
/// So much may be left for the freeze, when nothing changes any more: at most 256 chunks are read
/// for it, a fraction of a second; most of it while the guest shuts down.
pub const LEFT_FOR_FREEZE_BYTES_MAX: u64 = 16 << 20;
/// Units of a whole chunk.
const UNITS: u64 = CHUNK / UNIT;
/// After so many rounds over what is left, little enough of it may wait for the freeze.
pub const ROUNDS_BEFORE_FREEZE: u32 = 2;
/// After so many, what is still left is what the guest writes all the time.
pub const ROUNDS_MAX: u32 = 20;

/// What becomes of a chunk that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is sent again, and read again after that.
    Repair,
    /// It is reported. What the destination never had counts as different too.
    Report,
}

/// What a comparison of one chunk said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both sides hold the same.
    Equal,
    /// They differ, in the units whose bits are set; all are where the whole chunk was compared.
    Differs(u16),
    /// It changed meanwhile: of the chunk, or of a part of it, nothing can be said.
    Live,
}

/// The re-read of one disk.
#[derive(Clone, Debug)]
pub struct Scrub {
    mode: Mode,
    capacity: u64,
    /// Units that are settled: equal, set aside or reported.
    settled: Bitmap,
    /// Chunks that are being read, and their units that are to be compared: those that were quiet
    /// when that began and, where units are compared, are not settled yet.
    out: BTreeMap<u64, u16>,
    /// The same for whole nodes.
    nodes_out: BTreeSet<u64>,
    /// Nodes that are no holes at the destination: compared chunk by chunk.
    by_chunk: BTreeSet<u64>,
    differences: BTreeMap<u64, u32>,
    set_aside: u64,
    at: u64,
    skipped: bool,
    rounds: u32,
}

impl Scrub {
    /// Nothing was read again yet.
    pub fn new(capacity: u64, mode: Mode) -> Self {
        Self {
            mode,
            capacity,
            settled: Bitmap::for_disk(capacity, UNIT),
            out: BTreeMap::new(),
            nodes_out: BTreeSet::new(),
            by_chunk: BTreeSet::new(),
            differences: BTreeMap::new(),
            set_aside: 0,
            at: 0,
            skipped: false,
            rounds: 0,
        }
    }

    /// Begins anew: what was read before does not count.
    pub fn reset(&mut self) {
        *self = Self::new(self.capacity, self.mode);
    }

    fn chunk(&self, leaf: u64) -> Extent {
        let off = leaf * CHUNK;
        Extent::new(off, CHUNK.min(self.capacity - off))
    }

    fn chunks(&self) -> u64 {
        self.capacity.div_ceil(CHUNK)
    }

    fn units(&self, leaf: u64) -> Range<u64> {
        self.chunk(leaf).touched(UNIT)
    }

    /// All units of a chunk, a bit for each.
    fn all(&self, leaf: u64) -> u16 {
        let units = self.units(leaf);
        ((1u32 << (units.end - units.start)) - 1) as u16
    }

    /// Units of a chunk that are not settled.
    fn open(&self, leaf: u64) -> u16 {
        let units = self.units(leaf);
        let first = units.start;
        let open = units.filter(|unit| !self.settled.get(*unit));
        open.fold(0, |mask, unit| mask | 1 << (unit - first))
    }

    /// Units of a chunk that can be compared now. A report is of whole chunks, and a short one has
    /// one hash.
    fn quiet(&self, book: &SourceDisk, leaf: u64) -> u16 {
        let all = self.all(leaf);
        let whole = |quiet: bool| if quiet { all } else { 0 };
        match self.mode {
            Mode::Report => whole(book.is_clean(self.chunk(leaf))),
            Mode::Repair if self.chunk(leaf).len < CHUNK => whole(book.chunk_is_quiet(leaf)),
            Mode::Repair => book.quiet_units(leaf),
        }
    }

    /// The next chunks in a row with something quiet to compare, at most `max`: to be read on both
    /// sides now. With `whole` they are compared by their hashes, so all of them must be quiet.
    /// `None` when there is none at the moment.
    pub fn next(&mut self, book: &mut SourceDisk, max: u64, whole: bool) -> Option<Range<u64>> {
        for _ in 0..2 {
            while let Some(unit) = self.settled.next(self.at * UNITS, false) {
                let first = unit / UNITS;
                let held = self.first_held(book, first);
                if held > first {
                    self.skipped = true;
                    self.at = held;
                    continue;
                }
                let mut end = first;
                while end < self.chunks() && end - first < max && !self.out.contains_key(&end) {
                    let (quiet, open) = (self.quiet(book, end), self.open(end));
                    if quiet & open == 0 || whole && quiet != self.all(end) {
                        break;
                    }
                    book.tree_mut().watch(end);
                    self.out.insert(end, if whole { quiet } else { quiet & open });
                    end += 1;
                }
                self.at = end.max(first + 1);
                if end > first {
                    return Some(first..end);
                }
                self.skipped |= !self.out.contains_key(&first);
            }
            self.at = 0;
            if std::mem::take(&mut self.skipped) {
                // While the copy goes on, what is skipped is what was not copied yet.
                self.rounds += u32::from(book.background_complete());
                return None;
            }
        }
        None
    }

    /// Units of a chunk that are being compared, a bit for each: only these need be read.
    pub fn asked(&self, leaf: u64) -> u16 {
        self.out.get(&leaf).copied().unwrap_or(0)
    }

    /// The first chunk from `leaf` on of which the destination has something: to read others is
    /// in vain, and there may be millions of them. A report looks at all.
    fn first_held(&self, book: &SourceDisk, leaf: u64) -> u64 {
        let held = || book.have().next(leaf * UNITS, true);
        match self.mode {
            Mode::Report => leaf,
            Mode::Repair => held().map_or(self.chunks(), |unit| unit / UNITS),
        }
    }

    /// The first chunk that is not settled, from where the next look begins.
    pub fn peek(&self, book: &SourceDisk) -> Option<u64> {
        let from = |at: u64| {
            let open = self.settled.next(at * UNITS, false)? / UNITS;
            Some(self.first_held(book, open)).filter(|leaf| *leaf < self.chunks())
        };
        from(self.at).or_else(|| from(0))
    }

    /// A chunk was found to differ by somebody else: it is to be read again.
    pub fn doubt(&mut self, leaf: u64) {
        let was_set_aside = self.differences.remove(&leaf).is_some_and(|n| n >= DIFFERENCES_MAX);
        self.set_aside -= u64::from(was_set_aside);
        self.settled.clear(self.units(leaf));
    }

    /// What both sides read of a chunk is known: its hash, or the values of its parts.
    pub fn compared(
        &mut self,
        book: &mut SourceDisk,
        leaf: u64,
        ours: &[Hash],
        theirs: &[Hash],
    ) -> Verdict {
        let untouched = book.tree_mut().unwatch(leaf);
        let Some(asked) = self.out.remove(&leaf) else { return Verdict::Live };
        let all = self.all(leaf);
        let known = asked & untouched & self.quiet(book, leaf);
        let parts = ours.len() > 1;
        if !parts && known != all {
            return Verdict::Live;
        }
        let differs = |at: usize| ours.get(at) != theirs.get(at);
        let different = match parts {
            true => (0..ours.len()).filter(|at| differs(*at)).fold(0, |mask, at| mask | 1 << at),
            false => whole_if(differs(0), all),
        };
        let first = leaf * UNITS;
        for at in (0..UNITS).filter(|at| known & !different & 1 << at != 0) {
            self.settled.set(first + at..first + at + 1);
        }
        let different = different & known;
        if different == 0 {
            return if self.open(leaf) == 0 { Verdict::Equal } else { Verdict::Live };
        }
        let times = self.differences.entry(leaf).or_insert(0);
        *times += 1;
        if self.mode == Mode::Report || *times >= DIFFERENCES_MAX {
            self.set_aside += 1;
            self.settled.set(self.units(leaf));
        }
        if self.mode == Mode::Repair {
            book.repair(leaf);
        }
        Verdict::Differs(different)
    }

    /// A chunk could not be compared after all: it is tried again.
    pub fn abandon(&mut self, book: &mut SourceDisk, leaf: u64) {
        book.tree_mut().unwatch(leaf);
        self.out.remove(&leaf);
    }

    /// Units that were not compared yet.
    pub fn left(&self) -> u64 {
        self.settled.len() - self.settled.ones()
    }

    /// Chunks that differed again and again, or are reported.
    pub fn set_aside(&self) -> u64 {
        self.set_aside
    }

    /// Whether every chunk was read again on both sides and was equal.
    pub fn complete(&self) -> bool {
        self.left() == 0 && self.set_aside == 0
    }

    /// Whether what is left is only what the guest writes all the time.
    pub fn only_live_left(&self) -> bool {
        self.rounds >= ROUNDS_MAX && self.out.is_empty() && self.nodes_out.is_empty()
    }

    /// Whether a freeze may begin: all done, or little enough left for it.
    pub fn ready(&self) -> bool {
        let few =
            self.left_bytes() <= LEFT_FOR_FREEZE_BYTES_MAX && self.rounds >= ROUNDS_BEFORE_FREEZE;
        self.set_aside == 0 && (self.left() == 0 || few)
    }

    /// Bytes that were equal.
    pub fn equal_bytes(&self) -> u64 {
        let settled = (self.settled.ones() * UNIT).min(self.capacity);
        settled.saturating_sub(self.set_aside * CHUNK)
    }

    /// Bytes that are left.
    pub fn left_bytes(&self) -> u64 {
        (self.left() * UNIT).min(self.capacity)
    }

    /// Bytes of a chunk on the disk.
    pub fn extent(&self, leaf: u64) -> Extent {
        self.chunk(leaf)
    }
}

fn whole_if(differs: bool, all: u16) -> u16 {
    if differs { all } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BLOCK, UNIT};

    const A: Hash = [1; 32];
    const B: Hash = [2; 32];

    /// A disk of which the destination has everything.
    fn book(chunks: u64) -> SourceDisk {
        let mut book = SourceDisk::new(chunks * CHUNK);
        book.track();
        let mut have = Bitmap::for_disk(chunks * CHUNK, UNIT);
        have.set(0..have.len());
        book.begin_session(have, false);
        book
    }

    fn send_everything(book: &mut SourceDisk) {
        while let Some(pick) = book.pick_foreground(CHUNK) {
            book.acknowledged(pick.ticket);
        }
    }

    #[test]
    fn a_chunk_that_changes_while_it_is_read_is_read_again() {
        let mut book = book(3);
        let mut scrub = Scrub::new(3 * CHUNK, Mode::Repair);
        assert_eq!(scrub.next(&mut book, 8, true), Some(0..3));
        book.written(Extent::new(CHUNK, BLOCK));
        assert_eq!(scrub.compared(&mut book, 0, &[A], &[A]), Verdict::Equal);
        assert_eq!(scrub.compared(&mut book, 1, &[A], &[B]), Verdict::Live);
        assert_eq!(scrub.compared(&mut book, 2, &[A], &[A]), Verdict::Equal);
        assert_eq!((scrub.left(), scrub.next(&mut book, 8, true)), (16, None));
        // Sent and acknowledged between two looks: quiet again, but not what was read before.
        send_everything(&mut book);
        assert_eq!(scrub.next(&mut book, 8, true), Some(1..2));
        book.written(Extent::new(CHUNK, BLOCK));
        send_everything(&mut book);
        assert_eq!(scrub.compared(&mut book, 1, &[A], &[A]), Verdict::Live);
        assert_eq!(scrub.next(&mut book, 8, true), Some(1..2));
        assert_eq!(scrub.compared(&mut book, 1, &[A], &[A]), Verdict::Equal);
        assert!(scrub.complete() && scrub.ready());
    }

    #[test]
    fn a_write_after_the_reread_leaves_the_chunk_reread() {
        let mut book = book(1);
        let mut scrub = Scrub::new(CHUNK, Mode::Repair);
        assert_eq!(scrub.next(&mut book, 8, true), Some(0..1));
        scrub.compared(&mut book, 0, &[A], &[A]);
        book.written(Extent::new(0, BLOCK));
        assert!(scrub.complete());
    }

    #[test]
    fn a_chunk_that_differs_is_sent_again_and_read_again_and_set_aside_in_the_end() {
        let mut book = book(1);
        let mut scrub = Scrub::new(CHUNK, Mode::Repair);
        for time in 1..=DIFFERENCES_MAX {
            assert_eq!(scrub.next(&mut book, 8, true), Some(0..1));
            assert_eq!(scrub.compared(&mut book, 0, &[A], &[B]), Verdict::Differs(u16::MAX));
            assert_eq!(book.dirty_bytes(), CHUNK);
            assert_eq!(scrub.next(&mut book, 8, true), None);
            send_everything(&mut book);
            assert_eq!(scrub.set_aside(), u64::from(time == DIFFERENCES_MAX));
        }
        assert!(!scrub.ready() && !scrub.complete() && scrub.equal_bytes() == 0);
        scrub.reset();
        assert_eq!(scrub.next(&mut book, 8, true), Some(0..1));
        assert_eq!(scrub.compared(&mut book, 0, &[A], &[A]), Verdict::Equal);
        assert!(scrub.complete());
    }

    #[test]
    fn a_report_writes_nothing_and_what_is_always_live_is_left() {
        let mut book = book(4);
        let mut scrub = Scrub::new(4 * CHUNK, Mode::Report);
        book.written(Extent::new(3 * CHUNK, BLOCK));
        assert_eq!(scrub.next(&mut book, 2, true), Some(0..2));
        assert_eq!(scrub.compared(&mut book, 0, &[A], &[B]), Verdict::Differs(u16::MAX));
        assert_eq!(scrub.compared(&mut book, 1, &[A], &[A]), Verdict::Equal);
        assert_eq!(book.dirty().ones(), 1);
        assert_eq!(scrub.next(&mut book, 2, true), Some(2..3));
        scrub.abandon(&mut book, 2);
        for _ in 0..2 * ROUNDS_MAX {
            while let Some(leaves) = scrub.next(&mut book, 2, true) {
                for leaf in leaves {
                    scrub.compared(&mut book, leaf, &[A], &[A]);
                }
            }
        }
        assert!(scrub.only_live_left());
        assert_eq!((scrub.left(), scrub.set_aside(), scrub.equal_bytes()), (16, 1, 2 * CHUNK));
    }

    #[test]
    fn what_was_copied_is_read_again_while_the_copy_goes_on() {
        let mut book = SourceDisk::new(1_000 * CHUNK);
        book.track();
        let mut have = Bitmap::for_disk(1_000 * CHUNK, UNIT);
        have.set(16 * 500..16 * 502 + 3);
        book.begin_session(have.clone(), false);
        let mut scrub = Scrub::new(1_000 * CHUNK, Mode::Repair);
        assert_eq!(scrub.peek(&book), Some(500));
        assert_eq!(scrub.next(&mut book, 8, false), Some(500..503));
        scrub.abandon(&mut book, 502);
        for leaf in 500..502 {
            assert_eq!(scrub.compared(&mut book, leaf, &[A], &[A]), Verdict::Equal);
        }
        for _ in 0..3 * ROUNDS_MAX {
            assert_eq!(scrub.next(&mut book, 8, true), None);
        }
        have.set(0..16_000);
        book.begin_session(have, false);
        assert!(!scrub.ready() && !scrub.only_live_left());
        assert_eq!((scrub.left(), scrub.next(&mut book, 8, true)), (998 * UNITS, Some(0..8)));
    }

    #[test]
    fn a_write_to_one_unit_leaves_the_others_of_its_chunk_comparable() {
        let mut book = book(1);
        let mut scrub = Scrub::new(CHUNK, Mode::Repair);
        assert_eq!(scrub.next(&mut book, 8, false), Some(0..1));
        book.written(Extent::new(3 * UNIT, BLOCK));
        let (ours, mut theirs) = ([A; 16], [A; 16]);
        theirs[3] = B;
        assert_eq!(scrub.compared(&mut book, 0, &ours, &theirs), Verdict::Live);
        assert_eq!((scrub.left(), scrub.next(&mut book, 8, false)), (1, None));
        send_everything(&mut book);
        // Only that unit is read again: what stands for the others means nothing.
        assert_eq!((scrub.next(&mut book, 8, false), scrub.asked(0)), (Some(0..1), 1 << 3));
        (0..3).for_each(|at| theirs[at] = B);
        assert_eq!(scrub.compared(&mut book, 0, &ours, &theirs), Verdict::Differs(1 << 3));
        assert_eq!(scrub.asked(0), 0);
        send_everything(&mut book);
        assert_eq!(scrub.next(&mut book, 8, false), Some(0..1));
        assert_eq!(scrub.compared(&mut book, 0, &ours, &ours), Verdict::Equal);
        assert!(scrub.complete());
    }

    #[test]
    fn of_two_who_watch_a_chunk_neither_misses_a_change() {
        let mut book = book(1);
        let (mut scrub, mut report) =
            (Scrub::new(CHUNK, Mode::Repair), Scrub::new(CHUNK, Mode::Report));
        scrub.next(&mut book, 8, false);
        book.written(Extent::new(0, BLOCK));
        send_everything(&mut book);
        report.next(&mut book, 8, true);
        assert_eq!(scrub.compared(&mut book, 0, &[A], &[B]), Verdict::Live);
        assert_eq!(report.compared(&mut book, 0, &[A], &[A]), Verdict::Live);
    }

    #[test]
    fn what_the_guest_never_leaves_alone_waits_for_the_freeze() {
        let mut book = book(2);
        let mut scrub = Scrub::new(2 * CHUNK, Mode::Repair);
        book.written(Extent::new(0, BLOCK));
        for _ in 0..ROUNDS_BEFORE_FREEZE {
            assert!(!scrub.ready());
            while let Some(leaves) = scrub.next(&mut book, 8, false) {
                for leaf in leaves {
                    scrub.compared(&mut book, leaf, &[A; 16], &[A; 16]);
                }
            }
        }
        assert!(scrub.ready() && !scrub.complete());
        assert_eq!(scrub.left_bytes(), UNIT);
        send_everything(&mut book);
        assert_eq!(scrub.next(&mut book, 8, false), Some(0..1));
        scrub.compared(&mut book, 0, &[A; 16], &[A; 16]);
        assert!(scrub.complete());
    }
}
