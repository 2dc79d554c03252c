//! `replicator ctl`: commands a source or tap over its control socket. Prints what it answers.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Method;
use http_body_util::BodyExt;
use landfall_api::{
    ByteCount, Code, DialsBody, DialsInForce, GenerationBody, HandoverState, JobState, JobStatus,
    Problem, SnapshotAnswer, SnapshotPauseRequest, TokenBody, Verdict,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::{CtlArgs, CtlCommand, DialArgs};
use super::trouble;
use crate::local;

/// A hand-over waits for the other side.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a freeze that is under way.
const FREEZE_LOOK: Duration = Duration::from_millis(50);

/// Gives one command.
pub async fn run(args: CtlArgs) -> Result<(), Problem> {
    let job = Job::find(&args.socket).await?;
    match args.command {
        CtlCommand::Status => show(&job.status),
        CtlCommand::Follow => copy(&args.socket, &job.path("/events")).await?,
        CtlCommand::Metrics => copy(&args.socket, "/v1/metrics").await?,
        CtlCommand::Dials(dials) => show(&job.dials(&dials).await?),
        CtlCommand::Pause => show(&job.post::<JobStatus>("pause", &job.lease()).await?),
        CtlCommand::Resume => show(&job.post::<JobStatus>("resume", &job.lease()).await?),
        CtlCommand::SnapshotPause => show(&job.snapshot("pause").await?),
        CtlCommand::SnapshotResume => show(&job.snapshot("resume").await?),
        CtlCommand::Verify => return job.verify().await,
        CtlCommand::Freeze => show(&job.freeze().await?),
        CtlCommand::Finish => {
            let frozen = job.freeze().await?;
            let body = job.token(frozen.handover.token);
            show(&job.post::<JobStatus>("hand-over", &body).await?);
        }
        CtlCommand::Unfreeze => {
            let body = job.token(job.status.handover.token);
            show(&job.post::<JobStatus>("unfreeze", &body).await?);
        }
    }
    Ok(())
}

/// Has a running replication read both sides again, and waits for the verdict.
pub async fn verify(socket: &Path) -> Result<(), Problem> {
    Job::find(socket).await?.verify().await
}

/// Writes what comes until it ends.
async fn copy(socket: &Path, path: &str) -> Result<(), Problem> {
    let mut body = local::stream(socket, path).await?.into_body();
    let mut out = std::io::stdout();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            trouble(
                Code::SourceUnavailable,
                format!("the source is gone: {error}"),
                "Start it again with the same --state; it goes on where it was.",
            )
        })?;
        if let Ok(data) = frame.into_data()
            && out.write_all(&data).and_then(|()| out.flush()).is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}

fn show(answer: &impl Serialize) {
    println!("{}", serde_json::to_string(answer).unwrap_or_default());
}

/// The one job behind a socket.
struct Job<'a> {
    socket: &'a Path,
    status: JobStatus,
}

impl<'a> Job<'a> {
    async fn find(socket: &'a Path) -> Result<Self, Problem> {
        let jobs: Vec<JobStatus> = ask(socket, Method::GET, "/v1/jobs", Bytes::new()).await?;
        let status = jobs.into_iter().next().ok_or_else(|| {
            Problem::new(Code::UnknownJob, format!("{} has no job", socket.display()))
        })?;
        Ok(Self { socket, status })
    }

    fn lease(&self) -> GenerationBody {
        GenerationBody { generation: self.status.generation }
    }

    fn token(&self, token: u64) -> TokenBody {
        TokenBody { generation: self.status.generation, token }
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/jobs/{}{rest}", self.status.job_id)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        what: &str,
        body: &impl Serialize,
    ) -> Result<T, Problem> {
        let body = Bytes::from(serde_json::to_vec(body).unwrap_or_default());
        ask(self.socket, Method::POST, &self.path(&format!("/{what}")), body).await
    }

    async fn dials(&self, change: &DialArgs) -> Result<DialsInForce, Problem> {
        let mut dials = self.status.dials.clone();
        if let Some(rate) = change.replication_rate {
            dials.replication_rate = rate;
        }
        if let Some(limit) = change.bytes_per_second_max {
            dials.bytes_per_second_max = limit.0.map(ByteCount);
        }
        if let Some(throttling) = change.write_throttling {
            dials.write_throttling = throttling;
        }
        if change.added_write_latency_ms_max.is_some() {
            dials.added_write_latency_ms_max = change.added_write_latency_ms_max;
        }
        let body = DialsBody { generation: self.status.generation, dials };
        let body = Bytes::from(serde_json::to_vec(&body).unwrap_or_default());
        ask(self.socket, Method::PUT, &self.path("/dials"), body).await
    }

