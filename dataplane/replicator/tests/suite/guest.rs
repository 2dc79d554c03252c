//! A guest's disk as QEMU drives it: an NBD client that connects again and repeats what was not
//! answered. An error answer is a failure of the test: the guest never pays for our trouble.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::stage::wait;

const READ: u16 = 0;
const WRITE: u16 = 1;
const FLUSH: u16 = 3;
const RECONNECT_TIME_MAX: Duration = Duration::from_secs(60);

pub struct GuestDisk {
    socket: PathBuf,
    stream: Option<UnixStream>,
    pub longest_stall: Duration,
}

impl GuestDisk {
    pub fn open(socket: &Path) -> Self {
        let stream = Some(connect(socket).unwrap());
        Self { socket: socket.to_owned(), stream, longest_stall: Duration::ZERO }
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) {
        self.request(WRITE, offset, data.len() as u32, data, &mut []);
    }

    pub fn flush(&mut self) {
        self.request(FLUSH, 0, 0, &[], &mut []);
    }

    pub fn read(&mut self, offset: u64, len: usize) -> Vec<u8> {
        let mut content = vec![0; len];
        self.request(READ, offset, len as u32, &[], &mut content);
        content
    }

    fn request(&mut self, command: u16, offset: u64, len: u32, data: &[u8], into: &mut [u8]) {
        let begin = Instant::now();
        loop {
            let attempt = match self.stream.take() {
                Some(stream) => Ok(stream),
                None => connect(&self.socket),
            };
            let attempt = attempt.and_then(|mut stream| {
                exchange(&mut stream, command, offset, len, data, into)?;
                Ok(stream)
            });
            match attempt {
                Ok(stream) => {
                    self.stream = Some(stream);
                    self.longest_stall = self.longest_stall.max(begin.elapsed());
                    return;
                }
                Err(error) => {
                    assert!(begin.elapsed() < RECONNECT_TIME_MAX, "the disk is gone: {error}");
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.read_exact(&mut [0; 18])?;
    let mut hello = 3u32.to_be_bytes().to_vec();
    hello.extend(b"IHAVEOPT");
    hello.extend(1u32.to_be_bytes());
    hello.extend(0u32.to_be_bytes());
    stream.write_all(&hello)?;
    stream.read_exact(&mut [0; 10])?;
    Ok(stream)
}

fn exchange(
    stream: &mut UnixStream,
    command: u16,
    offset: u64,
    len: u32,
    data: &[u8],
    into: &mut [u8],
) -> io::Result<()> {
    let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
    request.extend(0u16.to_be_bytes());
    request.extend(command.to_be_bytes());
    request.extend(7u64.to_be_bytes());
    request.extend(offset.to_be_bytes());
    request.extend(len.to_be_bytes());
    request.extend(data);
    stream.write_all(&request)?;
    let mut header = [0; 16];
    stream.read_exact(&mut header)?;
    assert_eq!(header[4..8], [0; 4], "the guest was answered with an error");
    stream.read_exact(into)
}

/// A guest that writes all the time; every write is remembered once it was acknowledged.
pub struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<(Vec<(u64, u64)>, Duration)>,
}

const RECORD_LEN: usize = 512;

/// The record `number` at `offset`.
pub fn record(number: u64, offset: u64) -> Vec<u8> {
    let mut content = Vec::with_capacity(RECORD_LEN);
    while content.len() < RECORD_LEN {
        content.extend(number.to_le_bytes());
        content.extend(offset.to_le_bytes());
    }
    content
}

impl Writer {
    /// Writes numbered records at scattered places within `size` bytes, with a pause after each.
    pub fn start(socket: &Path, size: u64, pause: Duration) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (socket, stopped, count) = (socket.to_owned(), stop.clone(), acknowledged.clone());
        let thread = std::thread::spawn(move || {
            let mut disk = GuestDisk::open(&socket);
            let mut written = Vec::new();
            let mut state = 1u64;
            while !stopped.load(Ordering::SeqCst) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let offset = (state >> 16) % (size / RECORD_LEN as u64) * RECORD_LEN as u64;
                let number = written.len() as u64 + 1;
                disk.write(offset, &record(number, offset));
                if number.is_multiple_of(16) {
                    disk.flush();
                }
                written.push((number, offset));
                count.store(number, Ordering::SeqCst);
                std::thread::sleep(pause);
            }
            disk.flush();
            (written, disk.longest_stall)
        });
        Self { stop, acknowledged, thread }
    }

    /// Waits until the guest has written so many records more than now.
    pub fn writes_on(&self, records: u64) {
        let enough = self.acknowledged.load(Ordering::SeqCst) + records;
        wait("the guest to write on", || self.acknowledged.load(Ordering::SeqCst) >= enough);
    }

    /// Ends it; every acknowledged record with its place, and the longest stall.
    pub fn finish(self) -> (Vec<(u64, u64)>, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}
