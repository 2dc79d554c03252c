//! The write-intent log of one source disk: which regions may differ from what the destination
//! has, durably, so that a killed source compares those and believes the rest.
//!
//! A region's bit is durable before a write to it is submitted (I1); it leaves the log only when
//! the region is quiet and the disk was flushed after its last write (I3), and a write that comes
//! meanwhile is never overtaken by the clearing (I1b). The caller does the I/O, in the order that
//! the functions say.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::slot::{self, SLOT_LEN};
use crate::{Bitmap, Extent};

/// Magic of its slots.
pub const MAGIC: [u8; 4] = *b"LFI1";

/// Regions of disks up to [`LARGE_DISK`]: a comparison of one takes a few milliseconds.
pub const REGION: u64 = 16 << 20;
/// Regions of larger disks, so that the log of the largest keeps to 1 MiB.
pub const REGION_LARGE: u64 = 64 << 20;
/// Largest disk with small regions.
pub const LARGE_DISK: u64 = 8 << 40;
/// Regions in one page of the log.
pub const REGIONS_PER_PAGE: u64 = 16_384;
/// Bytes of a page's content: its lineage and its bits, least bit first.
pub const PAGE_LEN: usize = 8 + REGIONS_PER_PAGE as usize / 8;

/// Bytes of a region on a disk of this capacity.
pub fn region_bytes(capacity: u64) -> u64 {
    if capacity <= LARGE_DISK { REGION } else { REGION_LARGE }
}

/// Pages of the log of a disk.
pub fn pages(capacity: u64) -> u64 {
    capacity.div_ceil(region_bytes(capacity)).div_ceil(REGIONS_PER_PAGE)
}

/// What was found in one of the two slots of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Never written.
    Empty,
    /// Torn or rotten: it may have been the newer one.
    Damaged,
    /// Whole.
    Valid {
        /// Grows by one with every write of the page.
        generation: u64,
        /// As [`PageWrite::content`] was.
        content: Vec<u8>,
    },
}

impl Slot {
    /// From the bytes at [`slot_off`], or none where the file ends before.
    pub fn read(bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) if bytes.iter().any(|byte| *byte != 0) => {
                match slot::decode(MAGIC, bytes) {
                    Some((generation, content)) => {
                        Slot::Valid { generation, content: content.to_vec() }
                    }
                    None => Slot::Damaged,
                }
            }
            _ => Slot::Empty,
        }
    }
}

/// Where slot 0 or 1 of a page lies in the file.
pub fn slot_off(page: u64, slot: u64) -> u64 {
    (page * 2 + slot) * SLOT_LEN as u64
}

/// One page to be written durably, into slot `generation % 2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageWrite {
    /// Index of the page.
    pub page: u64,
    /// Its generation.
    pub generation: u64,
    /// Its content, [`PAGE_LEN`] bytes.
    pub content: Vec<u8>,
}

impl PageWrite {
    /// Where to write it in the file.
    pub fn off(&self) -> u64 {
        slot_off(self.page, self.generation % 2)
    }

    /// The slot's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        slot::encode(MAGIC, self.generation, &self.content)
    }
}

/// Pages that go out together for all who wait (group commit).
#[derive(Clone, Debug)]
pub struct Commit {
    /// To be written, all of them, then flushed.
    pub writes: Vec<PageWrite>,
    lineage: u64,
    set: BTreeSet<u64>,
    cleared: Bitmap,
}

/// Held by a write from before its submission until it is marked in the dirty map.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Turn(usize);

/// The log and who is under way.
#[derive(Clone, Debug)]
pub struct IntentLog {
    capacity: u64,
    region: u64,
    lineage: u64,
    /// Regions a write may go to at once: their bits are durable and stay so.
    covered: Bitmap,
    /// As the newest pages say. What a page of another lineage says counts as everything.
    durable: Bitmap,
    /// To be set by the next commit.
    wanted: BTreeSet<u64>,
    /// Uncovered in memory; the pages still have their bits.
    clearing: Bitmap,
    /// Of these, the ones that were flushed: the next commit clears them.
    flushed: bool,
    /// Pages are being written.
    committing: bool,
    generations: Vec<u64>,
    /// Written since the last clearing began: not worth clearing yet.
    touched: Bitmap,
    /// Writes under way by turn; the turn changes when a clearing begins.
    under_way: [u64; 2],
    turn: usize,
    /// No bit could be made durable: writes go on, and nothing here is to be believed.
    failed_open: bool,
}

impl IntentLog {
    /// A log of which nothing is known: every region may differ. True on disk as soon as `lineage`
    /// is durable in the super, because pages of another lineage do not count.
    pub fn unknown(capacity: u64, lineage: u64) -> Self {
        Self::recover(capacity, lineage, |_| [Slot::Empty, Slot::Empty])
    }

