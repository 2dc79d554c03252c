//! The source of one VM: the taps of its disks and the job that replicates them.
//!
//! `vm.rs` is the way in, with `attachments.rs` and `jobs.rs`; `disk.rs` holds the tap,
//! `intent_log.rs` and `take_over.rs` what outlives the process, `job.rs` what a job knows,
//! `session.rs` its connections, `lanes.rs` when what is sent on them, `extents.rs` how,
//! `answers.rs` what comes back, `cutover.rs` the hand-over.

mod absent;
mod answers;
mod attachments;
mod barrier;
mod batch;
mod book;
mod bottleneck;
mod bulk;
mod compare;
mod cutover;
mod disk;
mod disk_fault;
mod extents;
mod freeze;
mod growth;
mod handshake;
mod hashing;
mod hold;
mod intent_log;
mod job;
mod jobs;
mod kept;
mod lanes;
mod map_file;
mod metrics;
mod pace;
mod packing;
mod repair;
mod reread;
mod restore;
mod scrub;
mod scrub_room;
mod seal;
mod session;
mod sidecar;
mod snapshot;
mod status;
mod take_over;
mod together;
mod upkeep;
mod vm;
mod watch;

pub use kept::{Kept, KeptDisk};
pub use map_file::read_map;
pub use sidecar::{forsake, is_sealed};
pub use vm::SourceVm;
