//! Jobs: what a source is told to do for one VM, and what it says about it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ByteCount, CodecStatus, Difference, DiskRates, Id, LimitedBy, Problem, StageStatus, Uuid,
    Verified, VerifyReport,
};

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Copy the disks and keep the copy current until hand-over.
    Replicate,
    /// Compare both sides without writing.
    Verify,
    /// Measure the writes; needs no receiver.
    Observe,
    /// Measure the path to the receiver.
    Probe,
}

/// The receiver to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiverAddress {
    /// Numeric IP address; names are never resolved.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// URI the receiver's certificate must carry.
    pub spiffe_id: String,
}

/// A disk of the job: source and destination are different disks with different UUIDs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiskPair {
    /// UUID of the attached source disk.
    pub source_uuid: Uuid,
    /// UUID of the destination disk at the receiver.
    pub destination_uuid: Uuid,
    /// Capacity of both.
    pub capacity_bytes: ByteCount,
}

fn rate_default() -> u8 {
    50
}

fn scrub_default() -> bool {
    true
}

/// The dials of a migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dials {
    /// 0 pauses the background, 50 takes the capacity and yields to the guest, 100 never yields.
    #[serde(default = "rate_default")]
    #[schema(minimum = 0, maximum = 100)]
    pub replication_rate: u8,
    /// 0 never slows the guest; above, writes that dirty clean blocks are paced.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100)]
    pub write_throttling: u8,
    /// Absolute limit of everything that is sent, beside the replication rate; the lower one binds.
    #[serde(default)]
    pub bytes_per_second_max: Option<ByteCount>,
    /// Absolute cap of the delay that write throttling may add to one write.
    #[serde(default)]
    pub added_write_latency_ms_max: Option<u32>,
}

impl Default for Dials {
    fn default() -> Self {
        Self {
            replication_rate: rate_default(),
            write_throttling: 0,
            bytes_per_second_max: None,
            added_write_latency_ms_max: None,
        }
    }
}

impl Dials {
    /// Whether both dials are in their range.
    pub fn check(&self) -> Result<(), Problem> {
        if self.replication_rate > 100 || self.write_throttling > 100 {
            return Err(Problem::bad_request(
                "replicationRate and writeThrottling are numbers from 0 to 100",
            ));
        }
        Ok(())
    }
}

/// The desired job. Putting it again changes nothing; a higher generation takes the job over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobSpec {
    /// What to do.
    pub kind: JobKind,
    /// The VM whose disks are attached.
    pub vm_uuid: Uuid,
    /// Lease generation: fences commands of an older holder of the job.
    pub generation: u64,
    /// The migration, as it stands in the certificates.
    pub vm_migration_id: Id,
    /// Where to send; none only for `observe`.
    #[serde(default)]
    pub receiver: Option<ReceiverAddress>,
    /// At least one disk.
    pub disks: Vec<DiskPair>,
    /// Dials to begin with.
    #[serde(default)]
    pub dials: Dials,
    /// Whether every chunk is read again on both sides, from the disks, before the job is ready.
    #[serde(default = "scrub_default")]
    pub scrub: bool,
}

impl JobSpec {
    /// At most this many disks belong to one VM.
    pub const DISKS_MAX: usize = 60;

    /// Checks what does not depend on the state of the source.
    pub fn check(&self) -> Result<(), Problem> {
        let count = self.disks.len();
        if count == 0 || count > Self::DISKS_MAX {
            return Err(Problem::bad_request("a job has 1 to 60 disks"));
        }
        for (at, disk) in self.disks.iter().enumerate() {
            if disk.capacity_bytes.0 == 0 || !disk.capacity_bytes.0.is_multiple_of(512) {
                return Err(Problem::bad_request("a capacity is a positive multiple of 512"));
            }
            let twice = |other: &DiskPair| {
                other.source_uuid == disk.source_uuid
                    || other.destination_uuid == disk.destination_uuid
            };
            if self.disks[..at].iter().any(twice) {
                return Err(Problem::bad_request("a disk stands twice in the job"));
            }
        }
        match &self.receiver {
            Some(receiver) if receiver.address.parse::<std::net::IpAddr>().is_err() => {
                Err(Problem::bad_request("receiver.address is a numeric IP address"))
            }
            None if self.kind != JobKind::Observe => {
                Err(Problem::bad_request("this kind of job needs a receiver"))
            }
            _ => self.dials.check(),
        }
    }
}

