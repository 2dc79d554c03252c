//! Keys, signing requests and the few facts of a certificate that matter here.

use landfall_api::{Code, Problem};
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest chain an authority may give.
const CHAIN_MAX: usize = 4;

/// What a certificate says about its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// URI names.
    pub names: Vec<String>,
    /// DER of the public key.
    pub spki: Vec<u8>,
    /// End, in seconds since 1970.
    pub not_after_seconds: i64,
    /// End, ISO 8601.
    pub not_after: String,
}

impl Facts {
    /// Reads a certificate.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, Problem> {
        let wrong = |what: &str| Problem::new(Code::CertificateWrong, what.to_owned());
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|_| wrong("this is not an X.509 certificate"))?;
        let mut names = Vec::new();
        if let Ok(Some(extension)) = parsed.subject_alternative_name() {
            for name in &extension.value.general_names {
                if let GeneralName::URI(uri) = name {
                    names.push((*uri).to_owned());
                }
            }
        }
        let not_after = parsed.validity().not_after;
        let end = not_after.to_datetime();
        let (hour, minute, second) = end.to_hms();
        let month = end.month() as u8;
        Ok(Self {
            names,
            spki: parsed.public_key().raw.to_vec(),
            not_after_seconds: not_after.timestamp(),
            not_after: format!(
                "{:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
                end.year(),
                end.day()
            ),
        })
    }
}

/// URI names of a certificate; none when it cannot be read.
pub fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    Facts::read(certificate).map(|facts| facts.names).unwrap_or_default()
}

/// A fresh P-256 key.
pub fn new_key() -> Result<KeyPair, Problem> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(|error| Problem::new(Code::Internal, format!("no key can be made: {error}")))
}

/// A signing request for `key`, as PEM. The authority decides the names.
pub fn request_for(key: &KeyPair, common_name: &str) -> Result<String, Problem> {
    let request = params(common_name)?.serialize_request(key);
    let pem = request.and_then(|request| request.pem());
    pem.map_err(|error| Problem::new(Code::Internal, format!("no request can be made: {error}")))
}

/// A self-signed certificate: what an agent shows before it is enrolled.
pub fn self_signed(key: &KeyPair, common_name: &str) -> Result<CertificateDer<'static>, Problem> {
    let certificate = params(common_name)?.self_signed(key);
    certificate.map(|certificate| certificate.der().clone()).map_err(|error| {
        Problem::new(Code::Internal, format!("no certificate can be made: {error}"))
    })
}

fn params(common_name: &str) -> Result<CertificateParams, Problem> {
    let mut params = CertificateParams::new(Vec::<String>::new())
        .map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// DER of the public key of `key`.
pub fn spki_of(key: &KeyPair) -> Vec<u8> {
    key.subject_public_key_info()
}

/// The certificates of a PEM text, the holder's first.
pub fn chain_from_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(CHAIN_MAX + 1)
        .collect::<Result<_, _>>()
        .map_err(|_| Problem::new(Code::CertificateWrong, "this is not PEM"))?;
    if chain.is_empty() || chain.len() > CHAIN_MAX {
        return Err(Problem::new(Code::CertificateWrong, "a chain has 1 to 4 certificates"));
    }
    Ok(chain)
}

/// The trust anchors of a PEM text.
pub fn roots_from_pem(pem: &str) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in chain_from_pem(pem)? {
        roots.add(certificate).map_err(|error| {
            Problem::new(Code::CertificateWrong, format!("not an authority: {error}"))
        })?;
    }
    Ok(roots)
}
