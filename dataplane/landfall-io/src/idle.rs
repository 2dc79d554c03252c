//! How much of the machine's processor time nobody used since the last question.

/// What the kernel had counted then.
pub(crate) struct Idle {
    last: Option<(u64, u64)>,
}

impl Idle {
    pub(crate) fn new() -> Self {
        Self { last: counted() }
    }

    /// Share of idle time since the last call, 0 to 1; 0 where the kernel does not tell.
    pub(crate) fn share(&mut self) -> f64 {
        let before = std::mem::replace(&mut self.last, counted());
        match (before, self.last) {
            (Some((idle, all)), Some((idle_now, all_now))) if all_now > all => {
                idle_now.saturating_sub(idle) as f64 / (all_now - all) as f64
            }
            _ => 0.0,
        }
    }
}

/// Idle and all ticks of every processor since the machine started.
fn counted() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // Fields: user, nice, system, idle, waiting for a disk, interrupts, soft interrupts, stolen.
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((idle, ticks.iter().take(8).sum()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_share_lies_between_none_and_all() {
        let mut idle = super::Idle::new();
        assert!((0.0..=1.0).contains(&idle.share()));
    }
}
