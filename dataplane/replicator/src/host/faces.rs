//! The two faces of the daemon. The hypervisor face attaches and detaches; the control face
//! lists and commands jobs, and cannot attach anything. Both only pass on what a source does.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use landfall_api::{
    AttachAnswer, AttachRequest, AttachedVm, ClosedRequest, Code, DetachRequest, Id, JobSpec,
    Problem,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::vm::{Service, Vm};
use super::{Host, VMS_MAX, figures, snapshot};
use crate::durable;
use crate::http::{Answer, JobId, Json, Refusal, finish};
use crate::local;

/// A source that is being started may take so long to answer an attach.
const ATTACH_PATIENCE: Duration = Duration::from_secs(30);
/// A command of the control plane waits so long for a source that is being started again.
const RESTART_PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
const ORDINARY_PATIENCE: Duration = Duration::from_secs(15);
/// Freeze and hand-over wait for the other side.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(120);

/// Routes of the hypervisor face.
pub fn hypervisor(host: &Arc<Host>) -> Router {
    finish(
        Router::new()
            .route("/v1/attach", post(attach))
            .route("/v1/detach", post(detach))
            .route("/v1/closed", post(closed))
            .route("/v1/snapshot/pause", post(snapshot::pause))
            .route("/v1/snapshot/resume", post(snapshot::resume))
            .route("/v1/attachments", get(list))
            .with_state(Arc::clone(host)),
    )
}

/// Routes of the control face.
pub fn control(host: &Arc<Host>) -> Router {
    Router::new()
        .route("/v1/vms", get(list))
        .route("/v1/metrics", get(figures::metrics))
        .route("/v1/jobs/{job}/events", get(figures::events))
        .route("/v1/jobs/{job}", put(put_job).get(forward).delete(forward))
        .route("/v1/jobs/{job}/certificate", put(forward))
        .route("/v1/jobs/{job}/dials", put(forward))
        .route("/v1/jobs/{job}/pause", post(forward))
        .route("/v1/jobs/{job}/resume", post(forward))
        .route("/v1/jobs/{job}/verify", post(forward))
        .route("/v1/jobs/{job}/freeze", post(forward_patiently))
        .route("/v1/jobs/{job}/hand-over", post(forward_patiently))
        .route("/v1/jobs/{job}/unfreeze", post(forward_patiently))
        .with_state(Arc::clone(host))
}

