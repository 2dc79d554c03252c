//! The seal of the source: HANDED_OFF(E) beside every disk, taken back where it is not on all of
//! them, and ACTIVE(E) once the receiver has it. Nothing is released before the last disk is sealed.

use std::io;

use landfall_api::{Code, Problem};
use landfall_core::handover::{Phase, Refused};
use landfall_wire::{DiskRoot, OwnAck, PeerOwnership};

use super::barrier::local_root;
use super::cutover::{Cutover, State};
use super::disk::{Gate, SourceDiskIo};
use super::job::{Job, JobDiskIo};
use super::sidecar::{DiskPhase, SidecarState};
use super::together::each_disk;
use crate::Result;
use crate::clock::{now_ns, now_text};
use crate::fault;
use crate::link::invalid;

impl State {
    fn take_back_seal(&mut self) -> io::Result<()> {
        while let Some(disk) = self.half_sealed.last() {
            disk.take_back_seal()?;
            self.half_sealed.pop();
        }
        Ok(())
    }

    /// The same for whoever would write next: a seal that stays refuses it.
    pub(super) fn without_seal(&mut self) -> std::result::Result<(), Refused> {
        self.take_back_seal().map_err(|error| {
            tracing::error!(%error, "a seal that failed cannot be taken back");
            Refused::Sealed
        })
    }
}

impl SourceDiskIo {
    /// Makes it ours again, durably.
    pub(super) fn take_back_seal(&self) -> io::Result<()> {
        let mut sidecar = self.sidecar.lock().expect("sidecar");
        let state = sidecar.state;
        sidecar.store(SidecarState { phase: DiskPhase::Ours, ..state })
    }
}

impl Cutover {
    /// Persists HANDED_OFF(E) in every sidecar. After an error in the middle the command is
    /// repeated, or the seal is taken back before the source is written again: nothing was
    /// released yet. A restart takes back a seal that is not on every disk.
    pub(super) fn seal(&self, job: &Job, state: &mut State, token: u64) -> Result<()> {
        let mut gate = self.valve.gate.write().expect("gate");
        let clean = |disk: &JobDiskIo| disk.disk.book.lock().expect("book").clean();
        if state.open || !job.disks.iter().all(clean) {
            return Err(Problem::new(Code::NotFrozen, "the disks changed after the barrier"));
        }
        if let Some(error) = state.flush.as_ref().and_then(|flush| flush.wait()) {
            return Err(Problem::storage("flush of a source disk", &error));
        }
        // Should one fail, any of them may hold the seal.
        state.half_sealed = job.disks.iter().map(|disk| disk.disk.clone()).collect();
        each_disk(job, |disk| {
            fault::point("seal-disk").map_err(|e| Problem::storage("seal", &e))?;
            let root = local_root(disk).map_err(|e| Problem::storage("hash tree", &e))?;
            let mut sidecar = disk.disk.sidecar.lock().expect("sidecar");
            let next = SidecarState { phase: DiskPhase::HandedOff, token, root, ..sidecar.state };
            let stored = sidecar.store(next);
            stored.map_err(|e| Problem::storage(format!("seal of disk {}", disk.disk.uuid), &e))
        })?;
        state.half_sealed.clear();
        state.machine.sealed();
        *gate = Gate::Sealed;
        tracing::info!(token, "the source is sealed");
        Ok(())
    }

    /// OWN_ACK.
    pub(super) fn own_acknowledged(&self, job: &Job, payload: &[u8]) -> io::Result<()> {
        let ack = OwnAck::decode(payload).map_err(invalid)?;
        self.learn_ownership(job, ack.ownership, ack.token).map(drop)
    }

    /// What the receiver has on its disk. Whether it fits what is known here is the answer.
    pub(super) fn learn_ownership(
        &self,
        job: &Job,
        ownership: PeerOwnership,
        token: u64,
    ) -> io::Result<bool> {
        if !matches!(ownership, PeerOwnership::Active | PeerOwnership::Fenced) {
            return Ok(true);
        }
        let mut state = self.lock();
        if ownership != PeerOwnership::Active || !state.machine.own_acknowledged(token) {
            return Ok(state.machine.phase() == Phase::Active);
        }
        {
            let mut control = job.control.lock().expect("control");
            control.active_at = Some(now_text());
            control.data_path_ms =
                control.frozen_at.as_ref().map(|(_, at)| (now_ns() - at) / 1_000_000);
        }
        each_disk(job, |disk| {
            let mut sidecar = disk.disk.sidecar.lock().expect("sidecar");
            let next = SidecarState { phase: DiskPhase::Active, ..sidecar.state };
            sidecar.store(next)
        })?;
        job.changed.notify_all();
        Ok(true)
    }
}

pub(super) fn sealed_root(disk: &JobDiskIo) -> DiskRoot {
    let root = disk.disk.sidecar.lock().expect("sidecar").state.root;
    DiskRoot { complete: true, root }
}
