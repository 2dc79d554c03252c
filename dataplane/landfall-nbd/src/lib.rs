//! NBD server: the door through which a guest's disk traffic passes.
//! It knows the protocol and nothing of replication; the disk behind it is an [`Export`].
//! It never answers a client with an error because it is ending: it closes the socket.
//! Start reading in `server.rs`.

mod caller;
mod connection;
mod export;
mod file;
mod handshake;
mod input;
mod line;
mod output;
#[allow(missing_docs)]
mod protocol;
mod recent;
mod server;

pub use caller::{about_to_wait, answer_after};
pub use export::{Export, Extent};
pub use file::{FileExport, read_cached, read_soon};
pub use server::{Server, serve_stream};
