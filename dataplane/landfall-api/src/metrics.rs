//! Metrics as values, and their Prometheus text form (version 0.0.4). Families of many
//! processes can be put together before they are written. This file does no I/O and knows no
//! metric of its own: those stand in `catalogue.rs`.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// Content type of the text form.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Every name begins with this.
pub const PREFIX: &str = "landfall_replicator_";

/// How the values of a metric behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

impl MetricKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Name, unit and meaning of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name without [`PREFIX`]; its unit stands last.
    pub name: &'static str,
    /// How its values behave.
    pub kind: MetricKind,
    /// One line for people.
    pub help: &'static str,
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram: upper bound in seconds and count of each bucket, not summed up; what is
    /// over the last bound; the sum of all durations.
    Buckets(Vec<(f64, u64)>, u64, f64),
}

/// A value with the labels that tell it from the others of its family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Names and values, in the order they are written.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: Value,
}

/// All values of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// Full name.
    pub name: String,
    /// How its values behave.
    pub kind: MetricKind,
    /// One line for people.
    pub help: String,
    /// The values.
    pub samples: Vec<Sample>,
}

/// Families in the order in which they were first met.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics(pub Vec<Family>);

impl Metrics {
    /// Adds a number.
    pub fn number(&mut self, metric: &Metric, labels: &[(&str, &str)], value: f64) {
        self.add(metric, labels, Value::Number(value));
    }

    /// Adds a value.
    pub fn add(&mut self, metric: &Metric, labels: &[(&str, &str)], value: Value) {
        let name = format!("{PREFIX}{}", metric.name);
        let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let family = self.family(name, metric.kind, metric.help);
        family.samples.push(Sample { labels, value });
    }

    /// Takes over everything of another process.
    pub fn merge(&mut self, other: Self) {
        for family in other.0 {
            let into = self.family(family.name, family.kind, &family.help);
            into.samples.extend(family.samples);
        }
    }

    fn family(&mut self, name: String, kind: MetricKind, help: &str) -> &mut Family {
        match self.0.iter().position(|family| family.name == name) {
            Some(at) => &mut self.0[at],
            None => {
                self.0.push(Family { name, kind, help: help.to_owned(), samples: Vec::new() });
                self.0.last_mut().expect("it was just put there")
            }
        }
    }

    /// The text form.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for family in &self.0 {
            let name = &family.name;
            let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = writeln!(text, "# HELP {name} {help}");
            let _ = writeln!(text, "# TYPE {name} {}", family.kind.as_str());
            for sample in &family.samples {
                write_sample(&mut text, name, sample);
            }
        }
        text
    }
}

fn write_sample(text: &mut String, name: &str, sample: &Sample) {
    match &sample.value {
        Value::Number(value) => line(text, name, "", &sample.labels, None, *value),
        Value::Buckets(buckets, over, sum) => {
            let mut count = 0;
            for (bound, here) in buckets {
                count += here;
                let bound = bound.to_string();
                line(text, name, "_bucket", &sample.labels, Some(&bound), count as f64);
            }
            count += over;
            line(text, name, "_bucket", &sample.labels, Some("+Inf"), count as f64);
            line(text, name, "_sum", &sample.labels, None, *sum);
            line(text, name, "_count", &sample.labels, None, count as f64);
        }
    }
}

fn line(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &[(String, String)],
    bound: Option<&str>,
    value: f64,
) {
    text.push_str(name);
    text.push_str(suffix);
    let mut separator = '{';
    let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (label, content) in labels.chain(bound.map(|bound| ("le", bound))) {
        let content = content.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{separator}{label}=\"{content}\"");
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_one_head_per_family_and_sums_buckets_up() {
        let bytes = Metric { name: "sent_bytes_total", kind: MetricKind::Counter, help: "Sent." };
        let wait = Metric { name: "wait_seconds", kind: MetricKind::Histogram, help: "A\nb" };
        let mut metrics = Metrics::default();
        metrics.number(&bytes, &[("vm", "a\"b\\")], 7.0);
        let buckets = Value::Buckets(vec![(0.000_008, 1), (0.5, 2)], 1, 1.25);
        metrics.add(&wait, &[], buckets);
        let mut other = Metrics::default();
        other.number(&bytes, &[("vm", "c")], 8e18);
        metrics.merge(other);
        assert_eq!(
            metrics.to_text(),
            "# HELP landfall_replicator_sent_bytes_total Sent.\n\
             # TYPE landfall_replicator_sent_bytes_total counter\n\
             landfall_replicator_sent_bytes_total{vm=\"a\\\"b\\\\\"} 7\n\
             landfall_replicator_sent_bytes_total{vm=\"c\"} 8000000000000000000\n\
             # HELP landfall_replicator_wait_seconds A\\nb\n\
             # TYPE landfall_replicator_wait_seconds histogram\n\
             landfall_replicator_wait_seconds_bucket{le=\"0.000008\"} 1\n\
             landfall_replicator_wait_seconds_bucket{le=\"0.5\"} 3\n\
             landfall_replicator_wait_seconds_bucket{le=\"+Inf\"} 4\n\
             landfall_replicator_wait_seconds_sum 1.25\n\
             landfall_replicator_wait_seconds_count 4\n"
        );
    }
}
