//! The hash tree of a disk: BLAKE3 of 1 MiB chunks, of 1,024 leaf hashes, and of all node
//! hashes followed by the capacity. Leaves that were never touched are those of zeroes and
//! take no memory.

use std::collections::BTreeMap;

use crate::{Bitmap, CHUNK, Extent};

/// A BLAKE3 hash.
pub type Hash = [u8; 32];
/// Leaves under one node.
pub const LEAVES_PER_NODE: u64 = 1_024;

/// Hash of a chunk, unit or node.
pub fn hash(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

/// A chunk that is being read for its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashing {
    leaf: u64,
    turn: u64,
}

impl Hashing {
    /// Index of the chunk.
    pub fn leaf(&self) -> u64 {
        self.leaf
    }
}

/// Leaves of one disk and which of them must be taken again.
#[derive(Clone, Debug)]
pub struct HashTree {
    capacity: u64,
    nodes: Vec<Option<Box<[Hash; LEAVES_PER_NODE as usize]>>>,
    stale: Bitmap,
    hashing: BTreeMap<u64, u64>,
    turn: u64,
    zero_leaf: Hash,
    zero_node: Hash,
}

impl HashTree {
    /// The tree of a disk of zeroes.
    pub fn new(capacity: u64) -> Self {
        let leaves = capacity.div_ceil(CHUNK);
        let zero_leaf = hash(&vec![0; CHUNK as usize]);
        let mut tree = Self {
            capacity,
            nodes: vec![None; leaves.div_ceil(LEAVES_PER_NODE) as usize],
            stale: Bitmap::new(leaves),
            hashing: BTreeMap::new(),
            turn: 0,
            zero_leaf,
            zero_node: hash(zero_leaf.repeat(LEAVES_PER_NODE as usize).as_slice()),
        };
        let tail = capacity % CHUNK;
        if tail != 0 {
            tree.store(leaves - 1, hash(&vec![0; tail as usize]));
        }
        tree
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
        self.stale.set(extent.touched(CHUNK));
    }

    /// A chunk is about to be read for its hash: a change from now on makes it stale again.
    /// Of two who read the same chunk only the later counts.
    pub fn begin(&mut self, leaf: u64) -> Hashing {
        self.stale.clear(leaf..leaf + 1);
        self.turn += 1;
        self.hashing.insert(leaf, self.turn);
        Hashing { leaf, turn: self.turn }
    }

    /// The hash of a chunk as it was read after [`HashTree::begin`].
    pub fn put(&mut self, hashing: Hashing, value: Hash) {
        if self.hashing.get(&hashing.leaf) == Some(&hashing.turn) {
            self.hashing.remove(&hashing.leaf);
            self.store(hashing.leaf, value);
        }
    }

    /// The chunk could not be read: it stays stale.
    pub fn abandon(&mut self, hashing: Hashing) {
        if self.hashing.get(&hashing.leaf) == Some(&hashing.turn) {
            self.hashing.remove(&hashing.leaf);
            self.stale.set(hashing.leaf..hashing.leaf + 1);
        }
    }

    /// Everything must be hashed again.
    pub fn distrust(&mut self) {
        self.stale.set(0..self.leaves());
    }

    fn store(&mut self, leaf: u64, value: Hash) {
        let (node, at) = (leaf / LEAVES_PER_NODE, (leaf % LEAVES_PER_NODE) as usize);
        let slot = &mut self.nodes[node as usize];
        if slot.is_none() && value == self.zero_leaf {
            return;
        }
        slot.get_or_insert_with(|| Box::new([self.zero_leaf; LEAVES_PER_NODE as usize]))[at] =
            value;
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
        Some(node.as_ref().map_or(self.zero_leaf, |node| node[(leaf % LEAVES_PER_NODE) as usize]))
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
            None if count == LEAVES_PER_NODE => self.zero_node,
            None => hash(self.zero_leaf.repeat(count as usize).as_slice()),
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
