//! The write-intent log against a model of disks and destination: after every step, for every
//! page image a crash could leave, a region that the log calls equal is equal, flushed and still.

use landfall_core::Extent;
use landfall_core::intent::{Commit, IntentLog, PAGE_LEN, REGION, Slot, Turn};
use proptest::prelude::*;

const REGIONS: u64 = 6;
const CAPACITY: u64 = REGIONS * REGION - 512;

#[derive(Clone, Default)]
struct Region {
    visible: u32,
    flushed: u32,
    destination: u32,
    dirty: bool,
    in_flight: Option<u32>,
}

/// What a step may break: the rules are the caller's, and each is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// I1: submitted only with a turn.
    TurnFirst,
    /// A clearing waits for the writes of before.
    Drain,
    /// The regions are looked at once more after that.
    LookAgain,
    /// I3: flushed after that.
    Flush,
    /// After a failed commit a new lineage is durable before anything goes on.
    NewLineageFirst,
}

const RULES: [Rule; 5] =
    [Rule::TurnFirst, Rule::Drain, Rule::LookAgain, Rule::Flush, Rule::NewLineageFirst];

struct World {
    broken: Option<Rule>,
    log: IntentLog,
    /// Lineage in the super, and the slots of the one page.
    lineage: u64,
    slots: [Slot; 2],
    regions: Vec<Region>,
    /// Submitted writes: their region and turn.
    submitted: Vec<(usize, Option<Turn>)>,
    /// Waiting for a commit.
    waiting: Vec<usize>,
    commit: Option<Commit>,
    clearing: bool,
    looked: bool,
}

