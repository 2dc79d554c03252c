//! Who this process is towards the installation: its key, its certificate, its enrolment.
//! `identity.rs` keeps the files, `enrol.rs` proves and signs up, `verify.rs` judges peers,
//! `routes.rs` is the part of the control face every agent has. The private key never leaves
//! the state folder.

mod certificate;
mod enrol;
mod identity;
mod routes;
mod verify;

pub use certificate::{Facts, chain_from_pem, new_key, request_for, roots_from_pem, spki_of};
pub use enrol::{EXPORTER_LABEL, SecretSource};
pub use identity::{Agent, AgentSetup, certified, key_from_pem};
pub use routes::{Peer, routes};
pub use verify::{check_client_chain, client_config, server_config};
