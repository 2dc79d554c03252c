//! Clients that break the rules, and the rules for our own ending: an error costs only the
//! connection it happened on, and an ending server hangs up without an answer.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use landfall_nbd::{Export, Extent, Server};

const SIZE: u64 = 1 << 20;

/// A disk whose writes wait until they are let through, and that can be "not now".
#[derive(Default)]
struct Slow {
    gate: Option<Barrier>,
    not_now: AtomicBool,
}

impl Export for Slow {
    fn size(&self) -> u64 {
        SIZE
    }
    fn read_at(&self, buf: &mut [u8], _offset: u64) -> io::Result<()> {
        buf.fill(7);
        Ok(())
    }
    fn write_at(&self, _data: &[u8], _offset: u64, _fua: bool) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            gate.wait();
            std::thread::sleep(Duration::from_millis(100));
        }
        if self.not_now.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(5))
    }
    fn trim(&self, _offset: u64, _len: u64, _fua: bool) -> io::Result<()> {
        Ok(())
    }
    fn write_zeroes(&self, _at: u64, _len: u64, _may_trim: bool, _fua: bool) -> io::Result<()> {
        Ok(())
    }
    fn extents(&self, _offset: u64, len: u64, _max: usize) -> io::Result<Vec<Extent>> {
        Ok(vec![Extent { len, hole: false, zero: false }])
    }
}

struct Fixture {
    _folder: tempfile::TempDir,
    server: Server,
}

fn serve(export: Arc<Slow>) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("s"), export).unwrap();
    Fixture { _folder: folder, server }
}

fn connect(server: &Server) -> UnixStream {
    let mut stream = UnixStream::connect(server.path()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).unwrap();
    stream.write_all(&3u32.to_be_bytes()).unwrap();
    stream
}

fn option(stream: &mut UnixStream, option: u32, data: &[u8]) {
    let mut message = b"IHAVEOPT".to_vec();
    message.extend(option.to_be_bytes());
    message.extend((data.len() as u32).to_be_bytes());
    message.extend(data);
    stream.write_all(&message).unwrap();
}

fn open(server: &Server) -> UnixStream {
    let mut stream = connect(server);
    option(&mut stream, 1, &[]);
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..8], SIZE.to_be_bytes());
    stream
}

fn request(stream: &mut UnixStream, command: u16, offset: u64, len: u32) {
    let mut header = 0x2560_9513_u32.to_be_bytes().to_vec();
    header.extend(0u16.to_be_bytes());
    header.extend(command.to_be_bytes());
    header.extend(*b"cookie!!");
    header.extend(offset.to_be_bytes());
    header.extend(len.to_be_bytes());
    stream.write_all(&header).unwrap();
}

fn errno(stream: &mut UnixStream) -> u32 {
    let mut header = [0; 16];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(&header[8..], b"cookie!!");
    u32::from_be_bytes(header[4..8].try_into().unwrap())
}

fn hung_up(stream: &mut UnixStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Ok(0))
        || stream.take_error().is_ok_and(|error| error.is_some())
}

#[test]
fn requests_out_of_range_get_an_error_and_the_connection_goes_on() {
    let fixture = serve(Arc::default());
    let mut stream = open(&fixture.server);
    for (command, offset, len, wanted) in [
        (0, SIZE, 1, 22),
        (0, u64::MAX, 512, 22),
        (0, 0, 0, 22),
        (4, SIZE - 1, 2, 22),
        (6, SIZE, 512, 28),
        (99, 0, 1, 22),
        (7, 0, 512, 22),
        (3, 0, 0, 5),
    ] {
        request(&mut stream, command, offset, len);
        assert_eq!(errno(&mut stream), wanted, "command {command} at {offset}");
    }
    request(&mut stream, 1, SIZE - 4, 8);
    stream.write_all(&[1; 8]).unwrap();
    assert_eq!(errno(&mut stream), 28);
    request(&mut stream, 0, 0, 4);
    assert_eq!(errno(&mut stream), 0);
    let mut data = [0; 4];
    stream.read_exact(&mut data).unwrap();
    assert_eq!(data, [7; 4]);
}

