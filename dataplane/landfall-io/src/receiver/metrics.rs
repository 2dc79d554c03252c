//! The figures of a receiver as metrics. Labels are `migration`, `disk` (destination UUIDs) and
//! `stage`.

use landfall_api::catalogue as metric;
use landfall_api::metrics::Metrics;
use landfall_core::ownership::Ownership;

use super::Receiver;
use crate::metrics_form::add_stages;

impl Receiver {
    /// Everything of this receiver.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::default();
        let migration = ("migration", self.migration.as_str());
        for disk in self.open_destinations() {
            let labels = [migration, ("disk", disk.pair.destination_uuid.as_str())];
            let (have, written) = disk.figures();
            metrics.number(&metric::CAPACITY, &labels, disk.file.capacity() as f64);
            metrics.number(&metric::HAVE, &labels, have as f64);
            metrics.number(&metric::WRITTEN, &labels, written as f64);
            let stages = [("apply", &disk.stages.apply), ("flush", &disk.stages.flush)];
            add_stages(&mut metrics, &labels, &stages);
        }
        let connected = self.session.lock().expect("session").is_some();
        let owner = matches!(self.ownership(), Ownership::Active(_));
        for (metric, holds) in [(&metric::CONNECTED, connected), (&metric::OWNER, owner)] {
            metrics.number(metric, &[migration], if holds { 1.0 } else { 0.0 });
        }
        metrics
    }
}