/// Certificate of the source process for its data connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobCertificate {
    /// Lease generation.
    pub generation: u64,
    /// Certificate for the key of `csrPem`.
    pub certificate_pem: String,
    /// The authority the receiver must chain to.
    pub authority_pem: String,
}

/// A command that carries only its lease generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenerationBody {
    /// Lease generation.
    pub generation: u64,
}

/// A command of the hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenBody {
    /// Lease generation.
    pub generation: u64,
    /// Hand-over token E, monotonic per VM.
    pub token: u64,
}

/// New dials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DialsBody {
    /// Lease generation.
    pub generation: u64,
    /// The dials, all of them.
    #[serde(flatten)]
    pub dials: Dials,
}

/// What is in force after a change of the dials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DialsInForce {
    /// The dials in force.
    pub in_force: Dials,
}

/// State of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// `csrPem` waits for its certificate.
    AwaitingCertificate,
    /// Connecting to the receiver.
    Connecting,
    /// Comparing what both sides have by hash.
    Comparing,
    /// Copying and following the guest.
    Running,
    /// Paused on request.
    Paused,
    /// The connection is lost; `reason` says why; it goes on by itself.
    Interrupted,
    /// Freeze accepted: sending what is left.
    Freezing,
    /// Barrier passed; `handover` says whether the roots are equal.
    Frozen,
    /// The source is sealed, the receiver not yet known to be active.
    HandedOff,
    /// The destination owns the disks.
    Active,
    /// Ended by an error that does not go away by itself.
    Failed,
}

impl JobState {
    /// All of them with their names.
    pub const ALL: [(Self, &str); 11] = [
        (Self::AwaitingCertificate, "awaiting-certificate"),
        (Self::Connecting, "connecting"),
        (Self::Comparing, "comparing"),
        (Self::Running, "running"),
        (Self::Paused, "paused"),
        (Self::Interrupted, "interrupted"),
        (Self::Freezing, "freezing"),
        (Self::Frozen, "frozen"),
        (Self::HandedOff, "handed-off"),
        (Self::Active, "active"),
        (Self::Failed, "failed"),
    ];
}

/// Why a job is in its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// Stable code.
    pub code: String,
    /// For people.
    pub message: String,
    /// ISO 8601.
    pub since: String,
}

/// What stands between a job and its final migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotReadyReason {
    /// Stable code.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Whether a final migration may begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// True when nothing stands in the way.
    pub ready: bool,
    /// What stands in the way.
    pub reasons: Vec<NotReadyReason>,
}

/// Projected downtime of the data path, in its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Projection {
    /// Sending what is dirty.
    pub drain_seconds: f64,
    /// Hashing what changed since it was hashed.
    pub rehash_seconds: f64,
}

/// Measured rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    /// Background lane, logical.
    pub background_bytes_per_second: f64,
    /// Foreground lane, logical.
    pub foreground_bytes_per_second: f64,
    /// What the guest writes.
    pub incoming_bytes_per_second: f64,
    /// What crosses the network.
    pub wire_bytes_per_second: f64,
}

/// Counters of one disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobDisk {
    /// UUID of the source disk.
    pub source_uuid: Uuid,
    /// UUID of the destination disk.
    pub destination_uuid: Uuid,
    /// Capacity of both.
    pub capacity_bytes: ByteCount,
    /// Bytes that are not holes at the source.
    pub allocated_bytes: ByteCount,
    /// Background bytes durable at the destination or known to be equal.
    pub copied_bytes: ByteCount,
    /// Everything the destination still lacks.
    pub remaining_bytes: ByteCount,
    /// Written by the guest and not yet durable at the destination.
    pub dirty_bytes: ByteCount,
    /// Logical bytes sent.
    pub sent_bytes: ByteCount,
    /// Bytes on the wire.
    pub wire_bytes: ByteCount,
    /// Logical bytes sent again after an interruption.
    pub resent_bytes: ByteCount,
    /// Zeroes and holes that were not sent.
    pub skipped_bytes: ByteCount,
    /// Bytes compared by hash instead of sent.
    pub compared_bytes: ByteCount,
    /// What the equality of both sides rests on so far.
    pub verified: Verified,
    /// Since when: the last chunk was read again, or the roots were equal. ISO 8601.
    pub verified_at: Option<String>,
    /// Bytes that were read again on both sides and were equal.
    pub scrubbed_bytes: ByteCount,
    /// Chunks that differed when they were read again; they were sent once more.
    pub scrub_repaired_chunks: u64,
    /// The latest of them.
    pub scrub_evidence: Vec<Difference>,
    /// Rates of late.
    #[serde(default)]
    pub rates: DiskRates,
    /// Where time and bytes went.
    #[serde(default)]
    pub stages: Vec<StageStatus>,
}

