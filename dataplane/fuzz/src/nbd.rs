//! An NBD client that says anything: the server ends with it, and never reaches beyond the disk.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use landfall_nbd::{Export, Extent, serve_stream};

const SIZE: u64 = 1 << 20;

/// A disk in memory that trusts nobody.
struct Memory(Mutex<Vec<u8>>);

impl Memory {
    fn range(offset: u64, len: u64) -> std::ops::Range<usize> {
        let end = offset.checked_add(len).expect("the end is a number");
        assert!(len > 0 && end <= SIZE, "{len} bytes at {offset}");
        offset as usize..end as usize
    }
}

impl Export for Memory {
    fn size(&self) -> u64 {
        SIZE
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        buf.copy_from_slice(&self.0.lock().expect("disk")[Self::range(offset, buf.len() as u64)]);
        Ok(())
    }
    fn write_at(&self, data: &[u8], offset: u64, _fua: bool) -> io::Result<()> {
        let range = Self::range(offset, data.len() as u64);
        self.0.lock().expect("disk")[range].copy_from_slice(data);
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn trim(&self, offset: u64, len: u64, _fua: bool) -> io::Result<()> {
        self.0.lock().expect("disk")[Self::range(offset, len)].fill(0);
        Ok(())
    }
    fn write_zeroes(&self, at: u64, len: u64, _may_trim: bool, fua: bool) -> io::Result<()> {
        self.trim(at, len, fua)
    }
    fn extents(&self, offset: u64, len: u64, max: usize) -> io::Result<Vec<Extent>> {
        Self::range(offset, len);
        assert!(max > 0);
        let half = len.div_ceil(2);
        let pieces = [half, len - half].into_iter().filter(|len| *len > 0);
        Ok(pieces.map(|len| Extent { len, hole: false, zero: false }).collect())
    }
}

/// Serves a client that sends `said` and leaves; what it was answered.
fn serve(said: &[u8]) -> Vec<u8> {
    let (mut client, server) = UnixStream::pair().expect("a pair of sockets");
    let disk = Memory(Mutex::new(vec![0; SIZE as usize]));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // How a client is turned away is for the log only.
            let _ = serve_stream(&disk, server);
        });
        let mut reader = client.try_clone().expect("a second handle");
        let answers = scope.spawn(move || {
            let mut answers = Vec::new();
            // A reset is an end, too.
            let _ = reader.read_to_end(&mut answers);
            answers
        });
        // The server may hang up in the middle.
        let _ = client.write_all(said);
        let _ = client.shutdown(Shutdown::Write);
        answers.join().expect("the reader ends")
    })
}

/// Everything the client says is the input.
pub fn handshake(data: &[u8]) {
    let answers = serve(data);
    assert!(answers.starts_with(b"NBDMAGICIHAVEOPT"));
}

/// The client is through the handshake: requests are the input.
pub fn requests(data: &[u8]) {
    for options in [&b"\0\0\0\x03"[..], b"\0\0\0\x03IHAVEOPT\0\0\0\x08\0\0\0\0"] {
        let said = [options, b"IHAVEOPT\0\0\0\x01\0\0\0\0", data].concat();
        let answers = serve(&said);
        assert!(answers.len() >= 28, "the handshake was answered");
    }
}
