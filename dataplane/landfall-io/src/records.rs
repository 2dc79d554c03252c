//! TLS 1.3 records without a copy: what is sent is encrypted from where it lies into the buffer
//! that goes to the socket; what came is decrypted to where it is wanted. rustls makes the
//! handshake and every key (`tls.rs`); only the record layer is here.
//!
//! It must not talk to sockets nor know what frames are.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

use crate::link::invalid;
use crate::tls::Rekey;

/// Plain bytes in one record, by RFC 8446.
pub(crate) const RECORD_LEN_MAX: usize = 16_384;
const HEAD_LEN: usize = 5;
const TAG_LEN: usize = 16;
/// Bytes a full record has on the wire.
pub(crate) const RECORD_WIRE_LEN: usize = HEAD_LEN + RECORD_LEN_MAX + 1 + TAG_LEN;
/// Longest protected record a peer may send, by RFC 8446.
const BODY_LEN_MAX: usize = RECORD_LEN_MAX + 256;
/// Records under one key: AES-GCM allows 2^24.5.
const RECORDS_PER_KEY_MAX: u64 = 1 << 23;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Key of one direction.
pub(crate) struct Key {
    key: LessSafeKey,
    iv: [u8; 12],
    seq: u64,
}

impl Key {
    /// From what rustls agreed on; `seq` is the number of the next record.
    pub(crate) fn new((seq, secrets): (u64, ConnectionTrafficSecrets)) -> io::Result<Self> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv)
            }
            _ => return Err(io::Error::other("a cipher suite without AEAD")),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(io::Error::other)?;
        let iv = iv.as_ref().try_into().map_err(io::Error::other)?;
        Ok(Self { key: LessSafeKey::new(key), iv, seq })
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, part) in nonce[4..].iter_mut().zip(self.seq.to_be_bytes()) {
            *byte ^= part;
        }
        self.seq += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// What both directions of a connection share: new keys come from rustls, and the peer may ask
/// us for one.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) rekey: Arc<Mutex<Box<dyn Rekey>>>,
    pub(crate) asked: Arc<AtomicBool>,
}

/// Ciphertext on its way to the socket.
pub(crate) struct Outgoing {
    bytes: Box<[u8]>,
    len: usize,
}

impl Outgoing {
    /// Room for `records` full records.
    pub(crate) fn new(records: usize) -> Self {
        Self { bytes: vec![0; records * RECORD_WIRE_LEN].into(), len: 0 }
    }

    /// Whether another full record fits.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.len() - self.len >= RECORD_WIRE_LEN
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

/// The sending direction.
pub(crate) struct Sealer {
    key: Key,
    shared: Shared,
}

impl Sealer {
    pub(crate) fn new(key: Key, shared: Shared) -> Self {
        Self { key, shared }
    }

    /// Appends one record with at most [`RECORD_LEN_MAX`] bytes of data; there is room for it.
    /// A new key comes first where it is due: then there must be room for two.
    pub(crate) fn seal(&mut self, out: &mut Outgoing, plain: &[u8]) -> io::Result<()> {
        self.record(out, DATA, plain)
    }

    /// Whether a new key must be announced before the next record.
    pub(crate) fn key_is_old(&self) -> bool {
        self.key.seq >= RECORDS_PER_KEY_MAX || self.shared.asked.load(SeqCst)
    }

    /// Appends the announcement of a new key, and uses it.
    pub(crate) fn renew_key(&mut self, out: &mut Outgoing) -> io::Result<()> {
        self.shared.asked.store(false, SeqCst);
        self.record(out, HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0])?;
        let next = self.shared.rekey.lock().expect("keys").next_tx().map_err(io::Error::other)?;
        self.key = Key::new(next)?;
        Ok(())
    }

    fn record(&mut self, out: &mut Outgoing, kind: u8, plain: &[u8]) -> io::Result<()> {
        let body_len = plain.len() + 1 + TAG_LEN;
        let head = head(body_len);
        let nonce = self.key.nonce();
        let room = &mut out.bytes[out.len..out.len + HEAD_LEN + body_len];
        room[..HEAD_LEN].copy_from_slice(&head);
        let (cipher, tail) = room[HEAD_LEN..].split_at_mut(plain.len());
        self.key
            .key
            .seal_out_of_place_scatter(nonce, Aad::from(head), plain, cipher, &[kind], tail)
            .map_err(io::Error::other)?;
        out.len += HEAD_LEN + body_len;
        Ok(())
    }
}

fn head(body_len: usize) -> [u8; HEAD_LEN] {
    let [high, low] = (body_len as u16).to_be_bytes();
    [DATA, 3, 3, high, low]
}

/// The receiving direction, with what was read from the socket and not used yet.
pub(crate) struct Opener {
    key: Key,
    shared: Shared,
    raw: Box<[u8]>,
    start: usize,
    end: usize,
    /// Decrypted bytes in `raw` that nobody took yet; they lie before `start`.
    plain: Range<usize>,
}

