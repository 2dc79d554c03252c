//! The write-intent log of the source disks on simulated files: bits before writes, group
//! commit, clearing after a flush, each in steps.

use landfall_core::intent::{Commit, IntentLog, Slot, slot_off};
use landfall_core::slot::SLOT_LEN;
use landfall_core::{Bitmap, Extent};

use crate::rules::Rule;
use crate::store::StateFile;
use crate::supers::{self, SourceSuper};
use crate::world::World;

/// How far a clearing is.
#[derive(Clone, Debug)]
pub(crate) enum Clearing {
    /// Writes of before may be under way.
    Draining,
    /// The source disk is being flushed.
    Flushing(u64),
}

/// The log of one disk and what is done to it.
pub(crate) struct Intents {
    pub(crate) log: IntentLog,
    /// Pages being written: which is next, and the flush after the last.
    commit: Option<(Commit, usize, Option<u64>)>,
    clearing: Option<Clearing>,
    /// A flush of the disk failed: nothing is cleared any more (I8).
    pub(crate) never_clear: bool,
}

impl Intents {
    /// As the pages say, or nothing known.
    pub(crate) fn open(capacity: u64, lineage: u64, file: Option<&StateFile>) -> Self {
        let log = match file {
            Some(file) => IntentLog::recover(capacity, lineage, |page| {
                [0, 1].map(|slot| Slot::read(Some(&file.read_at(slot_off(page, slot), SLOT_LEN))))
            }),
            None => IntentLog::unknown(capacity, lineage),
        };
        Self { log, commit: None, clearing: None, never_clear: false }
    }
}

impl World {
    /// A commit or a clearing of one disk goes on by one step.
    pub(crate) fn intents(&mut self) -> bool {
        let Some(source) = &self.source else { return false };
        if source.stage != crate::source::Stage::Running {
            return false;
        }
        let disk = self.random.below(self.capacities.len() as u64) as usize;
        if source.intents[disk].commit.is_some() {
            return self.commits(disk);
        }
        let begun = self.source.as_mut().and_then(|source| source.intents[disk].log.begin_commit());
        if let Some(commit) = begun {
            self.source.as_mut().expect("it runs").intents[disk].commit = Some((commit, 0, None));
            return true;
        }
        self.clears(disk)
    }

    fn commits(&mut self, disk: usize) -> bool {
        let fails = self.fails("intent log");
        let source = self.source.as_mut().expect("it runs");
        let intents = &mut source.intents[disk];
        let file = &mut self.intent_files[disk];
        let (commit, at, mark) = intents.commit.take().expect("it is under way");
        match (commit.writes.get(at), mark) {
            (Some(write), _) => {
                file.write_at(write.off(), &write.bytes());
                intents.commit = Some((commit, at + 1, None));
            }
            (None, None) => {
                let mark = file.begin_flush();
                intents.commit = Some((commit, at, Some(mark)));
            }
            (None, Some(mark)) if fails => {
                file.fail_flush(mark, &mut self.random);
                intents.log.commit_failed(commit);
                self.lose_trust(disk);
            }
            (None, Some(mark)) => {
                file.end_flush(mark);
                intents.log.committed(commit);
            }
        }
        true
    }

    /// A new lineage in the super: no page counts any more.
    fn lose_trust(&mut self, disk: usize) {
        let source = self.source.as_mut().expect("it runs");
        let next = SourceSuper { lineage: source.supers[disk].lineage + 1, ..source.supers[disk] };
        let file = &mut self.source_supers[disk];
        supers::write_next(file, &source.pairs[disk], &next.encode());
        file.end_flush(file.begin_flush());
        source.pairs[disk].stored();
        source.supers[disk] = next;
        source.intents[disk].log.distrusted(next.lineage);
        self.note(|| format!("disk {disk} begins another lineage"));
    }

    fn quiet(&self, disk: usize) -> Bitmap {
        let source = self.source.as_ref().expect("it runs");
        let log = &source.intents[disk].log;
        let mut quiet = Bitmap::new(log.suspects().len());
        for region in 0..quiet.len() {
            if source.books[disk].quiet(log.extent(region)) {
                quiet.set(region..region + 1);
            }
        }
        quiet
    }

    fn clears(&mut self, disk: usize) -> bool {
        let fails = self.fails("flush before clearing");
        let flush_first = self.keeps(Rule::I3FlushBeforeClear);
        let quiet = self.quiet(disk);
        let lazy = !self.random.one_in(4);
        let source = self.source.as_mut().expect("it runs");
        let intents = &mut source.intents[disk];
        match intents.clearing.take() {
            None => {
                if lazy || intents.never_clear || quiet.ones() == 0 {
                    return false;
                }
                if !intents.log.begin_clear(|region| quiet.get(region)) {
                    return false;
                }
                intents.clearing = Some(Clearing::Draining);
            }
            Some(Clearing::Draining) => {
                if !intents.log.drained() {
                    intents.clearing = Some(Clearing::Draining);
                    return false;
                }
                let mut at = 0;
                while let Some(region) = intents.log.clearing().next(at, true) {
                    at = region + 1;
                    if !quiet.get(region) {
                        intents.log.keep(region);
                    }
                }
                intents.clearing = Some(Clearing::Flushing(self.source_disks[disk].begin_flush()));
            }
            Some(Clearing::Flushing(mark)) => {
                if fails {
                    self.source_disks[disk].fail_flush(mark, &mut self.random);
                    self.guest.warned[disk] = true;
                    intents.never_clear = true;
                }
                if intents.never_clear {
                    intents.log.cancel_clear();
                    return true;
                }
                if flush_first {
                    self.source_disks[disk].end_flush(mark);
                }
                intents.log.flushed();
                let (count, cleared) =
                    (intents.log.clearing().ones(), intents.log.clearing().word(0));
                self.cleared += count;
                self.note(|| format!("disk {disk} clears regions {cleared:b}"));
            }
        }
        true
    }

    /// A difference that no write made is noted like one; false until it can be.
    pub(crate) fn note_difference(&mut self, disk: usize, extent: Extent) -> bool {
        let source = self.source.as_mut().expect("it runs");
        let log = &mut source.intents[disk].log;
        match log.begin_write(extent) {
            Some(turn) => {
                log.end_write(turn);
                true
            }
            None => false,
        }
    }
}
