//! Numbers of the NBD protocol, as its public specification has them, and fixed-size headers.

/// `NBDMAGIC` and `IHAVEOPT`: the first 16 bytes a server says.
pub const GREETING: &[u8; 16] = b"NBDMAGICIHAVEOPT";
pub const OPTION_MAGIC: u64 = 0x4948_4156_454F_5054;
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_E889_0455_65A9;
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668E_33EF;

pub const SERVER_FIXED_NEWSTYLE: u16 = 1;
pub const SERVER_NO_ZEROES: u16 = 2;
pub const CLIENT_FIXED_NEWSTYLE: u32 = 1;
pub const CLIENT_NO_ZEROES: u32 = 2;

pub const OPT_EXPORT_NAME: u32 = 1;
pub const OPT_ABORT: u32 = 2;
pub const OPT_LIST: u32 = 3;
pub const OPT_INFO: u32 = 6;
pub const OPT_GO: u32 = 7;
pub const OPT_STRUCTURED_REPLY: u32 = 8;
pub const OPT_LIST_META_CONTEXT: u32 = 9;
pub const OPT_SET_META_CONTEXT: u32 = 10;

pub const REP_ACK: u32 = 1;
pub const REP_SERVER: u32 = 2;
pub const REP_INFO: u32 = 3;
pub const REP_META_CONTEXT: u32 = 4;
pub const REP_ERR_UNSUPPORTED: u32 = 0x8000_0001;
pub const REP_ERR_INVALID: u32 = 0x8000_0003;
pub const REP_ERR_UNKNOWN: u32 = 0x8000_0006;

pub const INFO_EXPORT: u16 = 0;
pub const INFO_BLOCK_SIZE: u16 = 3;

/// has flags, flush, FUA, trim, write zeroes, multi-conn, cache. Resize is not offered.
pub const EXPORT_FLAGS: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 10;
/// Added when structured replies are on: "do not fragment".
pub const EXPORT_FLAG_DF: u16 = 1 << 7;

pub const CMD_READ: u16 = 0;
pub const CMD_WRITE: u16 = 1;
pub const CMD_DISCONNECT: u16 = 2;
pub const CMD_FLUSH: u16 = 3;
pub const CMD_TRIM: u16 = 4;
pub const CMD_CACHE: u16 = 5;
pub const CMD_WRITE_ZEROES: u16 = 6;
pub const CMD_BLOCK_STATUS: u16 = 7;

pub const FLAG_FUA: u16 = 1;
pub const FLAG_NO_HOLE: u16 = 1 << 1;
pub const FLAG_DF: u16 = 1 << 2;
pub const FLAG_REQ_ONE: u16 = 1 << 3;

pub const CHUNK_DONE: u16 = 1;
pub const CHUNK_NONE: u16 = 0;
pub const CHUNK_DATA: u16 = 1;
pub const CHUNK_BLOCK_STATUS: u16 = 5;
pub const CHUNK_ERROR: u16 = 0x8001;

pub const STATE_HOLE: u32 = 1;
pub const STATE_ZERO: u32 = 2;

pub const EIO: u32 = 5;
pub const EINVAL: u32 = 22;
pub const ENOSPC: u32 = 28;

/// Length of a request header.
pub const REQUEST_LEN: usize = 28;

/// A request header whose magic was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub flags: u16,
    pub command: u16,
    pub cookie: [u8; 8],
    pub offset: u64,
    pub len: u32,
}

impl Request {
    /// None when the magic is wrong: the stream cannot be trusted any more.
    pub fn parse(header: &[u8; REQUEST_LEN]) -> Option<Self> {
        if be32(header, 0) != REQUEST_MAGIC {
            return None;
        }
        let mut cookie = [0; 8];
        cookie.copy_from_slice(&header[8..16]);
        Some(Self {
            flags: be16(header, 4),
            command: be16(header, 6),
            cookie,
            offset: be64(header, 16),
            len: be32(header, 24),
        })
    }

    /// Whether the range is not empty and lies inside a disk of `size` bytes.
    pub fn fits(&self, size: u64) -> bool {
        let end = self.offset.checked_add(u64::from(self.len));
        self.len > 0 && end.is_some_and(|end| end <= size)
    }

    /// The error that the header alone earns on a disk of `size` bytes, if any. Unknown commands
    /// and flags are errors; an unknown command carries no payload.
    pub fn refused(&self, size: u64) -> Option<u32> {
        let known = match self.command {
            CMD_READ => FLAG_FUA | FLAG_DF,
            CMD_WRITE_ZEROES => FLAG_FUA | FLAG_NO_HOLE,
            CMD_BLOCK_STATUS => FLAG_FUA | FLAG_REQ_ONE,
            CMD_WRITE | CMD_FLUSH | CMD_TRIM | CMD_CACHE => FLAG_FUA,
            _ => return Some(EINVAL),
        };
        let grows = matches!(self.command, CMD_WRITE | CMD_WRITE_ZEROES) && self.len > 0;
        if self.flags & !known != 0 {
            Some(EINVAL)
        } else if self.command == CMD_FLUSH || self.fits(size) {
            None
        } else {
            Some(if grows { ENOSPC } else { EINVAL })
        }
    }
}

pub fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
}

pub fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}
