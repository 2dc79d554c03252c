//! What the threads of one connection share: whose turn it is to read, the answers that wait for
//! their time, the way out. The reader carries out by itself what takes microseconds; before it
//! may wait for anything it hands the reading on, so that no request waits behind another.

use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::output::Output;

/// Most threads of one connection, each with a buffer of a piece at most.
const THREADS_MAX: usize = 16;
/// Most answers that wait for their time; beyond it the thread itself waits.
const LATE_MAX: usize = 4096;

/// The shared part of a connection.
pub(crate) struct Line {
    pub(crate) output: Output,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Somebody reads.
    taken: bool,
    closed: bool,
    threads: usize,
    waiting: usize,
    late: BinaryHeap<Late>,
}

/// A successful answer that goes out when it is due.
struct Late {
    due: Instant,
    cookie: [u8; 8],
}

impl Line {
    pub(crate) fn new(output: Output) -> Self {
        Self { output, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits until this thread may read; false when the connection is over. A waiting thread
    /// sends the answers that become due.
    pub(crate) fn take_turn(&self) -> bool {
        let mut state = self.state();
        loop {
            if state.closed {
                return false;
            }
            if !state.taken {
                state.taken = true;
                return true;
            }
            let now = Instant::now();
            let due = state.late.peek().map(|late| late.due);
            state = match due {
                Some(due) if due <= now => {
                    let cookie = state.late.pop().expect("it was seen").cookie;
                    drop(state);
                    if self.output.success(&cookie, false).is_err() {
                        self.close(true);
                    }
                    self.state()
                }
                due => self.wait(state, due.map(|due| due - now)),
            }
        }
    }

    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        time: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        state.waiting += 1;
        let mut state = match time {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = self.changed.wait_timeout(state, time);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.waiting -= 1;
        state
    }

    /// Whether a thread should be started that waits for the reader's turn. Counts it.
    pub(crate) fn wants_thread(&self) -> bool {
        let mut state = self.state();
        let wanted = !state.closed && state.waiting == 0 && state.threads < THREADS_MAX;
        state.threads += usize::from(wanted);
        wanted
    }

    /// The reader is about to wait: what it still has to say goes out, and another thread reads.
    pub(crate) fn hand_on(&self) {
        if self.output.flush().is_err() {
            self.close(true);
        }
        self.state().taken = false;
        self.changed.notify_one();
    }

    /// Sends a success after `delay`. False when too many wait already.
    pub(crate) fn success_later(&self, cookie: [u8; 8], delay: Duration) -> bool {
        let mut state = self.state();
        if state.late.len() >= LATE_MAX {
            return false;
        }
        state.late.push(Late { due: Instant::now() + delay, cookie });
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Nobody reads any more. After a broken stream nobody is answered either; else what is
    /// under way is.
    pub(crate) fn close(&self, broken: bool) {
        let late = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.late)
        };
        if broken {
            self.output.shut();
        } else {
            for answer in late.into_sorted_vec().into_iter().rev() {
                if self.output.success(&answer.cookie, false).is_err() {
                    break;
                }
            }
        }
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ord for Late {
    /// The earliest is the greatest: a heap gives it first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.due.cmp(&self.due)
    }
}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Late {}
