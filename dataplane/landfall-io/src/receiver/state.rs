//! The receiver's small durable state: fence and ownership.

use std::io;
use std::path::Path;

use landfall_core::ownership::Ownership;
use landfall_core::receiver::Fence;

use crate::slots::SlotFile;

/// State with the file it lives in.
pub(super) struct StateFile {
    file: SlotFile,
    /// Session numbers live in memory only: a new process forgets them with its connections.
    pub(super) fence: Fence,
    pub(super) ownership: Ownership,
}

impl StateFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (file, content) = SlotFile::open(path)?;
        let mut state = Self { file, fence: Fence::default(), ownership: Ownership::None };
        match content.as_deref() {
            None => {}
            Some(bytes) if bytes.len() == 21 => {
                let u64_at =
                    |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8"));
                state.fence.epoch = u32::from_le_bytes(bytes[0..4].try_into().expect("4"));
                state.fence.generation = u64_at(4);
                let token = u64_at(12);
                state.ownership = match bytes[20] {
                    1 => Ownership::Prepared(token),
                    2 => Ownership::Active(token),
                    3 => Ownership::Fenced(token),
                    _ => Ownership::None,
                };
            }
            Some(_) => return Err(io::Error::other("state of another version")),
        }
        Ok(state)
    }

    /// Makes a new ownership durable, then believes it.
    pub(super) fn own(&mut self, ownership: Ownership) -> io::Result<()> {
        self.store(ownership)?;
        self.ownership = ownership;
        Ok(())
    }

    /// Makes the fence durable.
    pub(super) fn save(&mut self) -> io::Result<()> {
        self.store(self.ownership)
    }

    fn store(&mut self, ownership: Ownership) -> io::Result<()> {
        let mut bytes = self.fence.epoch.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.fence.generation.to_le_bytes());
        bytes.extend_from_slice(&ownership.token().to_le_bytes());
        bytes.push(match ownership {
            Ownership::None => 0,
            Ownership::Prepared(_) => 1,
            Ownership::Active(_) => 2,
            Ownership::Fenced(_) => 3,
        });
        self.file.store(&bytes)
    }
}
