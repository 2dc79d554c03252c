//! Disks that are removed or replaced while no source process runs: the other disks are served, and
//! the job says what is missing.

use serde_json::{Value, json};

use crate::guest::{GuestDisk, record};
use crate::replication::Play;
use crate::stage::{send_signal, wait};

const MIB: u64 = 1 << 20;

fn stopped(play: &Play, code: &str, remedy: &str) {
    let mut last = Value::Null;
    wait(code, || {
        last = play.status();
        last["state"] == "failed" && last["reason"]["code"] == code
    });
    let message = last["reason"]["message"].as_str().unwrap().to_owned();
    let path = play.disks[1].source_path.to_str().unwrap();
    assert!(message.contains(path) && message.contains(remedy), "{message}");
    assert_eq!(last["disks"].as_array().unwrap().len(), 2);
}

/// Neither daemon nor source runs while something is done to the files.
fn while_down(play: &mut Play, act: impl FnOnce(&Play)) {
    play.host.daemon.kill();
    send_signal(play.host.source_pid().unwrap(), libc::SIGKILL);
    wait("the source is gone", || play.host.source_pid().is_none());
    act(play);
    play.host.daemon.restart();
    wait("the host is back", || play.host.ask("GET", "/v1/attachments", Value::Null).is_ok());
}

#[test]
fn v4_v6_a_disk_removed_or_replaced_while_no_source_runs_stops_its_job_and_no_other_disk() {
    let mut play = Play::new(&[(16 * MIB, 8 * MIB), (8 * MIB + 512, 4 * MIB)]);
    play.start(json!({}));
    play.wait_ready();
    let path = play.disks[1].source_path.clone();
    let aside = path.with_extension("aside");
    while_down(&mut play, |_| std::fs::rename(&path, &aside).unwrap());

    stopped(&play, "DISK_REMOVED", "put the file back");
    let mut guest = GuestDisk::open(play.sockets[0].as_ref());
    guest.write(4096, &record(1, 4096));
    guest.flush();
    let attached = play.host.ask("GET", "/v1/attachments", Value::Null).unwrap().ok();
    let served = |attached: &Value| -> Vec<bool> {
        let disks = attached[0]["disks"].as_array().unwrap();
        disks.iter().map(|disk| disk["attached"].as_bool().unwrap()).collect()
    };
    assert_eq!(served(&attached), [true, false]);
    // Nor is anything forgotten by the next process.
    play.host.kill_source();
    guest.write(8192, &record(2, 8192));
    stopped(&play, "DISK_REMOVED", "put the file back");

    std::fs::rename(&aside, &path).unwrap();
    play.wait_ready();
    let mut other = GuestDisk::open(play.sockets[1].as_ref());
    other.write(4096, &record(3, 4096));
    play.wait_ready();

    while_down(&mut play, |_| {
        std::fs::copy(&path, &aside).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    });
    stopped(&play, "DISK_REPLACED", "attach the disk again");
    guest.write(12_288, &record(4, 12_288));
    play.host.kill_source();
    guest.write(16_384, &record(5, 16_384));
    stopped(&play, "DISK_REPLACED", "attach the disk again");
    play.host.attach(&play.disks[1]).ok();
    other.write(8192, &record(6, 8192));
    play.wait_ready();
    let compared = |at: usize| play.status()["disks"][at]["comparedBytes"].clone();
    assert_eq!(compared(1), play.disks[1].capacity.to_string(), "it is compared as a whole");
    drop((guest, other));
    play.hand_over(1);
    play.disks.iter().for_each(|disk| disk.assert_equal());
}

#[test]
fn a_vm_whose_only_disk_is_not_there_yet_goes_on_when_it_comes() {
    let mut play = Play::new(&[(8 * MIB, 4 * MIB)]);
    play.start(json!({}));
    play.wait_ready();
    let path = play.disks[0].source_path.clone();
    let aside = path.with_extension("aside");
    while_down(&mut play, |_| std::fs::rename(&path, &aside).unwrap());
    wait("it says so", || play.status()["reason"]["code"] == "DISK_REMOVED");
    std::fs::rename(&aside, &path).unwrap();
    wait("it is served", || std::os::unix::net::UnixStream::connect(&play.sockets[0]).is_ok());
    GuestDisk::open(play.sockets[0].as_ref()).write(0, &record(1, 0));
    play.wait_ready();
    play.hand_over(1);
    play.disks[0].assert_equal();
}
