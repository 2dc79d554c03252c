//! What the daemon shows: the metrics of all its sources together, and a job's status as a stream.
//! It makes up no figure of its own but how the VMs are served.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use landfall_api::catalogue;
use landfall_api::metrics::Metrics;
use tokio::task::JoinSet;

use super::Host;
use super::faces::holder_of;
use super::vm::Service;
use crate::http::{JobId, Refusal};
use crate::local;
use crate::streams::metrics_text;

/// A source that does not answer so fast is left out this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// `GET /v1/metrics`
pub async fn metrics(State(host): State<Arc<Host>>) -> Response {
    let mut metrics = Metrics::default();
    let mut asked = JoinSet::new();
    let mut served = [(Service::Starting, 0), (Service::Source, 0), (Service::PassThrough, 0)];
    for vm in host.all().await {
        let service = vm.service();
        served.iter_mut().filter(|(kind, _)| *kind == service).for_each(|(_, count)| *count += 1);
        asked.spawn(async move {
            let path = "/v1/metrics/families";
            local::ask_json(vm.control(), Method::GET, path, Bytes::new(), PATIENCE).await
        });
    }
    for (service, count) in served {
        let name = match service {
            Service::Starting => "starting",
            Service::Source => "source",
            Service::PassThrough => "pass-through",
        };
        metrics.number(&catalogue::VMS, &[("service", name)], f64::from(count));
    }
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(more)) => metrics.merge(more),
            Ok(Err(problem)) => tracing::debug!(code = %problem.code, "a source gave no metrics"),
            Err(error) => tracing::warn!(%error, "metrics of a source"),
        }
    }
    metrics_text("host", metrics)
}

/// `GET /v1/jobs/{job}/events`
pub async fn events(State(host): State<Arc<Host>>, JobId(job): JobId) -> Result<Response, Refusal> {
    let vm = holder_of(&host, &job).await?;
    Ok(local::stream(vm.control(), &format!("/v1/jobs/{job}/events")).await?)
}
