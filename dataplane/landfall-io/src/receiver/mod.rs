//! The receiver of one migration: its disks, its state on the state disk, and one session of a
//! source at a time. `session.rs` admits connections, `lane.rs` and `frames.rs` serve them,
//! `flush.rs` makes things durable, `hashing.rs` keeps the tree, `answers.rs` answers and hands
//! over.

mod answers;
mod disk;
mod flush;
mod frames;
mod hashing;
mod lane;
mod metrics;
mod reread;
mod session;
mod state;
mod tree_file;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;

use landfall_api::{
    ByteCount, Code, DiskPair, Id, Ownership as OwnershipView, OwnershipState, PrepareDisks,
    Problem, ReceiverDisk as DiskView, ReceiverStatus, SessionState,
};
use landfall_core::ownership::Ownership;

use crate::Result;
use crate::tls::Secured;
use disk::Destination;
use session::Session;
use state::StateFile;

/// What everything of a receiver shares.
pub struct Receiver {
    migration: Id,
    state_dir: PathBuf,
    disks_dir: PathBuf,
    /// Serialises the opening of sessions.
    admission: Mutex<()>,
    state: Mutex<StateFile>,
    disks: Mutex<Vec<Prepared>>,
    session: Mutex<Option<Arc<Session>>>,
    flushing: Mutex<()>,
    unflushed: AtomicU64,
    work: Mutex<Work>,
    work_ready: Condvar,
    rereads: reread::Rereads,
    hurry: answers::Hurry,
}

/// What waits for a flush.
#[derive(Default)]
struct Work {
    any: bool,
    /// Fresh writes of the guest are among it.
    foreground: bool,
}

#[derive(Clone)]
struct Prepared {
    pair: DiskPair,
    disk: Option<Arc<Destination>>,
}

impl Receiver {
    /// Opens the state of an earlier process, or begins anew. `disks_dir` holds one link per
    /// destination disk, named by its UUID.
    pub fn open(migration: Id, state_dir: &Path, disks_dir: &Path) -> Result<Arc<Self>> {
        std::fs::create_dir_all(state_dir).map_err(|e| Problem::storage("state directory", &e))?;
        let state = StateFile::open(&state_dir.join("super"))
            .map_err(|e| Problem::storage("state file", &e))?;
        let receiver = Arc::new(Self {
            migration,
            state_dir: state_dir.to_owned(),
            disks_dir: disks_dir.to_owned(),
            admission: Mutex::new(()),
            state: Mutex::new(state),
            disks: Mutex::new(Vec::new()),
            session: Mutex::new(None),
            flushing: Mutex::new(()),
            unflushed: AtomicU64::new(0),
            work: Mutex::default(),
            work_ready: Condvar::new(),
            rereads: reread::Rereads::default(),
            hurry: answers::Hurry::default(),
        });
        receiver.reopen_disks()?;
        flush::start(&receiver);
        session::start_keepalive(&receiver);
        hashing::start(&receiver);
        tree_file::start(&receiver);
        Ok(receiver)
    }

    /// Opens the destination disks. May be called again with the same or more disks.
    pub fn prepare_disks(&self, request: PrepareDisks) -> Result<ReceiverStatus> {
        {
            let mut state = self.state.lock().expect("state");
            if request.generation < state.fence.generation {
                return Err(Problem::new(Code::StaleGeneration, "an older holder prepares disks"));
            }
            state.fence.generation = request.generation;
        }
        let missing = self.open_disks(request.disks)?;
        if !missing.is_empty() {
            let names: Vec<&str> =
                missing.iter().map(|pair| pair.destination_uuid.as_str()).collect();
            return Err(Problem::new(
                Code::DiskMissing,
                format!("not there: {}", names.join(", ")),
            ));
        }
        Ok(self.status())
    }

    /// Serves one data connection until it ends. The caller checked the peer's certificate;
    /// `peer` is the URI it carries.
    pub fn serve_data(self: &Arc<Self>, secured: Secured, peer: &str) -> std::io::Result<()> {
        lane::serve(self, secured, peer)
    }

