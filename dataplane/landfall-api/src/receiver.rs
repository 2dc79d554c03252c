//! The receiver: its configuration file, its destination disks and who owns them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ByteCount, DiskPair, Id, Uuid};

/// `config.json` of the configuration ISO.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverConfig {
    /// The installation.
    pub installation_id: Id,
    /// Identifier given to this agent.
    pub agent_id: Id,
    /// The one migration it serves.
    pub vm_migration_id: Id,
    /// Certificate of the authority.
    pub authority_pem: String,
    /// Base64 of the one-time secret.
    pub enrol_secret: String,
}

/// The disks a receiver shall serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrepareDisks {
    /// Lease generation.
    pub generation: u64,
    /// The pairs, as in the job.
    pub disks: Vec<DiskPair>,
}

/// Whether a source is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// No source is connected.
    Idle,
    /// A source is connected.
    Connected,
}

/// Who owns the destination disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OwnershipState {
    /// The source.
    #[default]
    None,
    /// The source; a hand-over with this token is prepared.
    Prepared,
    /// This side.
    Active,
    /// Nobody here any more: a newer token took it back.
    Fenced,
}

/// Ownership with the token it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ownership {
    /// State.
    pub state: OwnershipState,
    /// Token E; 0 before the first.
    pub token: u64,
}

/// One destination disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverDisk {
    /// UUID of the destination disk.
    pub destination_uuid: Uuid,
    /// Whether it is there.
    pub present: bool,
    /// Its capacity.
    pub capacity_bytes: ByteCount,
    /// Bytes covered by the have-map.
    pub have_bytes: ByteCount,
    /// Bytes written since the receiver started.
    pub written_bytes: ByteCount,
}

/// Answer of `GET /v1/receiver`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverStatus {
    /// The migration it serves.
    pub vm_migration_id: Id,
    /// Whether a source is connected.
    pub session_state: SessionState,
    /// Who owns the disks.
    pub ownership: Ownership,
    /// The prepared disks.
    pub disks: Vec<ReceiverDisk>,
}
