//! One VM of the host: its source process is kept alive, and when that is impossible its disks
//! are served without tracking, because the guest must go on.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::Method;
use landfall_api::{AttachedDisk, AttachedVm, Code, Problem, Uuid};
use landfall_io::Kept;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};

use super::pass_through::PassThrough;
use super::places::{Places, nbd_socket};
use crate::local;
use crate::source::engine_folder;

/// A source that was up for so long counts as a success.
const STEADY: Duration = Duration::from_secs(5);
/// Without success for so long, the disks are served without tracking.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long they are before a source is tried again.
const PASS_THROUGH_TIME: Duration = Duration::from_secs(30);
const START_TIME_MAX: Duration = Duration::from_secs(5);
const HEALTH_EVERY: Duration = Duration::from_secs(2);
const HEALTH_PATIENCE: Duration = Duration::from_secs(5);
/// Unanswered health questions after which a source is ended by force.
const SILENCES_MAX: u32 = 3;
const LOG_BYTES_MAX: u64 = 4 << 20;

/// How the disks are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Not now; a source is being started.
    Starting,
    /// By a source process.
    Source,
    /// Without tracking.
    PassThrough,
}

/// A VM with at least one attached disk.
pub struct Vm {
    /// The VM.
    pub uuid: Uuid,
    folder: PathBuf,
    control: PathBuf,
    sockets: PathBuf,
    service: watch::Sender<Service>,
    ended: AtomicBool,
    end: Notify,
}

impl Vm {
    /// Begins to keep its source alive. One that runs already is adopted.
    pub fn start(places: &Places, uuid: Uuid) -> Arc<Self> {
        let vm = Arc::new(Self {
            folder: places.vm(&uuid),
            control: places.control_socket(&uuid),
            sockets: places.sockets.clone(),
            uuid,
            service: watch::Sender::new(Service::Starting),
            ended: AtomicBool::new(false),
            end: Notify::new(),
        });
        tokio::spawn(supervise(Arc::clone(&vm)));
        vm
    }

    /// Its source's socket.
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// Waits until its disks are served in some way.
    pub async fn served(&self, patience: Duration) -> Result<Service, Problem> {
        let mut service = self.service.subscribe();
        let served = service.wait_for(|service| *service != Service::Starting);
        match tokio::time::timeout(patience, served).await {
            Ok(Ok(service)) => Ok(*service),
            _ => Err(Problem::new(Code::SourceUnavailable, "the source process does not start")),
        }
    }

    /// How its disks are served now.
    pub fn service(&self) -> Service {
        *self.service.borrow()
    }

    /// What is attached, also while no source answers.
    pub async fn attachments(&self) -> Result<AttachedVm, Problem> {
        let asked = local::ask_json(
            &self.control,
            Method::GET,
            "/v1/attachments",
            Bytes::new(),
            HEALTH_PATIENCE,
        );
        match asked.await {
            Ok(view) => Ok(view),
            Err(_) => self.kept_attachments(),
        }
    }

    fn kept_attachments(&self) -> Result<AttachedVm, Problem> {
        let kept = self.kept()?;
        let untracked = PassThrough::is_marked(&self.folder);
        let disks = kept.disks.into_iter().map(|disk| AttachedDisk {
            disk_uuid: disk.uuid,
            path: disk.path.to_string_lossy().into_owned(),
            capacity_bytes: disk.capacity,
            attached: false,
            untracked,
        });
        Ok(AttachedVm { vm_uuid: self.uuid.clone(), open: kept.open, disks: disks.collect() })
    }

    /// What its source keeps on disk.
    pub fn kept(&self) -> Result<Kept, Problem> {
        Kept::load(&engine_folder(&self.folder))
    }

    /// Changes that, while no source runs.
    pub fn store(&self, kept: &Kept) -> Result<(), Problem> {
        kept.store(&engine_folder(&self.folder))
    }

    /// Where the hypervisor finds a disk.
    pub fn nbd_socket(&self, disk: &Uuid) -> PathBuf {
        nbd_socket(&self.sockets, &self.uuid, disk)
    }

    /// Whoever hears true ends it with [`Vm::stop`].
    pub fn begin_end(&self) -> bool {
        !self.ended.swap(true, Ordering::SeqCst)
    }

    /// Ends the source process for good and forgets the VM.
    pub async fn stop(&self) {
        self.end.notify_waiters();
        if let Ok(mut stream) = UnixStream::connect(&self.control).await {
            signal(&stream, libc::SIGTERM);
            let gone =
                async { while !matches!(stream.read(&mut [0; 64]).await, Ok(0) | Err(_)) {} };
            if tokio::time::timeout(START_TIME_MAX, gone).await.is_err() {
                signal(&stream, libc::SIGKILL);
            }
        }
        let _ = std::fs::remove_file(&self.control);
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(vm = %self.uuid, %error, "the VM's folder is left over");
        }
    }

    /// Whether it is being ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

