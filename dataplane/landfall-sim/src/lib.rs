//! Deterministic simulation of a source, a receiver, the network between them and their disks,
//! driven by a seed. It runs the real machines and state formats of `landfall-core`; threads,
//! sockets and files are replaced by steps that a scheduler interleaves.
//!
//! It must not read a clock or use any randomness but the seed's. Start reading in `run.rs`
//! and `world.rs`; what it checks stands in `oracle.rs`.

mod control;
mod guest;
mod intents;
mod net;
mod oracle;
mod random;
mod receiver;
mod receiver_flush;
mod receiver_tasks;
mod rules;
mod run;
mod scrub;
mod source;
mod source_lanes;
mod store;
mod supers;
mod world;

pub use rules::Rule;
pub use run::{Outcome, run};
