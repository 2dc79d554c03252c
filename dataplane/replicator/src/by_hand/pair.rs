//! The pairing of two sides that no control plane knows. The receiver makes an authority, signs
//! itself and one source, and forgets the authority's key: nobody can join later. What the
//! source needs is one PEM file that a person copies; it is a secret.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use landfall_api::{Code, Id, Problem, Uuid};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::trouble;
use crate::agent::{Agent, AgentSetup, Facts, SecretSource, chain_from_pem, new_key};
use crate::durable;
use landfall_api::Role;

/// Longer than any replication: nobody renews these certificates.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Clocks of the two hosts may differ by so much.
const CLOCK_SKEW: Duration = Duration::from_secs(86_400);
/// Every name stands below this.
const SCHEME: &str = "spiffe://landfall/";
const HEAD: &str = "# Landfall pairing: lets the holder send to one receiver. Keep it secret.\n\
    # Copy it to the source host; remove it here after that if you like.\n";

/// What both sides derive from a pairing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// Stands for installation, migration and job alike.
    pub id: Id,
}

impl Pairing {
    fn new() -> Result<Self, Problem> {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).map_err(|_| Problem::new(Code::Internal, "no randomness"))?;
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::parse(&format!("hand_{digits}"))
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let id = Id::parse(text).filter(|id| id.as_str().starts_with("hand_"));
        id.map(|id| Self { id }).ok_or_else(|| Problem::new(Code::Internal, "a pairing's name"))
    }

    /// The URI name of a side.
    pub fn name(&self, role: &str) -> String {
        format!("{SCHEME}{0}/{role}/{0}", self.id)
    }

    /// An identifier both sides agree on, for example of the third source disk.
    pub fn uuid(&self, what: &str, number: usize) -> Uuid {
        let hash = blake3::hash(format!("{} {what} {number}", self.id).as_bytes());
        let bytes = hash.as_bytes()[..16].try_into().expect("a hash has 32 bytes");
        Uuid::from_bytes(bytes)
    }
}

/// What the pair file gives the source.
pub struct SourceSide {
    /// Names.
    pub pairing: Pairing,
    /// The source's certificate.
    pub certificate_pem: String,
    /// The authority the receiver chains to.
    pub authority_pem: String,
    /// The source's key.
    pub key_pem: String,
}

impl SourceSide {
    /// Reads the file that was copied here.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let shown = path.display();
        let refuse = |detail: String, remedy: &str| trouble(Code::BadRequest, detail, remedy);
        let again = "Copy the file again from the receiver's host.";
        let mode = std::fs::metadata(path).map_err(|error| {
            refuse(format!("the pair file {shown} cannot be read: {error}"), again)
        })?;
        if mode.permissions().mode() & 0o077 != 0 {
            let remedy = format!("It is a secret: chmod 600 {shown}");
            return Err(refuse(format!("others may read the pair file {shown}"), &remedy));
        }
        let text = std::fs::read_to_string(path).map_err(|error| {
            refuse(format!("the pair file {shown} cannot be read: {error}"), again)
        })?;
        let no_pair = || refuse(format!("{shown} is no pair file"), again);
        let blocks = pem_blocks(&text);
        let [certificate, authority, key] = &blocks[..] else { return Err(no_pair()) };
        let facts = Facts::read(&chain_from_pem(certificate).map_err(|_| no_pair())?[0])?;
        let pairing = match &facts.names[..] {
            [name] => pairing_of(name).ok_or_else(no_pair)?,
            _ => return Err(no_pair()),
        };
        Ok(Self {
            pairing,
            certificate_pem: certificate.clone(),
            authority_pem: authority.clone(),
            key_pem: key.clone(),
        })
    }
}

fn pairing_of(source_name: &str) -> Option<Pairing> {
    let id = source_name.strip_prefix(SCHEME)?.split('/').next()?;
    Pairing::parse(id).ok().filter(|pairing| pairing.name("source") == source_name)
}

/// The blocks of a PEM text, each with its borders.
fn pem_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find("-----BEGIN ") {
        rest = &rest[begin..];
        let Some(end) = rest.find("-----END ") else { break };
        let line = rest[end..].find('\n').map_or(rest.len(), |line| end + line + 1);
        blocks.push(rest[..line].to_owned());
        rest = &rest[line..];
    }
    blocks
}

