//! A disk as a file or block device: positional I/O, holes, zeroes.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use landfall_core::{CHUNK, Extent};

use crate::storage::{Points, Storage};

/// Direct I/O is done in multiples of this, in memory and on the disk.
const DIRECT: usize = crate::buffers::ALIGNMENT;
/// Below this the wait for the disk costs more than the page cache does.
const DIRECT_WRITE_MIN: usize = 64 << 10;

/// Fail points of a source disk; its flush passes one of its own.
pub(crate) const SOURCE: Points =
    Points { read: "source-read", write: "source-write", sync: "source-sync" };
/// Fail points of a destination disk.
pub(crate) const TARGET: Points =
    Points { read: "target-read", write: "target-write", sync: "target-sync" };

/// An open disk.
pub(crate) struct DiskFile {
    storage: Storage,
    /// The same disk past the page cache, where that is possible.
    direct: Option<File>,
    capacity: u64,
}

impl DiskFile {
    /// Opens for reading and writing; a regular file must be as long as the disk.
    pub(crate) fn open(path: &Path, capacity: u64, points: Points) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let meta = file.metadata()?;
        if !meta.file_type().is_block_device() && meta.len() != capacity {
            let text = format!("the disk has {} bytes, not {capacity}", meta.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let direct = open_direct(path, &meta);
        Ok(Self { storage: Storage::new(file, points), direct, capacity })
    }

    /// The same without a look at the file's length, to go on with a disk that was changed behind
    /// our back.
    pub(crate) fn open_as_it_is(path: &Path, capacity: u64, points: Points) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { storage: Storage::new(file, points), direct: None, capacity })
    }

    /// What the file system says about the open file.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        self.storage.file().metadata()
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn read(&self, buf: &mut [u8], off: u64) -> io::Result<()> {
        self.storage.read(buf, off)
    }

    /// Passes the fail point of a read that somebody makes by the descriptor.
    pub(crate) fn may_read(&self) -> io::Result<()> {
        self.storage.may_read()
    }

    /// Reads what the page cache holds; false when that is not all of it.
    pub(crate) fn read_now(&self, buf: &mut [u8], off: u64) -> bool {
        landfall_nbd::read_cached(self.storage.file(), buf, off)
    }

    /// The range will be read soon.
    pub(crate) fn read_soon(&self, off: u64, len: u64) -> io::Result<()> {
        landfall_nbd::read_soon(self.storage.file(), off, len)
    }

    pub(crate) fn write(&self, data: &[u8], off: u64) -> io::Result<()> {
        self.storage.write(data, off)
    }

    /// Reads what is copied once: from the page cache where it lies there already, else past it,
    /// so that a copy never pushes out what the guest uses. Reading past the cache writes back
    /// dirty pages of the range first; so both ways give what was written.
    pub(crate) fn read_once(&self, buf: &mut [u8], off: u64) -> io::Result<()> {
        match &self.direct {
            Some(direct) if fits_direct(buf, off) && !self.is_cached(off, buf.len() as u64) => {
                let read = self.storage.read_by(direct, buf, off);
                read.or_else(|error| match error.raw_os_error() {
                    Some(libc::EINVAL) => self.read(buf, off),
                    _ => Err(error),
                })
            }
            _ => self.read(buf, off),
        }
    }

    /// Whether the page cache holds all of a range. Asking reads nothing, unlike a read with
    /// RWF_NOWAIT, which starts to read ahead. Kernels before 6.5 do not tell: then nothing is.
    fn is_cached(&self, off: u64, len: u64) -> bool {
        const PAGE: u64 = 4096;
        /// Its number is the same on every architecture.
        const SYS_CACHESTAT: libc::c_long = 451;
        let range = [off, len];
        // Pages: cached, dirty, in write-back, evicted, recently evicted.
        let mut pages = [0_u64; 5];
        // SAFETY: the kernel reads two and writes five 64-bit numbers, which live over the call.
        let done = unsafe {
            libc::syscall(
                SYS_CACHESTAT,
                self.storage.file().as_raw_fd(),
                range.as_ptr(),
                pages.as_mut_ptr(),
                0_u32,
            )
        };
        done == 0 && pages[0] >= (off + len).div_ceil(PAGE) - off / PAGE
    }

    /// Writes what nobody reads soon: past the page cache where that is possible and pays. It
    /// is durable after [`DiskFile::sync`] only, as with [`DiskFile::write`].
    pub(crate) fn write_once(&self, data: &[u8], off: u64) -> io::Result<()> {
        match &self.direct {
            Some(direct) if data.len() >= DIRECT_WRITE_MIN && fits_direct(data, off) => {
                let written = self.storage.write_by(direct, data, off);
                written.or_else(|error| match error.raw_os_error() {
                    Some(libc::EINVAL) => self.write(data, off),
                    _ => Err(error),
                })
            }
            _ => self.write(data, off),
        }
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.storage.sync()
    }

    /// The file descriptor, to open the same file in another way.
    pub(crate) fn descriptor(&self) -> libc::c_int {
        self.storage.file().as_raw_fd()
    }

    /// Writes cached changes of an extent out and gives its pages back, so that the next read
    /// comes from the disk.
    pub(crate) fn drop_cached(&self, extent: Extent) -> io::Result<()> {
        let (off, len) = (extent.off as libc::off_t, extent.len as libc::off_t);
        let mode = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        // An error of writing back is told once per open file: not to the one that flushes (I8).
        let file = self.direct.as_ref().unwrap_or(self.storage.file());
        // SAFETY: plain system calls on a descriptor this value owns; no memory is passed.
        unsafe {
            if libc::sync_file_range(file.as_raw_fd(), off, len, mode) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::posix_fadvise(file.as_raw_fd(), off, len, libc::POSIX_FADV_DONTNEED);
        }
        Ok(())
    }

    /// Forgets what is cached and clean, so that the next reads come from the medium.
    pub(crate) fn drop_cache(&self) {
        // SAFETY: plain system call on a descriptor this value owns; no memory is passed.
        unsafe {
            libc::posix_fadvise(self.storage.file().as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED)
        };
    }

    /// Whether no byte of the extent is allocated. Unknown counts as allocated.
    pub(crate) fn is_hole(&self, extent: Extent) -> bool {
        self.next_data(extent.off).is_ok_and(|data| data.is_none_or(|at| at >= extent.end()))
    }

    /// First allocated byte at or after `off`.
    pub(crate) fn next_data(&self, off: u64) -> io::Result<Option<u64>> {
        self.seek(off, libc::SEEK_DATA)
    }

    /// First byte of a hole at or after `off`.
    pub(crate) fn next_hole(&self, off: u64) -> io::Result<u64> {
        Ok(self.seek(off, libc::SEEK_HOLE)?.unwrap_or(self.capacity))
    }

    /// Every allocated run; all of the disk where the file system cannot tell.
    pub(crate) fn each_data(&self, mut each: impl FnMut(Extent)) {
        let mut at = 0;
        while at < self.capacity {
            let (start, end) = match self.next_data(at) {
                Ok(None) => return,
                Ok(Some(start)) => (start, self.next_hole(start).unwrap_or(self.capacity)),
                Err(_) => (at, self.capacity),
            };
            if start >= self.capacity {
                return;
            }
            let end = end.clamp(start + 1, self.capacity);
            each(Extent::new(start, end - start));
            at = end;
        }
    }

    fn seek(&self, off: u64, whence: libc::c_int) -> io::Result<Option<u64>> {
        // SAFETY: plain system call on a descriptor this value owns; no memory is passed. The
        // file position it moves is used by nobody: all other I/O is positional.
        let at =
            unsafe { libc::lseek(self.storage.file().as_raw_fd(), off as libc::off_t, whence) };
        if at >= 0 {
            return Ok(Some(at as u64));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENXIO) => Ok(None),
            // A block device knows no holes: everything is data.
            Some(libc::EINVAL | libc::EOPNOTSUPP) => {
                Ok((whence == libc::SEEK_DATA && off < self.capacity).then_some(off))
            }
            _ => Err(error),
        }
    }

    /// Makes a range read as zeroes and gives its space back where possible.
    pub(crate) fn punch(&self, extent: Extent) -> io::Result<()> {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        self.zeroes(mode, extent)
    }

    /// Makes a range read as zeroes and keeps its space.
    pub(crate) fn zero(&self, extent: Extent) -> io::Result<()> {
        let mode = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        self.zeroes(mode, extent)
    }

    fn zeroes(&self, mode: libc::c_int, extent: Extent) -> io::Result<()> {
        let done = self.storage.zero(extent.off, extent.len, || self.fallocate(mode, extent));
        done.or_else(|error| self.zero_fallback(error, extent))
    }

    fn fallocate(&self, mode: libc::c_int, extent: Extent) -> io::Result<()> {
        let (off, len) = (extent.off as libc::off_t, extent.len as libc::off_t);
        // SAFETY: plain system call on a descriptor this value owns; no memory is passed.
        match unsafe { libc::fallocate(self.storage.file().as_raw_fd(), mode, off, len) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn zero_fallback(&self, error: io::Error, extent: Extent) -> io::Result<()> {
        if !matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL)) {
            return Err(error);
        }
        let zeroes = vec![0; extent.len.min(CHUNK) as usize];
        let mut at = extent.off;
        while at < extent.end() {
            let len = zeroes.len().min((extent.end() - at) as usize);
            self.write(&zeroes[..len], at)?;
            at += len as u64;
        }
        Ok(())
    }
}

