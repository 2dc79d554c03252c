//! Snapshots of a VM's disks, as the hypervisor announces them: passed on to the VM's source, which
//! alone can hold its writes.

use std::sync::Arc;

use axum::extract::State;
use landfall_api::{Code, Problem, SnapshotAnswer, SnapshotPauseRequest, SnapshotResumeRequest};
use serde::Serialize;

use super::Host;
use super::faces::tell_source;
use super::vm::Vm;
use crate::http::{Answer, Json};

/// `POST /v1/snapshot/pause`
pub async fn pause(
    State(host): State<Arc<Host>>,
    Json(request): Json<SnapshotPauseRequest>,
) -> Answer<SnapshotAnswer> {
    let vm = host.vm(&request.vm_uuid).await?;
    tell(&vm, "/v1/snapshot/pause", &request).await
}

/// `POST /v1/snapshot/resume`
pub async fn resume(
    State(host): State<Arc<Host>>,
    Json(request): Json<SnapshotResumeRequest>,
) -> Answer<SnapshotAnswer> {
    let vm = host.vm(&request.vm_uuid).await?;
    tell(&vm, "/v1/snapshot/resume", &request).await
}

/// Nothing can be held while the disks are served without a source process.
async fn tell(vm: &Vm, path: &str, request: &impl Serialize) -> Answer<SnapshotAnswer> {
    let told = tell_source(vm, path, request).await?;
    let answer = told.ok_or_else(|| {
        Problem::new(Code::SourceUnavailable, "the disks are served without a source process")
    })?;
    Ok(axum::Json(answer))
}
