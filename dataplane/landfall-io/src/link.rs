//! One TLS connection with whole frames on it. One thread reads; any thread may send, one at a
//! time. Frames are encrypted from where they lie into the buffer that goes to the socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use landfall_core::sending::SendQueue;
use landfall_wire::{HEADER_LEN, Header, PAYLOAD_LEN_MAX};

use crate::buffers::Buffer;
use crate::clock::now_ns;
use crate::meter::Meter;
use crate::records::{Opener, Outgoing, RECORD_LEN_MAX, Sealer};
use crate::tls::Secured;

/// Both sides send a PING at least this often.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(1);
/// A connection on which nothing comes for so long is dead.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Records given to the socket at once: few system calls, and still in the cache when the
/// kernel copies them.
const OUTGOING_RECORDS: usize = 16;
/// What the kernel may hold unsent: small, so that a new rate acts at once.
const NOT_SENT_MAX: libc::c_int = 256 << 10;

/// A frame to be sent: its sequence number is given when it goes.
pub(crate) struct Frame<'a> {
    pub(crate) header: Header,
    pub(crate) prefix: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    pub(crate) fn new(kind: u8, epoch: u32, payload: &'a [u8]) -> Self {
        Self { header: Header { kind, epoch, ..Header::default() }, prefix: &[], payload }
    }

    pub(crate) fn disk(mut self, disk: usize) -> Self {
        self.header.disk = disk as u16;
        self
    }
}

/// The sending half, with the ciphertext on its way to the socket.
struct Out {
    sealer: Sealer,
    ready: Outgoing,
    /// Headers and small payloads of one record.
    small: Vec<u8>,
}

/// The connection.
pub(crate) struct Link {
    socket: TcpStream,
    /// Held while a batch of frames goes out.
    out: Mutex<Out>,
    /// Never held over a system call: acknowledgements must not wait for a full socket.
    queue: Mutex<SendQueue>,
    /// Wire bytes in both directions.
    pub(crate) wire: Meter,
    last_heard_ns: AtomicU64,
}

impl Link {
    /// Takes over a socket whose handshake is done.
    pub(crate) fn new(secured: Secured) -> io::Result<(Arc<Self>, LinkReader)> {
        let Secured { socket, sealer, opener, .. } = secured;
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(None)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let silence_ms = SILENCE_MAX.as_millis() as libc::c_int;
        set_option(&socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, NOT_SENT_MAX)?;
        set_option(&socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, silence_ms)?;
        let small = Vec::with_capacity(RECORD_LEN_MAX);
        let link = Arc::new(Self {
            socket,
            out: Mutex::new(Out { sealer, ready: Outgoing::new(OUTGOING_RECORDS), small }),
            queue: Mutex::new(SendQueue::default()),
            wire: Meter::default(),
            last_heard_ns: AtomicU64::new(now_ns()),
        });
        let reader = LinkReader { link: link.clone(), opener };
        Ok((link, reader))
    }

