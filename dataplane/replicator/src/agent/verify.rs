//! TLS 1.3 on both sides: who is shown, who is accepted. Peers are known by their chain and the
//! URI name in their certificate, never by a host name.

use std::sync::Arc;

use landfall_api::{Code, Problem};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};

use super::certificate::names_of;
use super::identity::Agent;

/// The one cryptography provider.
pub fn data_provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// TLS of a control port. What is shown and who is accepted follow the agent's enrolment.
pub fn server_config(agent: &Arc<Agent>, alpn: &[&str]) -> Result<Arc<ServerConfig>, Problem> {
    let side = Arc::new(ServerSide { agent: Arc::clone(agent), provider: data_provider() });
    let mut config = ServerConfig::builder_with_provider(Arc::new(data_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Problem::new(Code::Internal, error.to_string()))?
        .with_client_cert_verifier(side.clone())
        .with_cert_resolver(side);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// TLS of a source towards the receiver with exactly this name.
pub fn client_config(
    shown: CertifiedKey,
    roots: RootCertStore,
    receiver_name: &str,
    alpn: &str,
) -> Result<Arc<ClientConfig>, Problem> {
    let verifier =
        ReceiverSide { roots, name: receiver_name.to_owned(), provider: data_provider() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(data_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Problem::new(Code::Internal, error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Whether a chain leads to one of `roots` now.
pub fn check_chain(
    chain: &[CertificateDer<'static>],
    roots: &RootCertStore,
) -> Result<(), Problem> {
    let refuse = |error: Error| {
        Problem::new(Code::CertificateWrong, format!("the authority did not sign it: {error}"))
    };
    let leaf = ParsedCertificate::try_from(&chain[0]).map_err(refuse)?;
    let algorithms = data_provider().signature_verification_algorithms;
    verify_server_cert_signed_by_trust_anchor(
        &leaf,
        roots,
        &chain[1..],
        UnixTime::now(),
        algorithms.all,
    )
    .map_err(refuse)
}

/// The same for the certificate of a side that connects: it is good for that only.
pub fn check_client_chain(
    chain: &[CertificateDer<'static>],
    roots: &RootCertStore,
) -> Result<(), Problem> {
    peers_of(Arc::new(roots.clone()))?
        .verify_client_cert(&chain[0], &chain[1..], UnixTime::now())
        .map(drop)
        .map_err(|error| {
            Problem::new(Code::CertificateWrong, format!("the authority did not sign it: {error}"))
        })
}

/// Accepts clients of the authority.
pub(super) fn peers_of(roots: Arc<RootCertStore>) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    WebPkiClientVerifier::builder_with_provider(roots, Arc::new(data_provider()))
        .build()
        .map_err(|error| Problem::new(Code::CertificateWrong, error.to_string()))
}

impl Agent {
    /// The URI name of a peer whose chain the authority signed; None for anybody else.
    pub fn name_of_peer(&self, chain: &[CertificateDer<'_>]) -> Option<String> {
        let enrolled = self.current()?;
        let (leaf, others) = chain.split_first()?;
        enrolled.peers.verify_client_cert(leaf, others, UnixTime::now()).ok()?;
        let mut names = names_of(leaf);
        (names.len() == 1).then(|| names.remove(0))
    }
}

#[derive(Debug)]
struct ServerSide {
    agent: Arc<Agent>,
    provider: CryptoProvider,
}

impl ResolvesServerCert for ServerSide {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(match self.agent.current() {
            Some(enrolled) => Arc::clone(&enrolled.shown),
            None => Arc::clone(&self.agent.self_signed),
        })
    }
}

impl ServerSide {
    /// While an unused enrolment secret is there, strangers may connect: they can do nothing but
    /// prove that they know it.
    fn strangers_may_connect(&self) -> bool {
        self.agent.current().is_none() || self.agent.pending_secret().is_some()
    }
}

impl ClientCertVerifier for ServerSide {
    fn client_auth_mandatory(&self) -> bool {
        !self.strangers_may_connect()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verdict = match self.agent.current() {
            Some(enrolled) => enrolled.peers.verify_client_cert(leaf, others, now),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        match verdict {
            Err(_) if self.strangers_may_connect() => Ok(ClientCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is never offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Debug)]
struct ReceiverSide {
    roots: RootCertStore,
    name: String,
    provider: CryptoProvider,
}

impl ServerCertVerifier for ReceiverSide {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.roots,
            others,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        if names_of(leaf) != [self.name.as_str()] {
            return Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is never offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
