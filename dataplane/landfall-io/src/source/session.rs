//! The connections of a job: made, kept alive, lost and made again with a back-off, for ever.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use landfall_core::sending::Window;
use landfall_core::{CHUNK, Extent};
use landfall_wire::{ErrorCode, Hello, Lane, features, kind};

use super::answers;
use super::bulk::{BulkLinks, CONNECTIONS_FIRST};
use super::cutover::Cutover;
use super::growth::Growth;
use super::handshake::{Loss, error_code, hello, open, read_have, receiver_address};
use super::hashing;
use super::job::{Connection, Job};
use super::lanes::{self, PRIO};
use super::{pace, scrub};
use crate::link::{Frame, Link, LinkReader, PING_EVERY};

/// What the status says meanwhile.
pub(super) const SNAPSHOT: &str =
    "A snapshot of the source's disks is made; replication goes on by itself after it";
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// Threads that read and hash beside those that hold a connection: reads under way while the
/// connections are busy. Each has one buffer.
pub(super) const READERS_AHEAD: usize = 2;

/// One set of connections.
pub(super) struct Session {
    pub(super) epoch: u32,
    pub(super) prio: Arc<Link>,
    pub(super) bulk: BulkLinks,
    /// What a further bulk connection says first.
    bulk_hello: Hello,
    /// Allocated run of each disk that was found last.
    pub(super) runs: Vec<Mutex<Extent>>,
    /// What may be under way: prio, bulk.
    pub(super) windows: Mutex<[Window; 2]>,
    pub(super) windows_changed: Condvar,
    /// Answers to WANT that wait for a bulk thread to compare them.
    pub(super) answers: Mutex<VecDeque<(usize, landfall_wire::Hashes)>>,
    pub(super) wants_out: AtomicU32,
    pub(super) own_sent: AtomicBool,
    pub(super) hurry_sent: AtomicBool,
    /// Features both sides have.
    pub(super) features: u64,
    /// Answers for the re-reading thread.
    pub(super) rereads: scrub::Mailbox,
    ended: AtomicBool,
    reason: Mutex<Option<(&'static str, String)>>,
}

impl Session {
    pub(super) fn ended(&self) -> bool {
        self.ended.load(SeqCst)
    }

    /// Ends all connections. The first reason counts.
    pub(super) fn end(&self, why: impl Into<String>) {
        self.end_with("CONNECTION_LOST", why.into());
    }

    pub(super) fn end_with(&self, code: &'static str, why: String) {
        self.reason.lock().expect("reason").get_or_insert((code, why));
        self.ended.store(true, SeqCst);
        self.prio.close();
        self.bulk.close();
        self.windows_changed.notify_all();
        self.rereads.wake();
    }

    /// The disks are paused for a snapshot.
    pub(super) fn end_for_snapshot(&self) {
        self.end_with("SNAPSHOT", SNAPSHOT.into());
    }

    /// Sleeps, but not beyond the session's end.
    fn sleep(&self, duration: Duration) {
        const STEP: Duration = Duration::from_millis(50);
        let mut slept = Duration::ZERO;
        while slept < duration && !self.ended() {
            std::thread::sleep(STEP);
            slept += STEP;
        }
    }

    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        let mut links = self.bulk.all();
        links.push(self.prio.clone());
        links
    }

    /// Room in the window for one extent, if there is any; bulk leaves a quarter of it to prio.
    pub(super) fn reserve(&self, lane: usize) -> Option<Room<'_>> {
        let mut windows = self.windows.lock().expect("windows");
        let [prio, bulk] = *windows;
        let open = prio.used() + bulk.used() < prio.limit() && (lane == PRIO || bulk.open());
        open.then(|| {
            windows[lane].take(CHUNK);
            Room { session: self, lane, bytes: CHUNK }
        })
    }

    /// Whether the receiver takes many small extents in one frame.
    pub(super) fn batches(&self) -> bool {
        self.features & features::BATCH != 0
    }

    /// Bytes need no room any more.
    pub(super) fn give_back(&self, lane: usize, bytes: u64) {
        self.windows.lock().expect("windows")[lane].give_back(bytes);
        self.windows_changed.notify_all();
    }
}

