//! A disk or state file with a volatile cache, in sectors of 512 bytes. What was not flushed
//! may survive a power loss or not, sector by sector and in any order; after a failed flush the
//! cache believes to be clean although nothing was written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::random::Random;

/// Bytes of a sector: what a disk writes whole or not at all.
pub const SECTOR: u64 = 512;

/// Content of sectors; a sector that holds the default value is a hole.
#[derive(Clone, Debug, Default)]
pub struct Store<S> {
    durable: BTreeMap<u64, S>,
    visible: BTreeMap<u64, S>,
    /// Versions of a sector that are not known to be on the medium, oldest first.
    cached: BTreeMap<u64, Vec<(u64, S)>>,
    sequence: u64,
}

impl<S: Clone + PartialEq + Default> Store<S> {
    /// What a reader sees.
    pub fn get(&self, sector: u64) -> S {
        self.visible.get(&sector).cloned().unwrap_or_default()
    }

    /// What is there after a power loss that takes everything it may.
    pub fn durable(&self, sector: u64) -> S {
        self.durable.get(&sector).cloned().unwrap_or_default()
    }

    /// Sectors of a range that are not holes.
    pub fn range(&self, sectors: Range<u64>) -> impl Iterator<Item = (u64, &S)> {
        self.visible.range(sectors).map(|(sector, value)| (*sector, value))
    }

    /// Whether a range holds nothing.
    pub fn is_hole(&self, sectors: Range<u64>) -> bool {
        self.visible.range(sectors).next().is_none()
    }

    /// All sectors as a reader sees them.
    pub fn visible_map(&self) -> &BTreeMap<u64, S> {
        &self.visible
    }

    /// All sectors as the medium has them.
    pub fn durable_map(&self) -> &BTreeMap<u64, S> {
        &self.durable
    }

    /// Changes a sector in the cache.
    pub fn write(&mut self, sector: u64, value: S) {
        let same = self.get(sector) == value && self.durable(sector) == value;
        if same && !self.cached.contains_key(&sector) {
            return;
        }
        self.sequence += 1;
        self.cached.entry(sector).or_default().push((self.sequence, value.clone()));
        put(&mut self.visible, sector, value);
    }

    /// The medium itself changes a sector.
    pub fn rot(&mut self, sector: u64, value: S) {
        self.cached.remove(&sector);
        put(&mut self.durable, sector, value.clone());
        put(&mut self.visible, sector, value);
    }

    /// Makes a range read as holes.
    pub fn punch(&mut self, sectors: Range<u64>) {
        for sector in self.known(sectors) {
            self.write(sector, S::default());
        }
    }

    /// Sectors of a range that anybody may see a value of.
    fn known(&self, sectors: Range<u64>) -> BTreeSet<u64> {
        let visible = self.visible.range(sectors.clone()).map(|(sector, _)| *sector);
        let durable = self.durable.range(sectors.clone()).map(|(sector, _)| *sector);
        let cached = self.cached.range(sectors).map(|(sector, _)| *sector);
        visible.chain(durable).chain(cached).collect()
    }

    /// A flush begins: it covers what was written before.
    pub fn begin_flush(&self) -> u64 {
        self.sequence
    }

    /// The flush succeeded.
    pub fn end_flush(&mut self, mark: u64) {
        self.settle(mark, |_| true);
    }

    /// The flush failed: some of it may be on the medium, and content is not tried again. Holes
    /// are: they are metadata, which a file system keeps in its journal or stops over.
    pub fn fail_flush(&mut self, mark: u64, random: &mut Random) {
        let lucky = random.below(3);
        let holes = self.cached.iter().filter_map(|(sector, versions)| {
            let last = versions.iter().rfind(|(at, _)| *at <= mark)?;
            (last.1 == S::default()).then_some(*sector)
        });
        let holes: BTreeSet<u64> = holes.collect();
        self.settle(mark, |sector| lucky > 0 && sector % 3 < lucky);
        for sector in holes {
            let versions = self.cached.entry(sector).or_default();
            versions.insert(0, (mark, S::default()));
        }
    }

