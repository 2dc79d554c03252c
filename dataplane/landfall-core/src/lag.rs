//! How far the destination is behind: a time before which every write of the guest is durable
//! there. Derived from moments at which nothing could be picked any more: then everything dirty
//! was on its way, or had changed again while it was.

/// The state of one disk's in-flight table at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The newest ticket given out.
    pub newest: u64,
    /// The oldest one that is not durable yet.
    pub oldest: Option<u64>,
}

#[derive(Clone, Debug)]
struct Moment {
    at_ns: u64,
    newest: Vec<u64>,
}

impl Moment {
    /// Whether everything that was on its way at this moment is durable.
    fn arrived(&self, now: &[Marks]) -> bool {
        let durable =
            |(newest, marks): (&u64, &Marks)| marks.oldest.is_none_or(|oldest| oldest > *newest);
        self.newest.len() == now.len() && self.newest.iter().zip(now).all(durable)
    }
}

/// The lag of all disks of a job.
#[derive(Clone, Debug, Default)]
pub struct Lag {
    first: Option<Moment>,
    second: Option<(u64, Moment)>,
    synced_at_ns: Option<u64>,
}

impl Lag {
    /// At this moment nothing could be picked on any disk, for no other reason than that all that
    /// is dirty is on its way already.
    ///
    /// A write before such a moment A is on its way then, or rewrites a block that is. When all
    /// of A has arrived and a later such moment B came, the rewrites were picked too; when all
    /// of B has arrived, every write before A is durable.
    pub fn drained(&mut self, now_ns: u64, disks: &[Marks]) {
        let here =
            || Moment { at_ns: now_ns, newest: disks.iter().map(|marks| marks.newest).collect() };
        if let Some((since_ns, moment)) = &self.second
            && moment.arrived(disks)
        {
            self.synced_at_ns = Some(*since_ns);
            self.first = self.second.take().map(|(_, moment)| moment);
        }
        if self.second.is_none() {
            match &self.first {
                Some(first) if first.arrived(disks) => self.second = Some((first.at_ns, here())),
                Some(_) => {}
                None => self.first = Some(here()),
            }
        }
    }

    /// The time before which every write is durable, once there is one.
    pub fn synced_at_ns(&self) -> Option<u64> {
        self.synced_at_ns
    }

    /// The connections are lost, or everything must be compared: nothing on the way counts.
    pub fn interrupted(&mut self) {
        (self.first, self.second) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(newest: u64, oldest: Option<u64>) -> [Marks; 1] {
        [Marks { newest, oldest }]
    }

    #[test]
    fn a_rewrite_of_a_block_on_its_way_counts_only_when_it_arrived_too() {
        let mut lag = Lag::default();
        // Ticket 1 is on its way; its block was rewritten before 100.
        lag.drained(100, &marks(1, Some(1)));
        lag.drained(110, &marks(1, Some(1)));
        // It arrived; the rewrite went out as ticket 2.
        lag.drained(120, &marks(2, Some(2)));
        lag.drained(130, &marks(2, Some(2)));
        assert_eq!(lag.synced_at_ns(), None);
        lag.drained(140, &marks(2, None));
        assert_eq!(lag.synced_at_ns(), Some(100));
    }

    #[test]
    fn an_idle_disk_is_behind_by_no_more_than_two_looks() {
        let mut lag = Lag::default();
        for now in 1..=10 {
            lag.drained(now, &marks(7, None));
        }
        assert!(lag.synced_at_ns().is_some_and(|at| at >= 8));
        lag.interrupted();
        lag.drained(20, &marks(9, Some(8)));
        lag.drained(30, &marks(9, Some(8)));
        assert!(lag.synced_at_ns().is_some_and(|at| at <= 10));
    }
}
