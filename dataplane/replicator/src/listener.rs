//! The TLS port of an agent: accepts, shakes hands, finds out who is there, and splits control
//! from data by ALPN.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use landfall_api::{Code, Problem};
use landfall_io::Secured;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::agent::{Agent, EXPORTER_LABEL, Peer};
use crate::http::serve_connection;

/// Protocol of data connections.
pub const DATA_PROTOCOL: &str = "mig/1";
/// Protocol of control connections.
pub const CONTROL_PROTOCOL: &str = "http/1.1";
/// A peer has this long for its handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A first message is a few kilobytes.
const HELLO_LEN_MAX: usize = 32 << 10;
/// The rest of a first message that came in parts is looked for after so long.
const HELLO_WAIT: Duration = Duration::from_millis(5);
/// Most connections at a time.
const CONNECTIONS_MAX: usize = 256;

/// Takes over data connections; called on a thread of its own.
pub type DataServer = Arc<dyn Fn(Secured, String) + Send + Sync>;

/// What is served on the port.
#[derive(Clone)]
pub struct Port {
    /// Who we are.
    pub agent: Arc<Agent>,
    /// TLS of the port.
    pub tls: Arc<ServerConfig>,
    /// The control face.
    pub control: Router,
    /// The data side, if there is one.
    pub data: Option<DataServer>,
}

/// Listens on `address`.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Problem> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| Problem::storage(format_args!("cannot listen on {address}"), &error))?;
    tracing::info!(%address, "listening");
    Ok(listener)
}

/// Serves the port for ever.
pub async fn serve(listener: TcpListener, port: Port) -> Result<(), Problem> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let port = port.clone();
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, port).await {
                        tracing::info!(%peer, %error, "a connection was refused");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, port: Port) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let wanted = tokio::time::timeout(HANDSHAKE_TIME_MAX, wanted_protocols(&stream)).await??;
    if wanted.iter().any(|name| name == DATA_PROTOCOL.as_bytes()) {
        return data(stream, port).await;
    }
    let handshake = TlsAcceptor::from(Arc::clone(&port.tls)).accept(stream);
    let stream = tokio::time::timeout(HANDSHAKE_TIME_MAX, handshake).await??;
    let session = stream.get_ref().1;
    let name = session.peer_certificates().and_then(|chain| port.agent.name_of_peer(chain));
    let exporter = session
        .export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))
        .map_err(std::io::Error::other)?;
    let peer = Peer { name, exporter, enrolling: Arc::new(AtomicBool::new(false)) };
    serve_connection(stream, port.control, peer).await;
    Ok(())
}

/// ALPN names in the peer's first message, which stays in the socket: a data connection makes
/// its handshake on a thread of its own.
async fn wanted_protocols(stream: &TcpStream) -> std::io::Result<Vec<Vec<u8>>> {
    let mut hello = vec![0; HELLO_LEN_MAX];
    loop {
        let len = stream.peek(&mut hello).await?;
        if len == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut &hello[..len])?;
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let names = accepted.client_hello().alpn().into_iter().flatten();
                return Ok(names.map(<[u8]>::to_vec).collect());
            }
            Ok(None) if len < HELLO_LEN_MAX => tokio::time::sleep(HELLO_WAIT).await,
            Ok(None) => return Err(std::io::Error::other("the first message is too long")),
            // The handshake itself says what is wrong, also to the peer.
            Err(_) => return Ok(Vec::new()),
        }
    }
}

async fn data(stream: TcpStream, port: Port) -> std::io::Result<()> {
    let Some(serve) = port.data else {
        return Err(std::io::Error::other(Problem::new(Code::Forbidden, "no data is served here")));
    };
    let socket = stream.into_std()?;
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(HANDSHAKE_TIME_MAX))?;
    socket.set_write_timeout(Some(HANDSHAKE_TIME_MAX))?;
    let (done, ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::Builder::new().name("data".into()).spawn(move || {
        match secure(socket, &port.tls, &port.agent) {
            Ok((secured, name)) => serve(secured, name),
            Err(error) => tracing::info!(%error, "a data connection was refused"),
        }
        drop(done);
    })?;
    let _ = ended.await;
    Ok(())
}

fn secure(
    socket: std::net::TcpStream,
    tls: &Arc<ServerConfig>,
    agent: &Agent,
) -> std::io::Result<(Secured, String)> {
    let secured = Secured::accept(socket, tls)?;
    if secured.alpn() != Some(DATA_PROTOCOL.as_bytes()) {
        return Err(std::io::Error::other("the peer does not speak mig/1"));
    }
    let name = agent.name_of_peer(secured.peer_certificates()).ok_or_else(|| {
        std::io::Error::other(Problem::new(Code::Forbidden, "no data peer of ours"))
    })?;
    Ok((secured, name))
}