async fn supervise(vm: Arc<Vm>) {
    let mut failing_since: Option<Instant> = None;
    while !vm.has_ended() {
        let connected = match UnixStream::connect(&vm.control).await {
            Ok(stream) => {
                tracing::info!(vm = %vm.uuid, "a running source process was adopted");
                Ok(stream)
            }
            Err(_) => start_source(&vm).await,
        };
        match connected {
            Ok(stream) => {
                let begin = Instant::now();
                vm.service.send_replace(Service::Source);
                let stream = watch_source(&vm, stream).await;
                if vm.has_ended() {
                    // It may have come up after `stop` looked for it.
                    signal(&stream, libc::SIGTERM);
                    return;
                }
                vm.service.send_replace(Service::Starting);
                tracing::warn!(vm = %vm.uuid, "the source process is gone; starting another");
                if begin.elapsed() >= STEADY {
                    failing_since = None;
                    continue;
                }
            }
            Err(problem) => {
                tracing::error!(vm = %vm.uuid, code = %problem.code, "{}", problem.detail);
            }
        }
        let since = *failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= PATIENCE {
            pass_through(&vm).await;
        } else {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Serves the disks without tracking for a while.
async fn pass_through(vm: &Arc<Vm>) {
    let own = Arc::clone(vm);
    let start = move || PassThrough::start(&own.folder, &own.sockets, &own.uuid);
    let started = crate::http::blocking(start).await;
    match started {
        Ok(pass_through) => {
            tracing::error!(vm = %vm.uuid, "the disks are served without tracking");
            vm.service.send_replace(Service::PassThrough);
            tokio::select! {
                () = tokio::time::sleep(PASS_THROUGH_TIME) => {}
                () = vm.end.notified() => {}
            }
            vm.service.send_replace(Service::Starting);
            let _ = tokio::task::spawn_blocking(move || drop(pass_through)).await;
        }
        Err(problem) => {
            tracing::error!(vm = %vm.uuid, code = %problem.code, "{}", problem.detail);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Starts a source process in a session of its own, so that it outlives this daemon.
async fn start_source(vm: &Vm) -> Result<UnixStream, Problem> {
    let failed = |what: &str, error: std::io::Error| {
        Problem::new(Code::SourceUnavailable, format!("{what}: {error}"))
    };
    let log = open_log(&vm.folder).map_err(|error| failed("the source's log", error))?;
    let program = std::env::current_exe().map_err(|error| failed("our own program", error))?;
    let mut command = tokio::process::Command::new(program);
    command
        .arg("vm-source")
        .args(["--vm-uuid", vm.uuid.as_str()])
        .arg("--state")
        .arg(&vm.folder)
        .arg("--control")
        .arg(&vm.control)
        .arg("--sockets")
        .arg(&vm.sockets)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .current_dir("/");
    // SAFETY: setsid is async-signal-safe and touches nothing of ours.
    unsafe {
        command.pre_exec(|| match libc::setsid() {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let mut child = command.spawn().map_err(|error| failed("no source process", error))?;
    tracing::info!(vm = %vm.uuid, pid = child.id(), "source process started");
    let begin = Instant::now();
    loop {
        if let Ok(stream) = UnixStream::connect(&vm.control).await {
            // Taken off the process table when it ends, whoever notices first.
            tokio::spawn(async move { child.wait().await });
            return Ok(stream);
        }
        if let Ok(Some(status)) = child.try_wait() {
            let what = format!("the source process ended at once with {status}; see its log");
            return Err(Problem::new(Code::SourceUnavailable, what));
        }
        if begin.elapsed() >= START_TIME_MAX {
            let _ = child.kill().await;
            let what = "the source process did not come up and was ended";
            return Err(Problem::new(Code::SourceUnavailable, what));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns when the process behind the connection is gone or no longer wanted. A silent one is
/// ended by force.
async fn watch_source(vm: &Vm, mut stream: UnixStream) -> UnixStream {
    let mut silences = 0;
    let mut buffer = [0; 64];
    let end = vm.end.notified();
    tokio::pin!(end);
    end.as_mut().enable();
    while !vm.has_ended() {
        let health = async {
            tokio::time::sleep(HEALTH_EVERY).await;
            let question =
                local::ask(&vm.control, Method::GET, "/v1/health", Bytes::new(), HEALTH_PATIENCE);
            question.await.is_ok()
        };
        tokio::select! {
            read = stream.read(&mut buffer) => {
                if matches!(read, Ok(0) | Err(_)) {
                    break;
                }
            }
            () = &mut end => break,
            healthy = health => silences = if healthy { 0 } else { silences + 1 },
        }
        if silences >= SILENCES_MAX {
            tracing::error!(vm = %vm.uuid, "the source process does not answer and is ended");
            signal(&stream, libc::SIGKILL);
        }
    }
    stream
}

fn signal(stream: &UnixStream, signal: i32) {
    if let Ok(Some(pid)) = stream.peer_cred().map(|credentials| credentials.pid()) {
        // SAFETY: a plain system call; the process holds the connection, so the id is its own.
        unsafe { libc::kill(pid, signal) };
    }
}

fn open_log(folder: &Path) -> std::io::Result<std::fs::File> {
    let path = folder.join("source.log");
    if std::fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        std::fs::rename(&path, folder.join("source.log.1"))?;
    }
    std::fs::File::options().create(true).append(true).open(path)
}
