//! The hash tree of a disk: BLAKE3 of 1 MiB chunks, of 1,024 leaf hashes, and of all node
//! hashes followed by the capacity. Leaves that were never touched are those of zeroes and
//! take no memory.
//!
//! BLAKE3 is a tree itself. The values of a chunk's sixteen 64 KiB subtrees are kept for
//! recently hashed chunks, so that after a small write 64 KiB are read again, not 1 MiB.

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::{Bitmap, CHUNK, Extent, UNIT};

/// A BLAKE3 hash.
pub type Hash = [u8; 32];
/// Leaves under one node.
pub const LEAVES_PER_NODE: u64 = 1_024;
/// Chunks of one disk whose subtrees are kept: 4 GiB of it in 3 MiB of memory.
const PARTS_MAX: usize = 4_096;
const UNITS: usize = (CHUNK / UNIT) as usize;

/// Hash of a chunk, unit or node.
pub fn hash(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

/// A chunk that is being read for its hash, and which of its units must be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashing {
    chunk: Extent,
    leaf: u64,
    turn: u64,
    units: u16,
}

/// What was read for a hash.
#[derive(Clone, Debug)]
pub struct Taken {
    hashing: Hashing,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    /// The last chunk of a disk, shorter than the others.
    Short(Hash),
    Units(Box<[Option<ChainingValue>; UNITS]>),
}

impl Hashing {
    /// Index of the chunk.
    pub fn leaf(&self) -> u64 {
        self.leaf
    }

    /// Takes the values from the whole chunk, as it lies in memory.
    pub fn of_chunk(self, bytes: &[u8]) -> Taken {
        debug_assert_eq!(bytes.len() as u64, self.chunk.len);
        if self.chunk.len < CHUNK {
            return Taken { hashing: self, values: Values::Short(hash(bytes)) };
        }
        let mut units = bytes.chunks(UNIT as usize).enumerate();
        let values = std::array::from_fn(|_| units.next().map(|(at, unit)| subtree(at, unit)));
        Taken { hashing: self, values: Values::Units(Box::new(values)) }
    }

    /// Takes the values through `read`, which fills a part of `buf` from an offset of the disk.
    pub fn read<E>(
        self,
        buf: &mut [u8],
        mut read: impl FnMut(&mut [u8], u64) -> Result<(), E>,
    ) -> Result<Taken, E> {
        if self.chunk.len < CHUNK || self.units == u16::MAX {
            let bytes = &mut buf[..self.chunk.len as usize];
            read(bytes, self.chunk.off)?;
            return Ok(self.of_chunk(bytes));
        }
        let mut values = [None; UNITS];
        for (at, value) in values.iter_mut().enumerate() {
            if self.units >> at & 1 == 1 {
                let unit = &mut buf[..UNIT as usize];
                read(unit, self.chunk.off + at as u64 * UNIT)?;
                *value = Some(subtree(at, unit));
            }
        }
        Ok(Taken { hashing: self, values: Values::Units(Box::new(values)) })
    }
}

impl Taken {
    /// The chunk's hash, where all of it was read.
    pub fn whole(&self) -> Option<Hash> {
        match &self.values {
            Values::Short(hash) => Some(*hash),
            Values::Units(values) => {
                let mut all = [[0; 32]; UNITS];
                for (slot, value) in all.iter_mut().zip(values.iter()) {
                    *slot = (*value)?;
                }
                Some(merge(&all))
            }
        }
    }
}

/// Value of one 64 KiB subtree at its place in a chunk.
fn subtree(at: usize, bytes: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(at as u64 * UNIT).update(bytes).finalize_non_root()
}

/// The chunk's hash from its sixteen subtrees.
fn merge(values: &[ChainingValue; UNITS]) -> Hash {
    let mut level = *values;
    let mut count = UNITS;
    while count > 2 {
        for at in 0..count / 2 {
            level[at] = merge_subtrees_non_root(&level[2 * at], &level[2 * at + 1], Mode::Hash);
        }
        count /= 2;
    }
    *merge_subtrees_root(&level[0], &level[1], Mode::Hash).as_bytes()
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
    stale: Bitmap,
    /// Chunks being read: whose turn it is, and the units it reads.
    hashing: BTreeMap<u64, (u64, u16)>,
    parts: BTreeMap<u64, Box<Parts>>,
    /// Chunks in `parts` as they came; the oldest goes first.
    parts_order: VecDeque<u64>,
    turn: u64,
    zero_tail: Hash,
}

static ZERO_LEAF: LazyLock<Hash> = LazyLock::new(|| hash(&vec![0; CHUNK as usize]));
static ZERO_NODE: LazyLock<Hash> =
    LazyLock::new(|| hash(&ZERO_LEAF.repeat(LEAVES_PER_NODE as usize)));

impl HashTree {
    /// The tree of a disk of zeroes.
    pub fn new(capacity: u64) -> Self {
        let leaves = capacity.div_ceil(CHUNK);
        let tail = (capacity % CHUNK) as usize;
        Self {
            capacity,
            nodes: vec![None; leaves.div_ceil(LEAVES_PER_NODE) as usize],
            stale: Bitmap::new(leaves),
            hashing: BTreeMap::new(),
            parts: BTreeMap::new(),
            parts_order: VecDeque::new(),
            turn: 0,
            zero_tail: if tail == 0 { *ZERO_LEAF } else { hash(&vec![0; tail]) },
        }
    }

    fn zero(&self, leaf: u64) -> Hash {
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
        for (leaf, parts) in self.parts.range_mut(leaves.clone()) {
            for unit in extent.touched(UNIT) {
                if unit / UNITS as u64 == *leaf {
                    parts.stale |= 1 << (unit % UNITS as u64);
                }
            }
        }
        self.stale.set(leaves);
    }

    /// Nothing that was kept of an extent's chunks is believed: they are read as a whole.
    pub fn distrust(&mut self, extent: Extent) {
        let keep = |leaf: &u64| !extent.touched(CHUNK).contains(leaf);
        self.parts.retain(|leaf, _| keep(leaf));
        self.parts_order.retain(keep);
        self.stale.set(extent.touched(CHUNK));
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
            while self.parts_order.len() >= PARTS_MAX {
                let oldest = self.parts_order.pop_front();
                oldest.map(|oldest| self.parts.remove(&oldest));
            }
            self.parts_order.push_back(leaf);
            let stale = if self.stale.get(leaf) { u16::MAX } else { 0 };
            self.parts.insert(leaf, Box::new(Parts { values: [[0; 32]; UNITS], stale }));
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

    /// Hash of a node, unless one of its leaves must be taken first.
    pub fn node(&self, node: u64) -> Option<Hash> {
        let first = node * LEAVES_PER_NODE;
        let count = LEAVES_PER_NODE.min(self.leaves() - first);
        let range = first..first + count;
        if !self.stale.none(range.clone()) || self.hashing.range(range).next().is_some() {
            return None;
        }
        Some(match &self.nodes[node as usize] {
            Some(leaves) => hash(leaves[..count as usize].as_flattened()),
            None if first + count < self.leaves() => *ZERO_NODE,
            None => hash(self.zero_leaves(node)[..count as usize].as_flattened()),
        })
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
