//! Sessions of a source: admission with fencing (I6), the connections that belong to one, and
//! its end. What comes over the connections is served by `lane.rs`.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};

use landfall_core::receiver::{FrameBook, UNITS_PER_PAGE};
use landfall_wire::{
    Ack, ErrorCode, ErrorMessage, HavePage, Header, Hello, HelloAck, Lane, PROTOCOL_MAX,
    PROTOCOL_MIN, WireError, features, kind, negotiate,
};

use super::{Destination, Receiver, answers, start_ticking};
use crate::fault;
use crate::link::{Frame, Link, PING_EVERY};

/// What the source may have under way. It bounds what is sent again after a loss (64 MiB with
/// what is being read) and covers two flushes at over 1 GB/s.
const WINDOW_BYTES: u64 = 48 << 20;

/// What this receiver can do beyond the version.
const FEATURES: u64 =
    features::CODEC_LZ4 | features::CODEC_ZSTD | features::BATCH | features::REREAD;

/// Why a peer is sent away.
pub(super) struct Refusal {
    code: ErrorCode,
    value: u64,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, value: u64, text: impl Into<String>) -> Self {
        Self { code, value, text: text.into() }
    }

    pub(super) fn stale(text: &str) -> Self {
        Self::new(ErrorCode::Stale, 0, text)
    }

    pub(super) fn protocol(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::Protocol, 0, text)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        // By kind: an error that is told to several connections has no number any more.
        let full =
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let code = if full { ErrorCode::DiskFull } else { ErrorCode::Storage };
        Self::new(code, 0, error.to_string())
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::protocol(error.to_string())
    }
}

/// One connection of a session.
pub(super) struct LaneState {
    pub(super) link: Arc<Link>,
    pub(super) book: Mutex<FrameBook>,
    pub(super) epoch: u32,
}

/// One session: all connections of one source in one epoch.
pub(super) struct Session {
    hello: Hello,
    /// Features both sides have.
    pub(super) features: u64,
    pub(super) epoch: u32,
    pub(super) disks: Vec<Arc<Destination>>,
    lanes: Mutex<Vec<Arc<LaneState>>>,
    live: Mutex<usize>,
    ended: Condvar,
    pub(super) closed: AtomicBool,
}

impl Session {
    pub(super) fn lanes(&self) -> Vec<Arc<LaneState>> {
        self.lanes.lock().expect("lanes").clone()
    }

    /// Ends the session because nothing can be made durable (I8).
    pub(super) fn fail_storage(&self, error: &io::Error) {
        let refusal = Refusal::from(io::Error::new(error.kind(), error.to_string()));
        for lane in self.lanes() {
            say(&lane.link, self.epoch, &refusal);
        }
        self.close();
    }

    pub(super) fn closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    fn close(&self) {
        self.closed.store(true, SeqCst);
        self.lanes().iter().for_each(|lane| lane.link.close());
    }

    /// I6: after this no thread of the session touches a disk any more.
    pub(super) fn close_and_join(&self) {
        self.close();
        let live = self.live.lock().expect("live");
        drop(self.ended.wait_while(live, |live| *live > 0).expect("live"));
    }

    fn enter(&self, lane: Arc<LaneState>) -> bool {
        let mut live = self.live.lock().expect("live");
        if self.closed.load(SeqCst) {
            return false;
        }
        *live += 1;
        self.lanes.lock().expect("lanes").push(lane);
        true
    }

    pub(super) fn leave(&self, lane: &Arc<LaneState>) {
        self.lanes.lock().expect("lanes").retain(|other| !Arc::ptr_eq(other, lane));
        *self.live.lock().expect("live") -= 1;
        self.ended.notify_all();
    }
}

/// Sends signs of life, and acknowledgements that may have come too early for the source.
pub(super) fn start_keepalive(receiver: &Arc<Receiver>) {
    start_ticking(receiver, "lf-ping", PING_EVERY, |receiver| {
        let session = receiver.session.lock().expect("session").clone();
        let Some(session) = session else { return };
        let stale_chunks = receiver.stale_chunks();
        for lane in session.lanes() {
            let book = *lane.book.lock().expect("book");
            let ack = Ack { received: book.received(), durable: book.durable(), stale_chunks };
            let frame = ack.encode();
            let _ = lane.link.send_if_idle(&[Frame::new(kind::ACK, lane.epoch, &frame)]);
        }
    });
}

/// Tells the peer why its connection ends.
pub(super) fn say(link: &Link, epoch: u32, refusal: &Refusal) {
    let message =
        ErrorMessage { code: refusal.code, value: refusal.value, text: refusal.text.clone() };
    let _ = link.send_if_idle(&[Frame::new(kind::ERR, epoch, &message.encode())]);
}

