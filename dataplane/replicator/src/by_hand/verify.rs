//! `replicator verify`: reads both sides again and says whether they are equal. Of a running
//! replication the source does it; two disks of this host are read here. Nothing is written.

use std::path::Path;
use std::process::ExitCode;

use landfall_api::{ByteCount, Code, Problem};
use serde::Serialize;

use super::args::VerifyArgs;
use super::{ctl, image_lock, trouble};
use crate::http::blocking;
use crate::receipt::disk_root::{Leaves, Root};

/// So many differing chunks are named; the rest is counted.
const DIFFERENCES_MAX: usize = 1000;

/// What two disks are to each other.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Comparison {
    verdict: &'static str,
    capacity_bytes: ByteCount,
    disks: [Side; 2],
    differing_chunks: u64,
    differences: Vec<Difference>,
}

#[derive(Serialize)]
struct Side {
    path: String,
    root: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    offset_bytes: ByteCount,
    length_bytes: ByteCount,
    hashes: [String; 2],
}

/// Exit status 0 only when both sides are equal.
pub async fn run(args: VerifyArgs) -> Result<ExitCode, Problem> {
    if let Some(control) = &args.control {
        return ctl::verify(control).await.map(|()| ExitCode::SUCCESS);
    }
    let (Some(disk), Some(against)) = (args.disk, args.against) else {
        return Err(Problem::bad_request("--control, or --disk with --against"));
    };
    let comparison = blocking(move || compare(&disk, &against)).await?;
    println!("{}", serde_json::to_string(&comparison).unwrap_or_default());
    let equal = comparison.differing_chunks == 0;
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn open(path: &Path) -> Result<Leaves, Problem> {
    let shown = path.display();
    let leaves = Leaves::open(path).map_err(|error| {
        let what = format!("{shown} cannot be read: {error}");
        trouble(Code::StorageFailed, what, "Give the path of a raw image or block device.")
    })?;
    if image_lock::is_written(leaves.file()).unwrap_or(false) {
        return Err(trouble(
            Code::BadRequest,
            format!("{shown} is in use by a process that may write to it"),
            "End that process first; a running replication is verified with --control.",
        ));
    }
    Ok(leaves)
}

fn compare(disk: &Path, against: &Path) -> Result<Comparison, Problem> {
    let (mut ours, mut theirs) = (open(disk)?, open(against)?);
    let capacity = ours.capacity;
    if capacity != theirs.capacity {
        return Err(trouble(
            Code::BadRequest,
            format!(
                "{} has {capacity} bytes and {} has {}",
                disk.display(),
                against.display(),
                theirs.capacity
            ),
            "Only disks of the same capacity can be equal.",
        ));
    }
    let failed = |path: &Path, error| Problem::storage(path.display(), &error);
    let (mut our_root, mut their_root) = (Root::default(), Root::default());
    let (mut differing, mut differences) = (0, Vec::new());
    while let (Some(our), Some(their)) = (ours.next(), theirs.next()) {
        let our = our.map_err(|error| failed(disk, error))?;
        let their = their.map_err(|error| failed(against, error))?;
        our_root.add(&our);
        their_root.add(&their);
        if our.hash != their.hash {
            differing += 1;
            if differences.len() < DIFFERENCES_MAX {
                differences.push(Difference {
                    offset_bytes: ByteCount(our.off),
                    length_bytes: ByteCount(our.len),
                    hashes: [our.hash.to_hex().to_string(), their.hash.to_hex().to_string()],
                });
            }
        }
    }
    let side = |path: &Path, root: Root| Side {
        path: path.display().to_string(),
        root: root.finish(capacity),
    };
    Ok(Comparison {
        verdict: if differing == 0 { "equal" } else { "different" },
        capacity_bytes: ByteCount(capacity),
        disks: [side(disk, our_root), side(against, their_root)],
        differing_chunks: differing,
        differences,
    })
}
