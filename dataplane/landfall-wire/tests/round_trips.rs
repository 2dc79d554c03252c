//! What is encoded comes back, and whatever a hostile peer sends is an error, never a panic and
//! never a large reservation of memory.

use landfall_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn disk() -> impl Strategy<Value = HelloDisk> {
    (any::<[u8; 16]>(), any::<[u8; 16]>(), 1..1_u64 << 40).prop_map(|(source, destination, n)| {
        HelloDisk { source, destination, capacity_bytes: n * ALIGNMENT }
    })
}

fn ownership() -> impl Strategy<Value = PeerOwnership> {
    prop::sample::select(vec![
        PeerOwnership::None,
        PeerOwnership::Prepared,
        PeerOwnership::Active,
        PeerOwnership::Fenced,
    ])
}

fn hash_kind() -> impl Strategy<Value = HashKind> {
    prop::sample::select(vec![
        HashKind::Units,
        HashKind::Leaves,
        HashKind::Nodes,
        HashKind::Reread,
        HashKind::RereadParts,
        HashKind::RereadNodes,
    ])
}

fn roots() -> impl Strategy<Value = Vec<DiskRoot>> {
    let root = (any::<bool>(), any::<[u8; 32]>());
    vec(root.prop_map(|(complete, root)| DiskRoot { complete, root }), 0..DISKS_MAX)
}

proptest! {
    #[test]
    fn headers(
        kind in 0..=255_u8, disk: u16, epoch: u32, seq: u64, off: u64, raw: u32,
        len in 0..=PAYLOAD_LEN_MAX,
    ) {
        prop_assume!(kind != kind::DATA && kind != kind::BATCH);
        let header = Header { len, kind, flags: 0, disk, epoch, seq, off, raw };
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn a_flipped_bit_in_a_header_is_noticed(seq: u64, bit in 0..HEADER_LEN * 8) {
        let mut bytes = Header { kind: kind::PING, seq, ..Header::default() }.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Header::decode(&bytes).is_err());
    }

    #[test]
    fn hellos(
        session: u64, generation: u64, features: u64, bulk: bool,
        migration in "[a-z0-9_]{0,40}", build in ".{0,20}",
        disks in vec(disk(), 0..8),
    ) {
        let lane = if bulk { Lane::Bulk } else { Lane::Prio };
        let hello = Hello {
            protocol_min: 1, protocol_max: 3, features, lane, session, generation, migration,
            build, disks,
        };
        prop_assert_eq!(Hello::decode(&hello.encode()), Ok(hello.clone()));
        prop_assert_eq!(negotiate(&hello, 5), Some((1, features & 5)));
    }

    #[test]
    fn answers(
        a: u64, b: u64, c: u32, token: u64, window_bytes: u64, ownership in ownership(),
        roots in roots(), kind in hash_kind(), hashes in vec(any::<[u8; 32]>(), 0..64),
        count in 0..=HASHES_MAX as u16, number: u16, text in ".{0,30}",
    ) {
        let ack = Ack { received: a.max(b), durable: a.min(b), stale_chunks: c };
        prop_assert_eq!(Ack::decode(&ack.encode()), Ok(ack));
        let hello = HelloAck {
            protocol: 1, features: a, window_bytes, ownership, token, build: text.clone(),
        };
        prop_assert_eq!(HelloAck::decode(&hello.encode()), Ok(hello));
        let barrier = Barrier { token, round: c };
        prop_assert_eq!(Barrier::decode(&barrier.encode()), Ok(barrier));
        let back = BarrierAck { token, round: c, roots: roots.clone() };
        prop_assert_eq!(BarrierAck::decode(&back.encode()), Ok(back));
        let own = Own { token, roots };
        prop_assert_eq!(Own::decode(&own.encode()), Ok(own));
        let owned = OwnAck { token, ownership };
        prop_assert_eq!(OwnAck::decode(&owned.encode()), Ok(owned));
        let want = Want { kind, first: a, count };
        prop_assert_eq!(Want::decode(&want.encode()), Ok(want));
        let hashes = Hashes { kind, first: a, hashes };
        prop_assert_eq!(Hashes::decode(&hashes.encode()), Ok(hashes));
        let code = ErrorMessage { code: ErrorCode::Other(number), value: a, text };
        let read = ErrorMessage::decode(&code.encode()).unwrap();
        prop_assert_eq!(read.encode(), code.encode());
    }

    #[test]
    fn have_pages(runs in vec((0..HAVE_UNITS_PER_FRAME, 1..3_000_usize), 0..40), dense: bool) {
        let mut page = HavePage::default();
        for (start, len) in runs {
            (start..(start + len).min(HAVE_UNITS_PER_FRAME)).for_each(|unit| page.set(unit));
        }
        if dense {
            (0..HAVE_UNITS_PER_FRAME).step_by(2).for_each(|unit| page.set(unit));
        }
        let bytes = page.encode();
        prop_assert!(bytes.len() <= 1 + HAVE_UNITS_PER_FRAME / 8);
        prop_assert_eq!(HavePage::decode(&bytes), Ok(page));
    }

    #[test]
    fn hostile_bytes_are_an_error_or_a_value(bytes in vec(any::<u8>(), 0..3_000)) {
        let _ = Hello::decode(&bytes);
        let _ = HelloAck::decode(&bytes);
        let _ = HavePage::decode(&bytes);
        let _ = Run::decode(&bytes);
        let _ = Ack::decode(&bytes);
        let _ = Want::decode(&bytes);
        let _ = Hashes::decode(&bytes);
        let _ = Barrier::decode(&bytes);
        let _ = BarrierAck::decode(&bytes);
        let _ = Own::decode(&bytes);
        let _ = OwnAck::decode(&bytes);
        let _ = ErrorMessage::decode(&bytes);
        if let Some(head) = bytes.first_chunk::<HEADER_LEN>() {
            let _ = Header::decode(head);
        }
    }

    #[test]
    fn a_cut_or_lengthened_hello_is_refused(cut in 0..150_usize, disks in vec(disk(), 2..3)) {
        let hello = Hello {
            protocol_min: 1, protocol_max: 1, features: 0, lane: Lane::Bulk, session: 1,
            generation: 1, migration: "m".into(), build: String::new(), disks,
        };
        let mut bytes = hello.encode();
        if cut < bytes.len() {
            prop_assert!(Hello::decode(&bytes[..cut]).is_err());
        }
        bytes.push(0);
        prop_assert!(Hello::decode(&bytes).is_err());
    }
}

