//! A strict reader of the Prometheus text form: what a scraper would only guess is an error here.

use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeMap<String, String>;

/// One metric with all its lines.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    /// Suffix of the name, labels, value.
    pub samples: Vec<(String, Labels, f64)>,
}

/// Reads a whole answer; panics at the first thing that is not as the format has it.
pub fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line is cut");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let (mut current, mut helped) = (String::new(), None);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert_name(name);
            assert!(!help.is_empty() && helped.is_none(), "{line}");
            assert!(!families.contains_key(name), "{name} comes twice");
            helped = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let helped = helped.take().expect("TYPE without HELP");
            assert_eq!(helped, name);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            current = name.to_owned();
            let family = Family { kind: kind.into(), samples: Vec::new() };
            families.insert(current.clone(), family);
        } else {
            let (name, labels, value) = sample(line);
            let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("astray: {line}"));
            families.get_mut(&current).unwrap().samples.push((suffix.into(), labels, value));
        }
    }
    assert!(helped.is_none());
    families.iter().for_each(|(name, family)| check(name, family));
    families
}

fn assert_name(name: &str) {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    assert!(name.starts_with("landfall_replicator_") && name.bytes().all(fits), "{name}");
}

fn sample(line: &str) -> (&str, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert_name(name);
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase()), "{line}");
            let (content, after) = quoted(after);
            assert!(labels.insert(label.to_owned(), content).is_none(), "{label} twice: {line}");
            match after.as_bytes()[0] {
                b',' => rest = &after[1..],
                b'}' => break rest = &after[1..],
                _ => panic!("{line}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    (name, labels, value.parse().unwrap_or_else(|_| panic!("{line}")))
}

fn quoted(text: &str) -> (String, &str) {
    let mut content = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (content, &text[at + 1..]),
            '\\' => match chars.next().unwrap().1 {
                'n' => content.push('\n'),
                escaped @ ('\\' | '"') => content.push(escaped),
                other => panic!("\\{other}"),
            },
            char => content.push(char),
        }
    }
    panic!("a quote is not closed");
}

fn check(name: &str, family: &Family) {
    assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
    let mut seen = BTreeSet::new();
    for (suffix, labels, value) in &family.samples {
        assert!(seen.insert((suffix, labels)), "{name}{suffix}{labels:?} comes twice");
        assert!(value.is_finite() && *value >= 0.0, "{name}");
        match family.kind.as_str() {
            "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix.as_str())),
            _ => assert!(suffix.is_empty() && !labels.contains_key("le"), "{name}"),
        }
    }
    if family.kind == "histogram" {
        check_histogram(name, family);
    }
}

fn check_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (suffix, labels, value) in &family.samples {
        if suffix == "_bucket" {
            let mut labels = labels.clone();
            let bound = labels.remove("le").expect("a bucket has a bound");
            series.entry(labels).or_default().push((bound.parse().unwrap(), *value));
        }
    }
    let find = |suffix: &str, labels: &Labels| {
        let mut found = family.samples.iter().filter(|sample| sample.0 == suffix);
        found.find(|sample| sample.1 == *labels).map(|sample| sample.2)
    };
    for (labels, buckets) in series {
        for pair in buckets.windows(2) {
            assert!(pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1, "{name} {labels:?}");
        }
        let last = buckets.last().unwrap();
        assert!(last.0.is_infinite(), "{name}: the last bucket takes everything");
        assert_eq!(Some(last.1), find("_count", &labels), "{name}");
        assert!(find("_sum", &labels).is_some(), "{name}");
    }
}
