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
    let mut file = File::open(path)?;
    let capacity = file.seek(SeekFrom::End(0))?;
    let mut buffer = vec![0; CHUNK_BYTES as usize];
    let zeroes = blake3::hash(&buffer);
    let (mut root, mut node) = (blake3::Hasher::new(), blake3::Hasher::new());
    let mut leaves = 0;
    let (mut at, mut data) = (0, 0);
    while at < capacity {
        let len = CHUNK_BYTES.min(capacity - at);
        if data < at + len {
            data = next_data(&file, at.max(data), capacity)?;
        }
        let leaf = if data >= at + len && len == CHUNK_BYTES {
            zeroes
        } else {
            let chunk = &mut buffer[..len as usize];
            file.read_exact_at(chunk, at)?;
            blake3::hash(chunk)
        };
        node.update(leaf.as_bytes());
        leaves += 1;
        at += len;
        if leaves == leaves_per_node || at == capacity {
            root.update(node.finalize().as_bytes());
            node.reset();
            leaves = 0;
        }
    }
    root.update(&capacity.to_le_bytes());
    Ok((root.finalize().to_hex().to_string(), capacity))
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
