//! Processes that are killed at named points of their work (`REPLICATOR_FAIL`), started again, and
//! both disks compared byte by byte. What a power loss would do is shown in `landfall-sim` only.

use std::time::Duration;

use crate::by_hand::{Running, Sides};
use crate::guest::{GuestDisk, Writer, record};
use crate::stage::wait;

const MIB: u64 = 1 << 20;

fn sides() -> Sides {
    Sides::new(&[(24 * MIB + 512, 12 * MIB), (4 * MIB, MIB)])
}

/// Killed while it copies and the guest writes.
fn survives_at_work(kills_source: bool, plan: &str) {
    let sides = sides();
    let (mut receive, mut send) = (sides.receiver_command(), sides.source_command());
    if kills_source { &mut send } else { &mut receive }.env("REPLICATOR_FAIL", plan);
    let mut receiver = Running::start(receive);
    let mut source = Running::start(send);
    let writer = Writer::start(&sides.path("s0.nbd"), 24 * MIB, Duration::from_millis(1));
    wait(plan, || if kills_source { source.ended() } else { receiver.ended() });
    if kills_source {
        source = Running::start(sides.source_command());
    } else {
        std::fs::remove_file(sides.path("site.pair")).unwrap();
        receiver = Running::start(sides.receiver_command());
    }
    sides.wait_ready();
    writer.finish();
    sides.wait_ready();
    sides.ctl_ok(&["finish"]);
    sides.assert_equal();
    drop((source, receiver));
}

/// Killed in the middle of the hand-over: it is asked for again, and ends with one owner.
fn survives_the_hand_over(kills_source: bool, plan: &str) {
    let sides = sides();
    let (mut receive, mut send) = (sides.receiver_command(), sides.source_command());
    if kills_source { &mut send } else { &mut receive }.env("REPLICATOR_FAIL", plan);
    let mut receiver = Running::start(receive);
    let mut source = Running::start(send);
    sides.wait_ready();
    let asked = sides.ctl_in_background(&["finish"]);
    wait(plan, || if kills_source { source.ended() } else { receiver.ended() });
    drop(asked);
    if kills_source {
        source = Running::start(sides.source_command());
    } else {
        std::fs::remove_file(sides.path("site.pair")).unwrap();
        receiver = Running::start(sides.receiver_command());
    }
    // A source that finds the receiver to be the owner says so and ends.
    wait("the hand-over ends", || sides.ctl(&["finish"]).status.success() || source.ended());
    assert!(!source.ended() || sides.handed_over(), "the source ended without an owner");
    sides.assert_equal();
    drop((source, receiver));
}

#[test]
fn i4_a_receiver_killed_at_any_point_of_its_work_loses_nothing() {
    for plan in ["apply-done:9", "data-sync:3", "have-write:2", "have-sync:2", "before-ack:3"] {
        survives_at_work(false, plan);
    }
}

#[test]
fn i2_a_source_killed_between_a_write_and_its_mark_loses_nothing() {
    survives_at_work(true, "tap-landed:30");
}

/// The log is first written when the disk that nobody writes to is taken out of it.
#[test]
fn i1_a_source_killed_at_any_point_of_its_log_loses_nothing() {
    std::thread::scope(|scope| {
        for plan in ["intent-write:1", "intent-sync:1", "intent-stored:1"] {
            scope.spawn(|| survives_at_work(true, plan));
        }
    });
}

#[test]
fn a_hand_over_killed_at_any_point_ends_with_one_owner() {
    for plan in ["barrier-send:1", "seal-disk:2", "own-send:1"] {
        survives_the_hand_over(true, plan);
    }
    survives_the_hand_over(false, "ownership:2");
}

#[test]
fn i8_a_freeze_whose_source_flush_fails_is_cancelled_and_may_be_given_again() {
    let sides = sides();
    let _receiver = Running::start(sides.receiver_command());
    let mut send = sides.source_command();
    send.env("REPLICATOR_FAIL", "freeze-flush:1:error,freeze-flush:3:error");
    let _source = Running::start(send);
    for failure in 0..2 {
        sides.wait_ready();
        let epoch = sides.ctl_ok(&["status"])["epoch"].as_u64().unwrap();
        let refused = sides.ctl(&["finish"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("cannot be flushed") && said.contains("datastore"), "{said}");
        let handover = sides.ctl_ok(&["status"])["handover"].clone();
        assert_eq!(handover["state"], "cancelled", "{handover}");
        assert_eq!(handover["reason"]["code"], "SOURCE_STORAGE_FAILED", "{handover}");
        // The guest goes on, and what is on the disk is not believed any more.
        let mut guest = GuestDisk::open(&sides.path("s0.nbd"));
        guest.write(4096 * failure, &record(failure, 4096 * failure));
        guest.flush();
        drop(guest);
        wait("it is compared anew", || {
            sides.ctl_ok(&["status"])["epoch"].as_u64().unwrap() > epoch
        });
    }
    sides.wait_ready();
    assert_eq!(sides.ctl_ok(&["finish"])["handover"]["state"], "active");
    assert_eq!(sides.ctl_ok(&["status"])["handover"]["reason"], serde_json::Value::Null);
    sides.assert_equal();
}
