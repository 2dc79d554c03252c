//! Advisory locks on a disk image in the form QEMU uses, so that QEMU, qemu-nbd and qemu-img
//! refuse an image we write, and we refuse one that they write. They end with the process.
//!
//! For every permission there is a byte at 100 that is read-locked by who has it, and a byte at
//! 200 by who lets nobody else have it. Locks are set first and looked at after, so that of two
//! who come at once at least one notices.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const HAS: i64 = 100;
const SHARES_NOT: i64 = 200;
const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// Takes the right to read and write, which nobody else may have meanwhile. Whether it was free
/// is the answer. File systems without locks count as free.
pub fn take(file: &File) -> io::Result<bool> {
    for byte in [HAS + CONSISTENT_READ, HAS + WRITE, SHARES_NOT + WRITE, SHARES_NOT + RESIZE] {
        let mut lock = flock(byte, libc::F_RDLCK);
        match fcntl(file, libc::F_OFD_SETLK, &mut lock) {
            Err(error) if is_conflict(&error) => return Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::ENOLCK) => return Ok(true),
            outcome => outcome?,
        }
    }
    for byte in [SHARES_NOT + CONSISTENT_READ, SHARES_NOT + WRITE, HAS + WRITE, HAS + RESIZE] {
        let mut lock = flock(byte, libc::F_WRLCK);
        fcntl(file, libc::F_OFD_GETLK, &mut lock)?;
        if i32::from(lock.l_type) != libc::F_UNLCK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether another process has the right to write to it.
pub fn is_written(file: &File) -> io::Result<bool> {
    let mut lock = flock(HAS + WRITE, libc::F_WRLCK);
    fcntl(file, libc::F_OFD_GETLK, &mut lock)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

fn is_conflict(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

fn flock(byte: i64, kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

fn fcntl(file: &File, command: i32, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: a plain system call on a descriptor we own, with a structure that lives over it.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_taken_once_and_free_again_when_its_holder_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let open =
            || File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let first = open().unwrap();
        assert!(take(&first).unwrap());
        assert!(!take(&open().unwrap()).unwrap());
        assert!(is_written(&open().unwrap()).unwrap() && !is_written(&first).unwrap());
        drop(first);
        assert!(take(&open().unwrap()).unwrap());
    }
}
