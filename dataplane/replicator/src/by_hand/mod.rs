//! Commands that people give without any control plane: `receiver --disk`, `source`, `tap`,
//! `ctl`. They are wiring only: taps, movers, receiver and routes are those of production.
//!
//! `pair.rs` makes the certificates both sides know each other by, `disks.rs` looks at what the
//! user named and locks it, `source.rs`, `receiver.rs` and `tap.rs` run, `ctl.rs` commands.

mod args;
mod ctl;
mod disks;
mod image_lock;
mod pair;
mod past;
mod receiver;
mod source;
mod tap;
mod verify;

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use landfall_api::metrics::Metrics;
use landfall_api::{Code, Problem};
use tokio::net::TcpListener;

use crate::streams;

pub use args::{
    ByteSize, CtlArgs, SourceArgs, TapArgs, VerifyArgs, metrics_address, numeric_address,
    parse_byte_size,
};
pub use ctl::run as run_ctl;
pub use receiver::{ByHand as ReceiverByHand, run as run_receiver};
pub use source::run as run_source;
pub use tap::run as run_tap;
pub use verify::run as run_verify;

/// The kernel's limit for the path of a unix socket.
const SOCKET_PATH_MAX: usize = 107;

/// A refusal with a remedy for somebody at a terminal.
fn trouble(code: Code, detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { remedy: remedy.into(), ..Problem::new(code, detail) }
}

/// The path as others may use it too, whatever their working folder is. The file need not exist.
fn absolute(path: &Path) -> Result<PathBuf, Problem> {
    std::path::absolute(path)
        .map_err(|error| Problem::storage(format_args!("the path {}", path.display()), &error))
}

/// Whether a socket can be made at `path`: short enough, in a folder that exists, not served by
/// a living process. A stale socket there does not matter.
fn check_socket(path: &Path) -> Result<(), Problem> {
    let shown = path.display();
    let refuse = |detail: String, remedy: &str| Err(trouble(Code::BadRequest, detail, remedy));
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        return refuse(
            format!(
                "the socket path {shown} has {length} bytes; the kernel takes {SOCKET_PATH_MAX}"
            ),
            "Give a shorter path, for example below /run or /tmp.",
        );
    }
    if !path.parent().is_some_and(Path::is_dir) {
        return refuse(
            format!("the folder of the socket {shown} is not there"),
            "Make the folder first, or give another path.",
        );
    }
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()) => {
            refuse(format!("{shown} is there and is no socket"), "Give a path that is free.")
        }
        Ok(_) if UnixStream::connect(path).is_ok() => refuse(
            format!("another process serves the socket {shown}"),
            "End that process, or give another path.",
        ),
        _ => Ok(()),
    }
}

/// Listens on `address`, which may have port 0.
async fn listen(address: SocketAddr, option: &str) -> Result<TcpListener, Problem> {
    TcpListener::bind(address).await.map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "Another process listens there: end it, or give another port (0 takes a free one)."
            }
            std::io::ErrorKind::AddrNotAvailable => {
                "Give an address of this host, or 0.0.0.0 for all of them."
            }
            _ => "Give another address or port.",
        };
        let detail = format!("{option} {address} cannot be listened on: {error}");
        trouble(Code::BadRequest, detail, remedy)
    })
}

/// Serves metrics if that was asked for; where is the answer.
async fn serve_metrics(
    address: Option<SocketAddr>,
    role: &'static str,
    metrics: impl Fn() -> Metrics + Clone + Send + Sync + 'static,
) -> Result<Option<SocketAddr>, Problem> {
    let Some(address) = address else { return Ok(None) };
    let listener = listen(address, "--metrics").await?;
    let bound = listener.local_addr().map_err(|error| Problem::storage("--metrics", &error))?;
    streams::serve_metrics(listener, role, metrics);
    Ok(Some(bound))
}

/// One line of JSON on standard output, for whoever started this process.
fn say(line: &serde_json::Value) {
    println!("{line}");
}