    /// State of session, ownership and disks.
    pub fn status(&self) -> ReceiverStatus {
        let disks = self.disks.lock().expect("disks").clone();
        let ownership = self.state.lock().expect("state").ownership;
        let connected = self.session.lock().expect("session").is_some();
        ReceiverStatus {
            vm_migration_id: self.migration.clone(),
            session_state: if connected { SessionState::Connected } else { SessionState::Idle },
            ownership: OwnershipView {
                state: match ownership {
                    Ownership::None => OwnershipState::None,
                    Ownership::Prepared(_) => OwnershipState::Prepared,
                    Ownership::Active(_) => OwnershipState::Active,
                    Ownership::Fenced(_) => OwnershipState::Fenced,
                },
                token: ownership.token(),
            },
            disks: disks.iter().map(view).collect(),
        }
    }

    fn prepared_file(&self) -> PathBuf {
        self.state_dir.join("disks.json")
    }

    fn reopen_disks(&self) -> Result<()> {
        let pairs = crate::storage::read_file(&self.prepared_file())
            .and_then(|text| Ok(text.map(|text| serde_json::from_slice(&text)).transpose()?));
        match pairs {
            Ok(None) => Ok(()),
            Ok(Some(pairs)) => self.open_disks(pairs).map(drop),
            Err(error) => {
                tracing::warn!(%error, "list of prepared disks is unreadable: waiting for a new one");
                Ok(())
            }
        }
    }

    /// Opens what is there; the answer names what is not.
    fn open_disks(&self, pairs: Vec<DiskPair>) -> Result<Vec<DiskPair>> {
        let mut disks = self.disks.lock().expect("disks");
        let known = disks.clone();
        let mut missing = Vec::new();
        let mut opened = Vec::new();
        for pair in pairs {
            let before = known.iter().find(|have| have.pair == pair).and_then(|p| p.disk.clone());
            let disk = match before {
                Some(disk) => Some(disk),
                None => Destination::open(&self.disks_dir, &self.state_dir, &pair)?,
            };
            if disk.is_none() {
                missing.push(pair.clone());
            }
            opened.push(Prepared { pair, disk });
        }
        let pairs: Vec<&DiskPair> = opened.iter().map(|prepared| &prepared.pair).collect();
        let text = serde_json::to_vec_pretty(&pairs).expect("plain data");
        crate::storage::replace_file(&self.prepared_file(), &text)
            .map_err(|e| Problem::storage("list of prepared disks", &e))?;
        *disks = opened;
        Ok(missing)
    }

    fn open_destinations(&self) -> Vec<Arc<Destination>> {
        let disks = self.disks.lock().expect("disks");
        disks.iter().filter_map(|prepared| prepared.disk.clone()).collect()
    }

    fn signal_work(&self, bytes: u64, foreground: bool) {
        self.unflushed.fetch_add(bytes, Relaxed);
        let mut work = self.work.lock().expect("work");
        work.any = true;
        work.foreground |= foreground;
        drop(work);
        self.hurry.applied();
        self.work_ready.notify_one();
    }
}

fn view(prepared: &Prepared) -> DiskView {
    let (have, written) = prepared.disk.as_ref().map_or((0, 0), |disk| disk.figures());
    DiskView {
        destination_uuid: prepared.pair.destination_uuid.clone(),
        present: prepared.disk.is_some(),
        capacity_bytes: prepared.pair.capacity_bytes,
        have_bytes: ByteCount(have),
        written_bytes: ByteCount(written),
    }
}

/// Runs `each` at an interval until the receiver is gone.
fn start_ticking(
    receiver: &Arc<Receiver>,
    name: &str,
    every: Duration,
    each: impl Fn(&Arc<Receiver>) + Send + 'static,
) {
    let weak: Weak<Receiver> = Arc::downgrade(receiver);
    let run = move || {
        loop {
            std::thread::sleep(every);
            let Some(receiver) = weak.upgrade() else { return };
            each(&receiver);
        }
    };
    std::thread::Builder::new().name(name.into()).spawn(run).expect("a thread can be started");
}
