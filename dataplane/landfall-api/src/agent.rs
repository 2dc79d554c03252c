//! Who an agent is, and how it is enrolled with an installation.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What this program is doing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The daemon of a source host.
    Host,
    /// The receiver in a shadow VM.
    Receiver,
}

/// Answer of `GET /v1/agent`, readable before enrolment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// Host daemon or receiver.
    pub role: Role,
    /// Stable identifier of this agent, made at its first start or given to it.
    pub agent_id: String,
    /// Version of the program.
    pub version: String,
    /// Whether a certificate of the installation's authority is in force.
    pub enrolled: bool,
    /// When that certificate ends, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
}

/// First call of an enrolment or a renewal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnrolBegin {
    /// Base64 of HMAC-SHA256(secret, "landfall enrol server v1" || exporter || agent's SPKI).
    /// Not needed for a renewal over mutual TLS.
    #[serde(default)]
    pub proof: Option<String>,
}

/// The agent's signing request and its own proof of the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrolBegun {
    /// PKCS #10 request for the agent's own key.
    pub csr_pem: String,
    /// Base64 of HMAC-SHA256(secret, "landfall enrol agent v1" || exporter || agent's SPKI);
    /// absent in a renewal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// Second call: the certificate the authority signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnrolComplete {
    /// The agent's certificate, followed by intermediates if there are any.
    pub certificate_pem: String,
    /// The authority every later peer must chain to.
    pub authority_pem: String,
}
