//! Two VMs on one host: whatever happens to one, its log full, its process killed or hung, the other
//! goes on, its guest and its migration.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::guest::Writer;
use crate::proxy::Proxy;
use crate::replication::{Play, assert_records};
use crate::stage::{Disk, Host, MIGRATION, Management, Shadow, send_signal, uuid, wait};

const MIB: u64 = 1 << 20;

#[test]
fn one_vm_with_a_full_log_a_killed_or_a_hung_process_never_stalls_another() {
    let folder = tempfile::tempdir().unwrap();
    let management = Management::new();
    let plan = Arc::new(Mutex::new(String::new()));
    let full = "intent-make:1+:full,intent-write:1+:full,super-write:6+:full";
    plan.lock().unwrap().push_str(full);
    let mut host = Host::start_with(&folder.path().join("host"), Arc::clone(&plan));
    management.enrol(host.address, "host", None);

    // The VM in trouble is tracked by a job that needs no receiver.
    let sick = uuid("vm", 2);
    let disk = Disk::new(folder.path(), 7, 32 * MIB, MIB);
    let socket = host.attach_to(&sick, &disk).ok()["nbdSocket"].as_str().unwrap().to_owned();
    let spec = json!({
        "kind": "observe", "vmUuid": sick, "generation": 1, "vmMigrationId": "vmm_sick",
        "disks": [disk.pair()],
    });
    management.ask(host.address, "PUT", "/v1/jobs/vmm_sick", spec).ok();
    let sick_pid = host.source_pid_of(&sick).unwrap();

    // The daemon and whatever it starts from now on have no fault.
    plan.lock().unwrap().clear();
    host.daemon.restart();
    wait("the daemon is back", || host.ask("GET", "/v1/attachments", Value::Null).is_ok());
    let shadow = Shadow::start(&folder.path().join("shadow"), &management.authority);
    management.enrol(shadow.address, "receiver", Some(MIGRATION));
    let disks = vec![Disk::new(folder.path(), 0, 48 * MIB, 32 * MIB)];
    shadow.link(&disks[0]);
    let sockets = vec![host.attach(&disks[0]).ok()["nbdSocket"].as_str().unwrap().to_owned()];
    let proxy = Proxy::start(shadow.address);
    let play = Play { management, host, shadow, proxy, disks, sockets, folder };
    play.start(json!({}));
    let writer = Writer::start(play.sockets[0].as_ref(), 32 * MIB, Duration::from_millis(1));

    // Nothing of the sick one's state can be written; its guest does not feel it either.
    let guest = Writer::start(socket.as_ref(), 32 * MIB, Duration::from_millis(1));
    let log = play.host.folder.join("state");
    wait("the full log is noticed", || mentions(&log, "writes are not noted"));
    play.wait_ready();
    assert_eq!(play.host.source_pid_of(&sick), Some(sick_pid));

    for _ in 0..4 {
        let pid = play.host.source_pid_of(&sick).unwrap();
        send_signal(pid, libc::SIGKILL);
        let another = || play.host.source_pid_of(&sick).filter(|now| *now != pid);
        wait("it is started again", || another().is_some());
    }
    let (sick_written, sick_stall) = guest.finish();
    assert!(sick_written.len() > 100 && sick_stall < Duration::from_secs(15), "{sick_stall:?}");

    wait("it runs", || play.host.source_pid_of(&sick).is_some());
    send_signal(play.host.source_pid_of(&sick).unwrap(), libc::SIGSTOP);
    let begin = Instant::now();
    for _ in 0..20 {
        play.status();
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let (written, longest_stall) = writer.finish();
    assert!(written.len() > 100);
    assert!(longest_stall < Duration::from_secs(3), "the guest stalled for {longest_stall:?}");
    play.wait_ready();
    play.hand_over(1);
    assert_eq!(play.status()["epoch"], 1, "its source was never started again");
    play.disks[0].assert_equal();
    assert_records(&play.disks[0], &written);
}

/// Whether a log below the folder has the text.
fn mentions(folder: &std::path::Path, text: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        match path.is_dir() {
            true => mentions(&path, text),
            false => {
                path.file_name().is_some_and(|name| name == "source.log")
                    && std::fs::read_to_string(&path).is_ok_and(|log| log.contains(text))
            }
        }
    })
}
