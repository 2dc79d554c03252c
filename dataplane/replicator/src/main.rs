//! The `replicator` program.
fn main() { print!("{}", landfall_api::document::openapi_json()); }
