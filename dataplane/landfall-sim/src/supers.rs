//! Content of the two kinds of `super`, in real slots on a simulated state file.

use landfall_core::ownership::Ownership;
use landfall_core::receiver::Fence;
use landfall_core::slot::{SLOT_LEN, SlotPair};
use landfall_core::tree::Hash;

use crate::store::StateFile;

const MAGIC: [u8; 4] = *b"LFS1";

/// What the state beside a source disk says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceSuper {
    pub(crate) epoch: u32,
    /// 0 ours, 1 handed off, 2 active.
    pub(crate) phase: u8,
    pub(crate) token: u64,
    pub(crate) root: Hash,
    /// Of the write-intent log; 0 before the first.
    pub(crate) lineage: u64,
}

impl SourceSuper {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.epoch.to_le_bytes().to_vec();
        bytes.push(self.phase);
        bytes.extend_from_slice(&self.token.to_le_bytes());
        bytes.extend_from_slice(&self.root);
        bytes.extend_from_slice(&self.lineage.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8"));
        Self {
            epoch: u32::from_le_bytes(bytes[0..4].try_into().expect("4")),
            phase: bytes[4],
            token: u64_at(5),
            root: bytes[13..45].try_into().expect("32"),
            lineage: u64_at(45),
        }
    }
}

/// The receiver's fence and ownership.
pub(crate) fn encode_receiver(fence: Fence, ownership: Ownership) -> Vec<u8> {
    let mut bytes = fence.epoch.to_le_bytes().to_vec();
    bytes.extend_from_slice(&fence.generation.to_le_bytes());
    bytes.extend_from_slice(&ownership.token().to_le_bytes());
    bytes.push(match ownership {
        Ownership::None => 0,
        Ownership::Prepared(_) => 1,
        Ownership::Active(_) => 2,
        Ownership::Fenced(_) => 3,
    });
    bytes
}

pub(crate) fn decode_receiver(bytes: &[u8]) -> (Fence, Ownership) {
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8"));
    let token = u64_at(12);
    let epoch = u32::from_le_bytes(bytes[0..4].try_into().expect("4"));
    let ownership = match bytes[20] {
        1 => Ownership::Prepared(token),
        2 => Ownership::Active(token),
        3 => Ownership::Fenced(token),
        _ => Ownership::None,
    };
    (Fence { generation: u64_at(4), epoch, session: 0 }, ownership)
}

/// What a process finds in a state file.
pub(crate) fn recover(file: &StateFile) -> (SlotPair, Option<Vec<u8>>) {
    let slots = [0, SLOT_LEN as u64].map(|off| file.read_at(off, SLOT_LEN));
    SlotPair::recover(MAGIC, [Some(&slots[0]), Some(&slots[1])])
}

/// What is found after a power loss that takes everything it may.
pub(crate) fn recover_durable(file: &StateFile) -> Option<Vec<u8>> {
    let slots = [0, SLOT_LEN as u64].map(|off| file.durable_at(off, SLOT_LEN));
    SlotPair::recover(MAGIC, [Some(&slots[0]), Some(&slots[1])]).1
}

/// Writes the next version into the cache.
pub(crate) fn write_next(file: &mut StateFile, pair: &SlotPair, content: &[u8]) {
    let (slot, bytes) = pair.next(content);
    file.write_at(slot * SLOT_LEN as u64, &bytes);
}
