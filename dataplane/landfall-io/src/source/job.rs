//! What a job knows: its desired state, its counters. How fast it may go stands in `pace.rs`; its
//! threads are started in `session.rs`.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use landfall_api::{Dials, DiskPair, HandoverDisk, Id, JobKind, JobSpec, Reason};
use landfall_core::throttle::TokenBucket;

use super::disk::SourceDiskIo;
use super::disk_fault::DiskFault;
use super::pace::{Buckets, Pace, open_bucket};
use super::reread::{Reread, Verification};
use super::session::Session;
use super::watch::Watch;
use crate::clock::{now_ns, now_text};
use crate::meter::Meter;
use crate::stats::{DiskStages, JobStages};

/// One that is being opened waits for the other side.
const SESSION_END_MAX: Duration = Duration::from_secs(10);

/// What the connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// Not yet connected since the job began.
    Connecting,
    /// A session is in force.
    Up,
    /// Lost; it is tried again.
    Lost,
    /// It cannot be tried again without a person.
    Failed,
}

/// One disk of the job with its counters.
pub(super) struct JobDiskIo {
    pub(super) pair: DiskPair,
    pub(super) disk: Arc<SourceDiskIo>,
    pub(super) sent: AtomicU64,
    pub(super) wire: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) compared: AtomicU64,
    pub(super) stages: DiskStages,
    pub(super) reread: Mutex<Reread>,
}

/// What changes by commands and by what happens to the connection.
pub(super) struct Control {
    pub(super) spec: JobSpec,
    pub(super) dials: Dials,
    pub(super) paused: bool,
    /// The disks are paused for a snapshot: there is no session meanwhile.
    pub(super) snapshot: bool,
    /// A session is being opened, runs or is being ended.
    pub(super) in_session: bool,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) connection: Connection,
    pub(super) reason: Option<Reason>,
    pub(super) frozen_at: Option<(String, u64)>,
    pub(super) active_at: Option<String>,
    pub(super) data_path_ms: Option<u64>,
    pub(super) handover_disks: Vec<HandoverDisk>,
    pub(super) session: Option<Arc<Session>>,
    pub(super) repairs_waiting: u64,
}

impl Control {
    /// Whether nothing may be sent: paused, for a snapshot too, or a job that only reads.
    pub(super) fn keeps_still(&self) -> bool {
        self.paused || self.snapshot || self.spec.kind == JobKind::Verify
    }
}

/// The job.
pub(super) struct Job {
    pub(super) id: Id,
    pub(super) disks: Vec<JobDiskIo>,
    /// Disks whose file is not there: there is no session while one of them lacks.
    pub(super) absent: Vec<(DiskPair, DiskFault)>,
    pub(super) control: Mutex<Control>,
    pub(super) changed: Condvar,
    pub(super) stopped: AtomicBool,
    pub(super) epoch: AtomicU32,
    pub(super) session_number: AtomicU64,
    /// Whether the next session fills the have-map of an epoch for the first time.
    pub(super) distrust: AtomicBool,
    pub(super) buckets: Mutex<Buckets>,
    pub(super) buckets_changed: Condvar,
    pub(super) foreground_bucket: Mutex<TokenBucket>,
    /// Nice value of the threads that move data.
    pub(super) nice: AtomicI32,
    pub(super) background: Meter,
    pub(super) foreground: Meter,
    pub(super) wire: Meter,
    pub(super) durable: Meter,
    pub(super) pace: Mutex<Pace>,
    pub(super) remote_stale_chunks: AtomicU32,
    pub(super) stages: JobStages,
    /// Whether the codec was chosen by a person and stays.
    pub(super) codec_fixed: AtomicBool,
    pub(super) verification: Mutex<Option<Verification>>,
    pub(super) watch: Watch,
    pub(super) threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

impl Job {
    pub(super) fn new(
        id: Id,
        spec: JobSpec,
        disks: Vec<JobDiskIo>,
        absent: Vec<(DiskPair, DiskFault)>,
        epoch: u32,
    ) -> Arc<Self> {
        let dials = spec.dials.clone();
        let job = Arc::new(Self {
            id,
            disks,
            absent,
            control: Mutex::new(Control {
                spec,
                dials,
                paused: false,
                snapshot: false,
                in_session: false,
                tls: None,
                connection: Connection::Connecting,
                reason: None,
                frozen_at: None,
                active_at: None,
                data_path_ms: None,
                handover_disks: Vec::new(),
                session: None,
                repairs_waiting: 0,
            }),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            epoch: AtomicU32::new(epoch),
            session_number: AtomicU64::new(0),
            distrust: AtomicBool::new(true),
            buckets: Mutex::new(Buckets::open(now_ns())),
            buckets_changed: Condvar::new(),
            foreground_bucket: Mutex::new(open_bucket()),
            nice: AtomicI32::new(0),
            background: Meter::default(),
            foreground: Meter::default(),
            wire: Meter::default(),
            durable: Meter::default(),
            pace: Mutex::new(Pace::default()),
            remote_stale_chunks: AtomicU32::new(0),
            stages: JobStages::default(),
            codec_fixed: AtomicBool::new(false),
            verification: Mutex::new(None),
            watch: Watch::default(),
            threads: Mutex::new(Vec::new()),
        });
        job.apply_limit();
        job
    }

