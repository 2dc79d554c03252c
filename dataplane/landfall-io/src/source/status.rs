//! What a job says about itself.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use landfall_api::{
    ByteCount, CodecStatus, Handover as HandoverView, HandoverState, JobDisk, JobKind, JobState,
    JobStatus, NotReadyReason, Projection, Rates, Readiness, Uuid,
};
use landfall_core::CHUNK;
use landfall_core::converge::Outlook;
use landfall_core::handover::Phase;
use landfall_core::ready::{self, Facts, Obstacle};
use landfall_wire::features;

use super::absent::absent_view;
use super::cutover::Cutover;
use super::job::{Connection, Control, Job};
use super::session::Session;

/// Hashing from the disk, cautiously: what one core does beside other work.
const HASH_BYTES_PER_SECOND: f64 = 500e6;

/// Facts for the judgement of readiness.
pub(super) fn facts(job: &Job) -> Facts {
    let control = job.control.lock().expect("control");
    let (connected, paused) = (control.connection == Connection::Up, control.keeps_still());
    drop(control);
    let mut facts = Facts {
        connected,
        paused,
        background_complete: true,
        scrub_left: scrub_left(job),
        hash_bytes_per_second: HASH_BYTES_PER_SECOND,
        ..Facts::default()
    };
    let mut stale = 0;
    for disk in &job.disks {
        let book = disk.disk.book.lock().expect("book");
        facts.unverified_units += book.unverified();
        facts.missing_bytes += book.missing_bytes();
        facts.background_complete &= book.background_complete();
        facts.dirty_bytes += book.dirty_bytes();
        stale += book.tree().stale().ones();
    }
    let remote = u64::from(job.remote_stale_chunks.load(Relaxed));
    facts.stale_bytes = stale.max(remote) * CHUNK;
    let capacity = job.pace.lock().expect("pace").capacity.bytes_per_second();
    facts.drain_bytes_per_second = capacity.or(Some(job.durable.per_second()));
    facts
}

/// The whole status.
pub(super) fn status(job: &Job, cutover: &Cutover, vm: &Uuid) -> JobStatus {
    let facts = facts(job);
    let obstacles = ready::obstacles(&facts);
    let (drain_seconds, rehash_seconds) = ready::projected(&facts);
    let (converging, eta_seconds) = match job.outlook() {
        Outlook::Unknown => (None, None),
        Outlook::Converges { seconds } => (Some(true), Some(seconds)),
        Outlook::DoesNotConverge => (Some(false), None),
    };
    let (phase, token, cancelled_by) = {
        let state = cutover.lock();
        (state.machine.phase(), state.machine.token(), state.cancelled_by())
    };
    let present = job.disks.iter().enumerate().map(|(at, disk)| disk_view(job, disk, at));
    let absent = job.absent.iter().map(|(pair, _)| absent_view(pair));
    let disks = present.chain(absent).collect();
    let control = job.control.lock().expect("control");
    JobStatus {
        job_id: job.id.clone(),
        kind: control.spec.kind,
        vm_uuid: vm.clone(),
        generation: control.spec.generation,
        epoch: job.epoch.load(SeqCst).into(),
        state: state(&control, phase, &facts),
        reason: control.reason.clone(),
        csr_pem: None,
        ready: Readiness {
            ready: obstacles.is_empty(),
            reasons: obstacles.into_iter().map(reason).collect(),
        },
        projected: facts
            .background_complete
            .then_some(Projection { drain_seconds, rehash_seconds }),
        verify: job.verify_report(),
        rates: Rates {
            background_bytes_per_second: job.background.per_second(),
            foreground_bytes_per_second: job.foreground.per_second(),
            incoming_bytes_per_second: job.disks.iter().map(|d| d.disk.incoming.per_second()).sum(),
            wire_bytes_per_second: job.wire.per_second(),
        },
        limited_by: (control.connection == Connection::Up && !control.paused)
            .then(|| job.watch.limited_by(job.yields_to_guest(), facts.unverified_units > 0))
            .flatten(),
        lag_seconds: lag_seconds(job, &facts),
        converging,
        eta_seconds,
        codec: codec(job),
        dials: control.dials.clone(),
        background_complete: facts.background_complete,
        disks,
        handover: HandoverView {
            token,
            state: handover_state(phase),
            reason: cancelled_by,
            frozen_at: control.frozen_at.as_ref().map(|(text, _)| text.clone()),
            active_at: control.active_at.clone(),
            data_path_ms: control.data_path_ms,
            disks: control.handover_disks.clone(),
        },
    }
}

