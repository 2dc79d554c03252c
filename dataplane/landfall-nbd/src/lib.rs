//! NBD server: the door through which a guest's disk traffic passes.
//! It knows the protocol and nothing of replication; the disk behind it is an [`Export`].
//! It never answers a client with an error because it is ending: it closes the socket.

mod export;

pub use export::{Export, Extent};
