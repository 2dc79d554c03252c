//! What was taken for sending and is not durable at the destination yet (I5: at most one
//! such version of a block, over all connections).

use std::collections::BTreeMap;

use crate::Extent;
use crate::lag::Marks;

/// Names one entry of an [`InFlight`] table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Extents that do not overlap.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    by_off: BTreeMap<u64, (Extent, Ticket)>,
    by_ticket: BTreeMap<Ticket, u64>,
    next: u64,
}

impl InFlight {
    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.by_off.is_empty()
    }

    /// Number of extents in flight.
    pub fn len(&self) -> usize {
        self.by_off.len()
    }

    /// The newest ticket given out and the oldest one still in flight.
    pub fn marks(&self) -> Marks {
        let oldest = self.by_ticket.first_key_value().map(|(ticket, _)| ticket.0);
        Marks { newest: self.next, oldest }
    }

    /// Everything in flight, in the order of the disk.
    pub fn extents(&self) -> impl Iterator<Item = Extent> {
        self.by_off.values().map(|(extent, _)| *extent)
    }

    /// The first extent in flight that shares a byte with `extent`.
    pub fn overlap(&self, extent: Extent) -> Option<Extent> {
        let before = self.by_off.range(..extent.end()).next_back().map(|(_, (found, _))| *found);
        let mut hit = before.filter(|found| found.overlaps(&extent))?;
        for (_, (found, _)) in self.by_off.range(..hit.off).rev() {
            if !found.overlaps(&extent) {
                break;
            }
            hit = *found;
        }
        Some(hit)
    }

    /// Puts an extent in flight; `None` if any byte of it is already.
    pub fn begin(&mut self, extent: Extent) -> Option<Ticket> {
        if self.overlap(extent).is_some() {
            return None;
        }
        self.next += 1;
        let ticket = Ticket(self.next);
        self.by_off.insert(extent.off, (extent, ticket));
        self.by_ticket.insert(ticket, extent.off);
        Some(ticket)
    }

    /// Takes an extent out again.
    pub fn end(&mut self, ticket: Ticket) -> Option<Extent> {
        let off = self.by_ticket.remove(&ticket)?;
        self.by_off.remove(&off).map(|(extent, _)| extent)
    }

    /// An empty table that never gives a ticket of this one again.
    pub fn emptied(&self) -> Self {
        Self { next: self.next, ..Self::default() }
    }

    /// Takes everything out: the connections are lost.
    pub fn drain(&mut self) -> Vec<Extent> {
        self.by_ticket.clear();
        std::mem::take(&mut self.by_off).into_values().map(|(extent, _)| extent).collect()
    }
}
