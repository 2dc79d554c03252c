//! With any one rule broken the simulator finds a loss: so it would notice one.

use landfall_sim::{Rule, run};

/// Seeds in which a broken rule must be noticed.
const SEEDS: u64 = 3_000;

/// Seeds that notice something soon: tried first, because some rules are seldom needed.
const FIRST: [u64; 14] = [1, 5, 6, 11, 17, 19, 26, 85, 99, 191, 319, 402, 1_159, 1_895];

#[test]
fn each_broken_rule_is_noticed() {
    let mut missed = Vec::new();
    for rule in Rule::ALL {
        let found = FIRST.into_iter().chain(1..=SEEDS).find_map(|seed| {
            let violation = run(seed, Some(rule), false).violation?;
            Some((seed, violation))
        });
        match found {
            Some((seed, violation)) => println!("{rule:?}: seed {seed}: {violation}"),
            None => missed.push(rule),
        }
    }
    assert!(missed.is_empty(), "not noticed within {SEEDS} seeds: {missed:?}");
}
