//! Transmission phase of one client. One thread reads and carries out by itself what takes
//! microseconds; whatever may wait is done after the reading was handed on (`line.rs`). Memory
//! per connection is bounded; when the server ends, nothing is answered any more.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Instant;

use crate::caller;
use crate::export::Export;
use crate::handshake::{ALLOCATION_CONTEXT_ID, Agreed, PAYLOAD_BYTES_MAX};
use crate::input::Input;
use crate::line::Line;
use crate::protocol::*;
use crate::recent::Recent;

/// Larger payloads move in pieces of this size, so that a thread needs no larger buffer.
const PIECE_BYTES: usize = 256 << 10;
/// What is no longer than this is carried out by the reader, if it need not wait.
const QUICK_BYTES: usize = 32 << 10;
/// Most extents in one block status answer.
const EXTENTS_MAX: usize = 1024;

/// One connection after its handshake.
pub struct Connection<'a> {
    export: &'a dyn Export,
    agreed: Agreed,
    line: Arc<Line>,
    input: Mutex<Input>,
    recent: Recent,
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

/// How a connection goes on after a request.
#[derive(PartialEq, Eq)]
enum Next {
    Request,
    Goodbye,
}

impl<'a> Connection<'a> {
    pub fn new(export: &'a dyn Export, agreed: Agreed, line: Line, input: Input) -> Self {
        Self {
            export,
            agreed,
            line: Arc::new(line),
            input: Mutex::new(input),
            recent: Recent::new(),
        }
    }

    /// Serves requests until the client leaves, breaks the protocol or the server ends.
    pub fn transmit(&self) {
        std::thread::scope(|scope| self.work(scope));
    }