    fn settle(&mut self, mark: u64, written: impl Fn(u64) -> bool) {
        let durable = &mut self.durable;
        self.cached.retain(|sector, versions| {
            let covered = versions.partition_point(|(at, _)| *at <= mark);
            if let Some((_, last)) = versions[..covered].last()
                && written(*sector)
            {
                put(durable, *sector, last.clone());
            }
            versions.drain(..covered);
            !versions.is_empty()
        });
    }

    /// The cache forgets what it believes to be clean: readers see the medium.
    pub fn drop_clean(&mut self) {
        let cached = &self.cached;
        self.visible.retain(|sector, _| cached.contains_key(sector));
        for (sector, value) in &self.durable {
            if !cached.contains_key(sector) {
                self.visible.insert(*sector, value.clone());
            }
        }
    }

    /// The cache writes back a sector on its own.
    pub fn write_back(&mut self, random: &mut Random) -> bool {
        if self.cached.is_empty() {
            return false;
        }
        let at = random.below(self.cached.len() as u64) as usize;
        let sector = *self.cached.keys().nth(at).expect("it was counted");
        let versions = self.cached.remove(&sector).expect("it is there");
        let (_, last) = versions.last().expect("never empty").clone();
        put(&mut self.durable, sector, last);
        true
    }

    /// Power is lost: of each sector the medium has any of the versions since the last flush.
    pub fn lose_power(&mut self, random: &mut Random) {
        let mode = random.below(4);
        for (sector, versions) in std::mem::take(&mut self.cached) {
            let kept = match mode {
                0 => None,
                1 => versions.last(),
                _ => {
                    let at = random.below(versions.len() as u64 + 1) as usize;
                    versions.get(at)
                }
            };
            if let Some((_, value)) = kept {
                put(&mut self.durable, sector, value.clone());
            }
        }
        self.visible = self.durable.clone();
    }
}

fn put<S: PartialEq + Default>(map: &mut BTreeMap<u64, S>, sector: u64, value: S) {
    if value == S::default() {
        map.remove(&sector);
    } else {
        map.insert(sector, value);
    }
}

/// A state file: sectors of bytes.
pub type StateFile = Store<Vec<u8>>;

impl StateFile {
    /// Writes bytes at an offset that is a multiple of a sector.
    pub fn write_at(&mut self, off: u64, bytes: &[u8]) {
        for (at, part) in bytes.chunks(SECTOR as usize).enumerate() {
            self.write(off / SECTOR + at as u64, part.to_vec());
        }
    }

    /// Bytes as a reader sees them.
    pub fn read_at(&self, off: u64, len: usize) -> Vec<u8> {
        bytes(off, len, |sector| self.get(sector))
    }

    /// Bytes as the medium has them.
    pub fn durable_at(&self, off: u64, len: usize) -> Vec<u8> {
        bytes(off, len, |sector| self.durable(sector))
    }
}

fn bytes(off: u64, len: usize, get: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    for at in 0..(len as u64).div_ceil(SECTOR) {
        let mut sector = get(off / SECTOR + at);
        sector.resize(SECTOR as usize, 0);
        out.extend_from_slice(&sector);
    }
    out.truncate(len);
    out
}

/// A disk: each sector holds the number of the write that made it, 0 for zeroes.
pub type Disk = Store<u64>;

/// The bytes of an extent of a disk, as they are hashed.
pub fn render(disk: &Disk, off: u64, out: &mut [u8]) {
    out.fill(0);
    let first = off / SECTOR;
    for (sector, version) in disk.range(first..first + out.len() as u64 / SECTOR) {
        let at = ((sector - first) * SECTOR) as usize;
        for word in out[at..at + SECTOR as usize].chunks_exact_mut(8) {
            word.copy_from_slice(&version.to_le_bytes());
        }
    }
}
