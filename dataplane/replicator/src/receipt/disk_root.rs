//! The root of the hash tree of a raw disk, computed from the whole disk: 1 MiB leaves, 1,024
//! leaves a node, the root over all nodes and the capacity. Holes are known zeroes and not read.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

const CHUNK_BYTES: u64 = 1 << 20;
const LEAVES_PER_NODE: usize = 1024;

/// Root, hexadecimal, and capacity of the disk at `path`.
pub fn of(path: &Path) -> io::Result<(String, u64)> {
    with_nodes_of(path, LEAVES_PER_NODE)
}

fn with_nodes_of(path: &Path, leaves_per_node: usize) -> io::Result<(String, u64)> {
    let leaves = Leaves::open(path)?;
    let capacity = leaves.capacity;
    let mut root = Root::new(leaves_per_node);
    for leaf in leaves {
        root.add(&leaf?);
    }
    Ok((root.finish(capacity), capacity))
}

/// The hash of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Where the chunk begins.
    pub off: u64,
    /// Its length.
    pub len: u64,
    /// BLAKE3 of it.
    pub hash: blake3::Hash,
}

/// The chunks of a disk in order, read from the disk itself.
pub struct Leaves {
    file: File,
    /// Size of the disk.
    pub capacity: u64,
    at: u64,
    data: u64,
    buffer: Vec<u8>,
    zeroes: blake3::Hash,
}

impl Leaves {
    /// Begins at the first chunk. What the page cache holds of the disk is dropped, so that the
    /// disk answers.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let capacity = file.seek(SeekFrom::End(0))?;
        // SAFETY: a plain system call on a descriptor we own; it is advice and cannot fail badly.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        let buffer = vec![0; CHUNK_BYTES as usize];
        let zeroes = blake3::hash(&buffer);
        Ok(Self { file, capacity, at: 0, data: 0, buffer, zeroes })
    }

    /// The file, for looking at its locks.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn read(&mut self) -> io::Result<Leaf> {
        let (at, len) = (self.at, CHUNK_BYTES.min(self.capacity - self.at));
        if self.data < at + len {
            self.data = next_data(&self.file, at.max(self.data), self.capacity)?;
        }
        let hash = if self.data >= at + len && len == CHUNK_BYTES {
            self.zeroes
        } else {
            let chunk = &mut self.buffer[..len as usize];
            self.file.read_exact_at(chunk, at)?;
            blake3::hash(chunk)
        };
        self.at += len;
        Ok(Leaf { off: at, len, hash })
    }
}

impl Iterator for Leaves {
    type Item = io::Result<Leaf>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.capacity).then(|| self.read())
    }
}

/// A root while its leaves come in order.
pub struct Root {
    root: blake3::Hasher,
    node: blake3::Hasher,
    leaves: usize,
    leaves_per_node: usize,
}

impl Default for Root {
    fn default() -> Self {
        Self::new(LEAVES_PER_NODE)
    }
}

impl Root {
    fn new(leaves_per_node: usize) -> Self {
        let (root, node) = (blake3::Hasher::new(), blake3::Hasher::new());
        Self { root, node, leaves: 0, leaves_per_node }
    }

    /// The next leaf.
    pub fn add(&mut self, leaf: &Leaf) {
        self.node.update(leaf.hash.as_bytes());
        self.leaves += 1;
        if self.leaves == self.leaves_per_node {
            self.end_node();
        }
    }

    fn end_node(&mut self) {
        self.root.update(self.node.finalize().as_bytes());
        self.node.reset();
        self.leaves = 0;
    }

    /// The root, hexadecimal.
    pub fn finish(mut self, capacity: u64) -> String {
        if self.leaves > 0 {
            self.end_node();
        }
        self.root.update(&capacity.to_le_bytes());
        self.root.finalize().to_hex().to_string()
    }
}

/// Where data begin at or after `at`; `at` itself where the file system cannot say.
fn next_data(file: &File, at: u64, capacity: u64) -> io::Result<u64> {
    // SAFETY: a plain system call on a descriptor we own; nothing relies on its position.
    let found = unsafe { libc::lseek(file.as_raw_fd(), at as i64, libc::SEEK_DATA) };
    if found >= 0 {
        return Ok(found as u64);
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::ENXIO) => Ok(capacity),
        _ => Ok(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree as the documents describe it, without any shortcut.
    fn plain(content: &[u8]) -> String {
        let leaves: Vec<_> = content.chunks(1 << 20).map(blake3::hash).collect();
        let mut all = Vec::new();
        for group in leaves.chunks(4) {
            let bytes: Vec<u8> = group.iter().flat_map(|leaf| *leaf.as_bytes()).collect();
            all.extend(blake3::hash(&bytes).as_bytes());
        }
        all.extend((content.len() as u64).to_le_bytes());
        blake3::hash(&all).to_hex().to_string()
    }

    #[test]
    fn holes_and_odd_sizes_have_the_documented_root() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        for (size, data) in [
            (512, vec![0]),
            (1 << 20, vec![]),
            ((9 << 20) + 512, vec![(3 << 20) - 7, (9 << 20) + 511]),
            (6 << 20, vec![5 << 20]),
            (8 << 20, vec![0, 7 << 20]),
        ] {
            let file = File::create(&path).unwrap();
            file.set_len(size).unwrap();
            for at in data {
                file.write_all_at(b"x", at).unwrap();
            }
            let wanted = plain(&std::fs::read(&path).unwrap());
            assert_eq!(with_nodes_of(&path, 4).unwrap(), (wanted, size), "{size}");
        }
    }
}
