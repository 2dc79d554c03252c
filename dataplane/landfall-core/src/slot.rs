//! Slots of state files: 4 KiB with magic, CRC-32C, generation and length. State lies in two of
//! them; the newer valid one counts and a write goes to the other, so that a torn write leaves
//! the state before it. Bytes only: who writes and flushes them is the caller.

/// Bytes of a slot: written with one call, aligned like a disk's physical sector.
pub const SLOT_LEN: usize = 4096;
const HEAD_LEN: usize = 24;
/// Most content that fits into a slot.
pub const CONTENT_MAX: usize = SLOT_LEN - HEAD_LEN;

/// A slot with its head. Content longer than [`CONTENT_MAX`] is a mistake of the caller.
pub fn encode(magic: [u8; 4], generation: u64, content: &[u8]) -> Vec<u8> {
    assert!(content.len() <= CONTENT_MAX, "state of {} bytes", content.len());
    let mut bytes = vec![0; SLOT_LEN];
    bytes[0..4].copy_from_slice(&magic);
    bytes[8..16].copy_from_slice(&generation.to_le_bytes());
    bytes[16..20].copy_from_slice(&(content.len() as u32).to_le_bytes());
    bytes[HEAD_LEN..HEAD_LEN + content.len()].copy_from_slice(content);
    let sum = crc32c::crc32c(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Generation and content of a slot that was written whole; `None` for anything else.
pub fn decode(magic: [u8; 4], bytes: &[u8]) -> Option<(u64, &[u8])> {
    if bytes.len() != SLOT_LEN || bytes[0..4] != magic {
        return None;
    }
    let sum = u32::from_le_bytes(bytes[4..8].try_into().ok()?);
    let summed = crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &[0; 4]);
    if crc32c::crc32c_append(summed, &bytes[8..]) != sum {
        return None;
    }
    let generation = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
    let length = u32::from_le_bytes(bytes[16..20].try_into().ok()?) as usize;
    bytes.get(HEAD_LEN..HEAD_LEN + length).map(|content| (generation, content))
}

/// Two slots of one state: which generation is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotPair {
    magic: [u8; 4],
    generation: u64,
}

impl SlotPair {
    /// From what the two slots hold (`None`: not there). The answer has the newest valid
    /// content, if there is any.
    pub fn recover(magic: [u8; 4], slots: [Option<&[u8]>; 2]) -> (Self, Option<Vec<u8>>) {
        let found = slots.into_iter().flatten().filter_map(|bytes| decode(magic, bytes));
        let newest = found.max_by_key(|(generation, _)| *generation);
        let generation = newest.map_or(0, |(generation, _)| generation);
        (Self { magic, generation }, newest.map(|(_, content)| content.to_vec()))
    }

    /// Generation in force; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Index of the slot to write next and its bytes. The state in force stays so until
    /// [`SlotPair::stored`]: after an error the same slot is written again.
    pub fn next(&self, content: &[u8]) -> (u64, Vec<u8>) {
        let generation = self.generation + 1;
        (generation % 2, encode(self.magic, generation, content))
    }

    /// The slot from [`SlotPair::next`] is durable.
    pub fn stored(&mut self) {
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 4] = *b"TEST";

    #[test]
    fn every_flipped_bit_is_detected() {
        let slot = encode(MAGIC, 7, b"content");
        assert_eq!(decode(MAGIC, &slot), Some((7, b"content".as_slice())));
        for byte in (0..64).chain((64..SLOT_LEN).step_by(97)) {
            for bit in 0..8 {
                let mut bad = slot.clone();
                bad[byte] ^= 1 << bit;
                assert_eq!(decode(MAGIC, &bad), None, "byte {byte} bit {bit}");
            }
        }
    }

    #[test]
    fn every_torn_write_leaves_the_state_before_it() {
        let (mut pair, mut slots) = (SlotPair::recover(MAGIC, [None, None]).0, [vec![], vec![]]);
        let mut before: Option<Vec<u8>> = None;
        for content in [b"one".as_slice(), b"two", b"a longer third", b"4"] {
            let (at, bytes) = pair.next(content);
            for written in 0..8 {
                let mut torn = slots.clone();
                torn[at as usize].resize(SLOT_LEN, 0);
                torn[at as usize][..written * 512].copy_from_slice(&bytes[..written * 512]);
                let (_, found) = SlotPair::recover(MAGIC, [Some(&torn[0]), Some(&torn[1])]);
                let whole = torn[at as usize] == bytes;
                assert_eq!(found.as_deref(), if whole { Some(content) } else { before.as_deref() });
            }
            slots[at as usize] = bytes;
            pair.stored();
            let (again, found) = SlotPair::recover(MAGIC, [Some(&slots[0]), Some(&slots[1])]);
            assert_eq!((again, found.as_deref()), (pair, Some(content)));
            before = found;
        }
    }
}