async fn attach(
    State(host): State<Arc<Host>>,
    Json(request): Json<AttachRequest>,
) -> Answer<AttachAnswer> {
    if !Path::new(&request.path).is_absolute() {
        return Err(Problem::bad_request("path is absolute").into());
    }
    let begin = Instant::now();
    let vm = loop {
        let mut vms = host.vms.lock().await;
        break match vms.get(&request.vm_uuid) {
            Some(vm) if vm.has_ended() && begin.elapsed() < ATTACH_PATIENCE => {
                // Its folder is being removed.
                drop(vms);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Some(vm) => Arc::clone(vm),
            None if vms.len() >= VMS_MAX => {
                return Err(Problem::bad_request("this host has too many VMs attached").into());
            }
            None => {
                durable::make_folder(&host.places.vm(&request.vm_uuid))?;
                let vm = Vm::start(&host.places, request.vm_uuid.clone());
                vms.insert(request.vm_uuid.clone(), Arc::clone(&vm));
                vm
            }
        };
    };
    match tell_source(&vm, "/v1/attach", &request).await {
        Ok(Some(answer)) => Ok(axum::Json(answer)),
        Ok(None) => attach_untracked(&vm, &request),
        Err(problem) => {
            drop_if_empty(&host, &vm).await;
            Err(problem.into())
        }
    }
}

/// Passes on what the hypervisor said. A source that dies meanwhile is asked again when it is
/// back, because everything here may come twice. None while the disks are served without one.
pub(super) async fn tell_source<T: DeserializeOwned>(
    vm: &Vm,
    path: &str,
    request: &impl Serialize,
) -> Result<Option<T>, Problem> {
    let begin = Instant::now();
    let body = Bytes::from(serde_json::to_vec(request).unwrap_or_default());
    loop {
        if vm.served(ATTACH_PATIENCE).await? == Service::PassThrough {
            return Ok(None);
        }
        let asked =
            local::ask_json(vm.control(), Method::POST, path, body.clone(), ATTACH_PATIENCE);
        match asked.await {
            Err(problem) if is_passing(&problem, begin, ATTACH_PATIENCE) => {
                tokio::time::sleep(PAUSE).await;
            }
            answered => return answered.map(Some),
        }
    }
}

/// Whether the source was being started again and there is time to ask once more.
fn is_passing(problem: &Problem, begin: Instant, patience: Duration) -> bool {
    problem.code == Code::SourceUnavailable && begin.elapsed() < patience
}

/// While no source starts, only disks that are attached already can be opened again.
fn attach_untracked(vm: &Vm, request: &AttachRequest) -> Answer<AttachAnswer> {
    let mut kept = vm.kept()?;
    let known = kept.disks.iter().find(|disk| disk.uuid == request.disk_uuid);
    let known = known.ok_or_else(|| {
        Problem::new(Code::SourceUnavailable, "the source process does not start")
    })?;
    if landfall_io::is_sealed(&known.path, &known.uuid, known.capacity.0) {
        return Err(Problem::new(Code::DiskSealed, "the disk was handed over").into());
    }
    kept.open = true;
    vm.store(&kept)?;
    let nbd_socket = vm.nbd_socket(&request.disk_uuid).to_string_lossy().into_owned();
    Ok(axum::Json(AttachAnswer { nbd_socket }))
}

async fn detach(
    State(host): State<Arc<Host>>,
    Json(request): Json<DetachRequest>,
) -> Result<StatusCode, Refusal> {
    let Ok(vm) = host.vm(&request.vm_uuid).await else { return Ok(StatusCode::NO_CONTENT) };
    if tell_source::<()>(&vm, "/v1/detach", &request).await?.is_none() {
        let mut kept = vm.kept()?;
        kept.disks.retain(|disk| disk.uuid != request.disk_uuid);
        vm.store(&kept)?;
    }
    drop_if_empty(&host, &vm).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The last disk takes the source process with it.
async fn drop_if_empty(host: &Host, vm: &Arc<Vm>) {
    {
        let vms = host.vms.lock().await;
        let empty = vm.kept().is_ok_and(|kept| kept.disks.is_empty());
        let known = vms.get(&vm.uuid).is_some_and(|known| Arc::ptr_eq(known, vm));
        if !empty || !known || !vm.begin_end() {
            return;
        }
    }
    // Without the lock: a process that does not end must not hold up other VMs.
    vm.stop().await;
    host.vms.lock().await.remove(&vm.uuid);
    host.holders.lock().await.retain(|_, holder| *holder != vm.uuid);
}

async fn closed(
    State(host): State<Arc<Host>>,
    Json(request): Json<ClosedRequest>,
) -> Result<StatusCode, Refusal> {
    let Ok(vm) = host.vm(&request.vm_uuid).await else { return Ok(StatusCode::NO_CONTENT) };
    if tell_source::<()>(&vm, "/v1/closed", &request).await?.is_none() {
        let mut kept = vm.kept()?;
        kept.open = false;
        vm.store(&kept)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn list(State(host): State<Arc<Host>>) -> Answer<Vec<AttachedVm>> {
    // All at once: one that does not answer holds up nobody else.
    let mut asked = JoinSet::new();
    for (at, vm) in host.all().await.into_iter().enumerate() {
        asked.spawn(async move { (at, vm.attachments().await) });
    }
    let mut views = Vec::new();
    while let Some(answer) = asked.join_next().await {
        let (at, view) = answer.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        views.push((at, view?));
    }
    views.sort_by_key(|(at, _)| *at);
    Ok(axum::Json(views.into_iter().map(|(_, view)| view).collect()))
}

async fn put_job(
    State(host): State<Arc<Host>>,
    JobId(job): JobId,
    uri: Uri,
    content: Bytes,
) -> Result<Response, Refusal> {
    let spec: JobSpec = serde_json::from_slice(&content)
        .map_err(|error| Problem::bad_request(format!("the body does not fit: {error}")))?;
    spec.check()?;
    let vm = host.vm(&spec.vm_uuid).await?;
    if holder_of(&host, &job).await.is_ok_and(|holder| holder.uuid != vm.uuid) {
        return Err(Problem::new(Code::VmBusy, "the job belongs to another VM").into());
    }
    pass_on(&vm, Method::PUT, &uri, content, ORDINARY_PATIENCE).await
}

async fn forward(
    State(host): State<Arc<Host>>,
    JobId(job): JobId,
    method: Method,
    uri: Uri,
    content: Bytes,
) -> Result<Response, Refusal> {
    let vm = holder_of(&host, &job).await?;
    pass_on(&vm, method, &uri, content, ORDINARY_PATIENCE).await
}

async fn forward_patiently(
    State(host): State<Arc<Host>>,
    JobId(job): JobId,
    method: Method,
    uri: Uri,
    content: Bytes,
) -> Result<Response, Refusal> {
    let vm = holder_of(&host, &job).await?;
    pass_on(&vm, method, &uri, content, HANDOVER_PATIENCE).await
}

/// The VM whose source keeps the job. Where it was last time is looked at first.
pub(super) async fn holder_of(host: &Host, job: &Id) -> Result<Arc<Vm>, Problem> {
    let keeps = |vm: &Vm| Ok(vm.kept()?.job.is_some_and(|kept| kept.id == *job));
    let mut holders = host.holders.lock().await;
    if let Some(uuid) = holders.get(job)
        && let Ok(vm) = host.vm(uuid).await
        && keeps(&vm)?
    {
        return Ok(vm);
    }
    holders.remove(job);
    for vm in host.all().await {
        if keeps(&vm)? {
            holders.insert(job.clone(), vm.uuid.clone());
            return Ok(vm);
        }
    }
    Err(Problem::new(Code::UnknownJob, format!("no source on this host keeps the job {job}")))
}

async fn pass_on(
    vm: &Vm,
    method: Method,
    uri: &Uri,
    content: Bytes,
    patience: Duration,
) -> Result<Response, Refusal> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let begin = Instant::now();
    let (status, bytes) = loop {
        match local::ask(vm.control(), method.clone(), path, content.clone(), patience).await {
            Err(problem) if is_passing(&problem, begin, RESTART_PATIENCE) => {
                tokio::time::sleep(PAUSE).await;
            }
            answered => break answered?,
        }
    };
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    if bytes.is_empty() {
        return Ok(status.into_response());
    }
    Ok((status, [(header::CONTENT_TYPE, kind)], bytes).into_response())
}
