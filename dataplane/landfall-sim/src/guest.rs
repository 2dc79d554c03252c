//! The guest and the tap: writes, zeroes, trims and flushes of several disks at once, each in
//! several steps between which anything may happen.

use std::collections::BTreeMap;

use landfall_core::intent::Turn;
use landfall_core::{BLOCK, Extent, UNIT};

use crate::rules::Rule;
use crate::store::SECTOR;
use crate::world::World;

const OPS_MAX: usize = 3;

/// How far a request is.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Not given to the disk yet: its regions may not be in the write-intent log.
    Waiting,
    /// Given to the disk; sectors before this one are written.
    Submitted(u64),
    /// The disk took it.
    Landed,
    /// A flush that covers this much of the cache, and of each sector's history.
    Flushing(u64, BTreeMap<u64, usize>),
}

/// One request of the guest.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) disk: usize,
    pub(crate) extent: Extent,
    pub(crate) version: u64,
    pub(crate) phase: Phase,
    pub(crate) turn: Option<Turn>,
}

/// The VM.
#[derive(Default)]
pub(crate) struct Guest {
    pub(crate) open: bool,
    /// Nothing is asked for now: then disks become clean, and what is wrong shows.
    pub(crate) resting: bool,
    pub(crate) ops: Vec<Op>,
    pub(crate) version: u64,
    /// Per disk and sector: every version in the order in which the disk took them.
    pub(crate) history: Vec<BTreeMap<u64, Vec<u64>>>,
    /// Per disk and sector: the oldest version that may be found after a power loss.
    pub(crate) floor: Vec<BTreeMap<u64, usize>>,
    /// Disks of which a flush failed: the guest was told, and may believe nothing older.
    pub(crate) warned: Vec<bool>,
}

impl World {
    /// The guest begins a request.
    pub(crate) fn guest_begins(&mut self) -> bool {
        let serves = self.source.as_ref().is_some_and(|source| source.serves());
        if self.random.one_in(25) {
            self.guest.resting = !self.guest.resting;
        }
        if !serves
            || self.guest.resting
            || !self.guest.open
            || self.calm
            || self.guest.ops.len() >= OPS_MAX
        {
            return false;
        }
        let disk = self.random.below(self.capacities.len() as u64) as usize;
        if self.random.one_in(6) {
            let floors: BTreeMap<u64, usize> =
                self.guest.history[disk].iter().map(|(at, list)| (*at, list.len() - 1)).collect();
            let mark = self.source_disks[disk].begin_flush();
            let extent = Extent::new(0, SECTOR);
            let phase = Phase::Flushing(mark, floors);
            self.guest.ops.push(Op { disk, extent, version: 0, phase, turn: None });
            return true;
        }
        let extent = self.guest_extent(disk);
        let busy = |op: &Op| {
            op.disk == disk
                && !matches!(op.phase, Phase::Flushing(..))
                && op.extent.overlaps(&extent)
        };
        if self.guest.ops.iter().any(busy) {
            return false;
        }
        self.guest.version += 1;
        let version = if self.random.one_in(5) { 0 } else { self.guest.version };
        if !self.keeps(Rule::I2MarkAfterWrite) {
            self.mark(disk, extent);
        }
        let phase = Phase::Waiting;
        self.guest.ops.push(Op { disk, extent, version, phase, turn: None });
        self.note(|| format!("guest writes {version} to {disk} {extent:?}"));
        true
    }

    /// A few hot places, so that rewrites and races are common; now and then anywhere.
    fn guest_extent(&mut self, disk: usize) -> Extent {
        let capacity = self.capacities[disk];
        let units = capacity.div_ceil(UNIT);
        let unit = match self.random.below(8) {
            0 => self.random.below(units),
            1 => units - 1,
            hot => (hot - 2) * 17 % units,
        };
        let len = match self.random.below(6) {
            0 => SECTOR,
            1 => UNIT + BLOCK,
            2 => 3 * SECTOR,
            3 => 2 * BLOCK,
            _ => BLOCK,
        };
        let within = self.random.below(UNIT / BLOCK) * BLOCK;
        let within = if len < BLOCK { within + self.random.below(8) * SECTOR } else { within };
        let off = (unit * UNIT + within).min(capacity - SECTOR);
        Extent::new(off, len.min(capacity - off))
    }

    fn mark(&mut self, disk: usize, extent: Extent) {
        if let Some(source) = &mut self.source {
            source.books[disk].written(extent);
        }
    }

    /// I1: a write is submitted when its regions are in the log.
    fn guest_submits(&mut self, at: usize) -> bool {
        let (late, unfenced) = (!self.keeps(Rule::I1IntentFirst), !self.keeps(Rule::I1bClearFence));
        let op = &mut self.guest.ops[at];
        let log = &mut self.source.as_mut().expect("it runs").intents[op.disk].log;
        op.turn = None;
        if unfenced {
            // The bit is there as long as the pages say so.
            let regions = op.extent.touched(log.region_bytes());
            if !log.suspects().all(regions) {
                op.turn = log.begin_write(op.extent);
                if op.turn.is_none() {
                    return false;
                }
            }
        } else {
            op.turn = log.begin_write(op.extent);
            if op.turn.is_none() && !late {
                return false;
            }
        }
        op.phase = Phase::Submitted(op.extent.off / SECTOR);
        true
    }

    /// A request goes on by one step.
    pub(crate) fn guest_goes_on(&mut self) -> bool {
        if self.guest.ops.is_empty() || self.source.is_none() {
            return false;
        }
        let at = self.random.below(self.guest.ops.len() as u64) as usize;
        let op = self.guest.ops[at].clone();
        match op.phase {
            Phase::Waiting => return self.guest_submits(at),
            Phase::Submitted(from) => {
                let end = op.extent.end() / SECTOR;
                let to =
                    if self.random.one_in(3) { from + self.random.below(end - from) } else { end };
                for sector in from..to {
                    self.source_disks[op.disk].write(sector, op.version);
                    self.guest.history[op.disk].entry(sector).or_default().push(op.version);
                }
                self.changes += 1;
                self.check_owner_when_written();
                self.guest.ops[at].phase =
                    if to == end { Phase::Landed } else { Phase::Submitted(to) };
            }
            Phase::Landed => {
                if self.keeps(Rule::I2MarkAfterWrite) {
                    self.mark(op.disk, op.extent);
                }
                let op = self.guest.ops.swap_remove(at);
                let source = self.source.as_mut().expect("it runs");
                if let Some(turn) = op.turn {
                    source.intents[op.disk].log.end_write(turn);
                }
            }
            Phase::Flushing(mark, floors) => {
                self.guest.ops.swap_remove(at);
                if self.fails("source flush") {
                    self.source_disks[op.disk].fail_flush(mark, &mut self.random);
                    self.guest.warned[op.disk] = true;
                    let source = self.source.as_mut().expect("it runs");
                    source.intents[op.disk].never_clear = true;
                    return true;
                }
                self.source_disks[op.disk].end_flush(mark);
                if !self.guest.warned[op.disk] {
                    self.guest.floor[op.disk].extend(floors);
                }
            }
        }
        true
    }
}