impl Opener {
    /// `early` is what came in plain text with the handshake, `raw` what follows it as read.
    pub(crate) fn new(key: Key, shared: Shared, len: usize, early: &[u8], rest: &[u8]) -> Self {
        let mut raw = vec![0; len.max(early.len() + rest.len() + HEAD_LEN + BODY_LEN_MAX)];
        let (start, end) = (early.len(), early.len() + rest.len());
        raw[..start].copy_from_slice(early);
        raw[start..end].copy_from_slice(rest);
        Self { key, shared, raw: raw.into(), start, end, plain: 0..start }
    }

    /// Where the socket's next bytes go; [`Opener::came`] says how many did. Only to be called
    /// when [`Opener::take`] gave nothing.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        debug_assert!(self.plain.is_empty());
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.raw.len() - self.start < HEAD_LEN + BODY_LEN_MAX {
            self.raw.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.plain = 0..0;
        &mut self.raw[self.end..]
    }

    /// So many bytes were read.
    pub(crate) fn came(&mut self, count: usize) {
        self.end += count;
    }

    /// Decrypts into `buf` until its first `wanted` bytes are filled or no whole record is left;
    /// the answer is the number of bytes filled. What lies behind them in `buf` may be
    /// overwritten: with a little room there, no record is copied.
    pub(crate) fn take(&mut self, buf: &mut [u8], wanted: usize) -> io::Result<usize> {
        let mut done = 0;
        loop {
            let count = self.plain.len().min(wanted - done);
            let from = self.plain.start;
            buf[done..done + count].copy_from_slice(&self.raw[from..from + count]);
            self.plain.start += count;
            done += count;
            if done == wanted {
                return Ok(done);
            }
            let Some(body) = self.next_record()? else { return Ok(done) };
            let inner = body.len() - TAG_LEN;
            if inner - 1 <= wanted - done && inner <= buf.len() - done {
                done += self.open_into(body, &mut buf[done..])?;
            } else {
                self.open_in_place(body)?;
            }
        }
    }

    /// The body of the next record, if all of it is there.
    fn next_record(&self) -> io::Result<Option<Range<usize>>> {
        let raw = &self.raw[self.start..self.end];
        let Some(head) = raw.first_chunk::<HEAD_LEN>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if head[..3] != [DATA, 3, 3] || len <= TAG_LEN || len > BODY_LEN_MAX {
            return Err(bad("a record that TLS 1.3 does not have"));
        }
        let start = self.start + HEAD_LEN;
        Ok((raw.len() >= HEAD_LEN + len).then_some(start..start + len))
    }

    /// Decrypts a record straight to where its content is wanted; the answer is its length.
    fn open_into(&mut self, body: Range<usize>, buf: &mut [u8]) -> io::Result<usize> {
        let nonce = self.key.nonce();
        let aad = Aad::from(head(body.len()));
        let (cipher, tag) = self.raw[body.clone()].split_at(body.len() - TAG_LEN);
        let out = &mut buf[..cipher.len()];
        self.key
            .key
            .open_separate_gather(nonce, aad, cipher, tag, out)
            .map_err(|_| bad("a record fails authentication"))?;
        self.start = body.end;
        let (kind, len) = content(out)?;
        if kind == DATA {
            return Ok(len);
        }
        self.not_data(kind, &out[..len])?;
        Ok(0)
    }

    fn open_in_place(&mut self, body: Range<usize>) -> io::Result<()> {
        let nonce = self.key.nonce();
        let aad = Aad::from(head(body.len()));
        let plain = self
            .key
            .key
            .open_in_place(nonce, aad, &mut self.raw[body.clone()])
            .map_err(|_| bad("a record fails authentication"))?;
        let (kind, len) = content(plain)?;
        self.start = body.end;
        if kind == DATA {
            self.plain = body.start..body.start + len;
            return Ok(());
        }
        let message = self.raw[body.start..body.start + len].to_vec();
        self.not_data(kind, &message)
    }

    /// Tickets are not used; new keys are; anything else ends the connection. Our peers never
    /// split such messages over records.
    fn not_data(&mut self, kind: u8, mut message: &[u8]) -> io::Result<()> {
        if kind == ALERT {
            return Err(match message {
                [_, 0] => io::ErrorKind::UnexpectedEof.into(),
                _ => bad("the peer sent an alert"),
            });
        }
        if kind != HANDSHAKE {
            return Err(bad("a record of unknown content"));
        }
        while let [kind, a, b, c, rest @ ..] = message {
            let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let (body, next) = rest.split_at_checked(len).ok_or_else(|| bad("a cut message"))?;
            match (*kind, body) {
                (NEW_SESSION_TICKET, _) => {}
                (KEY_UPDATE, [asked @ (0 | 1)]) if next.is_empty() => {
                    let mut rekey = self.shared.rekey.lock().expect("keys");
                    self.key = Key::new(rekey.next_rx().map_err(invalid)?)?;
                    if *asked == 1 {
                        self.shared.asked.store(true, SeqCst);
                    }
                }
                _ => return Err(bad("a handshake message after the handshake")),
            }
            message = next;
        }
        if message.is_empty() { Ok(()) } else { Err(bad("a cut message")) }
    }
}

/// Kind and length of a record's content: behind it come the kind and any number of zeroes.
fn content(plain: &[u8]) -> io::Result<(u8, usize)> {
    let at = plain.iter().rposition(|byte| *byte != 0).ok_or_else(|| bad("a record of nothing"))?;
    Ok((plain[at], at))
}

fn bad(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests;
