//! Measures a copy, a hand-over and memory of both sides in one process over loopback:
//! `cargo run --release -p landfall-io --example measure -- [DISK_MIB] [CONTENT_MIB]`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use common::*;
use landfall_api::HandoverState;

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn main() {
    landfall_io::tune_allocator();
    let argument = |at: usize, or: u64| {
        std::env::args().nth(at).map_or(or, |text| text.parse().expect("a number of MiB"))
    };
    let (disk, content) = (argument(1, 2048) * MIB, argument(2, 1024) * MIB);
    let world = World::new(&[disk], |file, _| {
        fill_random(file, content);
        file.sync_all().unwrap();
    });
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let taps = world.begin();
    world.wait("first copy", 600, |status| status.background_complete);
    let seconds = start.elapsed().as_secs_f64();
    let rate = content as f64 / seconds / 1e9;
    let per_gb = (cpu_seconds() - cpu) / (content as f64 / 1e9);
    println!("copy        {rate:.2} GB/s durable, {per_gb:.2} CPU s/GB (both sides)");
    let ready = Instant::now();
    world.ready();
    println!("ready       {:.2} s after the copy", ready.elapsed().as_secs_f64());
    world.wait("hashes", 60, |s| s.projected.is_some_and(|p| p.rehash_seconds == 0.0));
    println!("hashed      {:.2} s after the copy", ready.elapsed().as_secs_f64());

    let mut random = Random(42);
    let spread = disk / 512 / 65_536 * 65_536;
    for (title, step) in [("512 units in 512 chunks", spread), ("512 units in a row", 65_536)] {
        let token = if step == spread { 1 } else { 2 };
        world.source.pause(&job_id(), 1).unwrap();
        for unit in 0..512 {
            taps[0].write_at(&random.bytes(65_536), unit * step, false).unwrap();
        }
        let dirty = world.status().disks[0].dirty_bytes.0 / MIB;
        world.source.set_open(false).unwrap();
        let start = Instant::now();
        world.source.resume(&job_id(), 1).unwrap();
        world.source.freeze(&job_id(), 1, token).unwrap();
        world.wait("equal roots", 60, |s| s.handover.state == HandoverState::RootsEqual);
        let roots = start.elapsed().as_millis();
        if token == 2 {
            world.source.hand_over(&job_id(), 1, token).unwrap();
        } else {
            world.source.unfreeze(&job_id(), 1, token).unwrap();
            world.source.set_open(true).unwrap();
        }
        let total = start.elapsed().as_millis();
        if let Some(ms) = world.status().handover.data_path_ms {
            println!("data path   freeze accepted to ACTIVE persisted {ms} ms");
        }
        println!("freeze      {title}: {dirty} MiB dirty, roots equal {roots} ms, end {total} ms");
    }
    println!("memory      {:.0} MiB at most, both sides together", resident_mib());
    world.assert_equal();
    println!("equal       byte by byte");
}
