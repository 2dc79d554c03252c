//! Enrolment: both sides prove, bound to their TLS connection, that they know a one-time secret;
//! then the agent takes a certificate for its own key and the secret is void.

use std::path::PathBuf;

use aws_lc_rs::{digest, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use landfall_api::{AgentStatus, Code, EnrolBegin, EnrolBegun, EnrolComplete, Id, Problem, Uuid};
use rcgen::KeyPair;

use super::identity::{Agent, KeptCertificate};
use super::{certificate, verify};
use crate::durable;

/// Label of the TLS exporter value the proofs are bound to.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-landfall-enrol";
const SERVER_LABEL: &[u8] = b"landfall enrol server v1";
const AGENT_LABEL: &[u8] = b"landfall enrol agent v1";
const SECRET_BYTES_MIN: usize = 16;
/// Key of the host's advanced option.
const OPTION_KEY: &str = "Landfall.EnrolSecret";

/// Where the one-time secret comes from.
pub enum SecretSource {
    /// The mirror of the host's advanced options; read again at every use.
    OptionsFile(PathBuf),
    /// Given at start.
    Given(Vec<u8>),
    /// There is none: strangers may never connect.
    None,
}

impl SecretSource {
    fn read(&self) -> Option<Vec<u8>> {
        match self {
            Self::Given(secret) => Some(secret.clone()),
            Self::None => None,
            Self::OptionsFile(path) => {
                let text = std::fs::read(path).ok()?;
                let options: serde_json::Value = serde_json::from_slice(&text).ok()?;
                BASE64.decode(options.get(OPTION_KEY)?.as_str()?.trim()).ok()
            }
        }
        .filter(|secret| secret.len() >= SECRET_BYTES_MIN)
    }
}

/// A new identifier for a host agent.
pub fn new_agent_id() -> Result<Id, Problem> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| Problem::new(Code::Internal, "no randomness"))?;
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let text = format!("host_{}", Uuid::from_bytes(bytes));
    Id::parse(&text).ok_or_else(|| Problem::new(Code::Internal, "an identifier must fit"))
}

fn sha256_hex(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Agent {
    /// The secret that may still be used.
    pub(super) fn pending_secret(&self) -> Option<Vec<u8>> {
        let secret = self.setup.secret.read()?;
        let kept = self.kept.read().expect("never poisoned");
        (kept.used_secret_sha256.as_deref() != Some(&sha256_hex(&secret))).then_some(secret)
    }

    /// First call. `by_server` says that the installation's management server is the peer.
    pub(super) fn enrol_begin(
        &self,
        request: &EnrolBegin,
        exporter: &[u8],
        by_server: bool,
    ) -> Result<EnrolBegun, Problem> {
        let csr_pem = certificate::request_for(&self.key, self.agent_id.as_str())?;
        if by_server {
            return Ok(EnrolBegun { csr_pem, proof: None });
        }
        let secret = self.pending_secret().ok_or_else(|| {
            Problem::new(Code::EnrolSecretMissing, "there is no unused enrolment secret here")
        })?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let spki = certificate::spki_of(&self.key);
        let message = |label: &[u8]| [label, exporter, &spki].concat();
        let proof = request.proof.as_deref().and_then(|proof| BASE64.decode(proof).ok());
        let proven =
            proof.is_some_and(|proof| hmac::verify(&key, &message(SERVER_LABEL), &proof).is_ok());
        if !proven {
            return Err(Problem::new(
                Code::EnrolProofWrong,
                "the proof does not fit this secret, this connection and this agent's key",
            ));
        }
        let proof = BASE64.encode(hmac::sign(&key, &message(AGENT_LABEL)));
        Ok(EnrolBegun { csr_pem, proof: Some(proof) })
    }

    /// Takes a certificate for its key that `sign` makes: both sides are in one hand.
    pub fn adopt(
        &self,
        authority_pem: &str,
        sign: impl FnOnce(&KeyPair) -> Result<String, Problem>,
    ) -> Result<(), Problem> {
        let certificate_pem = sign(&self.key)?;
        let request = EnrolComplete { certificate_pem, authority_pem: authority_pem.to_owned() };
        self.enrol_complete(&request, true).map(drop)
    }

    /// Second call, on the connection of the first. The certificate is in force on return.
    pub(super) fn enrol_complete(
        &self,
        request: &EnrolComplete,
        by_server: bool,
    ) -> Result<AgentStatus, Problem> {
        if let Some(expected) = &self.setup.authority_pem {
            let given = certificate::chain_from_pem(&request.authority_pem)?;
            if given != certificate::chain_from_pem(expected)? {
                let what = "the authority is not the one this agent was configured with";
                return Err(Problem::new(Code::CertificateWrong, what));
            }
        }
        let enrolled = self.judge(&request.certificate_pem, &request.authority_pem)?;
        verify::check_chain(&enrolled.shown.cert, &enrolled.roots)?;
        let mut kept = self.kept.write().expect("never poisoned");
        let mut next = kept.clone();
        if !by_server {
            let secret = self.setup.secret.read().map(|secret| sha256_hex(&secret));
            if secret.is_none() || secret == kept.used_secret_sha256 {
                return Err(Problem::new(
                    Code::EnrolSecretMissing,
                    "the secret was used or taken away meanwhile",
                ));
            }
            next.used_secret_sha256 = secret;
        }
        next.certificate = Some(KeptCertificate {
            certificate_pem: request.certificate_pem.clone(),
            authority_pem: request.authority_pem.clone(),
        });
        durable::write_json(&self.file(), &next)?;
        *kept = next;
        drop(kept);
        tracing::info!(not_after = enrolled.facts.not_after, renewed = by_server, "enrolled");
        *self.enrolled.write().expect("never poisoned") = Some(enrolled.into());
        Ok(self.status())
    }
}
