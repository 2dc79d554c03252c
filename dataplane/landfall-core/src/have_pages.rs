//! The receiver's have-map as it lies on the state disk: pages of 1 GiB, each in two slots. A
//! page of which neither slot is valid counts as empty: its units are copied again.

use std::collections::BTreeMap;

use crate::receiver::UNITS_PER_PAGE;
use crate::slot::{SLOT_LEN, SlotPair};
use crate::{Bitmap, UNIT};

/// Magic of its slots.
pub const MAGIC: [u8; 4] = *b"LFH1";
const WORDS: u64 = UNITS_PER_PAGE / 64;

/// Which version of each page is in force.
#[derive(Clone, Debug, Default)]
pub struct HavePages {
    pairs: BTreeMap<u64, SlotPair>,
}

/// A slot to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotWrite {
    /// Where it belongs in the file.
    pub off: u64,
    /// What to write.
    pub bytes: Vec<u8>,
}

impl HavePages {
    /// Reads the map of a disk. `slot` gives the bytes at an offset of the file, or nothing
    /// where they cannot be read.
    pub fn recover(capacity: u64, mut slot: impl FnMut(u64) -> Option<Vec<u8>>) -> (Self, Bitmap) {
        let mut map = Bitmap::for_disk(capacity, UNIT);
        let mut pages = Self::default();
        for page in 0..map.len().div_ceil(UNITS_PER_PAGE) {
            let [first, second] = [0, 1].map(|at| slot(slot_off(page, at)));
            let (pair, content) = SlotPair::recover(MAGIC, [first.as_deref(), second.as_deref()]);
            pages.pairs.insert(page, pair);
            load(&mut map, page, &content.unwrap_or_default());
        }
        (pages, map)
    }

    /// The next version of a page: what to write where. It is in force after
    /// [`HavePages::stored`].
    pub fn next(&self, page: u64, content: &[u8]) -> SlotWrite {
        let (at, bytes) = self.pair(page).next(content);
        SlotWrite { off: slot_off(page, at), bytes }
    }

    /// The last version asked for of a page is durable.
    pub fn stored(&mut self, page: u64) {
        let mut pair = self.pair(page);
        pair.stored();
        self.pairs.insert(page, pair);
    }

    fn pair(&self, page: u64) -> SlotPair {
        let new = || SlotPair::recover(MAGIC, [None, None]).0;
        self.pairs.get(&page).copied().unwrap_or_else(new)
    }
}

/// The bytes of one page of a map.
pub fn page_bytes(map: &Bitmap, page: u64) -> Vec<u8> {
    (0..WORDS).flat_map(|word| map.word(page * WORDS + word).to_le_bytes()).collect()
}

fn load(map: &mut Bitmap, page: u64, content: &[u8]) {
    for (word, bytes) in content.chunks_exact(8).enumerate().take(WORDS as usize) {
        let value = u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        if value != 0 {
            map.merge_word(page * WORDS + word as u64, value);
        }
    }
}

fn slot_off(page: u64, slot: u64) -> u64 {
    (page * 2 + slot) * SLOT_LEN as u64
}
