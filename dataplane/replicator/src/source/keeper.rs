//! Keeps NBD servers and TLS of one VM in step with the engine, which itself keeps what is
//! attached and which job runs. Commands may come twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_api::{
    AttachAnswer, AttachRequest, AttachedVm, Code, Id, JobCertificate, JobKind, JobSpec, JobStatus,
    Problem, SnapshotAnswer, SnapshotDisk, Uuid,
};
use landfall_io::SourceVm;
use landfall_nbd::{Export, Server};

use super::job_files::{JobFiles, Tls};
use crate::host::PassThrough;

/// Where the NBD socket of a disk lies.
pub type SocketOf = Box<dyn Fn(&Uuid) -> PathBuf + Send + Sync>;

/// Who knows whether the VM's side has its disks open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenKnownBy {
    /// The hypervisor says so.
    Hypervisor,
    /// Nobody: they count as open while an NBD client is connected.
    Clients,
}

/// Everything of one VM.
pub struct Keeper {
    /// The engine, for commands that need nothing else.
    pub engine: Arc<SourceVm>,
    socket_of: SocketOf,
    open_known_by: OpenKnownBy,
    vm: Uuid,
    files: JobFiles,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    servers: BTreeMap<Uuid, Server>,
    tls: Option<Tls>,
}

impl Keeper {
    /// Takes up what an earlier process left: the same disks on the same sockets, the same job.
    pub fn open(
        folder: &Path,
        vm: Uuid,
        socket_of: SocketOf,
        open_known_by: OpenKnownBy,
    ) -> Result<Arc<Self>, Problem> {
        PassThrough::forsake_marked(folder)?;
        let keeper = Arc::new(Self {
            engine: SourceVm::open(&engine_folder(folder), vm.clone())?,
            socket_of,
            open_known_by,
            vm,
            files: JobFiles::within(folder),
            state: Mutex::default(),
        });
        let mut state = keeper.lock();
        for (disk, tap) in keeper.engine.exports() {
            keeper.serve(&mut state, &disk, tap)?;
        }
        PassThrough::unmark(folder)?;
        keeper.install_kept(&mut state)?;
        drop(state);
        let weak = Arc::downgrade(&keeper);
        keeper.engine.on_return(move |disk, tap| {
            let Some(keeper) = weak.upgrade() else { return };
            if let Err(problem) = keeper.serve(&mut keeper.lock(), disk, tap) {
                tracing::error!(%disk, "{problem}");
            }
        });
        Ok(keeper)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, state: &mut State, disk: &Uuid, tap: Arc<dyn Export>) -> Result<(), Problem> {
        if !state.servers.contains_key(disk) {
            let server = Server::start(&(self.socket_of)(disk), tap)
                .map_err(|error| Problem::storage("the NBD socket", &error))?;
            state.servers.insert(disk.clone(), server);
        }
        Ok(())
    }

    fn install_kept(&self, state: &mut State) -> Result<(), Problem> {
        let Some((job, spec)) = self.engine.job() else { return Ok(()) };
        if let Some(tls) = self.files.tls(&job, &spec)? {
            self.engine.install_tls(&job, Arc::clone(&tls.config))?;
            state.tls = Some(tls);
        }
        Ok(())
    }

    /// Puts the tap in front of a disk and opens the VM's side.
    pub fn attach(&self, request: &AttachRequest) -> Result<AttachAnswer, Problem> {
        let mut state = self.lock();
        let (disk, path) = (&request.disk_uuid, Path::new(&request.path));
        let tap = self.engine.attach(disk, path, request.capacity_bytes.0)?;
        self.serve(&mut state, disk, tap)?;
        tracing::info!(%disk, path = %path.display(), "attached");
        let nbd_socket = (self.socket_of)(disk);
        Ok(AttachAnswer { nbd_socket: nbd_socket.to_string_lossy().into_owned() })
    }

    /// Takes the tap away from a disk.
    pub fn detach(&self, disk: &Uuid, keep_state: bool) -> Result<(), Problem> {
        let mut state = self.lock();
        self.engine.hang_up_held();
        drop(state.servers.remove(disk));
        self.engine.detach(disk, keep_state)?;
        tracing::info!(%disk, keep_state, "detached");
        Ok(())
    }

    /// Goes on after a snapshot. A disk that goes on in another file is served anew: its clients
    /// connect again.
    pub fn resume_after_snapshot(&self, disks: &[SnapshotDisk]) -> Result<SnapshotAnswer, Problem> {
        let mut state = self.lock();
        let named: Vec<(Uuid, PathBuf)> =
            disks.iter().map(|disk| (disk.disk_uuid.clone(), disk.path.clone().into())).collect();
        if named.iter().any(|(_, path)| !path.is_absolute()) {
            return Err(Problem::bad_request("path is absolute"));
        }
        self.engine.resume_after_snapshot(&named, |exchanged| {
            for (disk, tap) in exchanged {
                drop(state.servers.remove(&disk));
                self.serve(&mut state, &disk, tap)?;
            }
            Ok(())
        })
    }

