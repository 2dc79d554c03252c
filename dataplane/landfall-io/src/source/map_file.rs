//! The map of a clean close (`<disk>.landfall/map`): what is dirty, what was still to be compared,
//! and the hash leaves that are known, so that whoever opens the disk next neither compares nor
//! reads it again. It counts only while the super names its serial, and only for the disk file as
//! it was left.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use landfall_core::slot::{self, SLOT_LEN};
use landfall_core::source::SourceDisk;
use landfall_core::tree::{Hash, LEAVES_PER_NODE};
use landfall_core::{Bitmap, Extent};

use super::sidecar::Base;
use crate::fault;
use crate::storage::{Points, Storage, rename, sync_parent};

const POINTS: Points = Points { read: "map-read", write: "map-write", sync: "map-sync" };
const MAGIC: [u8; 4] = *b"LFM1";
const HEAD_LEN: usize = 20;
/// Bits in one record of a bitmap.
const BITS: u64 = 32_768;
const PAYLOAD_MAX: usize = 128 + LEAVES_PER_NODE as usize * 32;

const SUSPECTS: u32 = 1;
const DIRTY: u32 = 2;
const LEAVES: u32 = 3;
const END: u32 = 4;

/// What the map belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MapHead {
    pub(super) serial: u64,
    pub(super) disk: [u8; 16],
    pub(super) capacity: u64,
    pub(super) base: Base,
    pub(super) lineage: u64,
    pub(super) file: Identity,
}

/// The disk file as it was left: who writes it afterwards changes that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    inode: u64,
    len: u64,
    changed_seconds: i64,
    changed_nanoseconds: i64,
}

impl Identity {
    pub(super) fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            inode: meta.ino(),
            len: meta.len(),
            changed_seconds: meta.mtime(),
            changed_nanoseconds: meta.mtime_nsec(),
        }
    }
}

impl MapHead {
    fn encode(&self) -> Vec<u8> {
        let mut content = self.disk.to_vec();
        content.extend_from_slice(&self.capacity.to_le_bytes());
        content.extend_from_slice(&self.base);
        content.extend_from_slice(&self.lineage.to_le_bytes());
        content.extend_from_slice(&self.file.inode.to_le_bytes());
        content.extend_from_slice(&self.file.len.to_le_bytes());
        content.extend_from_slice(&self.file.changed_seconds.to_le_bytes());
        content.extend_from_slice(&self.file.changed_nanoseconds.to_le_bytes());
        slot::encode(MAGIC, self.serial, &content)
    }
}

/// Writes the map durably under its name.
pub(super) fn save(
    path: &Path,
    head: &MapHead,
    book: &SourceDisk,
    suspects: &Bitmap,
) -> io::Result<()> {
    let beside = path.with_extension("new");
    let file = Appending { file: Storage::create(&beside, POINTS)?, at: 0 };
    let mut out = Records { file: BufWriter::new(file), count: 0 };
    out.file.write_all(&head.encode())?;
    out.bits(SUSPECTS, suspects)?;
    out.bits(DIRTY, book.dirty())?;
    out.leaves(book)?;
    let count = out.count;
    out.put(END, count, &[])?;
    let out = out.file.into_inner().map_err(io::IntoInnerError::into_error)?;
    out.file.sync()?;
    fault::point("map-rename")?;
    rename(&beside, path)?;
    sync_parent(path)
}

/// A file that is written from its beginning on.
struct Appending {
    file: Storage,
    at: u64,
}

impl Write for Appending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Records {
    file: BufWriter<Appending>,
    count: u64,
}

