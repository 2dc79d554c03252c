//! The write-intent log, case by case: who pays for a commit, what a clearing waits for, what is
//! believed after a start, and what a source makes of it.

use landfall_core::intent::{
    IntentLog, REGION, REGION_LARGE, REGIONS_PER_PAGE, Slot, pages, region_bytes,
};
use landfall_core::source::SourceDisk;
use landfall_core::{Bitmap, Extent, UNIT};

const REGIONS: u64 = 6;
const CAPACITY: u64 = REGIONS * REGION - 512;

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
fn another_job_of_the_same_process_compares_only_regions_of_the_log() {
    let mut disk = taken_over(None);
    while let Some(units) = disk.next_compare(256) {
        units.for_each(|unit| disk.compared(unit, true));
    }
    disk.written(Extent::new(REGION, 512));
    let mut logged = Bitmap::new(REGIONS);
    logged.set(1..2);
    disk.begin_anew(logged, REGION);
    assert!(!disk.quiet(Extent::new(0, REGION)), "nobody knows what this destination has");
    disk.begin_session(disk.have().clone(), true);
    assert_eq!(disk.unverified(), REGION / UNIT);
    assert!(disk.quiet(Extent::new(0, REGION)) && !disk.quiet(Extent::new(REGION, REGION)));
    // Before a first session what a process believes at its start counts.
    let mut disk = SourceDisk::new(CAPACITY);
    disk.track();
    disk.note_allocated(Extent::new(0, CAPACITY));
    disk.begin_anew(Bitmap::new(REGIONS), REGION);
    let mut have = Bitmap::for_disk(CAPACITY, UNIT);
    have.set(0..have.len());
    disk.begin_session(have, true);
    assert_eq!(disk.unverified(), CAPACITY.div_ceil(UNIT));
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
