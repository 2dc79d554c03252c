//! The private face of a source process: what the hypervisor and the control face of the host
//! daemon pass on to it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post, put};
use landfall_api::metrics::Metrics;
use landfall_api::{
    AttachAnswer, AttachRequest, AttachedVm, ClosedRequest, DetachRequest, DialsBody, DialsInForce,
    GenerationBody, JobCertificate, JobSpec, JobStatus, SnapshotAnswer, SnapshotPauseRequest,
    SnapshotResumeRequest, TokenBody,
};
use serde::Deserialize;

use super::keeper::Keeper;
use crate::http::{Answer, JobId, Json, Refusal, answer, blocking, finish};
use crate::streams::{follow, metrics_text};

type Keep = State<Arc<Keeper>>;

#[derive(Deserialize)]
struct Generation {
    generation: u64,
}

/// All routes.
pub fn routes(keeper: &Arc<Keeper>) -> Router {
    finish(
        Router::new()
            .route("/v1/health", get(health))
            .route("/v1/attach", post(attach))
            .route("/v1/detach", post(detach))
            .route("/v1/closed", post(closed))
            .route("/v1/snapshot/pause", post(snapshot_pause))
            .route("/v1/snapshot/resume", post(snapshot_resume))
            .route("/v1/attachments", get(attachments))
            .route("/v1/metrics", get(metrics))
            .route("/v1/metrics/families", get(families))
            .route("/v1/jobs", get(jobs))
            .route("/v1/jobs/{job}/events", get(events))
            .route("/v1/jobs/{job}", put(put_job).get(status).delete(delete_job))
            .route("/v1/jobs/{job}/certificate", put(put_certificate))
            .route("/v1/jobs/{job}/dials", put(put_dials))
            .route("/v1/jobs/{job}/pause", post(pause))
            .route("/v1/jobs/{job}/resume", post(resume))
            .route("/v1/jobs/{job}/verify", post(verify))
            .route("/v1/jobs/{job}/freeze", post(freeze))
            .route("/v1/jobs/{job}/hand-over", post(hand_over))
            .route("/v1/jobs/{job}/unfreeze", post(unfreeze))
            .with_state(Arc::clone(keeper)),
    )
}

/// Says that this process runs; takes no lock, so that a slow disk is not taken for a hang.
async fn health() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn attach(State(keeper): Keep, Json(body): Json<AttachRequest>) -> Answer<AttachAnswer> {
    answer(move || keeper.attach(&body)).await
}

async fn detach(
    State(keeper): Keep,
    Json(body): Json<DetachRequest>,
) -> Result<StatusCode, Refusal> {
    blocking(move || keeper.detach(&body.disk_uuid, body.keep_state)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn closed(
    State(keeper): Keep,
    Json(_body): Json<ClosedRequest>,
) -> Result<StatusCode, Refusal> {
    blocking(move || keeper.closed()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn snapshot_pause(
    State(keeper): Keep,
    Json(_body): Json<SnapshotPauseRequest>,
) -> Answer<SnapshotAnswer> {
    answer(move || keeper.engine.pause_for_snapshot()).await
}

async fn snapshot_resume(
    State(keeper): Keep,
    Json(body): Json<SnapshotResumeRequest>,
) -> Answer<SnapshotAnswer> {
    answer(move || keeper.resume_after_snapshot(&body.disks)).await
}

async fn attachments(State(keeper): Keep) -> Answer<AttachedVm> {
    answer(move || Ok(keeper.attachments())).await
}

async fn put_job(
    State(keeper): Keep,
    JobId(job): JobId,
    Json(spec): Json<JobSpec>,
) -> Answer<JobStatus> {
    answer(move || keeper.put_job(&job, spec)).await
}

async fn metrics(State(keeper): Keep) -> Result<Response, Refusal> {
    let metrics = blocking(move || Ok(keeper.engine.metrics())).await?;
    Ok(metrics_text("source", metrics))
}

/// The same for the host daemon, which puts many together.
async fn families(State(keeper): Keep) -> Answer<Metrics> {
    answer(move || Ok(keeper.engine.metrics())).await
}

async fn events(State(keeper): Keep, JobId(job): JobId) -> Result<Response, Refusal> {
    let (first, asked) = (Arc::clone(&keeper), job.clone());
    blocking(move || first.status(&asked)).await?;
    follow(move || keeper.status(&job))
}

async fn jobs(State(keeper): Keep) -> Answer<Vec<JobStatus>> {
    answer(move || keeper.jobs()).await
}

async fn status(State(keeper): Keep, JobId(job): JobId) -> Answer<JobStatus> {
    answer(move || keeper.status(&job)).await
}

async fn delete_job(
    State(keeper): Keep,
    JobId(job): JobId,
    Query(query): Query<Generation>,
) -> Result<StatusCode, Refusal> {
    blocking(move || keeper.delete_job(&job, query.generation)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn put_certificate(
    State(keeper): Keep,
    JobId(job): JobId,
    Json(body): Json<JobCertificate>,
) -> Answer<JobStatus> {
    answer(move || keeper.put_certificate(&job, &body)).await
}

async fn put_dials(
    State(keeper): Keep,
    JobId(job): JobId,
    Json(body): Json<DialsBody>,
) -> Answer<DialsInForce> {
    answer(move || {
        let in_force = keeper.engine.set_dials(&job, body.generation, body.dials)?;
        Ok(DialsInForce { in_force })
    })
    .await
}

async fn pause(
    State(keeper): Keep,
    JobId(job): JobId,
    Json(body): Json<GenerationBody>,
) -> Answer<JobStatus> {
    answer(move || keeper.engine.pause(&job, body.generation)).await
}

async fn resume(
    State(keeper): Keep,
    JobId(job): JobId,
    Json(body): Json<GenerationBody>,
) -> Answer<JobStatus> {
    answer(move || keeper.engine.resume(&job, body.generation)).await
}

async fn verify(
    State(keeper): Keep,
    JobId(job): JobId,
    Json(body): Json<GenerationBody>,
) -> Answer<JobStatus> {
    answer(move || keeper.engine.verify(&job, body.generation)).await
}

async fn freeze(
    State(keeper): Keep,
    JobId(job): JobId,
    Json(body): Json<TokenBody>,
) -> Answer<JobStatus> {
    answer(move || keeper.freeze(&job, body.generation, body.token)).await
}

async fn hand_over(
    State(keeper): Keep,
    JobId(job): JobId,
    Json(body): Json<TokenBody>,
) -> Answer<JobStatus> {
    answer(move || keeper.hand_over(&job, body.generation, body.token)).await
}

async fn unfreeze(
    State(keeper): Keep,
    JobId(job): JobId,
    Json(body): Json<TokenBody>,
) -> Answer<JobStatus> {
    answer(move || keeper.engine.unfreeze(&job, body.generation, body.token)).await
}
