//! What must hold: a clean disk is equal and durable at the receiver; what the guest flushed
//! survives; there are never two owners; what was handed over is what the source had.

use landfall_core::UNIT;
use landfall_core::have_pages::HavePages;
use landfall_core::ownership::Ownership;
use landfall_core::slot::SLOT_LEN;
use landfall_core::tree::Hash;

use crate::guest::Phase;
use crate::source::{Link, Stage};
use crate::store::{Disk, SECTOR};
use crate::supers::{self, SourceSuper};
use crate::world::World;

/// Stands for the hash of a unit's bytes.
pub(crate) fn unit_hash(disk: &Disk, unit: u64) -> Hash {
    let per_unit = UNIT / SECTOR;
    let mut sectors = disk.range(unit * per_unit..(unit + 1) * per_unit).peekable();
    if sectors.peek().is_none() {
        return [0; 32];
    }
    let mut hasher = blake3::Hasher::new();
    for (sector, version) in sectors {
        hasher.update(&sector.to_le_bytes());
        hasher.update(&version.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

impl World {
    /// After every step.
    pub(crate) fn check(&mut self) {
        let Some(source) = &self.source else { return };
        let up = matches!(&source.link, Link::Up(conns) if conns.len() > 1);
        if source.stage != Stage::Running || !up || self.checked == self.changes {
            return;
        }
        for disk in 0..self.capacities.len() {
            let writing =
                |op: &crate::guest::Op| op.disk == disk && !matches!(op.phase, Phase::Flushing(..));
            let clean = self.source.as_ref().is_some_and(|source| source.books[disk].clean());
            if clean && !self.guest.ops.iter().any(writing) {
                self.check_clean(disk);
            }
        }
        self.checked = self.changes;
    }

    fn check_clean(&mut self, disk: usize) {
        let (ours, theirs) = (&self.source_disks[disk], &self.targets[disk]);
        let differs = |other: &std::collections::BTreeMap<u64, u64>| {
            let map = ours.visible_map();
            let counts = |sector: u64| !self.excused(disk, sector);
            let differs = |(sector, version): &(&u64, &u64)| {
                other.get(*sector) != Some(*version) && counts(**sector)
            };
            let here = map.iter().find(differs);
            let more = |sector: &&u64| !map.contains_key(*sector) && counts(**sector);
            let there = other.keys().find(more);
            here.map(|(sector, _)| *sector).or(there.copied())
        };
        if let Some(sector) = differs(theirs.visible_map()) {
            return self.violate(format!("disk {disk} is clean and differs at sector {sector}"));
        }
        if let Some(sector) = differs(theirs.durable_map()) {
            let text = format!("disk {disk} is clean and sector {sector} is not durable");
            return self.violate(text);
        }
        let file = &self.have_files[disk];
        let slot = |off| Some(file.durable_at(off, SLOT_LEN));
        let (_, have) = HavePages::recover(self.capacities[disk], slot);
        if have.ones() != have.len() {
            self.violate(format!("disk {disk} is clean and its have-map is not durable"));
        }
    }

    /// What the guest flushed is still there after a power loss.
    pub(crate) fn check_survivors(&mut self) {
        for disk in 0..self.capacities.len() {
            let history = &mut self.guest.history[disk];
            let mut lost = None;
            for (sector, floor) in &self.guest.floor[disk] {
                let found = self.source_disks[disk].durable(*sector);
                if !history[sector][*floor..].contains(&found) {
                    lost = Some(*sector);
                }
            }
            for (sector, versions) in history.iter_mut() {
                *versions = vec![self.source_disks[disk].durable(*sector)];
                self.guest.floor[disk].insert(*sector, 0);
            }
            if let Some(sector) = lost {
                self.violate(format!("disk {disk} lost flushed sector {sector}"));
            }
        }
    }

    fn active_on_disk(&self) -> Option<u64> {
        let content = supers::recover_durable(&self.receiver_super)?;
        match supers::decode_receiver(&content).1 {
            Ownership::Active(token) => Some(token),
            _ => None,
        }
    }

    /// The guest wrote to the source: nobody else may own the disks.
    pub(crate) fn check_owner_when_written(&mut self) {
        if self.active_on_disk().is_some() {
            self.violate("two owners: the source was written after the hand-over".into());
        }
    }

    /// A frame changed a destination disk.
    pub(crate) fn check_not_owned_when_applied(&mut self) {
        if self.active_on_disk().is_some() {
            self.violate("a disk that the destination owns was overwritten".into());
        }
    }

    /// The receiver believes that it is the owner.
    pub(crate) fn check_handed_over(&mut self) {
        let Some(token) = self.active_on_disk() else {
            return self.violate("the destination acts as owner and has not stored it".into());
        };
        for disk in 0..self.capacities.len() {
            let state = supers::recover_durable(&self.source_supers[disk]);
            let state = state.map(|content| SourceSuper::decode(&content)).unwrap_or_default();
            if state.phase == 0 || state.token != token {
                self.violate(format!("handed over, and source disk {disk} is not sealed"));
            }
            let sealed = self.sealed_content.get(disk);
            let moved = sealed == Some(self.targets[disk].durable_map());
            let kept = sealed == Some(self.source_disks[disk].visible_map());
            if !moved {
                self.violate(format!("handed over, and disk {disk} differs"));
            }
            if !kept && !self.guest.warned[disk] {
                self.violate(format!("handed over, and source disk {disk} was not kept"));
            }
        }
    }

    /// At the end: the hand-over is known and stored on both sides, or nothing happened.
    pub(crate) fn over(&self) -> bool {
        let source = self.source.as_ref();
        let active = source
            .is_some_and(|source| source.machine.phase() == landfall_core::handover::Phase::Active);
        active && self.active_on_disk().is_some()
    }

    /// Where everybody stands, for a run that does not come to its end.
    pub(crate) fn summary(&self) -> String {
        let source = self.source.as_ref().map(|source| {
            let books = source.books.iter().map(|book| {
                let waits = (book.dirty().ones(), book.unverified(), book.tree().stale().ones());
                (book.clean(), book.background_complete(), waits)
            });
            let books: Vec<_> = books.collect();
            let (machine, repairs) = (source.machine, source.repairs);
            format!("{machine:?} {:?} {:?} {repairs} {books:?}", source.link, source.stage)
        });
        let tasks = self.receiver.as_ref().map(|receiver| &receiver.tasks);
        let flush = self.receiver.as_ref().map(|receiver| &receiver.flush);
        let guest = (self.guest.open, self.guest.ops.len());
        format!("source {source:?}, tasks {tasks:?}, flush {flush:?}, guest {guest:?}")
    }

    /// Everything arrived and nothing is under way.
    pub(crate) fn at_rest(&self) -> bool {
        let Some(source) = &self.source else { return false };
        let up = matches!(&source.link, Link::Up(conns) if conns.len() > 1);
        let silent = self.conns.values().any(|conn| conn.silent);
        up && !silent
            && source.scrub_done()
            && self.guest.ops.is_empty()
            && source.books.iter().all(|book| book.clean())
    }
}
