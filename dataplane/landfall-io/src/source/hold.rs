//! Where writes wait while the disks are paused for a snapshot. Nobody is answered with an error:
//! a write goes on when the pause is over, or its connection is hung up.

use std::sync::{Condvar, Mutex};

#[derive(Default)]
struct State {
    held: bool,
    hang_ups: u64,
}

/// Held or not.
#[derive(Default)]
pub(super) struct Hold {
    state: Mutex<State>,
    changed: Condvar,
}

impl Hold {
    /// Writes wait from now on, or go on.
    pub(super) fn set(&self, held: bool) {
        self.state.lock().expect("hold").held = held;
        self.changed.notify_all();
    }

    /// Those that wait now are given up.
    pub(super) fn hang_up(&self) {
        self.state.lock().expect("hold").hang_ups += 1;
        self.changed.notify_all();
    }

    /// Waits while writes are held. False: the write was given up.
    pub(super) fn wait(&self) -> bool {
        let state = self.state.lock().expect("hold");
        let begun = state.hang_ups;
        let waits = |state: &mut State| state.held && state.hang_ups == begun;
        self.changed.wait_while(state, waits).expect("hold").hang_ups == begun
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_held_write_goes_on_afterwards_or_is_given_up() {
        let hold = Arc::new(Hold::default());
        assert!(hold.wait(), "nothing is held");
        for (release, goes_on) in [(true, true), (false, false)] {
            hold.set(true);
            let (shared, (tell, told)) = (hold.clone(), mpsc::channel());
            let begun = hold.state.lock().unwrap();
            let waiter = std::thread::spawn(move || {
                tell.send(()).unwrap();
                shared.wait()
            });
            told.recv().unwrap();
            drop(begun);
            // Whether it waits already or not: it comes to the same while the gate stays held.
            while !waiter.is_finished() {
                if release {
                    hold.set(false);
                } else {
                    hold.hang_up();
                }
                std::thread::yield_now();
            }
            assert_eq!(waiter.join().unwrap(), goes_on);
        }
    }
}