/// Progress of a hand-over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HandoverState {
    /// Not begun.
    #[default]
    None,
    /// Residue, barrier and roots are under way.
    Freezing,
    /// Barrier passed, roots not yet compared.
    Frozen,
    /// Both roots of every disk are equal.
    RootsEqual,
    /// A disk still differs after the repair: the source keeps it.
    RootsDiffer,
    /// The source is sealed.
    HandedOff,
    /// The destination owns the disks.
    Active,
    /// Unfrozen: the source goes on.
    Cancelled,
}

/// The hand-over of all disks of the VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Handover {
    /// Token E; 0 before the first freeze.
    pub token: u64,
    /// How far it is.
    pub state: HandoverState,
    /// Why it was cancelled, where neither the guest nor a command did that.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// When freeze was accepted, ISO 8601.
    pub frozen_at: Option<String>,
    /// When the receiver had persisted ACTIVE, ISO 8601.
    pub active_at: Option<String>,
    /// From freeze accepted to ACTIVE persisted.
    pub data_path_ms: Option<u64>,
    /// Per disk.
    pub disks: Vec<HandoverDisk>,
}

/// Roots of one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandoverDisk {
    /// UUID of the source disk.
    pub source_uuid: Uuid,
    /// UUID of the destination disk.
    pub destination_uuid: Uuid,
    /// Root of the hash tree at the source, hexadecimal.
    pub source_root: Option<String>,
    /// Root at the destination, from its disk, hexadecimal.
    pub destination_root: Option<String>,
    /// Whether both are known and equal.
    pub equal: bool,
    /// Chunks sent again because they differed at the barrier.
    pub repaired_chunks: u64,
}

/// Everything a follower of a job needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// The job.
    pub job_id: Id,
    /// What it does.
    pub kind: JobKind,
    /// The VM.
    pub vm_uuid: Uuid,
    /// Highest lease generation seen.
    pub generation: u64,
    /// Epoch of the source: higher after every start or loss of trust.
    pub epoch: u64,
    /// State.
    pub state: JobState,
    /// Why, where there is something to say.
    pub reason: Option<Reason>,
    /// Signing request while `state` is `awaiting-certificate`.
    pub csr_pem: Option<String>,
    /// Whether the final migration may begin.
    pub ready: Readiness,
    /// Projected downtime of the data path, once it can be judged.
    pub projected: Option<Projection>,
    /// Measured rates.
    pub rates: Rates,
    /// What holds the job back; none while it is not connected or has just begun.
    #[serde(default)]
    pub limited_by: Option<LimitedBy>,
    /// Every write older than this is durable at the destination; none before the first copy is
    /// complete.
    #[serde(default)]
    pub lag_seconds: Option<f64>,
    /// Whether the job catches up with the guest; none before that is known.
    #[serde(default)]
    pub converging: Option<bool>,
    /// Seconds until it is ready, about; none when that is unknown or never by itself.
    #[serde(default)]
    pub eta_seconds: Option<f64>,
    /// The codec in force.
    #[serde(default)]
    pub codec: CodecStatus,
    /// Dials in force.
    pub dials: Dials,
    /// Whether every allocated byte was sent or compared at least once.
    pub background_complete: bool,
    /// Per disk.
    pub disks: Vec<JobDisk>,
    /// The hand-over.
    pub handover: Handover,
    /// The latest verification, if there was one.
    #[serde(default)]
    pub verify: Option<VerifyReport>,
}