    pub(super) fn stopped(&self) -> bool {
        self.stopped.load(SeqCst)
    }

    /// Notes why the job is not running; the time stays that of the first such note.
    pub(super) fn set_reason(&self, connection: Connection, code: &str, message: String) {
        let mut control = self.control.lock().expect("control");
        let since = match &control.reason {
            Some(reason) if reason.code == code => reason.since.clone(),
            _ => now_text(),
        };
        control.connection = connection;
        control.reason = Some(Reason { code: code.into(), message, since });
        self.changed.notify_all();
    }

    /// Ends the session and begins none, until [`Job::go_on`]. Whether it ended in time.
    pub(super) fn hold_still(&self) -> bool {
        let session = {
            let mut control = self.control.lock().expect("control");
            control.snapshot = true;
            control.session.clone()
        };
        if let Some(session) = session {
            session.end_for_snapshot();
        }
        let control = self.control.lock().expect("control");
        let busy = |control: &mut Control| control.in_session;
        let waited = self.changed.wait_timeout_while(control, SESSION_END_MAX, busy);
        !waited.expect("control").1.timed_out()
    }

    /// There may be sessions again.
    pub(super) fn go_on(&self) {
        self.control.lock().expect("control").snapshot = false;
        self.changed.notify_all();
    }

    /// New dials are in force when this returns.
    pub(super) fn set_dials(&self, dials: Dials) {
        {
            let mut control = self.control.lock().expect("control");
            control.spec.dials = dials.clone();
            control.dials = dials;
        }
        self.apply_limit();
    }

    /// The threads of the session look at once whether there is something to do.
    pub(super) fn wake_session(&self) {
        let session = self.control.lock().expect("control").session.clone();
        session.inspect(|session| session.windows_changed.notify_all());
    }

    /// Waits for a change of the control state, at most `wait`.
    pub(super) fn wait(&self, wait: Duration) {
        let control = self.control.lock().expect("control");
        if !self.stopped() {
            drop(self.changed.wait_timeout(control, wait).expect("control"));
        }
    }

    /// Waits for `wait`, or until the job stops.
    pub(super) fn wait_at_least(&self, wait: Duration) {
        let control = self.control.lock().expect("control");
        let running = |_: &mut Control| !self.stopped();
        drop(self.changed.wait_timeout_while(control, wait, running).expect("control"));
    }

    /// Ends the job's threads and joins them.
    pub(super) fn stop(&self) {
        self.stopped.store(true, SeqCst);
        let session = self.control.lock().expect("control").session.clone();
        if let Some(session) = session {
            session.end("the job was stopped");
        }
        if let Some(disk) = self.disks.first() {
            disk.disk.valve.throttling.store(false, SeqCst);
        }
        self.changed.notify_all();
        self.buckets_changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().expect("threads"));
        for thread in threads {
            let _ = thread.join();
        }
    }
}
