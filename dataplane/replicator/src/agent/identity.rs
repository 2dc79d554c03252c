//! The files of an identity and what is in force now: `key.pem`, made once, and `agent.json`
//! with all that changes. It is one file, so that a secret is void exactly when the certificate
//! it was used for is in force.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use landfall_api::{AgentStatus, Code, Id, Problem, Role};
use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::certificate::{self, Facts};
use super::enrol::{self, SecretSource};
use super::verify;
use crate::durable;

/// How an agent begins.
pub struct AgentSetup {
    /// Host daemon or receiver.
    pub role: Role,
    /// Folder of the identity.
    pub folder: PathBuf,
    /// The identifier it was given; a host makes its own at the first start.
    pub agent_id: Option<Id>,
    /// Last part of its name in certificates, when that is not the agent's identifier.
    pub name_id: Option<Id>,
    /// The installation it belongs to, when it was told.
    pub installation_id: Option<Id>,
    /// The only authority it accepts at enrolment, when it was told.
    pub authority_pem: Option<String>,
    /// Where its one-time secret comes from.
    pub secret: SecretSource,
}

/// What outlives the process beside the key.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    pub agent_id: Option<Id>,
    /// Hash of the secret that was used: it is void for ever.
    pub used_secret_sha256: Option<String>,
    pub certificate: Option<KeptCertificate>,
}

/// A certificate with the authority its peers must chain to.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptCertificate {
    pub certificate_pem: String,
    pub authority_pem: String,
}

/// A certificate of the authority, in force.
pub(super) struct Enrolled {
    pub installation_id: String,
    pub facts: Facts,
    pub shown: Arc<CertifiedKey>,
    pub roots: Arc<RootCertStore>,
    pub peers: Arc<dyn ClientCertVerifier>,
}

/// The agent of this process.
pub struct Agent {
    pub(super) setup: AgentSetup,
    pub(super) agent_id: Id,
    pub(super) key: KeyPair,
    pub(super) self_signed: Arc<CertifiedKey>,
    pub(super) kept: RwLock<Kept>,
    pub(super) enrolled: RwLock<Option<Arc<Enrolled>>>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Agent").field("agent_id", &self.agent_id).finish_non_exhaustive()
    }
}

impl Agent {
    /// Takes up the identity in the folder, or begins a new one.
    pub fn open(setup: AgentSetup) -> Result<Arc<Self>, Problem> {
        durable::make_folder(&setup.folder)?;
        let kept_path = setup.folder.join("agent.json");
        let mut kept: Kept = durable::read_json(&kept_path)?.unwrap_or_default();
        let agent_id = match (&setup.agent_id, &kept.agent_id) {
            (Some(given), _) => given.clone(),
            (None, Some(kept)) => kept.clone(),
            (None, None) => enrol::new_agent_id()?,
        };
        if kept.agent_id.as_ref() != Some(&agent_id) {
            kept.agent_id = Some(agent_id.clone());
            durable::write_json(&kept_path, &kept)?;
        }
        let key_path = setup.folder.join("key.pem");
        let key = match durable::read(&key_path)? {
            Some(pem) => key_from_pem(&String::from_utf8_lossy(&pem))?,
            None => {
                let key = certificate::new_key()?;
                durable::write(&key_path, key.serialize_pem().as_bytes())?;
                key
            }
        };
        let self_signed = certificate::self_signed(&key, agent_id.as_str())?;
        let self_signed = Arc::new(certified(vec![self_signed], &key)?);
        let agent = Arc::new(Self {
            setup,
            agent_id,
            key,
            self_signed,
            kept: RwLock::new(kept),
            enrolled: RwLock::new(None),
        });
        agent.load()?;
        Ok(agent)
    }

    fn load(&self) -> Result<(), Problem> {
        let kept = self.kept.read().expect("never poisoned").certificate.clone();
        let Some(kept) = kept else { return Ok(()) };
        let enrolled = self.judge(&kept.certificate_pem, &kept.authority_pem)?;
        tracing::info!(not_after = enrolled.facts.not_after, "enrolled");
        *self.enrolled.write().expect("never poisoned") = Some(Arc::new(enrolled));
        Ok(())
    }

    pub(super) fn file(&self) -> PathBuf {
        self.setup.folder.join("agent.json")
    }

    /// Checks that a certificate is for this agent's key and has exactly the name it must have.
    /// Not whether it is in force: an agent that was off for long shows its old one to be renewed.
    pub(super) fn judge(&self, chain_pem: &str, authority_pem: &str) -> Result<Enrolled, Problem> {
        let wrong = |what: String| Problem::new(Code::CertificateWrong, what);
        let chain = certificate::chain_from_pem(chain_pem)?;
        let facts = Facts::read(&chain[0])?;
        if facts.spki != certificate::spki_of(&self.key) {
            return Err(wrong("it is for another key than this agent's".into()));
        }
        let [name] = &facts.names[..] else {
            return Err(wrong("it must have exactly one URI name".into()));
        };
        let installation_id = self.installation_in(name).ok_or_else(|| {
            wrong(format!("its name {name:.200} is not this agent's in its installation"))
        })?;
        let roots = Arc::new(certificate::roots_from_pem(authority_pem)?);
        let peers = verify::peers_of(Arc::clone(&roots))?;
        let shown = Arc::new(certified(chain, &self.key)?);
        Ok(Enrolled { installation_id, facts, shown, roots, peers })
    }

    /// The installation in a name of the form this agent must have.
    fn installation_in(&self, name: &str) -> Option<String> {
        let role = match self.setup.role {
            Role::Host => "host",
            Role::Receiver => "receiver",
        };
        let id = self.setup.name_id.as_ref().unwrap_or(&self.agent_id);
        let rest = name.strip_prefix("spiffe://landfall/")?;
        let installation = rest.strip_suffix(&format!("/{role}/{id}"))?;
        Id::parse(installation)?;
        let expected = self.setup.installation_id.as_ref();
        expected
            .is_none_or(|expected| expected.as_str() == installation)
            .then(|| installation.to_owned())
    }

    /// The installation it is enrolled with.
    pub fn installation_id(&self) -> Option<String> {
        self.current().map(|enrolled| enrolled.installation_id.clone())
    }

    pub(super) fn current(&self) -> Option<Arc<Enrolled>> {
        self.enrolled.read().expect("never poisoned").clone()
    }

    /// Answer of `GET /v1/agent`.
    pub fn status(&self) -> AgentStatus {
        let current = self.current();
        AgentStatus {
            role: self.setup.role,
            agent_id: self.agent_id.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            enrolled: current.is_some(),
            not_after: current.map(|enrolled| enrolled.facts.not_after.clone()),
        }
    }
}

/// Reads a private key.
pub fn key_from_pem(pem: &str) -> Result<KeyPair, Problem> {
    KeyPair::from_pem(pem).map_err(|_| {
        Problem::new(Code::StorageFailed, "a private key in the state folder is damaged")
    })
}

/// A chain with its key, as TLS wants it.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
) -> Result<CertifiedKey, Problem> {
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    CertifiedKey::from_der(chain, der, &verify::data_provider())
        .map_err(|error| Problem::new(Code::CertificateWrong, error.to_string()))
}
