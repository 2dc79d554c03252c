//! Buffered reading from a client: a header and a small payload usually arrive in one call.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

/// Room for a header and the payload of an ordinary guest write.
const BUFFER_BYTES: usize = 64 << 10;

/// A socket with a read buffer of fixed size.
pub struct Input {
    stream: UnixStream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), start: 0, end: 0 }
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

    fn refill(&mut self) -> io::Result<()> {
        loop {
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
}
