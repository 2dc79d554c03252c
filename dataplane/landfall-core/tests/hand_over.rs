//! Every order of commands, messages, attaches and restarts of both sides of a hand-over. The
//! source can be written and the destination is the owner never at the same time.

use std::collections::HashSet;

use landfall_core::handover::{Handover, Next, Phase, Refused, Roots, Verdict};
use landfall_core::ownership::{Ownership, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Message {
    Barrier(u64, u32),
    BarrierAck(u64, u32),
    Own(u64),
    OwnAck(u64),
}

#[derive(Clone)]
struct World {
    source: Handover,
    /// Token of HANDED_OFF on the source's disk.
    sealed_on_disk: Option<u64>,
    open: bool,
    destination: Ownership,
    on_disk: Ownership,
    network: Vec<Message>,
    restarts: u8,
}

impl World {
    fn new() -> Self {
        Self {
            source: Handover::default(),
            sealed_on_disk: None,
            open: false,
            destination: Ownership::None,
            on_disk: Ownership::None,
            network: Vec::new(),
            restarts: 2,
        }
    }

    fn fingerprint(&self) -> String {
        let mut network = self.network.clone();
        network.sort_by_key(|message| format!("{message:?}"));
        format!(
            "{:?} {:?} {} {:?} {:?} {network:?} {}",
            self.source,
            self.sealed_on_disk,
            self.open,
            self.destination,
            self.on_disk,
            self.restarts
        )
    }

    fn successors(&self) -> Vec<World> {
        let mut out = Vec::new();
        let mut add = |act: &dyn Fn(&mut World)| {
            let mut next = self.clone();
            act(&mut next);
            out.push(next);
        };
        for token in [1, 2] {
            add(&|w| {
                let _ = w.source.freeze(token, !w.open, true);
            });
            add(&|w| {
                let _ = w.source.unfreeze(token);
            });
            add(&|w| w.hand_over(token));
        }
        add(&|w| {
            let token = w.source.token();
            if let Some(round) = w.source.drained() {
                w.network.push(Message::Barrier(token, round));
            }
        });
        add(&|w| w.open |= w.source.attach().is_ok());
        add(&|w| w.open = false);
        for at in 0..self.network.len() {
            add(&|w| w.deliver(at));
            add(&|w| {
                w.network.remove(at);
            });
        }
        if self.restarts > 0 {
            add(&|w| w.restart_source());
            add(&|w| w.restart_destination());
        }
        out
    }

    fn hand_over(&mut self, token: u64) {
        match self.source.hand_over(token) {
            Ok(Next::PersistHandedOff) if !self.open => {
                self.sealed_on_disk = Some(token);
                self.source.sealed();
                self.network.push(Message::Own(token));
            }
            Ok(Next::SendOwn) => self.network.push(Message::Own(token)),
            _ => {}
        }
    }

    fn deliver(&mut self, at: usize) {
        match self.network.remove(at) {
            Message::Barrier(token, round) => {
                if let Ok(step) = self.destination.barrier(token) {
                    self.persist(step);
                    self.network.push(Message::BarrierAck(token, round));
                }
            }
            Message::BarrierAck(token, round) => {
                let roots = [Roots { source: [1; 32], destination: [1; 32], complete: true }];
                self.source.roots(token, round, &roots);
            }
            Message::Own(token) => {
                if let Ok(step) = self.destination.own(token, true) {
                    self.persist(step);
                    self.network.push(Message::OwnAck(token));
                }
            }
            Message::OwnAck(token) => {
                self.source.own_acknowledged(token);
            }
        }
        self.network.dedup();
    }

    fn persist(&mut self, step: Step) {
        if let Step::Persist(next) = step {
            self.on_disk = next;
            self.destination = next;
        }
    }

    fn restart_source(&mut self) {
        self.restarts -= 1;
        self.source = match self.sealed_on_disk {
            Some(token) => Handover::restore(token, false),
            None => Handover::default(),
        };
    }

    fn restart_destination(&mut self) {
        self.restarts -= 1;
        self.destination = self.on_disk;
    }

    fn check(&self) {
        let writable = self.open && !self.source.is_sealed();
        let active = matches!(self.on_disk, Ownership::Active(_));
        assert!(!(writable && active), "two owners: {}", self.fingerprint());
        if active {
            assert_eq!(Some(self.on_disk.token()), self.sealed_on_disk, "active without the seal");
        }
    }
}

#[test]
fn there_is_never_more_than_one_owner() {
    let start = World::new();
    let mut seen = HashSet::from([start.fingerprint()]);
    let mut stack = vec![start];
    let mut done = false;
    while let Some(world) = stack.pop() {
        for next in world.successors() {
            next.check();
            done |= next.source.phase() == Phase::Active;
            if next.network.len() <= 2 && seen.insert(next.fingerprint()) {
                stack.push(next);
            }
        }
    }
    assert!(done, "no path leads to the end");
    assert!(seen.len() > 1_000, "only {} states", seen.len());
}

fn frozen(token: u64) -> (Handover, u32) {
    let mut handover = Handover::default();
    handover.freeze(token, true, true).unwrap();
    let round = handover.drained().unwrap();
    (handover, round)
}

const EQUAL: Roots = Roots { source: [1; 32], destination: [1; 32], complete: true };
const DIFFERENT: Roots = Roots { source: [1; 32], destination: [2; 32], complete: true };

#[test]
fn differing_roots_are_repaired_once_then_refused() {
    let (mut handover, round) = frozen(3);
    assert_eq!(handover.roots(3, round, &[EQUAL, DIFFERENT]), Verdict::Repair);
    assert_eq!(handover.hand_over(3), Err(Refused::NotFrozen));
    let round = handover.drained().unwrap();
    assert_eq!(handover.roots(3, round, &[EQUAL, DIFFERENT]), Verdict::Differ);
    assert_eq!(handover.phase(), Phase::RootsDiffer);
    assert_eq!(handover.hand_over(3), Err(Refused::NotFrozen));
    assert_eq!(handover.attach(), Ok(true));
}

#[test]
fn a_repair_that_was_interrupted_does_not_count() {
    let (mut handover, round) = frozen(1);
    assert_eq!(handover.roots(1, round, &[DIFFERENT]), Verdict::Repair);
    handover.connection_lost(true);
    let round = handover.drained().unwrap();
    assert_eq!(handover.roots(1, round, &[DIFFERENT]), Verdict::Repair);
}

#[test]
fn answers_to_an_earlier_barrier_are_ignored() {
    let (mut handover, round) = frozen(1);
    handover.connection_lost(false);
    let next = handover.drained().unwrap();
    assert_eq!(handover.roots(1, round, &[EQUAL]), Verdict::Ignored);
    assert_eq!(handover.roots(2, next, &[EQUAL]), Verdict::Ignored);
    assert_eq!(handover.roots(1, next, &[EQUAL]), Verdict::Equal);
}

#[test]
fn an_incomplete_destination_is_never_equal() {
    let (mut handover, round) = frozen(1);
    let roots = Roots { complete: false, ..EQUAL };
    assert_eq!(handover.roots(1, round, &[roots]), Verdict::Repair);
}

#[test]
fn ownership_needs_the_proof_and_a_token_that_is_not_older() {
    let prepared = Ownership::Prepared(5);
    assert!(prepared.own(5, false).is_err());
    assert!(prepared.own(4, true).is_err());
    assert!(prepared.barrier(4).is_err());
    assert_eq!(prepared.own(5, true), Ok(Step::Persist(Ownership::Active(5))));
    let active = Ownership::Active(5);
    assert_eq!(active.own(5, false), Ok(Step::Known));
    assert!(active.own(6, true).is_err());
    assert!(active.barrier(6).is_err());
    assert_eq!(active.fence(6), Ok(Step::Persist(Ownership::Fenced(6))));
    assert!(!Ownership::Fenced(6).writable());
}
