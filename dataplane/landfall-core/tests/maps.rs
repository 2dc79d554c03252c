//! The maps against the simplest thing that does the same, and the rules of the book of a
//! source disk one by one.

use landfall_core::inflight::InFlight;
use landfall_core::receiver::{Fence, FrameBook, ReceiverDisk};
use landfall_core::sending::{SendQueue, Sent};
use landfall_core::source::SourceDisk;
use landfall_core::{BLOCK, Bitmap, CHUNK, Extent, UNIT};
use proptest::prelude::*;

const BITS: u64 = 70_000;

proptest! {
    #[test]
    fn bitmap_does_what_a_list_of_flags_does(
        steps in prop::collection::vec((any::<bool>(), 0..BITS, 0..5_000_u64), 1..40),
        probe in 0..BITS,
        max in 1..10_000_u64,
    ) {
        let mut map = Bitmap::new(BITS);
        let mut plain = vec![false; BITS as usize];
        for (value, start, len) in steps {
            let end = (start + len).min(BITS);
            let mut changed = 0;
            for at in start..end {
                changed += u64::from(plain[at as usize] != value);
                plain[at as usize] = value;
            }
            let told = if value { map.set(start..end) } else { map.clear(start..end) };
            prop_assert_eq!(told, changed);
        }
        prop_assert_eq!(map.ones(), plain.iter().filter(|bit| **bit).count() as u64);
        prop_assert_eq!(map.get(probe), plain[probe as usize]);
        for value in [true, false] {
            let next = (probe..BITS).find(|at| plain[*at as usize] == value);
            prop_assert_eq!(map.next(probe, value), next);
            let run = next.map(|start| {
                let end = (start..BITS).find(|at| plain[*at as usize] != value).unwrap_or(BITS);
                start..end.min(start + max)
            });
            prop_assert_eq!(map.next_run(probe, value, max), run);
        }
        let mut copy = Bitmap::new(BITS);
        (0..BITS.div_ceil(64)).for_each(|word| copy.merge_word(word, map.word(word)));
        prop_assert_eq!(copy.ones(), map.ones());
        prop_assert_eq!(map.count_without(&copy), 0);
    }

    #[test]
    fn in_flight_table_never_holds_two_versions_of_a_byte(
        steps in prop::collection::vec((0..64_u64, 1..9_u64, any::<bool>()), 1..60),
    ) {
        let mut table = InFlight::default();
        let mut live = Vec::new();
        for (off, len, end) in steps {
            let extent = Extent::new(off * BLOCK, len * BLOCK);
            let clash = live.iter().any(|(_, other): &(_, Extent)| other.overlaps(&extent));
            prop_assert_eq!(table.overlap(extent).is_some(), clash);
            match table.begin(extent) {
                Some(ticket) => live.push((ticket, extent)),
                None => prop_assert!(clash),
            }
            if end && !live.is_empty() {
                let (ticket, extent) = live.remove(0);
                prop_assert_eq!(table.end(ticket), Some(extent));
                prop_assert_eq!(table.end(ticket), None);
            }
        }
        prop_assert_eq!(table.len(), live.len());
    }

    #[test]
    fn everything_is_copied_once_when_nobody_writes(
        capacity in (1..200_u64).prop_map(|sectors| sectors * 37 * 512),
        max in prop::sample::select(vec![UNIT, 3 * UNIT, CHUNK, 5 * CHUNK]),
    ) {
        let mut disk = tracked(capacity);
        let mut at = 0;
        while let Some(pick) = disk.pick_background(max) {
            prop_assert_eq!(pick.extent.off, at);
            at = pick.extent.end();
            disk.acknowledged(pick.ticket);
        }
        prop_assert_eq!(at, capacity);
        prop_assert!(disk.clean());
    }
}

fn tracked(capacity: u64) -> SourceDisk {
    let mut disk = SourceDisk::new(capacity);
    disk.track();
    disk.note_allocated(Extent::new(0, capacity));
    disk
}

fn complete(capacity: u64) -> SourceDisk {
    let mut disk = tracked(capacity);
    let mut have = Bitmap::for_disk(capacity, UNIT);
    have.set(0..have.len());
    disk.begin_session(have, false);
    disk
}

