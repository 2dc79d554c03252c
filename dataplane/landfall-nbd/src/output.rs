//! Answers on their way to a client. Several small ones may go out in one call; when the server
//! ends, nothing goes out any more.

use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::protocol::*;

/// Small answers gather up to this many bytes while more requests lie in the read buffer. Not
/// more: the client should work on the first while the next are carried out.
const GATHER_BYTES: usize = 16 << 10;
/// Most answers that gather.
const GATHER_ANSWERS: usize = 4;
/// Answers with more than this are not copied to gather.
const SMALL_BYTES: usize = 8 << 10;

/// The way out of one connection.
pub(crate) struct Output {
    stream: UnixStream,
    gathered: Mutex<Gathered>,
    /// Set when the server ends: answers are withheld from then on.
    ending: Arc<AtomicBool>,
    structured: bool,
}

/// Answers that wait for the next one.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    answers: usize,
}

impl Output {
    pub(crate) fn new(stream: UnixStream, ending: Arc<AtomicBool>, structured: bool) -> Self {
        Self { stream, gathered: Mutex::default(), ending, structured }
    }

    /// Success without content. With `more` it may wait for the next answer or [`Self::flush`].
    pub(crate) fn success(&self, cookie: &[u8; 8], more: bool) -> io::Result<()> {
        match self.structured {
            true => self.chunk(cookie, (CHUNK_DONE, CHUNK_NONE), &[], &[], more),
            false => self.send(&simple(cookie, 0), &[], more),
        }
    }

    /// An error of the disk or of the request.
    pub(crate) fn error(&self, cookie: &[u8; 8], errno: u32) -> io::Result<()> {
        if self.structured {
            let mut error = [0; 6];
            error[..4].copy_from_slice(&errno.to_be_bytes());
            return self.chunk(cookie, (CHUNK_DONE, CHUNK_ERROR), &[], &error, false);
        }
        self.send(&simple(cookie, errno), &[], false)
    }

    /// Success of a read that fits into one answer.
    pub(crate) fn data(
        &self,
        cookie: &[u8; 8],
        offset: u64,
        data: &[u8],
        more: bool,
    ) -> io::Result<()> {
        match self.structured {
            true => {
                let offset = offset.to_be_bytes();
                self.chunk(cookie, (CHUNK_DONE, CHUNK_DATA), &offset, data, more)
            }
            false => self.send(&simple(cookie, 0), data, more),
        }
    }

    /// Success of a read of `len` bytes as one answer that `read` fills piece by piece. An error
    /// in the middle can only be told by hanging up.
    pub(crate) fn data_in_pieces(
        &self,
        cookie: &[u8; 8],
        (offset, len): (u64, usize),
        piece: &mut [u8],
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut gathered = self.gathered();
        let header = match self.structured {
            true => {
                let header = chunk_header(cookie, (CHUNK_DONE, CHUNK_DATA), 8 + len);
                [&header[..], &offset.to_be_bytes()].concat()
            }
            false => simple(cookie, 0).to_vec(),
        };
        self.write(&mut gathered, &header, &[])?;
        let mut sent = 0;
        while sent < len {
            let count = (len - sent).min(piece.len());
            read(&mut piece[..count], offset + sent as u64)?;
            self.write(&mut gathered, &[], &piece[..count])?;
            sent += count;
        }
        Ok(())
    }

    /// One chunk of a structured reply.
    pub(crate) fn chunk(
        &self,
        cookie: &[u8; 8],
        (flags, kind): (u16, u16),
        prefix: &[u8],
        data: &[u8],
        more: bool,
    ) -> io::Result<()> {
        let mut header = [0; 28];
        let fixed = chunk_header(cookie, (flags, kind), prefix.len() + data.len());
        header[..20].copy_from_slice(&fixed);
        header[20..20 + prefix.len()].copy_from_slice(prefix);
        self.send(&header[..20 + prefix.len()], data, more)
    }

    /// Sends what gathered.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut gathered = self.gathered();
        if gathered.bytes.is_empty() { Ok(()) } else { self.write(&mut gathered, &[], &[]) }
    }

    /// Ends the stream both ways; a thread that reads from it wakes up.
    pub(crate) fn shut(&self) {
        // The only error is that the client has hung up already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn send(&self, header: &[u8], data: &[u8], more: bool) -> io::Result<()> {
        let mut gathered = self.gathered();
        let total = gathered.bytes.len() + header.len() + data.len();
        let fits = total <= GATHER_BYTES && gathered.answers < GATHER_ANSWERS;
        if more && fits && data.len() <= SMALL_BYTES {
            gathered.bytes.extend_from_slice(header);
            gathered.bytes.extend_from_slice(data);
            gathered.answers += 1;
            return Ok(());
        }
        self.write(&mut gathered, header, data)
    }

    fn write(&self, gathered: &mut Gathered, header: &[u8], data: &[u8]) -> io::Result<()> {
        if self.ending.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let Gathered { bytes, answers } = gathered;
        let mut slices = [IoSlice::new(bytes), IoSlice::new(header), IoSlice::new(data)];
        let first = if bytes.is_empty() { 1 } else { 0 };
        let mut left = &mut slices[first..];
        let mut total = bytes.len() + header.len() + data.len();
        while total > 0 {
            match (&self.stream).write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    total -= count;
                    IoSlice::advance_slices(&mut left, count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.clear();
        *answers = 0;
        Ok(())
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn simple(cookie: &[u8; 8], errno: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    header[4..8].copy_from_slice(&errno.to_be_bytes());
    header[8..].copy_from_slice(cookie);
    header
}

fn chunk_header(cookie: &[u8; 8], (flags, kind): (u16, u16), len: usize) -> [u8; 20] {
    let mut header = [0; 20];
    header[..4].copy_from_slice(&STRUCTURED_REPLY_MAGIC.to_be_bytes());
    header[4..6].copy_from_slice(&flags.to_be_bytes());
    header[6..8].copy_from_slice(&kind.to_be_bytes());
    header[8..16].copy_from_slice(cookie);
    header[16..].copy_from_slice(&(len as u32).to_be_bytes());
    header
}
