//! Frames as they must stand on the wire for ever: `golden/frames.txt` holds one per line,
//! a name and the bytes in hexadecimal. Other implementations test against the same file.

use std::fmt::Write;

use landfall_wire::*;

fn header(kind: u8) -> Header {
    Header { kind, epoch: 7, seq: 3, ..Header::default() }
}

fn hello() -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        features: 0,
        lane: Lane::Prio,
        session: 2,
        generation: 5,
        migration: "vmm_0197".into(),
        build: "0.1.0".into(),
        disks: vec![HelloDisk {
            source: [0x11; 16],
            destination: [0x22; 16],
            capacity_bytes: 2 << 30,
        }],
    }
}

fn have() -> HavePage {
    let mut page = HavePage::default();
    (3..70).for_each(|unit| page.set(unit));
    page
}

fn packed(codec: Codec) -> Header {
    let flags = flags::HASHED | codec.flags();
    Header { flags, disk: 1, off: 65_536, raw: 512, ..header(kind::DATA) }
}

/// 512 times 0x5a as one literal and a match: the block any lz4 decoder reads.
fn lz4_content() -> Vec<u8> {
    let block = [0x1f, 0x5a, 0x01, 0x00, 0xff, 0xe8, 0x50, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a];
    [&[0xcd; 32][..], &block[..]].concat()
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let root = DiskRoot { complete: true, root: [0xab; 32] };
    let ack = HelloAck {
        protocol: 1,
        features: 0,
        window_bytes: 32 << 20,
        ownership: PeerOwnership::Prepared,
        token: 9,
        build: "0.1.0".into(),
    };
    let data = Header {
        flags: flags::HASHED | flags::FOREGROUND,
        disk: 1,
        off: 65_536,
        raw: 512,
        ..header(kind::DATA)
    };
    let content = [&[0xcd; 32][..], &[0x5a; 512][..]].concat();
    let batch = Header {
        flags: flags::HASHED | flags::FOREGROUND,
        disk: 1,
        raw: 1536,
        ..header(kind::BATCH)
    };
    let list = BatchList { extents: vec![(4096, 512), (1 << 20, 1024)] };
    let batch_content = [&list.encode()[..], &[0xcd; 32][..], &[0x5a; 1536][..]].concat();
    let zero = Header { disk: 1, off: 1 << 20, ..header(kind::ZERO) };
    let error = ErrorMessage { code: ErrorCode::Stale, value: 8, text: "too late".into() };
    let want = Want { kind: HashKind::Units, first: 256, count: 256 };
    let reread = Want { kind: HashKind::Reread, first: 1_024, count: 8 };
    let parts = Want { kind: HashKind::RereadParts, first: 1_024, count: 8 };
    let hashes = Hashes { kind: HashKind::Leaves, first: 1, hashes: vec![[1; 32], [2; 32]] };
    let numbers = Ack { received: 9, durable: 4, stale_chunks: 2 };
    vec![
        ("hello", frame_bytes(header(kind::HELLO), &hello().encode())),
        ("hello_ack", frame_bytes(header(kind::HELLO_ACK), &ack.encode())),
        ("resume", frame_bytes(header(kind::RESUME), &[])),
        ("have_runs", frame_bytes(header(kind::HAVE), &have().encode())),
        ("data", frame_bytes(data, &content)),
        ("data_lz4", frame_bytes(packed(Codec::Lz4), &lz4_content())),
        ("batch", frame_bytes(batch, &batch_content)),
        ("zero", frame_bytes(zero, &Run { length: 1 << 30 }.encode())),
        ("hole", frame_bytes(Header { kind: kind::HOLE, ..zero }, &Run { length: 512 }.encode())),
        ("ack", frame_bytes(header(kind::ACK), &numbers.encode())),
        ("want", frame_bytes(header(kind::WANT), &want.encode())),
        ("hashes", frame_bytes(header(kind::HASHES), &hashes.encode())),
        ("want_reread", frame_bytes(header(kind::WANT), &reread.encode())),
        ("want_reread_parts", frame_bytes(header(kind::WANT), &parts.encode())),
        ("hurry", frame_bytes(Header { flags: flags::SKIPPABLE, ..header(kind::HURRY) }, &[])),
        ("barrier", frame_bytes(header(kind::BARRIER), &Barrier { token: 9, round: 1 }.encode())),
        (
            "barrier_ack",
            frame_bytes(
                header(kind::BARRIER_ACK),
                &BarrierAck { token: 9, round: 1, roots: vec![root] }.encode(),
            ),
        ),
        ("own", frame_bytes(header(kind::OWN), &Own { token: 9, roots: vec![root] }.encode())),
        (
            "own_ack",
            frame_bytes(
                header(kind::OWN_ACK),
                &OwnAck { token: 9, ownership: PeerOwnership::Active }.encode(),
            ),
        ),
        ("ping", frame_bytes(header(kind::PING), &[])),
        ("err", frame_bytes(header(kind::ERR), &error.encode())),
        ("bye", frame_bytes(header(kind::BYE), &[])),
    ]
}

#[test]
fn frames_are_those_of_the_golden_file() {
    let mut text = String::new();
    for (name, bytes) in frames() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{name} {hex}").unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/frames.txt");
    if std::env::var_os("LANDFALL_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    for (ours, theirs) in text.lines().zip(golden.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(text.lines().count(), golden.lines().count());
}

#[test]
fn golden_headers_decode_to_what_was_encoded() {
    for (name, bytes) in frames() {
        let header = Header::decode(bytes[..HEADER_LEN].try_into().unwrap()).unwrap();
        assert_eq!(header.len as usize, bytes.len() - HEADER_LEN, "{name}");
        assert_eq!((header.epoch, header.seq), (7, 3), "{name}");
    }
    assert_eq!(Hello::decode(&hello().encode()).unwrap(), hello());
    assert_eq!(HavePage::decode(&have().encode()).unwrap(), have());
}

#[test]
fn packed_golden_content_unpacks() {
    let mut out = [0; 512];
    Unpacker::default().unpack(Codec::Lz4, &lz4_content()[32..], &mut out).unwrap();
    assert_eq!(out, [0x5a; 512]);
}
