//! The hash tree of a disk: BLAKE3 of 1 MiB chunks, of 1,024 leaf hashes, and of all node
//! hashes followed by the capacity. Leaves that were never touched are those of zeroes and
//! take no memory.
//!
//! BLAKE3 is a tree itself. The values of a chunk's sixteen 64 KiB subtrees are kept for
//! recently hashed chunks, so that after a small write 64 KiB are read again, not 1 MiB.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{LazyLock, OnceLock};

use blake3::hazmat::ChainingValue;

pub use crate::chunk_hash::{Hashing, Taken, zero_parts};
use crate::chunk_hash::{UNITS, Values, merge, subtree};
use crate::{Bitmap, CHUNK, Extent, UNIT};

/// A BLAKE3 hash.
pub type Hash = [u8; 32];
/// Leaves under one node.
pub const LEAVES_PER_NODE: u64 = 1_024;
/// Chunks of one disk whose subtrees are kept: 16 GiB of it in 10 MiB of memory.
pub const PARTS_MAX: usize = 16_384;

/// Hash of a chunk, unit or node.
pub fn hash(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

#[derive(Clone, Debug)]
struct Parts {
    values: [ChainingValue; UNITS],
    /// Units whose value is out of date.
    stale: u16,
}

/// Leaves of one disk and which of them must be taken again.
#[derive(Clone, Debug)]
pub struct HashTree {
    capacity: u64,
    nodes: Vec<Option<Box<[Hash; LEAVES_PER_NODE as usize]>>>,
    /// Hashes of nodes, until one of their leaves changes: a root costs what changed.
    node_hashes: Vec<OnceLock<Hash>>,
    stale: Bitmap,
    /// Chunks somebody compares: which of their units were touched meanwhile.
    watched: BTreeMap<u64, u16>,
    /// Nodes somebody compares as a whole: whether they were touched meanwhile.
    watched_nodes: BTreeMap<u64, bool>,
    touches: u64,
    /// Chunks being read: whose turn it is, and the units it reads.
    hashing: BTreeMap<u64, (u64, u16)>,
    parts: BTreeMap<u64, Box<Parts>>,
    /// Chunks in `parts` as they came; the oldest goes first.
    parts_order: VecDeque<u64>,
    parts_max: usize,
    turn: u64,
    zero_tail: Hash,
}

static ZERO_LEAF: LazyLock<Hash> = LazyLock::new(|| hash(&vec![0; CHUNK as usize]));
static ZERO_PARTS: LazyLock<[ChainingValue; UNITS]> =
    LazyLock::new(|| std::array::from_fn(|at| subtree(at, &[0; UNIT as usize])));
static ZERO_NODE: LazyLock<Hash> =
    LazyLock::new(|| hash(&ZERO_LEAF.repeat(LEAVES_PER_NODE as usize)));

impl HashTree {
    /// The tree of a disk of zeroes.
    pub fn new(capacity: u64) -> Self {
        let leaves = capacity.div_ceil(CHUNK);
        let tail = (capacity % CHUNK) as usize;
        let nodes = leaves.div_ceil(LEAVES_PER_NODE) as usize;
        Self {
            capacity,
            nodes: vec![None; nodes],
            node_hashes: vec![OnceLock::new(); nodes],
            stale: Bitmap::new(leaves),
            watched: BTreeMap::new(),
            watched_nodes: BTreeMap::new(),
            touches: 0,
            hashing: BTreeMap::new(),
            parts: BTreeMap::new(),
            parts_order: VecDeque::new(),
            parts_max: PARTS_MAX,
            turn: 0,
            zero_tail: if tail == 0 { *ZERO_LEAF } else { hash(&vec![0; tail]) },
        }
    }

    /// How many chunks' subtrees are kept; many disks share what one may have.
    pub fn set_parts_max(&mut self, parts_max: usize) {
        self.parts_max = parts_max.max(1);
    }

    /// Hash of a chunk that holds zeroes.
    pub fn zero(&self, leaf: u64) -> Hash {
        if leaf + 1 == self.leaves() { self.zero_tail } else { *ZERO_LEAF }
    }

    /// Hashes of the leaves of a node that has none but those of zeroes.
    fn zero_leaves(&self, node: u64) -> Box<[Hash; LEAVES_PER_NODE as usize]> {
        let mut leaves = Box::new([*ZERO_LEAF; LEAVES_PER_NODE as usize]);
        let last = self.leaves() - 1;
        if last / LEAVES_PER_NODE == node {
            leaves[(last % LEAVES_PER_NODE) as usize] = self.zero_tail;
        }
        leaves
    }

    /// Number of chunks.
    pub fn leaves(&self) -> u64 {
        self.stale.len()
    }

    /// Number of nodes.
    pub fn nodes(&self) -> u64 {
        self.nodes.len() as u64
    }

    /// Bytes of a chunk.
    pub fn chunk(&self, leaf: u64) -> Extent {
        let off = leaf * CHUNK;
        Extent::new(off, CHUNK.min(self.capacity - off))
    }

    /// Chunks whose hash must be taken again.
    pub fn stale(&self) -> &Bitmap {
        &self.stale
    }

    /// The content of an extent changed (said after the change).
    pub fn touch(&mut self, extent: Extent) {
        let leaves = extent.touched(CHUNK);
        if let Some(last) = leaves.clone().next_back() {
            self.know_zeroes(leaves.start, extent);
            self.know_zeroes(last, extent);
        }
        for (leaf, parts) in self.parts.range_mut(leaves.clone()) {
            parts.stale |= units_of(*leaf, extent);
        }
        for (leaf, touched) in self.watched.range_mut(leaves.clone()) {
            *touched |= units_of(*leaf, extent);
        }
        let nodes = extent.touched(LEAVES_PER_NODE * CHUNK);
        self.watched_nodes.range_mut(nodes).for_each(|(_, touched)| *touched = true);
        self.touches += 1;
        self.stale.set(leaves);
    }

    /// The subtrees of a chunk of zeroes are known without reading it: a first small write into
    /// a hole costs what it changes.
    fn know_zeroes(&mut self, leaf: u64, extent: Extent) {
        let chunk = self.chunk(leaf);
        let whole = extent.off <= chunk.off && chunk.end() <= extent.end();
        if whole || chunk.len < CHUNK || self.parts.contains_key(&leaf) {
            return;
        }
        if self.leaf(leaf) == Some(*ZERO_LEAF) {
            self.insert_parts(leaf, Parts { values: *ZERO_PARTS, stale: 0 });
        }
    }

    fn insert_parts(&mut self, leaf: u64, parts: Parts) {
        while self.parts_order.len() >= self.parts_max {
            let oldest = self.parts_order.pop_front();
            oldest.map(|oldest| self.parts.remove(&oldest));
        }
        self.parts_order.push_back(leaf);
        self.parts.insert(leaf, Box::new(parts));
    }

    /// Changes so far: two equal answers mean that nothing changed between.
    pub fn touches(&self) -> u64 {
        self.touches
    }

    /// From now on it is noted what changes in a chunk. Of two who watch it the second may be
    /// told of more than happened since, never of less.
    pub fn watch(&mut self, leaf: u64) {
        self.watched.entry(leaf).or_insert(0);
    }

    /// Ends a watch. The units that stayed as they were are the answer, a bit for each; none
    /// when nobody watched any more.
    pub fn unwatch(&mut self, leaf: u64) -> u16 {
        self.watched.remove(&leaf).map_or(0, |touched| !touched)
    }

    /// The same as [`HashTree::watch`] for a whole node.
    pub fn watch_node(&mut self, node: u64) {
        self.watched_nodes.entry(node).or_insert(false);
    }

    /// Ends that watch: whether nothing of the node changed; no when nobody watched any more.
    pub fn unwatch_node(&mut self, node: u64) -> bool {
        self.watched_nodes.remove(&node).is_some_and(|touched| !touched)
    }

    /// Nothing that was kept of an extent's chunks is believed: they are read as a whole.
    pub fn distrust(&mut self, extent: Extent) {
        let keep = |leaf: &u64| !extent.touched(CHUNK).contains(leaf);
        self.parts.retain(|leaf, _| keep(leaf));
        self.parts_order.retain(keep);
        self.stale.set(extent.touched(CHUNK));
    }

    /// The same as [`HashTree::begin`], but the whole chunk is to be read.
    pub fn begin_whole(&mut self, leaf: u64) -> Hashing {
        self.begin_units(leaf, u16::MAX)
    }

    /// The same as [`HashTree::begin`], but these units are to be read in any case, a bit for
    /// each; the others where they must.
    pub fn begin_units(&mut self, leaf: u64, units: u16) -> Hashing {
        if let Some(parts) = self.parts.get_mut(&leaf) {
            parts.stale |= units;
        }
        self.begin(leaf)
    }

    /// A leaf that was kept on disk: believed until the chunk changes.
    pub fn load(&mut self, leaf: u64, value: Hash) {
        self.stale.clear(leaf..leaf + 1);
        self.store(leaf, value);
    }

    /// A chunk is about to be read for its hash: a change from now on makes it stale again.
    /// Of two who read the same chunk only the later counts; it reads what both had to.
    pub fn begin(&mut self, leaf: u64) -> Hashing {
        self.stale.clear(leaf..leaf + 1);
        self.turn += 1;
        let own = self.parts.get_mut(&leaf).map(|parts| std::mem::take(&mut parts.stale));
        let other = self.hashing.get(&leaf).map_or(0, |(_, units)| *units);
        let units = own.map_or(u16::MAX, |own| own | other);
        self.hashing.insert(leaf, (self.turn, units));
        Hashing { chunk: self.chunk(leaf), leaf, turn: self.turn, units }
    }

    /// The values of a chunk as it was read after [`HashTree::begin`].
    pub fn put(&mut self, taken: &Taken) {
        let Hashing { leaf, turn, units, .. } = taken.hashing;
        if self.hashing.get(&leaf) != Some(&(turn, units)) {
            return;
        }
        self.hashing.remove(&leaf);
        match &taken.values {
            Values::Short(hash) => self.store(leaf, *hash),
            Values::Units(values) => self.put_units(leaf, units, values),
        }
    }

    fn put_units(&mut self, leaf: u64, units: u16, values: &[Option<ChainingValue>; UNITS]) {
        if !self.parts.contains_key(&leaf) {
            if units != u16::MAX || values.iter().any(Option::is_none) {
                self.stale.set(leaf..leaf + 1);
                return;
            }
            let stale = if self.stale.get(leaf) { u16::MAX } else { 0 };
            self.insert_parts(leaf, Parts { values: [[0; 32]; UNITS], stale });
        }
        let parts = self.parts.get_mut(&leaf).expect("it was just put there");
        for (kept, new) in parts.values.iter_mut().zip(values) {
            *kept = new.unwrap_or(*kept);
        }
        let value = merge(&parts.values);
        self.store(leaf, value);
    }

    /// The chunk could not be read: it stays stale.
    pub fn abandon(&mut self, hashing: Hashing) {
        let Hashing { leaf, turn, units, .. } = hashing;
        if self.hashing.get(&leaf) == Some(&(turn, units)) {
            self.hashing.remove(&leaf);
            self.stale.set(leaf..leaf + 1);
            if let Some(parts) = self.parts.get_mut(&leaf) {
                parts.stale |= units;
            }
        }
    }

    fn store(&mut self, leaf: u64, value: Hash) {
        let (node, at) = (leaf / LEAVES_PER_NODE, (leaf % LEAVES_PER_NODE) as usize);
        self.node_hashes[node as usize] = OnceLock::new();
        if self.nodes[node as usize].is_none() {
            if value == self.zero(leaf) {
                return;
            }
            self.nodes[node as usize] = Some(self.zero_leaves(node));
        }
        if let Some(leaves) = &mut self.nodes[node as usize] {
            leaves[at] = value;
        }
    }

    /// Whether every chunk has its hash.
    pub fn fresh(&self) -> bool {
        self.stale.ones() == 0 && self.hashing.is_empty()
    }

    /// Hash of a chunk, unless it must be taken first.
    pub fn leaf(&self, leaf: u64) -> Option<Hash> {
        if self.stale.get(leaf) || self.hashing.contains_key(&leaf) {
            return None;
        }
        let node = &self.nodes[(leaf / LEAVES_PER_NODE) as usize];
        let at = (leaf % LEAVES_PER_NODE) as usize;
        Some(node.as_ref().map_or_else(|| self.zero(leaf), |node| node[at]))
    }

    /// Bytes of a node's chunks.
    pub fn node_extent(&self, node: u64) -> Extent {
        let off = node * LEAVES_PER_NODE * CHUNK;
        Extent::new(off, (LEAVES_PER_NODE * CHUNK).min(self.capacity - off))
    }

    /// Whether every chunk of a node is known to hold zeroes, without a look at each.
    pub fn is_zero_node(&self, node: u64) -> bool {
        self.nodes[node as usize].is_none() && self.node_is_fresh(node)
    }

    fn node_is_fresh(&self, node: u64) -> bool {
        let leaves = self.node_extent(node).touched(CHUNK);
        self.stale.none(leaves.clone()) && self.hashing.range(leaves).next().is_none()
    }

    /// Hash of a node, unless one of its leaves must be taken first.
    pub fn node(&self, node: u64) -> Option<Hash> {
        if !self.node_is_fresh(node) {
            return None;
        }
        let leaves = self.node_extent(node).touched(CHUNK);
        let count = leaves.end - leaves.start;
        let taken = || match &self.nodes[node as usize] {
            Some(leaves) => hash(leaves[..count as usize].as_flattened()),
            None if leaves.end < self.leaves() => *ZERO_NODE,
            None => hash(self.zero_leaves(node)[..count as usize].as_flattened()),
        };
        Some(*self.node_hashes[node as usize].get_or_init(taken))
    }

    /// The root, unless a leaf must be taken first.
    pub fn root(&self) -> Option<Hash> {
        let mut hasher = blake3::Hasher::new();
        for node in 0..self.nodes() {
            hasher.update(&self.node(node)?);
        }
        hasher.update(&self.capacity.to_le_bytes());
        Some(*hasher.finalize().as_bytes())
    }
}

/// Units of a chunk that an extent touches, a bit for each.
fn units_of(leaf: u64, extent: Extent) -> u16 {
    let (first, units) = (leaf * UNITS as u64, UNITS as u64);
    let touched = extent.touched(UNIT);
    let from = touched.start.saturating_sub(first).min(units);
    let to = touched.end.saturating_sub(first).min(units);
    (((1u32 << to) - 1) & !((1u32 << from) - 1)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain_root(disk: &[u8]) -> Hash {
        let leaves: Vec<Hash> = disk.chunks(CHUNK as usize).map(hash).collect();
        let nodes: Vec<Hash> =
            leaves.chunks(LEAVES_PER_NODE as usize).map(|n| hash(n.as_flattened())).collect();
        let mut bytes = nodes.as_flattened().to_vec();
        bytes.extend_from_slice(&(disk.len() as u64).to_le_bytes());
        hash(&bytes)
    }

    fn rehash(tree: &mut HashTree, disk: &[u8]) -> u64 {
        let mut read_bytes = 0;
        let mut buf = vec![0; CHUNK as usize];
        while let Some(leaf) = tree.stale().next(0, true) {
            let taken = tree.begin(leaf).read(&mut buf, |part, off| {
                read_bytes += part.len() as u64;
                part.copy_from_slice(&disk[off as usize..off as usize + part.len()]);
                Ok::<_, ()>(())
            });
            tree.put(&taken.unwrap());
        }
        read_bytes
    }

    #[test]
    fn root_is_the_documented_one_for_any_size_and_after_any_change() {
        for size in [512, 70_000, CHUNK, CHUNK + 512, 3 * CHUNK + 65_536] {
            let mut disk = vec![0; size as usize / 512 * 512];
            let mut tree = HashTree::new(disk.len() as u64);
            assert_eq!(tree.root(), Some(plain_root(&disk)), "zeroes, {size}");
            for step in 0..6_usize {
                let off = (step * 777_777) % disk.len() / 512 * 512;
                disk[off] = step as u8 + 1;
                tree.touch(Extent::new(off as u64, 512));
                assert_eq!(tree.root(), None);
                rehash(&mut tree, &disk);
                assert_eq!(tree.root(), Some(plain_root(&disk)), "step {step}, {size}");
            }
        }
    }

    #[test]
    fn a_small_write_to_a_known_chunk_reads_64_kib_again() {
        let mut disk = vec![7; 2 * CHUNK as usize];
        let mut tree = HashTree::new(disk.len() as u64);
        tree.touch(Extent::new(0, disk.len() as u64));
        assert_eq!(rehash(&mut tree, &disk), 2 * CHUNK);
        disk[200_000] = 9;
        tree.touch(Extent::new(200_000 / 512 * 512, 512));
        assert_eq!(rehash(&mut tree, &disk), UNIT);
        assert_eq!(tree.root(), Some(plain_root(&disk)));
    }

    #[test]
    fn a_small_write_into_a_hole_reads_64_kib_only() {
        let mut disk = vec![0; 3 * CHUNK as usize];
        let mut tree = HashTree::new(disk.len() as u64);
        for (off, len) in [(CHUNK + UNIT, UNIT), (2 * CHUNK - 512, 1024)] {
            disk[off as usize..(off + len) as usize].fill(9);
            tree.touch(Extent::new(off, len));
            assert!(rehash(&mut tree, &disk) <= 2 * UNIT);
            assert_eq!(tree.root(), Some(plain_root(&disk)));
        }
    }

    #[test]
    fn of_two_who_hash_one_chunk_the_later_counts() {
        let mut disk = vec![1; CHUNK as usize];
        let mut tree = HashTree::new(CHUNK);
        tree.touch(Extent::new(0, CHUNK));
        rehash(&mut tree, &disk);
        tree.touch(Extent::new(0, 512));
        let old = tree.begin(0).of_chunk(&disk);
        disk[0] = 2;
        tree.touch(Extent::new(0, 512));
        disk[500_000] = 3;
        tree.touch(Extent::new(500_000 / 512 * 512, 512));
        let new = tree.begin(0).of_chunk(&disk);
        tree.put(&new);
        tree.put(&old);
        assert_eq!(tree.root(), Some(plain_root(&disk)));
    }

    #[test]
    fn a_change_while_a_chunk_is_first_read_is_not_lost() {
        let mut disk = vec![1; CHUNK as usize];
        let mut tree = HashTree::new(CHUNK);
        tree.touch(Extent::new(0, CHUNK));
        let taken = tree.begin(0).of_chunk(&disk);
        disk[0] = 2;
        tree.touch(Extent::new(0, 512));
        tree.put(&taken);
        assert_eq!(tree.root(), None);
        rehash(&mut tree, &disk);
        assert_eq!(tree.root(), Some(plain_root(&disk)));
    }
}