fn state(control: &Control, phase: Phase, facts: &Facts) -> JobState {
    match phase {
        Phase::HandedOff => return JobState::HandedOff,
        Phase::Active => return JobState::Active,
        Phase::RootsEqual | Phase::RootsDiffer => return JobState::Frozen,
        _ => {}
    }
    if control.spec.kind == JobKind::Observe {
        return if control.paused { JobState::Paused } else { JobState::Running };
    }
    if control.tls.is_none() {
        return JobState::AwaitingCertificate;
    }
    match control.connection {
        Connection::Failed => JobState::Failed,
        Connection::Lost => JobState::Interrupted,
        Connection::Connecting => JobState::Connecting,
        Connection::Up if control.paused => JobState::Paused,
        Connection::Up if matches!(phase, Phase::Draining | Phase::AwaitingRoots) => {
            JobState::Freezing
        }
        Connection::Up if control.spec.kind == JobKind::Verify => JobState::Comparing,
        Connection::Up if facts.unverified_units > 0 => JobState::Comparing,
        Connection::Up => JobState::Running,
    }
}

fn handover_state(phase: Phase) -> HandoverState {
    match phase {
        Phase::Idle => HandoverState::None,
        Phase::Draining => HandoverState::Freezing,
        Phase::AwaitingRoots => HandoverState::Frozen,
        Phase::RootsEqual => HandoverState::RootsEqual,
        Phase::RootsDiffer => HandoverState::RootsDiffer,
        Phase::HandedOff => HandoverState::HandedOff,
        Phase::Active => HandoverState::Active,
        Phase::Cancelled => HandoverState::Cancelled,
    }
}

fn reason(obstacle: Obstacle) -> NotReadyReason {
    let (code, message) = match obstacle {
        Obstacle::NotConnected => ("NOT_CONNECTED", "The receiver is not connected"),
        Obstacle::Paused => ("PAUSED", "The job is paused"),
        Obstacle::Comparing => ("COMPARING", "Both sides are being compared"),
        Obstacle::Copying => ("COPYING", "The first copy is not complete"),
        Obstacle::TooMuchRemaining => ("TOO_MUCH_REMAINING", "More than 64 MiB remain to be sent"),
        Obstacle::ScrubNotDone => {
            ("SCRUB_NOT_DONE", "Both sides are still being read again from their disks")
        }
        Obstacle::TooSlow => ("TOO_SLOW", "Draining and hashing would take over 10 seconds"),
    };
    NotReadyReason { code: code.into(), message: message.into() }
}

/// Whether the scrub must go on before the job is ready. A receiver that cannot read again does
/// not hold it up: the receipt says so.
fn scrub_left(job: &Job) -> bool {
    let wanted = {
        let control = job.control.lock().expect("control");
        let able = |session: &Arc<Session>| session.features & features::REREAD != 0;
        control.spec.scrub && control.session.as_ref().is_none_or(able)
    };
    wanted && !job.disks.iter().all(|disk| disk.reread.lock().expect("reread").scrub.ready())
}

/// None before the destination has a whole copy; nothing while it has everything.
pub(super) fn lag_seconds(job: &Job, facts: &Facts) -> Option<f64> {
    if !facts.background_complete || facts.unverified_units > 0 {
        return None;
    }
    if facts.dirty_bytes == 0 {
        return Some(0.0);
    }
    job.watch.lag_seconds()
}

/// Names of the codec's steps as the job counts them.
const CODECS: [&str; 6] = ["none", "lz4", "zstd", "zstd", "zstd", "zstd"];

fn codec(job: &Job) -> CodecStatus {
    let step = job.stages.codec_step.load(Relaxed) as usize;
    let packed: u64 = job.disks.iter().map(|d| d.stages.packed_bytes.load(Relaxed)).sum();
    let plain: u64 = job.disks.iter().map(|d| d.stages.codec.figures().bytes).sum();
    CodecStatus {
        name: CODECS.get(step).copied().unwrap_or("zstd").into(),
        ratio: (packed > 0).then(|| plain as f64 / packed as f64),
    }
}

fn disk_view(job: &Job, disk: &super::job::JobDiskIo, index: usize) -> JobDisk {
    let (stages, rates) = job.watch.disk(disk, index);
    let book = disk.disk.book.lock().expect("book");
    let (allocated, missing) = (book.allocated_bytes(), book.missing_bytes());
    let dirty = book.dirty_bytes();
    let again = book.again_bytes();
    drop(book);
    let reread = disk.reread.lock().expect("reread");
    let (verified, verified_at) = reread.verified();
    JobDisk {
        source_uuid: disk.pair.source_uuid.clone(),
        destination_uuid: disk.pair.destination_uuid.clone(),
        capacity_bytes: disk.pair.capacity_bytes,
        allocated_bytes: ByteCount(allocated),
        copied_bytes: ByteCount(allocated.saturating_sub(missing)),
        remaining_bytes: ByteCount(missing + dirty),
        dirty_bytes: ByteCount(dirty),
        sent_bytes: ByteCount(disk.sent.load(Relaxed)),
        wire_bytes: ByteCount(disk.wire.load(Relaxed)),
        resent_bytes: ByteCount(again),
        skipped_bytes: ByteCount(disk.skipped.load(Relaxed)),
        compared_bytes: ByteCount(disk.compared.load(Relaxed)),
        verified,
        verified_at,
        scrubbed_bytes: ByteCount(reread.scrub.equal_bytes()),
        scrub_repaired_chunks: reread.repaired,
        scrub_evidence: reread.evidence.iter().cloned().collect(),
        rates,
        stages,
    }
}
