//! Reading and writing little-endian fields. No allocation before a length is checked.

use crate::WireError;

/// A cursor over a payload.
pub(crate) struct Input<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        if count > self.rest.len() {
            return Err(WireError::Truncated(self.what));
        }
        let (head, tail) = self.rest.split_at(count);
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A text with its length in front, at most `limit` bytes.
    pub(crate) fn text(&mut self, limit: usize) -> Result<String, WireError> {
        let length = usize::from(self.u16()?);
        if length > limit {
            return Err(too_long(self.what, length, limit));
        }
        let text = std::str::from_utf8(self.take(length)?);
        text.map(str::to_owned).map_err(|_| WireError::Invalid(self.what))
    }

    /// A count of items of `size` bytes that must all be in the rest of the payload.
    pub(crate) fn count(&mut self, limit: usize, size: usize) -> Result<usize, WireError> {
        let count = usize::from(self.u16()?);
        if count > limit {
            return Err(too_long(self.what, count, limit));
        }
        if count * size > self.rest.len() {
            return Err(WireError::Truncated(self.what));
        }
        Ok(count)
    }

    /// What is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn end(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.what)) }
    }
}

pub(crate) fn too_long(what: &'static str, value: usize, limit: usize) -> WireError {
    WireError::TooLong { what, value: value as u64, limit: limit as u64 }
}

/// Appends a text with its length in front, cut to `limit` bytes at a character's end.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str, limit: usize) {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&(end as u16).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}
