//! Where things lie in a host's state folder. Unix socket paths are limited to 107 bytes by the
//! kernel, so sockets have short names, and a short folder of their own if need be.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use landfall_api::{Code, Problem, Uuid};

use crate::durable;

const SOCKET_PATH_MAX: usize = 107;
/// `/`, 16 digits, extension.
const SOCKET_NAME_LEN: usize = 1 + 16 + 4;

/// Folders of a host.
#[derive(Clone, Debug)]
pub struct Places {
    /// State folder.
    pub state: PathBuf,
    /// Folder of the sockets.
    pub sockets: PathBuf,
}

impl Places {
    /// Makes the folders.
    pub fn prepare(state: &Path) -> Result<Self, Problem> {
        durable::make_folder(&state.join("vms"))?;
        let state = std::fs::canonicalize(state)
            .map_err(|error| Problem::storage("the state folder", &error))?;
        let mut sockets = state.join("sockets");
        if sockets.as_os_str().len() + SOCKET_NAME_LEN > SOCKET_PATH_MAX {
            let name = short_name(&[state.to_string_lossy().as_ref()]);
            sockets = std::env::temp_dir().join(format!("landfall-{name}"));
        }
        durable::make_folder(&sockets)?;
        let meta = std::fs::symlink_metadata(&sockets)
            .map_err(|error| Problem::storage("the folder of the sockets", &error))?;
        // SAFETY: a plain system call without arguments.
        let ours = meta.uid() == unsafe { libc::geteuid() } && meta.mode() & 0o077 == 0;
        if !ours || !meta.is_dir() {
            let what = format!("{} belongs to somebody else", sockets.display());
            return Err(Problem::new(Code::StorageFailed, what));
        }
        Ok(Self { state, sockets })
    }

    /// Folder of a VM.
    pub fn vm(&self, vm: &Uuid) -> PathBuf {
        self.state.join("vms").join(vm.as_str())
    }

    /// Socket by which a VM's source process is commanded.
    pub fn control_socket(&self, vm: &Uuid) -> PathBuf {
        self.sockets.join(format!("{}.ctl", short_name(&[vm.as_str()])))
    }
}

/// Socket of a disk within the folder of the sockets.
pub fn nbd_socket(sockets: &Path, vm: &Uuid, disk: &Uuid) -> PathBuf {
    sockets.join(format!("{}.nbd", short_name(&[vm.as_str(), disk.as_str()])))
}

fn short_name(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_a_deep_state_folder_still_fit() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("x".repeat(120));
        let places = Places::prepare(&deep).unwrap();
        let uuid = Uuid::from_bytes([7; 16]);
        for path in [places.control_socket(&uuid), nbd_socket(&places.sockets, &uuid, &uuid)] {
            assert!(path.as_os_str().len() <= SOCKET_PATH_MAX, "{}", path.display());
        }
        std::fs::remove_dir_all(&places.sockets).unwrap();
    }
}
