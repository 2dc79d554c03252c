//! BATCH: many small extents of one disk in one frame, hashed and packed as one block. A guest
//! that writes 4 KiB here and there costs 12 bytes an extent instead of 72 and a frame.

use crate::bytes::{Input, too_long};
use crate::{ALIGNMENT, RAW_LEN_MAX, WireError};

/// Extents in one frame.
pub const BATCH_EXTENTS_MAX: usize = 1_024;
/// Bytes an extent takes in the list.
pub const BATCH_ENTRY_LEN: usize = 12;

/// Where the content of a batch belongs, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchList {
    /// Offset and length of every extent; multiples of [`ALIGNMENT`], not overlapping.
    pub extents: Vec<(u64, u32)>,
}

impl BatchList {
    /// Bytes the list takes at the head of the payload.
    pub fn encoded_len(&self) -> usize {
        2 + self.extents.len() * BATCH_ENTRY_LEN
    }

    /// The head of the payload; hash and content follow.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        out.extend_from_slice(&(self.extents.len() as u16).to_le_bytes());
        for (off, len) in &self.extents {
            out.extend_from_slice(&off.to_le_bytes());
            out.extend_from_slice(&len.to_le_bytes());
        }
        out
    }

    /// Reads and checks the head of a payload whose content unpacks to `raw` bytes; the rest of
    /// the payload comes with it.
    pub fn decode(payload: &[u8], raw: u32) -> Result<(Self, &[u8]), WireError> {
        if raw > RAW_LEN_MAX {
            return Err(too_long("BATCH content", raw as usize, RAW_LEN_MAX as usize));
        }
        let mut input = Input::new(payload, "BATCH");
        let count = input.count(BATCH_EXTENTS_MAX, BATCH_ENTRY_LEN)?;
        let mut extents: Vec<(u64, u32)> = Vec::with_capacity(count);
        let mut sum = 0_u64;
        let mut end = 0_u64;
        for _ in 0..count {
            let (off, len) = (input.u64()?, input.u32()?);
            let aligned = off.is_multiple_of(ALIGNMENT) && u64::from(len).is_multiple_of(ALIGNMENT);
            if len == 0 || !aligned || off < end {
                return Err(WireError::Invalid("batch extent"));
            }
            end = off.checked_add(len.into()).ok_or(WireError::Invalid("batch extent"))?;
            sum += u64::from(len);
            extents.push((off, len));
        }
        if extents.is_empty() || sum != u64::from(raw) {
            return Err(WireError::Invalid("batch length"));
        }
        Ok((Self { extents }, input.rest()))
    }
}
