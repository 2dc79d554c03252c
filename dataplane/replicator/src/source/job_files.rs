//! Key and certificate of a job's data connections, kept so that a new process goes on with them.
//! Only the owner may read them, and the key leaves the folder never.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use landfall_api::{Code, Id, JobCertificate, JobSpec, Problem};
use rcgen::KeyPair;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::agent::{
    Facts, certified, chain_from_pem, check_client_chain, client_config, key_from_pem, new_key,
    request_for, roots_from_pem, spki_of,
};
use crate::durable;
use crate::listener::DATA_PROTOCOL;

/// A certificate that ends sooner than this is asked for again.
const RENEW_SECONDS: i64 = 4 * 86_400;

#[derive(Serialize, Deserialize)]
struct Kept {
    job: Id,
    certificate: JobCertificate,
}

/// Gives the job in a VM's folder a key that was made elsewhere, before it makes its own.
pub fn keep_key(vm_folder: &Path, pem: &str) -> Result<(), Problem> {
    let folder = vm_folder.join("job");
    durable::make_folder(&folder)?;
    durable::write(&folder.join("key.pem"), pem.as_bytes())
}

/// The folder of a job.
pub struct JobFiles {
    folder: PathBuf,
}

impl JobFiles {
    /// The files of the one job in a VM's folder.
    pub fn within(vm_folder: &Path) -> Self {
        Self { folder: vm_folder.join("job") }
    }

    /// Forgets key and certificate.
    pub fn forget(&self) -> Result<(), Problem> {
        for name in ["key.pem", "certificate.json"] {
            durable::remove(&self.folder.join(name))?;
        }
        Ok(())
    }

    /// The signing request for the job's key, which is made at the first call.
    pub fn request(&self, job: &Id) -> Result<String, Problem> {
        request_for(&self.key()?, job.as_str())
    }

    fn key(&self) -> Result<KeyPair, Problem> {
        let path = self.folder.join("key.pem");
        if let Some(pem) = durable::read(&path)? {
            return key_from_pem(&String::from_utf8_lossy(&pem));
        }
        let key = new_key()?;
        durable::make_folder(&self.folder)?;
        durable::write(&path, key.serialize_pem().as_bytes())?;
        Ok(key)
    }

    /// Takes a certificate if it is for the job's key and of the authority it names.
    pub fn put_certificate(
        &self,
        job: &Id,
        spec: &JobSpec,
        given: &JobCertificate,
    ) -> Result<Tls, Problem> {
        let tls = self.judge(spec, given)?;
        let kept = Kept { job: job.clone(), certificate: given.clone() };
        durable::write_json(&self.folder.join("certificate.json"), &kept)?;
        Ok(tls)
    }

    /// TLS with the certificate that is kept; None when there is none that fits.
    pub fn tls(&self, job: &Id, spec: &JobSpec) -> Result<Option<Tls>, Problem> {
        let kept: Option<Kept> = durable::read_json(&self.folder.join("certificate.json"))?;
        let Some(kept) = kept.filter(|kept| kept.job == *job) else { return Ok(None) };
        match self.judge(spec, &kept.certificate) {
            Ok(tls) => Ok(Some(tls)),
            Err(problem) => {
                tracing::warn!(code = %problem.code, "the kept certificate is of no use any more");
                Ok(None)
            }
        }
    }

    fn judge(&self, spec: &JobSpec, given: &JobCertificate) -> Result<Tls, Problem> {
        let wrong = |what: &str| Problem::new(Code::CertificateWrong, what.to_owned());
        let receiver = spec.receiver.as_ref();
        let receiver = receiver.ok_or_else(|| wrong("this job has no receiver"))?;
        let key = self.key()?;
        let chain = chain_from_pem(&given.certificate_pem)?;
        let facts = Facts::read(&chain[0])?;
        if facts.spki != spki_of(&key) {
            return Err(wrong("it is for another key than this job's"));
        }
        let suffix = format!("/source/{}", spec.vm_migration_id);
        if facts.names.len() != 1 || !facts.names[0].ends_with(&suffix) {
            return Err(wrong("its one URI name must be that of this migration's source"));
        }
        let roots = roots_from_pem(&given.authority_pem)?;
        check_client_chain(&chain, &roots)?;
        let config =
            client_config(certified(chain, &key)?, roots, &receiver.spiffe_id, DATA_PROTOCOL)?;
        Ok(Tls { config, not_after_seconds: facts.not_after_seconds })
    }
}

/// TLS of the data connections and when its certificate ends.
#[derive(Clone)]
pub struct Tls {
    /// For the engine.
    pub config: Arc<ClientConfig>,
    not_after_seconds: i64,
}

impl Tls {
    /// Whether a new certificate should be asked for.
    pub fn ends_soon(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.not_after_seconds - (now.as_secs() as i64) < RENEW_SECONDS
    }
}