/// Admits a connection that says HELLO.
pub(super) fn begin(
    receiver: &Arc<Receiver>,
    link: &Arc<Link>,
    header: Header,
    payload: &[u8],
    peer: &str,
) -> Result<(Arc<Session>, Arc<LaneState>), Refusal> {
    if header.kind != kind::HELLO || header.seq != 1 {
        return Err(Refusal::protocol("the first frame is HELLO"));
    }
    let hello = Hello::decode(payload)?;
    let Some((protocol, features)) = negotiate(&hello, FEATURES) else {
        let text = format!("this side speaks versions {PROTOCOL_MIN} to {PROTOCOL_MAX}");
        return Err(Refusal::new(ErrorCode::Version, PROTOCOL_MAX.into(), text));
    };
    let name = format!("/source/{}", receiver.migration);
    if hello.migration != receiver.migration.as_str() || !peer.ends_with(&name) {
        let text = format!("this receiver serves migration {} only", receiver.migration);
        return Err(Refusal::new(ErrorCode::WrongMigration, 0, text));
    }
    let mut book = FrameBook::default();
    let _ = book.applied(1);
    let lane =
        Arc::new(LaneState { link: link.clone(), book: Mutex::new(book), epoch: header.epoch });
    let session = match hello.lane {
        Lane::Prio => receiver.open_session(hello, header.epoch, &lane)?,
        Lane::Bulk => receiver.join_session(&hello, header.epoch, &lane)?,
    };
    let ownership = receiver.ownership();
    let ack = HelloAck {
        protocol,
        features,
        window_bytes: WINDOW_BYTES,
        ownership: answers::peer_view(ownership),
        token: ownership.token(),
        build: env!("CARGO_PKG_VERSION").into(),
    };
    let sent = link
        .send(&[Frame::new(kind::HELLO_ACK, header.epoch, &ack.encode())], |_| {})
        .and_then(|()| match session.hello.lane {
            Lane::Prio if session.lanes().len() == 1 => send_have(link, &session),
            _ => Ok(()),
        });
    if let Err(error) = sent {
        link.close();
        session.leave(&lane);
        receiver.session_ended(&session);
        return Err(error.into());
    }
    Ok((session, lane))
}

fn send_have(link: &Link, session: &Session) -> io::Result<()> {
    for (index, disk) in session.disks.iter().enumerate() {
        let have = disk.book.lock().expect("book").have().clone();
        let words = UNITS_PER_PAGE / 64;
        for page in 0..have.len().div_ceil(UNITS_PER_PAGE) {
            let mut out = HavePage::default();
            for (at, word) in out.words.iter_mut().enumerate() {
                *word = have.word(page * words + at as u64);
            }
            let payload = out.encode();
            let mut frame = Frame::new(kind::HAVE, session.epoch, &payload).disk(index);
            frame.header.off = page;
            link.send(&[frame], |_| {})?;
        }
    }
    link.send(&[Frame::new(kind::RESUME, session.epoch, &[])], |_| {})
}

impl Receiver {
    /// Fences what was before, flushes it, then lets the new session in.
    fn open_session(
        &self,
        hello: Hello,
        epoch: u32,
        lane: &Arc<LaneState>,
    ) -> Result<Arc<Session>, Refusal> {
        let _one_at_a_time = self.admission.lock().expect("admission");
        let disks = self.session_disks(&hello)?;
        let mut fence = self.state.lock().expect("state").fence;
        if hello.generation < fence.generation {
            let text = "a newer holder commands the job";
            return Err(Refusal::new(ErrorCode::StaleGeneration, fence.generation, text));
        }
        let known = u64::from(fence.epoch);
        let new_epoch = fence
            .open(hello.generation, epoch, hello.session)
            .map_err(|_| Refusal::new(ErrorCode::Stale, known, "a newer source is known"))?;
        let before = self.session.lock().expect("session").take();
        if let Some(before) = before {
            before.close_and_join();
        }
        self.flush(None)?;
        fault::point("session-open")?;
        {
            let mut state = self.state.lock().expect("state");
            let generation = state.fence.generation;
            state.fence = fence;
            if new_epoch || generation != fence.generation {
                state.save()?;
            }
        }
        let session = Arc::new(Session {
            features: hello.features & FEATURES,
            hello,
            epoch,
            disks,
            lanes: Mutex::new(Vec::new()),
            live: Mutex::new(0),
            ended: Condvar::new(),
            closed: AtomicBool::new(false),
        });
        session.enter(lane.clone());
        *self.session.lock().expect("session") = Some(session.clone());
        tracing::info!(epoch, session = session.hello.session, "session opened");
        Ok(session)
    }

    fn join_session(
        &self,
        hello: &Hello,
        epoch: u32,
        lane: &Arc<LaneState>,
    ) -> Result<Arc<Session>, Refusal> {
        let stale = || Refusal::new(ErrorCode::Stale, 0, "the session is not in force");
        let fence = self.state.lock().expect("state").fence;
        fence.check(epoch, hello.session).map_err(|_| stale())?;
        let session = self.session.lock().expect("session").clone().ok_or_else(stale)?;
        if session.hello.disks != hello.disks {
            return Err(Refusal::protocol("the disks are not those of the session"));
        }
        if !session.enter(lane.clone()) {
            return Err(stale());
        }
        Ok(session)
    }

    fn session_disks(&self, hello: &Hello) -> Result<Vec<Arc<Destination>>, Refusal> {
        let disks = self.open_destinations();
        let find = |wanted: &landfall_wire::HelloDisk| {
            let named = |disk: &&Arc<Destination>| {
                disk.pair.destination_uuid.to_bytes() == wanted.destination
                    && disk.pair.source_uuid.to_bytes() == wanted.source
            };
            let refuse = |text: String| Refusal::new(ErrorCode::NotPrepared, 0, text);
            let disk = disks
                .iter()
                .find(named)
                .ok_or_else(|| refuse("a disk of the job is not prepared here".into()))?;
            let (ours, theirs) = (disk.pair.capacity_bytes.0, wanted.capacity_bytes);
            if ours != theirs {
                let uuid = &disk.pair.destination_uuid;
                let text = format!("disk {uuid} has {ours} bytes here and {theirs} at the source");
                return Err(refuse(text));
            }
            Ok(disk.clone())
        };
        hello.disks.iter().map(find).collect()
    }

    /// A session whose connections are all gone is over; its frames stay applied.
    pub(super) fn session_ended(&self, session: &Arc<Session>) {
        let mut current = self.session.lock().expect("session");
        let is_current = current.as_ref().is_some_and(|other| Arc::ptr_eq(other, session));
        if is_current && *session.live.lock().expect("live") == 0 {
            *current = None;
        }
    }
}
