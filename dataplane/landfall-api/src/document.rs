//! The OpenAPI document of the control API. The functions here are only carriers of the
//! description of a route; `replicator` implements them and a test there compares the two.

use utoipa::OpenApi;

use crate::*;

macro_rules! routes {
    ($($name:ident, $doc:literal, $method:ident, $path:literal, [$($request:ty)?], $status:literal, [$($answer:ty)?], [$($param:literal)*], $tag:literal;)*) => {
        $(
            #[doc = $doc]
            #[utoipa::path($method, path = $path, tag = $tag, $(request_body = $request,)?
                params($(($param = String, Path),)*),
                responses(
                    (status = $status, description = "Done" $(, body = $answer)?),
                    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
                    (status = "5XX", description = "Failed", body = Problem, content_type = "application/problem+json"),
                ))]
            #[allow(dead_code)]
            fn $name() {}
        )*

        /// Method and path of every route, for the test that compares them with the routers.
        pub const ROUTES: &[(&str, &str)] = &[$((stringify!($method), $path),)* ("delete", "/v1/jobs/{jobId}"), ("get", "/v1/metrics"), ("get", "/v1/jobs/{jobId}/events")];
    };
}

routes! {
    agent, "Who this agent is; answered before enrolment too.", get, "/v1/agent", [], 200, [AgentStatus], [], "agent";
    enrol_begin, "Begin an enrolment, or a renewal over mutual TLS.", post, "/v1/enrol/begin", [EnrolBegin], 200, [EnrolBegun], [], "agent";
    enrol_complete, "Complete it over the same connection.", post, "/v1/enrol/complete", [EnrolComplete], 200, [AgentStatus], [], "agent";
    list_vms, "The VMs whose disks are attached.", get, "/v1/vms", [], 200, [Vec<AttachedVm>], [], "host";
    put_job, "Ensure a job. Repeatable; a higher generation takes it over.", put, "/v1/jobs/{jobId}", [JobSpec], 200, [JobStatus], ["jobId"], "host";
    get_job, "State, rates, counters and hand-over of a job.", get, "/v1/jobs/{jobId}", [], 200, [JobStatus], ["jobId"], "host";
    put_certificate, "Answer the job's signing request.", put, "/v1/jobs/{jobId}/certificate", [JobCertificate], 200, [JobStatus], ["jobId"], "host";
    put_dials, "Set the dials; the answer says what is in force.", put, "/v1/jobs/{jobId}/dials", [DialsBody], 200, [DialsInForce], ["jobId"], "host";
    pause, "Pause the job.", post, "/v1/jobs/{jobId}/pause", [GenerationBody], 200, [JobStatus], ["jobId"], "host";
    resume, "Go on after a pause.", post, "/v1/jobs/{jobId}/resume", [GenerationBody], 200, [JobStatus], ["jobId"], "host";
    freeze, "Begin the hand-over: residue, barrier, roots. Follow it by the status.", post, "/v1/jobs/{jobId}/freeze", [TokenBody], 200, [JobStatus], ["jobId"], "host";
    hand_over, "Seal the source and make the receiver the owner. Answers when that is persisted.", post, "/v1/jobs/{jobId}/hand-over", [TokenBody], 200, [JobStatus], ["jobId"], "host";
    verify, "Read both sides again and compare; writes nothing. Follow it by the status.", post, "/v1/jobs/{jobId}/verify", [GenerationBody], 200, [JobStatus], ["jobId"], "host";
    unfreeze, "Cancel the hand-over: the source goes on.", post, "/v1/jobs/{jobId}/unfreeze", [TokenBody], 200, [JobStatus], ["jobId"], "host";
    receiver, "State of the receiver.", get, "/v1/receiver", [], 200, [ReceiverStatus], [], "receiver";
    put_disks, "Open the destination disks. DISK_MISSING names those that are not there.", put, "/v1/receiver/disks", [PrepareDisks], 200, [ReceiverStatus], [], "receiver";
    attach, "Put the tap in front of a disk.", post, "/v1/attach", [AttachRequest], 200, [AttachAnswer], [], "hypervisor";
    detach, "Take the tap away.", post, "/v1/detach", [DetachRequest], 204, [], [], "hypervisor";
    closed, "The VM's side is gone.", post, "/v1/closed", [ClosedRequest], 204, [], [], "hypervisor";
    snapshot_pause, "Hold the VM's writes and make its disks complete, for a snapshot. Repeatable.", post, "/v1/snapshot/pause", [SnapshotPauseRequest], 200, [SnapshotAnswer], [], "hypervisor";
    snapshot_resume, "Go on after a snapshot, perhaps in other files. Repeatable.", post, "/v1/snapshot/resume", [SnapshotResumeRequest], 200, [SnapshotAnswer], [], "hypervisor";
    attachments, "What is attached.", get, "/v1/attachments", [], 200, [Vec<AttachedVm>], [], "hypervisor";
}

/// Figures of every VM, or of the receiver, as Prometheus text.
#[utoipa::path(get, path = "/v1/metrics", tag = "agent",
    responses(
        (status = 200, description = "Done", body = String, content_type = "text/plain"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed", body = Problem, content_type = "application/problem+json"),
    ))]
#[allow(dead_code)]
fn get_metrics() {}

/// The job's status as a stream of JSON documents, one a line: at once, every second, and at
/// every change of state. It ends with the source process; ask again.
#[utoipa::path(get, path = "/v1/jobs/{jobId}/events", tag = "host",
    params(("jobId" = String, Path)),
    responses(
        (status = 200, description = "Done", body = JobStatus, content_type = "application/x-ndjson"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed", body = Problem, content_type = "application/problem+json"),
    ))]
#[allow(dead_code)]
fn get_events() {}

/// End a job and forget it. Repeatable.
#[utoipa::path(delete, path = "/v1/jobs/{jobId}", tag = "host",
    params(("jobId" = String, Path), ("generation" = u64, Query)),
    responses(
        (status = 204, description = "Done"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed", body = Problem, content_type = "application/problem+json"),
    ))]
#[allow(dead_code)]
fn delete_job() {}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Landfall replicator",
        description = "Control API of the data plane. Tags: `agent` on every control port, `host` on a source host, `receiver` in a shadow VM (all TLS 1.3 with client certificates once enrolled), `hypervisor` on a local unix socket."
    ),
    paths(
        agent,
        enrol_begin,
        enrol_complete,
        list_vms,
        put_job,
        get_job,
        delete_job,
        get_metrics,
        get_events,
        put_certificate,
        put_dials,
        pause,
        resume,
        freeze,
        hand_over,
        unfreeze,
        receiver,
        put_disks,
        attach,
        detach,
        closed,
        snapshot_pause,
        snapshot_resume,
        attachments
    )
)]
struct Document;

/// The document as pretty JSON with a newline at its end.
pub fn openapi_json() -> String {
    let mut text = Document::openapi().to_pretty_json().expect("the document is plain data");
    text.push('\n');
    text
}
