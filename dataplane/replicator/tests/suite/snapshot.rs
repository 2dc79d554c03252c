//! Snapshots of the source's disks: the guest waits, the files are complete meanwhile, and all goes on
//! afterwards, whoever is killed or forgets to say so.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::by_hand::{Running, Sides};
use crate::guest::{GuestDisk, Writer, record};
use crate::replication::{Play, assert_records};
use crate::stage::wait;

const MIB: u64 = 1 << 20;

fn hash(path: &Path) -> blake3::Hash {
    blake3::hash(&std::fs::read(path).unwrap())
}

fn ready_play() -> Play {
    let play = Play::new(&[(40 * MIB + 512, 24 * MIB), (4 * MIB, MIB)]);
    play.start(json!({}));
    play.wait_ready();
    play
}

/// Paused, and whoever writes waits: the files stay as they are.
fn assert_still(play: &Play) {
    let before: Vec<_> = play.disks.iter().map(|disk| hash(&disk.source_path)).collect();
    std::thread::sleep(Duration::from_millis(300));
    let after: Vec<_> = play.disks.iter().map(|disk| hash(&disk.source_path)).collect();
    assert_eq!(before, after, "a disk was written during a snapshot");
}

fn map_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".landfall/map");
    name.into()
}

#[test]
fn m10_v2_a_snapshot_holds_the_guest_for_a_moment_and_nothing_is_compared() {
    let play = ready_play();
    let epoch = play.status()["epoch"].clone();
    let writer = Writer::start(play.sockets[0].as_ref(), 24 * MIB, Duration::from_millis(1));
    assert_eq!(play.host.snapshot("resume", &Value::Null).ok()["paused"], false, "none was begun");
    for turn in 0..3 {
        let paused = play.host.snapshot("pause", &Value::Null).ok();
        assert_eq!(paused["paused"], true);
        assert!(paused["timeLeftMs"].as_u64().unwrap() > 1_000);
        if turn == 1 {
            play.host.snapshot("pause", &Value::Null).ok();
        }
        assert!(play.disks.iter().all(|disk| map_of(&disk.source_path).exists()));
        assert_still(&play);
        let status = play.status();
        assert_eq!(
            (&status["state"], &status["reason"]["code"]),
            (&json!("interrupted"), &json!("SNAPSHOT"))
        );
        assert_eq!(status["ready"]["ready"], false);
        assert_eq!(play.host.snapshot("resume", &Value::Null).ok()["paused"], false);
        wait("it runs again", || play.status()["state"] == "running");
    }
    let (written, longest_stall) = writer.finish();
    assert!(longest_stall < Duration::from_secs(15), "{longest_stall:?}");
    play.wait_ready();
    assert_eq!(play.status()["epoch"], epoch);
    assert_eq!(play.sum("comparedBytes"), 0);
    play.host.closed();
    play.token("freeze", 1).ok();
    let refused = play.host.snapshot("pause", &Value::Null);
    assert_eq!((refused.status, refused.code()), (409, "NOT_READY"));
    play.hand_over(1);
    assert_eq!(
        play.host.snapshot("pause", &Value::Null).ok()["paused"],
        false,
        "it was handed over"
    );
    play.disks.iter().for_each(|disk| disk.assert_equal());
    assert_records(&play.disks[0], &written);
}

#[test]
fn a_source_killed_during_a_snapshot_holds_the_guest_until_its_end_and_compares_nothing() {
    let play = ready_play();
    let writer = Writer::start(play.sockets[0].as_ref(), 24 * MIB, Duration::from_millis(1));
    play.host.snapshot("pause", &Value::Null).ok();
    let before = play.host.source_pid();
    play.host.kill_source();
    wait("another source runs", || {
        let attached = play.host.ask("GET", "/v1/attachments", Value::Null).unwrap().ok();
        play.host.source_pid() != before && attached[0]["disks"][0]["attached"] == true
    });
    assert_still(&play);
    play.host.snapshot("resume", &Value::Null).ok();
    let (written, _) = writer.finish();
    play.wait_ready();
    assert_eq!(play.sum("comparedBytes"), 0, "what was known stood beside the disks");
    play.hand_over(1);
    play.disks.iter().for_each(|disk| disk.assert_equal());
    assert_records(&play.disks[0], &written);
}

