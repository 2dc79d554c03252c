//! The form in which a stage's durations leave this crate.

use landfall_api::catalogue as metric;
use landfall_api::metrics::{Metrics, Value};

use crate::stats::{STAGE_BINS, Stage, StageFigures};

/// Buckets from 8 microseconds to 17 seconds, each twice the one before.
const BUCKET_FIRST: usize = 3;
const BUCKET_LAST: usize = 24;

/// A stage's durations as a histogram.
pub(crate) fn buckets(figures: &StageFigures) -> Value {
    let below: u64 = figures.bins[..BUCKET_FIRST].iter().sum();
    let mut buckets = Vec::with_capacity(BUCKET_LAST - BUCKET_FIRST + 1);
    for bin in BUCKET_FIRST..=BUCKET_LAST {
        let first = if bin == BUCKET_FIRST { below } else { 0 };
        buckets.push(((1u64 << bin) as f64 / 1e6, figures.bins[bin] + first));
    }
    let over = figures.bins[BUCKET_LAST + 1..STAGE_BINS].iter().sum();
    Value::Buckets(buckets, over, figures.busy_ns as f64 / 1e9)
}

/// Bytes and durations of the stages that were passed at all.
pub(crate) fn add_stages(
    metrics: &mut Metrics,
    labels: &[(&str, &str)],
    stages: &[(&str, &Stage)],
) {
    for (name, stage) in stages {
        let figures = stage.figures();
        if figures.count > 0 {
            let labels = [labels, &[("stage", *name)]].concat();
            metrics.number(&metric::STAGE_BYTES, &labels, figures.bytes as f64);
            metrics.add(&metric::STAGE_SECONDS, &labels, buckets(&figures));
        }
    }
}
