//! A control client: HTTP/1.1 over TLS or a unix socket, one request at a time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use serde_json::Value;

use crate::authority::Identity;

/// Status and JSON body of an answer.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }

    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

type Tls = rustls::StreamOwned<ClientConnection, TcpStream>;

/// One TLS connection.
pub struct Connection {
    stream: BufReader<Tls>,
}

impl Connection {
    /// Connects, with or without showing an identity. Errors are those of the connection.
    pub fn open(address: SocketAddr, identity: Option<&Identity>) -> std::io::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.map(|c| c.unwrap()).collect(), key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::IpAddress(address.ip().into());
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        socket.set_read_timeout(Some(Duration::from_secs(130)))?;
        session.complete_io(&mut socket)?;
        Ok(Self { stream: BufReader::new(rustls::StreamOwned::new(session, socket)) })
    }

    /// The certificate of the other side.
    pub fn peer(&self) -> CertificateDer<'static> {
        self.stream.get_ref().conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// The exporter value enrolment is bound to.
    pub fn exporter(&self) -> [u8; 32] {
        let session = &self.stream.get_ref().conn;
        session.export_keying_material([0; 32], b"EXPORTER-landfall-enrol", Some(&[])).unwrap()
    }

    pub fn request(&mut self, method: &str, path: &str, body: &Value) -> std::io::Result<Answer> {
        exchange(&mut self.stream, BufReader::get_mut, method, path, body)
    }
}

/// What comes on a stream of lines, until `enough` says so.
pub fn read_lines(
    stream: &mut impl BufRead,
    mut enough: impl FnMut(&Value) -> bool,
) -> std::io::Result<()> {
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line)?;
    }
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk)?;
        if length == 0 || enough(&serde_json::from_slice(&chunk[..length])?) {
            return Ok(());
        }
    }
}

impl Connection {
    /// Follows a stream of lines until `enough` says so.
    pub fn follow(&mut self, path: &str, enough: impl FnMut(&Value) -> bool) {
        let head = format!("GET {path} HTTP/1.1\r\nhost: agent\r\n\r\n");
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
        self.stream.get_mut().flush().unwrap();
        read_lines(&mut self.stream, enough).unwrap();
    }
}

/// One request over a unix socket.
pub fn local(socket: &Path, method: &str, path: &str, body: &Value) -> std::io::Result<Answer> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    exchange(&mut BufReader::new(stream), BufReader::get_mut, method, path, body)
}

fn exchange<S: Read + Write>(
    stream: &mut BufReader<S>,
    raw: impl Fn(&mut BufReader<S>) -> &mut S,
    method: &str,
    path: &str,
    body: &Value,
) -> std::io::Result<Answer> {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: agent\r\ncontent-length: {}\r\n\r\n",
        text.len()
    );
    raw(stream).write_all(&[head.as_bytes(), text.as_bytes()].concat())?;
    raw(stream).flush()?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let (mut length, mut is_text) = (0, false);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
        if name.eq_ignore_ascii_case("content-type") {
            is_text = value.trim().starts_with("text/plain");
        }
    }
    let mut content = vec![0; length];
    stream.read_exact(&mut content)?;
    let body = match content.is_empty() {
        true => Value::Null,
        false if is_text => String::from_utf8(content).unwrap().into(),
        false => serde_json::from_slice(&content)?,
    };
    Ok(Answer { status, body })
}

/// Whoever answers: the tests look at the certificate themselves.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, &algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
