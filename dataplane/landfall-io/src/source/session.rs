//! The connections of a job: made, kept alive, lost and made again with a back-off, for ever.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use landfall_core::receiver::UNITS_PER_PAGE;
use landfall_core::sending::Window;
use landfall_core::{Bitmap, CHUNK, Extent, UNIT};
use landfall_wire::{
    ErrorCode, ErrorMessage, HavePage, Hello, HelloAck, HelloDisk, Lane, PROTOCOL_MAX,
    PROTOCOL_MIN, features, kind,
};
use rustls::pki_types::ServerName;

use super::answers;
use super::bulk::{BulkLinks, CONNECTIONS_FIRST};
use super::cutover::Cutover;
use super::growth::Growth;
use super::hashing;
use super::job::{Connection, Job};
use super::lanes::{self, PRIO};
use super::{pace, scrub};
use crate::link::{Frame, Link, LinkReader, PING_EVERY, invalid};
use crate::tls::Secured;

/// What this source can do beyond the version.
const FEATURES: u64 =
    features::CODEC_LZ4 | features::CODEC_ZSTD | features::BATCH | features::REREAD;
/// What the status says meanwhile.
pub(super) const SNAPSHOT: &str =
    "A snapshot of the source's disks is made; replication goes on by itself after it";
const CONNECT_MAX: Duration = Duration::from_secs(3);
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
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

/// Why no session came about, or why it ended.
struct Loss {
    code: &'static str,
    message: String,
    permanent: bool,
}

impl Loss {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), permanent: false }
    }
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        Self::new("CONNECTION_LOST", format!("The receiver cannot be reached: {error}"))
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

fn hello(job: &Job, session: u64) -> Hello {
    let control = job.control.lock().expect("control");
    let disk = |disk: &super::job::JobDiskIo| HelloDisk {
        source: disk.pair.source_uuid.to_bytes(),
        destination: disk.pair.destination_uuid.to_bytes(),
        capacity_bytes: disk.pair.capacity_bytes.0,
    };
    Hello {
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        features: FEATURES,
        lane: Lane::Prio,
        session,
        generation: control.spec.generation,
        migration: control.spec.vm_migration_id.as_str().into(),
        build: env!("CARGO_PKG_VERSION").into(),
        disks: job.disks.iter().map(disk).collect(),
    }
}

fn receiver_address(job: &Job) -> Result<SocketAddr, Loss> {
    let control = job.control.lock().expect("control");
    let receiver = control.spec.receiver.as_ref();
    let address = receiver.and_then(|receiver| {
        let ip: IpAddr = receiver.address.parse().ok()?;
        Some(SocketAddr::new(ip, receiver.port))
    });
    address.ok_or_else(|| Loss::new("NO_RECEIVER", "The job names no receiver"))
}

/// One connection up to its HELLO_ACK.
fn open(
    job: &Job,
    address: SocketAddr,
    tls: &Arc<rustls::ClientConfig>,
    hello: &Hello,
    epoch: u32,
) -> Result<(Arc<Link>, LinkReader, HelloAck), Loss> {
    let socket = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(HANDSHAKE_MAX))?;
    socket.set_write_timeout(Some(HANDSHAKE_MAX))?;
    let name = ServerName::IpAddress(address.ip().into());
    let secured = Secured::connect(socket, tls, name).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Loss::new(
            "TLS_FAILED",
            format!(
                "The receiver's certificate or version does not fit, or the path changes bytes: {error}"
            ),
        ),
        _ => error.into(),
    })?;
    if secured.alpn() != Some(landfall_wire::ALPN) {
        return Err(Loss::new("TLS_FAILED", "The receiver does not speak mig/1 on this port"));
    }
    let (link, mut reader) = Link::new(secured)?;
    link.send(&[Frame::new(kind::HELLO, epoch, &hello.encode())], |_| {})?;
    let mut payload = Vec::new();
    let header = reader.read(&mut payload)?;
    match header.kind {
        kind::HELLO_ACK => {
            let ack = HelloAck::decode(&payload).map_err(invalid)?;
            Ok((link, reader, ack))
        }
        kind::ERR => Err(refused(job, &ErrorMessage::decode(&payload).map_err(invalid)?)),
        other => Err(Loss::new("PROTOCOL", format!("Frame of kind {other} instead of HELLO_ACK"))),
    }
}

