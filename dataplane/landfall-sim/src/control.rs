//! The control plane, the hypervisor and the source's part of the hand-over.

use landfall_core::handover::{Next, Phase, Roots, Verdict};
use landfall_core::tree::Hash;

use crate::net::Msg;
use crate::rules::Rule;
use crate::source::{Lane, Stage};
use crate::supers::{self, SourceSuper};
use crate::world::World;

impl World {
    /// A command, or the VM is powered on or off.
    pub(crate) fn control(&mut self) -> bool {
        let Some(source) = &mut self.source else { return false };
        if source.stage != Stage::Running || source.sealing.is_some() {
            return false;
        }
        let ready = source.books.iter().all(|book| book.background_complete());
        let ready = ready && self.scrub_lets(false);
        let Some(source) = &mut self.source else { return false };
        let phase = source.machine.phase();
        match self.random.below(if self.calm { 8 } else { 12 }) {
            0 | 1 if self.guest.open => {
                let quiet = self.guest.ops.is_empty() && self.moving;
                self.guest.open &= !quiet;
                quiet
            }
            2..5 if self.moving && !self.guest.open => {
                let new = !source.machine.frozen() && !source.machine.is_sealed();
                self.token += u64::from(new);
                new && source.machine.freeze(self.token, true, ready).is_ok() && self.freezes()
            }
            5..8 if phase == Phase::RootsEqual => self.hand_over(),
            8 if source.machine.frozen() && self.random.one_in(3) => {
                source.machine.unfreeze(self.token).is_ok()
            }
            9 if !self.guest.open && (self.over_once || self.random.one_in(3)) => {
                self.guest.open = source.machine.attach().is_ok();
                self.guest.open
            }
            _ => false,
        }
    }

    /// FREEZE flushes the source disks; if that fails it ends.
    fn freezes(&mut self) -> bool {
        for disk in 0..self.capacities.len() {
            let mark = self.source_disks[disk].begin_flush();
            if self.fails("freeze") {
                self.source_disks[disk].fail_flush(mark, &mut self.random);
                self.guest.warned[disk] = true;
                let source = self.source.as_mut().expect("it runs");
                return source.machine.unfreeze(self.token).is_ok();
            }
            self.source_disks[disk].end_flush(mark);
        }
        true
    }

    fn hand_over(&mut self) -> bool {
        let token = self.token;
        let Some(source) = &mut self.source else { return false };
        let Ok(Next::PersistHandedOff) = source.machine.hand_over(token) else { return false };
        let clean = source.books.iter().all(|book| book.clean() && book.tree().fresh());
        if !clean || self.guest.open || !self.guest.ops.is_empty() {
            return false;
        }
        source.sealing = Some((0, false));
        let content = self.source_disks.iter().map(|disk| disk.visible_map().clone());
        self.sealed_content = content.collect();
        if !self.keeps(Rule::SealBeforeOwn) {
            self.send_own();
        }
        true
    }

    /// HANDED_OFF beside one disk after the other; one lock is held over all of it.
    pub(crate) fn seals(&mut self) -> bool {
        let fails = self.fails("seal");
        let Some(source) = &mut self.source else { return false };
        let Some((disk, written)) = source.sealing else { return false };
        let file = &mut self.source_supers[disk];
        let root = source.books[disk].tree().root().expect("it was fresh");
        let next =
            SourceSuper { phase: 1, token: source.machine.token(), root, ..source.supers[disk] };
        if !written {
            supers::write_next(file, &source.pairs[disk], &next.encode());
            source.sealing = Some((disk, true));
            return true;
        }
        let mark = file.begin_flush();
        if fails {
            file.fail_flush(mark, &mut self.random);
            source.sealing = None;
            return self.takes_back_seal(disk);
        }
        file.end_flush(mark);
        source.pairs[disk].stored();
        source.supers[disk] = next;
        source.sealing = Some((disk + 1, false));
        if disk + 1 == self.capacities.len() {
            source.sealing = None;
            source.machine.sealed();
            source.own_sent = false;
            self.note(|| "source is sealed".into());
        }
        true
    }

