//! One TLS connection with whole frames on it. One thread reads; any thread may send. The lock
//! on the TLS state is held for copying only, never while the socket waits.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use landfall_core::sending::SendQueue;
use landfall_wire::{HEADER_LEN, Header, PAYLOAD_LEN_MAX};

use crate::clock::now_ns;
use crate::meter::Meter;

/// Both sides send a PING at least this often.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(1);
/// A connection on which nothing comes for so long is dead.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Plain bytes encrypted at once: bounds memory and the time the TLS lock is held.
const PIECE_LEN: usize = 128 << 10;
const RAW_LEN: usize = 256 << 10;
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

/// The connection.
pub(crate) struct Link {
    socket: TcpStream,
    tls: Mutex<rustls::Connection>,
    /// Held while a batch of frames goes out, with the ciphertext on its way to the socket.
    out: Mutex<Vec<u8>>,
    /// Never held over a system call: acknowledgements must not wait for a full socket.
    queue: Mutex<SendQueue>,
    /// Wire bytes in both directions.
    pub(crate) wire: Meter,
    last_heard_ns: AtomicU64,
}

impl Link {
    /// Takes over a socket whose handshake is done.
    pub(crate) fn new(socket: TcpStream, mut tls: rustls::Connection) -> io::Result<Arc<Self>> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let silence_ms = SILENCE_MAX.as_millis() as libc::c_int;
        set_option(&socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, NOT_SENT_MAX)?;
        set_option(&socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, silence_ms)?;
        tls.set_buffer_limit(None);
        Ok(Arc::new(Self {
            socket,
            tls: Mutex::new(tls),
            out: Mutex::new(Vec::new()),
            queue: Mutex::new(SendQueue::default()),
            wire: Meter::default(),
            last_heard_ns: AtomicU64::new(now_ns()),
        }))
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
        mut cipher: MutexGuard<'_, Vec<u8>>,
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
        for (at, frame) in frames.iter().enumerate() {
            let len = (frame.prefix.len() + frame.payload.len()) as u32;
            let header = Header { len, seq: first + at as u64, ..frame.header };
            self.encrypt(&mut cipher, &header.encode())?;
            self.encrypt(&mut cipher, frame.prefix)?;
            for piece in frame.payload.chunks(PIECE_LEN) {
                self.encrypt(&mut cipher, piece)?;
                if cipher.len() >= PIECE_LEN {
                    self.write_out(&mut cipher)?;
                }
            }
        }
        self.write_out(&mut cipher)
    }

    fn encrypt(&self, cipher: &mut Vec<u8>, plain: &[u8]) -> io::Result<()> {
        let mut tls = self.tls.lock().expect("link");
        tls.writer().write_all(plain)?;
        while tls.wants_write() {
            tls.write_tls(cipher)?;
        }
        Ok(())
    }

    fn write_out(&self, cipher: &mut Vec<u8>) -> io::Result<()> {
        (&self.socket).write_all(cipher)?;
        self.wire.add(cipher.len() as u64);
        cipher.clear();
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

    fn silent(&self) -> bool {
        let silence = now_ns().saturating_sub(self.last_heard_ns.load(Relaxed));
        silence > SILENCE_MAX.as_nanos() as u64
    }
}

/// The reading half; there is one per connection.
pub(crate) struct LinkReader {
    link: Arc<Link>,
    raw: Vec<u8>,
    start: usize,
    end: usize,
}

impl LinkReader {
    pub(crate) fn new(link: &Arc<Link>) -> Self {
        // Time spent elsewhere (a slow disk) is not the peer's silence.
        link.last_heard_ns.store(now_ns(), Relaxed);
        Self { link: link.clone(), raw: vec![0; RAW_LEN], start: 0, end: 0 }
    }

    /// Reads the next frame; its payload replaces the content of `payload`.
    pub(crate) fn read(&mut self, payload: &mut Vec<u8>) -> io::Result<Header> {
        self.link.last_heard_ns.store(now_ns(), Relaxed);
        let mut bytes = [0; HEADER_LEN];
        self.fill(&mut bytes)?;
        let header = Header::decode(&bytes).map_err(invalid)?;
        debug_assert!(header.len <= PAYLOAD_LEN_MAX);
        payload.resize(header.len as usize, 0);
        self.fill(payload)?;
        Ok(header)
    }

    fn fill(&mut self, mut rest: &mut [u8]) -> io::Result<()> {
        while !rest.is_empty() {
            let count = self.take_plain(rest)?;
            rest = &mut rest[count..];
            if !rest.is_empty() && self.start == self.end {
                self.receive()?;
            }
        }
        Ok(())
    }

    /// Decrypts what was received until `rest` is full or nothing is left.
    fn take_plain(&mut self, rest: &mut [u8]) -> io::Result<usize> {
        let mut tls = self.link.tls.lock().expect("link");
        let mut done = 0;
        loop {
            match tls.reader().read(&mut rest[done..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.start == self.end {
                        return Ok(done);
                    }
                    let mut raw = &self.raw[self.start..self.end];
                    let before = raw.len();
                    tls.read_tls(&mut raw)?;
                    self.start += before - raw.len();
                    tls.process_new_packets().map_err(invalid)?;
                }
                Err(error) => return Err(error),
            }
            if done == rest.len() {
                return Ok(done);
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        loop {
            match (&self.link.socket).read(&mut self.raw) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    (self.start, self.end) = (0, count);
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
