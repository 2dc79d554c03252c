//! The leaves of a receiver's hash tree as they are kept on its state disk, so that a receiver
//! that starts again need not read every disk as a whole.
//!
//! A leaf on disk is believed at a start. Two rules make that right. Before a change is
//! acknowledged, the leaf of its chunk is durably not valid; the caller writes the pages of
//! [`LeafBook::doubtful_pages`] before the acknowledgement. And what was not acknowledged comes
//! again, as an extent or as a comparison: either ends the belief in a leaf that was read from
//! the disk, durably before the answer. A page has one slot: an older version of it could name what is no longer so, and
//! a torn one costs no more than reading its chunks.

use std::collections::BTreeSet;

use crate::slot;
use crate::tree::{Hash, HashTree};
use crate::{Bitmap, CHUNK, Extent};

/// First bytes of a page.
pub const MAGIC: [u8; 4] = *b"LFT1";
/// Chunks of one page.
pub const CHUNKS_PER_PAGE: u64 = 120;
const BITS: usize = CHUNKS_PER_PAGE as usize / 8;
const HEAD: usize = 16;

/// Which leaves on disk are valid, and which of those in memory may become so.
#[derive(Clone, Debug)]
pub struct LeafBook {
    capacity: u64,
    /// Leaves the disk may hold as valid.
    stored: Bitmap,
    /// Leaves that are believed only because they were read from the disk.
    loaded: Bitmap,
    /// Leaves that were taken anew and are not on disk.
    unsaved: Bitmap,
    /// Chunks that changed lately: they will again, so that keeping them is not worth it.
    recent: [Bitmap; 2],
    touched: BTreeSet<u64>,
    flushing: BTreeSet<u64>,
}

impl LeafBook {
    /// Nothing is on disk.
    pub fn new(capacity: u64) -> Self {
        let map = Bitmap::for_disk(capacity, CHUNK);
        Self {
            capacity,
            stored: map.clone(),
            loaded: map.clone(),
            unsaved: map.clone(),
            recent: [map.clone(), map],
            touched: BTreeSet::new(),
            flushing: BTreeSet::new(),
        }
    }

    /// Reads the pages back and gives the tree their leaves. `page` gives the bytes of a page,
    /// `None` where there are none.
    pub fn recover(
        capacity: u64,
        tree: &mut HashTree,
        mut page: impl FnMut(u64) -> Option<Vec<u8>>,
    ) -> Self {
        let mut book = Self::new(capacity);
        let stale = tree.stale().clone();
        let mut at = 0;
        while let Some(leaf) = stale.next(at, true) {
            book.unsaved.set(leaf..leaf + 1);
            at = leaf + 1;
        }
        for index in 0..tree.leaves().div_ceil(CHUNKS_PER_PAGE) {
            if let Some(bytes) = page(index) {
                book.load(tree, index, &bytes);
            }
        }
        book
    }

    fn load(&mut self, tree: &mut HashTree, page: u64, bytes: &[u8]) {
        let Some((_, content)) = slot::decode(MAGIC, bytes) else { return };
        if content.len() != HEAD + BITS + 32 * CHUNKS_PER_PAGE as usize
            || content[..HEAD] != head(page, self.capacity)
        {
            return;
        }
        let (bits, hashes) = content[HEAD..].split_at(BITS);
        let first = page * CHUNKS_PER_PAGE;
        for at in 0..CHUNKS_PER_PAGE.min(tree.leaves() - first) {
            if bits[at as usize / 8] >> (at % 8) & 1 == 1 {
                let hash: Hash = hashes[at as usize * 32..][..32].try_into().expect("32 bytes");
                let leaf = first + at..first + at + 1;
                tree.load(leaf.start, hash);
                self.stored.set(leaf.clone());
                self.unsaved.clear(leaf.clone());
                self.loaded.set(leaf);
            }
        }
    }

    /// An extent was changed, or nearly: its leaves on disk must not outlive the next
    /// acknowledgement.
    pub fn changed(&mut self, tree: &mut HashTree, extent: Extent) {
        let leaves = extent.touched(CHUNK);
        self.doubt(tree, extent);
        self.touched.extend(leaves.clone());
        self.unsaved.set(leaves.clone());
        self.recent[0].set(leaves);
    }

    /// The source is not sure of an extent: what the disk said about it is not believed. Whether
    /// a flush must come before the answer to the source is the answer.
    pub fn doubt(&mut self, tree: &mut HashTree, extent: Extent) -> bool {
        let leaves = extent.touched(CHUNK);
        let doubted = self.loaded.clear(leaves.clone()) > 0;
        if doubted {
            self.touched.extend(leaves.clone());
            self.unsaved.set(leaves);
            tree.distrust(extent);
        }
        doubted
    }

    /// The flush of the disk is about to begin.
    pub fn begin_flush(&mut self) {
        self.flushing.append(&mut self.touched);
    }

    /// Pages to be written again before anything is acknowledged: they hold valid leaves of
    /// chunks that changed.
    pub fn doubtful_pages(&self) -> BTreeSet<u64> {
        let valid = self.flushing.iter().filter(|leaf| self.stored.get(**leaf));
        valid.map(|leaf| leaf / CHUNKS_PER_PAGE).collect()
    }