    fn work<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        let mut buffer = Vec::new();
        caller::enter(&self.line);
        while self.line.take_turn() {
            if self.line.wants_thread() {
                scope.spawn(move || self.work(scope));
            }
            caller::begin_reading();
            loop {
                match self.one(&mut buffer) {
                    Ok(Next::Request) if caller::reads() => {}
                    Ok(Next::Request) => break,
                    Ok(Next::Goodbye) => {
                        self.line.close(false);
                        break;
                    }
                    Err(_) => {
                        // Nobody reads on after a broken stream.
                        self.line.close(true);
                        break;
                    }
                }
            }
        }
        caller::leave();
    }

    /// Takes one request off the stream, carries it out and answers. An error ends the connection.
    fn one(&self, buffer: &mut Vec<u8>) -> io::Result<Next> {
        let closed = || io::Error::from(io::ErrorKind::ConnectionAborted);
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let request = Request::parse(&input.array()?).ok_or_else(closed)?;
        let payload = matches!(request.command, CMD_READ | CMD_WRITE);
        if payload && request.len > PAYLOAD_BYTES_MAX {
            return Err(closed());
        }
        let len = request.len as usize;
        let outcome = match request.command {
            CMD_DISCONNECT => return Ok(Next::Goodbye),
            CMD_WRITE if request.refused(self.export.size()).is_some() => {
                input.discard(len)?;
                drop(input);
                Outcome::Failed(request.refused(self.export.size()).unwrap_or(EINVAL))
            }
            CMD_WRITE if len > PIECE_BYTES => {
                self.line.output.flush()?;
                let result = self.write_pieces(&mut input, &request, buffer);
                drop(input);
                result?
            }
            CMD_WRITE => {
                buffer.resize(len, 0);
                input.read_exact(buffer)?;
                let more = input.has_request();
                drop(input);
                return self.write(&request, buffer, more).map(|()| Next::Request);
            }
            _ => {
                let more = input.has_request();
                drop(input);
                self.without_payload(&request, buffer, more)?
            }
        };
        self.answer_in_time(&request, outcome, false).map(|()| Next::Request)
    }

    fn answer(&self, request: &Request, outcome: Outcome, more: bool) -> io::Result<()> {
        let more = more && caller::reads();
        match outcome {
            Outcome::Done => self.line.output.success(&request.cookie, more),
            Outcome::Failed(errno) => self.line.output.error(&request.cookie, errno),
            Outcome::Answered => Ok(()),
        }
    }

    fn write(&self, request: &Request, data: &[u8], more: bool) -> io::Result<()> {
        let fua = request.flags & FLAG_FUA != 0;
        let start = Instant::now();
        if self.recent.write_begins(start, more) || fua || data.len() > QUICK_BYTES {
            caller::about_to_wait();
        }
        let written = self.export.write_at(data, request.offset, fua);
        self.recent.write_ends(start, caller::reads());
        let outcome = outcome(written)?;
        self.answer_in_time(request, outcome, more)
    }

    /// Answers when the export says: at once, or after its delay.
    fn answer_in_time(&self, request: &Request, outcome: Outcome, more: bool) -> io::Result<()> {
        let delay = caller::take_delay();
        if !delay.is_zero() && matches!(outcome, Outcome::Done) {
            if self.line.success_later(request.cookie, delay) {
                return Ok(());
            }
            caller::about_to_wait();
            std::thread::sleep(delay);
        }
        self.answer(request, outcome, more)
    }

    fn write_pieces(
        &self,
        input: &mut Input,
        request: &Request,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Outcome> {
        let (mut at, end) = (request.offset, request.offset + u64::from(request.len));
        let mut result = Outcome::Done;
        while at < end {
            let count = (end - at).min(PIECE_BYTES as u64);
            buffer.resize(count as usize, 0);
            input.read_exact(buffer)?;
            if matches!(result, Outcome::Done) {
                result = outcome(self.export.write_at(buffer, at, false))?;
            }
            at += count;
        }
        if matches!(result, Outcome::Done) && request.flags & FLAG_FUA != 0 {
            result = outcome(self.export.flush())?;
        }
        Ok(result)
    }

    fn without_payload(
        &self,
        request: &Request,
        buffer: &mut Vec<u8>,
        more: bool,
    ) -> io::Result<Outcome> {
        let (offset, len) = (request.offset, u64::from(request.len));
        let fua = request.flags & FLAG_FUA != 0;
        if let Some(errno) = request.refused(self.export.size()) {
            return Ok(Outcome::Failed(errno));
        }
        if request.command == CMD_READ && len <= QUICK_BYTES as u64 {
            buffer.resize(len as usize, 0);
            if self.export.read_now(buffer, offset) {
                let more = more && caller::reads();
                self.line.output.data(&request.cookie, offset, buffer, more)?;
                return Ok(Outcome::Answered);
            }
        }
        caller::about_to_wait();
        match request.command {
            CMD_FLUSH => outcome(self.export.flush()),
            CMD_READ => self.read(request, buffer),
            CMD_TRIM => outcome(self.export.trim(offset, len, fua)),
            CMD_CACHE => outcome(self.export.cache(offset, len)),
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
        let in_chunks = self.agreed.structured && request.flags & FLAG_DF == 0;
        let mut at = 0;
        // One answer says first whether all of it succeeds, so all of it is read before.
        while at < len {
            let count = (len - at).min(PIECE_BYTES);
            buffer.resize(count, 0);
            let from = request.offset + at as u64;
            if let Outcome::Failed(errno) = outcome(self.export.read_at(buffer, from))? {
                return Ok(Outcome::Failed(errno));
            }
            at += count;
            if in_chunks {
                let done = if at == len { CHUNK_DONE } else { 0 };
                let kind = (done, CHUNK_DATA);
                self.line.output.chunk(
                    &request.cookie,
                    kind,
                    &from.to_be_bytes(),
                    buffer,
                    false,
                )?;
            }
        }
        if in_chunks {
            return Ok(Outcome::Answered);
        }
        if len <= PIECE_BYTES {
            self.line.output.data(&request.cookie, request.offset, buffer, false)?;
            return Ok(Outcome::Answered);
        }
        buffer.resize(PIECE_BYTES, 0);
        let range = (request.offset, len);
        let read = |piece: &mut [u8], from| self.export.read_at(piece, from);
        self.line.output.data_in_pieces(&request.cookie, range, buffer, read)?;
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
        let kind = (CHUNK_DONE, CHUNK_BLOCK_STATUS);
        self.line.output.chunk(&request.cookie, kind, &[], &answer, false)?;
        Ok(Outcome::Answered)
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
