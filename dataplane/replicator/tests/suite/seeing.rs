//! What a running replication shows: metrics that a strict reader takes, on every face, and the
//! status as a stream.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use landfall_api::catalogue;
use landfall_api::metrics::PREFIX;
use serde_json::Value;

use crate::by_hand::{Running, Sides};
use crate::client::Connection;
use crate::guest::GuestDisk;
use crate::prometheus::{Family, parse};
use crate::replication::Play;
use crate::stage::wait;

const MIB: u64 = 1 << 20;

fn value(families: &std::collections::BTreeMap<String, Family>, name: &str, labels: &str) -> f64 {
    let family = &families[&format!("{PREFIX}{name}")];
    let has = |sample: &&(String, crate::prometheus::Labels, f64)| {
        labels.is_empty() || sample.1.values().any(|value| value == labels)
    };
    family.samples.iter().find(has).unwrap_or_else(|| panic!("{name} {labels}")).2
}

/// `GET /metrics` of a plain HTTP port, as a scraper asks.
fn scrape(address: &Value) -> String {
    let mut stream = TcpStream::connect(address.as_str().unwrap()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

#[test]
fn by_hand_both_sides_show_what_was_moved() {
    let sides = Sides::new(&[(64 * MIB, 8 * MIB)]);
    let mut command = sides.receiver_command();
    command.args(["--metrics", "127.45.0.1:0"]);
    let receiver = Running::start(command);
    let mut command = sides.source_command();
    command.args(["--metrics", "0"]);
    let source = Running::start(command);
    assert!(source.line["metrics"].as_str().unwrap().starts_with("127.0.0.1:"));
    let mut guest = GuestDisk::open(&sides.path("s0.nbd"));
    (0..20).for_each(|at| guest.write(40 * MIB + at * 4096, &[7; 4096]));
    guest.flush();
    sides.wait_ready();
    wait("everything is durable", || {
        let status = sides.ctl_ok(&["status"]);
        status["lagSeconds"] == 0.0 && status["disks"][0]["remainingBytes"] == "0"
    });
    let shown = parse(&scrape(&source.line["metrics"]));
    assert!(value(&shown, "sent_bytes_total", "") >= (8 * MIB) as f64);
    assert_eq!(value(&shown, "dirtied_bytes_total", ""), 20.0 * 4096.0);
    assert_eq!(value(&shown, "stage_bytes_total", "guest-write"), 20.0 * 4096.0);
    assert_eq!(value(&shown, "job_state", "running"), 1.0);
    assert_eq!(value(&shown, "ready", ""), 1.0);
    let limits = &shown[&format!("{PREFIX}limited_by")].samples;
    assert!(limits.iter().map(|sample| sample.2).sum::<f64>() <= 1.0);
    let received = parse(&scrape(&receiver.line["metrics"]));
    assert_eq!(value(&received, "have_bytes", ""), (64 * MIB) as f64);
    assert!(value(&received, "stage_bytes_total", "apply") >= (8 * MIB) as f64);
    assert_eq!((value(&received, "connected", ""), value(&received, "owner", "")), (1.0, 0.0));
    let by_ctl = sides.ctl(&["metrics"]);
    parse(&String::from_utf8(by_ctl.stdout).unwrap());
    let status = sides.ctl_ok(&["status"]);
    let stages = status["disks"][0]["stages"].as_array().unwrap();
    let write = stages.iter().find(|stage| stage["stage"] == "guest-write").unwrap();
    assert_eq!(write["count"], 20);
    assert_eq!(status["codec"]["name"].as_str().map(str::is_empty), Some(false));
}

#[test]
fn the_faces_of_host_and_receiver_show_metrics_to_the_management_server_only() {
    let play = Play::new(&[(16 * MIB, 4 * MIB)]);
    play.start(serde_json::json!({}));
    play.wait_ready();
    for (address, role) in [(play.host.address, "host"), (play.shadow.address, "receiver")] {
        let answer = play.management.ask(address, "GET", "/v1/metrics", Value::Null);
        let shown = parse(answer.ok().as_str().unwrap());
        assert_eq!(value(&shown, "build_info", role), 1.0);
        assert!(value(&shown, "disk_capacity_bytes", "") == (16 * MIB) as f64);
        let source = play.management.authority.identity("source/vmm_test");
        let mut stranger = Connection::open(address, Some(&source)).unwrap();
        let refused = stranger.request("GET", "/v1/metrics", &Value::Null).unwrap();
        assert_eq!(refused.code(), "FORBIDDEN");
    }
    let host = play.management.ask(play.host.address, "GET", "/v1/metrics", Value::Null);
    let shown = parse(host.ok().as_str().unwrap());
    assert_eq!(value(&shown, "vms", "source"), 1.0);
    assert!(value(&shown, "sent_bytes_total", "") >= (4 * MIB) as f64);
}

#[test]
fn the_status_streams_every_second_and_at_once_when_it_changes() {
    let play = Play::new(&[(16 * MIB, 4 * MIB)]);
    play.start(serde_json::json!({}));
    play.wait_ready();
    let identity = &play.management.identity;
    let mut follower = Connection::open(play.host.address, Some(identity)).unwrap();
    let begin = Instant::now();
    let mut states = Vec::new();
    follower.follow("/v1/jobs/vmm_test/events", |status| {
        states.push(status["state"].as_str().unwrap().to_owned());
        if states.len() == 3 {
            play.host("POST", "/v1/jobs/vmm_test/pause", serde_json::json!({ "generation": 1 }));
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{states:?}");
        status["state"] == "paused"
    });
    assert!(begin.elapsed() >= Duration::from_secs(2), "three lines came in {:?}", begin.elapsed());
    let unknown = "/v1/jobs/vmm_unknown/events";
    let answer = play.management.ask(play.host.address, "GET", unknown, Value::Null);
    assert_eq!(answer.code(), "UNKNOWN_JOB");
}

#[test]
fn the_stage_that_is_the_limit_is_named() {
    let sides = Sides::new(&[(96 * MIB, 96 * MIB)]);
    let _receiver = Running::start(sides.receiver_command());
    let mut command = sides.source_command();
    command.args(["--bytes-per-second-max", "4M"]);
    let _source = Running::start(command);
    let limited_by = |limit: &str| sides.ctl_ok(&["status"])["limitedBy"] == limit;
    wait("the rate limit is the limit", || limited_by("rate-limit"));
    assert_eq!(sides.ctl_ok(&["status"])["lagSeconds"], Value::Null, "no whole copy yet");
    sides.ctl_ok(&["dials", "--bytes-per-second-max", "none"]);
    sides.wait_ready();
    wait("there is nothing to do", || limited_by("idle"));
    sides.ctl_ok(&["pause"]);
    assert_eq!(sides.ctl_ok(&["status"])["limitedBy"], Value::Null);
}

#[test]
fn the_page_lists_every_metric() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md"));
    let page = page.unwrap();
    for metric in catalogue::ALL {
        let row = format!("| `{}` |", metric.name);
        let row = page.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("{} is not in docs/metrics.md", metric.name));
        assert!(row.contains(metric.help), "{row}");
    }
    let (_, table) = page.split_once("## Prometheus").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let name = row[3..].split('`').next().unwrap();
        let known = catalogue::ALL.iter().any(|metric| metric.name == name);
        assert!(known, "not a metric: {row}");
    }
}
