//! `replicator verify-receipt`: checks a receipt with nothing but the file, and disks against it.
//! The format is described in `docs/receipt.md`. `document.rs` judges the receipt,
//! `canonical.rs` writes it as it was signed, `disk_root.rs` computes the tree of a disk.

mod canonical;
pub mod disk_root;
mod document;

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::VerifyReceiptArgs;
use document::Receipt;

/// Largest file that is taken for a receipt.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What the check found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    valid: bool,
    issuer_trusted: bool,
    fingerprint: String,
    disks: Vec<DiskVerdict>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DiskVerdict {
    path: String,
    root: String,
    /// The disk of the receipt that it is, by its source UUID.
    source_uuid: Option<String>,
}

/// Why a receipt is not accepted, and what to do about it.
struct Refusal {
    message: String,
    remedy: &'static str,
}

impl Refusal {
    fn new(message: impl Into<String>, remedy: &'static str) -> Self {
        Self { message: message.into(), remedy }
    }
}

/// Exit status 0 only when everything that was asked holds.
pub fn run(args: &VerifyReceiptArgs) -> ExitCode {
    match verify(args) {
        Ok(verdict) => {
            report(&verdict, args.json);
            if verdict.valid { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(refusal) => {
            if args.json {
                let body = serde_json::json!({
                    "valid": false, "message": refusal.message, "remedy": refusal.remedy,
                });
                println!("{body}");
            }
            eprintln!("not valid: {}. {}", refusal.message, refusal.remedy);
            ExitCode::FAILURE
        }
    }
}

fn verify(args: &VerifyReceiptArgs) -> Result<Verdict, Refusal> {
    let receipt = Receipt::read(&read(&args.file)?)?;
    let trusted = args.trust.as_deref().unwrap_or(&receipt.fingerprint);
    if !trusted.eq_ignore_ascii_case(&receipt.fingerprint) {
        return Err(Refusal::new(
            format!("the receipt was signed by another issuer, {}", receipt.fingerprint),
            "Compare the fingerprint with the one your installation shows.",
        ));
    }
    let disks = args.disk.iter().map(|path| check_disk(path, &receipt));
    let disks = disks.collect::<Result<Vec<_>, _>>()?;
    Ok(Verdict {
        valid: disks.iter().all(|disk| disk.source_uuid.is_some()),
        issuer_trusted: args.trust.is_some(),
        fingerprint: receipt.fingerprint,
        disks,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let unreadable = |error: std::io::Error| {
        Refusal::new(
            format!("{} cannot be read: {error}", path.display()),
            "Give the path of a receipt.",
        )
    };
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(Refusal::new("the file is too large", "Give the path of a receipt."));
    }
    std::fs::read(path).map_err(unreadable)
}

fn check_disk(path: &Path, receipt: &Receipt) -> Result<DiskVerdict, Refusal> {
    let (root, capacity) = disk_root::of(path).map_err(|error| {
        Refusal::new(
            format!("{} cannot be read: {error}", path.display()),
            "Give the path of a raw disk, for example the flat file of a VMDK.",
        )
    })?;
    let found = receipt.disks.iter().find(|disk| disk.root == root && disk.capacity == capacity);
    let source_uuid = found.map(|disk| disk.source_uuid.clone());
    Ok(DiskVerdict { path: path.display().to_string(), root, source_uuid })
}

fn report(verdict: &Verdict, json: bool) {
    if json {
        println!("{}", serde_json::to_string_pretty(verdict).unwrap_or_default());
        return;
    }
    if verdict.issuer_trusted {
        println!("valid, signed by the issuer you trust ({})", verdict.fingerprint);
    } else {
        println!("valid, issuer unknown ({})", verdict.fingerprint);
    }
    for disk in &verdict.disks {
        match &disk.source_uuid {
            Some(uuid) => println!("{}: is disk {uuid} as it was handed over", disk.path),
            None => println!(
                "{}: is no disk of this receipt; its root is {}. It was changed since, or it is \
                 another disk.",
                disk.path, disk.root
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runner of `dataplane/fuzz` for the one decoder that lives in a program.
    #[test]
    fn any_bytes_are_a_receipt_or_a_refusal() {
        let inputs = [
            &b""[..],
            br#"{"format":"landfall-receipt/1","publicKey":"","signature":""}"#,
            br#"{"format":"landfall-receipt/1","publicKey":"MCowBQYDK2VwAyEA","signature":"AAAA","disks":[{"sourceRoot":"00","n":1e400,"d":-0.0,"u":"\ud800"}]}"#,
            br#"{"format":"landfall-receipt/2","disks":[[[[{}]]]],"a":18446744073709551615}"#,
        ];
        let inputs = inputs.map(<[u8]>::to_vec);
        let mut mutator = landfall_fuzz::Mutator::new(1);
        for input in &inputs {
            assert!(Receipt::read(input).is_err(), "none of them is signed");
        }
        for _ in 0..5_000 {
            let input = mutator.change(&inputs);
            assert!(Receipt::read(&input).is_err());
            if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&input)
                && let Ok(text) = canonical::canonical(&value)
            {
                let read: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
                assert_eq!(canonical::canonical(&read).ok(), Some(text), "one form only");
            }
        }
    }
}