    /// A seal failed: its disks are ours again, durably, before anybody writes.
    fn takes_back_seal(&mut self, last: usize) -> bool {
        let source = self.source.as_mut().expect("it runs");
        for disk in 0..=last {
            let next = SourceSuper { phase: 0, ..source.supers[disk] };
            let file = &mut self.source_supers[disk];
            supers::write_next(file, &source.pairs[disk], &next.encode());
            file.end_flush(file.begin_flush());
            source.pairs[disk].stored();
            source.supers[disk] = next;
        }
        true
    }

    /// What prio does for the hand-over.
    pub(crate) fn cutover_step(&mut self, id: u64) -> bool {
        let source = self.source.as_mut().expect("it runs");
        match source.machine.phase() {
            Phase::Draining => {
                let done =
                    |book: &landfall_core::source::SourceDisk| book.clean() && book.tree().fresh();
                let drained = source.repairs == 0 && source.books.iter().all(done);
                if !drained || !self.scrub_lets(true) {
                    return false;
                }
                let source = self.source.as_mut().expect("it runs");
                let token = source.machine.token();
                let Some(round) = source.machine.drained() else { return false };
                self.conns.get_mut(&id).expect("it is up").send(Msg::Barrier { token, round });
                true
            }
            Phase::HandedOff if !source.own_sent => {
                self.send_own();
                true
            }
            _ => false,
        }
    }

    fn send_own(&mut self) {
        let source = self.source.as_mut().expect("it runs");
        source.own_sent = true;
        let token = source.machine.token();
        let sealed = source.machine.is_sealed();
        let roots: Vec<Hash> = if sealed {
            source.supers.iter().map(|state| state.root).collect()
        } else {
            source.books.iter().map(|book| book.tree().root().unwrap_or_default()).collect()
        };
        if let crate::source::Link::Up(conns) = &source.link {
            let conn = self.conns.get_mut(&conns[0]).expect("it is up");
            conn.send(Msg::Own { token, roots });
        }
    }

    pub(crate) fn roots_came(&mut self, token: u64, round: u32, roots: &[(Hash, bool)]) {
        let source = self.source.as_mut().expect("it reads");
        if source.sealing.is_some() {
            return;
        }
        let mut both = Vec::new();
        for (book, (destination, complete)) in source.books.iter().zip(roots) {
            let Some(source) = book.tree().root() else { return self.connection_lost() };
            both.push(Roots { source, destination: *destination, complete: *complete });
        }
        let verdict = source.machine.roots(token, round, &both);
        self.note(|| format!("roots of round {round}: {verdict:?}"));
        if verdict == Verdict::Differ {
            self.violate("the roots differ after the repair".into());
        }
        if verdict != Verdict::Repair {
            return;
        }
        let source = self.source.as_mut().expect("it reads");
        let crate::source::Link::Up(conns) = source.link.clone() else { return };
        for (disk, roots) in both.iter().enumerate() {
            if !roots.equal() {
                source.repairs += 1;
                let conn = self.conns.get_mut(&conns[0]).expect("it is up");
                conn.send(Msg::WantLeaves { disk });
            }
        }
    }

    pub(crate) fn leaves_came(&mut self, disk: usize, theirs: &[Option<Hash>]) {
        let source = self.source.as_mut().expect("it reads");
        for (leaf, their) in theirs.iter().enumerate() {
            if source.books[disk].tree().leaf(leaf as u64) != *their {
                source.books[disk].repair(leaf as u64);
            }
        }
        source.repairs = source.repairs.saturating_sub(1);
        self.violate(format!("disk {disk} was clean and had to be repaired at the barrier"));
    }

    /// The receiver is known to be the owner: stored at leisure.
    pub(crate) fn own_acknowledged(&mut self, token: u64) {
        let source = self.source.as_mut().expect("it reads");
        if source.machine.own_acknowledged(token) {
            self.note(|| "source learns that it is over".into());
            self.connection_lost();
        } else if source.machine.phase() != Phase::Active {
            self.connection_lost();
        }
        if let Some(source) = &mut self.source {
            source.lanes = [Lane::Idle, Lane::Idle, Lane::Idle];
        }
    }
}
