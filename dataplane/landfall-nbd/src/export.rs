//! What an NBD server serves: a block device of fixed size. Implementations are called by
//! many threads at once and must not keep the caller waiting for anything but the disk. Before
//! they wait they say so with [`crate::about_to_wait`]; writes of ordinary size need not.

use std::io;

/// A run of bytes with the same allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes, never 0.
    pub len: u64,
    /// Not allocated.
    pub hole: bool,
    /// Reads as zeroes.
    pub zero: bool,
}

/// A disk as the guest sees it.
///
/// Offsets and lengths were checked against `size` by the caller. An error goes to the guest
/// as an I/O error, so it must come from the disk itself. The exception is
/// `ErrorKind::ConnectionAborted`: it means "not now", and the server closes the connection
/// without answering, so that the client connects again and repeats the request.
pub trait Export: Send + Sync {
    /// Size in bytes; does not change while the export lives.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset` if that needs no waiting for the disk; whether it did is the
    /// answer. Any trouble is a no: `read_at` finds it again and says what it is.
    fn read_now(&self, _buf: &mut [u8], _offset: u64) -> bool {
        false
    }

    /// Fills `buf` from `offset`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `data`; with `fua` it is durable on return.
    fn write_at(&self, data: &[u8], offset: u64, fua: bool) -> io::Result<()>;

    /// The range will be read soon. Only a hint.
    fn cache(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    /// Makes every write that returned before this call durable, whichever thread made it.
    fn flush(&self) -> io::Result<()>;

    /// The content of the range does not matter any more.
    fn trim(&self, offset: u64, len: u64, fua: bool) -> io::Result<()>;

    /// The range reads as zeroes afterwards; holes are allowed if `may_trim`.
    fn write_zeroes(&self, offset: u64, len: u64, may_trim: bool, fua: bool) -> io::Result<()>;

    /// Allocation of the range, in order and without gaps, at most `max` extents;
    /// it may end before the range does.
    fn extents(&self, offset: u64, len: u64, max: usize) -> io::Result<Vec<Extent>>;
}
