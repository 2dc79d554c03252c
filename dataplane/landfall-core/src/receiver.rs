//! The receiver's books: what was applied, what is durable, what may be acknowledged (I4), and
//! which session may write at all (I6).

use std::collections::BTreeSet;
use std::ops::Range;

use crate::leaves::LeafBook;
use crate::tree::HashTree;
use crate::{Bitmap, Extent, UNIT};

/// Units of the have-map in one page of its file: 1 GiB.
pub const UNITS_PER_PAGE: u64 = 16_384;

/// The book of one destination disk.
#[derive(Clone, Debug)]
pub struct ReceiverDisk {
    capacity: u64,
    have: Bitmap,
    tree: HashTree,
    leaves: LeafBook,
    applied: Vec<Range<u64>>,
    flushing: Vec<Range<u64>>,
    /// Somebody needs a flush although nothing was written here.
    asked: bool,
    must_flush: bool,
    /// Units of which a write is not durable: before the flush that is under way, and after.
    wet: Bitmap,
    drying: Bitmap,
    /// Pages of the have-map that differ from the state disk.
    unstored: BTreeSet<u64>,
    /// Flushes that failed.
    failures: u64,
}

/// A write that is under way: which flushes had failed when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applying(u64);

/// A flush failed while a write was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushFailed;

impl ReceiverDisk {
    /// With the have-map as it was found on the state disk. The caller has flushed the disk
    /// since: what a killed process left in a cache may be read, but is not durable.
    pub fn new(capacity: u64, have: Bitmap) -> Self {
        Self {
            capacity,
            have,
            tree: HashTree::new(capacity),
            leaves: LeafBook::new(capacity),
            applied: Vec::new(),
            flushing: Vec::new(),
            asked: false,
            must_flush: false,
            wet: Bitmap::for_disk(capacity, UNIT),
            drying: Bitmap::for_disk(capacity, UNIT),
            unstored: BTreeSet::new(),
            failures: 0,
        }
    }

    /// Capacity of the disk.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// What is durable here.
    pub fn have(&self) -> &Bitmap {
        &self.have
    }

    /// Whether every unit is durable here.
    pub fn complete(&self) -> bool {
        self.have.ones() == self.have.len()
    }

    /// The hash tree.
    pub fn tree(&self) -> &HashTree {
        &self.tree
    }

    /// The hash tree, for hashing chunks.
    pub fn tree_mut(&mut self) -> &mut HashTree {
        &mut self.tree
    }

    /// Which leaves are on the state disk.
    pub fn leaves(&self) -> &LeafBook {
        &self.leaves
    }

    /// The same, for storing them.
    pub fn leaves_mut(&mut self) -> &mut LeafBook {
        &mut self.leaves
    }

    /// Takes the leaves from the state disk, after every chunk with content was touched.
    pub fn recover_leaves(&mut self, page: impl FnMut(u64) -> Option<Vec<u8>>) {
        self.leaves = LeafBook::recover(self.capacity, &mut self.tree, page);
    }

    /// The bytes of a page of leaves, to be written now; see [`LeafBook::page`].
    pub fn leaf_page(&mut self, page: u64, all: bool) -> Vec<u8> {
        self.leaves.page(&self.tree, page, all)
    }

    /// The source compares an extent; see [`LeafBook::doubt`].
    pub fn doubt(&mut self, extent: Extent) -> bool {
        let doubted = self.leaves.doubt(&mut self.tree, extent);
        self.asked |= doubted;
        doubted
    }

    /// A write failed: a part of the extent may have changed.
    pub fn apply_failed(&mut self, extent: Extent) {
        self.tree.touch(extent);
        self.leaves.changed(&mut self.tree, extent);
        self.wet.set(extent.touched(UNIT));
    }

    /// The next chunk to hash of which every unit is durable.
    pub fn next_stale(&self, from: u64) -> Option<u64> {
        let mut at = from;
        loop {
            let leaf = self.tree.stale().next(at, true)?;
            if self.have.all(self.tree.chunk(leaf).touched(UNIT)) {
                return Some(leaf);
            }
            at = leaf + 1;
        }
    }

    /// A write to the disk is about to begin.
    pub fn begin_apply(&self) -> Applying {
        Applying(self.failures)
    }

    /// An extent was written to the disk; it is not durable yet. Only units that one frame
    /// covers wholly may become part of the have-map. I8: if a flush failed meanwhile, it may
    /// have taken the first half of the write with it, and nothing of it is believed.
    pub fn applied(
        &mut self,
        began: Applying,
        extent: Extent,
        changed: bool,
    ) -> Result<(), FlushFailed> {
        if changed {
            self.tree.touch(extent);
            self.leaves.changed(&mut self.tree, extent);
        } else {
            // A hole that was one: its leaves stay those of zeroes, however many there are.
            self.leaves.doubt(&mut self.tree, extent);
        }
        self.wet.set(extent.touched(UNIT));
        if began.0 != self.failures {
            self.unhave(extent.touched(UNIT));
            return Err(FlushFailed);
        }
        let units = extent.whole(UNIT, self.capacity);
        if units.is_empty() || self.have.all(units.clone()) {
            return Ok(());
        }
        match self.applied.last_mut() {
            Some(last) if last.end == units.start => last.end = units.end,
            _ => self.applied.push(units),
        }
        Ok(())
    }

