//! How much of the processor a thread takes when there is not enough for all. Threads that serve
//! a guest stay as they are; those that move and hash data step back.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static REFUSED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static IN_FORCE: Cell<i32> = const { Cell::new(0) };
}

/// Gives the calling thread a nice value, 0 to 19. Cheap when it has it already. The kernel lets
/// only a privileged process take a lower value than before; then the thread keeps what it has.
pub(crate) fn set_nice(nice: i32) {
    if IN_FORCE.get() == nice {
        return;
    }
    IN_FORCE.set(nice);
    // SAFETY: a plain system call without memory; for Linux, PRIO_PROCESS with 0 is this thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if result != 0 && !REFUSED.swap(true, Relaxed) {
        let error = std::io::Error::last_os_error();
        tracing::warn!(%error, nice, "the priority of background threads cannot be changed");
    }
}

/// For a receiver before it starts its threads: all of it steps back behind whatever else its
/// machine serves, as the source's movers do.
pub fn step_back() {
    set_nice(landfall_core::dial::BACKGROUND_NICE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_steps_back() {
        let nice = || {
            // SAFETY: a plain system call without memory.
            unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
        };
        let before = nice();
        let there = std::thread::spawn(move || {
            set_nice(before + 3);
            nice()
        });
        assert_eq!(there.join().unwrap(), before + 3);
        assert_eq!(nice(), before);
    }
}
