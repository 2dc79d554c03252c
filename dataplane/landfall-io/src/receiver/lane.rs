//! One connection: a thread reads, decrypts, unpacks and checks frames, another carries them
//! out in order. Between them lie a few buffers, so that network and disk work at once and a
//! slow disk holds up the network instead of filling memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver as Queue, SyncSender, sync_channel};

use landfall_wire::{BatchList, Codec, Header, Unpacker, features, flags, kind};

use super::Receiver;
use super::frames::carry_out;
use super::session::{LaneState, Refusal, Session, begin, say};
use crate::buffers::{Buffer, Pool};
use crate::link::{Link, LinkReader};
use crate::tls::Secured;

/// Buffers of a connection: one being read, one it is unpacked to, one being written, the rest
/// wait. Nine connections hold 63 MiB at most.
const BUFFERS: usize = 7;

/// A frame on its way from the reading to the writing thread.
pub(super) struct Item {
    pub(super) header: Header,
    /// The payload, or the content where that was packed.
    buffer: Buffer,
    unpacked: bool,
    /// Where the content of a batch belongs; of other frames it is empty.
    pub(super) batch: BatchList,
}

impl Item {
    /// The payload of a frame without content.
    pub(super) fn payload(&self) -> &[u8] {
        self.buffer.payload()
    }

    /// Content of a DATA or BATCH frame.
    pub(super) fn content(&self) -> &[u8] {
        if self.unpacked {
            return self.buffer.content(self.header.raw as usize);
        }
        let head = if self.batch.extents.is_empty() { 0 } else { self.batch.encoded_len() };
        let hash = if self.header.hashed() { 32 } else { 0 };
        &self.buffer.payload()[head + hash..]
    }
}

/// Serves one connection until it ends.
pub(super) fn serve(receiver: &Arc<Receiver>, secured: Secured, peer: &str) -> io::Result<()> {
    let (link, mut reader) = Link::new(secured)?;
    let mut payload = Vec::new();
    let header = reader.read(&mut payload)?;
    match begin(receiver, &link, header, &payload, peer) {
        Ok((session, lane)) => {
            let ended = run(receiver, &session, &lane, reader);
            link.close();
            session.leave(&lane);
            receiver.session_ended(&session);
            match ended {
                Ok(()) => Ok(()),
                Err(Ended::Io(error)) => Err(error),
                Err(Ended::Refused(refusal)) => Err(io::Error::other(refusal.text)),
            }
        }
        Err(refusal) => {
            say(&link, header.epoch, &refusal);
            link.close();
            Err(io::Error::other(refusal.text))
        }
    }
}

enum Ended {
    Io(io::Error),
    Refused(Refusal),
}

impl<E: Into<Refusal>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// I6: both threads have ended when this returns.
fn run(
    receiver: &Arc<Receiver>,
    session: &Arc<Session>,
    lane: &Arc<LaneState>,
    mut reader: LinkReader,
) -> Result<(), Ended> {
    let (items, queue) = sync_channel(BUFFERS);
    std::thread::scope(|scope| {
        let write = || {
            let done = write_frames(receiver, session, lane, &queue);
            if let Err(refusal) = &done {
                say(&lane.link, session.epoch, refusal);
                lane.link.close();
            }
            // What is still queued must not be carried out; its buffers go back.
            drop(queue);
            done
        };
        let writer = std::thread::Builder::new().name("lf-apply".into()).spawn_scoped(scope, write);
        let writer = writer.map_err(Ended::Io)?;
        let read = read_frames(session, &mut reader, items);
        if let Err(Ended::Refused(refusal)) = &read {
            say(&lane.link, session.epoch, refusal);
        }
        let written = writer.join().unwrap_or_else(|_| {
            Err(Refusal::protocol("the thread that applies frames has stopped"))
        });
        written.map_err(Ended::Refused).and(read)
    })
}

/// Reads frames until the connection ends. A frame whose content does not fit its hash is
/// never handed on.
fn read_frames(
    session: &Session,
    reader: &mut LinkReader,
    items: SyncSender<Item>,
) -> Result<(), Ended> {
    let pool = Pool::new(BUFFERS);
    let mut unpacker = Unpacker::default();
    loop {
        let header = reader.header().map_err(Ended::Io)?;
        if session.closed.load(SeqCst) {
            return Ok(());
        }
        if header.epoch != session.epoch {
            return Err(Refusal::stale("a frame of another epoch").into());
        }
        let mut buffer = pool.take();
        reader.payload(&header, &mut buffer).map_err(Ended::Io)?;
        let item = match header.kind {
            kind::DATA | kind::BATCH => checked(session, header, buffer, &pool, &mut unpacker)?,
            _ => Item { header, buffer, unpacked: false, batch: BatchList::default() },
        };
        let last = header.kind == kind::BYE;
        if items.send(item).is_err() || last {
            return Ok(());
        }
    }
}

/// Unpacks content and checks it against its hash.
fn checked(
    session: &Session,
    header: Header,
    buffer: Buffer,
    pool: &Pool,
    unpacker: &mut Unpacker,
) -> Result<Item, Refusal> {
    let codec = Codec::from_flags(header.flags)?;
    let batched = header.kind == kind::BATCH;
    let needed = codec.feature() | if batched { features::BATCH } else { 0 };
    if session.features & needed != needed {
        return Err(Refusal::protocol("a feature that was not agreed on"));
    }
    let payload = buffer.payload();
    let (batch, rest) = match batched {
        true => BatchList::decode(payload, header.raw)?,
        false => (BatchList::default(), payload),
    };
    let hash_len = if header.hashed() { 32 } else { 0 };
    let (hash, packed) = rest
        .split_at_checked(hash_len)
        .ok_or_else(|| Refusal::protocol("content shorter than its hash"))?;
    let hash: Option<[u8; 32]> = hash.try_into().ok();
    let raw = header.raw as usize;
    let mut item = if codec == Codec::None {
        if packed.len() != raw {
            return Err(Refusal::protocol("the length of the content is another"));
        }
        Item { header, buffer, unpacked: false, batch }
    } else {
        let mut content = pool.take();
        unpacker.unpack(codec, packed, content.content_mut(raw))?;
        Item { header, buffer: content, unpacked: true, batch }
    };
    item.header.flags &= !flags::CODEC_MASK;
    match hash {
        Some(hash) if landfall_core::tree::hash(item.content()) != hash => {
            Err(Refusal::protocol("the content does not fit its hash"))
        }
        _ => Ok(item),
    }
}

/// Carries frames out in the order of their numbers.
fn write_frames(
    receiver: &Arc<Receiver>,
    session: &Arc<Session>,
    lane: &Arc<LaneState>,
    queue: &Queue<Item>,
) -> Result<(), Refusal> {
    for item in queue {
        if session.closed.load(SeqCst) {
            return Ok(());
        }
        let changed = carry_out(receiver, session, lane, &item)?;
        let noted = lane.book.lock().expect("book").applied(item.header.seq);
        noted.map_err(|wanted| Refusal::protocol(format!("frame {wanted} is missing")))?;
        if changed {
            let foreground = item.header.flags & flags::FOREGROUND != 0;
            receiver.signal_work(item.header.raw.into(), foreground);
        }
    }
    Ok(())
}
