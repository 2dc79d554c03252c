//! The same for many disks at once, where each would wait for a disk.

/// Threads at once: more do not make a disk faster.
const THREADS_MAX: usize = 16;

/// Calls `act` for every item, several at once. The first error counts; the others are still
/// done.
pub(crate) fn in_parallel<T: Sync, E: Send>(
    items: &[T],
    act: impl Fn(&T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let share = items.len().div_ceil(THREADS_MAX).max(1);
    let run = |items: &[T]| items.iter().map(&act).fold(Ok(()), Result::and);
    if items.len() <= 1 {
        return run(items);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            items.chunks(share).map(|items| scope.spawn(move || run(items))).collect();
        let done = threads.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        done.fold(Ok(()), Result::and)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[test]
    fn every_item_is_done_and_an_error_is_kept() {
        for count in [0, 1, 5, 60] {
            let items: Vec<usize> = (0..count).collect();
            let done = AtomicUsize::new(0);
            let act = |item: &usize| {
                done.fetch_add(1, SeqCst);
                if *item == 3 { Err(*item) } else { Ok(()) }
            };
            let outcome = in_parallel(&items, act);
            assert_eq!((done.load(SeqCst), outcome.is_err()), (count, count > 3));
        }
    }
}
