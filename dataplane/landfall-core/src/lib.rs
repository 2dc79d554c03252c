//! Replication and hand-over as pure state machines: maps, in-flight table, hash tree, source
//! and receiver of a disk, sessions, ownership, throttle and readiness.
//!
//! This crate must not do I/O, read a clock or use randomness: time comes in as a number,
//! effects go out as values. What the rules I1 to I10 named in the comments mean stands in
//! `docs/protocol.md`. Start reading in `source.rs` and `receiver.rs`.

pub mod bitmap;
mod chunk_hash;
pub mod converge;
pub mod dial;
pub mod geometry;
pub mod guest;
pub mod handover;
pub mod have_pages;
pub mod inflight;
pub mod intent;
pub mod lag;
pub mod leaves;
pub mod ownership;
pub mod ready;
pub mod receiver;
pub mod scrub;
pub mod sending;
pub mod slot;
pub mod source;
pub mod throttle;
pub mod tree;
pub mod tuning;

pub use bitmap::Bitmap;
pub use geometry::{BLOCK, CHUNK, Extent, UNIT};
