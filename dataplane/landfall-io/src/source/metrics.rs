//! The figures of one VM's source as metrics. Labels are `vm`, `disk` (source UUIDs), `stage`,
//! `cause` and `state`: as many values as there are disks and stages, never more.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use landfall_api::catalogue as metric;
use landfall_api::metrics::Metrics;
use landfall_api::{LimitedBy, Uuid};

use super::cutover::Cutover;
use super::disk::SourceDiskIo;
use super::job::Job;
use super::{status, watch};
use crate::metrics_form::{add_stages, buckets};

/// Everything of the VM.
pub(super) fn metrics(
    vm: &Uuid,
    disks: &[std::sync::Arc<SourceDiskIo>],
    job: Option<&Job>,
    cutover: &Cutover,
) -> Metrics {
    let mut metrics = Metrics::default();
    for disk in disks {
        let labels = [("vm", vm.as_str()), ("disk", disk.uuid.as_str())];
        metrics.number(&metric::CAPACITY, &labels, disk.file.capacity() as f64);
        let dirtied = disk.book.lock().expect("book").dirtied_bytes();
        metrics.number(&metric::DIRTIED, &labels, dirtied as f64);
        let of_job = job.and_then(|job| job.disks.iter().find(|of| of.disk.uuid == disk.uuid));
        match of_job {
            Some(of_job) => {
                add_stages(&mut metrics, &labels, &watch::stages(of_job));
                add_job_disk(&mut metrics, &labels, of_job);
            }
            None => add_stages(&mut metrics, &labels, &disk.guest.named()),
        }
    }
    if let Some(job) = job {
        add_job(&mut metrics, vm, job, cutover);
    }
    metrics
}

fn add_job_disk(metrics: &mut Metrics, labels: &[(&str, &str)], disk: &super::job::JobDiskIo) {
    let (allocated, missing, dirty, again) = {
        let book = disk.disk.book.lock().expect("book");
        (book.allocated_bytes(), book.missing_bytes(), book.dirty_bytes(), book.again_bytes())
    };
    let (equal, repaired) = {
        let reread = disk.reread.lock().expect("reread");
        (reread.scrub.equal_bytes(), reread.repaired)
    };
    let numbers = [
        (&metric::VERIFIED, equal),
        (&metric::SCRUB_REPAIRED, repaired),
        (&metric::ALLOCATED, allocated),
        (&metric::REMAINING, missing + dirty),
        (&metric::DIRTY, dirty),
        (&metric::SENT, disk.sent.load(Relaxed)),
        (&metric::WIRE, disk.wire.load(Relaxed)),
        (&metric::RESENT, again),
        (&metric::SKIPPED, disk.skipped.load(Relaxed)),
        (&metric::COMPARED, disk.compared.load(Relaxed)),
        (&metric::CODEC_IN, disk.stages.codec.figures().bytes),
        (&metric::CODEC_OUT, disk.stages.packed_bytes.load(Relaxed)),
    ];
    for (metric, value) in numbers {
        metrics.number(metric, labels, value as f64);
    }
}

fn add_job(metrics: &mut Metrics, vm: &Uuid, job: &Job, cutover: &Cutover) {
    let vm_label = ("vm", vm.as_str());
    let status = status::status(job, cutover, vm);
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    let waits = [("window", &job.stages.window_wait), ("limit", &job.stages.limit_wait)];
    for (cause, stage) in waits {
        let figures = stage.figures();
        if figures.count > 0 {
            let labels = [vm_label, ("cause", cause)];
            metrics.add(&metric::JOB_STAGE_SECONDS, &labels, buckets(&figures));
        }
    }
    let converging = status.converging.map(truth);
    let known = [
        (&metric::LAG, status.lag_seconds),
        (&metric::CONVERGING, converging),
        (&metric::ETA, status.eta_seconds),
    ];
    for (metric, value) in known {
        value.into_iter().for_each(|value| metrics.number(metric, &[vm_label], value));
    }
    for (limit, name) in LimitedBy::ALL {
        let labels = [vm_label, ("stage", name)];
        metrics.number(&metric::LIMITED_BY, &labels, truth(status.limited_by == Some(limit)));
    }
    for (state, name) in landfall_api::JobState::ALL {
        let labels = [vm_label, ("state", name)];
        metrics.number(&metric::JOB_STATE, &labels, truth(status.state == state));
    }
    let connected = job.control.lock().expect("control").session.is_some();
    let numbers = [
        (&metric::READY, truth(status.ready.ready)),
        (&metric::CONNECTED, truth(connected)),
        (&metric::CONNECTIONS, job.stages.connections.load(Relaxed) as f64),
        (&metric::RATE, f64::from(status.dials.replication_rate)),
        (&metric::THROTTLING, f64::from(status.dials.write_throttling)),
        (&metric::EPOCH, f64::from(job.epoch.load(SeqCst))),
    ];
    for (metric, value) in numbers {
        metrics.number(metric, &[vm_label], value);
    }
}
