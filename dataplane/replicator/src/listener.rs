//! The TLS port of an agent: accepts, shakes hands, finds out who is there, and splits control
//! from data by ALPN.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use landfall_api::{Code, Problem};
use rustls::{ServerConfig, ServerConnection};
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
/// Most connections at a time.
const CONNECTIONS_MAX: usize = 256;

/// Takes over data connections; called on a thread of its own.
pub type DataServer = Arc<dyn Fn(std::net::TcpStream, ServerConnection, String) + Send + Sync>;

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
    let handshake = TlsAcceptor::from(Arc::clone(&port.tls)).accept(stream);
    let stream = tokio::time::timeout(HANDSHAKE_TIME_MAX, handshake).await??;
    let session = stream.get_ref().1;
    let name = session.peer_certificates().and_then(|chain| port.agent.name_of_peer(chain));
    if session.alpn_protocol() == Some(DATA_PROTOCOL.as_bytes()) {
        return data(stream, port, name).await;
    }
    let exporter = session
        .export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))
        .map_err(std::io::Error::other)?;
    let peer = Peer { name, exporter, enrolling: Arc::new(AtomicBool::new(false)) };
    serve_connection(stream, port.control, peer).await;
    Ok(())
}

async fn data(
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    port: Port,
    name: Option<String>,
) -> std::io::Result<()> {
    let (Some(serve), Some(name)) = (port.data, name) else {
        return Err(std::io::Error::other(Problem::new(Code::Forbidden, "no data peer of ours")));
    };
    let (socket, session) = stream.into_inner();
    let socket = socket.into_std()?;
    socket.set_nonblocking(false)?;
    let (done, ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::Builder::new().name("data".into()).spawn(move || {
        serve(socket, session, name);
        drop(done);
    })?;
    let _ = ended.await;
    Ok(())
}
