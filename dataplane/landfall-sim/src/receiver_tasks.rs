//! What takes the receiver longer than a frame: opening a session, barriers, OWN, leaves.

use landfall_core::ownership::{Ownership, Step};
use landfall_core::receiver::Fence;
use landfall_core::tree::Hash;

use crate::net::Reply;
use crate::receiver::Session;
use crate::rules::Rule;
use crate::supers;
use crate::world::World;

/// How far a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Begin,
    /// Waits until no frame of the session before is being applied.
    Join,
    Flush,
    Flushing,
    Flushed,
    Failed,
    Hash,
    /// Written to the state file, not durable yet.
    Stored(Fence, Ownership),
    Answer,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Open,
    Barrier { token: u64, round: u32 },
    Own { token: u64, roots: Vec<Hash> },
    Leaves { disk: usize },
}

impl Kind {
    /// Whether the connection reads nothing meanwhile.
    pub(crate) fn in_line(&self) -> bool {
        matches!(self, Self::Open)
    }
}

/// A task of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) conn: u64,
    pub(crate) kind: Kind,
    pub(crate) stage: Stage,
}

impl World {
    /// The process starts, or one task goes on by a step.
    pub(crate) fn receiver_tasks(&mut self) -> bool {
        let Some(receiver) = &mut self.receiver else { return self.start_receiver() };
        if receiver.tasks.is_empty() {
            return false;
        }
        let at = self.random.below(receiver.tasks.len() as u64) as usize;
        let admitted = |task: &Task| matches!(task.kind, Kind::Open) && task.stage != Stage::Begin;
        let storing = |task: &Task| matches!(task.stage, Stage::Stored(..));
        let task = receiver.tasks[at].clone();
        if task.stage == Stage::Begin && task.kind.in_line() && receiver.tasks.iter().any(admitted)
        {
            return false;
        }
        let may_store = storing(&task) || !receiver.tasks.iter().any(storing);
        match self.task_step(&task, may_store) {
            Some(Stage::Failed) => {
                self.drop_task(task.conn, &task);
                self.closes(task.conn);
                true
            }
            Some(Stage::Answer) => {
                self.drop_task(task.conn, &task);
                self.answer(&task);
                true
            }
            Some(stage) => {
                let moved = stage != task.stage;
                let receiver = self.receiver.as_mut().expect("it runs");
                if let Some(task) = receiver.tasks.get_mut(at) {
                    task.stage = stage;
                }
                moved
            }
            None => false,
        }
    }

    fn drop_task(&mut self, conn: u64, task: &Task) {
        let receiver = self.receiver.as_mut().expect("it runs");
        let kind = std::mem::discriminant(&task.kind);
        let at = receiver
            .tasks
            .iter()
            .position(|other| other.conn == conn && std::mem::discriminant(&other.kind) == kind);
        at.map(|at| receiver.tasks.remove(at));
    }

    fn task_step(&mut self, task: &Task, may_store: bool) -> Option<Stage> {
        match (&task.kind, &task.stage) {
            (_, Stage::Failed) => Some(Stage::Failed),
            (_, Stage::Flush) => {
                let receiver = self.receiver.as_ref().expect("it runs");
                if receiver.flush.is_some() {
                    return None;
                }
                let lanes = matches!(task.kind, Kind::Barrier { .. });
                self.flush_begins(Some(task.conn), lanes);
                Some(Stage::Flushing)
            }
            (_, Stage::Flushing) => None,
            (Kind::Open, stage) => self.open_step(task.conn, stage, may_store),
            (Kind::Leaves { .. }, Stage::Begin) => Some(Stage::Hash),
            (Kind::Leaves { .. }, _) => self.hashed().then_some(Stage::Answer),
            (Kind::Barrier { token, .. }, stage) => self.barrier_step(*token, stage, may_store),
            (Kind::Own { token, roots }, stage) => self.own_step(*token, roots, stage, may_store),
        }
    }

    fn hashed(&self) -> bool {
        let receiver = self.receiver.as_ref().expect("it runs");
        receiver.books.iter().all(|book| book.tree().fresh())
    }

    fn open_step(&mut self, id: u64, stage: &Stage, may_store: bool) -> Option<Stage> {
        let conn = self.conns.get(&id)?;
        let (epoch, number) = (conn.epoch, conn.session);
        let receiver = self.receiver.as_mut().expect("it runs");
        let mut fence = receiver.fence;
        let known = fence.epoch;
        match stage {
            Stage::Begin => {
                if fence.open(1, epoch, number).is_err() {
                    self.drop_task(id, &Task { conn: id, kind: Kind::Open, stage: Stage::Begin });
                    self.refuse(id, known);
                    return None;
                }
                Some(Stage::Join)
            }
            Stage::Join => {
                if !self.keeps(Rule::I6Fence) {
                    return Some(Stage::Flush);
                }
                let before: Vec<u64> =
                    self.conns.keys().copied().filter(|other| *other != id).collect();
                let applying = |id: &u64| {
                    let entered = self.conns.get(id).and_then(|conn| conn.entered.as_ref());
                    entered.is_some_and(|entered| entered.applying.is_some())
                };
                let (busy, idle): (Vec<u64>, Vec<u64>) = before.into_iter().partition(applying);
                let entered = |id: &u64| self.conns[id].entered.is_some();
                let idle: Vec<u64> = idle.into_iter().filter(entered).collect();
                idle.into_iter().for_each(|id| self.closes(id));
                let next = if self.keeps(Rule::I6FlushBeforeSession) {
                    Stage::Flush
                } else {
                    Stage::Flushed
                };
                busy.is_empty().then_some(next)
            }
            Stage::Flushed => {
                let new_epoch = fence.open(1, epoch, number).ok()?;
                if !new_epoch {
                    return Some(Stage::Stored(fence, receiver.ownership));
                }
                self.stores(fence, self.receiver.as_ref()?.ownership, may_store)
            }
            Stage::Stored(fence, _) => {
                let fence = *fence;
                if fence.epoch != known && !self.stored() {
                    return Some(Stage::Failed);
                }
                let receiver = self.receiver.as_mut().expect("it runs");
                receiver.fence = fence;
                receiver.session = Some(Session { conns: vec![id] });
                Some(Stage::Answer)
            }
            _ => None,
        }
    }

