//! Frame codec of the wire protocol `mig/1`, encoded and decoded by hand.
//!
//! This crate must not do I/O or decide anything, and keeps no state but a codec's memory: it turns bytes into checked
//! values and back. Every length is checked before memory is reserved for it.
//! Start reading in `header.rs`; `messages.rs` and `hello.rs` hold the payloads.

mod batch;
mod bytes;
mod codec;
mod error;
mod have;
mod header;
mod hello;
mod messages;

pub use batch::{BATCH_ENTRY_LEN, BATCH_EXTENTS_MAX, BatchList};
pub use codec::{Codec, Packer, Unpacker, packed_len_max};
pub use error::WireError;
pub use have::{HAVE_UNITS_PER_FRAME, HavePage};
pub use header::{
    ALIGNMENT, HEADER_LEN, Header, PAYLOAD_LEN_MAX, RAW_LEN_MAX, flags, frame_bytes, kind,
};
pub use hello::{DISKS_MAX, Hello, HelloAck, HelloDisk, Lane, PeerOwnership, features, negotiate};
pub use messages::{
    Ack, Barrier, BarrierAck, DiskRoot, ErrorCode, ErrorMessage, HASHES_MAX, HashKind, Hashes, Own,
    OwnAck, REREAD_PARTS_MAX, Run, Want,
};

/// ALPN name of the data connections.
pub const ALPN: &[u8] = b"mig/1";
/// Lowest protocol version spoken here.
pub const PROTOCOL_MIN: u16 = 1;
/// Highest protocol version spoken here.
pub const PROTOCOL_MAX: u16 = 1;
