//! A receipt as a document: its signature, and whether what it says proves an equal copy.

use aws_lc_rs::{digest, signature};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::Refusal;
use super::canonical::canonical;

const FORMAT: &str = "landfall-receipt/1";
const CHANGED: &str = "Get the receipt again from where it was issued.";
const NO_RECEIPT: &str = "Give a receipt as `landfall receipt` prints it.";

/// A receipt whose signature is right and whose disks are equal.
pub struct Receipt {
    /// SHA-256 of the signer's public key, hexadecimal.
    pub fingerprint: String,
    /// Its disks.
    pub disks: Vec<Disk>,
}

/// One disk.
pub struct Disk {
    /// UUID at the source.
    pub source_uuid: String,
    /// Capacity in bytes.
    pub capacity: u64,
    /// Root of both sides, hexadecimal.
    pub root: String,
}

impl Receipt {
    /// Reads and judges a receipt.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| Refusal::new(format!("this is not JSON: {error}"), NO_RECEIPT))?;
        let Value::Object(mut members) = value else {
            return Err(Refusal::new("this is not a receipt", NO_RECEIPT));
        };
        if text(&members, "format")? != FORMAT {
            return Err(Refusal::new(
                format!("this is not a receipt of the format {FORMAT}"),
                "Use a replicator of the version that issued it.",
            ));
        }
        let key = base64(text(&members, "publicKey")?)?;
        let signed = base64(text(&members, "signature")?)?;
        members.remove("signature");
        let unsigned = canonical(&Value::Object(members.clone()))
            .map_err(|what| Refusal::new(what, NO_RECEIPT))?;
        let message = format!("{FORMAT}\n{unsigned}");
        signature::UnparsedPublicKey::new(&signature::ED25519, &key)
            .verify(message.as_bytes(), &signed)
            .map_err(|_| {
                Refusal::new(
                    "it was changed after it was signed, or its signature is broken",
                    CHANGED,
                )
            })?;
        let fingerprint = digest::digest(&digest::SHA256, &key);
        let fingerprint = fingerprint.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { fingerprint, disks: disks(&members)? })
    }
}

fn disks(members: &Map<String, Value>) -> Result<Vec<Disk>, Refusal> {
    let list = members.get("disks").and_then(Value::as_array).filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| Refusal::new("it names no disk", NO_RECEIPT))?;
    list.iter().map(disk).collect()
}

fn disk(value: &Value) -> Result<Disk, Refusal> {
    let no_disk = || Refusal::new("a disk in it is malformed", NO_RECEIPT);
    let members = value.as_object().ok_or_else(no_disk)?;
    let source_uuid = text(members, "sourceUuid")?.to_owned();
    let capacity = text(members, "capacityBytes")?.parse().map_err(|_| no_disk())?;
    let root = text(members, "sourceRoot")?.to_owned();
    if root.len() != 64 || !root.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(no_disk());
    }
    if text(members, "destinationRoot")? != root {
        return Err(Refusal::new(
            format!("disk {source_uuid} was not equal on both sides"),
            "This receipt proves that the copy differs; do not rely on the destination disk.",
        ));
    }
    Ok(Disk { source_uuid, capacity, root })
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    let text = members.get(name).and_then(Value::as_str);
    text.ok_or_else(|| Refusal::new(format!("the member {name} is missing"), NO_RECEIPT))
}

fn base64(text: &str) -> Result<Vec<u8>, Refusal> {
    BASE64.decode(text).map_err(|_| Refusal::new("a member is not base64", NO_RECEIPT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    fn sign(mut receipt: Value) -> Vec<u8> {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        receipt["publicKey"] = BASE64.encode(key.public_key().as_ref()).into();
        let message = format!("{FORMAT}\n{}", canonical(&receipt).unwrap());
        receipt["signature"] = BASE64.encode(key.sign(message.as_bytes()).as_ref()).into();
        receipt.to_string().into_bytes()
    }

    fn receipt(destination_root: &str) -> Value {
        serde_json::json!({
            "format": FORMAT, "dataPathMs": 321, "approvedBy": "Zoë \u{1}\"\\",
            "disks": [{
                "sourceUuid": "6000c29b-1f2e-4d3c-8b7a-000000000001", "capacityBytes": "1024",
                "sourceRoot": "ab".repeat(32), "destinationRoot": destination_root,
            }],
        })
    }

    #[test]
    fn a_signed_receipt_is_valid_and_any_change_is_noticed() {
        let bytes = sign(receipt(&"ab".repeat(32)));
        let read = Receipt::read(&bytes).ok().unwrap();
        assert_eq!((read.disks[0].capacity, read.fingerprint.len()), (1024, 64));
        let changed = String::from_utf8(bytes).unwrap().replace("321", "322");
        assert!(Receipt::read(changed.as_bytes()).is_err());
    }

    #[test]
    fn a_receipt_of_unequal_disks_proves_nothing() {
        let refused = Receipt::read(&sign(receipt(&"cd".repeat(32)))).err().unwrap();
        assert!(refused.message.contains("not equal"));
    }

    #[test]
    fn what_is_no_receipt_is_refused() {
        for text in ["", "[]", "{}", "{\"format\":\"landfall-receipt/2\"}", "\"x\""] {
            assert!(Receipt::read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Receipt::read(&sign(serde_json::json!({ "format": FORMAT }))).is_err());
    }
}
