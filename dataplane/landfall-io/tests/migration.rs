//! A disk moves from a source to a receiver over real TLS, sockets and files.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::*;
use landfall_api::{Code, Dials, HandoverState, OwnershipState, Verified};

#[test]
fn b1_a_busy_disk_moves_and_both_sides_are_equal_byte_by_byte() {
    let world = World::new(&[96 * MIB, 5 * MIB + 512], |file, size| fill_random(file, size / 2));
    let taps = world.begin();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, taps) = (stop.clone(), taps.clone());
        std::thread::spawn(move || {
            let mut random = Random(7);
            while !stop.load(SeqCst) {
                for tap in &taps {
                    let off = random.below((tap.size() - 8192) / 512) * 512;
                    tap.write_at(&random.bytes(4096), off, false).unwrap();
                    if random.below(20) == 0 {
                        tap.write_zeroes(off, 8192, true, false).unwrap();
                    }
                }
                std::thread::sleep(Duration::from_micros(300));
            }
        })
    };
    world.wait("first copy", 60, |status| status.background_complete);
    stop.store(true, SeqCst);
    writer.join().unwrap();
    world.ready();
    let status = world.hand_over(1);
    assert_eq!(status.handover.state, HandoverState::Active);
    assert!(status.handover.disks.iter().all(|disk| disk.equal && disk.source_root.is_some()));
    assert_eq!(world.receiver().status().ownership.state, OwnershipState::Active);
    world.assert_equal();
}

#[test]
fn all_disks_of_a_vm_with_sixty_share_one_hand_over() {
    let sizes: Vec<u64> = (0..60).map(|at| MIB + at * 512).collect();
    let world = World::new(&sizes, |file, size| fill_random(file, size / 2));
    let taps = world.begin();
    world.ready();
    for (at, tap) in taps.iter().enumerate() {
        tap.write_at(&[at as u8 + 1; 4096], 8192, false).unwrap();
    }
    let status = world.hand_over(1);
    assert_eq!(status.handover.state, HandoverState::Active);
    assert_eq!(status.handover.disks.iter().filter(|disk| disk.equal).count(), 60);
    assert!(status.disks.iter().all(|disk| disk.verified == Verified::Reread));
    world.assert_equal();
}

#[test]
fn thin_disks_stay_thin_and_holes_are_not_sent() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new(&[1024 * MIB], |file, _| fill_random(file, 3 * MIB));
    world.begin();
    let status = world.ready();
    assert!(status.disks[0].sent_bytes.0 <= 3 * MIB, "{status:?}");
    let blocks = std::fs::metadata(world.destination_path(0)).unwrap().blocks();
    assert!(blocks * 512 <= 4 * MIB, "{blocks} blocks");
    world.hand_over(1);
    world.assert_equal();
}

#[test]
fn p2_an_absolute_limit_acts_within_a_second_and_within_ten_percent() {
    let world = World::new(&[192 * MIB], fill_random);
    world.attach();
    let mut spec = world.spec();
    spec.dials.bytes_per_second_max = Some((4 * MIB).into());
    world.source.ensure_job(&job_id(), spec).unwrap();
    world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
    world.wait("start", 20, |status| status.rates.background_bytes_per_second > 1e6);
    for limit in [4 * MIB, 24 * MIB, 8 * MIB] {
        let dials = Dials { bytes_per_second_max: Some(limit.into()), ..Dials::default() };
        world.source.set_dials(&job_id(), 1, dials).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        let before = world.relay.forward_bytes.load(SeqCst);
        let start = Instant::now();
        std::thread::sleep(Duration::from_secs(2));
        let moved = (world.relay.forward_bytes.load(SeqCst) - before) as f64;
        let ratio = moved / start.elapsed().as_secs_f64() / limit as f64;
        assert!((0.9..1.1).contains(&ratio), "limit {limit}: {ratio}");
        let shown = world.status().rates.background_bytes_per_second / limit as f64;
        assert!((0.9..1.1).contains(&shown), "limit {limit} shown as {shown}");
    }
}

#[test]
fn commands_of_an_older_holder_are_refused_and_may_come_twice_otherwise() {
    let mut world = World::new(&[MIB], fill_random);
    world.begin();
    world.generation = 5;
    world.source.ensure_job(&job_id(), world.spec()).unwrap();
    world.source.ensure_job(&job_id(), world.spec()).unwrap();
    let refused = world.source.pause(&job_id(), 4).unwrap_err();
    assert_eq!(refused.code, Code::StaleGeneration);
    world.ready();
    let refused = world.source.freeze(&job_id(), 5, 1).unwrap_err();
    assert_eq!(refused.code, Code::NotClosed);
    world.hand_over(1);
    assert_eq!(
        world.source.hand_over(&job_id(), 5, 1).unwrap().handover.state,
        HandoverState::Active
    );
    let sealed = world.source.attach(&source_uuid(0), &world.source_path(0), MIB);
    assert_eq!(sealed.err().unwrap().code, Code::DiskSealed);
    world.source.detach(&source_uuid(0), false).unwrap();
    world.source.attach(&source_uuid(0), &world.source_path(0), MIB).unwrap();
}
