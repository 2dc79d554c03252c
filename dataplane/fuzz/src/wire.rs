//! Frames of the data connections. What decodes must encode to something that decodes to the
//! same: otherwise two implementations could read different things from it.

use std::fmt::Debug;

use landfall_wire::{
    Ack, Barrier, BarrierAck, BatchList, Codec, ErrorMessage, HEADER_LEN, HashKind, Hashes,
    HavePage, Header, Hello, HelloAck, Own, OwnAck, PAYLOAD_LEN_MAX, Packer, RAW_LEN_MAX, Run,
    Unpacker, Want, kind,
};

fn again<T: Debug + PartialEq, E: Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    if let Ok(value) = decode(bytes) {
        let encoded = encode(&value);
        let second = decode(&encoded).expect("what was encoded decodes");
        assert_eq!(value, second);
    }
}

/// A header as it is, and with a right checksum, so that what comes after it is reached.
pub fn header(data: &[u8]) {
    let mut bytes = [0; HEADER_LEN];
    let count = data.len().min(HEADER_LEN);
    bytes[..count].copy_from_slice(&data[..count]);
    check_header(&bytes);
    bytes[32..36].fill(0);
    let sum = crc32c::crc32c(&bytes);
    bytes[32..36].copy_from_slice(&sum.to_le_bytes());
    check_header(&bytes);
}

fn check_header(bytes: &[u8; HEADER_LEN]) {
    if let Ok(header) = Header::decode(bytes) {
        assert!(header.len <= PAYLOAD_LEN_MAX, "checked before memory is taken");
        assert!(header.kind != kind::DATA || header.raw <= RAW_LEN_MAX);
        assert_eq!(header.encode(), *bytes, "a header has one form");
    }
}

/// Frames one after the other, each payload to the decoder of its kind.
pub fn stream(mut data: &[u8]) {
    while let Some((head, rest)) = data.split_at_checked(HEADER_LEN) {
        let head: &[u8; HEADER_LEN] = head.try_into().expect("it has the length");
        let Ok(header) = Header::decode(head) else { return };
        let Some((payload, rest)) = rest.split_at_checked(header.len as usize) else { return };
        match header.kind {
            kind::HELLO => hello(payload),
            kind::HELLO_ACK => hello_ack(payload),
            kind::HAVE => have(payload),
            kind::ZERO | kind::HOLE => run(payload),
            kind::ACK => ack(payload),
            kind::WANT => want(payload),
            kind::HASHES => hashes(payload),
            kind::BARRIER => barrier(payload),
            kind::BARRIER_ACK => barrier_ack(payload),
            kind::OWN => own(payload),
            kind::OWN_ACK => own_ack(payload),
            kind::ERR => error(payload),
            _ => {}
        }
        data = rest;
    }
}

pub fn hello(data: &[u8]) {
    again(data, Hello::decode, Hello::encode);
}

pub fn hello_ack(data: &[u8]) {
    again(data, HelloAck::decode, HelloAck::encode);
}

pub fn have(data: &[u8]) {
    again(data, HavePage::decode, HavePage::encode);
}

pub fn run(data: &[u8]) {
    again(data, Run::decode, |run| run.encode().to_vec());
}

pub fn ack(data: &[u8]) {
    again(data, Ack::decode, Ack::encode);
}

pub fn want(data: &[u8]) {
    again(data, Want::decode, Want::encode);
}

pub fn hashes(data: &[u8]) {
    again(data, Hashes::decode, Hashes::encode);
    if let Ok(hashes) = Hashes::decode(data) {
        assert!(hashes.hashes.len() <= landfall_wire::HASHES_MAX);
        let _: HashKind = hashes.kind;
    }
}

pub fn barrier(data: &[u8]) {
    again(data, Barrier::decode, Barrier::encode);
}

pub fn barrier_ack(data: &[u8]) {
    again(data, BarrierAck::decode, BarrierAck::encode);
}

pub fn own(data: &[u8]) {
    again(data, Own::decode, Own::encode);
}

pub fn own_ack(data: &[u8]) {
    again(data, OwnAck::decode, OwnAck::encode);
}

pub fn error(data: &[u8]) {
    again(data, ErrorMessage::decode, ErrorMessage::encode);
}

/// The first four bytes say what the content unpacks to, as the header does.
fn split_raw(data: &[u8]) -> Option<(u32, &[u8])> {
    let (raw, rest) = data.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*raw), rest))
}

pub fn batch(data: &[u8]) {
    let Some((raw, payload)) = split_raw(data) else { return };
    if let Ok((list, content)) = BatchList::decode(payload, raw) {
        assert!(raw <= RAW_LEN_MAX && content.len() <= payload.len());
        let sum: u64 = list.extents.iter().map(|(_, len)| u64::from(*len)).sum();
        assert_eq!(sum, u64::from(raw), "every byte belongs to an extent");
        let encoded = [list.encode(), content.to_vec()].concat();
        assert_eq!(BatchList::decode(&encoded, raw), Ok((list, content)));
    }
}

/// Packed content from a peer: unpacking writes what was said or fails. What is packed here
/// unpacks to itself.
pub fn codec(data: &[u8]) {
    let (mut packer, mut unpacker) = (Packer::default(), Unpacker::default());
    for codec in [Codec::Lz4, Codec::Zstd] {
        if let Some((raw, packed)) = split_raw(data) {
            let mut out = vec![0; (raw % (1 << 16)) as usize];
            // Whether it unpacks is for the input to say; it must not reach beyond `out`.
            let _ = unpacker.unpack(codec, packed, &mut out);
        }
        let mut packed = vec![0; landfall_wire::packed_len_max(data.len())];
        if let Some(len) = packer.pack(codec, 1, data, &mut packed) {
            let mut back = vec![0; data.len()];
            unpacker.unpack(codec, &packed[..len], &mut back).expect("it was packed here");
            assert_eq!(back, data);
        }
    }
}
