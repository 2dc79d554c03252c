//! What a source that was killed, or could not write its log, believes afterwards. Faults are of
//! the whole process, so the tests here take turns.

mod common;

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use common::*;
use landfall_api::{Code, Dials};
use landfall_core::slot;
use landfall_io::fault;
use landfall_nbd::Export;

const REGION: u64 = 16 * MIB;
const TOTAL: u64 = 6 * REGION;

static TURN: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    fault::set("").unwrap();
    turn
}

/// A disk that is copied, with an empty write-intent log.
fn quiet_world() -> (World, Vec<Arc<dyn Export>>) {
    let world = World::new(&[TOTAL], fill_random);
    let taps = world.begin();
    world.ready();
    clear_logs(&world);
    (world, taps)
}

fn clear_logs(world: &World) {
    // What was just written is left alone by the first turn.
    world.source.look_after(true);
    world.source.look_after(true);
}

/// Regions in the newest page of the write-intent log as it stands on the disk.
fn logged_regions(world: &World) -> u32 {
    let path = world.source_path(0).with_extension("vmdk.landfall").join("intent");
    let bytes = std::fs::read(path).unwrap();
    let newest =
        bytes.chunks(slot::SLOT_LEN).take(2).filter_map(|page| slot::decode(*b"LFI1", page));
    // The lineage stands before the bits; a page that was never written says that all may differ.
    let newest = newest.max_by_key(|(generation, _)| *generation);
    newest.map_or(u32::MAX, |(_, page)| page[8..].iter().map(|bits| bits.count_ones()).sum())
}

/// Nothing is sent any more, so that what is written stays to be found.
fn hold(world: &World) {
    world.source.pause(&job_id(), world.generation).unwrap();
}

fn go_on(world: &World) {
    world.source.resume(&job_id(), world.generation).unwrap();
}