#[test]
fn two_granularities_a_write_to_an_absent_unit_sends_all_of_it() {
    let mut disk = tracked(4 * UNIT);
    disk.written(Extent::new(UNIT + 512, 512));
    let pick = disk.pick_foreground(CHUNK).unwrap();
    assert_eq!(pick.extent, Extent::new(UNIT, UNIT));
    disk.acknowledged(pick.ticket);
    disk.written(Extent::new(UNIT + 512, 512));
    let pick = disk.pick_foreground(CHUNK).unwrap();
    assert_eq!(pick.extent, Extent::new(UNIT, BLOCK));
}

#[test]
fn a_foreground_extent_never_mixes_present_and_absent_units() {
    let mut disk = tracked(4 * UNIT);
    let mut have = Bitmap::new(4);
    have.set(0..1);
    disk.begin_session(have, false);
    disk.written(Extent::new(UNIT - BLOCK, 2 * BLOCK));
    let first = disk.pick_foreground(CHUNK).unwrap().extent;
    let second = disk.pick_foreground(CHUNK).unwrap().extent;
    assert_eq!((first, second), (Extent::new(UNIT - BLOCK, BLOCK), Extent::new(UNIT, UNIT)));
}

#[test]
fn i5_a_block_on_its_way_is_not_picked_again_before_its_acknowledgement() {
    let mut disk = complete(2 * UNIT);
    disk.written(Extent::new(0, BLOCK));
    let pick = disk.pick_foreground(CHUNK).unwrap();
    disk.written(Extent::new(0, BLOCK));
    assert_eq!(disk.pick_foreground(CHUNK), None);
    disk.acknowledged(pick.ticket);
    assert!(!disk.clean());
    assert!(disk.pick_foreground(CHUNK).is_some());
}

#[test]
fn what_was_on_its_way_is_dirty_again_after_a_loss() {
    let mut disk = complete(2 * UNIT);
    disk.written(Extent::new(UNIT, 2 * BLOCK));
    disk.pick_foreground(CHUNK).unwrap();
    assert_eq!((disk.dirty().ones(), disk.dirty_bytes()), (0, 2 * BLOCK));
    disk.connection_lost();
    assert_eq!((disk.dirty().ones(), disk.dirty_bytes()), (2, 2 * BLOCK));
}

#[test]
fn a_first_copy_that_arrived_although_its_acknowledgement_was_lost_is_not_sent_again() {
    let mut disk = tracked(2 * UNIT);
    disk.pick_background(UNIT).unwrap();
    disk.connection_lost();
    let mut have = Bitmap::new(2);
    have.set(0..1);
    disk.begin_session(have, false);
    assert_eq!(disk.pick_background(CHUNK).unwrap().extent, Extent::new(UNIT, UNIT));
    assert_eq!(disk.dirty_bytes(), 0);
}

#[test]
fn only_unequal_units_are_sent_after_a_comparison() {
    let mut disk = tracked(4 * UNIT);
    let mut have = Bitmap::new(4);
    have.set(0..4);
    disk.begin_session(have, true);
    assert!(!disk.background_complete());
    assert_eq!(disk.next_compare(256), Some(0..4));
    (0..4).for_each(|unit| disk.compared(unit, unit != 2));
    assert!(disk.background_complete());
    assert_eq!(disk.pick_foreground(CHUNK).unwrap().extent, Extent::new(2 * UNIT, UNIT));
    assert_eq!(disk.pick_foreground(CHUNK), None);
}

#[test]
fn a_comparison_goes_on_where_the_connection_was_lost() {
    let mut disk = tracked(4 * UNIT);
    let mut have = Bitmap::new(4);
    have.set(0..4);
    disk.begin_session(have.clone(), true);
    disk.next_compare(2);
    disk.compared(0, true);
    disk.connection_lost();
    disk.begin_session(have, false);
    assert_eq!(disk.next_compare(256), Some(1..4));
}