#[test]
fn broken_streams_are_hung_up_on_and_others_are_served() {
    let fixture = serve(Arc::default());
    let mut oversized = open(&fixture.server);
    request(&mut oversized, 1, 0, (32 << 20) + 1);
    assert!(hung_up(&mut oversized));
    let mut garbage = open(&fixture.server);
    garbage.write_all(&[0xFF; 28]).unwrap();
    assert!(hung_up(&mut garbage));
    let mut long_option = connect(&fixture.server);
    let mut header = b"IHAVEOPT".to_vec();
    header.extend([0, 0, 0, 7, 0xFF, 0xFF, 0xFF, 0xFF]);
    long_option.write_all(&header).unwrap();
    assert!(hung_up(&mut long_option));
    let mut truncated = open(&fixture.server);
    request(&mut truncated, 1, 0, 512);
    truncated.write_all(&[1; 100]).unwrap();
    drop(truncated);

    let mut good = open(&fixture.server);
    request(&mut good, 0, 0, 1);
    assert_eq!(errno(&mut good), 0);
}

#[test]
fn endless_options_and_endless_clients_are_bounded() {
    let fixture = serve(Arc::default());
    let mut stream = connect(&fixture.server);
    for _ in 0..64 {
        option(&mut stream, 77, b"");
    }
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    assert_eq!(answers.len(), 64 * 20);
    let clients: Vec<_> = (0..16).map(|_| open(&fixture.server)).collect();
    assert_eq!(fixture.server.client_count(), 16);
    let mut one_more = UnixStream::connect(fixture.server.path()).unwrap();
    assert!(hung_up(&mut one_more));
    drop(clients);
}

#[test]
fn an_ending_server_hangs_up_without_an_answer() {
    let export = Arc::new(Slow { gate: Some(Barrier::new(2)), ..Slow::default() });
    let fixture = serve(Arc::clone(&export));
    let mut stream = open(&fixture.server);
    request(&mut stream, 1, 0, 512);
    stream.write_all(&[1; 512]).unwrap();
    export.gate.as_ref().unwrap().wait();
    fixture.server.disconnect_all();
    assert!(hung_up(&mut stream), "the write was under way: no answer may follow");
}

#[test]
fn not_now_closes_the_connection_instead_of_an_error() {
    let export = Arc::new(Slow::default());
    export.not_now.store(true, Ordering::SeqCst);
    let fixture = serve(export);
    let mut stream = open(&fixture.server);
    request(&mut stream, 1, 0, 512);
    stream.write_all(&[1; 512]).unwrap();
    assert!(hung_up(&mut stream));
}

#[test]
fn dropping_the_server_is_quick_with_idle_clients() {
    let fixture = serve(Arc::default());
    let mut stream = open(&fixture.server);
    let begin = Instant::now();
    drop(fixture);
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(hung_up(&mut stream));
}

#[test]
fn a_client_that_dribbles_its_handshake_is_ended_and_others_are_served() {
    let fixture = serve(Arc::default());
    let mut slow = UnixStream::connect(fixture.server.path()).unwrap();
    let ended = std::thread::spawn(move || {
        let begin = Instant::now();
        let mut bytes =
            b"\0\0\0\x03IHAVEOPT\0\0\0\x03\0\0\x40\0".iter().chain(std::iter::repeat(&0));
        while begin.elapsed() < Duration::from_secs(60) {
            if slow.write_all(&[*bytes.next().unwrap()]).is_err() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        false
    });
    let mut good = open(&fixture.server);
    request(&mut good, 0, 0, 1);
    assert_eq!(errno(&mut good), 0);
    assert!(ended.join().unwrap(), "every byte came in time, the whole of it did not");
}

/// Answers nobody reads fill the socket and then stop the work for that client alone.
#[test]
fn a_flood_without_reading_answers_costs_bounded_memory_and_nobody_else() {
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let fixture = serve(Arc::default());
    let before = resident();
    let mut floods: Vec<UnixStream> = (0..4).map(|_| open(&fixture.server)).collect();
    for flood in &mut floods {
        flood.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut header = 0x2560_9513_u32.to_be_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(*b"cookie!!");
        header.extend(0u64.to_be_bytes());
        header.extend((1u32 << 20).to_be_bytes());
        for _ in 0..20_000 {
            if flood.write_all(&header).is_err() {
                break;
            }
        }
    }
    let mut good = open(&fixture.server);
    for _ in 0..100 {
        request(&mut good, 0, 0, 1);
        assert_eq!(errno(&mut good), 0);
        good.read_exact(&mut [0]).unwrap();
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for four clients");
    drop(fixture);
}
