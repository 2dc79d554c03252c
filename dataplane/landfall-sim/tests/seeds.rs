//! Random seeds against the oracle. `LANDFALL_SIM_SEEDS` sets how many (2,000), `LANDFALL_SIM_FROM`
//! the first; `LANDFALL_SIM_SEED` runs one and prints what happened in it, `LANDFALL_SIM_ALL` goes on after
//! a failure.

use std::path::Path;
use std::time::Instant;

use landfall_sim::{Outcome, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn check(seed: u64, outcome: &Outcome) {
    if let Some(violation) = &outcome.violation {
        panic!(
            "seed {seed}: {violation}\nrepeat it: LANDFALL_SIM_SEED={seed} cargo test -p landfall-sim \
             --test seeds -- --nocapture\nkeep it: add {seed} to landfall-sim/regressions.txt"
        );
    }
}

#[test]
fn no_seed_loses_a_write_or_has_two_owners() {
    if let Some(seed) = number("LANDFALL_SIM_SEED") {
        let outcome = run(seed, None, true);
        outcome.log.iter().for_each(|line| println!("{line}"));
        return check(seed, &outcome);
    }
    let known =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions.txt"));
    let known = known.expect("the file is committed");
    for line in known.lines().filter(|line| !line.starts_with('#')) {
        let seed = line.trim().parse().expect("one number per line");
        check(seed, &run(seed, None, false));
    }
    let (from, seeds) = (number("LANDFALL_SIM_FROM"), number("LANDFALL_SIM_SEEDS"));
    let from = from.unwrap_or(1);
    let begun = Instant::now();
    let (mut steps, mut faults, mut handed_over, mut cleared) = (0, 0, 0, 0);
    let seeds = seeds.unwrap_or(2_000);
    for seed in from..from + seeds {
        let outcome = run(seed, None, false);
        if std::env::var_os("LANDFALL_SIM_ALL").is_some() && outcome.violation.is_some() {
            println!("seed {seed}: {}", outcome.violation.as_deref().unwrap_or_default());
            continue;
        }
        check(seed, &outcome);
        steps += outcome.steps;
        faults += outcome.faults;
        cleared += outcome.cleared;
        handed_over += u64::from(outcome.handed_over);
    }
    println!(
        "{seeds} seeds, {steps} steps, {faults} faults, {handed_over} hand-overs, {cleared} regions cleared, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
}
