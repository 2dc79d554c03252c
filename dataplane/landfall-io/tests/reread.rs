//! Both sides are read again from their disks: before a job is ready, and when somebody asks.

mod common;

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use common::*;
use landfall_api::{JobKind, Verdict, Verified};

fn open(path: std::path::PathBuf) -> std::fs::File {
    std::fs::OpenOptions::new().write(true).open(path).unwrap()
}

#[test]
fn scrub_reads_every_chunk_again_before_the_job_is_ready() {
    let sizes = [20 * MIB, 5 * MIB + 512, 512];
    let world = World::new(&sizes, |file, size| fill_random(file, size / 2));
    world.begin();
    let status = world.wait("all is ready and read again", 60, |status| {
        status.ready.ready && status.disks.iter().all(|disk| disk.verified == Verified::Reread)
    });
    for (disk, size) in status.disks.iter().zip(sizes) {
        assert_eq!((disk.scrubbed_bytes.0, disk.verified), (size, Verified::Reread));
        assert!(disk.verified_at.is_some());
    }
    let status = world.hand_over(1);
    assert!(status.disks.iter().all(|disk| disk.verified == Verified::Reread));
    world.assert_equal();
}

#[test]
fn without_scrub_the_job_is_ready_at_once_and_verified_by_transfer() {
    let world = World::new(&[8 * MIB], fill_random);
    world.attach();
    let mut spec = world.spec();
    spec.scrub = false;
    world.source.ensure_job(&job_id(), spec).unwrap();
    world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
    let status = world.ready();
    let disk = &status.disks[0];
    assert_eq!((disk.verified, disk.verified_at.as_deref()), (Verified::Transfer, None));
    assert_eq!(disk.scrubbed_bytes.0, 0);
    let status = world.hand_over(1);
    assert_eq!(status.disks[0].verified, Verified::Transfer);
    assert!(status.disks[0].verified_at.is_some());
    world.assert_equal();
}

#[test]
fn scrub_finds_and_repairs_a_destination_that_was_changed_behind_our_back() {
    let world = World::new(&[48 * MIB], fill_random);
    world.attach();
    let mut spec = world.spec();
    spec.dials.replication_rate = 0;
    world.source.ensure_job(&job_id(), spec).unwrap();
    world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
    world.source.set_dials(&job_id(), 1, Default::default()).unwrap();
    world.wait("first copy", 60, |status| status.background_complete);
    // Changed while nothing of it is on the way; whether the scrub was there already or not,
    // somebody reads the chunk again: the verification doubts it if need be.
    let file = open(world.destination_path(0));
    file.write_all_at(b"not ours", 17 * MIB + 4096).unwrap();
    let report = verify(&world);
    world.ready();
    // Little may be left for the freeze when a job is ready; without a guest it goes on at once.
    let reread = |status: &landfall_api::JobStatus| status.disks[0].verified == Verified::Reread;
    let status = world.wait("all is read again", 60, reread);
    let seen = report.disks[0].differing_chunks + status.disks[0].scrub_repaired_chunks;
    assert!(seen >= 1, "{status:?}");
    assert_eq!(status.disks[0].scrub_repaired_chunks, 1);
    let evidence = &status.disks[0].scrub_evidence[0];
    assert_eq!((evidence.offset_bytes.0, evidence.length_bytes.0), (17 * MIB, 64 << 10));
    assert_ne!(evidence.source_hash, evidence.destination_hash);
    assert_eq!(status.disks[0].verified, Verified::Reread);
    let status = world.hand_over(1);
    assert_eq!(status.handover.disks[0].repaired_chunks, 0);
    world.assert_equal();
}

#[test]
fn scrub_ends_beside_a_guest_that_never_rests_and_the_freeze_reads_what_is_left() {
    let world = World::new(&[24 * MIB], fill_random);
    let taps = world.begin();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let mut random = Random(5);
            while !stop.load(SeqCst) {
                let off = 3 * MIB + random.below(256) * 4096;
                taps[0].write_at(&random.bytes(4096), off, false).unwrap();
                std::thread::sleep(Duration::from_micros(200));
            }
        })
    };
    world.wait("readiness under load", 120, |status| {
        status.ready.ready && status.disks[0].scrubbed_bytes.0 >= 23 * MIB
    });
    stop.store(true, SeqCst);
    writer.join().unwrap();
    let status = world.hand_over(1);
    assert_eq!(status.disks[0].verified, Verified::Reread);
    world.assert_equal();
}

fn verify(world: &World) -> landfall_api::VerifyReport {
    world.source.verify(&job_id(), world.generation).unwrap();
    let over = |status: &landfall_api::JobStatus| {
        status.verify.as_ref().is_some_and(|report| report.verdict != Verdict::Running)
    };
    world.wait("verdict", 60, over).verify.unwrap()
}

#[test]
fn a_verification_says_equal_with_roots_or_names_the_chunks_and_writes_nothing() {
    let world = World::new(&[20 * MIB, MIB + 512], |file, size| fill_random(file, size / 2));
    world.begin();
    world.ready();
    let report = verify(&world);
    assert_eq!(report.verdict, Verdict::Equal);
    for (disk, size) in report.disks.iter().zip([20 * MIB, MIB + 512]) {
        assert_eq!((disk.compared_bytes.0, disk.live_bytes.0), (size, 0));
        assert!(disk.source_root.is_some() && disk.source_root == disk.destination_root);
    }
    let status = world.hand_over(1);
    let roots = status.handover.disks.iter().map(|disk| disk.source_root.clone());
    assert!(roots.eq(report.disks.iter().map(|disk| disk.source_root.clone())));
}

#[test]
fn a_job_that_verifies_reads_only() {
    let mut world = World::new(&[20 * MIB], fill_random);
    world.begin();
    world.ready();
    world.source.stop_job(&job_id(), 1).unwrap();
    open(world.destination_path(0)).write_all_at(b"not ours", 5 * MIB).unwrap();
    let before = std::fs::read(world.destination_path(0)).unwrap();
    world.generation = 2;
    let mut spec = world.spec();
    spec.kind = JobKind::Verify;
    world.source.ensure_job(&job_id(), spec).unwrap();
    world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
    let report = verify(&world);
    assert_eq!((report.verdict, report.disks[0].differing_chunks), (Verdict::Different, 1));
    assert_eq!(report.disks[0].differences[0].offset_bytes.0, 5 * MIB);
    assert_ne!(report.disks[0].source_root, report.disks[0].destination_root);
    assert!(!world.status().ready.ready);
    assert!(std::fs::read(world.destination_path(0)).unwrap() == before, "it wrote");
}
