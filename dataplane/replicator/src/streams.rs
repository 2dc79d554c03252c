//! What is answered in other forms than one JSON document: metrics as text, and a job's status
//! as a stream of lines. A stream ends with its client, and never holds anything back.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Frame;
use landfall_api::metrics::{CONTENT_TYPE, Metrics};
use landfall_api::{Code, JobStatus, Problem, catalogue};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::http::{Refusal, blocking, finish, serve_connection};

/// One JSON document a line.
pub const LINES: &str = "application/x-ndjson";
/// Counters are told so often.
const EVERY: Duration = Duration::from_secs(1);
/// A change is looked for so often.
const LOOK: Duration = Duration::from_millis(100);
/// Most streams of one process.
const FOLLOWERS_MAX: usize = 64;

static FOLLOWERS: Semaphore = Semaphore::const_new(FOLLOWERS_MAX);

/// Lines that are made while they are read.
struct Lines(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// Everything of a status that is told at once when it changes.
fn changes(status: &JobStatus) -> impl PartialEq + use<> {
    (
        status.state,
        status.reason.as_ref().map(|reason| reason.code.clone()),
        (status.ready.ready, status.background_complete, status.epoch),
        (status.handover.state, status.handover.token),
        status.dials.clone(),
    )
}

/// The status as a stream: at once, then every second, and whenever it changes. It ends when
/// `status` fails.
pub fn follow(
    status: impl Fn() -> Result<JobStatus, Problem> + Clone + Send + 'static,
) -> Result<Response, Refusal> {
    let place = FOLLOWERS.try_acquire().map_err(|_| {
        let what = format!("{FOLLOWERS_MAX} follow this process already");
        Problem::new(Code::SourceUnavailable, what)
    })?;
    let (sender, lines) = mpsc::channel(1);
    tokio::spawn(async move {
        let _place = place;
        let mut told: Option<(Instant, _)> = None;
        while let Ok(status) = blocking(status.clone()).await {
            let now = changes(&status);
            let due =
                told.as_ref().is_none_or(|(at, before)| at.elapsed() >= EVERY || *before != now);
            if due {
                let mut line = serde_json::to_vec(&status).unwrap_or_default();
                line.push(b'\n');
                if sender.send(line.into()).await.is_err() {
                    return;
                }
                told = Some((Instant::now(), now));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = sender.closed() => return,
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, LINES)], Body::new(Lines(lines))).into_response())
}

/// The text form of metrics, with what is the same for every process.
pub fn metrics_text(role: &str, rest: Metrics) -> Response {
    let mut metrics = Metrics::default();
    let labels = [("role", role), ("version", env!("CARGO_PKG_VERSION"))];
    metrics.number(&catalogue::BUILD_INFO, &labels, 1.0);
    metrics.merge(rest);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.to_text()).into_response()
}

/// Serves `/metrics` to whoever can reach `listener`: figures only, nothing can be commanded.
pub fn serve_metrics(
    listener: TcpListener,
    role: &'static str,
    metrics: impl Fn() -> Metrics + Clone + Send + Sync + 'static,
) {
    let answer = move || {
        let metrics = metrics.clone();
        async move { Ok::<_, Refusal>(metrics_text(role, blocking(move || Ok(metrics())).await?)) }
    };
    let router = finish(
        Router::new().route("/metrics", get(answer.clone())).route("/v1/metrics", get(answer)),
    );
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    tokio::spawn(serve_connection::<_, SocketAddr>(stream, router.clone(), peer));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting on the metrics port failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
}