#[test]
fn i1_i3_a_killed_source_compares_only_regions_of_its_log() {
    let _turn = alone();
    let (mut world, taps) = quiet_world();
    hold(&world);
    let mut random = Random(7);
    for at in [0, 3, 3, 5] {
        let off = at * REGION + random.below(REGION / 4096) * 4096;
        taps[0].write_at(&random.bytes(4096), off, false).unwrap();
    }
    let sent = world.relay.forward_bytes.load(SeqCst);
    world.restart_source();
    go_on(&world);
    let status = world.ready();
    assert_eq!(status.disks[0].compared_bytes.0, 3 * REGION);
    assert!(status.disks[0].resent_bytes.0 <= 4 * 65_536, "{status:#?}");
    let moved = world.relay.forward_bytes.load(SeqCst) - sent;
    assert!(moved < MIB, "{moved} bytes were sent for four blocks");
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn a_source_that_is_killed_when_all_is_quiet_compares_nothing() {
    let _turn = alone();
    let (mut world, _) = quiet_world();
    for _ in 0..3 {
        let epoch = world.status().epoch;
        let taps = world.restart_source();
        let status = world.ready();
        assert_eq!((status.epoch, status.disks[0].compared_bytes.0), (epoch + 1, 0));
        drop(taps);
    }
    let taps = world.attach();
    taps[0].write_at(&[7; 8192], 5 * REGION - 4096, true).unwrap();
    world.restart_source();
    let status = world.ready();
    assert_eq!(status.disks[0].compared_bytes.0, 2 * REGION);
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn a_kill_in_the_middle_of_the_first_copy_compares_nothing_that_was_not_written() {
    let _turn = alone();
    let mut world = World::new(&[TOTAL], fill_random);
    let taps = world.attach();
    let mut spec = world.spec();
    spec.dials.bytes_per_second_max = Some((48 * MIB).into());
    world.source.ensure_job(&job_id(), spec).unwrap();
    world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
    world.wait("a beginning", 60, |status| status.disks[0].copied_bytes.0 > TOTAL / 4);
    // A region of which something is on its way stays in the log (I3); nothing is, once the log is
    // empty. What is copied afterwards was not written, and enters no log.
    hold(&world);
    let deadline = Instant::now() + Duration::from_secs(60);
    while logged_regions(&world) > 0 {
        assert!(Instant::now() < deadline, "the log does not get empty");
        clear_logs(&world);
    }
    go_on(&world);
    taps[0].write_at(&[1; 4096], MIB, false).unwrap();
    let sent =
        world.wait("half", 60, |s| s.disks[0].copied_bytes.0 > TOTAL / 2).disks[0].copied_bytes.0;
    world.restart_source();
    world.source.set_dials(&job_id(), 1, Dials::default()).unwrap();
    let status = world.ready();
    assert_eq!(status.disks[0].compared_bytes.0, REGION, "the written region and no other");
    // At most what was sent and not durable, a window and one extent, and the unit that was written.
    let again = (status.disks[0].sent_bytes.0 + sent).saturating_sub(TOTAL);
    assert!(again <= 49 * MIB + 65_536, "{again} bytes were sent again");
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn a_log_that_cannot_be_written_costs_the_guest_nothing_and_a_kill_everything() {
    let _turn = alone();
    for plan in ["intent-write:1:error", "intent-sync:1:full", "intent-stored:1:error"] {
        let (mut world, taps) = quiet_world();
        hold(&world);
        fault::set(plan).unwrap();
        taps[0].write_at(&[1; 4096], 2 * REGION, false).unwrap();
        taps[0].write_at(&[2; 4096], 5 * REGION, false).unwrap();
        fault::set("").unwrap();
        world.restart_source();
        go_on(&world);
        let status = world.ready();
        assert_eq!(status.disks[0].compared_bytes.0, TOTAL, "{plan}");
        world.hand_over(1);
        world.assert_equal();
    }
}

#[test]
fn when_nothing_beside_the_disk_can_be_written_its_absence_says_so() {
    let _turn = alone();
    let (mut world, taps) = quiet_world();
    hold(&world);
    fault::set("intent-write:1+:error,super-write:1+:error").unwrap();
    taps[0].write_at(&[1; 4096], 2 * REGION, false).unwrap();
    taps[0].write_at(&[2; 4096], 5 * REGION, false).unwrap();
    assert!(!world.source_path(0).with_extension("vmdk.landfall").join("intent").exists());
    fault::set("").unwrap();
    world.restart_source();
    go_on(&world);
    let status = world.ready();
    assert_eq!(status.disks[0].compared_bytes.0, TOTAL);
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn a_log_that_failed_is_taken_up_again_and_believed_again() {
    let _turn = alone();
    let (mut world, taps) = quiet_world();
    fault::set("intent-write:1+:error,super-write:1+:error").unwrap();
    taps[0].write_at(&[1; 4096], 2 * REGION, false).unwrap();
    fault::set("").unwrap();
    world.source.look_after(false);
    world.ready();
    clear_logs(&world);
    taps[0].write_at(&[1; 4096], 4 * REGION, false).unwrap();
    world.restart_source();
    assert_eq!(world.ready().disks[0].compared_bytes.0, REGION);
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn i8_after_a_failed_flush_of_the_source_nothing_leaves_the_log() {
    let _turn = alone();
    let (mut world, taps) = quiet_world();
    let epoch = world.status().epoch;
    taps[0].write_at(&[1; 4096], 2 * REGION, false).unwrap();
    world.ready();
    fault::set("source-flush:1:error").unwrap();
    assert!(taps[0].flush().is_err(), "the guest hears of its own disk's error");
    world.source.look_after(false);
    let status = world.wait("comparison", 60, |s| s.disks[0].compared_bytes.0 >= TOTAL);
    assert_eq!(status.epoch, epoch + 1);
    world.ready();
    clear_logs(&world);
    world.restart_source();
    assert_eq!(world.ready().disks[0].compared_bytes.0, TOTAL);
    clear_logs(&world);
    world.restart_source();
    assert_eq!(world.ready().disks[0].compared_bytes.0, 0, "opened anew, it is believed again");
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn i11_damage_to_the_log_or_the_super_leads_to_a_whole_comparison() {
    let _turn = alone();
    let damage = |world: &World, name: &str, off: u64| {
        let path = world.source_path(0).with_extension("vmdk.landfall").join(name);
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, off).unwrap();
        file.write_all_at(&[byte[0] ^ 4], off).unwrap();
    };
    for (name, off) in [("intent", 40), ("intent", 4096 + 40), ("super", 30), ("super", 4096 + 30)]
    {
        let (mut world, taps) = quiet_world();
        for at in 0..4 {
            taps[0].write_at(&[1; 4096], at * REGION, false).unwrap();
        }
        world.ready();
        world.source.close();
        damage(&world, name, off);
        world.restart_source();
        let status = world.ready();
        assert_eq!(status.disks[0].compared_bytes.0, TOTAL, "{name} at {off}");
    }
}

#[test]
fn i11_what_is_written_while_no_job_runs_is_found_by_the_next() {
    let _turn = alone();
    let (world, taps) = quiet_world();
    world.source.stop_job(&job_id(), 1).unwrap();
    taps[0].write_at(&[9; 70_000 / 512 * 512], 4 * REGION, false).unwrap();
    world.source.ensure_job(&job_id(), world.spec()).unwrap();
    world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
    let status = world.ready();
    assert_eq!(status.disks[0].compared_bytes.0, TOTAL);
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn a_disk_that_another_process_serves_is_refused() {
    let _turn = alone();
    let (world, _) = quiet_world();
    let other = world.dir.path().join("another-host");
    let other = landfall_io::SourceVm::open(&other, vm_uuid()).unwrap();
    let refused = other.attach(&source_uuid(0), &world.source_path(0), TOTAL);
    assert_eq!(refused.err().unwrap().code, Code::DiskBusy);
    world.source.close();
    other.attach(&source_uuid(0), &world.source_path(0), TOTAL).unwrap();
}