    /// Data and pages are durable.
    pub fn flushed(&mut self) {
        self.flushing.clear();
    }

    /// Data or pages are not durable: the next flush has to care for these chunks too.
    pub fn flush_failed(&mut self) {
        self.touched.append(&mut self.flushing);
    }

    /// Pages with leaves worth keeping, at most `max`. With `all` those of chunks that changed
    /// lately too.
    pub fn pages_to_store(&self, tree: &HashTree, all: bool, max: usize) -> BTreeSet<u64> {
        let mut pages = BTreeSet::new();
        let mut at = 0;
        while let Some(leaf) = self.unsaved.next(at, true) {
            at = leaf + 1;
            if self.worth(tree, leaf, all) {
                pages.insert(leaf / CHUNKS_PER_PAGE);
                if pages.len() == max {
                    break;
                }
                at = (leaf / CHUNKS_PER_PAGE + 1) * CHUNKS_PER_PAGE;
            }
        }
        pages
    }

    fn worth(&self, tree: &HashTree, leaf: u64, all: bool) -> bool {
        let recent = || self.recent.iter().any(|recent| recent.get(leaf));
        self.may_be_valid(tree, leaf) && (all || !recent())
    }

    /// Only of a chunk whose changes are all durable.
    fn may_be_valid(&self, tree: &HashTree, leaf: u64) -> bool {
        !self.touched.contains(&leaf) && !self.flushing.contains(&leaf) && tree.leaf(leaf).is_some()
    }

    /// The bytes of a page, to be written next: every image must be written before a later one
    /// of the same page is asked for. From here on its leaves count as stored.
    pub fn page(&mut self, tree: &HashTree, page: u64, all: bool) -> Vec<u8> {
        let first = page * CHUNKS_PER_PAGE;
        let mut content = head(page, self.capacity).to_vec();
        content.resize(HEAD + BITS + 32 * CHUNKS_PER_PAGE as usize, 0);
        let (bits, hashes) = content[HEAD..].split_at_mut(BITS);
        for at in 0..CHUNKS_PER_PAGE.min(tree.leaves() - first) {
            let leaf = first + at;
            let keep = self.stored.get(leaf) && self.may_be_valid(tree, leaf);
            if !keep && !self.worth(tree, leaf, all) {
                self.stored.clear(leaf..leaf + 1);
                continue;
            }
            let Some(hash) = tree.leaf(leaf) else { continue };
            bits[at as usize / 8] |= 1 << (at % 8);
            hashes[at as usize * 32..][..32].copy_from_slice(&hash);
            self.stored.set(leaf..leaf + 1);
            self.unsaved.clear(leaf..leaf + 1);
        }
        slot::encode(MAGIC, 1, &content)
    }

    /// A page could not be written: any of its leaves may be valid on disk.
    pub fn store_failed(&mut self, page: u64) {
        let first = page * CHUNKS_PER_PAGE;
        let leaves = first..(first + CHUNKS_PER_PAGE).min(self.stored.len());
        self.stored.set(leaves.clone());
        self.unsaved.set(leaves);
    }

    /// Time passes: what did not change since the call before the last is quiet.
    pub fn age(&mut self) {
        self.recent.swap(0, 1);
        self.recent[0] = Bitmap::for_disk(self.capacity, CHUNK);
    }
}

