//! The two faces of a host daemon apart from jobs: what the hypervisor tells it,
//! and the list of what is attached.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ByteCount, Uuid};

/// Hypervisor face: put the tap in front of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttachRequest {
    /// The VM.
    pub vm_uuid: Uuid,
    /// The disk's backing UUID.
    pub disk_uuid: Uuid,
    /// Flat file of the disk on this host.
    pub path: String,
    /// Its capacity.
    pub capacity_bytes: ByteCount,
}

/// Where the hypervisor finds the disk from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachAnswer {
    /// Unix socket that speaks NBD; the export name is empty.
    pub nbd_socket: String,
}

/// Hypervisor face: take the tap away again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DetachRequest {
    /// The VM.
    pub vm_uuid: Uuid,
    /// The disk's backing UUID.
    pub disk_uuid: Uuid,
    /// Whether the disk goes on elsewhere (on another host, or under another file after a
    /// snapshot): what is known of it is left beside it for the next attach. Without it the storage
    /// policy is gone, and the state beside the disk goes with it.
    #[serde(default)]
    pub keep_state: bool,
}

/// Hypervisor face: the VM's side is gone, nobody writes any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClosedRequest {
    /// The VM.
    pub vm_uuid: Uuid,
}

/// Hypervisor face: a snapshot of the VM's disks begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotPauseRequest {
    /// The VM.
    pub vm_uuid: Uuid,
}

/// Hypervisor face: the snapshot is made, or was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotResumeRequest {
    /// The VM.
    pub vm_uuid: Uuid,
    /// Disks that go on in another file. One whose file was exchanged under its name need not be
    /// named.
    #[serde(default)]
    pub disks: Vec<SnapshotDisk>,
}

/// A disk and the file in which it goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotDisk {
    /// The disk's backing UUID.
    pub disk_uuid: Uuid,
    /// Flat file on this host, of the same capacity and content.
    pub path: String,
}

/// Whether the disks are paused for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotAnswer {
    /// True after a pause; false after a resume, and for a VM that was handed over.
    pub paused: bool,
    /// After so many milliseconds the disks go on by themselves.
    pub time_left_ms: u64,
}

/// A VM with at least one attached disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachedVm {
    /// The VM.
    pub vm_uuid: Uuid,
    /// Whether the VM's side has the disks open, so that writes may come.
    pub open: bool,
    /// Its attached disks.
    pub disks: Vec<AttachedDisk>,
}

/// One attached disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachedDisk {
    /// The disk's backing UUID.
    pub disk_uuid: Uuid,
    /// Flat file of the disk on this host.
    pub path: String,
    /// Its capacity.
    pub capacity_bytes: ByteCount,
    /// Whether the tap serves it (false while the source process is being started).
    pub attached: bool,
    /// Whether writes went past the map, so that the next job compares the whole disk.
    pub untracked: bool,
}