    /// As the pages say. A page that was never written in this lineage, or of which one slot is
    /// damaged (I11: it may have been the newer one), says that all its regions may differ.
    pub fn recover(capacity: u64, lineage: u64, mut read: impl FnMut(u64) -> [Slot; 2]) -> Self {
        let region = region_bytes(capacity);
        let regions = capacity.div_ceil(region);
        let mut durable = Bitmap::new(regions);
        let mut generations = Vec::new();
        for page in 0..pages(capacity) {
            let slots = read(page);
            let damaged = slots.contains(&Slot::Damaged);
            let newest = slots.into_iter().filter_map(|slot| match slot {
                Slot::Valid { generation, content } => Some((generation, content)),
                _ => None,
            });
            let (generation, content) = newest.max().unwrap_or_default();
            generations.push(generation);
            let all = page * REGIONS_PER_PAGE..((page + 1) * REGIONS_PER_PAGE).min(regions);
            match bits_of(&content, lineage).filter(|_| !damaged) {
                Some(bits) => merge(&mut durable, page, bits),
                None => {
                    durable.set(all);
                }
            }
        }
        Self {
            capacity,
            region,
            lineage,
            covered: durable.clone(),
            durable,
            wanted: BTreeSet::new(),
            clearing: Bitmap::new(regions),
            flushed: false,
            committing: false,
            generations,
            touched: Bitmap::new(regions),
            under_way: [0; 2],
            turn: 0,
            failed_open: false,
        }
    }

    /// Bytes of a region; the last one may be short.
    pub fn region_bytes(&self) -> u64 {
        self.region
    }

    /// Names this log among those that were kept for the disk.
    pub fn lineage(&self) -> u64 {
        self.lineage
    }

    /// Regions that may differ, as a process that finds the pages now would believe.
    pub fn suspects(&self) -> &Bitmap {
        &self.durable
    }

    /// The bytes of a region.
    pub fn extent(&self, region: u64) -> Extent {
        let off = region * self.region;
        Extent::new(off, self.region.min(self.capacity - off))
    }

    /// Whether the log says nothing to whoever finds it, although writes go on.
    pub fn failed_open(&self) -> bool {
        self.failed_open
    }

    /// I1: before a write is submitted. With a turn it may go on, and gives it back with
    /// [`IntentLog::end_write`] once the dirty map has it. Without one it has to wait until a
    /// commit, begun by whoever can, is over, and asks again.
    pub fn begin_write(&mut self, extent: Extent) -> Option<Turn> {
        let regions = extent.touched(self.region);
        if !self.failed_open && !self.covered.all(regions.clone()) {
            self.want(regions.clone());
        }
        self.touched.set(regions.clone());
        if !self.failed_open && !self.covered.all(regions) {
            return None;
        }
        self.under_way[self.turn] += 1;
        Some(Turn(self.turn))
    }

    fn want(&mut self, regions: Range<u64>) {
        for region in regions.clone() {
            if self.covered.get(region) {
                continue;
            }
            // I1b: until the page is being written its bit is still there, and stays.
            if self.clearing.clear(region..region + 1) == 1 {
                self.covered.set(region..region + 1);
            } else {
                self.wanted.insert(region);
            }
        }
        // Who goes forward finds the next region covered.
        let forward = regions.start > 0 && self.touched.get(regions.start - 1);
        let next = regions.end;
        if forward && !self.wanted.is_empty() && next < self.covered.len() {
            let open = !self.covered.get(next) && !self.clearing.get(next);
            open.then(|| self.wanted.insert(next));
        }
    }

    /// The write is in the dirty map, or failed.
    pub fn end_write(&mut self, turn: Turn) {
        self.under_way[turn.0] -= 1;
    }

    /// The pages to write for everybody who waits, and for a clearing that was flushed. None while
    /// others are being written, or when nothing is to be done.
    pub fn begin_commit(&mut self) -> Option<Commit> {
        let clears = self.flushed && self.clearing.ones() > 0;
        if self.committing || self.wanted.is_empty() && !clears {
            return None;
        }
        let set = std::mem::take(&mut self.wanted);
        let none = Bitmap::new(self.clearing.len());
        let cleared = if clears { std::mem::replace(&mut self.clearing, none) } else { none };
        self.flushed &= !clears;
        self.committing = true;
        let mut pages: BTreeSet<u64> = set.iter().map(|region| region / REGIONS_PER_PAGE).collect();
        let mut at = 0;
        while let Some(region) = cleared.next(at, true) {
            pages.insert(region / REGIONS_PER_PAGE);
            at = (region / REGIONS_PER_PAGE + 1) * REGIONS_PER_PAGE;
        }
        let write = |page: u64| PageWrite {
            page,
            generation: self.generations[page as usize] + 1,
            content: self.page_content(page, &set, &cleared),
        };
        let writes = pages.into_iter().map(write).collect();
        Some(Commit { writes, lineage: self.lineage, set, cleared })
    }

    fn page_content(&self, page: u64, set: &BTreeSet<u64>, cleared: &Bitmap) -> Vec<u8> {
        let mut content = self.lineage.to_le_bytes().to_vec();
        let first = page * REGIONS_PER_PAGE;
        for word in first / 64..(first + REGIONS_PER_PAGE) / 64 {
            let bits = if word * 64 < self.durable.len() {
                self.durable.word(word) & !cleared.word(word)
            } else {
                0
            };
            content.extend_from_slice(&bits.to_le_bytes());
        }
        for region in set.range(first..first + REGIONS_PER_PAGE) {
            let bit = (region - first) as usize;
            content[8 + bit / 8] |= 1 << (bit % 8);
        }
        content
    }

