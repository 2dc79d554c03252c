//! Values that cross every border: checked identifiers and byte counts.
//! An identifier that passed deserialisation is safe as a file name.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A disk or VM: lower-case UUID with dashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    example = "6000c29b-1f2e-4d3c-8b7a-0123456789ab")]
pub struct Uuid(String);

impl Uuid {
    /// Accepts exactly the canonical form.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            });
        fits.then(|| Self(text.to_owned()))
    }

    /// The 16 bytes, for fixed-size frames and files.
    pub fn to_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let digits = self.0.bytes().filter(|byte| *byte != b'-');
        for (at, digit) in digits.enumerate() {
            let value = (digit as char).to_digit(16).unwrap_or(0) as u8;
            bytes[at / 2] = (bytes[at / 2] << 4) | value;
        }
        bytes
    }

    /// The canonical form of 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let mut text = String::with_capacity(36);
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        Self(text)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An identifier of the control plane, for example `vmm_0197...`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
pub struct Id(String);

impl Id {
    /// Letters, digits, `_`, `-` and `.`, not beginning with `-` or `.`; at most 128.
    pub fn parse(text: &str) -> Option<Self> {
        let first = text.bytes().next()?;
        let fits = text.len() <= 128
            && (first.is_ascii_alphanumeric() || first == b'_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_type {
    ($name:ident, $what:literal) => {
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                Self::parse(&text).ok_or_else(|| format!(concat!("not ", $what, ": {:.64}"), text))
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }
        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::try_from(text.to_owned())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_type!(Uuid, "a lower-case UUID with dashes");
text_type!(Id, "an identifier");

/// A number of bytes. In JSON a decimal string, because 64 bits do not fit a JSON number.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[0-9]{1,20}$", example = "2147483648")]
pub struct ByteCount(pub u64);

impl TryFrom<String> for ByteCount {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(count) if digits => Ok(Self(count)),
            _ => Err(format!("not a number of bytes: {text:.32}")),
        }
    }
}

impl From<ByteCount> for String {
    fn from(count: ByteCount) -> Self {
        count.0.to_string()
    }
}

impl From<u64> for ByteCount {
    fn from(count: u64) -> Self {
        Self(count)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_accepts_only_the_canonical_form() {
        let text = "6000c29b-1f2e-4d3c-8b7a-0123456789ab";
        let uuid = Uuid::parse(text).unwrap();
        assert_eq!(Uuid::from_bytes(uuid.to_bytes()), uuid);
        for wrong in
            ["", "6000C29b-1f2e-4d3c-8b7a-0123456789ab", "../../../../etc/passwd", &text[1..]]
        {
            assert!(Uuid::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn identifier_is_safe_as_a_file_name() {
        assert!(Id::parse("vmm_0197a1b2-aaaa").is_some());
        for wrong in ["", "..", ".hidden", "a/b", "-x", "a\0"] {
            assert!(Id::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn byte_count_is_a_decimal_string() {
        assert_eq!(
            serde_json::to_string(&ByteCount(u64::MAX)).unwrap(),
            "\"18446744073709551615\""
        );
        assert_eq!(serde_json::from_str::<ByteCount>("\"42\"").unwrap(), ByteCount(42));
        for wrong in ["\"\"", "\"+1\"", "\"18446744073709551616\"", "7", "\"1e3\""] {
            assert!(serde_json::from_str::<ByteCount>(wrong).is_err(), "{wrong}");
        }
    }
}