impl Records {
    fn put(&mut self, kind: u32, index: u64, payload: &[u8]) -> io::Result<()> {
        let mut head = [0; HEAD_LEN];
        head[0..4].copy_from_slice(&kind.to_le_bytes());
        head[4..12].copy_from_slice(&index.to_le_bytes());
        head[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        let sum = crc32c::crc32c_append(crc32c::crc32c(&head[..16]), payload);
        head[16..20].copy_from_slice(&sum.to_le_bytes());
        self.count += 1;
        self.file.write_all(&head)?;
        self.file.write_all(payload)
    }

    /// Parts of a bitmap in which a bit is set.
    fn bits(&mut self, kind: u32, bits: &Bitmap) -> io::Result<()> {
        let mut at = 0;
        while let Some(bit) = bits.next(at, true) {
            let index = bit / BITS;
            let words = index * BITS / 64..(index + 1) * BITS / 64;
            let payload: Vec<u8> = words.flat_map(|word| bits.word(word).to_le_bytes()).collect();
            self.put(kind, index, &payload)?;
            at = (index + 1) * BITS;
        }
        Ok(())
    }

    /// Nodes with a leaf that is known and not that of zeroes: which leaves are known, and these.
    fn leaves(&mut self, book: &SourceDisk) -> io::Result<()> {
        let tree = book.tree();
        for node in 0..tree.nodes() {
            let first = node * LEAVES_PER_NODE;
            let mut payload = vec![0; LEAVES_PER_NODE as usize / 8];
            let mut zeroes_only = true;
            for leaf in first..(first + LEAVES_PER_NODE).min(tree.leaves()) {
                let Some(hash) = tree.leaf(leaf) else { continue };
                zeroes_only &= hash == tree.zero(leaf);
                let bit = (leaf - first) as usize;
                payload[bit / 8] |= 1 << (bit % 8);
                payload.extend_from_slice(&hash);
            }
            if !zeroes_only {
                self.put(LEAVES, node, &payload)?;
            }
        }
        Ok(())
    }
}

/// Reads records as those of the map of a disk of `capacity` bytes: regions to be compared, dirty
/// blocks and leaves to be hashed again, or `None` where the map is not whole. For tests of the
/// decoder; no file is touched.
pub fn read_map(records: &[u8], capacity: u64) -> Option<[u64; 3]> {
    let head = MapHead {
        serial: 1,
        disk: [1; 16],
        capacity,
        base: [2; 16],
        lineage: 1,
        file: Identity::default(),
    };
    let mut book = SourceDisk::new(capacity);
    book.track();
    let regions = capacity.div_ceil(landfall_core::intent::region_bytes(capacity));
    let bytes = [head.encode().as_slice(), records].concat();
    let map = MapFile::read(bytes.as_slice(), &head, regions).ok()?;
    let suspects = map.suspects.ones();
    map.load(&mut book).ok()?;
    Some([suspects, book.dirty().ones(), book.tree().stale().ones()])
}

/// A map that is being read.
pub(super) struct MapFile<R> {
    file: R,
    count: u64,
    /// Regions that were still to be compared.
    pub(super) suspects: Bitmap,
    waiting: Option<(u32, u64, Vec<u8>)>,
}

impl MapFile<BufReader<File>> {
    /// Opens the map with this head; any other is an error.
    pub(super) fn open(path: &Path, head: &MapHead, regions: u64) -> io::Result<Self> {
        Self::read(BufReader::new(File::open(path)?), head, regions)
    }
}

impl<R: Read> MapFile<R> {
    fn read(mut file: R, head: &MapHead, regions: u64) -> io::Result<Self> {
        let mut bytes = vec![0; SLOT_LEN];
        file.read_exact(&mut bytes)?;
        if bytes != head.encode() {
            return Err(wrong("the disk is not as it was left, or the map is another's"));
        }
        let mut map = Self { file, count: 0, suspects: Bitmap::new(regions), waiting: None };
        loop {
            let record = map.next()?;
            if record.0 != SUSPECTS {
                map.waiting = Some(record);
                return Ok(map);
            }
            merge(&mut map.suspects, record.1, &record.2)?;
        }
    }

    fn next(&mut self) -> io::Result<(u32, u64, Vec<u8>)> {
        let mut head = [0; HEAD_LEN];
        self.file.read_exact(&mut head)?;
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4"));
        let len = u32_at(12) as usize;
        if len > PAYLOAD_MAX {
            return Err(wrong("a record of the map is too long"));
        }
        let mut payload = vec![0; len];
        self.file.read_exact(&mut payload)?;
        if crc32c::crc32c_append(crc32c::crc32c(&head[..16]), &payload) != u32_at(16) {
            return Err(wrong("a record of the map is damaged"));
        }
        self.count += 1;
        Ok((u32_at(0), u64::from_le_bytes(head[4..12].try_into().expect("8")), payload))
    }

    /// Enters what is dirty and the leaves into a book that has begun to track. After an error the
    /// book is not to be used.
    pub(super) fn load(mut self, book: &mut SourceDisk) -> io::Result<()> {
        loop {
            let record = match self.waiting.take() {
                Some(record) => record,
                None => self.next()?,
            };
            match record {
                (DIRTY, index, payload) => {
                    let mut part = Bitmap::new(book.dirty().len());
                    merge(&mut part, index, &payload)?;
                    let mut at = index * BITS;
                    while let Some(run) = part.next_run(at, true, u64::MAX) {
                        at = run.end;
                        let off = run.start * landfall_core::BLOCK;
                        let end = (run.end * landfall_core::BLOCK).min(book.capacity());
                        book.written(Extent::new(off, end - off));
                    }
                }
                (LEAVES, node, payload) => load_leaves(book, node, &payload)?,
                (END, count, _) if count == self.count - 1 => return Ok(()),
                _ => return Err(wrong("the map ends too early")),
            }
        }
    }
}

fn load_leaves(book: &mut SourceDisk, node: u64, payload: &[u8]) -> io::Result<()> {
    let (known, hashes) = payload
        .split_at_checked(LEAVES_PER_NODE as usize / 8)
        .ok_or_else(|| wrong("a node of the map is too short"))?;
    let mut hashes = hashes.as_chunks::<32>().0.iter();
    for bit in (0..LEAVES_PER_NODE as usize).filter(|bit| known[bit / 8] >> (bit % 8) & 1 == 1) {
        let leaf = node.saturating_mul(LEAVES_PER_NODE).saturating_add(bit as u64);
        let value: Option<&Hash> = hashes.next();
        let value = value.filter(|_| leaf < book.tree().leaves());
        book.tree_mut().load(leaf, *value.ok_or_else(|| wrong("a node of another disk"))?);
    }
    Ok(())
}

fn merge(into: &mut Bitmap, index: u64, payload: &[u8]) -> io::Result<()> {
    let first = index.checked_mul(BITS).filter(|bit| *bit < into.len());
    let first = first.ok_or_else(|| wrong("a bit of another disk"))? / 64;
    for (at, word) in payload.as_chunks::<8>().0.iter().enumerate() {
        let (at, word) = (first + at as u64, u64::from_le_bytes(*word));
        if word == 0 {
            continue;
        }
        let last = (at * 64).saturating_add(63 - u64::from(word.leading_zeros()));
        if last >= into.len() {
            return Err(wrong("a bit of another disk"));
        }
        into.merge_word(at, word);
    }
    Ok(())
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
