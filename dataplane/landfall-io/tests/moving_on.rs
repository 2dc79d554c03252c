//! A disk that is left in order and opened elsewhere, and a disk that is changed behind the tap.

mod common;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use common::*;
use landfall_api::JobState;
use landfall_io::SourceVm;
use landfall_nbd::Export;

const REGION: u64 = 16 * MIB;
const TOTAL: u64 = 5 * REGION + 512;

/// Another host takes the VM over.
fn take_over(world: &mut World, folder: &str) -> Vec<Arc<dyn Export>> {
    world.source = SourceVm::open(&world.dir.path().join(folder), vm_uuid()).unwrap();
    world.generation += 1;
    let taps = world.attach();
    world.source.ensure_job(&job_id(), world.spec()).unwrap();
    world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
    taps
}

/// Replicated, and 40 blocks behind.
fn behind() -> World {
    let world = World::new(&[TOTAL], fill_random);
    let taps = world.begin();
    world.ready();
    world.source.pause(&job_id(), 1).unwrap();
    let mut random = Random(3);
    for block in 0..40 {
        taps[0].write_at(&random.bytes(4096), block * 97 * 4096, false).unwrap();
    }
    world
}

#[test]
fn a_disk_left_in_order_goes_on_elsewhere_without_comparing_or_reading() {
    for detach in [false, true] {
        let mut world = behind();
        if detach {
            world.source.set_open(false).unwrap();
            world.source.detach(&source_uuid(0), true).unwrap();
        } else {
            world.source.close_clean();
        }
        let before = world.relay.forward_bytes.load(SeqCst);
        let taps = take_over(&mut world, "host-b");
        let status = world.ready();
        assert_eq!(status.disks[0].compared_bytes.0, 0);
        assert_eq!(status.disks[0].sent_bytes.0, 40 * 4096);
        taps[0].write_at(&[5; 512], TOTAL - 512, false).unwrap();
        world.ready();
        world.hand_over(1);
        world.assert_equal();
        let moved = world.relay.forward_bytes.load(SeqCst) - before;
        assert!(moved < MIB, "{moved}");
    }
}

#[test]
fn a_kill_after_the_map_was_taken_over_falls_back_to_the_log() {
    let mut world = behind();
    world.source.look_after(true);
    world.source.look_after(true);
    world.source.close_clean();
    let taps = take_over(&mut world, "host-b");
    taps[0].write_at(&[5; 512], 4 * REGION, false).unwrap();
    world.source.close();
    take_over(&mut world, "host-b");
    let status = world.ready();
    let compared = status.disks[0].compared_bytes.0;
    assert_eq!(compared, 2 * REGION, "the region behind, and the one written since");
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn i11_a_map_counts_only_for_the_disk_as_it_was_left() {
    let change = |path: &std::path::Path, name: &str| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        match name {
            "written meanwhile" => file.write_all_at(&[1; 512], 3 * REGION).unwrap(),
            "another file" => {
                let copy = path.with_extension("copy");
                std::fs::copy(path, &copy).unwrap();
                std::fs::rename(&copy, path).unwrap();
            }
            "damaged map" | "cut map" => {
                let map = path.with_extension("vmdk.landfall").join("map");
                let map = OpenOptions::new().read(true).write(true).open(map).unwrap();
                let len = map.metadata().unwrap().len();
                if name == "cut map" {
                    return map.set_len(len - 20).unwrap();
                }
                let mut byte = [0];
                map.read_exact_at(&mut byte, len / 2).unwrap();
                map.write_all_at(&[byte[0] ^ 1], len / 2).unwrap();
            }
            _ => std::fs::remove_file(path.with_extension("vmdk.landfall").join("map")).unwrap(),
        }
    };
    for name in ["written meanwhile", "another file", "damaged map", "cut map", "no map"] {
        let mut world = behind();
        world.source.close_clean();
        change(&world.source_path(0), name);
        take_over(&mut world, "host-b");
        let status = world.ready();
        assert_eq!(status.disks[0].compared_bytes.0, TOTAL, "{name}");
        world.hand_over(1);
        world.assert_equal();
    }
}

