//! Disks and state files that fail, are full, slow or short, and bits that turn on the wire and in
//! state files: a clear reason, nothing lost, and the guest goes on. Faults are of the whole
//! process, so the tests here take turns.

mod common;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use common::*;
use landfall_api::{ByteCount, Code, Dials, JobSpec};
use landfall_io::{SourceVm, fault};
use landfall_nbd::Export;

const SIZE: u64 = 20 * MIB + 512;

static TURN: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    fault::set("").unwrap();
    turn
}

fn new_world() -> World {
    World::new(&[SIZE], |file, size| fill_random(file, size / 2))
}

/// Without a re-read, which would mend what must not be wrong in the first place.
fn begin(world: &World) -> Vec<Arc<dyn Export>> {
    begin_at(world, None)
}

fn begin_at(world: &World, bytes_per_second_max: Option<ByteCount>) -> Vec<Arc<dyn Export>> {
    let taps = world.attach();
    let dials = Dials { bytes_per_second_max, ..Dials::default() };
    let spec = JobSpec { scrub: false, dials, ..world.spec() };
    world.source.ensure_job(&job_id(), spec).unwrap();
    world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
    taps
}

fn ends_equal(world: &World, what: &str) {
    world.ready();
    let status = world.hand_over(1);
    assert_eq!(status.handover.disks[0].repaired_chunks, 0, "{what}");
    world.assert_equal();
}

