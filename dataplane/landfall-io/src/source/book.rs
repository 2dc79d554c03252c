//! The book of a disk behind its lock. A guest's write never waits for a mover that holds the
//! lock: it leaves a note, and whoever takes the lock next enters the notes first. So nobody ever
//! sees a book that lacks a write of which the guest has heard (I2).

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{LockResult, Mutex, MutexGuard, TryLockError};

use landfall_core::Extent;
use landfall_core::source::SourceDisk;

/// Notes beyond this number wait for the lock: bounds memory if a holder is stuck.
const NOTES_MAX: usize = 16_384;

/// A lock around the book of one disk.
pub(super) struct Book {
    disk: Mutex<SourceDisk>,
    notes: Mutex<Vec<Extent>>,
    noted: AtomicBool,
}

impl Book {
    pub(super) fn new(disk: SourceDisk) -> Self {
        Self { disk: Mutex::new(disk), notes: Mutex::default(), noted: AtomicBool::new(false) }
    }

    /// The book with every write in it that ended before.
    pub(super) fn lock(&self) -> LockResult<MutexGuard<'_, SourceDisk>> {
        let mut disk = self.disk.lock()?;
        self.enter_notes(&mut disk);
        Ok(disk)
    }

    /// A write ended. It is in the book, or in a note that will be, when this returns.
    pub(super) fn written(&self, extent: Extent) {
        match self.disk.try_lock() {
            Ok(mut disk) => {
                self.enter_notes(&mut disk);
                disk.written(extent);
            }
            Err(TryLockError::WouldBlock) => {
                let mut notes = self.notes.lock().expect("notes");
                if notes.len() < NOTES_MAX {
                    notes.push(extent);
                    self.noted.store(true, SeqCst);
                    return;
                }
                drop(notes);
                self.lock().expect("book").written(extent);
            }
            Err(TryLockError::Poisoned(poisoned)) => panic!("book: {poisoned}"),
        }
    }

    /// The same for a write that may have to be paid for: the answer is the bytes that it made
    /// dirty and that must be sent once more because of it.
    pub(super) fn written_and_owed(&self, extent: Extent) -> u64 {
        let mut disk = self.lock().expect("book");
        let free = disk.still_to_copy(extent);
        let dirtied = disk.written(extent);
        if free { 0 } else { dirtied }
    }

    fn enter_notes(&self, disk: &mut SourceDisk) {
        if self.noted.swap(false, SeqCst) {
            let notes = std::mem::take(&mut *self.notes.lock().expect("notes"));
            for extent in notes {
                disk.written(extent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I2: a write that met a held lock is there for the next who takes it.
    #[test]
    fn i2_a_write_never_waits_and_is_never_missed() {
        let mut disk = SourceDisk::new(1 << 20);
        disk.track();
        let book = Book::new(disk);
        let held = book.lock().unwrap();
        book.written(Extent::new(4096, 4096));
        book.written(Extent::new(12_288, 512));
        assert_eq!(held.dirty().ones(), 0);
        drop(held);
        assert_eq!(book.lock().unwrap().dirty().ones(), 2);
    }
}
