//! Logs: one JSON object a line on standard error. Nothing secret is ever given to it.

use tracing_subscriber::EnvFilter;

/// Begins logging; `REPLICATOR_LOG` takes a filter such as `debug`.
pub fn start(role: &'static str) {
    let filter = EnvFilter::try_from_env("REPLICATOR_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A reader of the log that went away must not end the data plane.
        .log_internal_errors(false)
        .init();
    let binary_sha256 = binary_sha256().unwrap_or_default();
    tracing::info!(role, version = env!("CARGO_PKG_VERSION"), binary_sha256, "started");
}

/// Logs for a person at a terminal: plain lines on standard error.
pub fn start_for_people() {
    let filter = EnvFilter::try_from_env("REPLICATOR_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .compact()
        .with_target(false)
        .with_ansi(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .init();
}

fn binary_sha256() -> Option<String> {
    let bytes = std::fs::read("/proc/self/exe").ok()?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    Some(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}
