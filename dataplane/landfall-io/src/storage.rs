//! A file of ours, or a disk, as everything sees it that reads and writes by position. Tests let
//! calls fail, be short or slow here (`fault.rs`), and have them recorded (`recording.rs`); else
//! a call is a system call and one relaxed load.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::fault;
use crate::recording::{self, Content};

/// Fail points of one kind of file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Points {
    pub(crate) read: &'static str,
    pub(crate) write: &'static str,
    pub(crate) sync: &'static str,
}

/// An open file.
pub(crate) struct Storage {
    file: File,
    points: Points,
}

impl Storage {
    pub(crate) fn new(file: File, points: Points) -> Self {
        Self { file, points }
    }

    /// With other fail points from now on.
    pub(crate) fn with(self, points: Points) -> Self {
        Self { points, ..self }
    }

    /// Opens or makes a state file, durably under its name. What a killed process left in the
    /// cache is durable after it too, so that nothing builds on what may yet be lost.
    pub(crate) fn open_state(path: &Path, points: Points) -> io::Result<Self> {
        let (storage, new) = Self::open_or_make(path, points)?;
        if new {
            sync_parent(path)?;
        }
        storage.settle()?;
        Ok(storage)
    }

    /// Opens a file or makes it; whether it is new, and its name not durable, is said too.
    pub(crate) fn open_or_make(path: &Path, points: Points) -> io::Result<(Self, bool)> {
        let new = !path.exists();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        recording::named(path, &file);
        Ok((Self { file, points }, new))
    }

    /// Makes durable what a killed process may have left in the cache.
    pub(crate) fn settle(&self) -> io::Result<()> {
        self.sync_at("state-open")
    }

    /// Makes a file anew, or empties it.
    pub(crate) fn create(path: &Path, points: Points) -> io::Result<Self> {
        let file = File::create(path)?;
        recording::named(path, &file);
        recording::emptied(&file);
        Ok(Self { file, points })
    }

    /// For what is neither read nor write nor flush.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Reads all of `buf`.
    pub(crate) fn read(&self, buf: &mut [u8], off: u64) -> io::Result<()> {
        self.read_by(&self.file, buf, off)
    }

    /// The same by another descriptor of the file.
    pub(crate) fn read_by(&self, file: &File, buf: &mut [u8], off: u64) -> io::Result<()> {
        if fault::off() {
            return file.read_exact_at(buf, off);
        }
        let piece = fault::passed(self.points.read)?.piece;
        let mut done = 0;
        while done < buf.len() {
            let end = buf.len().min(done.saturating_add(piece));
            match file.read_at(&mut buf[done..end], off + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Passes the fail point of a read that is made in another way.
    pub(crate) fn may_read(&self) -> io::Result<()> {
        fault::point(self.points.read)
    }

    /// Writes all of `bytes`; durable after [`Storage::sync`].
    pub(crate) fn write(&self, bytes: &[u8], off: u64) -> io::Result<()> {
        self.write_by(&self.file, bytes, off)
    }

    /// The same by another descriptor of the file.
    pub(crate) fn write_by(&self, file: &File, bytes: &[u8], off: u64) -> io::Result<()> {
        if fault::off() {
            return file.write_all_at(bytes, off);
        }
        let way = fault::passed(self.points.write)?;
        if way.lie {
            return Ok(());
        }
        let change = recording::change(&self.file, off, || Content::Bytes(bytes.to_vec()));
        let mut done = 0;
        while done < bytes.len() {
            let end = bytes.len().min(done.saturating_add(way.piece));
            match file.write_at(&bytes[done..end], off + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        recording::done(change, &self.file);
        Ok(())
    }

    /// Makes a range read as zeroes by `act`.
    pub(crate) fn zero(
        &self,
        off: u64,
        len: u64,
        act: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        if fault::off() {
            return act();
        }
        let change = recording::change(&self.file, off, || Content::Zeroes(len));
        act()?;
        recording::done(change, &self.file);
        Ok(())
    }

    /// Makes what was written before durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.sync_at(self.points.sync)
    }

    fn sync_at(&self, point: &str) -> io::Result<()> {
        if fault::off() {
            return self.file.sync_data();
        }
        if fault::passed(point)?.lie {
            return Ok(());
        }
        let change = recording::flush(&self.file);
        self.file.sync_data()?;
        recording::done(change, &self.file);
        Ok(())
    }
}

/// Makes a new name durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    File::open(parent)?.sync_all()?;
    recording::folder_synced(parent);
    Ok(())
}

/// Gives a file another name; durable after [`sync_parent`].
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    recording::renamed(from, to);
    Ok(())
}

/// Removes a file if it is there; durable after [`sync_parent`].
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            recording::removed(path);
            Ok(())
        }
    }
}

/// Begins the last line of a small text file, with the CRC-32C of all before it.
const SUM_LINE: &str = "\n#crc32c ";

/// Content of a small text file that [`replace_file`] wrote; `None` when there is none. What is
/// not exactly that is an error of kind `InvalidData`.
pub(crate) fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut content = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let at = content.len().saturating_sub(sum_line(&[]).len());
    if content[at..] != *sum_line(&content[..at]).as_bytes() {
        let text = "the file is damaged: its sum does not fit";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    content.truncate(at);
    Ok(Some(content))
}

fn sum_line(content: &[u8]) -> String {
    format!("{SUM_LINE}{:08x}\n", crc32c::crc32c(content))
}

/// Replaces a small text file durably; a line with its sum is added.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    const POINTS: Points = Points { read: "text-read", write: "text-write", sync: "text-sync" };
    let temporary = path.with_extension("new");
    let file = Storage::create(&temporary, POINTS)?;
    file.write(&[content, sum_line(content).as_bytes()].concat(), 0)?;
    file.sync()?;
    rename(&temporary, path)?;
    sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_turned_bit_of_a_small_text_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        assert_eq!(read_file(&path).unwrap(), None);
        replace_file(&path, b"{\"generation\": 17}").unwrap();
        assert_eq!(read_file(&path).unwrap().unwrap(), b"{\"generation\": 17}");
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut turned = whole.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &turned).unwrap();
            assert_eq!(read_file(&path).unwrap_err().kind(), io::ErrorKind::InvalidData, "{bit}");
        }
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(read_file(&path).is_err());
    }

    const POINTS: Points = Points { read: "test-read", write: "test-write", sync: "test-sync" };

    #[test]
    fn short_calls_move_everything_and_errors_and_lies_are_as_planned() {
        let dir = tempfile::tempdir().unwrap();
        let file = Storage::open_state(&dir.path().join("state"), POINTS).unwrap();
        fault::set("test-write:1:short=7,test-read:1:short=3,test-write:2:full,test-write:3:lie")
            .unwrap();
        let content: Vec<u8> = (0..100).collect();
        file.write(&content, 5).unwrap();
        let mut read = vec![0; 100];
        file.read(&mut read, 5).unwrap();
        assert_eq!(read, content);
        let full = file.write(&[1], 0).unwrap_err();
        assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
        file.write(&[9; 100], 5).unwrap();
        file.read(&mut read, 5).unwrap();
        assert_eq!(read, content, "the lie wrote nothing");
        fault::set("test-sync:1:error").unwrap();
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(libc::EIO));
        fault::set("").unwrap();
        file.sync().unwrap();
    }
}
