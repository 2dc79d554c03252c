//! Which chunks of a disk were read again on both sides and were equal. A chunk is compared
//! only while nothing of it is dirty or on the way; one that changes meanwhile is tried again.
//!
//! The caller reads and hashes; this decides what next, and what an answer means.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::source::SourceDisk;
use crate::tree::Hash;
use crate::{Bitmap, CHUNK, Extent, UNIT};

/// A chunk that differs so often is set aside: sending it once more does not help.
pub const DIFFERENCES_MAX: u32 = 3;
/// So many chunks may be left for the freeze, when nothing changes any more: their re-read
/// takes some tens of milliseconds.
pub const LEFT_FOR_FREEZE_MAX: u64 = 64;
/// After so many rounds over the disk, what is still left is what the guest writes all the time.
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
    /// They differ.
    Differs,
    /// It changed meanwhile: nothing can be said.
    Live,
}

/// The re-read of one disk.
#[derive(Clone, Debug)]
pub struct Scrub {
    mode: Mode,
    capacity: u64,
    /// Chunks that are settled: equal, set aside or reported.
    settled: Bitmap,
    out: BTreeSet<u64>,
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
            settled: Bitmap::for_disk(capacity, CHUNK),
            out: BTreeSet::new(),
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

    fn quiet(&self, book: &SourceDisk, leaf: u64) -> bool {
        match self.mode {
            Mode::Repair => book.chunk_is_quiet(leaf),
            Mode::Report => book.chunk_is_clean(leaf),
        }
    }

