//! Sizes that source and receiver agree on, and extents.

/// Grain of the dirty map.
pub const BLOCK: u64 = 4 << 10;
/// Grain of the have-map: what the receiver knows to be there, it knows in these units.
pub const UNIT: u64 = 64 << 10;
/// Grain of the hash tree, and the longest extent in one frame.
pub const CHUNK: u64 = 1 << 20;

/// A run of bytes on a disk, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    /// First byte.
    pub off: u64,
    /// Number of bytes.
    pub len: u64,
}

impl Extent {
    /// A run of `len` bytes from `off`.
    pub fn new(off: u64, len: u64) -> Self {
        Self { off, len }
    }

    /// First byte after it.
    pub fn end(&self) -> u64 {
        self.off + self.len
    }

    /// Whether the two share a byte.
    pub fn overlaps(&self, other: &Extent) -> bool {
        self.off < other.end() && other.off < self.end()
    }

    /// Grown to whole grains, but not over the end of the disk.
    pub fn widened(&self, grain: u64, capacity: u64) -> Extent {
        let off = self.off / grain * grain;
        let end = self.end().div_ceil(grain).saturating_mul(grain).min(capacity);
        Extent { off, len: end - off }
    }

    /// Indices of the grains that it covers wholly; the last grain of a disk may be short.
    pub fn whole(&self, grain: u64, capacity: u64) -> std::ops::Range<u64> {
        let first = self.off.div_ceil(grain);
        let last =
            if self.end() == capacity { capacity.div_ceil(grain) } else { self.end() / grain };
        first..last.max(first)
    }

    /// Indices of the grains that it touches.
    pub fn touched(&self, grain: u64) -> std::ops::Range<u64> {
        self.off / grain..self.end().div_ceil(grain)
    }
}
