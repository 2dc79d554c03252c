//! A certificate authority as the management server is one.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

pub const INSTALLATION: &str = "inst_test";

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate chain with its key.
pub struct Identity {
    pub certificate_pem: String,
    pub key_pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// The full name of a party.
    pub fn name(&self, rest: &str) -> String {
        format!("spiffe://landfall/{INSTALLATION}/{rest}")
    }

    /// Signs a request for exactly one name.
    pub fn sign(&self, csr_pem: &str, rest: &str) -> String {
        self.sign_for(csr_pem, rest, Duration::from_secs(7 * 86_400))
    }

    /// The same with another time of validity.
    pub fn sign_for(&self, csr_pem: &str, rest: &str, validity: Duration) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(csr_pem).unwrap();
        name(&mut request.params, &self.name(rest));
        request.params.not_before = SystemTime::now().into();
        request.params.not_after = (SystemTime::now() + validity).into();
        request.signed_by(&self.issuer).unwrap().pem()
    }

    /// An identity with a key of its own.
    pub fn identity(&self, rest: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        name(&mut params, &self.name(rest));
        let certificate_pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate_pem, key_pem: key.serialize_pem() }
    }
}

fn name(params: &mut CertificateParams, uri: &str) {
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
}