/// Room for an extent; what is not used goes back.
pub(super) struct Room<'a> {
    session: &'a Session,
    lane: usize,
    bytes: u64,
}

impl Room<'_> {
    /// So much of it is on its way; an acknowledgement gives that back.
    pub(super) fn sent(mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.session.give_back(self.lane, self.bytes);
        }
    }
}

/// Starts the job's threads.
pub(super) fn start(job: &Arc<Job>, cutover: &Arc<Cutover>) {
    let mut threads = job.threads.lock().expect("threads");
    let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.into()).spawn(run).expect("a thread can be started")
    };
    let (a, b) = (job.clone(), cutover.clone());
    threads.push(spawn("lf-session", Box::new(move || keep_connected(&a, &b))));
    let (a, b) = (job.clone(), cutover.clone());
    threads.push(spawn("lf-hash", Box::new(move || hashing::run(&a, &b))));
    let a = job.clone();
    threads.push(spawn("lf-pace", Box::new(move || pace::run(&a))));
}

fn keep_connected(job: &Arc<Job>, cutover: &Arc<Cutover>) {
    let mut back_off = BACK_OFF_FIRST;
    while !job.stopped() && !cutover.done() {
        let tls = {
            let mut control = job.control.lock().expect("control");
            let tls = control.tls.clone().filter(|_| !control.snapshot);
            control.in_session = tls.is_some();
            tls
        };
        let Some(tls) = tls else {
            job.changed.notify_all();
            job.wait(Duration::from_secs(1));
            continue;
        };
        let loss = match connect(job, cutover, &tls) {
            Ok((session, readers)) => {
                back_off = BACK_OFF_FIRST;
                run(job, cutover, &session, readers)
            }
            Err(loss) => loss,
        };
        if job.stopped() || cutover.done() {
            return;
        }
        tracing::info!(code = loss.code, message = loss.message, "connection lost");
        let state = if loss.permanent { Connection::Failed } else { Connection::Lost };
        job.control.lock().expect("control").in_session = false;
        job.set_reason(state, loss.code, loss.message);
        job.wait(back_off);
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

/// Runs a session's threads until it ends.
fn run(
    job: &Arc<Job>,
    cutover: &Arc<Cutover>,
    session: &Arc<Session>,
    mut readers: Vec<LinkReader>,
) -> Loss {
    {
        let mut control = job.control.lock().expect("control");
        control.connection = Connection::Up;
        control.reason = None;
        control.session = Some(session.clone());
        job.changed.notify_all();
    }
    // A stop or snapshot that came while it was being opened did not see it.
    if job.stopped() {
        session.end("the job was stopped");
    }
    if job.control.lock().expect("control").snapshot {
        session.end_for_snapshot();
    }
    std::thread::scope(|scope| {
        let prio = readers.remove(0);
        scope.spawn(|| answers::read(job, cutover, session, &session.prio, prio));
        scope.spawn(|| lanes::send_prio(job, cutover, session));
        scope.spawn(|| scrub::run(job, cutover, session));
        let bulk = session.bulk.all();
        let senders = if bulk.is_empty() { 0 } else { bulk.len() + READERS_AHEAD };
        for (link, reader) in bulk.into_iter().zip(readers) {
            scope.spawn(move || answers::read(job, cutover, session, &link, reader));
        }
        for _ in 0..senders {
            scope.spawn(|| lanes::send_bulk(job, cutover, session));
        }
        let mut growth = Growth::new();
        while !session.ended() {
            for link in session.links() {
                let ping = Frame::new(kind::PING, session.epoch, &[]);
                if let Err(error) = link.send_if_idle(&[ping]) {
                    session.end(error.to_string());
                }
            }
            if growth.second(job, session) {
                scope.spawn(move || {
                    if let Some((link, reader)) = add_connection(job, session) {
                        scope.spawn(move || answers::read(job, cutover, session, &link, reader));
                        lanes::send_bulk(job, cutover, session);
                    }
                });
            }
            job.stages.connections.store(session.bulk.in_use() as u64, SeqCst);
            session.sleep(PING_EVERY);
        }
    });
    job.control.lock().expect("control").session = None;
    job.watch.interrupted();
    for link in session.links() {
        for sent in link.queue(|queue| queue.drain()) {
            let mut book = job.disks[sent.disk].disk.book.lock().expect("book");
            book.add_again(sent.bytes);
        }
    }
    for disk in &job.disks {
        disk.disk.book.lock().expect("book").connection_lost();
    }
    cutover.connection_lost(job);
    let reason = session.reason.lock().expect("reason").take();
    let (code, message) = reason.unwrap_or(("CONNECTION_LOST", "the connection ended".into()));
    Loss::new(code, message)
}

/// One more bulk connection of a running session. A failure only means that there is none.
fn add_connection(job: &Job, session: &Session) -> Option<(Arc<Link>, LinkReader)> {
    let tls = job.control.lock().expect("control").tls.clone()?;
    let address = receiver_address(job).ok()?;
    match open(job, address, &tls, &session.bulk_hello, session.epoch) {
        Ok((link, reader, _)) => session.bulk.add(&link).then_some((link, reader)),
        Err(loss) => {
            tracing::info!(code = loss.code, message = loss.message, "no further connection");
            None
        }
    }
}

fn connect(
    job: &Arc<Job>,
    cutover: &Arc<Cutover>,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<(Arc<Session>, Vec<LinkReader>), Loss> {
    if let Some(fault) = job.disk_fault() {
        return Err(Loss { code: fault.code, message: fault.message, permanent: true });
    }
    let epoch = job.epoch.load(SeqCst);
    let number = job.session_number.fetch_add(1, SeqCst) + 1;
    let mut hello = hello(job, number);
    let address = receiver_address(job)?;
    let (prio, mut reader, ack) = open(job, address, tls, &hello, epoch)?;
    if !cutover.learn_ownership(job, ack.ownership, ack.token)? {
        let (code, permanent) = error_code(ErrorCode::Owned);
        let message = "The destination owns the disks already".into();
        return Err(Loss { code, message, permanent });
    }
    let maps = read_have(job, &mut reader)?;
    let sealed = cutover.sealed();
    if !sealed {
        let distrust = job.distrust.swap(false, SeqCst);
        for (disk, have) in job.disks.iter().zip(maps) {
            disk.disk.book.lock().expect("book").begin_session(have, distrust);
        }
    }
    let mut readers = vec![reader];
    let bulk = BulkLinks::default();
    hello.lane = Lane::Bulk;
    for _ in 0..if sealed { 0 } else { CONNECTIONS_FIRST } {
        let (link, reader, _) = open(job, address, tls, &hello, epoch)?;
        bulk.add(&link);
        readers.push(reader);
    }
    let bulk_window = ack.window_bytes - ack.window_bytes / 4;
    let session = Session {
        epoch,
        prio,
        bulk,
        bulk_hello: hello,
        runs: job.disks.iter().map(|_| Mutex::new(Extent::new(0, 0))).collect(),
        windows: Mutex::new([Window::new(ack.window_bytes), Window::new(bulk_window)]),
        windows_changed: Condvar::new(),
        answers: Mutex::new(VecDeque::new()),
        wants_out: AtomicU32::new(0),
        own_sent: AtomicBool::new(false),
        hurry_sent: AtomicBool::new(false),
        features: ack.features,
        rereads: scrub::Mailbox::default(),
        ended: AtomicBool::new(false),
        reason: Mutex::new(None),
    };
    tracing::info!(epoch, session = number, "session opened");
    Ok((Arc::new(session), readers))
}
