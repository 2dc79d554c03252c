//! A VM whose source is killed again and again under load, and a VM that moves to another host.

use std::time::Duration;

use serde_json::json;

use crate::guest::{GuestDisk, Writer, record};
use crate::replication::{Play, assert_records};
use crate::stage::{Host, wait};

#[test]
fn m10_a_source_killed_at_random_moments_under_load_sends_little_again() {
    let size = 160 << 20;
    let play = Play::new(&[(size, 128 << 20)]);
    let writer = Writer::start(play.sockets[0].as_ref(), 32 << 20, Duration::from_millis(1));
    play.start(json!({ "bytesPerSecondMax": "60000000" }));
    let mut state = u64::from(std::process::id());
    for kill in 0..6 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(200 + (state >> 33) % 1_500));
        let again = play.sum("resentBytes");
        assert!(again <= 64 << 20, "{again} bytes were sent again before kill {kill}");
        println!("kill {kill}: {again} sent again, {} compared", play.sum("comparedBytes"));
        play.host.kill_source();
        wait("it runs again", || play.status()["epoch"].as_u64() >= Some(kill + 2));
    }
    let (written, longest_stall) = writer.finish();
    play.wait_ready();
    let again = play.sum("resentBytes");
    assert!(again <= 64 << 20, "{again} bytes were sent again");
    println!("longest stall {longest_stall:?}, {} records", written.len());
    play.hand_over(1);
    play.disks[0].assert_equal();
    assert_records(&play.disks[0], &written);
}

#[test]
fn a_vm_that_moves_to_another_host_goes_on_without_a_comparison() {
    let mut play = Play::new(&[(48 << 20, 32 << 20), ((5 << 20) + 512, 3 << 20)]);
    play.start(json!({}));
    play.wait_ready();
    let mut guest = GuestDisk::open(play.sockets[0].as_ref());
    guest.write(8192, &record(1, 8192));
    drop(guest);
    let other = Host::start(&play.folder.path().join("elsewhere"));
    play.management.enrol(other.address, "host", None);
    let busy = other.attach(&play.disks[0]);
    assert_eq!((busy.status, busy.code()), (409, "DISK_BUSY"));
    play.host.closed();
    for disk in &play.disks {
        let body = json!({ "vmUuid": play.host.vm, "diskUuid": disk.source, "keepState": true });
        play.host.ask("POST", "/v1/detach", body).unwrap().ok();
    }
    wait("the source of the first host is gone", || play.host.source_pid().is_none());
    for (disk, socket) in play.disks.iter().zip(&mut play.sockets) {
        *socket = other.attach(disk).ok()["nbdSocket"].as_str().unwrap().to_owned();
    }
    // The guest runs before the job does: it is tracked from the first write.
    let mut guest = GuestDisk::open(play.sockets[0].as_ref());
    guest.write(65_536, &record(2, 65_536));
    play.host = other;
    play.start(json!({}));
    play.wait_ready();
    assert_eq!(play.sum("comparedBytes"), 0);
    let sent = play.sum("sentBytes");
    assert!(sent <= 4 << 20, "{sent} bytes were sent");
    drop(guest);
    play.hand_over(1);
    play.disks.iter().for_each(|disk| disk.assert_equal());
    assert_records(&play.disks[0], &[(1, 8192), (2, 65_536)]);
}
