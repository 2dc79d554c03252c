//! State files, as a crash, a bad disk or another version may have left them. Nothing that is
//! not whole may count, and nothing may make a reader fail that only finds less than it hoped.

use std::cell::RefCell;

use landfall_core::have_pages::{self, HavePages};
use landfall_core::intent::{self, IntentLog, Slot};
use landfall_core::leaves::{self, LeafBook};
use landfall_core::slot as slots;
use landfall_core::tree::HashTree;
use landfall_core::{BLOCK, CHUNK, UNIT};

const SUPER: [u8; 4] = *b"LFS1";
/// Not a multiple of a chunk, and more than one page of units.
const CAPACITY: u64 = 3 * (1 << 30) + 512 * 37;
/// Several pages of regions.
const INTENT_CAPACITY: u64 = 20 << 40;

/// A slot read as it is; then the same bytes as the content of a slot that is whole.
pub fn slot(data: &[u8]) {
    let mut bytes = data.to_vec();
    bytes.resize(slots::SLOT_LEN, 0);
    for magic in [SUPER, have_pages::MAGIC, leaves::MAGIC] {
        if let Some((generation, content)) = slots::decode(magic, &bytes) {
            assert_eq!(slots::encode(magic, generation, content).len(), slots::SLOT_LEN);
        }
        assert!(data.len() == slots::SLOT_LEN || slots::decode(magic, data).is_none());
    }
    let content = &data[..data.len().min(slots::CONTENT_MAX)];
    let whole = slots::encode(SUPER, 7, content);
    assert_eq!(slots::decode(SUPER, &whole), Some((7, content)));
    let torn = damaged(&whole, data);
    if torn != whole {
        assert_eq!(slots::decode(SUPER, &torn), None, "a damaged slot never counts");
    }
}

/// One byte changed, as the input says.
fn damaged(whole: &[u8], data: &[u8]) -> Vec<u8> {
    let mut torn = whole.to_vec();
    let word = |at: usize| usize::from(data.get(at).copied().unwrap_or(1));
    let at = (word(0) << 8 | word(1)) % torn.len();
    torn[at] ^= word(2) as u8;
    torn
}

/// Reads a file of slots: first as it is, then each piece of the input as a slot that is whole.
fn both(magic: [u8; 4], data: &[u8], mut read: impl FnMut(&[u8])) {
    read(data);
    let pieces = data.chunks(slots::CONTENT_MAX).enumerate();
    let whole: Vec<u8> =
        pieces.flat_map(|(at, piece)| slots::encode(magic, at as u64 + 1, piece)).collect();
    read(&whole);
}

fn at(file: &[u8], off: u64) -> Option<&[u8]> {
    let off = usize::try_from(off).ok()?;
    file.get(off..off.checked_add(slots::SLOT_LEN)?)
}

/// The receiver's have-map: never more units than the disk has.
pub fn have(data: &[u8]) {
    both(have_pages::MAGIC, data, |file| {
        let (_, map) = HavePages::recover(CAPACITY, |off| at(file, off).map(<[u8]>::to_vec));
        assert_eq!(map.len(), CAPACITY.div_ceil(UNIT));
        assert!(map.ones() <= map.len());
        assert_eq!(map.count(0..map.len()), map.ones(), "no bit lies behind the end");
    });
}

/// The write-intent log: damage never makes a region look clean.
pub fn intent(data: &[u8]) {
    both(intent::MAGIC, data, |file| {
        let read = |page| [0, 1].map(|slot| Slot::read(at(file, intent::slot_off(page, slot))));
        let log = IntentLog::recover(INTENT_CAPACITY, 5, read);
        let regions = INTENT_CAPACITY.div_ceil(log.region_bytes());
        assert_eq!(log.suspects().len(), regions);
        let damaged = IntentLog::recover(INTENT_CAPACITY, 5, |_| [Slot::Damaged, Slot::Empty]);
        assert_eq!(damaged.suspects().ones(), regions);
    });
}

/// The leaves of a receiver's tree: a leaf is loaded or stale, and no page of another place counts.
pub fn tree(data: &[u8]) {
    both(leaves::MAGIC, data, |file| {
        let mut tree = HashTree::new(CAPACITY);
        tree.touch(landfall_core::Extent::new(0, CAPACITY));
        let page = |page: u64| at(file, page * slots::SLOT_LEN as u64).map(<[u8]>::to_vec);
        LeafBook::recover(CAPACITY, &mut tree, page);
        assert_eq!(tree.leaves(), CAPACITY.div_ceil(CHUNK));
        assert!(tree.stale().ones() <= tree.leaves());
    });
}

/// The map of a clean close: first as records, then as what a record says, each with its sum.
pub fn map(data: &[u8]) {
    let whole = |records: &[u8]| {
        if let Some([suspects, dirty, stale]) = landfall_io::read_map(records, CAPACITY) {
            assert!(suspects <= CAPACITY.div_ceil(1 << 20) && stale <= CAPACITY.div_ceil(CHUNK));
            assert!(dirty <= CAPACITY.div_ceil(BLOCK), "no bit lies behind the end");
        }
    };
    whole(data);
    let (mut rest, mut records, mut count) = (data, Vec::new(), 0_u64);
    while let Some((head, later)) = rest.split_at_checked(11) {
        let len = usize::from(u16::from_le_bytes([head[9], head[10]])).min(later.len());
        let (payload, later) = later.split_at(len);
        put(&mut records, u32::from(head[0] % 6), &head[1..9], payload);
        (rest, count) = (later, count + 1);
    }
    put(&mut records, 4, &count.to_le_bytes(), &[]);
    whole(&records);
    let torn = damaged(&records, data);
    if torn != records {
        // Behind the end record nobody looks.
        let read = landfall_io::read_map(&torn, CAPACITY);
        let fits = read.is_none() || read == landfall_io::read_map(&records, CAPACITY);
        assert!(fits, "a damaged record never counts");
    }
}

/// A record of the map with its sum.
fn put(records: &mut Vec<u8>, kind: u32, index: &[u8], payload: &[u8]) {
    let mut head = kind.to_le_bytes().to_vec();
    head.extend_from_slice(index);
    head.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&head), payload);
    records.extend_from_slice(&head);
    records.extend_from_slice(&sum.to_le_bytes());
    records.extend_from_slice(payload);
}

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> =
        RefCell::new(tempfile::tempdir().expect("a folder for state files"));
}

/// The super beside a source disk, read by the program that decides whether a guest may have it.
pub fn sidecar(data: &[u8]) {
    let uuid: landfall_api::Uuid = "6000c29a-0000-4000-8000-000000000001".parse().expect("a UUID");
    FOLDER.with_borrow(|folder| {
        let disk = folder.path().join("disk");
        let beside = folder.path().join("disk.landfall");
        std::fs::create_dir_all(&beside).expect("a folder");
        both(SUPER, data, |file| {
            std::fs::write(beside.join("super"), file).expect("a file");
            landfall_io::is_sealed(&disk, &uuid, CAPACITY);
        });
    });
}
