//! Transmission phase of one client. A few threads share the connection: one waits for the
//! next request while others carry theirs out, which keeps the latency of a single request low.
//! Memory per connection is bounded; when the server ends, nothing is answered any more.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::export::Export;
use crate::handshake::{ALLOCATION_CONTEXT_ID, Agreed, PAYLOAD_BYTES_MAX};
use crate::input::Input;
use crate::protocol::*;

/// Threads per connection: enough that reads pass while a write is being paced.
const THREADS: usize = 4;
/// Larger payloads move in pieces of this size, so that a thread needs no larger buffer.
const PIECE_BYTES: usize = 1 << 20;
/// Most extents in one block status answer.
const EXTENTS_MAX: usize = 1024;

/// One connection after its handshake.
pub struct Connection<'a> {
    pub export: &'a dyn Export,
    pub agreed: Agreed,
    /// Set when the server ends: answers are withheld from then on.
    pub ending: &'a AtomicBool,
    /// Held by whoever needs a buffer larger than a piece: one such buffer per server.
    pub large: &'a Mutex<()>,
    pub output: Mutex<UnixStream>,
}

/// What became of a request.
enum Outcome {
    /// Answer success, nothing to add.
    Done,
    /// Answer this error.
    Failed(u32),
    /// The answer was sent already.
    Answered,
}

/// Serves requests until the client leaves, breaks the protocol or the server ends.
pub fn transmit(connection: &Connection<'_>, input: Input) {
    let input = Mutex::new(Some(input));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut buffer = Vec::new();
                while let Some(guard) = lock(&input).filter_open() {
                    if connection.one(guard, &mut buffer).is_err() {
                        // Nobody reads on after a broken stream; the others see it closed.
                        let _ = lock(&connection.output).shutdown(std::net::Shutdown::Both);
                        *lock(&input) = None;
                    }
                }
            });
        }
    });
}

type InputGuard<'a> = MutexGuard<'a, Option<Input>>;

trait FilterOpen<'a> {
    fn filter_open(self) -> Option<InputGuard<'a>>;
}

