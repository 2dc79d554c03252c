//! Requests and answers as the specification has them, and the promises of a tap: nothing that
//! waits holds up another request, on the same connection or on another.

mod common;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use common::*;
use landfall_nbd::{Export, Extent, FileExport, Server, about_to_wait, answer_after};

const MIB: u64 = 1 << 20;

struct Fixture {
    folder: tempfile::TempDir,
    server: Server,
}

fn serve(export: Arc<dyn Export>) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("s"), export).unwrap();
    Fixture { folder, server }
}

fn file_disk(size: u64) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::File::create(&path).unwrap().set_len(size).unwrap();
    let export = Arc::new(FileExport::open(&path, size).unwrap());
    let server = Server::start(&folder.path().join("s"), export).unwrap();
    Fixture { folder, server }
}

/// A disk that waits when it is told to.
#[derive(Default)]
struct Waiting {
    /// Writes at or above this offset wait until `open`; flushes always do.
    open: Mutex<bool>,
    opened: Condvar,
    /// Answers of writes are held back for so long.
    delay_ms: AtomicU64,
}

impl Waiting {
    fn wait(&self) {
        about_to_wait();
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
    }

    fn release(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl Export for Waiting {
    fn size(&self) -> u64 {
        64 * MIB
    }
    fn read_at(&self, buf: &mut [u8], _offset: u64) -> io::Result<()> {
        buf.fill(9);
        Ok(())
    }
    fn write_at(&self, _data: &[u8], offset: u64, _fua: bool) -> io::Result<()> {
        if offset >= MIB {
            self.wait();
        }
        answer_after(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)));
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        self.wait();
        Ok(())
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

#[test]
fn what_waits_holds_up_nothing_else_on_its_connection() {
    let export = Arc::new(Waiting::default());
    let fixture = serve(export.clone());
    let mut client = Client::simple(fixture.server.path());
    client.send(FLUSH, 0, 1, 0, 0);
    for cookie in 2..12 {
        client.write(cookie, 2 * MIB, &[1; 4096]);
    }
    client.send(READ, 0, 99, 0, 4096);
    assert_eq!(client.reply(), (0, 99), "eleven requests wait, the read does not");
    assert_eq!(client.bytes(4096), [9; 4096]);
    export.release();
    let rest: BTreeSet<u64> = (0..11).map(|_| client.reply().1).collect();
    assert_eq!(rest, (1..12).collect());
}

#[test]
fn a_held_back_answer_costs_no_thread_and_delays_nothing_else() {
    let export = Arc::new(Waiting::default());
    export.delay_ms.store(300, Ordering::SeqCst);
    let fixture = serve(export);
    let mut client = Client::simple(fixture.server.path());
    let begin = Instant::now();
    for cookie in 0..64 {
        client.write(cookie, 0, &[1; 512]);
    }
    client.send(READ, 0, 99, 0, 512);
    assert_eq!(client.reply(), (0, 99), "more writes are held back than there are threads");
    client.bytes(512);
    let held: BTreeSet<u64> = (0..64).map(|_| client.reply().1).collect();
    assert_eq!(held.len(), 64);
    assert!(begin.elapsed() >= Duration::from_millis(300), "none came too early");
}

#[test]
fn many_requests_in_one_packet_are_all_answered() {
    let fixture = file_disk(MIB);
    let mut client = Client::simple(fixture.server.path());
    let mut packet = Vec::new();
    for cookie in 0..200u64 {
        packet.extend(0x2560_9513_u32.to_be_bytes());
        packet.extend([0, 0, 0, 1]);
        packet.extend(cookie.to_be_bytes());
        packet.extend((cookie * 512).to_be_bytes());
        packet.extend(512u32.to_be_bytes());
        packet.extend([cookie as u8; 512]);
    }
    client.stream.write_all(&packet).unwrap();
    let answered: BTreeSet<u64> = (0..200).map(|_| client.reply().1).collect();
    assert_eq!(answered.len(), 200);
    let disk = std::fs::read(fixture.folder.path().join("disk")).unwrap();
    assert!((0..200).all(|at| disk[at * 512..][..512].iter().all(|byte| *byte == at as u8)));
}

#[test]
fn a_goodbye_is_said_after_everything_under_way_was_answered() {
    let export = Arc::new(Waiting::default());
    let fixture = serve(export.clone());
    let mut client = Client::simple(fixture.server.path());
    client.write(1, 2 * MIB, &[1; 512]);
    client.send(DISCONNECT, 0, 2, 0, 0);
    export.release();
    assert_eq!(client.reply(), (0, 1));
    assert!(client.hung_up());
}

#[test]
fn a_flush_on_one_connection_covers_what_was_answered_on_another() {
    let fixture = file_disk(MIB);
    let mut one = Client::simple(fixture.server.path());
    let mut other = Client::simple(fixture.server.path());
    assert_ne!(one.flags & 1 << 8, 0, "multi-conn is offered");
    one.write(1, 4096, &[5; 4096]);
    assert_eq!(one.reply(), (0, 1));
    other.send(FLUSH, 0, 2, 0, 0);
    assert_eq!(other.reply(), (0, 2));
    other.send(READ, 0, 3, 4096, 4096);
    assert_eq!(other.reply(), (0, 3));
    assert_eq!(other.bytes(4096), [5; 4096]);
}

#[test]
fn unknown_flags_resize_and_what_was_not_negotiated_are_refused() {
    let fixture = file_disk(MIB);
    let mut client = Client::simple(fixture.server.path());
    assert_eq!(client.flags & 1 << 9, 0, "resize is not offered");
    let einval = 22;
    for (command, flags) in [(RESIZE, 0), (BLOCK_STATUS, 0), (READ, 1 << 4), (FLUSH, 1 << 2)] {
        client.send(command, flags, 7, 0, 512);
        assert_eq!(client.reply(), (einval, 7), "command {command}, flags {flags}");
    }
    client.send(CACHE, 0, 8, 0, 4096);
    assert_eq!(client.reply(), (0, 8));
    assert_eq!(std::fs::metadata(fixture.folder.path().join("disk")).unwrap().len(), MIB);
}

#[test]
fn reads_of_32_mib_come_whole_when_they_must_and_in_chunks_when_they_may() {
    let size = 40 * MIB;
    let fixture = file_disk(size);
    let content: Vec<u8> = (0..size).map(|at| (at / 4099 % 251) as u8).collect();
    std::fs::write(fixture.folder.path().join("disk"), &content).unwrap();
    let (at, len) = (5_000_000, 32 << 20);
    let wanted = &content[at..at + len];

    let mut simple = Client::simple(fixture.server.path());
    simple.send(READ, 0, 1, at as u64, len as u32);
    assert_eq!(simple.reply(), (0, 1));
    assert!(simple.bytes(len) == wanted);

    let mut structured = Client::structured(fixture.server.path());
    assert_ne!(structured.flags & 1 << 7, 0, "do-not-fragment is offered");
    structured.send(READ, DF, 2, at as u64, len as u32);
    let chunk = structured.chunk();
    assert!((chunk.done, chunk.kind, chunk.cookie) == (true, 1, 2));
    assert!(chunk.content[8..] == *wanted);

    structured.send(READ, 0, 3, at as u64, len as u32);
    let mut found = vec![0; len];
    loop {
        let chunk = structured.chunk();
        let off = u64::from_be_bytes(chunk.content[..8].try_into().unwrap()) as usize - at;
        found[off..off + chunk.content.len() - 8].copy_from_slice(&chunk.content[8..]);
        if chunk.done {
            break;
        }
    }
    assert!(found == wanted);
}

#[test]
fn block_status_names_one_extent_when_one_is_asked_for() {
    let fixture = file_disk(4 * MIB);
    let file = std::fs::File::options().write(true).open(fixture.folder.path().join("disk"));
    std::os::unix::fs::FileExt::write_all_at(&file.unwrap(), &[1; 65_536], MIB).unwrap();
    let mut client = Client::structured(fixture.server.path());
    client.send(BLOCK_STATUS, 0, 1, 0, 4 << 20);
    let all = client.chunk();
    assert_eq!((all.kind, all.content.len()), (5, 4 + 3 * 8));
    client.send(BLOCK_STATUS, 1 << 3, 2, 0, 4 << 20);
    let one = client.chunk();
    assert_eq!(one.content[..4], 1u32.to_be_bytes());
    assert_eq!(one.content[4..], [(MIB as u32).to_be_bytes(), 3u32.to_be_bytes()].concat());
}

#[test]
fn options_are_answered_as_fixed_newstyle_wants() {
    let fixture = file_disk(MIB);
    let mut client = Client::greet(fixture.server.path());
    let unsupported = 0x8000_0001;
    assert_eq!(client.ask(5, &[])[0].0, unsupported, "STARTTLS");
    assert_eq!(client.ask(0xFFFF, b"what")[0].0, unsupported);
    assert_eq!(client.ask(3, &[]), [(2, vec![0; 4]), (1, vec![])], "LIST: one, without a name");
    assert_eq!(client.ask(3, b"x")[0].0, 0x8000_0003);
    let wrong = [&1u32.to_be_bytes()[..], b"x", &[0, 0]].concat();
    assert_eq!(client.ask(6, &wrong)[0].0, 0x8000_0006, "INFO of an export that is not there");
    let sizes = [&0u32.to_be_bytes()[..], &[0, 1, 0, 3]].concat();
    let answer = client.ask(6, &sizes);
    let block = [&[0, 3][..], &1u32.to_be_bytes(), &4096u32.to_be_bytes()].concat();
    assert_eq!(answer[1].1, [&block[..], &(32u32 << 20).to_be_bytes()].concat());
    assert_eq!(client.ask(2, &[]), [(1, vec![])], "ABORT is acknowledged");
    assert!(client.hung_up());
}
