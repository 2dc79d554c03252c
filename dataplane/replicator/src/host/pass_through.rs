//! The last resort: serves a VM's disks on their sockets without any tracking. What is written
//! meanwhile is unknown to the maps, which a durable mark says first.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use landfall_api::{Code, Problem, Uuid};
use landfall_io::Kept;
use landfall_nbd::{FileExport, Server};

use super::places::nbd_socket;
use crate::durable;
use crate::source::{engine_folder, lock_vm};

const MARK: &str = "untracked";

/// Servers of a VM's disks; they hang up when this is dropped.
pub struct PassThrough {
    _servers: Vec<Server>,
    /// Held last: no source starts while a server runs.
    _lock: File,
}

impl PassThrough {
    /// Serves every disk that may be written. Fails when a source process runs. What is written is
    /// told in the VM's folder and beside each disk; if neither can be written the guest goes on all
    /// the same.
    pub fn start(vm_folder: &Path, sockets: &Path, vm: &Uuid) -> Result<Self, Problem> {
        let lock = lock_vm(vm_folder)?;
        if let Err(problem) = durable::write(&vm_folder.join(MARK), b"") {
            tracing::error!(%vm, "{}", problem.detail);
        }
        let mut servers = Vec::new();
        for disk in Kept::load(&engine_folder(vm_folder))?.disks {
            let capacity = disk.capacity.0;
            if landfall_io::is_sealed(&disk.path, &disk.uuid, capacity) {
                continue;
            }
            forsake(&disk.path, &disk.uuid, capacity);
            let socket = nbd_socket(sockets, vm, &disk.uuid);
            let served = FileExport::open(&disk.path, capacity)
                .and_then(|export| Server::start(&socket, Arc::new(export)));
            match served {
                Ok(server) => servers.push(server),
                Err(error) => {
                    tracing::error!(disk = %disk.uuid, %error, "a disk cannot be served");
                }
            }
        }
        if servers.is_empty() {
            return Err(Problem::new(Code::StorageFailed, "no disk can be served"));
        }
        Ok(Self { _servers: servers, _lock: lock })
    }

    /// If writes went past the maps since the last source process, whoever takes the disks over now
    /// believes nothing.
    pub fn forsake_marked(vm_folder: &Path) -> Result<(), Problem> {
        if Self::is_marked(vm_folder) {
            for disk in Kept::load(&engine_folder(vm_folder))?.disks {
                forsake(&disk.path, &disk.uuid, disk.capacity.0);
            }
        }
        Ok(())
    }

    /// Whether writes went past the maps since the last source process.
    pub fn is_marked(vm_folder: &Path) -> bool {
        vm_folder.join(MARK).exists()
    }

    /// Takes the mark away: everything is going to be compared.
    pub fn unmark(vm_folder: &Path) -> Result<(), Problem> {
        durable::remove(&vm_folder.join(MARK))
    }
}

/// The state beside the disk says from now on that nothing is known, also to other hosts.
fn forsake(path: &Path, disk: &Uuid, capacity: u64) {
    if let Err(error) = landfall_io::forsake(path, disk, capacity) {
        tracing::error!(%disk, %error, "the state beside the disk cannot be written");
    }
}
