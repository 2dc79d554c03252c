//! Keeps the source's hash tree close to the disk while nothing hurries, and brings it up to
//! date while a hand-over drains: then what was not sent yet is hashed too, since nothing
//! changes any more.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use landfall_core::CHUNK;
use landfall_core::handover::Phase;

use super::cutover::Cutover;
use super::disk::SourceDiskIo;
use super::job::Job;
use crate::buffers::Pool;

/// Chunks hashed per second and disk while the guest runs: 256 MiB/s at most.
const HASHES_PER_TURN: usize = 256;
const TURN: Duration = Duration::from_secs(1);

/// The job's hashing thread.
pub(super) fn run(job: &Arc<Job>, cutover: &Arc<Cutover>) {
    let mut buffer = Pool::new(1).take();
    let buf = buffer.content_mut(CHUNK as usize);
    while !job.stopped() && !cutover.done() {
        let hurries = cutover.hurries();
        let any = cutover.phase() == Phase::Draining;
        job.step_back(hurries);
        for disk in &job.disks {
            let mut from = 0;
            for _ in 0..if any { usize::MAX } else { HASHES_PER_TURN } {
                match hash_next(&disk.disk, from, any, buf) {
                    Ok(Some(leaf)) => from = leaf + 1,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "a source disk cannot be read for its hash");
                        break;
                    }
                }
            }
        }
        if any {
            job.wake_session();
        }
        job.wait(if hurries { Duration::from_millis(2) } else { TURN });
    }
}

/// Takes the hash of one quiet chunk, or of any.
pub(super) fn hash_next(
    disk: &SourceDiskIo,
    from: u64,
    any: bool,
    buf: &mut [u8],
) -> io::Result<Option<u64>> {
    let hashing = {
        let mut book = disk.book.lock().expect("book");
        let next = if any { book.tree().stale().next(from, true) } else { book.next_stale(from) };
        let Some(leaf) = next else { return Ok(None) };
        book.tree_mut().begin(leaf)
    };
    let read = hashing.read(buf, |part, off| disk.file.read_once(part, off));
    let mut book = disk.book.lock().expect("book");
    match read {
        Ok(taken) => {
            book.tree_mut().put(&taken);
            Ok(Some(hashing.leaf()))
        }
        Err(error) => {
            book.tree_mut().abandon(hashing);
            Err(error)
        }
    }
}
