//! What can be wrong with bytes from a peer.

/// A frame that must not be used. The connection it came on cannot be trusted any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Fewer bytes than the structure needs.
    #[error("Truncated {0}")]
    Truncated(&'static str),
    /// Bytes left after the structure.
    #[error("Trailing bytes after {0}")]
    Trailing(&'static str),
    /// The header's checksum does not fit.
    #[error("Header checksum is wrong")]
    Checksum,
    /// A length over its limit.
    #[error("{what} of {value} bytes or items is over the limit of {limit}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// A field with a value that has no meaning.
    #[error("Field {0} has no valid value")]
    Invalid(&'static str),
}
