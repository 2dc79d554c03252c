//! Serves a file over NBD without any tracking: for measuring the server by itself.
//! `cargo run --release -p landfall-nbd --example serve -- FILE SOCKET`; ends with its input.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use landfall_nbd::{FileExport, Server};

fn main() -> std::io::Result<()> {
    let usage = || std::io::Error::other("usage: serve FILE SOCKET");
    let mut words = std::env::args().skip(1);
    let (file, socket) = (words.next().ok_or_else(usage)?, words.next().ok_or_else(usage)?);
    let size = std::fs::metadata(&file)?.len();
    let export = FileExport::open(Path::new(&file), size)?;
    let _server = Server::start(Path::new(&socket), Arc::new(export))?;
    println!("{socket}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
