//! Flushes: note the frames, then of each disk data, have-map, and only then acknowledge (I4).
//! One at a time, step by step.

use std::collections::BTreeSet;

use landfall_core::have_pages::{SlotWrite, page_bytes};

use crate::net::Reply;
use crate::receiver_tasks::Stage;
use crate::rules::Rule;
use crate::world::World;

/// How far the flush of the current disk is.
#[derive(Clone, Debug)]
enum Step {
    Begin,
    /// Data up to this mark.
    Data(u64),
    /// Pages to write.
    Map(Vec<(u64, SlotWrite)>, usize),
    MapFlush(u64, BTreeSet<u64>),
}

/// One flush of every disk.
#[derive(Clone, Debug)]
pub(crate) struct Flush {
    lanes: Vec<u64>,
    disk: usize,
    step: Step,
    /// The task that asked for it; none is the flush thread.
    task: Option<u64>,
}

impl World {
    /// A flush begins or goes on.
    pub(crate) fn receiver_flushes(&mut self) -> bool {
        let Some(receiver) = &mut self.receiver else { return false };
        if receiver.flush.is_some() {
            return self.flush_goes_on();
        }
        let waiting = receiver.books.iter().any(|book| book.unflushed().0);
        let noted = |id: &u64| {
            let entered = self.conns.get(id).and_then(|conn| conn.entered.as_ref());
            entered.is_some_and(|entered| entered.book.received() > entered.book.durable())
        };
        let unsaid = receiver.session.as_ref().is_some_and(|s| s.conns.iter().any(noted));
        if waiting || unsaid {
            self.flush_begins(None, true);
        }
        waiting || unsaid
    }

    /// Notes the frames first: each was applied to its disk before.
    pub(crate) fn flush_begins(&mut self, task: Option<u64>, lanes: bool) {
        let receiver = self.receiver.as_mut().expect("it runs");
        let session = receiver.session.as_ref().filter(|_| lanes);
        let lanes = session.map(|session| session.conns.clone()).unwrap_or_default();
        receiver.flush = Some(Flush { lanes, disk: 0, step: Step::Begin, task });
        if self.keeps(Rule::I4NotedBeforeFlush) {
            self.note_frames();
        }
    }

    fn note_frames(&mut self) {
        let flush = self.receiver.as_ref().and_then(|receiver| receiver.flush.clone());
        for id in flush.map(|flush| flush.lanes).unwrap_or_default() {
            if let Some(entered) = self.conns.get_mut(&id).and_then(|conn| conn.entered.as_mut()) {
                entered.book.begin_flush();
            }
        }
    }