fn head(page: u64, capacity: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&page.to_le_bytes());
    head[8..].copy_from_slice(&capacity.to_le_bytes());
    head
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tree::hash;

    const CHUNKS: u64 = 2 * CHUNKS_PER_PAGE + 3;

    /// Chunks as one byte each, with a file of pages.
    struct World {
        disk: Vec<u8>,
        tree: HashTree,
        book: LeafBook,
        pages: BTreeMap<u64, Vec<u8>>,
    }

    fn leaf_of(content: u8) -> Hash {
        hash(&[content])
    }

    impl World {
        fn new() -> Self {
            let capacity = CHUNKS * CHUNK;
            let (tree, book) = (HashTree::new(capacity), LeafBook::new(capacity));
            Self { disk: vec![0; CHUNKS as usize], tree, book, pages: BTreeMap::new() }
        }

        /// Chunk 5 is written and durable, and so is its leaf.
        fn with_a_kept_leaf() -> Self {
            let mut world = Self::new();
            world.write(5, 1);
            world.flush();
            world.rehash();
            world.store();
            world
        }

        fn write(&mut self, leaf: u64, content: u8) {
            self.disk[leaf as usize] = content;
            let extent = self.tree.chunk(leaf);
            self.tree.touch(extent);
            self.book.changed(&mut self.tree, extent);
        }

        fn rehash(&mut self) {
            while let Some(leaf) = self.tree.stale().next(0, true) {
                self.tree.load(leaf, leaf_of(self.disk[leaf as usize]));
            }
        }

        fn flush(&mut self) {
            self.book.begin_flush();
            for page in self.book.doubtful_pages() {
                let bytes = self.book.page(&self.tree, page, false);
                self.pages.insert(page, bytes);
            }
            self.book.flushed();
        }

        fn store(&mut self) {
            for page in self.book.pages_to_store(&self.tree, true, 99) {
                let bytes = self.book.page(&self.tree, page, true);
                self.pages.insert(page, bytes);
            }
        }

        /// A new process: every chunk with content is stale unless its leaf is on disk.
        fn restart(&mut self) {
            self.tree = HashTree::new(CHUNKS * CHUNK);
            for (leaf, content) in self.disk.iter().enumerate() {
                if *content != 0 {
                    let extent = self.tree.chunk(leaf as u64);
                    self.tree.touch(extent);
                }
            }
            let pages = &self.pages;
            let page = |page| pages.get(&page).cloned();
            self.book = LeafBook::recover(CHUNKS * CHUNK, &mut self.tree, page);
        }

        fn stale(&self) -> Vec<u64> {
            (0..CHUNKS).filter(|leaf| self.tree.stale().get(*leaf)).collect()
        }

        fn believes_the_disk(&self) -> bool {
            (0..CHUNKS).all(|leaf| {
                let content = self.disk[leaf as usize];
                let known = self.tree.leaf(leaf);
                content == 0 || known.is_none() || known == Some(leaf_of(content))
            })
        }
    }

    #[test]
    fn leaves_survive_a_restart_and_a_damaged_page_costs_its_chunks_only() {
        let mut world = World::new();
        for leaf in [0, 7, 119, 120, 241, 242] {
            world.write(leaf, 1 + leaf as u8);
        }
        world.flush();
        world.rehash();
        world.store();
        world.restart();
        assert_eq!((world.stale(), world.believes_the_disk()), (vec![], true));
        world.pages.get_mut(&0).unwrap()[100] ^= 1;
        world.restart();
        assert_eq!(world.stale(), [0, 7, 119]);
    }

    #[test]
    fn a_change_that_is_acknowledged_has_no_valid_leaf_on_disk() {
        let mut world = World::new();
        (0..CHUNKS).for_each(|leaf| world.write(leaf, 1));
        world.flush();
        world.rehash();
        world.store();
        world.write(5, 2);
        world.write(130, 2);
        world.flush();
        world.restart();
        assert_eq!((world.stale(), world.believes_the_disk()), (vec![5, 130], true));
    }

    #[test]
    fn what_was_not_acknowledged_comes_again_and_is_not_believed() {
        for compared in [false, true] {
            let mut world = World::with_a_kept_leaf();
            // Written, not flushed, killed: the leaf on disk is that of the content before.
            world.write(5, 2);
            world.restart();
            assert!(!world.believes_the_disk());
            let extent = Extent::new(5 * CHUNK, 4096);
            if compared {
                world.book.doubt(&mut world.tree, extent);
            } else {
                world.book.changed(&mut world.tree, extent);
            }
            assert_eq!(world.stale(), [5]);
        }
    }

    #[test]
    fn a_leaf_taken_before_the_flush_is_not_kept() {
        let mut world = World::new();
        world.write(5, 1);
        world.rehash();
        assert!(world.book.pages_to_store(&world.tree, true, 9).is_empty());
        world.book.begin_flush();
        assert!(world.book.pages_to_store(&world.tree, true, 9).is_empty());
        world.book.flush_failed();
        world.flush();
        assert_eq!(world.book.pages_to_store(&world.tree, true, 9).len(), 1);
        assert!(world.book.pages_to_store(&world.tree, false, 9).is_empty(), "it changed lately");
        world.book.age();
        world.book.age();
        assert_eq!(world.book.pages_to_store(&world.tree, false, 9).len(), 1);
    }

    #[test]
    fn a_page_that_could_not_be_written_is_written_again_before_an_acknowledgement() {
        let mut world = World::with_a_kept_leaf();
        world.write(5, 2);
        world.book.begin_flush();
        world.book.page(&world.tree, 0, false);
        world.book.store_failed(0);
        world.book.flush_failed();
        world.flush();
        world.restart();
        assert_eq!((world.stale(), world.believes_the_disk()), (vec![5], true));
    }

    #[test]
    fn any_order_of_writes_flushes_and_kills_ends_with_true_leaves() {
        let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut next = |limit: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % limit
        };
        let mut world = World::new();
        let mut unacknowledged: BTreeSet<u64> = BTreeSet::new();
        for step in 0..20_000 {
            match next(12) {
                0..=4 => {
                    let leaf = next(CHUNKS);
                    world.write(leaf, 1 + (step % 250) as u8);
                    unacknowledged.insert(leaf);
                }
                5 | 6 => {
                    world.flush();
                    unacknowledged.clear();
                }
                7 | 8 => world.rehash(),
                9 | 10 => world.store(),
                _ => {
                    world.restart();
                    for leaf in std::mem::take(&mut unacknowledged) {
                        let extent = world.tree.chunk(leaf);
                        world.book.doubt(&mut world.tree, extent);
                    }
                    world.flush();
                }
            }
            assert!(world.believes_the_disk(), "step {step}");
        }
    }
}
