//! Buffered reading from a client: a header and a small payload usually arrive in one call.
//! While requests follow each other closely it looks for the next one a few microseconds before
//! it sleeps: waking a sleeping thread costs more than that.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::protocol::{CMD_WRITE, REQUEST_LEN, be16, be32};

/// Room for a header and the payload of an ordinary guest write.
const BUFFER_BYTES: usize = 64 << 10;
/// How long the next request is looked for: about what it costs to sleep and be woken.
const SPIN: Duration = Duration::from_micros(20);
/// After so many fruitless looks in a row only every so many-th request is looked for, so that
/// a slow client costs no CPU.
const FRUITLESS_MAX: u32 = 8;
const RETRY_EVERY: u32 = 32;

/// A socket with a read buffer of fixed size.
pub struct Input {
    stream: UnixStream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// While set, all that is read must have come by then.
    deadline: Option<Instant>,
    /// Whether there is a second processor for the client to work on meanwhile.
    spins: bool,
    fruitless: u32,
}

impl Input {
    pub fn new(stream: UnixStream) -> Self {
        let spins = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
        Self {
            stream,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            deadline: None,
            spins,
            fruitless: 0,
        }
    }

    /// From now on every read fails that ends after `deadline`; `None` waits for ever.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        self.deadline = deadline;
        self.stream.set_read_timeout(None)
    }

    /// Fills `target` completely; `UnexpectedEof` when the client is gone.
    pub fn read_exact(&mut self, target: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < target.len() {
            if self.start == self.end {
                if target.len() - filled >= self.buffer.len() {
                    return self.stream.read_exact(&mut target[filled..]);
                }
                self.refill()?;
            }
            let count = (self.end - self.start).min(target.len() - filled);
            target[filled..filled + count]
                .copy_from_slice(&self.buffer[self.start..self.start + count]);
            self.start += count;
            filled += count;
        }
        Ok(())
    }

    /// An array of fixed size.
    pub fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut array = [0; N];
        self.read_exact(&mut array)?;
        Ok(array)
    }

    /// Reads `len` bytes and forgets them.
    pub fn discard(&mut self, mut len: usize) -> io::Result<()> {
        while len > 0 {
            if self.start == self.end {
                self.refill()?;
            }
            let count = (self.end - self.start).min(len);
            self.start += count;
            len -= count;
        }
        Ok(())
    }

    /// Whether the next request lies in the buffer as a whole, so that it will not be waited for.
    pub fn has_request(&self) -> bool {
        let held = &self.buffer[self.start..self.end];
        if held.len() < REQUEST_LEN {
            return false;
        }
        let payload = if be16(held, 6) == CMD_WRITE { be32(held, 24) as usize } else { 0 };
        held.len() - REQUEST_LEN >= payload
    }

    fn refill(&mut self) -> io::Result<()> {
        if let Some(count) = self.spin()? {
            (self.start, self.end) = (0, count);
            return Ok(());
        }
        loop {
            if let Some(deadline) = self.deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                self.stream.set_read_timeout(Some(left))?;
            }
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    (self.start, self.end) = (0, count);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks for bytes without sleeping; `None` when it is time to sleep.
    fn spin(&mut self) -> io::Result<Option<usize>> {
        let pays = self.fruitless < FRUITLESS_MAX || self.fruitless.is_multiple_of(RETRY_EVERY);
        if !self.spins || self.deadline.is_some() || !pays {
            self.fruitless = self.fruitless.wrapping_add(1);
            return Ok(None);
        }
        let start = Instant::now();
        loop {
            match self.receive_now() {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.fruitless = 0;
                    return Ok(Some(count));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock if start.elapsed() < SPIN => std::hint::spin_loop(),
                    io::ErrorKind::WouldBlock => {
                        self.fruitless = self.fruitless.wrapping_add(1);
                        return Ok(None);
                    }
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    fn receive_now(&mut self) -> io::Result<usize> {
        let (to, len) = (self.buffer.as_mut_ptr(), self.buffer.len());
        // SAFETY: `to` points to `len` bytes this value owns; the descriptor is ours.
        let count =
            unsafe { libc::recv(self.stream.as_raw_fd(), to.cast(), len, libc::MSG_DONTWAIT) };
        if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as usize) }
    }
}
