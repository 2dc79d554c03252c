//! The write-intent log against a model of disks and destination: after every step, for every
//! page image a crash could leave, a region that the log calls equal is equal, flushed and still.

use landfall_core::intent::{
    Commit, IntentLog, PAGE_LEN, REGION, REGION_LARGE, REGIONS_PER_PAGE, Slot, Turn, pages,
    region_bytes,
};
use landfall_core::source::SourceDisk;
use landfall_core::{Bitmap, Extent, UNIT};
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

fn commit(log: &mut IntentLog, slots: &mut [[Slot; 2]]) -> usize {
    let commit = log.begin_commit().expect("there is something to write");
    for write in &commit.writes {
        let slot = &mut slots[write.page as usize][(write.generation % 2) as usize];
        *slot = Slot::Valid { generation: write.generation, content: write.content.clone() };
    }
    let count = commit.writes.len();
    log.committed(commit);
    count
}

fn clear_all(log: &mut IntentLog) {
    log.begin_clear(|_| false);
    assert!(log.begin_clear(|_| true));
    assert!(log.drained());
    log.flushed();
}

#[test]
fn i1_writers_of_many_regions_share_one_commit_and_then_pay_nothing() {
    let mut slots = vec![[Slot::Empty, Slot::Empty]];
    let mut log = IntentLog::unknown(CAPACITY, 3);
    clear_all(&mut log);
    commit(&mut log, &mut slots);
    assert_eq!(log.suspects().ones(), 0);
    let extent = |region: u64| Extent::new(region * REGION, 4096);
    for region in [0, 2, 4] {
        assert_eq!(log.begin_write(extent(region)), None);
    }
    assert_eq!(commit(&mut log, &mut slots), 1);
    assert!(log.begin_commit().is_none());
    for region in [0, 2, 4] {
        let turn = log.begin_write(extent(region)).unwrap();
        log.end_write(turn);
    }
    let again = IntentLog::recover(CAPACITY, 3, |_| slots[0].clone());
    let set: Vec<bool> = (0..REGIONS).map(|region| again.suspects().get(region)).collect();
    assert_eq!(set, [true, false, true, false, true, false]);
}

#[test]
fn a_sequential_writer_finds_the_next_region_covered() {
    let mut slots = vec![[Slot::Empty, Slot::Empty]];
    let mut log = IntentLog::unknown(CAPACITY, 1);
    clear_all(&mut log);
    commit(&mut log, &mut slots);
    let mut waits = 0;
    for at in 0..REGIONS * 4 - 1 {
        let extent = Extent::new(at * REGION / 4, 4096);
        while log.begin_write(extent).map(|turn| log.end_write(turn)).is_none() {
            waits += 1;
            commit(&mut log, &mut slots);
        }
    }
    assert!(waits <= REGIONS / 2 + 1, "{waits}");
}

#[test]
fn i1b_a_write_during_the_flush_keeps_its_region_and_does_not_wait() {
    let mut log = IntentLog::unknown(CAPACITY, 1);
    log.begin_clear(|_| false);
    assert!(log.begin_clear(|_| true));
    let turn = log.begin_write(Extent::new(0, 512)).expect("its bit is still there");
    log.flushed();
    let commit = log.begin_commit().unwrap();
    // While the page is written, a write to a region that it clears waits and sets it anew.
    assert_eq!(log.begin_write(Extent::new(3 * REGION, 512)), None);
    assert!(log.begin_commit().is_none());
    log.committed(commit);
    let set = |log: &IntentLog| log.suspects().ones();
    assert_eq!(set(&log), 1);
    assert_eq!(log.begin_write(Extent::new(3 * REGION, 512)), None);
    let commit = log.begin_commit().unwrap();
    log.committed(commit);
    assert_eq!(set(&log), 2);
    let other = log.begin_write(Extent::new(3 * REGION, 512)).unwrap();
    log.end_write(other);
    log.end_write(turn);
}

#[test]
fn a_clearing_waits_for_the_writes_that_were_under_way() {
    let mut log = IntentLog::unknown(CAPACITY, 1);
    let turn = log.begin_write(Extent::new(0, 512)).unwrap();
    log.begin_clear(|_| false);
    assert!(log.begin_clear(|region| region == 0));
    assert!(!log.drained());
    let later = log.begin_write(Extent::new(3 * REGION, 512)).unwrap();
    log.end_write(turn);
    assert!(log.drained(), "those that came later do not hold it up");
    log.keep(0);
    assert_eq!(log.clearing().ones(), 0);
    log.flushed();
    assert!(log.begin_commit().is_none());
    log.end_write(later);
}

#[test]
fn what_was_just_written_is_not_worth_clearing() {
    let mut log = IntentLog::unknown(CAPACITY, 1);
    let turn = log.begin_write(Extent::new(0, 512)).unwrap();
    log.end_write(turn);
    assert!(!log.begin_clear(|region| region == 0));
    assert!(log.begin_clear(|region| region == 0));
}

