//! The choice of connections and codec against simple links.

use landfall_core::tuning::*;

fn second(goodput: f64, idle: f64, waiting: f64) -> Second {
    Second { goodput, idle, free: true, waiting }
}

/// Runs both choices over a link that `goodput` describes, from connections and codec step.
fn settle(
    seconds: u32,
    idle: f64,
    waiting: f64,
    goodput: impl Fn(usize, usize) -> f64,
) -> (usize, usize) {
    let (mut count, mut step) = (2, 0);
    let (mut connections, mut codec) = (Connections::default(), CodecChoice::default());
    for _ in 0..seconds {
        let now = second(goodput(count, step), idle, waiting);
        match connections.second(now, count, 8) {
            Some(Change::More) => count += 1,
            Some(Change::Less) => count -= 1,
            None => {}
        }
        let now = second(goodput(count, step), idle, waiting);
        match codec.second(now, step, 5) {
            Some(Change::More) => step += 1,
            Some(Change::Less) => step -= 1,
            None => {}
        }
    }
    (count, step)
}

#[test]
fn a_busy_machine_keeps_two_connections_and_no_codec() {
    assert_eq!(settle(120, 0.02, 0.9, |_, _| 1e9), (2, 0));
}

#[test]
fn connections_grow_while_each_brings_more_and_stop_where_none_does() {
    let (count, _) = settle(50, 0.8, 0.0, |count, _| 100e6 * count.min(5) as f64);
    assert_eq!(count, 5);
    let (count, _) = settle(50, 0.8, 0.0, |count, _| 100e6 * count as f64);
    assert_eq!(count, 8);
}

#[test]
fn on_a_slow_link_the_codec_grows_as_long_as_it_pays() {
    let ratio = [1.0, 1.8, 2.0, 2.4, 2.9, 2.95];
    let (_, step) = settle(58, 0.8, 0.9, |_, step| 100e6 * ratio[step]);
    assert_eq!(step, 4);
}

#[test]
fn a_codec_that_holds_up_the_sending_gets_weaker() {
    let mut codec = CodecChoice::default();
    let changes = (0..5).filter_map(|_| codec.second(second(1e8, 0.5, 0.0), 3, 5));
    assert_eq!(changes.collect::<Vec<_>>(), [Change::Less]);
}

#[test]
fn nothing_is_tried_while_a_limit_holds_the_copy() {
    let (mut connections, mut codec) = (Connections::default(), CodecChoice::default());
    for _ in 0..100 {
        let now = Second { free: false, ..second(1e6, 0.9, 0.9) };
        assert_eq!(connections.second(now, 2, 8), None);
        assert_eq!(codec.second(now, 0, 5), None);
    }
}

#[test]
fn incompressible_content_is_tried_once_in_sixteen() {
    let mut skip = Incompressible::default();
    let mut tries = 0;
    for _ in 0..32 + 160 {
        if skip.try_next() {
            tries += 1;
            skip.tried(false);
        }
    }
    assert_eq!(tries, 32 + 10);
    while !skip.try_next() {}
    skip.tried(true);
    assert!((0..32).all(|_| skip.try_next()));
    assert!(worth(1000, 940) && !worth(1000, 941));
}
