//! With any one rule broken the simulator finds a loss: so it would notice one.

use landfall_sim::{Rule, run};

/// Seeds in which every broken rule is noticed.
const SEEDS: u64 = 2_000;

#[test]
fn each_broken_rule_is_noticed() {
    let mut missed = Vec::new();
    for rule in Rule::ALL {
        let found = (1..=SEEDS).find_map(|seed| {
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
