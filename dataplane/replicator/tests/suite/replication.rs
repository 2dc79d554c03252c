//! A whole migration of a VM's disks between two real processes: copy under writes, kills, cuts,
//! freeze, hand-over, and a comparison of both files byte by byte.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::guest::{GuestDisk, Writer, record};
use crate::proxy::Proxy;
use crate::stage::{Disk, Host, MIGRATION, Management, Shadow, resident_bytes, wait};

pub const JOB: &str = "vmm_test";

pub struct Play {
    pub management: Management,
    pub host: Host,
    pub shadow: Shadow,
    pub proxy: Proxy,
    pub disks: Vec<Disk>,
    pub sockets: Vec<String>,
    pub folder: tempfile::TempDir,
}

impl Play {
    /// Both sides enrolled, the disks attached.
    pub fn new(sizes: &[(u64, u64)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let management = Management::new();
        let host = Host::start(&folder.path().join("host"));
        let shadow = Shadow::start(&folder.path().join("shadow"), &management.authority);
        management.enrol(host.address, "host", None);
        management.enrol(shadow.address, "receiver", Some(MIGRATION));
        let disks: Vec<Disk> = sizes
            .iter()
            .enumerate()
            .map(|(at, (size, filled))| Disk::new(folder.path(), at as u8, *size, *filled))
            .collect();
        let attach = |disk: &Disk| {
            shadow.link(disk);
            host.attach(disk).ok()["nbdSocket"].as_str().unwrap().to_owned()
        };
        let sockets = disks.iter().map(attach).collect();
        let proxy = Proxy::start(shadow.address);
        Self { management, host, shadow, proxy, disks, sockets, folder }
    }

    pub fn host(&self, method: &str, path: &str, body: Value) -> Value {
        self.management.ask(self.host.address, method, path, body).ok()
    }

    pub fn receiver(&self) -> Value {
        self.management.ask(self.shadow.address, "GET", "/v1/receiver", Value::Null).ok()
    }

    pub fn spec(&self, generation: u64, dials: Value) -> Value {
        json!({
            "kind": "replicate", "vmUuid": self.host.vm, "generation": generation,
            "vmMigrationId": MIGRATION, "dials": dials,
            "receiver": {
                "address": "127.0.0.1", "port": self.proxy.address.port(),
                "spiffeId": self.management.authority.name(&format!("receiver/{MIGRATION}")),
            },
            "disks": self.disks.iter().map(Disk::pair).collect::<Vec<_>>(),
        })
    }

    /// Prepares the receiver, puts the job and gives it its certificate.
    pub fn start(&self, dials: Value) {
        let pairs: Vec<Value> = self.disks.iter().map(Disk::pair).collect();
        let prepare = json!({ "generation": 1, "disks": pairs });
        let path = "/v1/receiver/disks";
        self.management.ask(self.shadow.address, "PUT", path, prepare).ok();
        let status = self.host("PUT", &format!("/v1/jobs/{JOB}"), self.spec(1, dials));
        assert_eq!(status["state"], "awaiting-certificate");
        let csr = status["csrPem"].as_str().unwrap();
        let certificate = json!({
            "generation": 1, "authorityPem": self.management.authority.pem,
            "certificatePem": self.management.authority.sign(csr, &format!("source/{MIGRATION}")),
        });
        self.host("PUT", &format!("/v1/jobs/{JOB}/certificate"), certificate);
    }

    pub fn status(&self) -> Value {
        let mut status = Value::Null;
        wait("the status is readable", || {
            let path = format!("/v1/jobs/{JOB}");
            let answer = self.management.try_ask(self.host.address, "GET", &path, &Value::Null);
            match answer {
                Ok(answer) if answer.status == 200 => {
                    status = answer.body;
                    true
                }
                _ => false,
            }
        });
        status
    }

    pub fn sum(&self, counter: &str) -> u64 {
        let status = self.status();
        let disks = status["disks"].as_array().unwrap();
        disks.iter().map(|disk| disk[counter].as_str().unwrap().parse::<u64>().unwrap()).sum()
    }

    pub fn have_bytes(&self) -> u64 {
        let status = self.receiver();
        let disks = status["disks"].as_array().unwrap();
        disks.iter().map(|disk| disk["haveBytes"].as_str().unwrap().parse::<u64>().unwrap()).sum()
    }

    pub fn wait_ready(&self) {
        let mut last = Value::Null;
        let begin = std::time::Instant::now();
        loop {
            last.clone_from(&self.status());
            if last["ready"]["ready"] == true {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "not ready: {last:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn token(&self, verb: &str, token: u64) -> crate::client::Answer {
        let path = format!("/v1/jobs/{JOB}/{verb}");
        let body = json!({ "generation": 1, "token": token });
        self.management.ask(self.host.address, "POST", &path, body)
    }

    /// Freeze, roots, hand-over; both sides say that the destination owns the disks.
    pub fn hand_over(&self, token: u64) -> Value {
        self.host.closed();
        self.token("freeze", token).ok();
        wait("the roots are equal", || self.status()["handover"]["state"] == "roots-equal");
        let status = self.token("hand-over", token).ok();
        assert_eq!(status["handover"]["state"], "active", "{status:#}");
        assert_eq!(self.receiver()["ownership"], json!({ "state": "active", "token": token }));
        status
    }
}

pub fn assert_records(disk: &Disk, written: &[(u64, u64)]) {
    let content = std::fs::read(&disk.destination_path).unwrap();
    let last: HashMap<u64, u64> = written.iter().map(|(number, at)| (*at, *number)).collect();
    for (at, number) in last {
        let wanted = record(number, at);
        let found = &content[at as usize..at as usize + wanted.len()];
        assert!(found == wanted, "record {number} at {at} is missing at the destination");
    }
}

#[test]
fn m1_a_written_disk_arrives_whole_through_kills_and_a_cut() {
    let mut play = Play::new(&[(96 << 20, 64 << 20), ((5 << 20) + 512, 3 << 20)]);
    let writer = Writer::start(play.sockets[0].as_ref(), 96 << 20, Duration::from_millis(2));
    play.start(json!({ "replicationRate": 50, "bytesPerSecondMax": "12000000" }));

    wait("a quarter has arrived", || play.have_bytes() > 16 << 20);
    play.host.kill_source();
    let before = play.have_bytes();
    wait("it goes on after the source was killed", || play.have_bytes() > before + (4 << 20));
    play.shadow.receiver.restart();
    wait("the receiver answers again", || {
        play.management
            .try_ask(play.shadow.address, "GET", "/v1/receiver", &Value::Null)
            .is_ok_and(|answer| answer.status == 200)
    });
    assert!(play.have_bytes() >= before, "what had arrived is remembered");
    play.proxy.cut();
    wait("the cut is noticed", || play.status()["state"] == "interrupted");
    play.proxy.restore();
    play.host.daemon.restart();
    wait("it runs again", || play.status()["state"] == "running");
    let dials = json!({ "generation": 1, "replicationRate": 100 });
    let in_force = play.host("PUT", &format!("/v1/jobs/{JOB}/dials"), dials);
    assert_eq!(in_force["inForce"]["bytesPerSecondMax"], Value::Null);
    play.wait_ready();

    let (written, longest_stall) = writer.finish();
    assert_eq!(play.token("freeze", 1).code(), "NOT_CLOSED");
    let status = play.hand_over(1);
    for disk in &play.disks {
        disk.assert_equal();
    }
    assert_records(&play.disks[0], &written);
    assert!(longest_stall < Duration::from_secs(3), "the guest stalled for {longest_stall:?}");
    let source_bytes = resident_bytes(play.host.source_pid().unwrap());
    let receiver_bytes = play.shadow.receiver.resident_bytes();
    for resident in [source_bytes, receiver_bytes] {
        assert!(resident <= 384 << 20, "{resident} bytes resident");
    }
    let resent = play.sum("resentBytes");
    assert!(resent <= 64 << 20, "{resent} bytes were sent again");
    println!(
        "{} records, longest stall {longest_stall:?}, data path {} ms, sent again {resent}, \
         resident {source_bytes} and {receiver_bytes}",
        written.len(),
        status["handover"]["dataPathMs"]
    );
    let refused = play.host.attach(&play.disks[0]);
    assert_eq!((refused.status, refused.code()), (409, "DISK_SEALED"));
    assert_eq!(play.token("hand-over", 1).ok()["handover"]["state"], "active");
    assert_eq!(play.token("unfreeze", 1).code(), "HANDED_OFF");
}

#[test]
fn a_vm_that_is_opened_during_a_freeze_cancels_it_and_replication_goes_on() {
    let play = Play::new(&[(16 << 20, 8 << 20)]);
    play.start(json!({}));
    play.wait_ready();
    play.host.closed();
    play.token("freeze", 1).ok();
    let socket = play.host.attach(&play.disks[0]).ok()["nbdSocket"].as_str().unwrap().to_owned();
    let mut guest = GuestDisk::open(socket.as_ref());
    guest.write(4096, &record(1, 4096));
    guest.flush();
    wait("the freeze is cancelled", || play.status()["handover"]["state"] == "cancelled");
    assert_ne!(play.token("hand-over", 1).status, 200);
    drop(guest);
    play.wait_ready();
    play.hand_over(2);
    play.disks[0].assert_equal();
    assert_records(&play.disks[0], &[(1, 4096)]);
}

#[test]
fn commands_of_an_older_holder_are_refused() {
    let play = Play::new(&[(4 << 20, 1 << 20)]);
    play.start(json!({}));
    play.host("PUT", &format!("/v1/jobs/{JOB}"), play.spec(3, json!({})));
    let path = format!("/v1/jobs/{JOB}/pause");
    let stale = play.management.ask(play.host.address, "POST", &path, json!({ "generation": 2 }));
    assert_eq!((stale.status, stale.code()), (409, "STALE_GENERATION"));
    let answer = play.host("POST", &path, json!({ "generation": 3 }));
    assert_eq!(answer["generation"], 3);
    wait("it is paused", || play.status()["state"] == "paused");
    let job = format!("/v1/jobs/{JOB}?generation=3");
    for _ in 0..2 {
        let answer = play.management.ask(play.host.address, "DELETE", &job, Value::Null);
        assert!(answer.status == 204 || answer.code() == "UNKNOWN_JOB", "{answer:?}");
    }
}

#[test]
fn an_absolute_limit_is_kept_within_a_second() {
    let play = Play::new(&[(64 << 20, 64 << 20)]);
    play.start(json!({ "bytesPerSecondMax": "4000000" }));
    wait("it runs", || play.sum("sentBytes") > 0);
    for limit in [4_000_000_u64, 10_000_000] {
        let dials = json!({ "generation": 1, "bytesPerSecondMax": limit.to_string() });
        play.host("PUT", &format!("/v1/jobs/{JOB}/dials"), dials);
        std::thread::sleep(Duration::from_secs(1));
        let (before, begin) = (play.sum("sentBytes"), std::time::Instant::now());
        std::thread::sleep(Duration::from_secs(3));
        let rate = (play.sum("sentBytes") - before) as f64 / begin.elapsed().as_secs_f64();
        let share = rate / limit as f64;
        assert!((0.9..=1.1).contains(&share), "{rate} instead of {limit} bytes per second");
    }
}

/// Follows the job to its end as a supervisor does that may have to ask again.
fn drive_to_active(play: &Play, mut token: u64) {
    let begin = std::time::Instant::now();
    loop {
        let status = play.status();
        assert!(begin.elapsed() < Duration::from_secs(60), "no end: {status:#}");
        match status["handover"]["state"].as_str().unwrap() {
            "active" => return,
            "roots-equal" | "handed-off" => {
                token = status["handover"]["token"].as_u64().unwrap();
                play.token("hand-over", token);
            }
            "none" | "cancelled" if status["ready"]["ready"] == true => {
                token += 1;
                play.token("freeze", token);
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[test]
fn a_kill_at_any_point_of_the_hand_over_leaves_one_owner_and_equal_disks() {
    for kill_source in [true, false] {
        for point in ["freeze", "roots-equal", "hand-over", "active"] {
            println!("killing the {} at {point}", if kill_source { "source" } else { "receiver" });
            let mut play = Play::new(&[(16 << 20, 8 << 20)]);
            play.start(json!({}));
            play.wait_ready();
            play.host.closed();
            play.token("freeze", 1).ok();
            if point != "freeze" {
                wait("the roots are equal", || play.status()["handover"]["state"] == "roots-equal");
            }
            if point == "active" {
                play.token("hand-over", 1).ok();
            }
            std::thread::scope(|scope| {
                let (management, address) = (&play.management, play.host.address);
                if point == "hand-over" {
                    scope.spawn(move || {
                        let path = format!("/v1/jobs/{JOB}/hand-over");
                        let body = json!({ "generation": 1, "token": 1 });
                        let _ = management.try_ask(address, "POST", &path, &body);
                    });
                }
                if kill_source {
                    play.host.kill_source();
                } else {
                    play.shadow.receiver.restart();
                }
            });
            drive_to_active(&play, 1);
            wait("the receiver says so too", || {
                let asked = play.management.try_ask(
                    play.shadow.address,
                    "GET",
                    "/v1/receiver",
                    &Value::Null,
                );
                asked.is_ok_and(|answer| answer.body["ownership"]["state"] == "active")
            });
            play.disks[0].assert_equal();
            assert_eq!(play.host.attach(&play.disks[0]).code(), "DISK_SEALED");
        }
    }
}
