//! A bitmap over the grains of a disk. Pages are made when a bit in them is first set, so
//! that a huge sparse disk costs next to nothing.

use std::ops::Range;

const WORDS: usize = 512;
/// Bits of one page (4 KiB of memory).
pub const PAGE_BITS: u64 = WORDS as u64 * 64;

#[derive(Clone, Debug)]
struct Page {
    words: [u64; WORDS],
    ones: u64,
}

/// One bit per grain.
#[derive(Clone, Debug)]
pub struct Bitmap {
    pages: Vec<Option<Box<Page>>>,
    bits: u64,
    ones: u64,
}

impl Bitmap {
    /// All bits clear.
    pub fn new(bits: u64) -> Self {
        Self { pages: vec![None; bits.div_ceil(PAGE_BITS) as usize], bits, ones: 0 }
    }

    /// One bit per `grain` of a disk.
    pub fn for_disk(capacity: u64, grain: u64) -> Self {
        Self::new(capacity.div_ceil(grain))
    }

    /// Number of bits.
    pub fn len(&self) -> u64 {
        self.bits
    }

    /// Whether it has no bits at all.
    pub fn is_empty(&self) -> bool {
        self.bits == 0
    }

    /// Number of bits that are set.
    pub fn ones(&self) -> u64 {
        self.ones
    }

    /// Whether a bit is set.
    pub fn get(&self, bit: u64) -> bool {
        debug_assert!(bit < self.bits);
        match &self.pages[(bit / PAGE_BITS) as usize] {
            Some(page) => page.words[(bit % PAGE_BITS / 64) as usize] >> (bit % 64) & 1 == 1,
            None => false,
        }
    }

    /// Sets the bits of a range; the answer says how many were clear before.
    pub fn set(&mut self, range: Range<u64>) -> u64 {
        self.change(range, true)
    }

    /// Clears the bits of a range; the answer says how many were set before.
    pub fn clear(&mut self, range: Range<u64>) -> u64 {
        self.change(range, false)
    }

    /// Number of bits set in a range.
    pub fn count(&self, range: Range<u64>) -> u64 {
        let mut ones = 0;
        for_words(clipped(range, self.bits), |page, word, mask| {
            if let Some(page) = &self.pages[page] {
                ones += u64::from((page.words[word] & mask).count_ones());
            }
        });
        ones
    }

    /// Whether every bit of a range is set.
    pub fn all(&self, range: Range<u64>) -> bool {
        range.end <= self.bits.max(range.start)
            && self.next_before(range.start, false, range.end).is_none()
    }

    /// Whether no bit of a range is set.
    pub fn none(&self, range: Range<u64>) -> bool {
        self.next_before(range.start, true, range.end.min(self.bits)).is_none()
    }

    /// The first bit at or after `from` with the wanted value.
    pub fn next(&self, from: u64, value: bool) -> Option<u64> {
        self.next_before(from, value, self.bits)
    }

    /// The same, looking at bits before `end` only. Pages that cannot hold it cost nothing.
    fn next_before(&self, from: u64, value: bool, end: u64) -> Option<u64> {
        let mut at = from;
        while at < end {
            let page = &self.pages[(at / PAGE_BITS) as usize];
            let ones = page.as_ref().map_or(0, |page| page.ones);
            if ones == if value { 0 } else { PAGE_BITS } {
                at = (at / PAGE_BITS + 1) * PAGE_BITS;
                continue;
            }
            let Some(page) = page else { return Some(at) };
            let word = page.words[(at % PAGE_BITS / 64) as usize];
            let wanted = if value { word } else { !word } >> (at % 64);
            if wanted != 0 {
                let found = at + u64::from(wanted.trailing_zeros());
                return (found < end).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// The first run of bits with the wanted value at or after `from`, at most `max` long.
    pub fn next_run(&self, from: u64, value: bool, max: u64) -> Option<Range<u64>> {
        let start = self.next(from, value)?;
        let limit = self.bits.min(start.saturating_add(max));
        Some(start..self.next_before(start, !value, limit).unwrap_or(limit))
    }

    /// The 64 bits from `word * 64`.
    pub fn word(&self, word: u64) -> u64 {
        match self.pages.get((word * 64 / PAGE_BITS) as usize) {
            Some(Some(page)) => page.words[(word % WORDS as u64) as usize],
            _ => 0,
        }
    }

    /// Sets every bit that is set in 64 bits from `word * 64`.
    pub fn merge_word(&mut self, word: u64, value: u64) {
        let mut rest = value;
        while rest != 0 {
            let start = u64::from(rest.trailing_zeros());
            let run = u64::from((rest >> start).trailing_ones());
            self.set(word * 64 + start..(word * 64 + start + run).min(self.bits));
            rest &= if start + run >= 64 { 0 } else { u64::MAX << (start + run) };
        }
    }

    /// Number of bits set here and clear in `other`.
    pub fn count_without(&self, other: &Bitmap) -> u64 {
        let words = self.bits.div_ceil(64);
        let mut ones = 0;
        let mut word = 0;
        while word < words {
            if self.pages[(word * 64 / PAGE_BITS) as usize].is_none() {
                word = (word / WORDS as u64 + 1) * WORDS as u64;
                continue;
            }
            ones += u64::from((self.word(word) & !other.word(word)).count_ones());
            word += 1;
        }
        ones
    }

    /// Memory of the pages.
    pub fn memory_bytes(&self) -> usize {
        self.pages.iter().flatten().count() * size_of::<Page>()
    }

    fn change(&mut self, range: Range<u64>, value: bool) -> u64 {
        let mut changed = 0;
        let pages = &mut self.pages;
        for_words(clipped(range, self.bits), |at, word, mask| {
            let page = match (&mut pages[at], value) {
                (Some(page), _) => page,
                (None, false) => return,
                (empty, true) => empty.insert(Box::new(Page { words: [0; WORDS], ones: 0 })),
            };
            let before = page.words[word];
            page.words[word] = if value { before | mask } else { before & !mask };
            let bits = u64::from((before ^ page.words[word]).count_ones());
            page.ones = if value { page.ones + bits } else { page.ones - bits };
            changed += bits;
            if page.ones == 0 {
                pages[at] = None;
            }
        });
        self.ones = if value { self.ones + changed } else { self.ones - changed };
        changed
    }
}

fn clipped(range: Range<u64>, bits: u64) -> Range<u64> {
    range.start.min(bits)..range.end.min(bits)
}

/// Calls with page, word in the page and mask for every word a range touches.
fn for_words(range: Range<u64>, mut each: impl FnMut(usize, usize, u64)) {
    let mut at = range.start;
    while at < range.end {
        let end = ((at / 64 + 1) * 64).min(range.end);
        let width = end - at;
        let mask = if width == 64 { u64::MAX } else { ((1 << width) - 1) << (at % 64) };
        each((at / PAGE_BITS) as usize, (at % PAGE_BITS / 64) as usize, mask);
        at = end;
    }
}