#[test]
fn i11_a_file_that_the_vm_went_on_without_is_not_believed_when_it_comes_back() {
    let world = World::new(&[TOTAL, MIB], fill_random);
    world.begin();
    world.ready();
    world.source.look_after(true);
    world.source.look_after(true);
    let (first, second) = (world.source_path(0), world.dir.path().join("second.vmdk"));
    std::fs::copy(&first, &second).unwrap();
    for (path, byte) in [(&second, 5), (&first, 6)] {
        world.source.set_open(false).unwrap();
        world.source.detach(&source_uuid(0), true).unwrap();
        let tap = world.source.attach(&source_uuid(0), path, TOTAL).unwrap();
        world.source.ensure_job(&job_id(), world.spec()).unwrap();
        world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
        tap.write_at(&[byte; 8192], u64::from(byte) * REGION / 2, false).unwrap();
        let status = world.ready();
        assert_eq!(status.disks[0].compared_bytes.0, TOTAL, "{}", path.display());
        assert_eq!(status.disks[1].compared_bytes.0, 0, "the other disk is believed");
    }
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn a_disk_file_that_is_resized_replaced_or_removed_stops_the_session_and_not_the_guest() {
    let world = World::new(&[TOTAL], fill_random);
    let taps = world.begin();
    world.ready();
    let path = world.source_path(0);
    let aside = path.with_extension("aside");
    let stopped = |code: &str| {
        let status = world.wait(code, 20, |status| {
            status.state == JobState::Failed
                && status.reason.as_ref().is_some_and(|reason| reason.code == code)
        });
        let reason = status.reason.unwrap();
        assert!(reason.message.contains(path.to_str().unwrap()), "{}", reason.message);
        taps[0].write_at(&[8; 4096], 8192, false).unwrap();
        taps[0].read_at(&mut [0; 4096], 0).unwrap();
    };
    let goes_on = || {
        let status = world.wait("it goes on", 30, |status| status.state == JobState::Running);
        assert!(status.disks[0].compared_bytes.0 >= TOTAL, "nothing was believed");
        world.ready();
    };
    File::options().write(true).open(&path).unwrap().set_len(TOTAL + 512).unwrap();
    stopped("DISK_RESIZED");
    File::options().write(true).open(&path).unwrap().set_len(TOTAL).unwrap();
    goes_on();
    std::fs::rename(&path, &aside).unwrap();
    stopped("DISK_REMOVED");
    std::fs::copy(&aside, &path).unwrap();
    stopped("DISK_REPLACED");
    std::fs::rename(&aside, &path).unwrap();
    goes_on();
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn a_disk_that_was_resized_while_no_process_ran_is_served_and_its_job_says_why_it_stands() {
    let mut world = World::new(&[TOTAL], fill_random);
    world.begin();
    world.ready();
    world.source.close();
    let file = File::options().write(true).open(world.source_path(0)).unwrap();
    file.set_len(TOTAL + MIB).unwrap();
    let taps = world.restart_source();
    taps[0].write_at(&[1; 512], 0, false).unwrap();
    let status = world.wait("the refusal", 20, |status| status.state == JobState::Failed);
    assert_eq!(status.reason.unwrap().code, "DISK_RESIZED");
}

#[test]
fn sixty_disks_of_odd_sizes_move_together() {
    let sizes: Vec<u64> = (0..60).map(|at| MIB + at * 37 * 512 + 512).collect();
    let mut world = World::new(&sizes, fill_random);
    let taps = world.begin();
    world.ready();
    for (tap, size) in taps.iter().zip(&sizes) {
        tap.write_at(&[6; 512], size - 512, false).unwrap();
    }
    world.source.close_clean();
    let taps = take_over(&mut world, "host-b");
    assert_eq!(taps.len(), 60);
    let status = world.ready();
    assert!(status.disks.iter().all(|disk| disk.compared_bytes.0 == 0));
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn a_disk_of_more_than_eight_tib_is_tracked_read_again_taken_over_and_equal() {
    let size = (9 << 40) + 512;
    // Of a disk so large a page of the write-intent log notes larger regions.
    let region = 64 * MIB;
    let places = [0, size / 2, size - 512];
    let mut world = World::new(&[size], |file, _| {
        places.iter().for_each(|at| file.write_all_at(&[7; 512], *at).unwrap());
    });
    let taps = world.begin();
    let status = world.ready();
    assert_eq!(status.disks[0].remaining_bytes.0, 0);
    world.source.look_after(true);
    world.source.look_after(true);
    taps[0].write_at(&[9; 1024], size - 4096 - 512, false).unwrap();
    world.restart_source();
    let status = world.ready();
    let compared = status.disks[0].compared_bytes.0;
    assert!(compared > 0 && compared <= 2 * region, "{compared}");
    let status = world.hand_over(1);
    assert!(status.handover.disks[0].equal);
    let (source, copy) = (world.source_path(0), world.destination_path(0));
    let (source, copy) = (File::open(source).unwrap(), File::open(copy).unwrap());
    for off in places.into_iter().chain([size - 4096 - 512]) {
        let (mut ours, mut theirs) = ([0; 512], [1; 512]);
        source.read_exact_at(&mut ours, off).unwrap();
        copy.read_exact_at(&mut theirs, off).unwrap();
        assert_eq!(ours, theirs, "{off}");
    }
}
