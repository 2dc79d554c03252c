//! Accepts clients of one export on a unix socket, and ends them all at once.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::export::Export;
use crate::handshake::negotiate;
use crate::input::Input;
use crate::line::Line;
use crate::output::Output;

/// Most clients of one export at a time.
const CLIENTS_MAX: usize = 16;
/// A client has this long for its whole handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// A client that reads no answer for this long is hung up on; it may connect again.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// Serves one export on one socket until it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    path: PathBuf,
    listener: Arc<UnixListener>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    export: Arc<dyn Export>,
    ending: AtomicBool,
    clients: Mutex<Vec<Client>>,
}

struct Client {
    stream: UnixStream,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Binds `path` (a stale socket there is replaced) and begins to serve. Only the owner
    /// may connect.
    pub fn start(path: &Path, export: Arc<dyn Export>) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = Arc::new(UnixListener::bind(path)?);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let shared =
            Arc::new(Shared { export, ending: AtomicBool::new(false), clients: Mutex::default() });
        let acceptor = {
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
            std::thread::Builder::new()
                .name("nbd-accept".into())
                .spawn(move || accept(&listener, &shared))?
        };
        Ok(Self { shared, path: path.to_owned(), listener, acceptor: Some(acceptor) })
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Clients connected now.
    pub fn client_count(&self) -> usize {
        let mut clients = self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|client| !client.thread.is_finished());
        clients.len()
    }

    /// Hangs up on every client without answering what is under way, and waits until nothing
    /// of theirs runs any more. New clients may come.
    pub fn disconnect_all(&self) {
        let clients = {
            let mut clients = self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *clients)
        };
        for client in &clients {
            client.ending.store(true, Ordering::SeqCst);
            let _ = client.stream.shutdown(Shutdown::Both);
        }
        for client in clients {
            let _ = client.thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // SAFETY: a plain system call on a descriptor we own; it wakes the acceptor.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let _ = std::fs::remove_file(&self.path);
        self.disconnect_all();
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.ending.load(Ordering::SeqCst) {
            return;
        }
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting an NBD client failed");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if let Err(error) = admit(shared, stream) {
            tracing::warn!(%error, "an NBD client was turned away");
        }
    }
}

fn admit(shared: &Arc<Shared>, stream: UnixStream) -> io::Result<()> {
    let mut clients = shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
    clients.retain(|client| !client.thread.is_finished());
    if clients.len() >= CLIENTS_MAX {
        return Err(io::Error::other("too many clients"));
    }
    let ending = Arc::new(AtomicBool::new(false));
    let own = stream.try_clone()?;
    let thread = {
        let (shared, ending) = (Arc::clone(shared), Arc::clone(&ending));
        std::thread::Builder::new().name("nbd-client".into()).spawn(move || {
            if let Err(error) = converse(&*shared.export, &ending, &stream) {
                tracing::info!(%error, "an NBD handshake failed");
            }
            let _ = stream.shutdown(Shutdown::Both);
        })?
    };
    clients.push(Client { stream: own, ending, thread });
    Ok(())
}

/// Serves one client on a stream that is connected already, until it leaves or is turned away.
pub fn serve_stream(export: &dyn Export, stream: UnixStream) -> io::Result<()> {
    let result = converse(export, &Arc::default(), &stream);
    // The only error is that the client has hung up already.
    let _ = stream.shutdown(Shutdown::Both);
    result
}

fn converse(export: &dyn Export, ending: &Arc<AtomicBool>, stream: &UnixStream) -> io::Result<()> {
    let mut output = stream.try_clone()?;
    let mut input = Input::new(stream.try_clone()?);
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    input.set_deadline(Some(Instant::now() + HANDSHAKE_TIME_MAX))?;
    let Some(agreed) = negotiate(&mut input, &mut output, export.size())? else { return Ok(()) };
    input.set_deadline(None)?;
    tracing::info!(structured = agreed.structured, "NBD client connected");
    let line = Line::new(Output::new(output, Arc::clone(ending), agreed.structured));
    Connection::new(export, agreed, line, input).transmit();
    tracing::info!("NBD client gone");
    Ok(())
}
