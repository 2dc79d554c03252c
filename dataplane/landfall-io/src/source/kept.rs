//! What a source keeps of itself in its state directory (`vm.json`), so that a new process goes
//! on, and others know it while no process runs.

use std::path::{Path, PathBuf};

use landfall_api::{ByteCount, Code, Id, JobSpec, Problem, Uuid};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The kept state of one VM.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    /// Whether the VM's side has its disks open.
    pub open: bool,
    /// The attached disks.
    pub disks: Vec<KeptDisk>,
    /// The job.
    pub job: Option<KeptJob>,
    /// When the disks were paused for a snapshot that is not known to be over, in milliseconds since
    /// 1970.
    #[serde(default)]
    pub snapshot_ms: Option<u64>,
}

/// One attached disk.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeptDisk {
    /// The disk.
    pub uuid: Uuid,
    /// Its file.
    pub path: PathBuf,
    /// Its capacity.
    pub capacity: ByteCount,
    /// Whether its file was exchanged for another while no process ran, and nobody attached it since.
    #[serde(default)]
    pub replaced: bool,
}

/// The job in its desired state.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeptJob {
    /// The job.
    pub id: Id,
    /// Whether it is paused.
    pub paused: bool,
    /// The codec, if it is fixed, as in the flags of a frame.
    #[serde(default)]
    pub codec: Option<u8>,
    /// What it shall do.
    pub spec: JobSpec,
}

impl Kept {
    fn file(state_dir: &Path) -> PathBuf {
        state_dir.join("vm.json")
    }

    /// What was kept last; nothing when nothing ever was.
    pub fn load(state_dir: &Path) -> Result<Self> {
        let text = crate::storage::read_file(&Self::file(state_dir))
            .map_err(|error| Problem::storage("vm.json", &error))?;
        let Some(text) = text else { return Ok(Self::default()) };
        serde_json::from_slice(&text)
            .map_err(|error| Problem::new(Code::StorageFailed, format!("vm.json: {error}")))
    }

    /// Makes it durable. Only the process that serves the disks may do this.
    pub fn store(&self, state_dir: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).expect("plain data");
        crate::storage::replace_file(&Self::file(state_dir), &text)
            .map_err(|error| Problem::storage("vm.json", &error))
    }
}
