//! Reads chunks from the disk itself, not from the page cache: for hashes that shall say what
//! the disk holds. Direct where the file system can, else after dropping the cached pages.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use landfall_core::tree::{Hashing, Taken};
use landfall_core::{CHUNK, Extent};

use crate::disk_file::DiskFile;

/// Alignment of direct reads: fits every logical sector in use.
const ALIGNMENT: usize = 4096;
/// One direct read: a write of the guest to the same file waits for it.
const PIECE: usize = 256 << 10;

/// Reads of one disk, with their buffer.
pub(crate) struct ColdReader {
    direct: Option<File>,
    buf: Vec<u8>,
    start: usize,
}

impl ColdReader {
    /// For a disk that is open already.
    pub(crate) fn new(file: &DiskFile) -> Self {
        let buf = vec![0; CHUNK as usize + ALIGNMENT];
        let start = buf.as_ptr().align_offset(ALIGNMENT);
        let path = format!("/proc/self/fd/{}", file.descriptor());
        let direct = File::options().read(true).custom_flags(libc::O_DIRECT).open(path).ok();
        Self { direct, buf, start }
    }

    /// Takes the hash of a chunk from the disk, or the values of those units that are to be read.
    pub(crate) fn take(&mut self, file: &DiskFile, hashing: Hashing) -> io::Result<Taken> {
        if !hashing.is_whole() {
            let Self { direct, buf, start } = self;
            return hashing
                .read(&mut buf[*start..], |unit, off| read_unit(file, direct.as_ref(), unit, off));
        }
        let extent = hashing.chunk();
        let len = extent.len as usize;
        if !self.read_direct(file, extent)? {
            file.drop_cached(extent)?;
            file.read(&mut self.buf[self.start..self.start + len], extent.off)?;
        }
        Ok(hashing.of_chunk(&self.buf[self.start..self.start + len]))
    }

    /// Whether the disk could be read directly; after a refusal it is not tried again.
    fn read_direct(&mut self, file: &DiskFile, extent: Extent) -> io::Result<bool> {
        let Some(direct) = &self.direct else { return Ok(false) };
        file.may_read()?;
        let (len, mut done) = (extent.len as usize, 0);
        while done < len {
            // The last sector of a file may be shorter than the alignment: the read ends there.
            let piece = PIECE.min((len - done).next_multiple_of(ALIGNMENT));
            let at = self.start + done;
            match direct.read_at(&mut self.buf[at..at + piece], extent.off + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) if count % ALIGNMENT == 0 || done + count >= len => done += count,
                Ok(_) => return Ok(self.refused()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    return Ok(self.refused());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn refused(&mut self) -> bool {
        self.direct = None;
        false
    }
}

/// Reads a part of a chunk: aligned, and not at the ragged end of a file.
fn read_unit(file: &DiskFile, direct: Option<&File>, unit: &mut [u8], off: u64) -> io::Result<()> {
    let refused = match direct.map(|direct| direct.read_exact_at(unit, off)) {
        Some(Err(error)) if error.raw_os_error() != Some(libc::EINVAL) => return Err(error),
        Some(Ok(())) => return Ok(()),
        _ => Extent::new(off, unit.len() as u64),
    };
    file.drop_cached(refused)?;
    file.read(unit, off)
}

#[cfg(test)]
mod tests {
    use landfall_core::tree::{HashTree, hash};

    use super::*;

    #[test]
    fn a_chunk_and_a_short_last_one_are_read_directly_and_without() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let content: Vec<u8> = (0..CHUNK + 1536).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = DiskFile::open(&path, CHUNK + 1536, crate::disk_file::SOURCE).unwrap();
        let mut tree = HashTree::new(CHUNK + 1536);
        let mut reader = ColdReader::new(&file);
        for _ in 0..2 {
            for (leaf, bytes) in content.chunks(CHUNK as usize).enumerate() {
                let taken = reader.take(&file, tree.begin_whole(leaf as u64)).unwrap();
                tree.put(&taken);
                assert_eq!(tree.leaf(leaf as u64), Some(hash(bytes)));
            }
            let taken = reader.take(&file, tree.begin_units(0, 1 << 3)).unwrap();
            let all = reader.take(&file, tree.begin_whole(0)).unwrap().parts_read();
            let of_unit = |at: usize| if at == 3 { all[at] } else { [0; 32] };
            assert_eq!(taken.parts_read(), (0..16).map(of_unit).collect::<Vec<_>>());
            reader.direct = None;
        }
    }
}