fn data(change: impl Fn(&mut Header)) -> Result<Header, WireError> {
    let mut header = Header {
        len: 512 + 32,
        kind: kind::DATA,
        flags: flags::HASHED,
        raw: 512,
        ..Header::default()
    };
    change(&mut header);
    Header::decode(&header.encode())
}

#[test]
fn data_headers_are_checked_before_a_byte_of_payload_is_read() {
    assert!(data(|_| {}).is_ok());
    assert!(data(|h| h.len = PAYLOAD_LEN_MAX + 1).is_err());
    assert!(data(|h| h.len = u32::MAX).is_err());
    assert!(data(|h| (h.len, h.raw) = (32, 0)).is_err());
    assert!(data(|h| h.raw = 1024).is_err());
    assert!(data(|h| h.off = 100).is_err());
    assert!(data(|h| (h.len, h.raw) = (532, 500)).is_err());
    assert!(data(|h| (h.len, h.raw) = (RAW_LEN_MAX + 544, RAW_LEN_MAX + 512)).is_err());
    assert!(data(|h| h.flags |= 0x10).is_err());
    assert!(data(|h| h.flags |= 0x80).is_err());
}

#[test]
fn versions_without_overlap_have_no_common_one() {
    let hello = Hello {
        protocol_min: 2,
        protocol_max: 9,
        features: 0,
        lane: Lane::Prio,
        session: 1,
        generation: 1,
        migration: String::new(),
        build: String::new(),
        disks: Vec::new(),
    };
    assert_eq!(negotiate(&hello, 0), None);
}

#[test]
fn counts_are_checked_before_memory_is_reserved() {
    let mut bytes = Hashes { kind: HashKind::Units, first: 0, hashes: Vec::new() }.encode();
    let at = bytes.len() - 2;
    bytes[at..].copy_from_slice(&u16::MAX.to_le_bytes());
    assert!(matches!(Hashes::decode(&bytes), Err(WireError::TooLong { .. })));
    bytes[at..].copy_from_slice(&1_000_u16.to_le_bytes());
    assert_eq!(Hashes::decode(&bytes), Err(WireError::Truncated("HASHES")));
}