#[test]
fn a_source_killed_at_any_point_of_a_snapshot_goes_on() {
    std::thread::scope(|scope| {
        for plan in ["snapshot-pause:1", "snapshot-paused:1", "snapshot-resume:1"] {
            scope.spawn(move || {
                let sides = Sides::new(&[(16 * MIB + 512, 8 * MIB), (4 * MIB, MIB)]);
                let _receiver = Running::start(sides.receiver_command());
                let mut send = sides.source_command();
                send.env("REPLICATOR_FAIL", plan);
                let mut source = Running::start(send);
                sides.wait_ready();
                let writer =
                    Writer::start(&sides.path("s0.nbd"), 8 * MIB, Duration::from_millis(1));
                let _ = sides.ctl(&["snapshot-pause"]);
                let _ = sides.ctl(&["snapshot-resume"]);
                wait(plan, || source.ended());
                let _source = Running::start(sides.source_command());
                for _ in 0..2 {
                    assert_eq!(sides.ctl_ok(&["snapshot-resume"])["paused"], false);
                }
                let (written, _) = writer.finish();
                assert!(!written.is_empty());
                sides.wait_ready();
                sides.ctl_ok(&["finish"]);
                sides.assert_equal();
            });
        }
    });
}

#[test]
fn a_snapshot_that_nobody_ends_does_not_hold_the_guest_for_ever() {
    let play = ready_play();
    play.host.snapshot("pause", &Value::Null).ok();
    let mut guest = GuestDisk::open(play.sockets[0].as_ref());
    guest.write(4096, &record(1, 4096));
    drop(guest);
    play.wait_ready();
    play.hand_over(1);
    play.disks.iter().for_each(|disk| disk.assert_equal());
    assert_records(&play.disks[0], &[(1, 4096)]);
}

#[test]
fn i11_a_disk_that_goes_on_in_another_file_after_a_snapshot_is_compared_as_a_whole() {
    let mut play = ready_play();
    let size = play.disks[0].capacity;
    let first = play.disks[0].source_path.clone();
    let uuid = play.disks[0].source.clone();
    // Under another name, then another file under that name, then back to the first one, as a
    // revert does: what it held at the snapshot is what the guest finds.
    let second = first.with_extension("delta");
    let mut compared = 0;
    for turn in 0..3 {
        let mut guest = GuestDisk::open(play.sockets[0].as_ref());
        guest.write(8192 * (turn + 1), &record(turn, 8192 * (turn + 1)));
        play.host.snapshot("pause", &Value::Null).ok();
        let named = match turn {
            0 => {
                std::fs::copy(&first, &second).unwrap();
                json!([{ "diskUuid": uuid, "path": second }])
            }
            1 => {
                let copy = first.with_extension("copy");
                std::fs::copy(&second, &copy).unwrap();
                std::fs::rename(&copy, &second).unwrap();
                Value::Null
            }
            _ => json!([{ "diskUuid": uuid, "path": first }]),
        };
        let missing = json!([{ "diskUuid": uuid, "path": first.with_extension("none") }]);
        assert_eq!(play.host.snapshot("resume", &missing).code(), "STORAGE_FAILED");
        play.host.snapshot("resume", &named).ok();
        play.disks[0].source_path = if turn == 2 { first.clone() } else { second.clone() };
        // The same socket leads to the new file.
        guest.write(65_536, &record(turn + 10, 65_536));
        drop(guest);
        play.wait_ready();
        let now = play.sum("comparedBytes");
        assert!(now >= size, "{now} after {compared} in turn {turn}: nothing may be believed");
        compared = now;
    }
    play.hand_over(1);
    play.disks.iter().for_each(|disk| disk.assert_equal());
    assert_records(&play.disks[0], &[(12, 65_536)]);
}