impl<'a> FilterOpen<'a> for InputGuard<'a> {
    fn filter_open(self) -> Option<InputGuard<'a>> {
        self.is_some().then_some(self)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection<'_> {
    /// Takes one request off the stream, carries it out and answers. An error ends the connection.
    fn one(&self, mut guard: InputGuard<'_>, buffer: &mut Vec<u8>) -> io::Result<()> {
        let closed = || io::Error::from(io::ErrorKind::ConnectionAborted);
        let input = guard.as_mut().ok_or_else(closed)?;
        let request = Request::parse(&input.array()?).ok_or_else(closed)?;
        let payload = matches!(request.command, CMD_READ | CMD_WRITE);
        if payload && request.len > PAYLOAD_BYTES_MAX || request.command == CMD_DISCONNECT {
            return Err(closed());
        }
        let len = request.len as usize;
        let outcome = match request.command {
            CMD_WRITE if !request.fits(self.export.size()) => {
                input.discard(len)?;
                drop(guard);
                Outcome::Failed(if request.len == 0 { EINVAL } else { ENOSPC })
            }
            CMD_WRITE if len > PIECE_BYTES => self.write_pieces(guard, &request, buffer)?,
            CMD_WRITE => {
                buffer.resize(len, 0);
                input.read_exact(buffer)?;
                drop(guard);
                let fua = request.flags & FLAG_FUA != 0;
                outcome(self.export.write_at(buffer, request.offset, fua))?
            }
            _ => {
                drop(guard);
                self.without_payload(&request, buffer)?
            }
        };
        match outcome {
            Outcome::Done => self.answer(&request, 0, &[]),
            Outcome::Failed(errno) => self.answer(&request, errno, &[]),
            Outcome::Answered => Ok(()),
        }
    }

    fn write_pieces(
        &self,
        mut guard: InputGuard<'_>,
        request: &Request,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Outcome> {
        let input = guard.as_mut().ok_or(io::ErrorKind::ConnectionAborted)?;
        let (mut at, end) = (request.offset, request.offset + u64::from(request.len));
        let mut result = Outcome::Done;
        while at < end {
            let count = (end - at).min(PIECE_BYTES as u64);
            buffer.resize(count as usize, 0);
            input.read_exact(buffer)?;
            if matches!(result, Outcome::Done) {
                let fua = request.flags & FLAG_FUA != 0 && at + count == end;
                result = outcome(self.export.write_at(buffer, at, fua))?;
            }
            at += count;
        }
        // Only the last piece carried FUA; it covers its own bytes, the rest needs a flush.
        if matches!(result, Outcome::Done) && request.flags & FLAG_FUA != 0 {
            result = outcome(self.export.flush())?;
        }
        Ok(result)
    }

    fn without_payload(&self, request: &Request, buffer: &mut Vec<u8>) -> io::Result<Outcome> {
        let (offset, len) = (request.offset, u64::from(request.len));
        let fua = request.flags & FLAG_FUA != 0;
        if request.command == CMD_FLUSH {
            return outcome(self.export.flush());
        }
        if !request.fits(self.export.size()) {
            let no_space = request.command == CMD_WRITE_ZEROES && len > 0;
            return Ok(Outcome::Failed(if no_space { ENOSPC } else { EINVAL }));
        }
        match request.command {
            CMD_READ => self.read(request, buffer),
            CMD_TRIM => outcome(self.export.trim(offset, len, fua)),
            CMD_WRITE_ZEROES => {
                let may_trim = request.flags & FLAG_NO_HOLE == 0;
                outcome(self.export.write_zeroes(offset, len, may_trim, fua))
            }
            CMD_BLOCK_STATUS if self.agreed.allocation => self.block_status(request),
            _ => Ok(Outcome::Failed(EINVAL)),
        }
    }

    fn read(&self, request: &Request, buffer: &mut Vec<u8>) -> io::Result<Outcome> {
        let len = request.len as usize;
        if self.agreed.structured && request.flags & FLAG_DF == 0 {
            return self.read_chunks(request, buffer);
        }
        // A simple reply says first whether all of it succeeded, so all of it is read before.
        let large = (len > PIECE_BYTES).then(|| lock(self.large));
        let mut own = Vec::new();
        let target = if large.is_some() { &mut own } else { buffer };
        target.resize(len, 0);
        match outcome(self.export.read_at(target, request.offset))? {
            Outcome::Done if self.agreed.structured => {
                self.chunk(request, CHUNK_DONE, CHUNK_DATA, &request.offset.to_be_bytes(), target)?;
                Ok(Outcome::Answered)
            }
            Outcome::Done => {
                self.answer(request, 0, target)?;
                Ok(Outcome::Answered)
            }
            failed => Ok(failed),
        }
    }

    fn read_chunks(&self, request: &Request, buffer: &mut Vec<u8>) -> io::Result<Outcome> {
        let (mut at, end) = (request.offset, request.offset + u64::from(request.len));
        while at < end {
            let count = (end - at).min(PIECE_BYTES as u64);
            buffer.resize(count as usize, 0);
            if let Outcome::Failed(errno) = outcome(self.export.read_at(buffer, at))? {
                return Ok(Outcome::Failed(errno));
            }
            let done = if at + count == end { CHUNK_DONE } else { 0 };
            self.chunk(request, done, CHUNK_DATA, &at.to_be_bytes(), buffer)?;
            at += count;
        }
        Ok(Outcome::Answered)
    }

    fn block_status(&self, request: &Request) -> io::Result<Outcome> {
        let max = if request.flags & FLAG_REQ_ONE != 0 { 1 } else { EXTENTS_MAX };
        let len = u64::from(request.len);
        let extents = match self.export.extents(request.offset, len, max) {
            Ok(extents) if !extents.is_empty() => extents,
            Ok(_) => return Ok(Outcome::Failed(EIO)),
            Err(error) => return outcome(Err(error)),
        };
        let mut left = len;
        let mut answer = ALLOCATION_CONTEXT_ID.to_be_bytes().to_vec();
        for extent in extents.iter().take(max) {
            let count = extent.len.min(left);
            if count == 0 {
                break;
            }
            let hole = if extent.hole { STATE_HOLE } else { 0 };
            let zero = if extent.zero { STATE_ZERO } else { 0 };
            answer.extend((count as u32).to_be_bytes());
            answer.extend((hole | zero).to_be_bytes());
            left -= count;
        }
        self.chunk(request, CHUNK_DONE, CHUNK_BLOCK_STATUS, &[], &answer)?;
        Ok(Outcome::Answered)
    }

    fn answer(&self, request: &Request, errno: u32, data: &[u8]) -> io::Result<()> {
        if self.agreed.structured {
            if errno == 0 {
                return self.chunk(request, CHUNK_DONE, CHUNK_NONE, &[], &[]);
            }
            let mut error = errno.to_be_bytes().to_vec();
            error.extend(0u16.to_be_bytes());
            return self.chunk(request, CHUNK_DONE, CHUNK_ERROR, &[], &error);
        }
        let mut header = [0; 16];
        header[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
        header[4..8].copy_from_slice(&errno.to_be_bytes());
        header[8..].copy_from_slice(&request.cookie);
        self.send(&header, data)
    }

    fn chunk(
        &self,
        request: &Request,
        flags: u16,
        kind: u16,
        prefix: &[u8],
        data: &[u8],
    ) -> io::Result<()> {
        let mut header = Vec::with_capacity(28);
        header.extend(STRUCTURED_REPLY_MAGIC.to_be_bytes());
        header.extend(flags.to_be_bytes());
        header.extend(kind.to_be_bytes());
        header.extend(request.cookie);
        header.extend(((prefix.len() + data.len()) as u32).to_be_bytes());
        header.extend(prefix);
        self.send(&header, data)
    }

    fn send(&self, header: &[u8], data: &[u8]) -> io::Result<()> {
        let mut output = lock(&self.output);
        if self.ending.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let mut slices = [io::IoSlice::new(header), io::IoSlice::new(data)];
        let mut left = &mut slices[..];
        let mut total = header.len() + data.len();
        while total > 0 {
            match output.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    total -= count;
                    io::IoSlice::advance_slices(&mut left, count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The disk's own errors go to the client; "not now" ends the connection without an answer.
fn outcome(result: io::Result<()>) -> io::Result<Outcome> {
    match result {
        Ok(()) => Ok(Outcome::Done),
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Err(error),
        Err(error) => Ok(Outcome::Failed(match error.raw_os_error() {
            Some(errno @ (1 | 5 | 12 | 22 | 28 | 75 | 95)) => errno as u32,
            _ => EIO,
        })),
    }
}