    fn barrier_step(&mut self, token: u64, stage: &Stage, may_store: bool) -> Option<Stage> {
        let receiver = self.receiver.as_ref().expect("it runs");
        match stage {
            Stage::Begin => Some(Stage::Flush),
            Stage::Flushed => match receiver.ownership.barrier(token) {
                Ok(Step::Persist(next)) => self.stores(receiver.fence, next, may_store),
                Ok(Step::Known) => Some(Stage::Hash),
                Err(_) => Some(Stage::Failed),
            },
            Stage::Stored(_, next) => {
                let next = *next;
                if !self.stored() {
                    return Some(Stage::Failed);
                }
                self.receiver.as_mut().expect("it runs").ownership = next;
                Some(Stage::Hash)
            }
            Stage::Hash => self.hashed().then_some(Stage::Answer),
            _ => None,
        }
    }

    fn own_step(
        &mut self,
        token: u64,
        roots: &[Hash],
        stage: &Stage,
        may_store: bool,
    ) -> Option<Stage> {
        let receiver = self.receiver.as_ref().expect("it runs");
        match stage {
            Stage::Begin if receiver.ownership == Ownership::Active(token) => Some(Stage::Answer),
            Stage::Begin => Some(Stage::Flush),
            Stage::Flushed => Some(Stage::Hash),
            Stage::Hash => {
                let mut proven = true;
                for (book, root) in receiver.books.iter().zip(roots) {
                    proven &= book.complete() && book.tree().root()? == *root;
                }
                match receiver.ownership.own(token, proven) {
                    Ok(Step::Persist(next)) => self.stores(receiver.fence, next, may_store),
                    Ok(Step::Known) => Some(Stage::Answer),
                    Err(_) => Some(Stage::Failed),
                }
            }
            Stage::Stored(_, next) => {
                let next = *next;
                if self.keeps(Rule::ActiveBeforeAnswer) && !self.stored() {
                    return Some(Stage::Failed);
                }
                self.receiver.as_mut().expect("it runs").ownership = next;
                self.check_handed_over();
                Some(Stage::Answer)
            }
            _ => None,
        }
    }

    fn stores(&mut self, fence: Fence, ownership: Ownership, may_store: bool) -> Option<Stage> {
        if !may_store {
            return None;
        }
        let receiver = self.receiver.as_ref().expect("it runs");
        let content = supers::encode_receiver(fence, ownership);
        supers::write_next(&mut self.receiver_super, &receiver.pair, &content);
        Some(Stage::Stored(fence, ownership))
    }

    /// The state file is flushed; whether that succeeded is the answer.
    fn stored(&mut self) -> bool {
        let mark = self.receiver_super.begin_flush();
        if self.fails("receiver super") {
            self.receiver_super.fail_flush(mark, &mut self.random);
            return false;
        }
        self.receiver_super.end_flush(mark);
        self.receiver.as_mut().expect("it runs").pair.stored();
        true
    }

    fn answer(&mut self, task: &Task) {
        let receiver = self.receiver.as_ref().expect("it runs");
        let reply = match &task.kind {
            Kind::Open => {
                let active = match receiver.ownership {
                    Ownership::Active(token) => Some(token),
                    _ => None,
                };
                let have = receiver.books.iter().map(|book| book.have().clone()).collect();
                if self.conns.contains_key(&task.conn) {
                    self.enter(task.conn, Reply::HelloAck { active, have });
                }
                return;
            }
            Kind::Barrier { token, round } => {
                let root = |book: &landfall_core::receiver::ReceiverDisk| {
                    (book.tree().root().unwrap_or_default(), book.complete())
                };
                let roots = receiver.books.iter().map(root).collect();
                Reply::BarrierAck { token: *token, round: *round, roots }
            }
            Kind::Own { token, .. } => Reply::OwnAck { token: *token },
            Kind::Leaves { disk } => {
                let tree = receiver.books[*disk].tree();
                let leaves = (0..tree.leaves()).map(|leaf| tree.leaf(leaf)).collect();
                Reply::Leaves { disk: *disk, leaves }
            }
        };
        if let Some(conn) = self.conns.get_mut(&task.conn) {
            conn.reply(reply);
        }
    }
}
