//! Packed content and batches: what comes back, and what a hostile peer cannot do with them.

use landfall_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|at| b"the quick brown fox "[at % 20] ^ (at / 4000) as u8).collect()
}

const CODECS: [(Codec, i32); 5] =
    [(Codec::Lz4, 0), (Codec::Zstd, -5), (Codec::Zstd, 1), (Codec::Zstd, 3), (Codec::Zstd, 6)];

#[test]
fn content_comes_back_from_every_codec() {
    let raw = text(RAW_LEN_MAX as usize);
    let (mut packer, mut unpacker) = (Packer::default(), Unpacker::default());
    for (codec, level) in CODECS {
        let mut packed = vec![0; packed_len_max(raw.len())];
        let len = packer.pack(codec, level, &raw, &mut packed).unwrap();
        assert!(len < raw.len() / 2, "{codec:?} {level}: {len}");
        let mut out = vec![0; raw.len()];
        unpacker.unpack(codec, &packed[..len], &mut out).unwrap();
        assert!(out == raw, "{codec:?} {level}");
    }
}

#[test]
fn a_bomb_gets_no_more_memory_than_was_agreed() {
    let raw = vec![0; 64 << 20];
    let (mut packer, mut unpacker) = (Packer::default(), Unpacker::default());
    for (codec, level) in CODECS {
        let mut packed = vec![0; packed_len_max(raw.len())];
        let len = packer.pack(codec, level, &raw, &mut packed).unwrap();
        let mut out = vec![1; 4096];
        assert!(unpacker.unpack(codec, &packed[..len], &mut out).is_err(), "{codec:?} {level}");
        let mut more = vec![1; raw.len() + 1];
        assert!(unpacker.unpack(codec, &packed[..len], &mut more).is_err(), "{codec:?} {level}");
    }
}

#[test]
fn what_content_unpacks_to_is_bounded_by_the_header() {
    let header = |change: &dyn Fn(&mut Header)| {
        let flags = flags::HASHED | Codec::Zstd.flags();
        let mut header =
            Header { len: 100, kind: kind::DATA, flags, raw: 4096, ..Header::default() };
        change(&mut header);
        Header::decode(&header.encode())
    };
    assert!(header(&|_| {}).is_ok());
    assert!(header(&|h| h.raw = RAW_LEN_MAX + 512).is_err());
    assert!(header(&|h| h.raw = 0).is_err());
    assert!(header(&|h| h.len = 32).is_err());
    assert!(header(&|h| h.len = 4096 + 32).is_err());
    assert!(header(&|h| h.flags |= 0x40).is_err());
    assert!(header(&|h| (h.kind, h.len) = (kind::BATCH, 4096)).is_ok());
    assert!(header(&|h| (h.kind, h.raw) = (kind::BATCH, RAW_LEN_MAX + 512)).is_err());
    assert!(header(&|h| (h.kind, h.raw) = (kind::BATCH, 100)).is_err());
}

#[test]
fn batches_must_be_in_order_aligned_and_whole() {
    let decode = |extents: &[(u64, u32)], raw| {
        let bytes = BatchList { extents: extents.to_vec() }.encode();
        BatchList::decode(&bytes, raw).map(|(list, _)| list.extents)
    };
    assert_eq!(decode(&[(0, 512), (4096, 1024)], 1536), Ok(vec![(0, 512), (4096, 1024)]));
    assert!(decode(&[], 0).is_err());
    assert!(decode(&[(0, 512)], 1024).is_err());
    assert!(decode(&[(0, 0), (512, 512)], 512).is_err());
    assert!(decode(&[(100, 512)], 512).is_err());
    assert!(decode(&[(0, 100)], 100).is_err());
    assert!(decode(&[(4096, 512), (0, 512)], 1024).is_err());
    assert!(decode(&[(0, 1024), (512, 512)], 1536).is_err());
    assert!(decode(&[(u64::MAX - 511, 1024)], 1024).is_err());
    assert!(decode(&[(0, 512)], RAW_LEN_MAX + 512).is_err());
    let many = vec![(0, 512); BATCH_EXTENTS_MAX + 1];
    assert!(matches!(decode(&many, 512), Err(WireError::TooLong { .. })));
}

proptest! {
    #[test]
    fn hostile_packed_bytes_are_an_error_or_fill_the_room(
        bytes in vec(any::<u8>(), 0..2_000), len in 1..5_000_usize,
    ) {
        let mut unpacker = Unpacker::default();
        for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
            let mut out = vec![0; len];
            let _ = unpacker.unpack(codec, &bytes, &mut out);
        }
        let _ = BatchList::decode(&bytes, 512 * (len as u32));
    }

    #[test]
    fn batches_come_back(gaps in vec((0..100_u64, 1..8_u32), 1..200), rest in vec(any::<u8>(), 0..9)) {
        let mut at = 0;
        let mut extents = Vec::new();
        for (gap, sectors) in gaps {
            at += gap * ALIGNMENT;
            extents.push((at, sectors * ALIGNMENT as u32));
            at += u64::from(sectors) * ALIGNMENT;
        }
        let raw = extents.iter().map(|(_, len)| len).sum();
        let list = BatchList { extents };
        let bytes = [list.encode(), rest.clone()].concat();
        prop_assert_eq!(bytes.len() - rest.len(), list.encoded_len());
        prop_assert_eq!(BatchList::decode(&bytes, raw), Ok((list, &rest[..])));
    }
}
