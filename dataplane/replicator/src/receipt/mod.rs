//! `replicator verify-receipt`.
use crate::cli::VerifyReceiptArgs;
use std::process::ExitCode;
/// Runs it.
pub fn run(_args: &VerifyReceiptArgs) -> ExitCode {
    ExitCode::SUCCESS
}