/// A fault in the middle of the copy: the guest writes on without an error, the job says `code`,
/// and when the fault is over everything goes on by itself.
fn survives(plan: &str, code: &str) {
    let world = new_world();
    let taps = begin_at(&world, Some((8 * MIB).into()));
    world.wait("a beginning", 60, |status| status.disks[0].copied_bytes.0 > 0);
    fault::set(plan).unwrap();
    let mut random = Random(3);
    // Every failed session is a moment only: writes go on until its reason was seen.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        taps[0].write_at(&random.bytes(4096), random.below(SIZE / 4096) * 4096, false).unwrap();
        let reason = world.status().reason;
        if let Some(reason) = reason.filter(|reason| reason.code == code) {
            assert!(reason.message.len() > 20, "{reason:?}");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{plan}: {:?}", world.status());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    fault::set("").unwrap();
    world.source.set_dials(&job_id(), world.generation, Dials::default()).unwrap();
    taps[0].write_at(&random.bytes(4096), MIB, false).unwrap();
    ends_equal(&world, plan);
}

#[test]
fn a_source_disk_that_cannot_be_read_is_named_and_the_guest_writes_on() {
    let _turn = alone();
    survives("source-read:1+:error", "SOURCE_STORAGE_FAILED");
}

#[test]
fn i8_a_destination_that_cannot_be_written_or_flushed_is_named_and_nothing_is_lost() {
    let _turn = alone();
    for plan in ["target-write", "target-sync", "have-write", "have-sync"] {
        survives(&format!("{plan}:1+:error"), "DESTINATION_STORAGE_FAILED");
    }
}

#[test]
fn a_full_destination_or_state_disk_is_named_and_goes_on_when_there_is_room() {
    let _turn = alone();
    for plan in ["target-write:1+:full", "target-sync:1+:full", "have-write:1+:full"] {
        survives(plan, "DESTINATION_FULL");
    }
}

#[test]
fn slow_and_short_calls_cost_time_only() {
    let _turn = alone();
    // Direct reads and writes stay aligned: pieces of whole pages.
    fault::set(
        "source-read:1+:short=4096,source-read:3:delay=200,target-write:1+:short=8192,\
         target-write:2:delay=300,target-sync:1+:delay=40,have-write:1+:short=100,\
         super-write:1+:short=1000,super-read:1+:short=700,intent-write:1+:short=512,\
         intent-sync:1+:delay=20,source-write:1+:short=512,text-write:1+:short=1,\
         target-read:1+:short=4096,leaves-write:1+:short=77",
    )
    .unwrap();
    let mut world = new_world();
    let taps = begin(&world);
    let mut random = Random(5);
    for _ in 0..20 {
        taps[0].write_at(&random.bytes(8192), random.below(2_000) * 4096, false).unwrap();
    }
    taps[0].flush().unwrap();
    world.ready();
    drop(taps);
    world.restart_source();
    ends_equal(&world, "slow and short");
    fault::set("").unwrap();
}

#[test]
fn bits_turned_on_the_wire_are_never_used_and_the_session_begins_anew() {
    let _turn = alone();
    let world = new_world();
    let taps = begin(&world);
    let mut random = Random(9);
    for round in 0..12 {
        world.relay.turn_bits(1 + round % 2);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while world.relay.turns_left() > 0 {
            let off = random.below(SIZE / 4096) * 4096;
            taps[0].write_at(&random.bytes(4096), off, false).unwrap();
            assert!(std::time::Instant::now() < deadline, "{:?}", world.status());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    ends_equal(&world, "turned bits");
}

/// Every state file of both sides.
fn state_files(world: &World) -> Vec<PathBuf> {
    let beside = world.source_path(0).with_extension("vmdk.landfall");
    let mut files = Vec::new();
    for folder in [beside, world.dir.path().join("receiver-state")] {
        let inside = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.extend(inside.filter(|path| !path.ends_with("lock")));
    }
    files.sort();
    files
}

fn turn_bit(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 32], at).unwrap();
}

/// Either the map of a clean close is there, or the log counts.
#[test]
fn i11_a_turned_bit_in_any_state_file_costs_time_at_most() {
    let _turn = alone();
    for clean in [true, false] {
        let mut world = new_world();
        begin(&world);
        world.ready();
        let mut names = std::collections::BTreeSet::new();
        for round in 0_u64.. {
            let taps = world.attach();
            let mut random = Random(round + 1);
            taps[0].write_at(&random.bytes(4096), random.below(SIZE / 4096) * 4096, false).unwrap();
            world.ready();
            world.receiver().close();
            if clean {
                world.source.close_clean()
            } else {
                world.source.close()
            }
            *world.receiver.lock().unwrap() = None;
            world.relay.reset();
            let files = state_files(&world);
            let Some(path) = files.get(round as usize / 3) else { break };
            let len = path.metadata().unwrap().len();
            // The head, the content, and what lies far behind.
            let at = [9, 50, len * 3 / 4][round as usize % 3].min(len.saturating_sub(1));
            turn_bit(path, at);
            names.insert(path.file_name().unwrap().to_owned());
            world.start_receiver();
            world.source =
                SourceVm::open(&world.dir.path().join("source-state"), vm_uuid()).unwrap();
            begin(&world);
            world.ready();
            world.source.set_open(false).unwrap();
            world.source.freeze(&job_id(), world.generation, round + 1).unwrap();
            let equal = landfall_api::HandoverState::RootsEqual;
            let what = format!("{} at {at}, clean {clean}", path.display());
            let status = world.wait(&what, 60, |status| status.handover.state == equal);
            assert_eq!(status.handover.disks[0].repaired_chunks, 0, "{what}");
            world.assert_equal();
            world.source.set_open(true).unwrap();
        }
        let count = if clean { 6 } else { 5 };
        assert!(names.len() >= count, "only {names:?} were there");
    }
}

#[test]
fn a_turned_bit_in_what_a_source_keeps_of_itself_is_said_and_not_used() {
    let _turn = alone();
    let world = new_world();
    begin(&world);
    world.source.close();
    let state = world.dir.path().join("source-state");
    let len = state.join("vm.json").metadata().unwrap().len();
    for at in [0, len / 3, len / 2, len - 3] {
        turn_bit(&state.join("vm.json"), at);
        let refused = SourceVm::open(&state, vm_uuid()).err().expect("it is damaged");
        assert_eq!(refused.code, Code::StorageFailed);
        assert!(refused.detail.contains("vm.json"), "{refused:?}");
        turn_bit(&state.join("vm.json"), at);
    }
    SourceVm::open(&state, vm_uuid()).unwrap();
}
