//! What every HTTP face shares: JSON in, JSON or a problem document out, bounded bodies,
//! and serving one connection.

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use landfall_api::{Code, Id, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::ServiceExt;

/// Largest request body: a job with 60 disks is far smaller.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// A client has this long for the header of a request, idle time before it included.
const HEADER_TIME_MAX: Duration = Duration::from_secs(120);

/// A problem as an answer.
#[derive(Debug)]
pub struct Refusal(pub Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

/// Answer of a handler.
pub type Answer<T> = Result<axum::Json<T>, Refusal>;

/// A JSON body that was checked against its type.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            Problem::bad_request(format!("the body cannot be read: {}", rejection.body_text()))
        })?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Problem::bad_request(format!("the body does not fit: {error}")).into())
    }
}

/// The job in a path.
pub struct JobId(pub Id);

impl<S: Send + Sync> FromRequestParts<S> for JobId {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let names = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let job = names.ok().and_then(|names| Id::parse(names.get("job")?));
        job.map(Self)
            .ok_or_else(|| Problem::bad_request("the job's identifier is malformed").into())
    }
}

/// Adds what every router needs.
pub fn finish(router: Router) -> Router {
    router
        .fallback(|| async { Refusal(Problem::new(Code::NotFound, "no route has this path")) })
        .method_not_allowed_fallback(|| async {
            Refusal(Problem::new(Code::MethodNotAllowed, "the route has other methods"))
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// Serves HTTP/1.1 on one connection until it ends. `info` becomes an extension of every request.
pub async fn serve_connection<S, I>(stream: S, router: Router, info: I)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    I: Clone + Send + Sync + 'static,
{
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(info.clone());
            router.clone().oneshot(request)
        });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a control connection ended");
    }
}

/// Runs blocking work of the engine away from the runtime's threads.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Problem::new(Code::Internal, error.to_string())))
}

/// The same, as an answer.
pub async fn answer<T: Serialize + Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Answer<T> {
    Ok(axum::Json(blocking(work).await?))
}
