//! Notices disks that were written while no source ran: what they looked like when one ended in
//! order is kept, and looked at when the next begins. After a kill nothing is kept, and nothing
//! can be noticed; then a person has to say so.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use landfall_api::Problem;

use super::disks::HeldDisk;
use crate::durable;

fn file(state: &Path) -> PathBuf {
    state.join("closed.json")
}

/// Which file it is and when it was written last.
fn look(disk: &HeldDisk) -> Result<String, Problem> {
    let meta = disk.file.metadata();
    let meta = meta.map_err(|error| Problem::storage(disk.path.display(), &error))?;
    let (device, inode) = (meta.dev(), meta.ino());
    Ok(format!("{device} {inode} {} {}", meta.mtime(), meta.mtime_nsec()))
}

/// A source ended in order: its taps are gone, and everything is on the disks.
pub fn closed(state: &Path, disks: &[HeldDisk]) -> Result<(), Problem> {
    let looks: Vec<String> = disks.iter().map(look).collect::<Result<_, _>>()?;
    durable::write_json(&file(state), &looks)
}

/// Indices of the disks that changed since a source ended in order.
pub fn changed(state: &Path, disks: &[HeldDisk]) -> Result<Vec<usize>, Problem> {
    let kept: Option<Vec<String>> = durable::read_json(&file(state))?;
    let mut changed = Vec::new();
    for (at, before) in kept.unwrap_or_default().iter().enumerate().take(disks.len()) {
        if *before != look(&disks[at])? {
            changed.push(at);
        }
    }
    Ok(changed)
}

/// From here on they may be written through the tap. Not before what changed is durably noted:
/// whoever dies between compares once more than needed.
pub fn forget(state: &Path) -> Result<(), Problem> {
    durable::remove(&file(state))
}
