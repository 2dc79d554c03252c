//! The host daemon keeps the source process of a VM alive; the guest never pays for a crash.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::guest::{GuestDisk, record};
use crate::stage::{Disk, Host, send_signal, wait};

fn attached(host: &Host) -> Value {
    host.ask("GET", "/v1/attachments", Value::Null).unwrap().ok()
}

#[test]
fn a_killed_source_is_back_within_a_second_on_the_same_socket() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(&folder.path().join("host"));
    let disk = Disk::new(folder.path(), 0, 4 << 20, 0);
    let socket = host.attach(&disk).ok()["nbdSocket"].as_str().unwrap().to_owned();
    let mut guest = GuestDisk::open(socket.as_ref());
    guest.write(0, &record(1, 0));
    let before = host.source_pid().unwrap();
    host.kill_source();
    let begin = Instant::now();
    guest.write(512, &record(2, 512));
    assert!(begin.elapsed() < Duration::from_secs(1), "it took {:?}", begin.elapsed());
    assert_eq!(guest.read(0, 512), record(1, 0));
    assert_ne!(host.source_pid().unwrap(), before);
    assert_eq!(attached(&host)[0]["disks"][0]["attached"], true);
}

#[test]
fn a_killed_daemon_leaves_the_source_running_and_the_next_adopts_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::start(&folder.path().join("host"));
    let disk = Disk::new(folder.path(), 0, 4 << 20, 0);
    let socket = host.attach(&disk).ok()["nbdSocket"].as_str().unwrap().to_owned();
    let mut guest = GuestDisk::open(socket.as_ref());
    guest.write(0, &record(1, 0));
    let source = host.source_pid().unwrap();
    host.daemon.kill();
    guest.write(512, &record(2, 512));
    host.daemon.restart();
    wait("the daemon is back", || host.ask("GET", "/v1/attachments", Value::Null).is_ok());
    assert_eq!(attached(&host)[0]["disks"][0]["attached"], true);
    assert_eq!(host.source_pid(), Some(source));
    assert!(guest.longest_stall < Duration::from_millis(500));
    host.kill_source();
    guest.write(1024, &record(3, 1024));
    assert!(host.source_pid().is_some_and(|pid| pid != source), "an adopted one is watched too");
}

#[test]
fn a_daemon_that_finds_its_sources_dead_starts_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::start(&folder.path().join("host"));
    let disk = Disk::new(folder.path(), 0, 4 << 20, 0);
    let socket = host.attach(&disk).ok()["nbdSocket"].as_str().unwrap().to_owned();
    let mut guest = GuestDisk::open(socket.as_ref());
    guest.write(0, &record(1, 0));
    let source = host.source_pid().unwrap();
    host.daemon.kill();
    send_signal(source, libc::SIGKILL);
    host.daemon.restart();
    guest.write(512, &record(2, 512));
    assert_eq!(guest.read(0, 512), record(1, 0));
    assert_eq!(attached(&host)[0]["open"], true);
}

#[test]
fn an_attach_right_after_a_crash_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(&folder.path().join("host"));
    let disks = [Disk::new(folder.path(), 0, 4 << 20, 0), Disk::new(folder.path(), 1, 1 << 20, 0)];
    host.attach(&disks[0]).ok();
    host.kill_source();
    host.attach(&disks[1]).ok();
    host.kill_source();
    host.closed();
    assert_eq!(attached(&host)[0]["open"], false);
}

#[test]
fn a_source_that_hangs_is_ended_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(&folder.path().join("host"));
    let disk = Disk::new(folder.path(), 0, 4 << 20, 0);
    let socket = host.attach(&disk).ok()["nbdSocket"].as_str().unwrap().to_owned();
    let mut guest = GuestDisk::open(socket.as_ref());
    send_signal(host.source_pid().unwrap(), libc::SIGSTOP);
    guest.write(0, &record(1, 0));
    assert!(guest.longest_stall < Duration::from_secs(30), "{:?}", guest.longest_stall);
}

#[test]
fn a_source_that_never_starts_is_replaced_by_a_pass_through_and_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::start(&folder.path().join("host"));
    let disk = Disk::new(folder.path(), 0, 4 << 20, 0);
    let socket = host.attach(&disk).ok()["nbdSocket"].as_str().unwrap().to_owned();
    let mut guest = GuestDisk::open(socket.as_ref());
    // A folder where the control socket belongs keeps every new source from starting.
    let pid = host.source_pid().unwrap();
    let control = std::fs::read_dir(folder.path().join("host/state/sockets")).unwrap();
    let control = control.flatten().map(|entry| entry.path());
    let control = control.into_iter().find(|path| path.extension() == Some("ctl".as_ref()));
    let control = control.unwrap();
    host.daemon.kill();
    std::fs::remove_file(&control).unwrap();
    std::fs::create_dir_all(control.join("blocked")).unwrap();
    send_signal(pid, libc::SIGKILL);
    host.daemon.restart();
    guest.write(0, &record(1, 0));
    let stall = guest.longest_stall;
    assert!(stall > Duration::from_secs(15) && stall < Duration::from_secs(40), "{stall:?}");
    assert_eq!(attached(&host)[0]["disks"][0]["untracked"], true);
    std::fs::remove_dir_all(&control).unwrap();
    wait("a source serves it again", || attached(&host)[0]["disks"][0]["attached"] == true);
    guest.write(512, &record(2, 512));
    assert_eq!(guest.read(0, 512), record(1, 0));
    assert_eq!(attached(&host)[0]["disks"][0]["untracked"], false);
}

#[test]
fn detaching_the_last_disk_ends_the_source_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(&folder.path().join("host"));
    let disks = [Disk::new(folder.path(), 0, 4 << 20, 0), Disk::new(folder.path(), 1, 1 << 20, 0)];
    for disk in &disks {
        host.attach(disk).ok();
        host.attach(disk).ok();
    }
    host.detach(&disks[0]);
    assert!(host.source_pid().is_some());
    host.detach(&disks[1]);
    host.detach(&disks[1]);
    wait("the source process is gone", || host.source_pid().is_none());
    assert_eq!(attached(&host), Value::Array(vec![]));
    let left = |path: &str| std::fs::read_dir(folder.path().join(path)).unwrap().count();
    assert_eq!((left("host/state/vms"), left("host/state/sockets")), (0, 0));
}

#[test]
fn other_peoples_disks_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(&folder.path().join("host"));
    let mut disk = Disk::new(folder.path(), 0, 4 << 20, 0);
    host.attach(&disk).ok();
    disk.capacity = 8 << 20;
    assert_eq!(host.attach(&disk).code(), "DISK_CHANGED");
    disk.capacity = 4 << 20;
    disk.source_path = "relative".into();
    assert_eq!(host.attach(&disk).code(), "BAD_REQUEST");
}
