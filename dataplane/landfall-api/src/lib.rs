//! Types of the replicator's control API: what host daemon, source process, receiver and
//! control plane say to each other in JSON, and the OpenAPI document made from them.
//!
//! This crate must not do I/O and must not know how a request is carried out.
//! Start reading in `job.rs`; `document.rs` lists every route.

pub mod agent;
pub mod catalogue;
pub mod document;
pub mod host;
pub mod ids;
pub mod job;
pub mod metrics;
pub mod problem;
pub mod receiver;
pub mod stages;
pub mod verify;

pub use agent::*;
pub use host::*;
pub use ids::{ByteCount, Id, Uuid};
pub use job::*;
pub use problem::{Code, Problem, Retry};
pub use receiver::*;
pub use stages::*;
pub use verify::*;
