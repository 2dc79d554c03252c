//! State beside the disk (`<disk>.landfall/super`), so that another host can go on with it.

use std::io;
use std::path::{Path, PathBuf};

use landfall_api::Uuid;
use landfall_core::tree::Hash;

use crate::slots::SlotFile;

/// What the disk is to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DiskPhase {
    /// The source owns it.
    #[default]
    Ours,
    /// Sealed with the token.
    HandedOff,
    /// The destination is known to own it.
    Active,
}

/// Whether a disk was handed over, as the state beside it says; a disk without state was not.
/// For whoever serves the disk when no source process can.
pub fn is_sealed(disk_path: &Path, disk: &Uuid, capacity: u64) -> bool {
    let known = Sidecar::dir(disk_path).join("super").exists();
    known
        && Sidecar::open(disk_path, disk, capacity)
            .is_ok_and(|sidecar| sidecar.state.phase != DiskPhase::Ours)
}

/// Content of the state file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SidecarState {
    pub(super) epoch: u32,
    pub(super) phase: DiskPhase,
    pub(super) token: u64,
    pub(super) root: Hash,
}

/// The state of one disk and the file it lives in.
pub(super) struct Sidecar {
    file: SlotFile,
    disk: Uuid,
    capacity: u64,
    pub(super) state: SidecarState,
}

const LEN: usize = 16 + 8 + 4 + 1 + 8 + 32;

impl Sidecar {
    /// Opens or makes it. State of another disk counts as none: somebody copied files.
    pub(super) fn open(disk_path: &Path, disk: &Uuid, capacity: u64) -> io::Result<Self> {
        let dir = Self::dir(disk_path);
        if !dir.exists() {
            std::fs::create_dir_all(&dir)?;
            crate::slots::sync_parent(&dir)?;
        }
        let (file, content) = SlotFile::open(&dir.join("super"))?;
        let mut sidecar =
            Self { file, disk: disk.clone(), capacity, state: SidecarState::default() };
        if let Some(bytes) = content {
            sidecar.load(&bytes)?;
        }
        Ok(sidecar)
    }

    /// Where the state of a disk lies.
    pub(super) fn dir(disk_path: &Path) -> PathBuf {
        let mut name = disk_path.as_os_str().to_owned();
        name.push(".landfall");
        name.into()
    }

    fn load(&mut self, bytes: &[u8]) -> io::Result<()> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "state of another version");
        if bytes.len() != LEN {
            return Err(wrong());
        }
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8"));
        if bytes[..16] != self.disk.to_bytes() || u64_at(16) != self.capacity {
            tracing::warn!(disk = %self.disk, "the state beside the disk is another disk's");
            return Ok(());
        }
        self.state = SidecarState {
            epoch: u32::from_le_bytes(bytes[24..28].try_into().expect("4")),
            phase: match bytes[28] {
                0 => DiskPhase::Ours,
                1 => DiskPhase::HandedOff,
                2 => DiskPhase::Active,
                _ => return Err(wrong()),
            },
            token: u64_at(29),
            root: bytes[37..69].try_into().expect("32"),
        };
        Ok(())
    }

    /// Makes a new state durable, then believes it.
    pub(super) fn store(&mut self, state: SidecarState) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.extend_from_slice(&self.disk.to_bytes());
        bytes.extend_from_slice(&self.capacity.to_le_bytes());
        bytes.extend_from_slice(&state.epoch.to_le_bytes());
        bytes.push(match state.phase {
            DiskPhase::Ours => 0,
            DiskPhase::HandedOff => 1,
            DiskPhase::Active => 2,
        });
        bytes.extend_from_slice(&state.token.to_le_bytes());
        bytes.extend_from_slice(&state.root);
        self.file.store(&bytes)?;
        self.state = state;
        Ok(())
    }
}