    async fn snapshot(&self, what: &str) -> Result<SnapshotAnswer, Problem> {
        let body = SnapshotPauseRequest { vm_uuid: self.status.vm_uuid.clone() };
        let body = Bytes::from(serde_json::to_vec(&body).unwrap_or_default());
        ask(self.socket, Method::POST, &format!("/v1/snapshot/{what}"), body).await
    }

    /// Reads both sides again and waits for the verdict.
    async fn verify(&self) -> Result<(), Problem> {
        let mut report = self.post::<JobStatus>("verify", &self.lease()).await?.verify;
        while report.as_ref().is_none_or(|report| report.verdict == Verdict::Running) {
            tokio::time::sleep(FREEZE_LOOK).await;
            let status: JobStatus =
                ask(self.socket, Method::GET, &self.path(""), Bytes::new()).await?;
            if status.state != JobState::Comparing && status.state != JobState::Running {
                let text = "the replication does not run; look at its status";
                return Err(Problem::new(Code::NotReady, text));
            }
            report = status.verify;
        }
        let Some(report) = report else { return Ok(()) };
        show(&report);
        match report.verdict {
            Verdict::Different => {
                let text = "both sides differ: the answer names the chunks";
                Err(Problem::new(Code::SidesDiffer, text))
            }
            Verdict::Incomplete => Err(trouble(
                Code::NotReady,
                "no chunk differs, but some were written again whenever they were compared",
                "Ask again when the guest writes less, or after it has shut down.",
            )),
            Verdict::Equal | Verdict::Running => Ok(()),
        }
    }

    /// Freezes, and waits until both sides' roots are known to be equal.
    async fn freeze(&self) -> Result<JobStatus, Problem> {
        let before = &self.status.handover;
        if before.state == HandoverState::Active {
            return Ok(self.status.clone());
        }
        let token = match before.state {
            HandoverState::Freezing
            | HandoverState::Frozen
            | HandoverState::RootsEqual
            | HandoverState::HandedOff => before.token,
            _ => before.token + 1,
        };
        if before.state != HandoverState::HandedOff {
            let frozen = self.post::<JobStatus>("freeze", &self.token(token)).await;
            frozen.map_err(|problem| self.explain(problem))?;
        }
        loop {
            let status: JobStatus =
                ask(self.socket, Method::GET, &self.path(""), Bytes::new()).await?;
            match status.handover.state {
                HandoverState::RootsEqual | HandoverState::HandedOff | HandoverState::Active => {
                    return Ok(status);
                }
                HandoverState::RootsDiffer => {
                    show(&status);
                    return Err(trouble(
                        Code::NotFrozen,
                        "both sides still differ after the repair; the source keeps its disks",
                        "Unfreeze to go on; look at the health of both disks.",
                    ));
                }
                HandoverState::Cancelled | HandoverState::None => {
                    if let Some(why) = status.handover.reason {
                        return Err(Problem::new(Code::StorageFailed, why.message));
                    }
                    return Err(trouble(
                        Code::NotFrozen,
                        "the freeze was cancelled: somebody wrote to a disk",
                        "Shut the guest down and disconnect every NBD client, then ask again.",
                    ));
                }
                HandoverState::Freezing | HandoverState::Frozen => {
                    tokio::time::sleep(FREEZE_LOOK).await;
                }
            }
        }
    }

    /// Says what is in the way, not only that something is.
    fn explain(&self, problem: Problem) -> Problem {
        if problem.code != Code::NotReady || self.status.ready.reasons.is_empty() {
            return problem;
        }
        let reasons = self.status.ready.reasons.iter().map(|reason| reason.message.as_str());
        let reasons: Vec<&str> = reasons.collect();
        trouble(
            Code::NotReady,
            format!("not ready yet: {}", reasons.join("; ")),
            "Wait until the status says ready, then ask again.",
        )
    }
}

async fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<T, Problem> {
    let asked = local::ask_json(socket, method, path, body, PATIENCE).await;
    asked.map_err(|problem| match problem.code {
        Code::SourceUnavailable => trouble(
            problem.code,
            format!("nobody answers on {}: {}", socket.display(), problem.detail),
            "Give the control socket that the source printed when it was ready.",
        ),
        _ => problem,
    })
}
