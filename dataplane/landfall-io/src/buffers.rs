//! Buffers for one frame each, aligned for direct I/O, from pools of fixed size: an empty pool
//! makes its user wait, so that memory is bounded by construction.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex};

use landfall_wire::RAW_LEN_MAX;

/// Alignment that direct I/O may ask for.
pub(crate) const ALIGNMENT: usize = 4096;
/// A hash stands in front of the content; the content begins at an aligned place.
const HASH_LEN: usize = 32;
const CONTENT_AT: usize = ALIGNMENT;
/// Behind the content there is room for what the record layer may overwrite.
const LEN: usize = CONTENT_AT + RAW_LEN_MAX as usize + ALIGNMENT;

/// Memory of one buffer; pages that were never used take none.
struct Memory(NonNull<u8>);

// SAFETY: the memory is owned by this value alone, as that of a Box is.
unsafe impl Send for Memory {}

impl Memory {
    fn layout() -> Layout {
        Layout::from_size_align(LEN, ALIGNMENT).expect("a power of two")
    }

    fn new() -> Self {
        // SAFETY: the layout has a size above zero.
        let pointer = unsafe { alloc_zeroed(Self::layout()) };
        Self(NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(Self::layout())))
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: LEN bytes were allocated and zeroed; this value owns them.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), LEN) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr(), LEN) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with the same layout, and dropped once.
        unsafe { dealloc(self.0.as_ptr(), Self::layout()) }
    }
}

struct Shelf {
    free: Vec<Memory>,
    /// Buffers that may still be made.
    unmade: usize,
}

/// A pool.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<(Mutex<Shelf>, Condvar)>,
}

impl Pool {
    /// At most `count` buffers; they are made when first needed.
    pub(crate) fn new(count: usize) -> Self {
        let shelf = Shelf { free: Vec::with_capacity(count), unmade: count };
        Self { shared: Arc::new((Mutex::new(shelf), Condvar::new())) }
    }

    /// Waits until a buffer is free.
    pub(crate) fn take(&self) -> Buffer {
        let (shelf, returned) = &*self.shared;
        let shelf = shelf.lock().expect("pool");
        let mut shelf = returned
            .wait_while(shelf, |shelf| shelf.free.is_empty() && shelf.unmade == 0)
            .expect("pool");
        let memory = shelf.free.pop().unwrap_or_else(|| {
            shelf.unmade -= 1;
            Memory::new()
        });
        Buffer { memory: Some(memory), payload_len: 0, pool: self.clone() }
    }
}

/// A buffer; it goes back to its pool when dropped.
pub(crate) struct Buffer {
    memory: Option<Memory>,
    payload_len: usize,
    pool: Pool,
}

impl Buffer {
    /// Room for a frame's payload: a hash may stand in front of the content.
    pub(crate) fn payload_room(&mut self) -> &mut [u8] {
        &mut self.memory_mut()[CONTENT_AT - HASH_LEN..]
    }

    /// So much of the room is in use.
    pub(crate) fn set_payload_len(&mut self, len: usize) {
        self.payload_len = len;
    }

    /// The payload.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.memory().bytes()[CONTENT_AT - HASH_LEN..][..self.payload_len]
    }

    /// Room for content at an aligned place.
    pub(crate) fn content_mut(&mut self, len: usize) -> &mut [u8] {
        &mut self.memory_mut()[CONTENT_AT..][..len]
    }

    /// Content at an aligned place.
    pub(crate) fn content(&self, len: usize) -> &[u8] {
        &self.memory().bytes()[CONTENT_AT..][..len]
    }

    fn memory(&self) -> &Memory {
        self.memory.as_ref().expect("held until it is dropped")
    }

    fn memory_mut(&mut self) -> &mut [u8] {
        self.memory.as_mut().expect("held until it is dropped").bytes_mut()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let (shelf, returned) = &*self.pool.shared;
        shelf.lock().expect("pool").free.extend(self.memory.take());
        returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_aligned_and_buffers_come_back() {
        let pool = Pool::new(1);
        for _ in 0..3 {
            let mut buffer = pool.take();
            assert_eq!(buffer.content_mut(4096).as_ptr() as usize % ALIGNMENT, 0);
            buffer.content_mut(4096).fill(7);
            buffer.set_payload_len(32 + 512);
            assert_eq!(buffer.payload()[32..], [7; 512]);
            assert_eq!(buffer.content_mut(RAW_LEN_MAX as usize).len(), RAW_LEN_MAX as usize);
        }
    }
}