    /// The next quiet chunks in a row, at most `max`: to be read on both sides now. `None` when
    /// there is none at the moment.
    pub fn next(&mut self, book: &mut SourceDisk, max: u64) -> Option<Range<u64>> {
        for _ in 0..2 {
            while let Some(first) = self.settled.next(self.at, false) {
                let held = self.first_held(book, first);
                if held > first {
                    self.skipped = true;
                    self.at = held;
                    continue;
                }
                let mut end = first;
                while end < self.settled.len()
                    && end - first < max
                    && !self.settled.get(end)
                    && !self.out.contains(&end)
                    && self.quiet(book, end)
                {
                    book.tree_mut().watch(end);
                    self.out.insert(end);
                    end += 1;
                }
                self.at = end.max(first + 1);
                if end > first {
                    return Some(first..end);
                }
                self.skipped |= !self.out.contains(&first);
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

    /// The first chunk from `leaf` on of which the destination has something: to read others is
    /// in vain, and there may be millions of them. A report looks at all.
    fn first_held(&self, book: &SourceDisk, leaf: u64) -> u64 {
        let units = CHUNK / UNIT;
        let chunks = self.settled.len();
        match self.mode {
            Mode::Report => leaf,
            Mode::Repair => book.have().next(leaf * units, true).map_or(chunks, |unit| unit / units),
        }
    }

    /// The first chunk that is not settled, from where the next look begins.
    pub fn peek(&self, book: &SourceDisk) -> Option<u64> {
        let from = |at| {
            let open = self.settled.next(at, false)?;
            Some(self.first_held(book, open)).filter(|leaf| *leaf < self.settled.len())
        };
        from(self.at).or_else(|| from(0))
    }

    /// A chunk was found to differ by somebody else: it is to be read again.
    pub fn doubt(&mut self, leaf: u64) {
        let was_set_aside = self.differences.remove(&leaf).is_some_and(|n| n >= DIFFERENCES_MAX);
        self.set_aside -= u64::from(was_set_aside);
        self.settled.clear(leaf..leaf + 1);
    }

    /// Both hashes of a chunk are known.
    pub fn compared(
        &mut self,
        book: &mut SourceDisk,
        leaf: u64,
        ours: &Hash,
        theirs: &Hash,
    ) -> Verdict {
        let untouched = book.tree_mut().unwatch(leaf);
        if !self.out.remove(&leaf) || !untouched || !self.quiet(book, leaf) {
            return Verdict::Live;
        }
        if ours == theirs {
            self.settled.set(leaf..leaf + 1);
            return Verdict::Equal;
        }
        let times = self.differences.entry(leaf).or_insert(0);
        *times += 1;
        if self.mode == Mode::Report || *times >= DIFFERENCES_MAX {
            self.set_aside += 1;
            self.settled.set(leaf..leaf + 1);
        }
        if self.mode == Mode::Repair {
            book.repair(leaf);
        }
        Verdict::Differs
    }

    /// A chunk could not be compared after all: it is tried again.
    pub fn abandon(&mut self, book: &mut SourceDisk, leaf: u64) {
        book.tree_mut().unwatch(leaf);
        self.out.remove(&leaf);
    }

    /// Chunks that were not compared yet.
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
        self.rounds >= ROUNDS_MAX && self.out.is_empty()
    }

    /// Whether a freeze may begin: all done, or little enough left for it.
    pub fn ready(&self) -> bool {
        let left = self.left();
        let few = left <= LEFT_FOR_FREEZE_MAX && self.rounds >= ROUNDS_MAX;
        self.set_aside == 0 && (left == 0 || few)
    }

    /// Bytes of chunks that were equal.
    pub fn equal_bytes(&self) -> u64 {
        let equal = self.settled.ones() - self.set_aside;
        (equal * CHUNK).min(self.capacity)
    }

    /// Bytes that are left.
    pub fn left_bytes(&self) -> u64 {
        (self.left() * CHUNK).min(self.capacity)
    }

    /// Bytes of a chunk on the disk.
    pub fn extent(&self, leaf: u64) -> Extent {
        self.chunk(leaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BLOCK;

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
        assert_eq!(scrub.next(&mut book, 8), Some(0..3));
        book.written(Extent::new(CHUNK, BLOCK));
        assert_eq!(scrub.compared(&mut book, 0, &A, &A), Verdict::Equal);
        assert_eq!(scrub.compared(&mut book, 1, &A, &B), Verdict::Live);
        assert_eq!(scrub.compared(&mut book, 2, &A, &A), Verdict::Equal);
        assert_eq!((scrub.left(), scrub.next(&mut book, 8)), (1, None));
        // Sent and acknowledged between two looks: quiet again, but not what was read before.
        send_everything(&mut book);
        assert_eq!(scrub.next(&mut book, 8), Some(1..2));
        book.written(Extent::new(CHUNK, BLOCK));
        send_everything(&mut book);
        assert_eq!(scrub.compared(&mut book, 1, &A, &A), Verdict::Live);
        assert_eq!(scrub.next(&mut book, 8), Some(1..2));
        assert_eq!(scrub.compared(&mut book, 1, &A, &A), Verdict::Equal);
        assert!(scrub.complete() && scrub.ready());
    }

    #[test]
    fn a_write_after_the_reread_leaves_the_chunk_reread() {
        let mut book = book(1);
        let mut scrub = Scrub::new(CHUNK, Mode::Repair);
        assert_eq!(scrub.next(&mut book, 8), Some(0..1));
        scrub.compared(&mut book, 0, &A, &A);
        book.written(Extent::new(0, BLOCK));
        assert!(scrub.complete());
    }

    #[test]
    fn a_chunk_that_differs_is_sent_again_and_read_again_and_set_aside_in_the_end() {
        let mut book = book(1);
        let mut scrub = Scrub::new(CHUNK, Mode::Repair);
        for time in 1..=DIFFERENCES_MAX {
            assert_eq!(scrub.next(&mut book, 8), Some(0..1));
            assert_eq!(scrub.compared(&mut book, 0, &A, &B), Verdict::Differs);
            assert_eq!(book.dirty_bytes(), CHUNK);
            assert_eq!(scrub.next(&mut book, 8), None);
            send_everything(&mut book);
            assert_eq!(scrub.set_aside(), u64::from(time == DIFFERENCES_MAX));
        }
        assert!(!scrub.ready() && !scrub.complete() && scrub.equal_bytes() == 0);
        scrub.reset();
        assert_eq!(scrub.next(&mut book, 8), Some(0..1));
        assert_eq!(scrub.compared(&mut book, 0, &A, &A), Verdict::Equal);
        assert!(scrub.complete());
    }

    #[test]
    fn a_report_writes_nothing_and_what_is_always_live_is_left() {
        let mut book = book(4);
        let mut scrub = Scrub::new(4 * CHUNK, Mode::Report);
        book.written(Extent::new(3 * CHUNK, BLOCK));
        assert_eq!(scrub.next(&mut book, 2), Some(0..2));
        assert_eq!(scrub.compared(&mut book, 0, &A, &B), Verdict::Differs);
        assert_eq!(scrub.compared(&mut book, 1, &A, &A), Verdict::Equal);
        assert_eq!(book.dirty().ones(), 1);
        assert_eq!(scrub.next(&mut book, 2), Some(2..3));
        scrub.abandon(&mut book, 2);
        for _ in 0..2 * ROUNDS_MAX {
            while let Some(leaves) = scrub.next(&mut book, 2) {
                for leaf in leaves {
                    scrub.compared(&mut book, leaf, &A, &A);
                }
            }
        }
        assert!(scrub.only_live_left());
        assert_eq!((scrub.left(), scrub.set_aside(), scrub.equal_bytes()), (1, 1, 2 * CHUNK));
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
        assert_eq!(scrub.next(&mut book, 8), Some(500..502));
        for leaf in 500..502 {
            assert_eq!(scrub.compared(&mut book, leaf, &A, &A), Verdict::Equal);
        }
        for _ in 0..3 * ROUNDS_MAX {
            assert_eq!(scrub.next(&mut book, 8), None);
        }
        have.set(0..16_000);
        book.begin_session(have, false);
        assert!(!scrub.ready() && !scrub.only_live_left());
        assert_eq!((scrub.left(), scrub.next(&mut book, 8)), (998, Some(0..8)));
    }

    #[test]
    fn what_the_guest_never_leaves_alone_waits_for_the_freeze() {
        let mut book = book(2);
        let mut scrub = Scrub::new(2 * CHUNK, Mode::Repair);
        book.written(Extent::new(0, BLOCK));
        for _ in 0..ROUNDS_MAX {
            assert!(!scrub.ready());
            while let Some(leaves) = scrub.next(&mut book, 8) {
                for leaf in leaves {
                    scrub.compared(&mut book, leaf, &A, &A);
                }
            }
        }
        assert!(scrub.ready() && !scrub.complete());
        send_everything(&mut book);
        assert_eq!(scrub.next(&mut book, 8), Some(0..1));
        scrub.compared(&mut book, 0, &A, &A);
        assert!(scrub.complete());
    }
}