#[test]
fn a_ticket_from_before_a_loss_of_trust_acknowledges_nothing() {
    let mut disk = tracked(2 * UNIT);
    let old = disk.pick_background(UNIT).unwrap();
    disk.forget();
    disk.track();
    let new = disk.pick_background(UNIT).unwrap();
    disk.acknowledged(old.ticket);
    assert_ne!(old.ticket, new.ticket);
    assert_eq!(disk.have().ones(), 0);
}

#[test]
fn the_receiver_has_only_units_that_one_frame_covered() {
    let mut disk = ReceiverDisk::new(2 * UNIT + 512, Bitmap::new(3));
    disk.applied(disk.begin_apply(), Extent::new(0, UNIT / 2), true).unwrap();
    disk.applied(disk.begin_apply(), Extent::new(UNIT / 2, UNIT / 2), true).unwrap();
    disk.applied(disk.begin_apply(), Extent::new(2 * UNIT, 512), true).unwrap();
    assert!(disk.begin_flush());
    disk.flushed();
    assert_eq!((disk.have().ones(), disk.have().get(2)), (1, true));
}

#[test]
fn i4_what_is_applied_during_a_flush_is_not_covered_by_it() {
    let mut disk = ReceiverDisk::new(2 * UNIT, Bitmap::new(2));
    let mut frames = FrameBook::default();
    disk.applied(disk.begin_apply(), Extent::new(0, UNIT), true).unwrap();
    frames.applied(1).unwrap();
    frames.begin_flush();
    disk.begin_flush();
    disk.applied(disk.begin_apply(), Extent::new(UNIT, UNIT), true).unwrap();
    frames.applied(2).unwrap();
    disk.flushed();
    frames.flushed();
    assert_eq!((disk.have().ones(), frames.durable(), frames.received()), (1, 1, 2));
}

#[test]
fn i8_a_failed_flush_makes_nothing_durable() {
    let mut disk = ReceiverDisk::new(UNIT, Bitmap::new(1));
    disk.applied(disk.begin_apply(), Extent::new(0, UNIT), true).unwrap();
    disk.begin_flush();
    disk.flush_failed();
    assert!(!disk.begin_flush());
    disk.flushed();
    assert_eq!(disk.have().ones(), 0);
}

#[test]
fn a_frame_that_was_skipped_is_noticed() {
    let mut frames = FrameBook::default();
    frames.applied(1).unwrap();
    assert_eq!(frames.applied(3), Err(2));
    assert_eq!(frames.applied(1), Err(2));
}

#[test]
fn i6_older_epochs_sessions_and_holders_stay_out() {
    let mut fence = Fence::default();
    assert_eq!(fence.open(1, 1, 1), Ok(true));
    assert_eq!(fence.open(1, 1, 2), Ok(false));
    assert!(fence.open(1, 1, 2).is_err());
    assert_eq!(fence.open(2, 2, 1), Ok(true));
    assert!(fence.open(2, 1, 9).is_err());
    assert!(fence.open(1, 3, 1).is_err());
    assert!(fence.check(1, 2).is_err());
    assert!(fence.check(2, 1).is_ok());
}

#[test]
fn an_acknowledgement_of_frames_never_sent_is_refused() {
    let mut disk = tracked(UNIT);
    let pick = disk.pick_background(UNIT).unwrap();
    let mut queue = SendQueue::default();
    queue.next_seq();
    queue.next_seq();
    queue.completes(Sent { disk: 0, ticket: pick.ticket, bytes: 1, at_ns: 0 });
    assert_eq!(queue.acknowledged(1).unwrap(), []);
    assert!(queue.acknowledged(3).is_err());
    assert_eq!(queue.acknowledged(2).unwrap().len(), 1);
}

#[test]
fn maps_of_a_huge_sparse_disk_take_next_to_nothing() {
    let capacity = 16 << 40;
    let mut dirty = Bitmap::for_disk(capacity, BLOCK);
    for at in 0..100 {
        dirty.set(at * 40_000_000..at * 40_000_000 + 1);
    }
    assert!(dirty.memory_bytes() < 1 << 20);
    dirty.clear(0..dirty.len());
    assert_eq!(dirty.memory_bytes(), 0);
}
