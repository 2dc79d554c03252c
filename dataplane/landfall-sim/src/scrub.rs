//! The scrub: both sides are read again before the job is ready, in the steps in which the source
//! asks, reads its own disk and compares. And what it is there for: content that rots.

use std::ops::Range;

use landfall_core::scrub::{Mode, Scrub};
use landfall_core::tree::Hash;
use landfall_core::{CHUNK, UNIT};

use crate::net::Msg;
use crate::oracle::unit_hash;
use crate::rules::Rule;
use crate::source::{Link, Source, Stage};
use crate::store::{Disk, SECTOR};
use crate::world::World;

/// What rotten sectors hold.
const ROTTEN: u64 = 6_666_666;
/// Chunks in one question.
const ASK_CHUNKS: u64 = 4;

/// A question that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    disk: usize,
    leaves: Range<u64>,
    ours: Option<Vec<Vec<Hash>>>,
    pub(crate) theirs: Option<Vec<Vec<Hash>>>,
}

pub(crate) fn new_scrubs(capacities: &[u64]) -> Vec<Scrub> {
    capacities.iter().map(|capacity| Scrub::new(*capacity, Mode::Repair)).collect()
}

/// What stands for the hashes of a chunk's parts; a short chunk has one.
pub(crate) fn chunk_hashes(disk: &Disk, leaf: u64, capacity: u64) -> Vec<Hash> {
    let per_chunk = CHUNK / UNIT;
    let units = leaf * per_chunk..((leaf + 1) * per_chunk).min(capacity.div_ceil(UNIT));
    let hashes: Vec<Hash> = units.map(|unit| unit_hash(disk, unit)).collect();
    if (leaf + 1) * CHUNK <= capacity {
        return hashes;
    }
    vec![*blake3::hash(hashes.as_flattened()).as_bytes()]
}

impl Source {
    /// Nothing that was asked will be answered.
    pub(crate) fn abandon_ask(&mut self) {
        if let Some(ask) = self.ask.take() {
            let (scrub, book) = (&mut self.scrubs[ask.disk], &mut self.books[ask.disk]);
            ask.leaves.for_each(|leaf| scrub.abandon(book, leaf));
        }
    }

    /// Whether a freeze may begin.
    pub(crate) fn scrub_ready(&self) -> bool {
        self.scrubs.iter().all(Scrub::ready)
    }

    /// Whether every chunk was equal when both sides were read again.
    pub(crate) fn scrub_done(&self) -> bool {
        self.scrubs.iter().all(Scrub::complete)
    }
}

impl World {
    /// The source asks, reads its own disk, or compares.
    pub(crate) fn scrubs(&mut self) -> bool {
        let Some(source) = &mut self.source else { return false };
        let Link::Up(conns) = source.link.clone() else { return false };
        if source.stage != Stage::Running || source.machine.is_sealed() || conns.len() < 2 {
            return false;
        }
        let Some(ask) = &mut source.ask else {
            let disk = self.random.below(self.capacities.len() as u64) as usize;
            let (scrub, book) = (&mut source.scrubs[disk], &mut source.books[disk]);
            let Some(leaves) = scrub.next(book, ASK_CHUNKS, false) else { return false };
            let msg = Msg::WantReread { disk, leaves: leaves.clone() };
            source.ask = Some(Ask { disk, leaves, ours: None, theirs: None });
            self.conns.get_mut(&conns[1]).expect("it is up").send(msg);
            return true;
        };
        if ask.ours.is_none() {
            let (disk, capacity) = (&self.source_disks[ask.disk], self.capacities[ask.disk]);
            let read = |leaf| chunk_hashes(disk, leaf, capacity);
            ask.ours = Some(ask.leaves.clone().map(read).collect());
            return true;
        }
        let (disk, leaf) = (ask.disk, ask.leaves.start);
        let first = |side: &Option<Vec<Vec<Hash>>>| side.as_ref()?.first().cloned();
        let Some(theirs) = first(&ask.theirs) else {
            if ask.leaves.is_empty() {
                source.ask = None;
            }
            return false;
        };
        let ours = first(&ask.ours).expect("as many as they");
        let chunk = source.scrubs[disk].extent(leaf);
        if ours != theirs && !self.note_difference(disk, chunk) {
            return false;
        }
        let source = self.source.as_mut().expect("it runs");
        let ask = source.ask.as_mut().expect("it is under way");
        ask.leaves.start = leaf + 1;
        ask.ours.as_mut().expect("read").remove(0);
        ask.theirs.as_mut().expect("came").remove(0);
        let (scrub, book) = (&mut source.scrubs[disk], &mut source.books[disk]);
        let verdict = scrub.compared(book, leaf, &ours, &theirs);
        self.note(|| format!("chunk {leaf} of {disk} was read again: {verdict:?}"));
        true
    }

    /// A sector of a destination disk rots where the scrub has not been yet: nobody is told, and
    /// the hash that is known of its chunk says nothing of it.
    pub(crate) fn rots(&mut self) -> bool {
        let Some(source) = &self.source else { return false };
        let machine = &source.machine;
        if source.ask.is_some() || machine.is_sealed() || machine.frozen() {
            return false;
        }
        let disk = self.random.below(self.capacities.len() as u64) as usize;
        let sector = self.random.below(self.capacities[disk] / SECTOR);
        let leaf = sector * SECTOR / CHUNK;
        self.targets[disk].rot(sector, ROTTEN);
        self.rotten.insert((disk, sector));
        if let Some(source) = &mut self.source {
            source.scrubs[disk].doubt(leaf);
        }
        self.note(|| format!("FAULT sector {sector} of destination disk {disk} rots"));
        true
    }

    /// Whether what is wrong at a sector is known to the simulation, and the scrub will find it.
    pub(crate) fn excused(&self, disk: usize, sector: u64) -> bool {
        self.rotten.contains(&(disk, sector))
    }

    /// Whether the rules let a hand-over begin, or go on to its barrier.
    pub(crate) fn scrub_lets(&self, done: bool) -> bool {
        let Some(source) = &self.source else { return false };
        !self.keeps(Rule::ScrubBeforeReady)
            || if done { source.scrub_done() } else { source.scrub_ready() }
    }
}
