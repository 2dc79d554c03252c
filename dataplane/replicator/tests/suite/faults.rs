//! Real processes whose disks fail, are slow, short or full, and a wire that turns bits: the reason
//! is said, the guest never sees an error of ours, and in the end both disks are equal.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::by_hand::{Running, Sides};
use crate::guest::{GuestDisk, Writer, record};
use crate::proxy::Proxy;
use crate::stage::{Disk, Host, uuid, wait};

const MIB: u64 = 1 << 20;

fn code(status: &Value) -> String {
    status["reason"]["code"].as_str().unwrap_or_default().to_owned()
}

/// The job says `wanted` within a minute; what it says to people is not empty.
fn says(sides: &Sides, wanted: &str) {
    wait(wanted, || {
        let status = sides.ctl_ok(&["status"]);
        let said = code(&status) == wanted;
        assert!(!said || status["reason"]["message"].as_str().unwrap().len() > 20, "{status}");
        said
    });
}

fn finishes(sides: &Sides, writer: Writer) {
    writer.writes_on(20);
    writer.finish();
    sides.wait_ready();
    sides.ctl_ok(&["finish"]);
    sides.assert_equal();
}

/// A receiver or a source begins with a fault that stays until it is started again without.
fn fails_until_restarted(at_source: bool, plan: &str, wanted: &str) {
    let sides = Sides::new(&[(24 * MIB + 512, 12 * MIB)]);
    let (mut receive, mut send) = (sides.receiver_command(), sides.source_command());
    if at_source { &mut send } else { &mut receive }.env("REPLICATOR_FAIL", plan);
    let mut receiver = Running::start(receive);
    let mut source = Running::start(send);
    let writer = Writer::start(&sides.path("s0.nbd"), 24 * MIB, Duration::from_millis(1));
    says(&sides, wanted);
    if at_source {
        source.kill();
        source = Running::start(sides.source_command());
    } else {
        receiver.kill();
        std::fs::remove_file(sides.path("site.pair")).unwrap();
        receiver = Running::start(sides.receiver_command());
    }
    finishes(&sides, writer);
    drop((source, receiver));
}

#[test]
fn i8_disks_that_fail_are_named_and_the_guest_writes_on() {
    std::thread::scope(|scope| {
        scope
            .spawn(|| fails_until_restarted(true, "source-read:4+:error", "SOURCE_STORAGE_FAILED"));
        let destination = "DESTINATION_STORAGE_FAILED";
        scope.spawn(|| fails_until_restarted(false, "target-write:3+:error", destination));
        scope.spawn(|| fails_until_restarted(false, "target-sync:2+:error", destination));
        scope.spawn(|| fails_until_restarted(false, "have-sync:1+:error", destination));
    });
}

#[test]
fn slow_and_short_disks_cost_time_only() {
    let sides = Sides::new(&[(24 * MIB + 512, 12 * MIB)]);
    let (mut receive, mut send) = (sides.receiver_command(), sides.source_command());
    receive.env(
        "REPLICATOR_FAIL",
        "target-write:1+:short=4096,target-write:5:delay=300,target-sync:1+:delay=30,\
         have-write:1+:short=1000,super-write:1+:short=100",
    );
    send.env(
        "REPLICATOR_FAIL",
        "source-read:1+:short=4096,source-read:3:delay=300,source-write:1+:short=512,\
         intent-write:1+:short=512,intent-sync:1+:delay=20",
    );
    let receiver = Running::start(receive);
    let source = Running::start(send);
    let writer = Writer::start(&sides.path("s0.nbd"), 24 * MIB, Duration::from_millis(1));
    sides.wait_ready();
    finishes(&sides, writer);
    drop((source, receiver));
}

/// A small file system of its own.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nothing may be mounted.
    fn mount(at: &Path, mib: u64) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(at);
        let mounted = command.status().is_ok_and(|status| status.success());
        // SAFETY: a plain system call without arguments.
        let root = unsafe { libc::geteuid() } == 0;
        assert!(mounted || !root, "root can mount a tmpfs");
        mounted.then(|| Self(at.to_owned()))
    }

    fn grow(&self, mib: u64) {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,size={mib}m")]).arg(&self.0);
        assert!(command.status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_destination_that_is_really_full_is_named_and_goes_on_when_there_is_room() {
    let sides = Sides::new(&[(24 * MIB, 16 * MIB)]);
    let Some(small) = SmallDisk::mount(&sides.path("small"), 6) else {
        eprintln!("skipped: no file system may be mounted here");
        return;
    };
    let copy = sides.path("small/d0.raw");
    std::fs::File::create(&copy).unwrap().set_len(24 * MIB).unwrap();
    std::os::unix::fs::symlink(&copy, sides.path("d0.raw")).unwrap();
    let receiver = Running::start(sides.receiver_command());
    let source = Running::start(sides.source_command());
    let writer = Writer::start(&sides.path("s0.nbd"), 24 * MIB, Duration::from_millis(1));
    says(&sides, "DESTINATION_FULL");
    small.grow(64);
    finishes(&sides, writer);
    drop((source, receiver));
}

#[test]
fn bits_turned_between_the_sites_are_never_used() {
    let sides = Sides::new(&[(24 * MIB + 512, 12 * MIB)]);
    let proxy = Proxy::start_at(sides.address.ip(), sides.address);
    let receiver = Running::start(sides.receiver_command());
    let mut send = sides.source_command_to(proxy.address);
    send.args(["--bytes-per-second-max", "16M"]);
    let source = Running::start(send);
    let writer = Writer::start(&sides.path("s0.nbd"), 24 * MIB, Duration::from_millis(1));
    for _ in 0..6 {
        proxy.turn_bits(2);
        wait("bits were turned", || proxy.turns_left() == 0);
    }
    finishes(&sides, writer);
    drop((source, receiver));
}

/// The state beside one VM's disk cannot be written: the guest of the other, on the same host,
/// never waits for that. (`isolation.rs` lets such a process die as well.)
#[test]
fn one_vm_without_any_room_for_its_state_never_reaches_another() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_small) = SmallDisk::mount(&folder.path().join("small"), 1) else {
        eprintln!("skipped: no file system may be mounted here");
        return;
    };
    let mut host = Host::start(&folder.path().join("host"));
    let good = Disk::new(folder.path(), 0, 4 * MIB, MIB);
    let first = host.attach(&good).ok()["nbdSocket"].as_str().unwrap().to_owned();
    let mut first = GuestDisk::open(first.as_ref());
    first.write(0, &record(1, 0));
    // The whole of the second VM's file system is its disk: not a byte is left beside it.
    let bad = Disk::new(&folder.path().join("small"), 1, 1_044_480, 1_044_480);
    let other = uuid("vm", 2);
    host.vm = other;
    let answer = host.attach(&bad);
    if let Some(socket) = answer.body["nbdSocket"].as_str() {
        let mut second = GuestDisk::open(socket.as_ref());
        second.write(512, &record(2, 512));
        assert_eq!(second.read(512, 512), record(2, 512), "it is served, or refused, not broken");
    } else {
        assert!(answer.body["code"].is_string() && answer.body["detail"].is_string());
    }
    for number in 2..200 {
        first.write(number * 512, &record(number, number * 512));
    }
    assert_eq!(first.read(512 * 199, 512), record(199, 199 * 512));
    assert!(first.longest_stall < Duration::from_secs(5), "{:?}", first.longest_stall);
}
