//! What an export may tell the server while it carries out a request: that it is about to wait,
//! and that the answer is to come later. Neither ever holds up other requests of the client.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use crate::line::Line;

struct Serving {
    line: Arc<Line>,
    /// Whether this thread is the one that reads the connection's requests.
    reads: bool,
    delay: Duration,
}

thread_local! {
    static SERVING: RefCell<Option<Serving>> = const { RefCell::new(None) };
}

/// To be called by an export before it waits for anything but memory: another thread goes on
/// reading the client's requests meanwhile. Repeatable; without effect outside a server.
pub fn about_to_wait() {
    let line = SERVING.with_borrow_mut(|serving| {
        let serving = serving.as_mut().filter(|serving| serving.reads)?;
        serving.reads = false;
        Some(Arc::clone(&serving.line))
    });
    if let Some(line) = line {
        line.hand_on();
    }
}

/// The request's answer goes out no sooner than `delay` from now, if it succeeds. The thread is
/// free meanwhile; outside a server's thread it sleeps instead.
pub fn answer_after(delay: Duration) {
    let noted = SERVING.with_borrow_mut(|serving| match serving {
        Some(serving) => {
            serving.delay += delay;
            true
        }
        None => false,
    });
    if !noted {
        std::thread::sleep(delay);
    }
}

/// This thread serves a connection from now on.
pub(crate) fn enter(line: &Arc<Line>) {
    let line = Arc::clone(line);
    SERVING.set(Some(Serving { line, reads: false, delay: Duration::ZERO }));
}

/// It does so no longer.
pub(crate) fn leave() {
    SERVING.set(None);
}

/// This thread reads requests from now on, until it is about to wait.
pub(crate) fn begin_reading() {
    SERVING.with_borrow_mut(|serving| {
        if let Some(serving) = serving {
            serving.reads = true;
        }
    });
}

/// Whether this thread still is the reader.
pub(crate) fn reads() -> bool {
    SERVING.with_borrow(|serving| serving.as_ref().is_some_and(|serving| serving.reads))
}

/// The delay that was asked for since the last call.
pub(crate) fn take_delay() -> Duration {
    SERVING.with_borrow_mut(|serving| {
        serving.as_mut().map_or(Duration::ZERO, |serving| std::mem::take(&mut serving.delay))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn outside_a_server_a_delay_is_slept() {
        let start = Instant::now();
        about_to_wait();
        answer_after(Duration::from_millis(5));
        assert!(start.elapsed() >= Duration::from_millis(5));
        assert_eq!(take_delay(), Duration::ZERO);
    }
}
