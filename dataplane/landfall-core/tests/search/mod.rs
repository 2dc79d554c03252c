//! A search of every state that can be reached from a first one.

use std::collections::HashSet;
use std::fmt::Display;

/// Searches everything; two states with one fingerprint are one. The answer is the number of
/// states and the first loss.
pub fn search<S, L: Display>(
    start: S,
    successors: impl Fn(&S) -> Vec<(L, S)>,
    fingerprint: fn(&S) -> u64,
    loss: fn(&S) -> Option<String>,
) -> (usize, Option<String>) {
    let mut seen = HashSet::from([fingerprint(&start)]);
    let mut stack = vec![start];
    while let Some(state) = stack.pop() {
        for (label, next) in successors(&state) {
            if let Some(loss) = loss(&next) {
                return (seen.len(), Some(format!("{loss} after {label}")));
            }
            if seen.insert(fingerprint(&next)) {
                stack.push(next);
            }
        }
    }
    (seen.len(), None)
}
