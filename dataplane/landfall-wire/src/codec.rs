//! Content in fewer bytes: lz4 and zstd blocks without dictionaries or history, one per frame.
//! What a peer packed is unpacked into memory whose size was checked before.

use crate::WireError;

/// How the content of a DATA or BATCH frame is packed; its number stands in the flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// As it is.
    #[default]
    None,
    /// An lz4 block.
    Lz4,
    /// A zstd frame.
    Zstd,
}

impl Codec {
    const SHIFT: u8 = 4;

    /// The bits of the flags.
    pub fn flags(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1 << Self::SHIFT,
            Self::Zstd => 2 << Self::SHIFT,
        }
    }

    /// From the flags of a header.
    pub fn from_flags(flags: u8) -> Result<Self, WireError> {
        match (flags & crate::flags::CODEC_MASK) >> Self::SHIFT {
            0 => Ok(Self::None),
            1 => Ok(Self::Lz4),
            2 => Ok(Self::Zstd),
            _ => Err(WireError::Invalid("codec")),
        }
    }

    /// The feature both sides must have said in HELLO; 0 where none is needed.
    pub fn feature(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Lz4 => crate::features::CODEC_LZ4,
            Self::Zstd => crate::features::CODEC_ZSTD,
        }
    }
}

/// Packs content; keeps the memory of its encoder.
#[derive(Default)]
pub struct Packer {
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
}

impl Packer {
    /// Packs `raw` into `out`; the answer is the packed length. `None` when it does not fit,
    /// which means that packing does not pay. `level` is one of zstd's.
    pub fn pack(&mut self, codec: Codec, level: i32, raw: &[u8], out: &mut [u8]) -> Option<usize> {
        match codec {
            Codec::None => None,
            Codec::Lz4 => lz4_flex::block::compress_into(raw, out).ok(),
            Codec::Zstd => {
                if self.zstd.as_ref().is_none_or(|(known, _)| *known != level) {
                    self.zstd = Some((level, zstd::bulk::Compressor::new(level).ok()?));
                }
                let (_, compressor) = self.zstd.as_mut()?;
                compressor.compress_to_buffer(raw, out).ok()
            }
        }
    }
}

/// Bytes `out` of [`Packer::pack`] needs so that lz4 accepts any content of this length.
pub fn packed_len_max(raw: usize) -> usize {
    lz4_flex::block::get_maximum_output_size(raw)
}

/// Unpacks content; keeps the memory of its decoder.
#[derive(Default)]
pub struct Unpacker {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Unpacker {
    /// Fills exactly `out` from what was packed; anything else is an error. Takes no memory
    /// that the content asks for: `out` is all there is.
    pub fn unpack(&mut self, codec: Codec, packed: &[u8], out: &mut [u8]) -> Result<(), WireError> {
        let count = match codec {
            Codec::None => return Err(WireError::Invalid("codec")),
            Codec::Lz4 => lz4_flex::block::decompress_into(packed, out).ok(),
            Codec::Zstd => {
                let made = match self.zstd.take() {
                    Some(made) => made,
                    None => zstd::bulk::Decompressor::new()
                        .map_err(|_| WireError::Invalid("packed content"))?,
                };
                self.zstd.insert(made).decompress_to_buffer(packed, out).ok()
            }
        };
        if count == Some(out.len()) { Ok(()) } else { Err(WireError::Invalid("packed content")) }
    }
}
