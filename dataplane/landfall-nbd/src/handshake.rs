//! Option haggling of the fixed newstyle handshake. One export with the empty name.
//! Bounded: option count, option length; the caller bounds the time.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use crate::input::Input;
use crate::protocol::*;

/// More options than any client needs.
const OPTIONS_MAX: usize = 64;
/// Longest option: a name of 4,096 bytes and a list of contexts fit well.
const OPTION_BYTES_MAX: usize = 16 << 10;
/// Largest read or write a client may ask for.
pub const PAYLOAD_BYTES_MAX: u32 = 32 << 20;

const ALLOCATION_CONTEXT: &[u8] = b"base:allocation";
/// Number under which block status names the context.
pub const ALLOCATION_CONTEXT_ID: u32 = 1;

/// What was agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// Structured replies are on.
    pub structured: bool,
    /// Block status of `base:allocation` may be asked.
    pub allocation: bool,
}

/// Haggles until the client goes to transmission; None when it only asked and left.
pub fn negotiate(
    input: &mut Input,
    output: &mut UnixStream,
    size: u64,
) -> io::Result<Option<Agreed>> {
    let mut greeting = GREETING.to_vec();
    greeting.extend((SERVER_FIXED_NEWSTYLE | SERVER_NO_ZEROES).to_be_bytes());
    output.write_all(&greeting)?;
    let client_flags = be32(&input.array::<4>()?, 0);
    if client_flags & !(CLIENT_FIXED_NEWSTYLE | CLIENT_NO_ZEROES) != 0 {
        return Err(invalid("unknown client flags"));
    }

    let mut agreed = Agreed::default();
    for _ in 0..OPTIONS_MAX {
        let header = input.array::<16>()?;
        let (option, len) = (be32(&header, 8), be32(&header, 12) as usize);
        if be64(&header, 0) != OPTION_MAGIC || len > OPTION_BYTES_MAX {
            return Err(invalid("malformed option"));
        }
        let mut data = vec![0; len];
        input.read_exact(&mut data)?;
        match option {
            OPT_EXPORT_NAME => {
                // This option has no error reply: a wrong name can only be hung up on.
                if !data.is_empty() {
                    return Err(invalid("unknown export"));
                }
                let mut answer = size.to_be_bytes().to_vec();
                answer.extend(flags(agreed).to_be_bytes());
                if client_flags & CLIENT_NO_ZEROES == 0 {
                    answer.extend([0; 124]);
                }
                output.write_all(&answer)?;
                return Ok(Some(agreed));
            }
            OPT_ABORT => {
                reply(output, option, REP_ACK, &[])?;
                return Ok(None);
            }
            OPT_LIST if data.is_empty() => {
                reply(output, option, REP_SERVER, &0u32.to_be_bytes())?;
                reply(output, option, REP_ACK, &[])?;
            }
            OPT_INFO | OPT_GO => {
                if info(output, option, &data, size, agreed)? && option == OPT_GO {
                    return Ok(Some(agreed));
                }
            }
            OPT_STRUCTURED_REPLY if data.is_empty() => {
                agreed.structured = true;
                reply(output, option, REP_ACK, &[])?;
            }
            OPT_LIST_META_CONTEXT | OPT_SET_META_CONTEXT => {
                meta_context(output, option, &data, &mut agreed)?;
            }
            OPT_LIST | OPT_STRUCTURED_REPLY => reply(output, option, REP_ERR_INVALID, &[])?,
            _ => reply(output, option, REP_ERR_UNSUPPORTED, &[])?,
        }
    }
    Err(invalid("too many options"))
}

fn flags(agreed: Agreed) -> u16 {
    EXPORT_FLAGS | if agreed.structured { EXPORT_FLAG_DF } else { 0 }
}

/// Answers INFO or GO; false when it was refused.
fn info(
    output: &mut UnixStream,
    option: u32,
    data: &[u8],
    size: u64,
    agreed: Agreed,
) -> io::Result<bool> {
    let Some((name, rest)) = prefixed(data) else {
        reply(output, option, REP_ERR_INVALID, &[])?;
        return Ok(false);
    };
    if rest.len() < 2 || rest.len() != 2 + 2 * usize::from(be16(rest, 0)) {
        reply(output, option, REP_ERR_INVALID, &[])?;
        return Ok(false);
    }
    if !name.is_empty() {
        reply(output, option, REP_ERR_UNKNOWN, b"there is one export, with the empty name")?;
        return Ok(false);
    }
    let mut answer = INFO_EXPORT.to_be_bytes().to_vec();
    answer.extend(size.to_be_bytes());
    answer.extend(flags(agreed).to_be_bytes());
    reply(output, option, REP_INFO, &answer)?;
    if rest[2..].chunks_exact(2).any(|wanted| be16(wanted, 0) == INFO_BLOCK_SIZE) {
        let mut answer = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
        for bytes in [1, 4096, PAYLOAD_BYTES_MAX] {
            answer.extend(bytes.to_be_bytes());
        }
        reply(output, option, REP_INFO, &answer)?;
    }
    reply(output, option, REP_ACK, &[])?;
    Ok(true)
}

fn meta_context(
    output: &mut UnixStream,
    option: u32,
    data: &[u8],
    agreed: &mut Agreed,
) -> io::Result<()> {
    let Some(wanted) = wants_allocation(data, option == OPT_LIST_META_CONTEXT) else {
        return reply(output, option, REP_ERR_INVALID, &[]);
    };
    if option == OPT_SET_META_CONTEXT {
        if !agreed.structured {
            return reply(output, option, REP_ERR_INVALID, &[]);
        }
        agreed.allocation = wanted;
    }
    if wanted {
        let mut answer = ALLOCATION_CONTEXT_ID.to_be_bytes().to_vec();
        answer.extend(ALLOCATION_CONTEXT);
        reply(output, option, REP_META_CONTEXT, &answer)?;
    }
    reply(output, option, REP_ACK, &[])
}

/// Whether the queries name our one context; None when they are malformed.
fn wants_allocation(data: &[u8], listing: bool) -> Option<bool> {
    let (_name, rest) = prefixed(data)?;
    if rest.len() < 4 {
        return None;
    }
    let (count, mut rest) = (be32(rest, 0), &rest[4..]);
    let mut wanted = listing && count == 0;
    for _ in 0..count {
        let (query, after) = prefixed(rest)?;
        wanted |= query == ALLOCATION_CONTEXT || (listing && query == b"base:");
        rest = after;
    }
    rest.is_empty().then_some(wanted)
}

/// A string with a 32-bit length before it, and what follows.
fn prefixed(data: &[u8]) -> Option<(&[u8], &[u8])> {
    if data.len() < 4 {
        return None;
    }
    data[4..].split_at_checked(be32(data, 0) as usize)
}

fn reply(output: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut message = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    message.extend(option.to_be_bytes());
    message.extend(kind.to_be_bytes());
    message.extend((data.len() as u32).to_be_bytes());
    message.extend(data);
    output.write_all(&message)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn option_parsers_accept_any_bytes(data: Vec<u8>, listing: bool) {
            prefixed(&data);
            wants_allocation(&data, listing);
        }
    }

    #[test]
    fn a_lying_length_is_malformed() {
        assert_eq!(prefixed(&[0, 0, 0, 9, b'x']), None);
        assert_eq!(prefixed(&[255, 255, 255, 255]), None);
        assert_eq!(wants_allocation(&[0, 0, 0, 0, 255, 255, 255, 255], false), None);
    }
}