    fn flush_goes_on(&mut self) -> bool {
        let fails = self.fails("receiver flush");
        let early_map = !self.keeps(Rule::I4DataBeforeHaveMap);
        let flush_map = self.keeps(Rule::I4HaveMapFlushed);
        let believe = !self.keeps(Rule::I8FailedFlushEndsSession);
        let receiver = self.receiver.as_mut().expect("it runs");
        let mut flush = receiver.flush.take().expect("it is under way");
        let disk = flush.disk;
        if disk == self.capacities.len() {
            receiver.flush = Some(flush);
            self.flush_ends();
            return true;
        }
        let book = &mut receiver.books[disk];
        let pages = &mut receiver.pages[disk];
        let (target, file) = (&mut self.targets[disk], &mut self.have_files[disk]);
        match flush.step {
            Step::Begin => {
                if !book.begin_flush() {
                    flush.disk += 1;
                } else if early_map {
                    let changed = book.flushed();
                    for page in changed {
                        let write = pages.next(page, &page_bytes(book.have(), page));
                        file.write_at(write.off, &write.bytes);
                        pages.stored(page);
                    }
                    file.end_flush(file.begin_flush());
                    flush.step = Step::Data(target.begin_flush());
                } else {
                    flush.step = Step::Data(target.begin_flush());
                }
            }
            Step::Data(mark) if fails => {
                target.fail_flush(mark, &mut self.random);
                if !believe {
                    let changed = book.flush_failed();
                    for page in &changed {
                        let write = pages.next(*page, &page_bytes(book.have(), *page));
                        file.write_at(write.off, &write.bytes);
                    }
                    file.end_flush(file.begin_flush());
                    changed.iter().for_each(|page| pages.stored(*page));
                    book.stored(&changed);
                    receiver.flush = Some(flush);
                    return self.flush_fails();
                }
                book.flushed();
                flush.step = Step::Begin;
                flush.disk += 1;
            }
            Step::Data(mark) => {
                target.end_flush(mark);
                let changed = book.flushed();
                let write = |page| (page, pages.next(page, &page_bytes(book.have(), page)));
                flush.step = Step::Map(changed.into_iter().map(write).collect(), 0);
            }
            Step::Map(writes, at) if at < writes.len() => {
                let (_, write) = &writes[at];
                if fails {
                    file.write_at(write.off, &write.bytes[..1024]);
                    receiver.flush = Some(flush_at(flush.lanes, disk, flush.task));
                    return self.flush_fails();
                }
                file.write_at(write.off, &write.bytes);
                flush.step = Step::Map(writes, at + 1);
            }
            Step::Map(writes, _) => {
                let stored: BTreeSet<u64> = writes.iter().map(|(page, _)| *page).collect();
                flush.step = Step::MapFlush(file.begin_flush(), stored);
            }
            Step::MapFlush(mark, stored) => {
                if fails && !stored.is_empty() {
                    file.fail_flush(mark, &mut self.random);
                    receiver.flush = Some(flush_at(flush.lanes, disk, flush.task));
                    return self.flush_fails();
                }
                if flush_map {
                    file.end_flush(mark);
                }
                stored.iter().for_each(|page| pages.stored(*page));
                book.stored(&stored);
                flush.disk += 1;
                flush.step = Step::Begin;
            }
        }
        self.receiver.as_mut().expect("it runs").flush = Some(flush);
        true
    }

    fn flush_ends(&mut self) {
        if !self.keeps(Rule::I4NotedBeforeFlush) {
            self.note_frames();
        }
        let receiver = self.receiver.as_mut().expect("it runs");
        let flush = receiver.flush.take().expect("it is under way");
        for id in flush.lanes {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            let Some(entered) = conn.entered.as_mut() else { continue };
            let before = entered.book.durable();
            entered.book.flushed();
            let durable = entered.book.durable();
            if durable != before {
                conn.reply(Reply::Ack { durable });
            }
        }
        self.flush_done(flush.task, true);
    }

    /// I8: whoever asked is told, and the session ends before anybody else may flush.
    fn flush_fails(&mut self) -> bool {
        let receiver = self.receiver.as_mut().expect("it runs");
        let flush = receiver.flush.take().expect("it is under way");
        let conns = receiver.session.take().map(|session| session.conns).unwrap_or_default();
        self.flush_done(flush.task, false);
        let applying = |id: &u64| {
            let entered = self.conns.get(id).and_then(|conn| conn.entered.as_ref());
            entered.is_some_and(|entered| entered.applying.is_some())
        };
        // Who is in the middle of a frame finds out after it.
        let idle: Vec<u64> = conns.into_iter().filter(|id| !applying(id)).collect();
        idle.into_iter().for_each(|id| self.closes(id));
        true
    }

    fn flush_done(&mut self, task: Option<u64>, done: bool) {
        let receiver = self.receiver.as_mut().expect("it runs");
        let waits = |other: &&mut crate::receiver_tasks::Task| {
            Some(other.conn) == task && other.stage == Stage::Flushing
        };
        if let Some(asked) = receiver.tasks.iter_mut().find(waits) {
            asked.stage = if done { Stage::Flushed } else { Stage::Failed };
        }
    }
}

fn flush_at(lanes: Vec<u64>, disk: usize, task: Option<u64>) -> Flush {
    Flush { lanes, disk, step: Step::Begin, task }
}
