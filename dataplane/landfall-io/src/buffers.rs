//! Buffers for one frame each, aligned for direct I/O, from pools of fixed size: an empty pool
//! makes its user wait, so that memory is bounded by construction.

use std::sync::{Arc, Condvar, Mutex};

use landfall_wire::RAW_LEN_MAX;

use crate::huge_pages::HugePages;

/// Alignment that direct I/O may ask for.
pub(crate) const ALIGNMENT: usize = 4096;
/// A hash stands in front of the content; the content begins at an aligned place.
const HASH_LEN: usize = 32;
const CONTENT_AT: usize = ALIGNMENT;
/// Behind the content there is room for what the record layer may overwrite.
const LEN: usize = CONTENT_AT + RAW_LEN_MAX as usize + ALIGNMENT;

/// The memory of one buffer.
struct Memory {
    /// All of the pool's; this value alone uses the LEN bytes from `at` on.
    pages: Arc<HugePages>,
    at: usize,
}

impl Memory {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the bytes lie in the pages, which live as long as this value, and no other
        // value has them.
        unsafe { std::slice::from_raw_parts(self.pages.start().add(self.at), LEN) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.pages.start().add(self.at), LEN) }
    }
}

/// A pool.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<(Mutex<Vec<Memory>>, Condvar)>,
}

impl Pool {
    /// `count` buffers; those that are never needed take no memory.
    pub(crate) fn new(count: usize) -> Self {
        let pages = Arc::new(HugePages::new(count * LEN));
        let buffer = |at| Memory { pages: pages.clone(), at: at * LEN };
        let free = (0..count).rev().map(buffer).collect();
        Self { shared: Arc::new((Mutex::new(free), Condvar::new())) }
    }

    /// Waits until a buffer is free.
    pub(crate) fn take(&self) -> Buffer {
        let (free, returned) = &*self.shared;
        let free = free.lock().expect("pool");
        let mut free = returned.wait_while(free, |free| free.is_empty()).expect("pool");
        Buffer { memory: free.pop(), payload_len: 0, pool: self.clone() }
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
        let (free, returned) = &*self.pool.shared;
        free.lock().expect("pool").extend(self.memory.take());
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

    #[test]
    fn buffers_of_a_pool_do_not_share_memory_and_outlive_it() {
        let pool = Pool::new(3);
        let mut buffers: Vec<Buffer> = (0..3).map(|_| pool.take()).collect();
        drop(pool);
        for (value, buffer) in buffers.iter_mut().enumerate() {
            buffer.content_mut(RAW_LEN_MAX as usize).fill(value as u8 + 1);
        }
        for (value, buffer) in buffers.iter().enumerate() {
            let content = buffer.content(RAW_LEN_MAX as usize);
            assert!(content.iter().all(|byte| *byte == value as u8 + 1));
        }
    }
}
