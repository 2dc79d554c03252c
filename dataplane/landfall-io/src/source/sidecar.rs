//! State beside the disk (`<disk>.landfall/`), so that another host can go on with it: the super,
//! the write-intent log, the map of a clean close, and the lock of whoever serves the disk.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use landfall_api::Uuid;
use landfall_core::slot::{self, SLOT_LEN};
use landfall_core::tree::Hash;

use crate::slots::SlotFile;

/// Whoever served the disk before may be ending for so long.
const LOCK_TIME_MAX: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// UUID of the destination disk that tracking refers to.
pub(super) type Base = [u8; 16];
/// Nobody tracks: writes are not noted.
pub(super) const NO_BASE: Base = [0; 16];

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

/// Says durably that the disk is written past the tap from now on: whoever tracks it next
/// believes nothing. Nothing happens where nobody tracked. For whoever serves the disk when no
/// source process can.
pub fn forsake(disk_path: &Path, disk: &Uuid, capacity: u64) -> io::Result<()> {
    if !Sidecar::dir(disk_path).join("super").exists() {
        return Ok(());
    }
    let mut sidecar = Sidecar::open(disk_path, disk, capacity)?;
    match sidecar.state.base {
        NO_BASE => Ok(()),
        base => sidecar.begin_lineage(base, sidecar.state.inode),
    }
}

/// Content of the super.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SidecarState {
    pub(super) epoch: u32,
    pub(super) phase: DiskPhase,
    pub(super) token: u64,
    pub(super) root: Hash,
    pub(super) base: Base,
    /// Pages of the write-intent log count only if they name it.
    pub(super) lineage: u64,
    /// Serial of the map that was left by a clean close; 0 without one.
    pub(super) clean: u64,
    /// File of the disk when the lineage began.
    pub(super) inode: u64,
}

/// The state of one disk and the file it lives in.
pub(super) struct Sidecar {
    file: SlotFile,
    dir: PathBuf,
    disk: Uuid,
    capacity: u64,
    /// Held while the disk is served: the lock ends with the process.
    lock: Option<File>,
    /// One slot of the super is damaged: it may have held a loss of trust.
    pub(super) doubtful: bool,
    pub(super) state: SidecarState,
}

/// Length before the write-intent log came: such a super trusts nothing.
const LEN_BEFORE: usize = 16 + 8 + 4 + 1 + 8 + 32;
const LEN: usize = LEN_BEFORE + 16 + 8 + 8 + 8;

impl Sidecar {
    /// Opens or makes it. State of another disk counts as none: somebody copied files.
    pub(super) fn open(disk_path: &Path, disk: &Uuid, capacity: u64) -> io::Result<Self> {
        let dir = Self::dir(disk_path);
        if !dir.exists() {
            std::fs::create_dir_all(&dir)?;
            crate::storage::sync_parent(&dir)?;
        }
        let path = dir.join("super");
        let (file, content) = SlotFile::open(&path)?;
        let damaged = |slot: &[u8]| {
            slot.iter().any(|byte| *byte != 0) && slot::decode(*b"LFS1", slot).is_none()
        };
        let doubtful = std::fs::read(&path)?.chunks(SLOT_LEN).any(damaged);
        let state = SidecarState::default();
        let mut sidecar =
            Self { file, dir, disk: disk.clone(), capacity, lock: None, doubtful, state };
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

    /// A file of the sidecar.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Keeps other processes, of this host or another that shares the file system, from serving the
    /// disk too. False if one does. File systems without locks count as free.
    pub(super) fn lock(&mut self) -> io::Result<bool> {
        let file =
            File::options().create(true).truncate(false).write(true).open(self.path("lock"))?;
        let begin = Instant::now();
        loop {
            // SAFETY: a plain system call on a descriptor we own.
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
                self.lock = Some(file);
                return Ok(true);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ENOLCK | libc::ENOSYS | libc::EOPNOTSUPP) => return Ok(true),
                Some(libc::EWOULDBLOCK | libc::EINTR) if begin.elapsed() < LOCK_TIME_MAX => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Some(libc::EWOULDBLOCK) => return Ok(false),
                _ => return Err(error),
            }
        }
    }

    /// Others may serve the disk.
    pub(super) fn unlock(&mut self) {
        self.lock = None;
    }

    fn load(&mut self, bytes: &[u8]) -> io::Result<()> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "state of another version");
        if bytes.len() != LEN && bytes.len() != LEN_BEFORE {
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
            ..SidecarState::default()
        };
        if bytes.len() == LEN {
            self.state.base = bytes[69..85].try_into().expect("16");
            self.state.lineage = u64_at(85);
            self.state.clean = u64_at(93);
            self.state.inode = u64_at(101);
        }
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
        bytes.extend_from_slice(&state.base);
        bytes.extend_from_slice(&state.lineage.to_le_bytes());
        bytes.extend_from_slice(&state.clean.to_le_bytes());
        bytes.extend_from_slice(&state.inode.to_le_bytes());
        self.file.store(&bytes)?;
        self.state = state;
        self.doubtful = false;
        Ok(())
    }

    /// Tracking begins anew for `base`, with nothing known: no page of the log counts any more,
    /// and no map. Lineages come from the clock, so that a super that was lost does not wake up
    /// old pages. After an error it is believed all the same: the next state that can be stored
    /// says so.
    pub(super) fn begin_lineage(&mut self, base: Base, inode: u64) -> io::Result<()> {
        let lineage = fresh_number().max(self.state.lineage + 1);
        self.state = SidecarState { base, lineage, inode, clean: 0, ..self.state };
        self.store(self.state)
    }
}

/// Never 0, and never given before.
pub(super) fn fresh_number() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64 | 1
}
