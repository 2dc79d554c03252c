//! What is lost and sent again when connections are cut and either side is killed, also in
//! the middle of a hand-over.
//!
//! A killed process is shown by dropping everything it held in memory; power loss is not shown
//! here.

mod common;

use std::time::Duration;

use common::*;
use landfall_api::{Code, Dials, HandoverState, JobState, OwnershipState};

fn slow(world: &World, bytes_per_second: u64) {
    let dials = Dials { bytes_per_second_max: Some(bytes_per_second.into()), ..Dials::default() };
    world.source.set_dials(&job_id(), world.generation, dials).unwrap();
}

fn fast(world: &World) {
    world.source.set_dials(&job_id(), world.generation, Dials::default()).unwrap();
}

/// Starts a job and stops the background half way.
fn half_way(world: &World, total: u64) -> Vec<std::sync::Arc<dyn landfall_nbd::Export>> {
    let taps = world.attach();
    let mut spec = world.spec();
    spec.dials.bytes_per_second_max = Some((64 * MIB).into());
    world.source.ensure_job(&job_id(), spec).unwrap();
    world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
    world.wait("half of the copy", 60, |status| status.disks[0].copied_bytes.0 > total / 2);
    taps
}

#[test]
fn m10_only_what_was_not_acknowledged_is_sent_again_after_a_reset() {
    let total = 192 * MIB;
    let world = World::new(&[total], fill_random);
    half_way(&world, total);
    world.relay.reset();
    fast(&world);
    let status = world.ready();
    let again = status.disks[0].resent_bytes.0;
    assert!(again <= 64 * MIB, "{again}");
    assert!(status.disks[0].sent_bytes.0 <= total + again);
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn m10_a_silent_cut_is_noticed_within_seconds_and_survived() {
    let total = 128 * MIB;
    let world = World::new(&[total], fill_random);
    half_way(&world, total);
    world.relay.cut(true);
    let lost = world.wait("the loss", 10, |status| status.state == JobState::Interrupted);
    assert_eq!(lost.reason.unwrap().code, "CONNECTION_LOST");
    world.relay.cut(false);
    world.relay.reset();
    fast(&world);
    world.ready();
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn m10_a_killed_receiver_goes_on_from_its_have_map() {
    let total = 192 * MIB;
    let world = World::new(&[total], fill_random);
    half_way(&world, total);
    *world.receiver.lock().unwrap() = None;
    world.relay.reset();
    std::thread::sleep(Duration::from_millis(300));
    world.start_receiver();
    fast(&world);
    let status = world.ready();
    assert!(status.disks[0].resent_bytes.0 <= 64 * MIB, "{status:?}");
    assert!(status.disks[0].sent_bytes.0 <= total + 64 * MIB, "{status:?}");
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn m10_a_killed_source_compares_by_hash_and_sends_only_what_differs() {
    let total = 192 * MIB;
    let mut world = World::new(&[total], fill_random);
    let taps = half_way(&world, total);
    slow(&world, 1);
    let mut random = Random(99);
    for _ in 0..64 {
        taps[0].write_at(&random.bytes(4096), random.below(total / 4096) * 4096, false).unwrap();
    }
    let copied = world.status().disks[0].copied_bytes.0;
    let epoch = world.status().epoch;
    let before = world.relay.forward_bytes.load(std::sync::atomic::Ordering::SeqCst);
    let taps = world.restart_source();
    taps[0].write_at(&random.bytes(4096), 3 * MIB, false).unwrap();
    fast(&world);
    let status = world.ready();
    assert!(status.epoch > epoch);
    assert!(status.disks[0].compared_bytes.0 >= copied, "{status:?}");
    let moved = world.relay.forward_bytes.load(std::sync::atomic::Ordering::SeqCst) - before;
    let necessary = total - copied;
    assert!(moved <= necessary + 64 * MIB + total / 100, "{moved} for {necessary}");
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn a_source_whose_epoch_is_behind_raises_it_and_compares() {
    let mut world = World::new(&[16 * MIB], fill_random);
    world.begin();
    world.ready();
    let epoch = world.status().epoch;
    world.source.close();
    let sidecar = world.source_path(0).with_extension("vmdk.landfall");
    std::fs::remove_dir_all(sidecar).unwrap();
    world.restart_source();
    let status = world.ready();
    assert!(status.epoch > epoch, "{} after {epoch}", status.epoch);
    assert_eq!(status.disks[0].compared_bytes.0, 16 * MIB);
    assert_eq!(status.disks[0].sent_bytes.0, 0);
}

#[test]
fn an_attach_during_the_freeze_cancels_it_and_replication_goes_on() {
    let world = World::new(&[8 * MIB], fill_random);
    let taps = world.begin();
    world.ready();
    world.source.set_open(false).unwrap();
    world.source.freeze(&job_id(), 1, 7).unwrap();
    world.wait("equal roots", 20, |s| s.handover.state == HandoverState::RootsEqual);
    world.source.set_open(true).unwrap();
    assert_eq!(world.status().handover.state, HandoverState::Cancelled);
    assert_eq!(world.source.hand_over(&job_id(), 1, 7).unwrap_err().code, Code::NotFrozen);
    taps[0].write_at(&[5; 4096], 4096, true).unwrap();
    world.ready();
    assert_eq!(world.source.freeze(&job_id(), 1, 7).unwrap_err().code, Code::StaleToken);
    assert_eq!(world.source.freeze(&job_id(), 1, 8).unwrap_err().code, Code::NotClosed);
    world.hand_over(8);
    world.assert_equal();
}

#[test]
fn a_write_during_the_freeze_cancels_it_too() {
    let world = World::new(&[8 * MIB], fill_random);
    let taps = world.begin();
    world.ready();
    world.source.set_open(false).unwrap();
    world.source.freeze(&job_id(), 1, 1).unwrap();
    world.wait("equal roots", 20, |s| s.handover.state == HandoverState::RootsEqual);
    taps[0].write_at(&[9; 512], 1024, false).unwrap();
    assert_eq!(world.status().handover.state, HandoverState::Cancelled);
    world.ready();
    world.hand_over(2);
    world.assert_equal();
}

#[test]
fn b1_a_destination_that_was_changed_behind_our_back_is_repaired_at_the_barrier() {
    use std::os::unix::fs::FileExt;
    let world = World::new(&[48 * MIB], fill_random);
    world.begin();
    world.ready();
    let path = world.destination_path(0);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"not ours", 17 * MIB + 4096).unwrap();
    // The change is seen only where the chunk is read again: touch it by a write beside it.
    let taps = world.attach();
    taps[0].write_at(&[1; 4096], 17 * MIB, false).unwrap();
    world.ready();
    let status = world.hand_over(1);
    assert_eq!(status.handover.disks[0].repaired_chunks, 1);
    world.assert_equal();
}

#[test]
fn hand_over_is_repeatable_after_a_kill_of_either_side_at_every_step() {
    for victim in ["source", "receiver", "both"] {
        let mut world = World::new(&[8 * MIB], fill_random);
        let kill = |world: &mut World| {
            if victim != "source" {
                *world.receiver.lock().unwrap() = None;
            }
            world.relay.reset();
            if victim != "receiver" {
                world.restart_source();
            }
            if victim != "source" {
                world.start_receiver();
            }
        };
        world.begin();
        world.ready();
        world.source.set_open(false).unwrap();
        world.source.freeze(&job_id(), 1, 1).unwrap();
        kill(&mut world);
        // A killed source forgets the freeze: the command comes again with the same token.
        world.ready_or_frozen();
        world.source.freeze(&job_id(), 1, 1).unwrap();
        world.wait("equal roots", 30, |s| s.handover.state == HandoverState::RootsEqual);
        // The receiver cannot answer: the source is sealed and stays so.
        world.relay.cut(true);
        let source = world.source.clone();
        let asking = std::thread::spawn(move || source.hand_over(&job_id(), 1, 1));
        world.wait("the seal", 10, |s| s.handover.state == HandoverState::HandedOff);
        let refused = world.source.attach(&source_uuid(0), &world.source_path(0), 8 * MIB);
        assert_eq!(refused.err().unwrap().code, Code::DiskSealed, "{victim}");
        assert_eq!(world.source.unfreeze(&job_id(), 1, 1).unwrap_err().code, Code::HandedOff);
        assert_eq!(world.receiver().status().ownership.state, OwnershipState::Prepared);
        kill(&mut world);
        world.relay.cut(false);
        world.relay.reset();
        let refused = world.source.attach(&source_uuid(0), &world.source_path(0), 8 * MIB);
        assert_eq!(refused.err().unwrap().code, Code::DiskSealed, "{victim}");
        world.source.hand_over(&job_id(), 1, 1).unwrap();
        drop(asking.join().unwrap());
        assert_eq!(world.receiver().status().ownership.state, OwnershipState::Active);
        kill(&mut world);
        assert_eq!(world.receiver().status().ownership.state, OwnershipState::Active);
        let status = world.source.hand_over(&job_id(), 1, 1).unwrap();
        assert_eq!(status.state, JobState::Active, "{victim}");
        world.assert_equal();
    }
}

#[test]
fn a_write_past_the_tap_leads_to_a_whole_comparison() {
    use std::os::unix::fs::FileExt;
    let world = World::new(&[16 * MIB], fill_random);
    world.begin();
    world.ready();
    let file = std::fs::OpenOptions::new().write(true).open(world.source_path(0)).unwrap();
    file.write_all_at(&[3; 70_000], 5 * MIB).unwrap();
    world.source.set_untracked(&source_uuid(0));
    world.wait("comparison", 20, |status| status.disks[0].compared_bytes.0 >= 16 * MIB);
    world.ready();
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn another_migration_is_sent_away() {
    let world = World::new(&[MIB], fill_random);
    world.attach();
    let mut spec = world.spec();
    spec.vm_migration_id = landfall_api::Id::parse("vmm_other").unwrap();
    world.source.ensure_job(&job_id(), spec).unwrap();
    world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
    let status = world.wait("refusal", 10, |status| status.state == JobState::Failed);
    assert_eq!(status.reason.unwrap().code, "WRONG_MIGRATION");
}
