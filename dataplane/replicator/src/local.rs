//! HTTP over private unix sockets: listening on one, and asking one a single question.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use landfall_api::{Code, Problem};
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};

use crate::http::serve_connection;

/// Largest answer taken from a source process.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// A stream begins within this time.
const STREAM_PATIENCE: Duration = Duration::from_secs(15);

/// Listens on `path`, for the owner only; a stale socket there is replaced.
pub fn listen(path: &Path) -> Result<UnixListener, Problem> {
    let bind = || {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    bind().map_err(|error| {
        Problem::storage(format_args!("cannot listen on {}", path.display()), &error)
    })
}

/// Serves `router` to every client of the socket.
pub async fn serve(listener: UnixListener, router: Router) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve_connection(stream, router.clone(), ()));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting on a unix socket failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Asks for something that may be long or never end, and passes it on as it comes. The
/// connection ends with the answer, or when the answer is dropped.
pub async fn stream(socket: &Path, path: &str) -> Result<Response, Problem> {
    let unavailable = |detail: String| Problem::new(Code::SourceUnavailable, detail);
    let opening = async {
        let stream = UnixStream::connect(socket).await.map_err(|e| unavailable(e.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        tokio::spawn(connection);
        let request = hyper::Request::builder()
            .uri(path)
            .header(header::HOST, "localhost")
            .body(Full::new(Bytes::new()))
            .map_err(|error| Problem::bad_request(error.to_string()))?;
        let answer = sender.send_request(request).await;
        answer.map_err(|error| unavailable(error.to_string()))
    };
    let answer = tokio::time::timeout(STREAM_PATIENCE, opening).await.unwrap_or_else(|_| {
        Err(Problem::new(Code::TimedOut, "the source process did not answer in time"))
    })?;
    let (head, body) = answer.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE).cloned();
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = head.status;
    response.headers_mut().extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
    Ok(response)
}

/// Sends one request and takes the whole answer. `SOURCE_UNAVAILABLE` when nobody answers.
pub async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
    patience: Duration,
) -> Result<(StatusCode, Bytes), Problem> {
    let unavailable = |detail: String| Problem::new(Code::SourceUnavailable, detail);
    let exchange = async {
        let stream =
            UnixStream::connect(socket).await.map_err(|error| unavailable(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let driver = tokio::spawn(connection);
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Problem::bad_request(error.to_string()))?;
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| unavailable(error.to_string()))?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| unavailable(error.to_string()))?
            .to_bytes();
        drop(sender);
        driver.abort();
        Ok((status, bytes))
    };
    tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| {
        Err(Problem::new(Code::TimedOut, "the source process did not answer in time"))
    })
}

/// Like [`ask`], with the answer read as JSON and a refusal as its problem.
pub async fn ask_json<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
    patience: Duration,
) -> Result<T, Problem> {
    let (status, bytes) = ask(socket, method, path, body, patience).await?;
    let damaged = |error: serde_json::Error| Problem::new(Code::Internal, error.to_string());
    if !status.is_success() {
        return Err(serde_json::from_slice(&bytes).map_err(damaged)?);
    }
    let bytes = if bytes.is_empty() { Bytes::from_static(b"null") } else { bytes };
    serde_json::from_slice(&bytes).map_err(damaged)
}
