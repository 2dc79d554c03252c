//! Every metric of the replicator. Names are stable; `docs/metrics.md` lists them, and a test
//! compares the two.

use crate::metrics::{Metric, MetricKind};

macro_rules! catalogue {
    ($($constant:ident $kind:ident $name:literal $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: Metric =
            Metric { name: $name, kind: MetricKind::$kind, help: $help };)*

        /// All of them.
        pub const ALL: &[Metric] = &[$($constant,)*];
    };
}

catalogue! {
    BUILD_INFO Gauge "build_info" "Always 1; the version stands in a label.";
    VMS Gauge "vms" "VMs attached to this host, by how their disks are served.";
    STAGE_BYTES Counter "stage_bytes_total" "Bytes that passed a stage.";
    STAGE_SECONDS Histogram "stage_seconds" "Time that one pass of a stage took.";
    JOB_STAGE_SECONDS Histogram "job_wait_seconds" "Time that a sending thread waited once, by cause.";
    CAPACITY Gauge "disk_capacity_bytes" "Capacity of a disk.";
    ALLOCATED Gauge "disk_allocated_bytes" "Bytes of a disk that are not holes at the source.";
    REMAINING Gauge "remaining_bytes" "Bytes the destination still lacks.";
    DIRTY Gauge "dirty_bytes" "Bytes written by the guest and not yet durable at the destination.";
    SENT Counter "sent_bytes_total" "Logical bytes sent.";
    WIRE Counter "wire_bytes_total" "Bytes sent on the wire, headers included.";
    RESENT Counter "resent_bytes_total" "Logical bytes sent again after an interruption.";
    SKIPPED Counter "skipped_bytes_total" "Zeroes and holes that were not sent.";
    COMPARED Counter "compared_bytes_total" "Bytes compared by hash instead of sent.";
    DIRTIED Counter "dirtied_bytes_total" "Bytes of clean blocks that guest writes made dirty.";
    CODEC_IN Counter "codec_input_bytes_total" "Bytes that went into the codec.";
    CODEC_OUT Counter "codec_output_bytes_total" "Bytes that came out of the codec.";
    LAG Gauge "lag_seconds" "Every write older than this is durable at the destination.";
    CONVERGING Gauge "converging" "1 when the job catches up with the guest, 0 when it does not by itself.";
    ETA Gauge "eta_seconds" "Seconds until the job is ready, about.";
    VERIFIED Gauge "scrubbed_bytes" "Bytes that were read again on both sides and were equal.";
    SCRUB_REPAIRED Counter "scrub_repaired_chunks_total" "Chunks that differed when they were read again, and were sent once more.";
    LIMITED_BY Gauge "limited_by" "1 for the stage that is the limit now, 0 for the others.";
    JOB_STATE Gauge "job_state" "1 for the state the job is in, 0 for the others.";
    READY Gauge "ready" "Whether the final migration may begin.";
    CONNECTED Gauge "connected" "Whether the other side is connected.";
    CONNECTIONS Gauge "bulk_connections" "Connections in use beside the first one.";
    RATE Gauge "replication_rate" "The replication rate in force, 0 to 100.";
    THROTTLING Gauge "write_throttling" "The write throttling in force, 0 to 100.";
    EPOCH Gauge "epoch" "Epoch of the source: higher after every start or loss of trust.";
    HAVE Gauge "have_bytes" "Bytes of a destination disk that are known to be durable copies.";
    WRITTEN Counter "written_bytes_total" "Bytes written to a destination disk.";
    OWNER Gauge "owner" "1 when the receiver owns the disks.";
}
