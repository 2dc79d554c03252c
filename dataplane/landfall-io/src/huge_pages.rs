//! Memory for buffers in huge pages where the kernel has some. A disk takes a request of few pieces
//! of memory only (virtio: 254); a megabyte in pages of 4 KiB has more and becomes two requests.

use std::ptr::NonNull;

/// A huge page of x86-64, and of others with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

/// Zeroed memory of its own, aligned to a huge page; what is never touched takes none.
pub(crate) struct HugePages {
    mapped: NonNull<u8>,
    mapped_len: usize,
    start: NonNull<u8>,
}

// SAFETY: the memory belongs to this value, and it only gives away its address; who uses that
// sees to it that no two threads do so at once.
unsafe impl Send for HugePages {}
// SAFETY: as above.
unsafe impl Sync for HugePages {}

impl HugePages {
    /// At least `len` bytes. Without memory the process ends, as with any allocation.
    pub(crate) fn new(len: usize) -> Self {
        let len = len.next_multiple_of(HUGE_PAGE);
        let mapped_len = len + HUGE_PAGE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), mapped_len, access, kind, -1, 0) };
        assert_ne!(mapped, libc::MAP_FAILED, "no memory for buffers");
        let mapped = NonNull::new(mapped.cast::<u8>()).expect("a mapping is never at zero");
        let ahead = mapped.as_ptr().align_offset(HUGE_PAGE);
        // SAFETY: the mapping is one huge page longer than what is used of it, so that start and
        // end lie within. The advice changes no content; where it is refused, small pages serve.
        let start = unsafe {
            let start = mapped.add(ahead);
            libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE);
            start
        };
        Self { mapped, mapped_len, start }
    }

    /// The first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // SAFETY: mapped by this value with this length; whoever uses the memory keeps it alive.
        unsafe { libc::munmap(self.mapped.as_ptr().cast(), self.mapped_len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_zeroed_and_writable_to_its_end() {
        for len in [1, HUGE_PAGE, 3 * HUGE_PAGE + 5] {
            let pages = HugePages::new(len);
            assert_eq!(pages.start() as usize % HUGE_PAGE, 0);
            // SAFETY: `len` bytes are there, and only this test uses them.
            let bytes = unsafe { std::slice::from_raw_parts_mut(pages.start(), len) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(1);
        }
    }
}
