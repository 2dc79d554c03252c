//! A plain file or block device as an export: the pass-through without any tracking.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::export::{Export, Extent};

static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// A file opened for reading and writing; its size is given, not taken from the file.
pub struct FileExport {
    file: File,
    size: u64,
}

impl FileExport {
    /// Opens `path`; an error when it is shorter than `size`.
    pub fn open(path: &Path, size: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let meta = file.metadata()?;
        if meta.is_file() && meta.len() < size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the file has {} bytes, fewer than its capacity {size}", meta.len()),
            ));
        }
        Ok(Self { file, size })
    }

    fn fallocate(&self, mode: i32, offset: u64, len: u64) -> io::Result<()> {
        // SAFETY: a plain system call on a file descriptor we own.
        let result =
            unsafe { libc::fallocate(self.file.as_raw_fd(), mode, offset as i64, len as i64) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn seek(&self, offset: u64, whence: i32) -> io::Result<Option<u64>> {
        // SAFETY: as above; nobody relies on the file position.
        let at = unsafe { libc::lseek(self.file.as_raw_fd(), offset as i64, whence) };
        if at >= 0 {
            return Ok(Some(at as u64));
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            // A block device knows no holes: everything is data.
            error if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                Ok((whence == libc::SEEK_DATA).then_some(offset))
            }
            error => Err(error),
        }
    }

    fn finish(&self, fua: bool) -> io::Result<()> {
        if fua { self.file.sync_data() } else { Ok(()) }
    }
}

fn unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENODEV))
}

/// Fills `buf` from the page cache; false when any of it is not there, or the file system
/// cannot tell.
pub fn read_cached(file: &File, buf: &mut [u8], offset: u64) -> bool {
    let part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: the vector has one part, which is `buf`; the descriptor is open.
    let count =
        unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, offset as i64, libc::RWF_NOWAIT) };
    usize::try_from(count).is_ok_and(|count| count == buf.len())
}

/// Lets the kernel read a range ahead.
pub fn read_soon(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let advice = libc::POSIX_FADV_WILLNEED;
    // SAFETY: a plain system call on an open descriptor.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), offset as i64, len as i64, advice) } {
        0 | libc::ESPIPE | libc::EINVAL => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

impl Export for FileExport {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> bool {
        read_cached(&self.file, buf, offset)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64, fua: bool) -> io::Result<()> {
        self.file.write_all_at(data, offset)?;
        self.finish(fua)
    }

    fn cache(&self, offset: u64, len: u64) -> io::Result<()> {
        read_soon(&self.file, offset, len)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn trim(&self, offset: u64, len: u64, fua: bool) -> io::Result<()> {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        match self.fallocate(mode, offset, len) {
            Err(error) if !unsupported(&error) => Err(error),
            _ => self.finish(fua),
        }
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_trim: bool, fua: bool) -> io::Result<()> {
        let mode = if may_trim { libc::FALLOC_FL_PUNCH_HOLE } else { libc::FALLOC_FL_ZERO_RANGE };
        match self.fallocate(mode | libc::FALLOC_FL_KEEP_SIZE, offset, len) {
            Err(error) if unsupported(&error) => {
                let end = offset + len;
                let mut at = offset;
                while at < end {
                    let count = (end - at).min(ZEROES.len() as u64);
                    self.file.write_all_at(&ZEROES[..count as usize], at)?;
                    at += count;
                }
            }
            result => result?,
        }
        self.finish(fua)
    }

    fn extents(&self, offset: u64, len: u64, max: usize) -> io::Result<Vec<Extent>> {
        let end = offset + len;
        let (mut at, mut extents) = (offset, Vec::new());
        while at < end && extents.len() < max {
            let data = self.seek(at, libc::SEEK_DATA)?.unwrap_or(end).min(end);
            if data > at {
                extents.push(Extent { len: data - at, hole: true, zero: true });
                at = data;
            } else {
                let hole = self.seek(at, libc::SEEK_HOLE)?.unwrap_or(end).min(end);
                extents.push(Extent { len: hole - at, hole: false, zero: false });
                at = hole;
            }
        }
        Ok(extents)
    }
}