impl World {
    fn new(broken: Option<Rule>) -> Self {
        let regions = vec![Region::default(); REGIONS as usize];
        Self {
            broken,
            log: IntentLog::unknown(CAPACITY, 1),
            lineage: 1,
            slots: [Slot::Empty, Slot::Empty],
            regions,
            submitted: Vec::new(),
            waiting: Vec::new(),
            commit: None,
            clearing: false,
            looked: false,
        }
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    fn quiet(&self, region: u64) -> bool {
        let region = &self.regions[region as usize];
        !region.dirty && region.in_flight.is_none()
    }

    fn ask(&mut self, region: usize) {
        let extent = Extent::new(region as u64 * REGION + 4096, 512);
        match self.log.begin_write(extent) {
            Some(turn) => self.submit(region, Some(turn)),
            None if !self.keeps(Rule::TurnFirst) => self.submit(region, None),
            None => self.waiting.push(region),
        }
    }

    fn submit(&mut self, region: usize, turn: Option<Turn>) {
        self.submitted.push((region, turn));
        self.regions[region].visible += 1;
    }

    fn step(&mut self, action: u8, at: usize) {
        let region = at % REGIONS as usize;
        match action {
            0 | 1 => self.ask(region),
            2 if !self.waiting.is_empty() => {
                let region = self.waiting.swap_remove(at % self.waiting.len());
                self.ask(region);
            }
            3 if !self.submitted.is_empty() => {
                let (region, turn) = self.submitted.swap_remove(at % self.submitted.len());
                self.regions[region].dirty = true;
                turn.into_iter().for_each(|turn| self.log.end_write(turn));
            }
            4 => {
                let region = &mut self.regions[region];
                if region.dirty && region.in_flight.is_none() {
                    region.dirty = false;
                    region.in_flight = Some(region.visible);
                }
            }
            5 => {
                let region = &mut self.regions[region];
                if let Some(version) = region.in_flight.take() {
                    region.destination = version;
                }
            }
            6 => self.begin_clear(),
            7 if self.clearing => self.go_on_clearing(),
            8 => self.commit = self.commit.take().or_else(|| self.log.begin_commit()),
            9 => self.end_commit(None),
            10 => self.end_commit(Some(at)),
            11 => self.regions.iter_mut().for_each(|region| region.flushed = region.visible),
            12 => self.crash(at),
            13 => {
                // Loss of trust for another reason, such as a write past the tap.
                self.lineage += 1;
                self.log.distrusted(self.lineage);
            }
            _ => {}
        }
    }

    fn begin_clear(&mut self) {
        let quiet: Vec<bool> = (0..REGIONS).map(|region| self.quiet(region)).collect();
        if self.log.begin_clear(|region| quiet[region as usize]) {
            (self.clearing, self.looked) = (true, false);
        }
    }

    fn go_on_clearing(&mut self) {
        if !self.log.drained() && self.keeps(Rule::Drain) {
            return;
        }
        if !self.looked {
            self.looked = true;
            for region in 0..REGIONS {
                if !self.quiet(region) && self.keeps(Rule::LookAgain) {
                    self.log.keep(region);
                }
            }
            return;
        }
        self.clearing = false;
        if self.keeps(Rule::Flush) {
            self.regions.iter_mut().for_each(|region| region.flushed = region.visible);
        }
        self.log.flushed();
    }

    fn written(&self, commit: &Commit) -> [Slot; 2] {
        let mut slots = self.slots.clone();
        for write in &commit.writes {
            assert_eq!((write.page, write.content.len()), (0, PAGE_LEN));
            let slot = &mut slots[(write.generation % 2) as usize];
            let (generation, content) = (write.generation, write.content.clone());
            *slot = Slot::Valid { generation, content };
        }
        slots
    }

    /// With `failed` the write failed, and left any of what a crash could leave.
    fn end_commit(&mut self, failed: Option<usize>) {
        let images = self.images();
        let Some(commit) = self.commit.take() else { return };
        let Some(at) = failed else {
            self.slots = self.written(&commit);
            return self.log.committed(commit);
        };
        self.slots = images[at % images.len()].clone();
        self.log.commit_failed(commit);
        self.lineage += u64::from(self.keeps(Rule::NewLineageFirst));
        self.log.distrusted(self.lineage);
    }

    /// Every set of slots that a crash now could leave.
    fn images(&self) -> Vec<[Slot; 2]> {
        let mut images = vec![self.slots.clone()];
        if let Some(commit) = &self.commit {
            images.push(self.written(commit));
            let mut torn = self.slots.clone();
            for write in &commit.writes {
                torn[(write.generation % 2) as usize] = Slot::Damaged;
            }
            images.push(torn);
        }
        images
    }

    fn recovered(&self, image: &[Slot; 2]) -> IntentLog {
        IntentLog::recover(CAPACITY, self.lineage, |_| image.clone())
    }

    fn check(&self) -> Result<(), String> {
        for image in self.images() {
            let log = self.recovered(&image);
            for (at, region) in self.regions.iter().enumerate() {
                let (visible, flushed) = (region.visible, region.flushed);
                let differs = region.destination != visible || flushed != visible;
                let under_way = self.submitted.iter().any(|(region, _)| *region == at);
                if (differs || under_way) && !log.suspects().get(at as u64) {
                    return Err(format!("region {at} is believed to be equal"));
                }
            }
        }
        Ok(())
    }

    /// A kill: the disk keeps what was submitted. Suspects are compared, so they become dirty.
    fn crash(&mut self, at: usize) {
        let images = self.images();
        let image = images[at % images.len()].clone();
        self.log = self.recovered(&image);
        self.slots = image;
        self.submitted.clear();
        self.waiting.clear();
        (self.commit, self.clearing) = (None, false);
        for (at, region) in self.regions.iter_mut().enumerate() {
            region.in_flight = None;
            region.dirty = self.log.suspects().get(at as u64);
        }
    }
}

fn run(broken: Option<Rule>, steps: &[(u8, usize)]) -> Result<(), String> {
    let mut world = World::new(broken);
    for (number, (action, at)) in steps.iter().enumerate() {
        world.step(*action, *at);
        world.check().map_err(|error| format!("{error} after step {number}"))?;
    }
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<(u8, usize)>> {
    // Faults are rare, so that most runs get somewhere.
    let action = prop_oneof![40 => 0..=9_u8, 1 => 10..=13_u8, 3 => Just(7_u8), 3 => Just(6_u8)];
    prop::collection::vec((action, 0..32_usize), 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn i1_i1b_i3_no_crash_makes_a_region_that_differs_look_equal(steps in steps()) {
        run(None, &steps).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn each_rule_of_the_caller_is_needed() {
    let mut seed = 1_u64;
    let mut random = move |limit: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    for rule in RULES {
        let found = (0..3_000).any(|_| {
            let pick = |random: &mut dyn FnMut(u64) -> u64| match random(44) {
                at @ 0..40 => (at / 4) as u8,
                _ => 10,
            };
            let steps: Vec<(u8, usize)> =
                (0..400).map(|_| (pick(&mut random), random(32) as usize)).collect();
            run(Some(rule), &steps).is_err()
        });
        assert!(found, "{rule:?} can be broken and nobody notices");
    }
}
