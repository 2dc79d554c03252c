//! The hash of one chunk: taken from its whole, or from those of its sixteen 64 KiB subtrees
//! that changed. BLAKE3 is a tree itself, so that the others need not be read again.

use std::sync::LazyLock;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::tree::{Hash, hash};
use crate::{CHUNK, Extent, UNIT};

/// Subtrees of a chunk.
pub(crate) const UNITS: usize = (CHUNK / UNIT) as usize;

/// A chunk that is being read for its hash, and which of its units must be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashing {
    pub(crate) chunk: Extent,
    pub(crate) leaf: u64,
    pub(crate) turn: u64,
    pub(crate) units: u16,
}

/// What was read for a hash.
#[derive(Clone, Debug)]
pub struct Taken {
    pub(crate) hashing: Hashing,
    pub(crate) values: Values,
}

#[derive(Clone, Debug)]
pub(crate) enum Values {
    /// The last chunk of a disk, shorter than the others.
    Short(Hash),
    Units(Box<[Option<ChainingValue>; UNITS]>),
}

impl Hashing {
    /// The chunk.
    pub fn chunk(&self) -> Extent {
        self.chunk
    }

    /// Index of the chunk.
    pub fn leaf(&self) -> u64 {
        self.leaf
    }

    /// Whether all of the chunk is to be read.
    pub fn is_whole(&self) -> bool {
        self.chunk.len < CHUNK || self.units == u16::MAX
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
        if self.is_whole() {
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

impl Taken {
    /// Values of the parts that can be compared by themselves: the sixteen subtrees of a chunk
    /// that was read as a whole, or the one hash of a short chunk.
    pub fn parts(&self) -> Option<Vec<Hash>> {
        match &self.values {
            Values::Short(hash) => Some(vec![*hash]),
            Values::Units(values) => values.iter().copied().collect(),
        }
    }

    /// The same of a chunk that was read in part: zeroes stand for what was not read.
    pub fn parts_read(&self) -> Vec<Hash> {
        match &self.values {
            Values::Short(hash) => vec![*hash],
            Values::Units(values) => values.iter().map(|value| value.unwrap_or_default()).collect(),
        }
    }
}

/// The parts of a chunk of zeroes of this length.
pub fn zero_parts(len: u64) -> Vec<Hash> {
    static ZEROES: LazyLock<Vec<Hash>> =
        LazyLock::new(|| (0..UNITS).map(|at| subtree(at, &[0; UNIT as usize])).collect());
    if len == CHUNK { ZEROES.clone() } else { vec![hash(&vec![0; len as usize])] }
}

/// Value of one 64 KiB subtree at its place in a chunk.
pub(crate) fn subtree(at: usize, bytes: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(at as u64 * UNIT).update(bytes).finalize_non_root()
}

/// The chunk's hash from its sixteen subtrees.
pub(crate) fn merge(values: &[ChainingValue; UNITS]) -> Hash {
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