/// Where data goes on behind offsets that grow: the file system is asked once for every hole, not
/// for every chunk in it.
pub(crate) struct NextData<'a> {
    file: &'a DiskFile,
    found: Option<u64>,
}

impl<'a> NextData<'a> {
    pub(crate) fn of(file: &'a DiskFile) -> Self {
        Self { file, found: None }
    }

    /// First allocated byte at or after `off`; the capacity if there is none.
    pub(crate) fn from(&mut self, off: u64) -> io::Result<u64> {
        let found = match self.found.filter(|found| *found >= off) {
            Some(found) => found,
            None => self.file.next_data(off)?.unwrap_or(self.file.capacity()),
        };
        self.found = Some(found);
        Ok(found)
    }
}

/// The disk past the page cache; `None` where its file system cannot.
fn open_direct(path: &Path, meta: &Metadata) -> Option<File> {
    let options = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path);
    let direct = options.ok()?;
    let same = direct.metadata().ok()?;
    ((same.dev(), same.ino()) == (meta.dev(), meta.ino())).then_some(direct)
}

fn fits_direct(buf: &[u8], off: u64) -> bool {
    let aligned = (buf.as_ptr() as usize).is_multiple_of(DIRECT);
    aligned && buf.len().is_multiple_of(DIRECT) && off.is_multiple_of(DIRECT as u64)
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // SAFETY: any 16 bytes are a valid u128; align_to gives correctly aligned middle parts.
    let (head, middle, tail) = unsafe { bytes.align_to::<u128>() };
    head.iter().chain(tail).all(|byte| *byte == 0)
        && middle.chunks(16).all(|words| words.iter().fold(0, |sum, word| sum | word) == 0)
}
