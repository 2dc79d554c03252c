//! An export that measures what is asked of it and does nothing else.

use std::io;
use std::sync::Arc;

use landfall_api::metrics::Metrics;
use landfall_api::{Uuid, catalogue};
use landfall_nbd::{Export, Extent};

use crate::clock::now_ns;
use crate::metrics_form::add_stages;
use crate::stats::GuestStages;

/// Another export with figures.
pub struct MeteredExport {
    inner: Arc<dyn Export>,
    guest: GuestStages,
}

impl MeteredExport {
    /// Measures `inner`.
    pub fn new(inner: Arc<dyn Export>) -> Self {
        Self { inner, guest: GuestStages::default() }
    }

    /// What was measured, under the names of a VM and a disk.
    pub fn metrics(&self, vm: &Uuid, disk: &Uuid) -> Metrics {
        let mut metrics = Metrics::default();
        let labels = [("vm", vm.as_str()), ("disk", disk.as_str())];
        metrics.number(&catalogue::CAPACITY, &labels, self.inner.size() as f64);
        add_stages(&mut metrics, &labels, &self.guest.named());
        metrics
    }

    fn change(&self, bytes: u64, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let start = now_ns();
        let done = act();
        self.guest.write.passed(start, bytes);
        done
    }
}

impl Export for MeteredExport {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = now_ns();
        let read = self.inner.read_at(buf, offset);
        self.guest.read.passed(start, buf.len() as u64);
        read
    }

    fn write_at(&self, data: &[u8], offset: u64, fua: bool) -> io::Result<()> {
        self.change(data.len() as u64, || self.inner.write_at(data, offset, fua))
    }

    fn flush(&self) -> io::Result<()> {
        let start = now_ns();
        let done = self.inner.flush();
        self.guest.flush.passed(start, 0);
        done
    }

    fn trim(&self, offset: u64, len: u64, fua: bool) -> io::Result<()> {
        self.change(0, || self.inner.trim(offset, len, fua))
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_trim: bool, fua: bool) -> io::Result<()> {
        self.change(0, || self.inner.write_zeroes(offset, len, may_trim, fua))
    }

    fn extents(&self, offset: u64, len: u64, max: usize) -> io::Result<Vec<Extent>> {
        self.inner.extents(offset, len, max)
    }
}