    fn unhave(&mut self, units: Range<u64>) {
        if self.have.clear(units.clone()) > 0 {
            self.unstored.extend(pages(&units));
        }
    }

    /// Whether anything waits for a flush, and whether a flush is under way.
    pub fn unflushed(&self) -> (bool, bool) {
        let waits = self.asked || self.wet.ones() > 0 || !self.unstored.is_empty();
        (waits, self.must_flush || self.drying.ones() > 0)
    }

    /// The caller is about to flush the disk: what is applied after this is not covered by it.
    /// The answer says whether there is anything to flush.
    pub fn begin_flush(&mut self) -> bool {
        self.flushing.append(&mut self.applied);
        self.leaves.begin_flush();
        if self.drying.ones() == 0 {
            std::mem::swap(&mut self.wet, &mut self.drying);
        } else {
            move_runs(&mut self.wet, &mut self.drying);
        }
        self.must_flush |= std::mem::take(&mut self.asked);
        self.must_flush || self.drying.ones() > 0 || !self.unstored.is_empty()
    }

    /// The flush succeeded. The answer names the pages of the have-map to persist next; they
    /// are named again until [`ReceiverDisk::stored`].
    pub fn flushed(&mut self) -> BTreeSet<u64> {
        self.leaves.flushed();
        self.must_flush = false;
        self.drying = Bitmap::new(self.drying.len());
        for units in self.flushing.drain(..) {
            if self.have.set(units.clone()) > 0 {
                self.unstored.extend(pages(&units));
            }
        }
        self.unstored.clone()
    }

    /// Pages of the have-map as they were when they were named are durable.
    pub fn stored(&mut self, pages: &BTreeSet<u64>) {
        self.unstored.retain(|page| !pages.contains(page));
    }

    /// I8: a flush failed. Nothing that was not acknowledged may be believed, and what was
    /// written since the last good flush is no longer had: a cache may go on showing content
    /// that never reaches the medium. The answer names the pages of the have-map to persist.
    pub fn flush_failed(&mut self) -> BTreeSet<u64> {
        self.applied.clear();
        self.leaves.flush_failed();
        self.flushing.clear();
        move_runs(&mut self.wet, &mut self.drying);
        let mut at = 0;
        while let Some(units) = self.drying.next_run(at, true, u64::MAX) {
            at = units.end;
            let extent = self.extent_of(&units);
            self.tree.touch(extent);
            self.leaves.changed(&mut self.tree, extent);
            self.unhave(units);
        }
        self.failures += 1;
        (self.asked, self.must_flush) = (false, false);
        self.drying = Bitmap::new(self.drying.len());
        self.unstored.clone()
    }

    fn extent_of(&self, units: &Range<u64>) -> Extent {
        let off = units.start * UNIT;
        Extent::new(off, (units.end * UNIT).min(self.capacity) - off)
    }
}

/// Pages of the have-map that units lie in.
fn pages(units: &Range<u64>) -> Range<u64> {
    units.start / UNITS_PER_PAGE..(units.end - 1) / UNITS_PER_PAGE + 1
}

fn move_runs(from: &mut Bitmap, to: &mut Bitmap) {
    let mut at = 0;
    while let Some(run) = from.next_run(at, true, u64::MAX) {
        at = run.end;
        to.set(run);
    }
    *from = Bitmap::new(from.len());
}

/// Frames of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameBook {
    received: u64,
    flushing: u64,
    durable: u64,
}

impl FrameBook {
    /// A frame was applied. Numbers go up by one, else a frame was lost or invented.
    pub fn applied(&mut self, seq: u64) -> Result<(), u64> {
        if seq != self.received + 1 {
            return Err(self.received + 1);
        }
        self.received = seq;
        Ok(())
    }

    /// The flush is about to begin.
    pub fn begin_flush(&mut self) {
        self.flushing = self.received;
    }

    /// Data and have-map are durable up to the last [`FrameBook::begin_flush`].
    pub fn flushed(&mut self) {
        self.durable = self.flushing;
    }

    /// Highest frame applied.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Highest durable frame.
    pub fn durable(&self) -> u64 {
        self.durable
    }
}

/// Which source may write: generation of the job, epoch and session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// Highest lease generation seen.
    pub generation: u64,
    /// Highest epoch seen; persistent.
    pub epoch: u32,
    /// Session in force within it.
    pub session: u64,
}

/// A connection of an earlier source, session or holder of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

impl Fence {
    /// A first connection opens a session. The caller stops and joins everything of older
    /// sessions and flushes before it answers (I6). Whether the epoch is new is the answer.
    pub fn open(&mut self, generation: u64, epoch: u32, session: u64) -> Result<bool, Stale> {
        let newer = (epoch, session) > (self.epoch, self.session);
        if generation < self.generation || !newer {
            return Err(Stale);
        }
        let new_epoch = epoch > self.epoch;
        *self = Self { generation, epoch, session };
        Ok(new_epoch)
    }

    /// Whether a further connection or a frame belongs to the session in force.
    pub fn check(&self, epoch: u32, session: u64) -> Result<(), Stale> {
        if (epoch, session) == (self.epoch, self.session) { Ok(()) } else { Err(Stale) }
    }
}
