//! `replicator vm-source`: taps and movers of one VM. The engine does the work; this module
//! serves the NBD sockets, keeps the key of the data connections, and takes commands from the host
//! daemon over a private unix socket. It must not know enrolment or the network's control face.

mod job_files;
mod keeper;
mod routes;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use landfall_api::{Code, Problem};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use job_files::keep_key;
pub use keeper::{Keeper, OpenKnownBy, SocketOf, engine_folder};
pub use routes::routes;

use crate::cli::VmSourceArgs;
use crate::host::nbd_socket;
use crate::local;

/// A predecessor that is just ending may hold the VM for so long.
const LOCK_TIME_MAX: Duration = Duration::from_secs(2);

/// Runs until the daemon ends it. Ending never answers a guest: its connections are hung up.
pub async fn run(args: VmSourceArgs) -> Result<(), Problem> {
    let end = End::watch()?;
    let (folder, sockets, vm) = (args.state, args.sockets, args.vm_uuid);
    let lock = lock_vm(&folder)?;
    // First, because whoever cannot be commanded must not serve a disk.
    let listener = local::listen(&args.control)?;
    let own = vm.clone();
    let socket_of: SocketOf = Box::new(move |disk| nbd_socket(&sockets, &own, disk));
    let open = move || Keeper::open(&folder, vm, socket_of, OpenKnownBy::Hypervisor);
    let keeper = crate::http::blocking(open).await?;
    let router = routes(&keeper);
    end.serve_until(listener, router, keeper).await?;
    drop(lock);
    Ok(())
}

/// The signals that end a process in order.
pub struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl End {
    /// Watches from now on, so that no signal is lost while things are opened.
    pub fn watch() -> Result<Self, Problem> {
        let on = |kind| signal(kind).map_err(|error| Problem::storage("no signal handler", &error));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    /// Returns when a signal came.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Takes commands until a signal comes, then closes the disks.
    pub async fn serve_until(
        mut self,
        listener: UnixListener,
        router: Router,
        keeper: std::sync::Arc<Keeper>,
    ) -> Result<(), Problem> {
        let serving = tokio::spawn(local::serve(listener, router));
        self.wait().await;
        tracing::info!("ending");
        serving.abort();
        crate::http::blocking(move || {
            keeper.close();
            Ok(())
        })
        .await
    }
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