    /// The commit is durable: whoever waited asks again.
    pub fn committed(&mut self, commit: Commit) {
        self.committing = false;
        for write in &commit.writes {
            self.generations[write.page as usize] = write.generation;
        }
        if commit.lineage != self.lineage {
            return;
        }
        each_run(&commit.cleared, |run| self.durable.clear(run));
        for region in commit.set {
            self.durable.set(region..region + 1);
            // Whoever asked twice may find it being cleared again: then it takes it out of that.
            if !self.clearing.get(region) {
                self.covered.set(region..region + 1);
            }
        }
    }

    /// A page could not be written, or nobody knows: it holds the old or the new bits. Whoever
    /// waited still does. The caller begins the commit once more, or makes a new lineage durable and
    /// says so with [`IntentLog::distrusted`], or else [`IntentLog::fail_open`].
    pub fn commit_failed(&mut self, commit: Commit) {
        self.committing = false;
        if commit.lineage != self.lineage {
            return;
        }
        each_run(&commit.cleared, |run| self.durable.clear(run));
        if !self.failed_open {
            self.wanted.extend(commit.set);
        }
    }

    /// A new lineage is durable in the super: no page counts, every region may differ, and every
    /// write may go on.
    pub fn distrusted(&mut self, lineage: u64) {
        let all = 0..self.covered.len();
        self.lineage = lineage;
        self.covered.set(all.clone());
        self.durable.set(all.clone());
        self.clearing.clear(all.clone());
        self.touched.clear(all);
        self.wanted.clear();
        (self.flushed, self.failed_open) = (false, false);
    }

    /// Nothing can be made durable: the guest goes on, and this log says nothing until
    /// [`IntentLog::distrusted`].
    pub fn fail_open(&mut self) {
        self.failed_open = true;
        self.wanted.clear();
        self.cancel_clear();
    }

    /// Begins to clear the regions that are covered, were not written since the last time, and for
    /// which `quiet` holds: nothing in them is dirty, in flight or to be compared. From now on
    /// a write to one of them takes it out again. False if there is none, or others are not done.
    pub fn begin_clear(&mut self, mut quiet: impl FnMut(u64) -> bool) -> bool {
        if self.failed_open || self.clearing.ones() > 0 || self.under_way[1 - self.turn] > 0 {
            return false;
        }
        self.flushed = false;
        let touched = std::mem::replace(&mut self.touched, Bitmap::new(self.covered.len()));
        let mut at = 0;
        while let Some(region) = self.covered.next(at, true) {
            at = region + 1;
            if !touched.get(region) && quiet(region) {
                self.clearing.set(region..at);
            }
        }
        each_run(&self.clearing, |run| self.covered.clear(run));
        if self.clearing.ones() == 0 {
            return false;
        }
        self.turn = 1 - self.turn;
        true
    }

    /// Whether every write that was submitted before the clearing began is in the dirty map. Until
    /// then the clearing waits.
    pub fn drained(&self) -> bool {
        self.under_way[1 - self.turn] == 0
    }

    /// Regions being cleared that no write took out again, as long as no page is written.
    pub fn clearing(&self) -> &Bitmap {
        &self.clearing
    }

    /// After the writes of before are in the dirty map: the region is not quiet after all.
    pub fn keep(&mut self, region: u64) {
        if self.clearing.clear(region..region + 1) == 1 {
            self.covered.set(region..region + 1);
        }
    }

    /// I3: the disk was flushed, begun after [`IntentLog::drained`] held and every region still in
    /// [`IntentLog::clearing`] was found quiet once more. They go out with the next commit.
    pub fn flushed(&mut self) {
        self.flushed = true;
    }

    /// The flush failed (I8), or nobody is to be cleared any more: all of them stay.
    pub fn cancel_clear(&mut self) {
        let clearing = std::mem::replace(&mut self.clearing, Bitmap::new(self.covered.len()));
        each_run(&clearing, |run| self.covered.set(run));
        self.flushed = false;
    }
}

/// Bits of a page of this lineage.
fn bits_of(content: &[u8], lineage: u64) -> Option<&[u8]> {
    let (head, bits) = content.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*head) == lineage && content.len() == PAGE_LEN).then_some(bits)
}

fn merge(into: &mut Bitmap, page: u64, bits: &[u8]) {
    let first = page * REGIONS_PER_PAGE / 64;
    for (at, word) in bits.as_chunks::<8>().0.iter().enumerate() {
        let word_at = first + at as u64;
        if word_at * 64 < into.len() {
            into.merge_word(word_at, u64::from_le_bytes(*word));
        }
    }
}

fn each_run<R>(bits: &Bitmap, mut each: impl FnMut(Range<u64>) -> R) {
    let mut at = 0;
    while let Some(run) = bits.next_run(at, true, u64::MAX) {
        at = run.end;
        each(run);
    }
}
