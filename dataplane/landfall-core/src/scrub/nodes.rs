//! Holes in the scrub: a node of 1,024 chunks that is known to hold zeroes, where both file systems
//! have a hole, costs one look and not one for each of its chunks.

use std::ops::Range;

use super::{Mode, Scrub};
use crate::source::SourceDisk;
use crate::tree::LEAVES_PER_NODE;
use crate::{CHUNK, UNIT};

impl Scrub {
    /// Nodes in a row from `leaf` on, at most `max`, to be compared as a whole: the caller has found
    /// a hole of `hole` chunks there. `None` where it must be done chunk by chunk.
    pub fn next_nodes(
        &mut self,
        book: &mut SourceDisk,
        leaf: u64,
        hole: u64,
        max: u64,
    ) -> Option<Range<u64>> {
        let first = leaf / LEAVES_PER_NODE;
        let inside = (leaf + hole) / LEAVES_PER_NODE;
        if !leaf.is_multiple_of(LEAVES_PER_NODE) || inside <= first {
            return None;
        }
        let mut end = first;
        while end < inside.min(first + max) && self.may_ask(book, end) {
            book.tree_mut().watch_node(end);
            self.nodes_out.insert(end);
            end += 1;
        }
        self.at = self.at.max(end * LEAVES_PER_NODE);
        (end > first).then_some(first..end)
    }

    fn may_ask(&self, book: &SourceDisk, node: u64) -> bool {
        let leaves = book.tree().node_extent(node).touched(CHUNK);
        !self.by_chunk.contains(&node)
            && !self.nodes_out.contains(&node)
            && self.out.range(leaves).next().is_none()
            && self.node_is_quiet(book, node)
    }

    fn node_is_quiet(&self, book: &SourceDisk, node: u64) -> bool {
        let extent = book.tree().node_extent(node);
        let quiet = match self.mode {
            Mode::Report => book.is_clean(extent),
            Mode::Repair => book.is_quiet(extent),
        };
        quiet && book.tree().is_zero_node(node)
    }

    /// The destination has said of a node whether it too holds nothing but zeroes. Whether that
    /// settled it is the answer: not if it changed meanwhile.
    pub fn compared_node(&mut self, book: &mut SourceDisk, node: u64, equal: bool) -> bool {
        let untouched = book.tree_mut().unwatch_node(node);
        if !self.nodes_out.remove(&node) {
            return false;
        }
        if !equal {
            self.by_chunk.insert(node);
            return false;
        }
        let same = untouched && self.node_is_quiet(book, node);
        if same {
            self.settled.set(book.tree().node_extent(node).touched(UNIT));
        }
        same
    }

    /// A node could not be compared after all: it is tried again.
    pub fn abandon_node(&mut self, book: &mut SourceDisk, node: u64) {
        book.tree_mut().unwatch_node(node);
        self.nodes_out.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BLOCK, Bitmap, Extent};

    const NODE: u64 = LEAVES_PER_NODE * CHUNK;

    /// A disk of holes of which the destination has everything.
    fn book(capacity: u64) -> SourceDisk {
        let mut book = SourceDisk::new(capacity);
        book.track();
        let mut have = Bitmap::for_disk(capacity, UNIT);
        have.set(0..have.len());
        book.begin_session(have, false);
        book
    }

    fn written(book: &mut SourceDisk, off: u64) {
        book.written(Extent::new(off, BLOCK));
    }

    #[test]
    fn a_hole_is_settled_by_its_nodes() {
        let mut book = book(9 * NODE + 512);
        let mut scrub = Scrub::new(9 * NODE + 512, Mode::Repair);
        let hole = 9 * LEAVES_PER_NODE;
        assert_eq!(scrub.next_nodes(&mut book, 0, hole, 4), Some(0..4));
        assert_eq!(scrub.next_nodes(&mut book, 0, hole, 4), None, "they are out");
        assert!((0..4).all(|node| scrub.compared_node(&mut book, node, true)));
        assert_eq!(scrub.peek(&book), Some(4 * LEAVES_PER_NODE));
        assert_eq!(
            scrub.next_nodes(&mut book, 4 * LEAVES_PER_NODE, 5 * LEAVES_PER_NODE, 9),
            Some(4..9)
        );
        (4..9).for_each(|node| assert!(scrub.compared_node(&mut book, node, true)));
        assert_eq!((scrub.left(), scrub.peek(&book)), (1, Some(hole)));
    }

    #[test]
    fn a_node_counts_only_if_nothing_of_it_changed_and_the_other_side_agrees() {
        let mut book = book(4 * NODE);
        let mut scrub = Scrub::new(4 * NODE, Mode::Repair);
        let all = 4 * LEAVES_PER_NODE;
        assert_eq!(scrub.next_nodes(&mut book, 1, all, 9), None, "not at its beginning");
        assert_eq!(scrub.next_nodes(&mut book, 0, LEAVES_PER_NODE - 1, 9), None, "not whole");
        written(&mut book, 3 * NODE + UNIT);
        assert_eq!(scrub.next_nodes(&mut book, 0, all, 9), Some(0..3));
        // Written, sent and zeroes again in the end: what was asked says nothing of that.
        written(&mut book, NODE);
        assert!(scrub.compared_node(&mut book, 0, true));
        assert!(!scrub.compared_node(&mut book, 1, true), "it changed");
        assert!(!scrub.compared_node(&mut book, 2, false), "no hole over there");
        assert_eq!(scrub.next_nodes(&mut book, 2 * LEAVES_PER_NODE, all, 9), None);
        let mut asked = Vec::new();
        for _ in 0..8 {
            asked.extend(scrub.next(&mut book, LEAVES_PER_NODE, true).into_iter().flatten());
        }
        assert!((2 * LEAVES_PER_NODE..3 * LEAVES_PER_NODE).all(|leaf| asked.contains(&leaf)));
        assert_eq!(scrub.left(), 3 * LEAVES_PER_NODE * 16);
    }

    #[test]
    fn an_answer_from_before_a_reset_settles_nothing() {
        let mut book = book(NODE);
        let mut scrub = Scrub::new(NODE, Mode::Report);
        assert_eq!(scrub.next_nodes(&mut book, 0, LEAVES_PER_NODE, 9), Some(0..1));
        scrub.reset();
        assert!(!scrub.compared_node(&mut book, 0, true));
        assert_eq!(scrub.next_nodes(&mut book, 0, LEAVES_PER_NODE, 9), Some(0..1));
        scrub.abandon_node(&mut book, 0);
        assert_eq!(scrub.next_nodes(&mut book, 0, LEAVES_PER_NODE, 9), Some(0..1));
        assert!(scrub.compared_node(&mut book, 0, true) && scrub.complete());
    }
}