/// Opens the receiver's side of a pairing: the one in `state`, or a new one whose other side is
/// written to `pair_file`.
pub fn open_receiver(
    state: &Path,
    pair_file: &Path,
) -> Result<(Pairing, std::sync::Arc<Agent>), Problem> {
    let note = state.join("pairing.json");
    let known: Option<Id> = durable::read_json(&note)?;
    let pairing = match known {
        Some(id) => Pairing { id },
        None => {
            let pairing = Pairing::new()?;
            durable::write_json(&note, &pairing.id)?;
            pairing
        }
    };
    let agent = Agent::open(AgentSetup {
        role: Role::Receiver,
        folder: state.join("agent"),
        agent_id: Some(pairing.id.clone()),
        name_id: Some(pairing.id.clone()),
        installation_id: Some(pairing.id.clone()),
        authority_pem: None,
        secret: SecretSource::None,
    })?;
    let paired = agent.installation_id().is_some();
    let shown = pair_file.display();
    match (paired, pair_file.exists()) {
        (true, false) => tracing::info!(%shown, "the pair file is not here; the pairing goes on"),
        (true, true) => {
            let other = SourceSide::read(pair_file)?.pairing;
            if other != pairing {
                return Err(trouble(
                    Code::BadRequest,
                    format!("the pair file {shown} belongs to another receiver"),
                    "Give the state folder it was made with, or name another pair file.",
                ));
            }
        }
        (false, true) => {
            return Err(trouble(
                Code::BadRequest,
                format!("the pair file {shown} is there, but not the state it was made with"),
                "Give the state folder it was made with; or remove the file, start again, and \
                 copy the new file to the source host.",
            ));
        }
        (false, false) => make(&pairing, &agent, pair_file)?,
    }
    Ok((pairing, agent))
}

/// The file first: a receiver that died between is told from its file, and begins anew.
fn make(pairing: &Pairing, agent: &Agent, pair_file: &Path) -> Result<(), Problem> {
    let failed = |error: rcgen::Error| Problem::new(Code::Internal, error.to_string());
    let authority_key = new_key()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "Landfall pairing");
    in_force(&mut params);
    let authority_pem = params.self_signed(&authority_key).map_err(failed)?.pem();
    let issuer = Issuer::new(params, authority_key);
    let sign = |key: &KeyPair, role: &str, usage: ExtendedKeyUsagePurpose| {
        let mut params = CertificateParams::default();
        in_force(&mut params);
        params.distinguished_name.push(DnType::CommonName, pairing.id.as_str());
        let name = pairing.name(role).as_str().try_into()?;
        params.subject_alt_names = vec![SanType::URI(name)];
        params.extended_key_usages = vec![usage];
        Ok::<_, rcgen::Error>(params.signed_by(key, &issuer)?.pem())
    };
    let key = new_key()?;
    let certificate = sign(&key, "source", ExtendedKeyUsagePurpose::ClientAuth).map_err(failed)?;
    let file = format!("{HEAD}{certificate}{authority_pem}{}", key.serialize_pem());
    durable::write(&super::absolute(pair_file)?, file.as_bytes())?;
    agent.adopt(&authority_pem, |key| {
        sign(key, "receiver", ExtendedKeyUsagePurpose::ServerAuth).map_err(failed)
    })
}

fn in_force(params: &mut CertificateParams) {
    params.not_before = (SystemTime::now() - CLOCK_SKEW).into();
    params.not_after = (SystemTime::now() + VALIDITY).into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pairing_is_made_once_and_goes_on_without_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (state, file) = (folder.path().join("state"), folder.path().join("pair"));
        durable::make_folder(&state).unwrap();
        let (pairing, _) = open_receiver(&state, &file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let source = SourceSide::read(&file).unwrap();
        assert_eq!(source.pairing, pairing);
        assert_eq!(source.pairing.uuid("disk", 0), pairing.uuid("disk", 0));
        assert_ne!(source.pairing.uuid("disk", 0), pairing.uuid("disk", 1));
        let text = std::fs::read_to_string(&file).unwrap();
        open_receiver(&state, &file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(open_receiver(&state, &file).unwrap().0, pairing);
        assert!(!file.exists());
        let other = folder.path().join("other");
        durable::make_folder(&other).unwrap();
        durable::write(&file, text.as_bytes()).unwrap();
        assert!(open_receiver(&other, &file).unwrap_err().detail.contains("not the state"));
        std::fs::remove_file(&file).unwrap();
        open_receiver(&other, &file).unwrap();
        assert!(open_receiver(&state, &file).unwrap_err().detail.contains("another receiver"));
    }

    #[test]
    fn a_pair_file_that_others_may_read_or_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pair");
        assert!(SourceSide::read(&file).err().unwrap().detail.contains("cannot be read"));
        durable::write(&file, b"hello").unwrap();
        assert!(SourceSide::read(&file).err().unwrap().detail.contains("no pair file"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(SourceSide::read(&file).err().unwrap().remedy.contains("chmod 600"));
    }
}