    /// Sends frames in one go. `register` is called after the numbers are given and before the
    /// first byte leaves, so that an acknowledgement can never come first.
    pub(crate) fn send(
        &self,
        frames: &[Frame<'_>],
        register: impl FnOnce(&mut SendQueue),
    ) -> io::Result<()> {
        self.send_locked(self.out.lock().expect("link"), frames, register)
    }

    /// Sends unless another thread is sending: then the peer hears from us anyway.
    pub(crate) fn send_if_idle(&self, frames: &[Frame<'_>]) -> io::Result<()> {
        match self.out.try_lock() {
            Ok(out) => self.send_locked(out, frames, |_| {}),
            Err(_) => Ok(()),
        }
    }

    fn send_locked(
        &self,
        mut out: MutexGuard<'_, Out>,
        frames: &[Frame<'_>],
        register: impl FnOnce(&mut SendQueue),
    ) -> io::Result<()> {
        let first = self.queue(|queue| {
            let first = queue.next_seq();
            for _ in 1..frames.len() {
                queue.next_seq();
            }
            register(queue);
            first
        });
        let out = &mut *out;
        for (at, frame) in frames.iter().enumerate() {
            let len = (frame.prefix.len() + frame.payload.len()) as u32;
            let header = Header { len, seq: first + at as u64, ..frame.header };
            self.put_small(out, &header.encode())?;
            self.put_small(out, frame.prefix)?;
            if frame.payload.len() <= RECORD_LEN_MAX - out.small.len() {
                self.put_small(out, frame.payload)?;
                continue;
            }
            self.seal_small(out)?;
            for piece in frame.payload.chunks(RECORD_LEN_MAX) {
                self.seal(&mut out.sealer, &mut out.ready, piece)?;
            }
        }
        self.seal_small(out)?;
        self.write_out(&mut out.ready)
    }

    /// Gathers small parts of frames, so that many share a record.
    fn put_small(&self, out: &mut Out, mut part: &[u8]) -> io::Result<()> {
        while !part.is_empty() {
            if out.small.len() == RECORD_LEN_MAX {
                self.seal_small(out)?;
            }
            let (now, later) = part.split_at(part.len().min(RECORD_LEN_MAX - out.small.len()));
            out.small.extend_from_slice(now);
            part = later;
        }
        Ok(())
    }

    fn seal_small(&self, out: &mut Out) -> io::Result<()> {
        if !out.small.is_empty() {
            self.seal(&mut out.sealer, &mut out.ready, &out.small)?;
            out.small.clear();
        }
        Ok(())
    }

    fn seal(&self, sealer: &mut Sealer, ready: &mut Outgoing, plain: &[u8]) -> io::Result<()> {
        if sealer.key_is_old() {
            self.write_out(ready)?;
            sealer.renew_key(ready)?;
        }
        if !ready.has_room() {
            self.write_out(ready)?;
        }
        sealer.seal(ready, plain)
    }

    fn write_out(&self, ready: &mut Outgoing) -> io::Result<()> {
        (&self.socket).write_all(ready.bytes())?;
        self.wire.add(ready.bytes().len() as u64);
        ready.clear();
        Ok(())
    }

    /// What was sent and is not durable yet.
    pub(crate) fn queue<T>(&self, act: impl FnOnce(&mut SendQueue) -> T) -> T {
        act(&mut self.queue.lock().expect("link"))
    }

    /// Ends both directions; threads that wait on it return with an error.
    pub(crate) fn close(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Microseconds with something to send, and of these without room at the peer.
    pub(crate) fn send_times_us(&self) -> (u64, u64) {
        crate::tcp_info::send_times_us(&self.socket)
    }

    fn silent(&self) -> bool {
        let silence = now_ns().saturating_sub(self.last_heard_ns.load(Relaxed));
        silence > SILENCE_MAX.as_nanos() as u64
    }
}

/// The reading half; there is one per connection.
pub(crate) struct LinkReader {
    link: Arc<Link>,
    pub(crate) opener: Opener,
}

impl LinkReader {
    /// Reads the next frame; its payload replaces the content of `payload`.
    pub(crate) fn read(&mut self, payload: &mut Vec<u8>) -> io::Result<Header> {
        let header = self.header()?;
        payload.resize(header.len as usize, 0);
        self.fill(payload, header.len as usize)?;
        Ok(header)
    }

    /// Reads the next header; its payload must be read next.
    pub(crate) fn header(&mut self) -> io::Result<Header> {
        // Time spent elsewhere (a slow disk) is not the peer's silence.
        self.link.last_heard_ns.store(now_ns(), Relaxed);
        let mut bytes = [0; HEADER_LEN];
        self.fill(&mut bytes, HEADER_LEN)?;
        let header = Header::decode(&bytes).map_err(invalid)?;
        debug_assert!(header.len <= PAYLOAD_LEN_MAX);
        Ok(header)
    }

    /// Reads the payload of `header` into a buffer, so that the content behind a hash is aligned.
    pub(crate) fn payload(&mut self, header: &Header, buffer: &mut Buffer) -> io::Result<()> {
        let len = header.len as usize;
        self.fill(buffer.payload_room(), len)?;
        buffer.set_payload_len(len);
        Ok(())
    }

    fn fill(&mut self, buf: &mut [u8], wanted: usize) -> io::Result<()> {
        let mut done = 0;
        loop {
            done += self.opener.take(&mut buf[done..], wanted - done)?;
            if done == wanted {
                return Ok(());
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        loop {
            match (&self.link.socket).read(self.opener.room()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.opener.came(count);
                    self.link.last_heard_ns.store(now_ns(), Relaxed);
                    self.link.wire.add(count as u64);
                    return Ok(());
                }
                Err(error) if is_timeout(&error) => {
                    if self.link.silent() {
                        let text = "nothing came from the peer for too long";
                        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// An error for bytes that must not be used.
pub(crate) fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn set_option(
    socket: &TcpStream,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer is to a c_int that lives over the call, and `size` is its size.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
