//! `replicator source`: taps and movers of one VM. The engine does the work; this module
//! serves the NBD sockets, keeps the key of the data connections, and takes commands from the host
//! daemon over a private unix socket. It must not know enrolment or the network's control face.

mod job_files;
mod keeper;
mod routes;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use landfall_api::{Code, Problem};
use tokio::signal::unix::{SignalKind, signal};

pub use keeper::engine_folder;

use crate::cli::SourceArgs;
use crate::local;
use keeper::Keeper;

/// A predecessor that is just ending may hold the VM for so long.
const LOCK_TIME_MAX: Duration = Duration::from_secs(2);

/// Runs until the daemon ends it. Ending never answers a guest: its connections are hung up.
pub async fn run(args: SourceArgs) -> Result<(), Problem> {
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| Problem::storage("no signal handler", &error))?;
    let (folder, sockets, vm) = (args.state, args.sockets, args.vm_uuid);
    let lock = lock_vm(&folder)?;
    // First, because whoever cannot be commanded must not serve a disk.
    let listener = local::listen(&args.control)?;
    let keeper = crate::http::blocking(move || Keeper::open(&folder, &sockets, vm)).await?;
    let serving = tokio::spawn(local::serve(listener, routes::routes(&keeper)));
    terminate.recv().await;
    tracing::info!("ending");
    serving.abort();
    crate::http::blocking(move || {
        keeper.close();
        Ok(())
    })
    .await?;
    drop(lock);
    Ok(())
}

/// Only one process serves the disks of a VM. The lock ends with the process that holds it.
pub fn lock_vm(folder: &Path) -> Result<File, Problem> {
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| Problem::storage("the VM's lock", &error))?;
    let begin = Instant::now();
    loop {
        // SAFETY: a plain system call on a descriptor we own.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(file);
        }
        if begin.elapsed() >= LOCK_TIME_MAX {
            let what = "another process serves the disks of this VM";
            return Err(Problem::new(Code::SourceUnavailable, what));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