    /// The VM's side is gone: nothing of its clients runs any more on return.
    pub fn closed(&self) -> Result<(), Problem> {
        let state = self.lock();
        self.engine.hang_up_held();
        state.servers.values().for_each(Server::disconnect_all);
        self.engine.set_open(false)?;
        tracing::info!("the VM's side is closed");
        Ok(())
    }

    /// What is attached.
    pub fn attachments(&self) -> AttachedVm {
        self.engine.attached()
    }

    /// Ensures a job.
    pub fn put_job(&self, job: &Id, spec: JobSpec) -> Result<JobStatus, Problem> {
        if spec.vm_uuid != self.vm {
            return Err(Problem::bad_request("this source serves another VM"));
        }
        let mut state = self.lock();
        let receiver_before = self.engine.job().map(|(_, spec)| spec.receiver);
        self.engine.ensure_job(job, spec)?;
        let receiver_now = self.engine.job().map(|(_, spec)| spec.receiver);
        if state.tls.is_none() || receiver_before != receiver_now {
            self.install_kept(&mut state)?;
        }
        self.status_in(&state, job)
    }

    /// Takes the certificate of the data connections.
    pub fn put_certificate(&self, job: &Id, given: &JobCertificate) -> Result<JobStatus, Problem> {
        let mut state = self.lock();
        let spec = self.spec(job)?;
        if given.generation < spec.generation {
            let what = format!("generation {} is older than {}", given.generation, spec.generation);
            return Err(Problem::new(Code::StaleGeneration, what));
        }
        let tls = self.files.put_certificate(job, &spec, given)?;
        self.engine.install_tls(job, Arc::clone(&tls.config))?;
        state.tls = Some(tls);
        self.status_in(&state, job)
    }

    fn spec(&self, job: &Id) -> Result<JobSpec, Problem> {
        let known = self.engine.job().filter(|(known, _)| known == job);
        let unknown = || Problem::new(Code::UnknownJob, format!("this source keeps no job {job}"));
        known.map(|(_, spec)| spec).ok_or_else(unknown)
    }

    /// State of the job, with a signing request while one is wanted.
    pub fn status(&self, job: &Id) -> Result<JobStatus, Problem> {
        self.status_in(&self.lock(), job)
    }

    fn status_in(&self, state: &State, job: &Id) -> Result<JobStatus, Problem> {
        let mut status = self.engine.status(job)?;
        let wants_tls = status.kind != JobKind::Observe;
        if wants_tls && state.tls.as_ref().is_none_or(Tls::ends_soon) {
            status.csr_pem = Some(self.files.request(job)?);
        }
        Ok(status)
    }

    /// The job, if there is one.
    pub fn jobs(&self) -> Result<Vec<JobStatus>, Problem> {
        self.engine.job().map(|(job, _)| self.status(&job)).into_iter().collect()
    }

    /// Begins the hand-over.
    pub fn freeze(&self, job: &Id, generation: u64, token: u64) -> Result<JobStatus, Problem> {
        self.look_for_clients()?;
        self.engine.freeze(job, generation, token)
    }

    /// Seals the source and makes the receiver the owner.
    pub fn hand_over(&self, job: &Id, generation: u64, token: u64) -> Result<JobStatus, Problem> {
        self.look_for_clients()?;
        let status = self.engine.hand_over(job, generation, token)?;
        if self.open_known_by == OpenKnownBy::Clients {
            self.lock().servers.clear();
        }
        Ok(status)
    }

    /// Without a hypervisor, the disks are closed when nobody is connected. Who connects later
    /// and writes cancels the freeze, or meets the seal.
    fn look_for_clients(&self) -> Result<(), Problem> {
        if self.open_known_by == OpenKnownBy::Hypervisor {
            return Ok(());
        }
        let state = self.lock();
        let busy = state.servers.values().find(|server| server.client_count() > 0);
        if let Some(server) = busy {
            let what = format!("an NBD client is connected to {}", server.path().display());
            return Err(Problem {
                remedy: "Shut the guest down or disconnect the client, then ask again.".into(),
                ..Problem::new(Code::NotClosed, what)
            });
        }
        self.engine.set_open(false)
    }

    /// Ends the job and forgets it with its key.
    pub fn delete_job(&self, job: &Id, generation: u64) -> Result<(), Problem> {
        let mut state = self.lock();
        if self.spec(job).is_err() {
            return Ok(());
        }
        self.engine.stop_job(job, generation)?;
        state.tls = None;
        self.files.forget()
    }

    /// Hangs up on every guest without an answer, makes what they wrote durable and leaves beside
    /// each disk what is known of it.
    pub fn close(&self) {
        self.engine.hang_up_held();
        self.lock().servers.clear();
        for (disk, tap) in self.engine.exports() {
            if let Err(error) = tap.flush() {
                tracing::error!(%disk, %error, "the last flush failed");
            }
        }
        self.engine.close_clean();
    }
}

/// Folder of the engine within a VM's folder.
pub fn engine_folder(vm_folder: &Path) -> PathBuf {
    vm_folder.join("engine")
}
