//! The bulk connections of a session: which of them is free, and how many are worth having.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex};

use crate::link::Link;

/// Bulk connections at the start: two keep both cores of a small host busy.
pub(super) const CONNECTIONS_FIRST: usize = 2;
/// Most bulk connections: more never paid on a local network, and each has its buffers.
pub(super) const CONNECTIONS_MAX: usize = 8;

/// The connections; any of them carries any extent (I5 makes that safe).
#[derive(Default)]
pub(super) struct BulkLinks {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    all: Vec<Arc<Link>>,
    free: VecDeque<Arc<Link>>,
    /// Connections that may be in use at a time; the others stay quiet.
    allowed: usize,
    closed: bool,
}

impl BulkLinks {
    /// A connection more, to be used at once. Refused when all are closed.
    pub(super) fn add(&self, link: &Arc<Link>) -> bool {
        let mut state = self.state.lock().expect("bulk");
        if state.closed {
            link.close();
            return false;
        }
        state.all.push(link.clone());
        state.free.push_back(link.clone());
        state.allowed += 1;
        self.freed.notify_one();
        true
    }

    /// All connections.
    pub(super) fn all(&self) -> Vec<Arc<Link>> {
        self.state.lock().expect("bulk").all.clone()
    }

    /// Connections that are used.
    pub(super) fn in_use(&self) -> usize {
        self.state.lock().expect("bulk").allowed
    }

    /// Uses one connection less; it stays open.
    pub(super) fn retire_one(&self) {
        let mut state = self.state.lock().expect("bulk");
        state.allowed = (state.allowed - 1).max(1);
    }

    /// Uses a retired connection again, if there is one.
    pub(super) fn recall_one(&self) -> bool {
        let mut state = self.state.lock().expect("bulk");
        let there_is = state.allowed < state.all.len();
        state.allowed += usize::from(there_is);
        self.freed.notify_one();
        there_is
    }

    /// Waits for a free connection; `None` when all are closed.
    pub(super) fn take(&self) -> Option<Taken<'_>> {
        let state = self.state.lock().expect("bulk");
        let none_free = |state: &mut State| {
            let busy = state.all.len() - state.free.len();
            !state.closed && (state.free.is_empty() || busy >= state.allowed)
        };
        let mut state = self.freed.wait_while(state, none_free).expect("bulk");
        if state.closed {
            return None;
        }
        let link = state.free.pop_front().expect("one is free");
        Some(Taken { links: self, link })
    }

    /// Closes all connections and sends everybody away who waits for one.
    pub(super) fn close(&self) {
        let mut state = self.state.lock().expect("bulk");
        state.closed = true;
        state.all.iter().for_each(|link| link.close());
        self.freed.notify_all();
    }
}

/// A connection in use by one thread.
pub(super) struct Taken<'a> {
    links: &'a BulkLinks,
    link: Arc<Link>,
}

impl Deref for Taken<'_> {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.links.state.lock().expect("bulk").free.push_back(self.link.clone());
        self.links.freed.notify_one();
    }
}
