//! glibc's allocator gives memory back after every megabyte buffer and takes it again at the
//! price of a page fault per 4 KiB; these thresholds keep it.

/// To be called first in `main`.
pub fn tune_allocator() {
    const MIB: libc::c_int = 1 << 20;
    // SAFETY: mallopt only changes parameters of the allocator; these values are in range.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 * MIB);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 8 * MIB);
        libc::mallopt(libc::M_TOP_PAD, 4 * MIB);
        libc::mallopt(libc::M_ARENA_MAX, 4);
    }
}
