//! Fuzz targets: one function per decoder, any bytes go in, and what must hold for all of them is
//! asserted. A target must not depend on time or on what ran before it.
//!
//! `tests/replay.rs` runs the corpus and mutations of it with stable Rust; `libfuzzer/` has the
//! entry point for cargo-fuzz. See `README.md`.

mod control;
mod corpus;
mod files;
mod mutate;
mod nbd;
mod wire;

pub use corpus::{Input, corpus};
pub use mutate::Mutator;

/// One decoder under test.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name of the target and of its corpus file.
    pub name: &'static str,
    /// Runs it on any bytes; panics when a rule is broken.
    pub run: fn(&[u8]),
    /// Runs cost about so many times what decoding one frame costs: fewer of them are made.
    pub cost: u64,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "wire_header", run: wire::header, cost: 1 },
    Target { name: "wire_stream", run: wire::stream, cost: 1 },
    Target { name: "wire_hello", run: wire::hello, cost: 1 },
    Target { name: "wire_hello_ack", run: wire::hello_ack, cost: 1 },
    Target { name: "wire_have", run: wire::have, cost: 2 },
    Target { name: "wire_run", run: wire::run, cost: 1 },
    Target { name: "wire_ack", run: wire::ack, cost: 1 },
    Target { name: "wire_want", run: wire::want, cost: 1 },
    Target { name: "wire_hashes", run: wire::hashes, cost: 1 },
    Target { name: "wire_barrier", run: wire::barrier, cost: 1 },
    Target { name: "wire_barrier_ack", run: wire::barrier_ack, cost: 1 },
    Target { name: "wire_own", run: wire::own, cost: 1 },
    Target { name: "wire_own_ack", run: wire::own_ack, cost: 1 },
    Target { name: "wire_error", run: wire::error, cost: 1 },
    Target { name: "wire_batch", run: wire::batch, cost: 1 },
    Target { name: "wire_codec", run: wire::codec, cost: 20 },
    Target { name: "file_slot", run: files::slot, cost: 2 },
    Target { name: "file_have", run: files::have, cost: 10 },
    Target { name: "file_intent", run: files::intent, cost: 10 },
    Target { name: "file_tree", run: files::tree, cost: 10 },
    Target { name: "file_map", run: files::map, cost: 20 },
    Target { name: "file_super", run: files::sidecar, cost: 40 },
    Target { name: "nbd_handshake", run: nbd::handshake, cost: 40 },
    Target { name: "nbd_requests", run: nbd::requests, cost: 40 },
    Target { name: "control_bodies", run: control::bodies, cost: 4 },
];

/// The target of a name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}