#[test]
fn i11_missing_torn_foreign_and_rotten_pages_mean_that_everything_may_differ() {
    let mut slots = vec![[Slot::Empty, Slot::Empty]];
    let mut log = IntentLog::unknown(CAPACITY, 7);
    clear_all(&mut log);
    commit(&mut log, &mut slots);
    let suspects = |slots: [Slot; 2], lineage: u64| {
        IntentLog::recover(CAPACITY, lineage, |_| slots.clone()).suspects().ones()
    };
    let whole = slots[0][1].clone();
    assert_eq!(suspects([Slot::Empty, whole.clone()], 7), 0);
    assert_eq!(suspects([Slot::Empty, whole.clone()], 8), REGIONS, "another lineage");
    assert_eq!(suspects([Slot::Damaged, whole.clone()], 7), REGIONS, "perhaps the newer one");
    assert_eq!(suspects([Slot::Empty, Slot::Empty], 7), REGIONS, "missing");
    let short = Slot::Valid { generation: 9, content: 7_u64.to_le_bytes().to_vec() };
    assert_eq!(suspects([short, whole], 7), REGIONS, "too short");
}

#[test]
fn a_log_that_cannot_be_written_never_holds_a_write() {
    let mut log = IntentLog::unknown(CAPACITY, 1);
    clear_all(&mut log);
    let mut slots = vec![[Slot::Empty, Slot::Empty]];
    commit(&mut log, &mut slots);
    assert_eq!(log.begin_write(Extent::new(0, 512)), None);
    let failed = log.begin_commit().unwrap();
    log.commit_failed(failed);
    log.fail_open();
    for region in 0..REGIONS {
        let turn = log.begin_write(Extent::new(region * REGION, 512)).expect("it goes on");
        log.end_write(turn);
    }
    assert!(log.failed_open() && !log.begin_clear(|_| true) && log.begin_commit().is_none());
    log.distrusted(2);
    assert!(!log.failed_open());
    assert_eq!(log.suspects().ones(), REGIONS);
    clear_all(&mut log);
    commit(&mut log, &mut slots);
    assert_eq!(log.suspects().ones(), 0);
}

#[test]
fn the_log_of_the_largest_disk_is_small_and_works_over_many_pages() {
    assert_eq!(region_bytes(8 << 40), REGION);
    assert_eq!(region_bytes((8 << 40) + 512), REGION_LARGE);
    assert_eq!(pages(2 << 40), 8);
    let capacity = (62 << 40) + 512;
    assert_eq!(pages(capacity), 63);
    let mut slots = vec![[Slot::Empty, Slot::Empty]; 63];
    let mut log = IntentLog::unknown(capacity, 1);
    clear_all(&mut log);
    assert_eq!(commit(&mut log, &mut slots), 63);
    let far = [0, 20 << 40, capacity - 512];
    for off in far {
        assert_eq!(log.begin_write(Extent::new(off, 512)), None);
    }
    assert_eq!(commit(&mut log, &mut slots), 3);
    let found = IntentLog::recover(capacity, 1, |page| slots[page as usize].clone());
    let mut wanted = Bitmap::new(found.suspects().len());
    for off in far {
        wanted.set(off / REGION_LARGE..off / REGION_LARGE + 1);
    }
    assert_eq!(found.suspects().ones(), 3);
    assert_eq!(found.suspects().count_without(&wanted), 0);
    assert_eq!(found.extent(found.suspects().len() - 1).end(), capacity);
    assert_eq!(REGIONS_PER_PAGE * 63 / 8, 63 * 2048);
}

/// A disk of which the destination has everything, as a process finds it that took it over.
fn taken_over(suspects: Option<Bitmap>) -> SourceDisk {
    let mut disk = SourceDisk::new(CAPACITY);
    disk.track();
    disk.note_allocated(Extent::new(0, CAPACITY));
    suspects.into_iter().for_each(|regions| disk.suspect_only(regions, REGION));
    let mut have = Bitmap::for_disk(CAPACITY, UNIT);
    have.set(0..have.len());
    disk.begin_session(have, true);
    disk
}

#[test]
fn after_a_kill_only_what_the_destination_has_in_regions_of_the_log_is_compared() {
    let mut suspects = Bitmap::new(REGIONS);
    suspects.set(1..2);
    suspects.set(REGIONS - 1..REGIONS);
    let disk = taken_over(Some(suspects));
    let last = REGION / UNIT;
    assert_eq!(disk.unverified(), REGION / UNIT + last);
    assert_eq!(taken_over(Some(Bitmap::new(REGIONS))).unverified(), 0);
    assert_eq!(taken_over(None).unverified(), CAPACITY.div_ceil(UNIT));
    let mut disk = taken_over(Some(Bitmap::new(REGIONS)));
    disk.suspect_all();
    disk.begin_session(disk.have().clone(), true);
    assert_eq!(disk.unverified(), CAPACITY.div_ceil(UNIT), "trust that was lost");
}

#[test]
fn i3_a_region_is_quiet_when_nothing_in_it_is_dirty_on_its_way_or_to_be_compared() {
    let region = Extent::new(REGION, REGION);
    let mut disk = SourceDisk::new(CAPACITY);
    disk.track();
    assert!(!disk.quiet(region), "nobody knows what the destination has");
    let mut suspects = Bitmap::new(REGIONS);
    suspects.set(1..2);
    let mut disk = taken_over(Some(suspects));
    assert!(disk.quiet(Extent::new(0, REGION)) && !disk.quiet(region));
    while let Some(units) = disk.next_compare(256) {
        units.for_each(|unit| disk.compared(unit, true));
    }
    assert!(disk.quiet(region));
    disk.written(Extent::new(2 * REGION - 512, 512));
    assert!(!disk.quiet(region) && disk.quiet(Extent::new(2 * REGION, REGION)));
    let pick = disk.pick_foreground(UNIT).unwrap();
    assert!(!disk.quiet(region));
    disk.acknowledged(pick.ticket);
    assert!(disk.quiet(region));
}
