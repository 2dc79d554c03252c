//! The source's book of one disk: what changed, what the destination has, what is on the way.
//!
//! The caller reads and sends. It must mark a write after the disk took it and before the
//! guest hears of it (I2), and must read an extent only after it was picked (I2b).

use std::ops::Range;

use crate::inflight::{InFlight, Ticket};
use crate::lag::Marks;
use crate::tree::HashTree;
use crate::{BLOCK, Bitmap, CHUNK, Extent, UNIT};

/// An extent that was taken for sending: read it now, then send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Names it until it is acknowledged.
    pub ticket: Ticket,
    /// What to read.
    pub extent: Extent,
}

/// The book of one source disk.
#[derive(Clone, Debug)]
pub struct SourceDisk {
    capacity: u64,
    tracking: bool,
    dirty: Bitmap,
    have: Bitmap,
    unverified: Bitmap,
    /// Regions, and bytes of one, outside of which the destination's have-map is believed; none
    /// when nothing of it is.
    suspects: Option<(Bitmap, u64)>,
    settled: bool,
    allocated: Bitmap,
    in_flight: InFlight,
    tree: HashTree,
    foreground_at: u64,
    background_at: u64,
    compare_at: u64,
    again_bytes: u64,
    dirtied_bytes: u64,
}

impl SourceDisk {
    /// A disk nobody tracks yet.
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            tracking: false,
            dirty: Bitmap::for_disk(capacity, BLOCK),
            have: Bitmap::for_disk(capacity, UNIT),
            unverified: Bitmap::for_disk(capacity, UNIT),
            suspects: None,
            settled: false,
            allocated: Bitmap::for_disk(capacity, UNIT),
            in_flight: InFlight::default(),
            tree: HashTree::new(capacity),
            foreground_at: 0,
            background_at: 0,
            compare_at: 0,
            again_bytes: 0,
            dirtied_bytes: 0,
        }
    }

    /// Begins to track. Whatever the disk holds already must be told with
    /// [`SourceDisk::note_allocated`] afterwards: what is not told counts as zeroes.
    pub fn track(&mut self) {
        if !self.tracking {
            self.forget();
            self.tracking = true;
        }
    }

    /// Forgets everything: the next [`SourceDisk::track`] begins with nothing known.
    pub fn forget(&mut self) {
        *self = Self {
            in_flight: self.in_flight.emptied(),
            dirtied_bytes: self.dirtied_bytes,
            ..Self::new(self.capacity)
        };
    }

    /// Whether writes are tracked.
    pub fn tracking(&self) -> bool {
        self.tracking
    }

    /// Capacity of the disk.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Blocks that changed and are not on the way.
    pub fn dirty(&self) -> &Bitmap {
        &self.dirty
    }

    /// Units the destination is known to have.
    pub fn have(&self) -> &Bitmap {
        &self.have
    }

    /// What is on its way, for the judgement of the lag.
    pub fn marks(&self) -> Marks {
        self.in_flight.marks()
    }

    /// The hash tree.
    pub fn tree(&self) -> &HashTree {
        &self.tree
    }

    /// The hash tree, for hashing chunks.
    pub fn tree_mut(&mut self) -> &mut HashTree {
        &mut self.tree
    }

    /// A run of the disk that is not a hole: it is to be copied and its chunks to be hashed.
    pub fn note_allocated(&mut self, extent: Extent) {
        self.allocated.set(extent.touched(UNIT));
        self.tree.touch(extent);
    }

    /// The guest changed an extent; the disk has taken it, the guest does not know yet (I2).
    /// The answer is the bytes that became dirty by it.
    pub fn written(&mut self, extent: Extent) -> u64 {
        if !self.tracking {
            return 0;
        }
        self.allocated.set(extent.touched(UNIT));
        self.tree.touch(extent);
        let dirtied = self.dirty.set(extent.touched(BLOCK)) * BLOCK;
        self.dirtied_bytes += dirtied;
        dirtied
    }

    /// Bytes of clean blocks that writes made dirty, all in all.
    pub fn dirtied_bytes(&self) -> u64 {
        self.dirtied_bytes
    }

    /// Bytes of an extent that are not dirty yet: what a write to it would have to pay for.
    pub fn clean_bytes(&self, extent: Extent) -> u64 {
        let blocks = extent.touched(BLOCK);
        (blocks.end - blocks.start - self.dirty.count(blocks)) * BLOCK
    }

    /// What an earlier process left: only these regions may differ from what the destination has.
    /// To be said after [`SourceDisk::track`], and only if tracking went on where that process
    /// stopped.
    pub fn suspect_only(&mut self, regions: Bitmap, region_bytes: u64) {
        debug_assert!(region_bytes.is_multiple_of(64 * UNIT) && !self.settled);
        self.suspects = Some((regions, region_bytes));
    }

    /// Another job begins for the same destination, after the sessions of one before: only what
    /// lies in these regions of the log is compared, and what is dirty stays so. What is suspected
    /// since the process began counts while there was no session.
    pub fn begin_anew(&mut self, regions: Bitmap, region_bytes: u64) {
        if self.settled {
            self.settled = false;
            self.suspect_only(regions, region_bytes);
        }
    }

    /// Nothing of what the destination has is believed any more (I11).
    pub fn suspect_all(&mut self) {
        (self.suspects, self.settled) = (None, false);
    }

    /// Whether the 64 units of a word of the have-map may differ from the destination's.
    fn suspect(&self, word: u64) -> bool {
        let region = |(map, bytes): &(Bitmap, u64)| map.get(word * 64 * UNIT / bytes);
        self.suspects.as_ref().is_none_or(region)
    }

    /// Whether an extent's content is durably at the destination, as far as it has it at all: the
    /// extent may leave the write-intent log (I3). What the destination lacks is copied in any
    /// case, and so does not matter here. Nothing is quiet before the first have-map came.
    pub fn quiet(&self, extent: Extent) -> bool {
        self.settled
            && self.dirty.none(extent.touched(BLOCK))
            && self.unverified.none(extent.touched(UNIT))
            && self.in_flight.overlap(extent).is_none()
    }

    /// Whether an extent lies in units that are still to be copied: then writing to it costs
    /// nothing, because they go out with what they hold by then.
    pub fn still_to_copy(&self, extent: Extent) -> bool {
        self.have.none(extent.touched(UNIT)) && self.in_flight.overlap(extent).is_none()
    }

    /// Whether an extent, within a region of the log, still has to be compared, or nobody knows yet:
    /// a clean close says so to the next who opens the disk.
    pub fn doubtful(&self, extent: Extent) -> bool {
        match self.settled {
            true => !self.unverified.none(extent.touched(UNIT)),
            false => self.suspect(extent.off / (64 * UNIT)),
        }
    }

    /// The receiver's have-map at the start of a session. With `distrust` (another epoch than
    /// the one the map was filled in) every suspect unit it holds must be compared.
    pub fn begin_session(&mut self, have: Bitmap, distrust: bool) {
        debug_assert!(self.in_flight.is_empty());
        self.have = have;
        let words = self.have.len().div_ceil(64);
        let before = std::mem::replace(&mut self.unverified, Bitmap::new(self.have.len()));
        for word in 0..words {
            let held = self.have.word(word);
            if held == 0 {
                continue;
            }
            let open = if distrust && self.suspect(word) { held } else { held & before.word(word) };
            if open != 0 {
                self.unverified.merge_word(word, open);
            }
        }
        self.settled = true;
        (self.foreground_at, self.background_at, self.compare_at) = (0, 0, 0);
    }

    /// All connections are lost: what was in flight may or may not have arrived. Units that the
    /// destination never confirmed stay to be copied; in the others the blocks are dirty again.
    pub fn connection_lost(&mut self) {
        for extent in self.in_flight.drain() {
            self.put_back(extent);
        }
        self.compare_at = 0;
    }

    fn put_back(&mut self, extent: Extent) {
        for unit in extent.touched(UNIT) {
            if self.have.get(unit) {
                let start = extent.off.max(unit * UNIT);
                let end = extent.end().min((unit + 1) * UNIT);
                self.dirty.set(Extent::new(start, end - start).touched(BLOCK));
            } else {
                self.background_at = self.background_at.min(unit);
            }
        }
    }

    /// The next dirty extent, at most `max` bytes, taken out of the map and put in flight.
    pub fn pick_foreground(&mut self, max: u64) -> Option<Pick> {
        let start = self.foreground_at;
        let pick = self.scan_foreground(start..self.dirty.len(), max);
        pick.or_else(|| self.scan_foreground(0..start.min(self.dirty.len()), max))
    }

    fn scan_foreground(&mut self, blocks: Range<u64>, max: u64) -> Option<Pick> {
        let mut at = blocks.start;
        while at < blocks.end {
            let run = self.dirty.next_run(at, true, max / BLOCK)?;
            if run.start >= blocks.end {
                return None;
            }
            let extent = self.foreground_extent(run, max);
            match self.in_flight.overlap(extent) {
                Some(busy) => at = busy.end().div_ceil(BLOCK).max(at + 1),
                None => {
                    self.foreground_at = extent.end().div_ceil(BLOCK);
                    return self.take(extent);
                }
            }
        }
        None
    }

    /// The two-granularity rule: a unit the destination does not have yet goes as a whole.
    fn foreground_extent(&self, run: Range<u64>, max: u64) -> Extent {
        let off = run.start * BLOCK;
        let first = off / UNIT;
        let chunk_end = (off / CHUNK + 1) * CHUNK;
        if !self.have.get(first) {
            let unit = Extent::new(first * UNIT, UNIT.min(self.capacity - first * UNIT));
            let mut end = unit.end();
            while end < chunk_end.min(self.capacity) && end + UNIT - unit.off <= max {
                let next = Extent::new(end, UNIT.min(self.capacity - end));
                if self.have.get(end / UNIT) || self.dirty.none(next.touched(BLOCK)) {
                    break;
                }
                end = next.end();
            }
            return Extent::new(unit.off, end - unit.off);
        }
        let mut end = (run.end * BLOCK).min(chunk_end).min(self.capacity);
        if let Some(absent) = (first..end.div_ceil(UNIT)).find(|unit| !self.have.get(*unit)) {
            end = end.min(absent * UNIT);
        }
        Extent::new(off, end - off)
    }

    /// The next units the destination lacks, at most `max` bytes, put in flight. Extents up to
    /// a chunk keep within one, so that its hash can be taken from what is read.
    pub fn pick_background(&mut self, max: u64) -> Option<Pick> {
        let mut at = self.background_at;
        loop {
            let run = self.have.next_run(at, false, max.div_ceil(UNIT).max(1))?;
            let off = run.start * UNIT;
            let mut end = (run.end * UNIT).min(self.capacity);
            if max <= CHUNK {
                end = end.min((off / CHUNK + 1) * CHUNK);
            }
            let extent = Extent::new(off, end - off);
            match self.in_flight.overlap(extent) {
                Some(busy) if busy.off <= off => at = busy.end().div_ceil(UNIT).max(at + 1),
                Some(busy) => return self.take(Extent::new(off, busy.off - off)),
                None => {
                    return self.take(extent);
                }
            }
        }
    }

    /// Where the next background extent will be, without taking it.
    pub fn peek_background(&self) -> Option<u64> {
        let mut at = self.background_at;
        loop {
            let unit = self.have.next(at, false)?;
            let extent = Extent::new(unit * UNIT, UNIT.min(self.capacity - unit * UNIT));
            match self.in_flight.overlap(extent) {
                Some(busy) => at = busy.end().div_ceil(UNIT).max(at + 1),
                None => return Some(extent.off),
            }
        }
    }

    /// I2b: the bits are cleared here, before the caller reads.
    fn take(&mut self, extent: Extent) -> Option<Pick> {
        let ticket = self.in_flight.begin(extent)?;
        self.dirty.clear(extent.touched(BLOCK));
        Some(Pick { ticket, extent })
    }

    /// The extent was not sent after all.
    pub fn cancel(&mut self, ticket: Ticket) {
        if let Some(extent) = self.in_flight.end(ticket) {
            self.put_back(extent);
        }
    }

    /// The extent is durable at the destination (I4).
    pub fn acknowledged(&mut self, ticket: Ticket) {
        if let Some(extent) = self.in_flight.end(ticket) {
            let whole = extent.whole(UNIT, self.capacity);
            self.have.set(whole.clone());
            self.unverified.clear(whole);
            while self.background_at < self.have.len() && self.have.get(self.background_at) {
                let next = self.have.next(self.background_at, false);
                self.background_at = next.unwrap_or(self.have.len());
            }
        }
    }

    /// The next units to compare, at most `max` of them.
    pub fn next_compare(&mut self, max: u64) -> Option<Range<u64>> {
        let range = self.unverified.next_run(self.compare_at, true, max)?;
        self.compare_at = range.end;
        Some(range)
    }

    /// Result of a comparison. A unit that differs is dirty as a whole; one that is equal may
    /// have become dirty meanwhile, and stays so.
    pub fn compared(&mut self, unit: u64, equal: bool) {
        if self.unverified.clear(unit..unit + 1) == 1 && !equal {
            let extent = Extent::new(unit * UNIT, UNIT.min(self.capacity - unit * UNIT));
            self.dirty.set(extent.touched(BLOCK));
        }
    }

    /// A chunk differs at the barrier: it is sent and hashed again, here as a whole too.
    pub fn repair(&mut self, leaf: u64) {
        let chunk = self.tree.chunk(leaf);
        self.dirty.set(chunk.touched(BLOCK));
        self.tree.distrust(chunk);
    }

    /// Whether the destination has every unit, compared if it had to be.
    pub fn background_complete(&self) -> bool {
        self.have.ones() == self.have.len() && self.unverified.ones() == 0
    }

    /// Whether nothing is dirty, unknown or on the way.
    pub fn clean(&self) -> bool {
        self.background_complete() && self.dirty.ones() == 0 && self.in_flight.is_empty()
    }

    /// Whether everything was sent: nothing is dirty or unknown. What is still on the way is the
    /// second answer.
    pub fn all_sent(&self) -> (bool, usize) {
        (self.background_complete() && self.dirty.ones() == 0, self.in_flight.len())
    }

    /// Bytes of which the destination has a version, but not durably the newest.
    pub fn dirty_bytes(&self) -> u64 {
        let known = |extent: &Extent| self.have.get(extent.off / UNIT);
        let moving: u64 = self.in_flight.extents().filter(known).map(|extent| extent.len).sum();
        (self.dirty.ones() * BLOCK + moving).min(self.capacity)
    }

    /// Units still to be compared.
    pub fn unverified(&self) -> u64 {
        self.unverified.ones()
    }

    /// Bytes that are not holes.
    pub fn allocated_bytes(&self) -> u64 {
        (self.allocated.ones() * UNIT).min(self.capacity)
    }

    /// Bytes that are not holes and that the destination lacks.
    pub fn missing_bytes(&self) -> u64 {
        self.allocated.count_without(&self.have) * UNIT
    }

    /// Whether nothing of a chunk is dirty or on the way and the destination has all of it.
    pub fn chunk_is_quiet(&self, leaf: u64) -> bool {
        self.is_quiet(self.tree.chunk(leaf))
    }

    /// The same of any extent of whole units.
    pub fn is_quiet(&self, extent: Extent) -> bool {
        let units = extent.touched(UNIT);
        self.have.all(units.clone()) && self.unverified.none(units) && self.is_clean(extent)
    }

    /// Units of a chunk of which nothing is dirty or on the way and which the destination has, a
    /// bit for each.
    pub fn quiet_units(&self, leaf: u64) -> u16 {
        let chunk = self.tree.chunk(leaf);
        let units = chunk.touched(UNIT);
        if self.chunk_is_quiet(leaf) {
            return ((1u32 << (units.end - units.start)) - 1) as u16;
        }
        let quiet = |unit: &u64| {
            let off = unit * UNIT;
            let extent = Extent::new(off, UNIT.min(self.capacity - off));
            self.have.get(*unit)
                && !self.unverified.get(*unit)
                && self.dirty.none(extent.touched(BLOCK))
                && self.in_flight.overlap(extent).is_none()
        };
        let first = units.start;
        units.filter(quiet).fold(0, |mask, unit| mask | 1 << (unit - first))
    }

    /// Whether nothing of an extent is dirty or on the way.
    pub fn is_clean(&self, extent: Extent) -> bool {
        self.dirty.none(extent.touched(BLOCK)) && self.in_flight.overlap(extent).is_none()
    }

    /// Chunks to hash that are quiet: complete at the destination, not dirty, not on the way.
    pub fn next_stale(&self, from: u64) -> Option<u64> {
        let mut at = from;
        loop {
            let leaf = self.tree.stale().next(at, true)?;
            if self.chunk_is_quiet(leaf) {
                return Some(leaf);
            }
            at = leaf + 1;
        }
    }

    /// Bytes in flight were counted as sent and had to be sent again.
    pub fn again_bytes(&self) -> u64 {
        self.again_bytes
    }

    /// Adds to the bytes that are sent again.
    pub fn add_again(&mut self, bytes: u64) {
        self.again_bytes += bytes;
    }
}
