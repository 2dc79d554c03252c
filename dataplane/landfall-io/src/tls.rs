//! The handshake of a data connection. rustls makes it and derives every key; after it the
//! records are ours (`records.rs`), because its buffered reader takes 4 KiB at a time and
//! copies twice.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{ClientConfig, ConnectionTrafficSecrets, ExtractedSecrets, ServerConfig};

use crate::link::invalid;
use crate::records::{Key, Opener, Sealer, Shared};

/// Bytes read from a socket at once: fits a core's second cache together with what it becomes.
const READ_LEN: usize = 256 << 10;
/// A peer's whole handshake; certificates are a few kilobytes.
const HANDSHAKE_LEN_MAX: usize = 256 << 10;

/// Gives the next key of a direction (TLS KeyUpdate).
pub(crate) trait Rekey: Send {
    fn next_tx(&mut self) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error>;
    fn next_rx(&mut self) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error>;
}

macro_rules! rekey {
    ($data:ty) => {
        impl Rekey for KernelConnection<$data> {
            fn next_tx(&mut self) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error> {
                self.update_tx_secret()
            }

            fn next_rx(&mut self) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error> {
                self.update_rx_secret()
            }
        }
    };
}
rekey!(ClientConnectionData);
rekey!(ServerConnectionData);

/// A socket whose handshake is done.
pub struct Secured {
    pub(crate) socket: TcpStream,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    alpn: Option<Vec<u8>>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Secured {
    /// The protocol that was agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The peer's chain; its own certificate comes first.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Makes the handshake as server; blocks as long as the socket's time limits let it.
    pub fn accept(socket: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let mut config = ServerConfig::clone(config);
        config.enable_secret_extraction = true;
        let mut tls = UnbufferedServerConnection::new(config.into()).map_err(invalid)?;
        let came = shake_hands(&mut tls, &socket)?;
        let alpn = tls.alpn_protocol().map(<[u8]>::to_vec);
        let certificates = tls.peer_certificates().unwrap_or_default().to_vec();
        let (secrets, kernel) = tls.dangerous_into_kernel_connection().map_err(invalid)?;
        Self::new(socket, secrets, Box::new(kernel), &came, alpn, certificates)
    }

    /// Makes the handshake as client.
    pub(crate) fn connect(
        socket: TcpStream,
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let mut config = ClientConfig::clone(config);
        config.enable_secret_extraction = true;
        let mut tls = UnbufferedClientConnection::new(config.into(), name).map_err(invalid)?;
        let came = shake_hands(&mut tls, &socket)?;
        let alpn = tls.alpn_protocol().map(<[u8]>::to_vec);
        let certificates = tls.peer_certificates().unwrap_or_default().to_vec();
        let (secrets, kernel) = tls.dangerous_into_kernel_connection().map_err(invalid)?;
        Self::new(socket, secrets, Box::new(kernel), &came, alpn, certificates)
    }

    fn new(
        socket: TcpStream,
        secrets: ExtractedSecrets,
        rekey: Box<dyn Rekey>,
        came: &Came,
        alpn: Option<Vec<u8>>,
        certificates: Vec<CertificateDer<'static>>,
    ) -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let shared = Shared { rekey: Arc::new(Mutex::new(rekey)), asked };
        let sealer = Sealer::new(Key::new(secrets.tx)?, shared.clone());
        let key = Key::new(secrets.rx)?;
        let opener = Opener::new(key, shared, READ_LEN, &came.early, &came.rest);
        Ok(Self { socket, sealer, opener, alpn, certificates })
    }
}

/// What the peer sent behind its handshake: decrypted already, and not.
struct Came {
    early: Vec<u8>,
    rest: Vec<u8>,
}

/// Both roles make the same steps.
trait Shaking {
    type Data;
    fn step<'c, 'i>(&'c mut self, came: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Shaking for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn step<'c, 'i>(&'c mut self, came: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(came)
    }
}

impl Shaking for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn step<'c, 'i>(&'c mut self, came: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(came)
    }
}

fn shake_hands(tls: &mut impl Shaking, mut socket: &TcpStream) -> io::Result<Came> {
    let (mut rest, mut early, mut out) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let UnbufferedStatus { mut discard, state, .. } = tls.step(&mut rest);
        let (mut more, mut done) = (false, false);
        match state.map_err(invalid)? {
            ConnectionState::EncodeTlsData(step) => encode(step, &mut out)?,
            ConnectionState::TransmitTlsData(step) => {
                socket.write_all(&out)?;
                out.clear();
                step.done();
            }
            ConnectionState::BlockedHandshake => more = true,
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid)?;
                    discard += record.discard;
                    early.extend_from_slice(record.payload);
                }
            }
            ConnectionState::WriteTraffic(_) => done = true,
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        rest.drain(..discard);
        if done {
            return Ok(Came { early, rest });
        }
        if more {
            read_more(socket, &mut rest)?;
        }
    }
}

fn encode<Data>(mut step: EncodeTlsData<'_, Data>, out: &mut Vec<u8>) -> io::Result<()> {
    let (at, mut room) = (out.len(), 4096);
    loop {
        out.resize(at + room, 0);
        match step.encode(&mut out[at..]) {
            Ok(len) => {
                out.truncate(at + len);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => room = size.required_size,
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

fn read_more(mut socket: &TcpStream, rest: &mut Vec<u8>) -> io::Result<()> {
    if rest.len() > HANDSHAKE_LEN_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the handshake is too long"));
    }
    let mut buf = [0; 16_384];
    match socket.read(&mut buf)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            rest.extend_from_slice(&buf[..count]);
            Ok(())
        }
    }
}
