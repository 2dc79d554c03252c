//! One run: a wild time with faults, a rest in which everything must arrive, a hand-over with
//! faults, and a rest in which it must come to an end.

use crate::rules::Rule;
use crate::world::World;

const WILD_STEPS: u64 = 2_500;
const MOVING_STEPS: u64 = 4_000;
/// Steps with faults after everything is over, in which nothing may change any more.
const AFTER_STEPS: u64 = 600;
/// Steps in which a system without faults comes to rest; far more than ever needed.
const REST_STEPS: u64 = 400_000;

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was broken, if anything.
    pub violation: Option<String>,
    /// Steps that did something.
    pub steps: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Whether the disks were handed over.
    pub handed_over: bool,
    /// Regions that left the write-intent log.
    pub cleared: u64,
    /// What happened, when it was asked for.
    pub log: Vec<String>,
}

/// Runs a seed, with a rule broken or none. The same seed always runs the same.
pub fn run(seed: u64, broken: Option<Rule>, log: bool) -> Outcome {
    let mut world = World::new(seed, broken, log);
    let mut steps = 0;
    let length = world.random.below(WILD_STEPS) + 200;
    go(&mut world, &mut steps, length, |_| false);
    rest(&mut world, &mut steps, "nothing arrives any more", World::at_rest);
    // Both sides were read again: what rotted must be mended.
    world.rotten.clear();
    world.changes += 1;
    world.check();
    let moves = !world.random.one_in(3);
    if moves && world.violation.is_none() {
        world.moving = true;
        world.calm = world.random.one_in(3);
        let length = world.random.below(MOVING_STEPS);
        go(&mut world, &mut steps, length, World::over);
        rest(&mut world, &mut steps, "the hand-over does not end", World::over);
        world.over_once = world.violation.is_none();
        go(&mut world, &mut steps, AFTER_STEPS, |_| false);
        rest(&mut world, &mut steps, "the hand-over is forgotten", World::over);
    }
    Outcome {
        violation: world.violation.clone(),
        steps,
        faults: world.faults,
        handed_over: world.over(),
        cleared: world.cleared,
        log: world.log.take().unwrap_or_default(),
    }
}

fn go(world: &mut World, steps: &mut u64, limit: u64, done: impl Fn(&World) -> bool) -> bool {
    for turn in 0..limit {
        if world.violation.is_some() {
            return true;
        }
        *steps += u64::from(world.step());
        if turn % 64 == 0 && done(world) {
            return true;
        }
    }
    false
}

fn rest(world: &mut World, steps: &mut u64, otherwise: &str, done: impl Fn(&World) -> bool) {
    world.calm = true;
    world.note(|| "calm".into());
    if !go(world, steps, REST_STEPS, done) {
        let state = world.summary();
        world.violate(format!("{otherwise}: {state}"));
    }
    world.calm = false;
    world.target_full = false;
}