/// A refusal of the receiver. An epoch that is not above the one it knows is raised.
fn refused(job: &Job, message: &ErrorMessage) -> Loss {
    if message.code == ErrorCode::Stale
        && message.value >= u64::from(job.epoch.load(SeqCst))
        && let Err(error) = job.distrust(message.value as u32 + 1)
    {
        return Loss::new("STORAGE_FAILED", format!("The epoch cannot be raised: {error}"));
    }
    let (code, permanent) = error_code(message.code);
    Loss { code, message: format!("The receiver refuses: {}", message.text), permanent }
}

/// Code of a refusal in the job's status, and whether only a person can help.
pub(super) fn error_code(code: ErrorCode) -> (&'static str, bool) {
    match code {
        ErrorCode::Version => ("VERSION_MISMATCH", true),
        ErrorCode::WrongMigration => ("WRONG_MIGRATION", true),
        ErrorCode::Owned => ("DESTINATION_OWNS", true),
        ErrorCode::Stale => ("STALE_SESSION", false),
        ErrorCode::StaleGeneration => ("STALE_GENERATION", false),
        ErrorCode::Storage => ("DESTINATION_STORAGE_FAILED", false),
        ErrorCode::DiskFull => ("DESTINATION_FULL", false),
        ErrorCode::NotPrepared => ("DESTINATION_NOT_PREPARED", false),
        ErrorCode::Protocol | ErrorCode::Other(_) => ("PROTOCOL", false),
    }
}

fn read_have(job: &Job, reader: &mut LinkReader) -> Result<Vec<Bitmap>, Loss> {
    let new_map = |disk: &super::job::JobDiskIo| Bitmap::for_disk(disk.disk.file.capacity(), UNIT);
    let mut maps: Vec<Bitmap> = job.disks.iter().map(new_map).collect();
    let mut payload = Vec::new();
    loop {
        let header = reader.read(&mut payload)?;
        match header.kind {
            kind::HAVE => {
                let page = HavePage::decode(&payload).map_err(invalid)?;
                let map = maps.get_mut(usize::from(header.disk));
                let fits = map.as_ref().is_some_and(|map| {
                    header.off.checked_mul(UNITS_PER_PAGE).is_some_and(|first| first < map.len())
                });
                let Some(map) = map.filter(|_| fits) else {
                    return Err(Loss::new("PROTOCOL", "A have-map of a disk that is not here"));
                };
                let first = header.off * (UNITS_PER_PAGE / 64);
                for (at, word) in page.words.iter().enumerate().filter(|(_, word)| **word != 0) {
                    map.merge_word(first + at as u64, *word);
                }
            }
            kind::RESUME => return Ok(maps),
            kind::ACK | kind::PING => {}
            other => return Err(Loss::new("PROTOCOL", format!("Frame {other} before RESUME"))),
        }
    }
}

impl Job {
    /// The receiver knows a later epoch than this source: another one, or later state of this one,
    /// was at work. Nothing is believed.
    fn distrust(&self, epoch: u32) -> io::Result<()> {
        for disk in &self.disks {
            let base = disk.pair.destination_uuid.to_bytes();
            disk.disk.lose_trust(base, "the receiver knows a later epoch");
            disk.disk.book.lock().expect("book").suspect_all();
        }
        self.raise_epoch(epoch)
    }

    /// A new epoch: durable first, then in force. What is suspect must be compared.
    pub(super) fn raise_epoch(&self, epoch: u32) -> io::Result<()> {
        for disk in &self.disks {
            let mut sidecar = disk.disk.sidecar.lock().expect("sidecar");
            let state = sidecar.state;
            sidecar.store(super::sidecar::SidecarState { epoch, ..state })?;
        }
        self.epoch.store(epoch, SeqCst);
        self.session_number.store(0, SeqCst);
        self.distrust.store(true, SeqCst);
        self.disks.iter().for_each(|disk| disk.reread.lock().expect("reread").reset());
        Ok(())
    }
}
