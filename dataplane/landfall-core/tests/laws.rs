//! The dials, the buckets and readiness, with time as a number.

use landfall_core::dial::{
    Capacity, background_limit, background_nice, latency_tolerance, throttle_delay_ns,
    throttle_share,
};
use landfall_core::ready::{Facts, Obstacle, obstacles, projected};
use landfall_core::throttle::{TokenBucket, WriteThrottle};

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_bucket_keeps_its_rate_and_a_new_one_acts_at_once() {
    let mut bucket = TokenBucket::unlimited(0);
    let mut now = 0;
    for rate in [100e6, 20e6, 50e6, 1e6] {
        bucket.set_rate(Some(rate), now);
        let (start, mut sent) = (now, 0);
        while now < start + 2 * SECOND {
            match bucket.wait_ns(now) {
                0 => {
                    let len = bucket.extent_max();
                    bucket.take(len);
                    sent += len;
                }
                wait => now += wait.min(SECOND / 10),
            }
        }
        let ratio = sent as f64 / 2.0 / rate;
        assert!((0.95..1.05).contains(&ratio), "{rate}: {ratio}");
    }
}

#[test]
fn a_rate_of_zero_stops_and_no_rate_never_waits() {
    let mut bucket = TokenBucket::unlimited(0);
    bucket.take(1 << 40);
    assert_eq!(bucket.wait_ns(0), 0);
    bucket.set_rate(Some(0.0), 0);
    assert_eq!(bucket.wait_ns(60 * SECOND), u64::MAX);
}

#[test]
fn the_replication_rate_limits_the_background_and_says_how_far_it_yields() {
    assert_eq!(background_limit(0, None), Some(0.0));
    assert_eq!(background_limit(25, Some(100.0)), Some(50.0));
    assert_eq!(background_limit(25, None), None);
    assert_eq!(background_limit(50, Some(100.0)), None);
    assert_eq!(background_limit(100, None), None);
    assert_eq!(latency_tolerance(50), Some(1.5));
    assert_eq!(latency_tolerance(99), Some(4.0));
    assert_eq!(latency_tolerance(100), None);
    assert_eq!([0, 50, 75, 99, 100].map(background_nice), [8, 8, 5, 1, 0]);
}

#[test]
fn capacity_is_the_best_five_seconds_of_ten_minutes_and_frozen_while_capped() {
    let mut capacity = Capacity::default();
    let mut now = 0;
    let mut run = |capacity: &mut Capacity, seconds: u64, rate: f64, capped: bool| {
        for _ in 0..seconds {
            now += SECOND;
            capacity.sample(now, rate, capped);
        }
        capacity.bytes_per_second()
    };
    assert_eq!(run(&mut capacity, 10, 80.0, false), Some(80.0));
    assert_eq!(run(&mut capacity, 60, 10.0, true), Some(80.0));
    assert_eq!(run(&mut capacity, 100, 20.0, false), Some(80.0));
    assert!(run(&mut capacity, 600, 20.0, false).unwrap() < 30.0);
}

#[test]
fn write_throttling_slows_only_new_dirt_and_never_over_its_cap() {
    let mut throttle = WriteThrottle::off();
    assert_eq!(throttle.delay_ns(1 << 20, 1), 0);
    throttle.set(10e6, throttle_share(50), throttle_delay_ns(50, None));
    let (mut now, mut dirtied) = (SECOND, 0_u64);
    let start = now;
    while now < start + 20 * SECOND {
        assert_eq!(throttle.delay_ns(0, now), 0);
        let delay = throttle.delay_ns(4096, now);
        assert!(delay <= 20_000_000);
        dirtied += 4096;
        now += delay + 50_000;
    }
    let rate = dirtied as f64 / 20.0;
    assert!(rate <= 10e6 * 0.55 * 1.05, "{rate}");
    assert_eq!(throttle_delay_ns(50, Some(3)), 3_000_000);
    assert!((throttle_share(100) - 0.1).abs() < 1e-9);
}

#[test]
fn readiness_names_everything_in_the_way() {
    let ready = Facts {
        connected: true,
        background_complete: true,
        drain_bytes_per_second: Some(10e6),
        hash_bytes_per_second: 1e9,
        ..Facts::default()
    };
    assert_eq!(obstacles(&ready), []);
    let dirty = Facts { dirty_bytes: 65 << 20, ..ready };
    assert_eq!(obstacles(&dirty), [Obstacle::TooMuchRemaining]);
    let slow = Facts { dirty_bytes: 60 << 20, drain_bytes_per_second: Some(1e6), ..ready };
    assert_eq!(obstacles(&slow), [Obstacle::TooSlow]);
    let hashing = Facts { stale_bytes: 11_000_000_000, ..ready };
    assert_eq!(obstacles(&hashing), [Obstacle::TooSlow]);
    let begun = Facts { background_complete: false, unverified_units: 1, ..Facts::default() };
    assert_eq!(obstacles(&begun), [Obstacle::NotConnected, Obstacle::Comparing, Obstacle::Copying]);
    assert_eq!(projected(&ready), (0.0, 0.0));
}
