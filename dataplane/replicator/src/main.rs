//! The `replicator` program: the data plane of Landfall in one static binary.
//! This file is the command line only; each command lives in its own module.

mod agent;
mod by_hand;
mod cli;
mod durable;
mod host;
mod http;
mod listener;
mod local;
mod logging;
mod receipt;
mod receiver;
mod source;
mod streams;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
