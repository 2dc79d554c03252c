//! Every decoder with its corpus and with mutations of it, on stable Rust. More iterations with
//! `LANDFALL_FUZZ_ITERATIONS`, another series with `LANDFALL_FUZZ_SEED`, one target alone with
//! `LANDFALL_FUZZ_TARGET`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use landfall_fuzz::{Mutator, TARGETS, Target, corpus, target};

/// Mutations of a cheap target; dear ones get fewer.
const ITERATIONS: u64 = 20_000;

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |text| text.parse().expect("a number"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a target; an input that breaks it is printed as a line for its corpus.
fn run(target: Target, name: &str, bytes: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
    if outcome.is_err() {
        panic!("{}: add to its corpus:\n{name} {}", target.name, hex(bytes));
    }
}

fn fuzz(target: Target) {
    let inputs = corpus(target.name).unwrap();
    assert!(inputs.len() > 1, "{} has no corpus", target.name);
    for input in &inputs {
        run(target, &input.name, &input.bytes);
    }
    let bytes: Vec<Vec<u8>> = inputs.into_iter().map(|input| input.bytes).collect();
    let seed = number("LANDFALL_FUZZ_SEED", 1);
    let mut mutator = Mutator::new(seed);
    for iteration in 0..number("LANDFALL_FUZZ_ITERATIONS", ITERATIONS) / target.cost {
        let input = mutator.change(&bytes);
        run(target, &format!("seed-{seed}-{iteration}"), &input);
    }
}

fn all_of(prefix: &str) {
    let only = std::env::var("LANDFALL_FUZZ_TARGET").ok();
    for target in TARGETS.iter().filter(|target| target.name.starts_with(prefix)) {
        if only.as_deref().is_none_or(|only| only == target.name) {
            fuzz(*target);
        }
    }
}

#[test]
fn frames_of_the_wire() {
    all_of("wire_");
}

#[test]
fn state_files() {
    all_of("file_");
}

#[test]
fn nbd_clients() {
    all_of("nbd_");
}

#[test]
fn bodies_of_the_control_api() {
    all_of("control_");
}

#[test]
fn every_corpus_file_belongs_to_a_target() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(target(name).is_some(), "{}", path.display());
    }
}
