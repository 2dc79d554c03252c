//! The tap: what stands between the guest and its disk. It passes everything through and notes
//! what changed, after the disk took it and before the guest hears of it (I2). It never
//! answers with an error of its own.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use landfall_api::Uuid;
use landfall_core::converge::Distinct;
use landfall_core::throttle::WriteThrottle;
use landfall_core::{BLOCK, Extent};
use landfall_nbd::{Export, Extent as NbdExtent, about_to_wait, answer_after};

use super::book::Book;
use super::disk_fault::DiskFault;
use super::hold::Hold;
use super::intent_log::IntentFile;
use super::sidecar::Sidecar;
use crate::clock::now_ns;
use crate::disk_file::DiskFile;
use crate::fault;
use crate::meter::{Latencies, Meter};
use crate::stats::GuestStages;

/// Whether the guest may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// As always.
    Open,
    /// Frozen: a write would cancel the freeze.
    Frozen,
    /// Paused for a snapshot: writes wait.
    Held,
    /// Handed over: nothing is written any more.
    Sealed,
}

/// What the taps of one VM share.
pub(super) struct Valve {
    /// Held for reading over every write, for writing when its value changes: then no write is
    /// under way.
    pub(super) gate: RwLock<Gate>,
    /// Called without locks when a write meets the frozen gate.
    pub(super) thaw: Box<dyn Fn() + Send + Sync>,
    /// What writes that met the held gate wait for.
    pub(super) held: Hold,
    pub(super) throttle: Mutex<WriteThrottle>,
    pub(super) throttling: AtomicBool,
    pub(super) latencies: Latencies,
}

/// One attached disk.
pub(super) struct SourceDiskIo {
    pub(super) uuid: Uuid,
    pub(super) path: PathBuf,
    pub(super) file: DiskFile,
    pub(super) book: Book,
    /// Blocks written lately, each once.
    pub(super) distinct: Distinct,
    pub(super) sidecar: Mutex<Sidecar>,
    pub(super) intent: IntentFile,
    /// File in the VM's folder that says, if nothing else can, that the state beside the disk is
    /// not to be believed.
    pub(super) mark: PathBuf,
    /// A flush failed: what is on the disk is not known to be what was written (I8).
    pub(super) flush_failed: AtomicBool,
    /// After that no region leaves the write-intent log any more.
    pub(super) never_clear: AtomicBool,
    /// The file is another than the one an earlier process served, and nobody attached it since.
    pub(super) replaced: AtomicBool,
    /// The file under the tap is not what it was: the session stays ended while this stands.
    pub(super) fault: Mutex<Option<DiskFault>>,
    /// No process of ours serves the disk through this any more.
    pub(super) ended: AtomicBool,
    pub(super) untracked: AtomicBool,
    pub(super) incoming: Meter,
    pub(super) guest: GuestStages,
    pub(super) valve: Arc<Valve>,
}

impl SourceDiskIo {
    /// Flushes the disk. A failure is remembered: the next flush may not repeat it.
    pub(super) fn sync(&self) -> io::Result<()> {
        fault::point("source-flush")
            .and_then(|()| self.file.sync())
            .inspect_err(|_| self.flush_failed.store(true, SeqCst))
    }

    /// Waits until no write is under way. With `ended` set before, none comes after.
    pub(super) fn drain(&self) {
        drop(self.valve.gate.write().expect("gate"));
    }

    /// Changes the disk through `act`, then notes the change: also after an error, because a
    /// part may have happened.
    fn change(
        &self,
        extent: Extent,
        content_bytes: u64,
        act: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let gate = loop {
            let gate = self.valve.gate.read().expect("gate");
            match *gate {
                Gate::Open => break gate,
                Gate::Frozen => {
                    drop(gate);
                    about_to_wait();
                    (self.valve.thaw)();
                }
                Gate::Held => {
                    drop(gate);
                    about_to_wait();
                    if !self.valve.held.wait() {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                }
                Gate::Sealed => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        };
        if self.ended.load(Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let start = now_ns();
        let turn = self.enter(extent);
        let done = act().and_then(|()| fault::point("tap-landed"));
        let throttled = self.valve.throttling.load(Relaxed);
        let owed = if throttled { self.book.written_and_owed(extent) } else { 0 };
        if !throttled {
            self.book.written(extent);
        }
        self.intent.leave(turn);
        drop(gate);
        let end = now_ns();
        self.valve.latencies.add(end - start);
        self.guest.write.took(end - start, content_bytes);
        self.incoming.add(content_bytes);
        if content_bytes > 0 {
            extent.touched(BLOCK).for_each(|block| self.distinct.add(block));
        }
        if owed > 0 {
            let delay = self.valve.throttle.lock().expect("throttle").delay_ns(owed, end);
            if delay > 0 {
                answer_after(Duration::from_nanos(delay));
            }
        }
        done
    }
}

impl Export for SourceDiskIo {
    fn size(&self) -> u64 {
        self.file.capacity()
    }

    fn read_now(&self, buf: &mut [u8], offset: u64) -> bool {
        let start = now_ns();
        let read = self.file.read_now(buf, offset);
        if read {
            self.guest.read.passed(start, buf.len() as u64);
        }
        read
    }

    fn cache(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.read_soon(offset, len)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = now_ns();
        let read = self.file.read(buf, offset);
        self.guest.read.passed(start, buf.len() as u64);
        read
    }

    fn write_at(&self, data: &[u8], offset: u64, fua: bool) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let extent = Extent::new(offset, data.len() as u64);
        self.change(extent, extent.len, || {
            self.file.write(data, offset)?;
            if fua { self.sync() } else { Ok(()) }
        })
    }

    fn flush(&self) -> io::Result<()> {
        let start = now_ns();
        let synced = self.sync();
        self.guest.flush.passed(start, 0);
        synced
    }

    fn trim(&self, offset: u64, len: u64, fua: bool) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let extent = Extent::new(offset, len);
        self.change(extent, 0, || {
            self.file.punch(extent)?;
            if fua { self.sync() } else { Ok(()) }
        })
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_trim: bool, fua: bool) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let extent = Extent::new(offset, len);
        self.change(extent, 0, || {
            if may_trim {
                self.file.punch(extent)?
            } else {
                self.file.zero(extent)?
            }
            if fua { self.sync() } else { Ok(()) }
        })
    }

    fn extents(&self, offset: u64, len: u64, max: usize) -> io::Result<Vec<NbdExtent>> {
        let end = offset + len;
        let mut extents = Vec::new();
        let mut at = offset;
        while at < end && extents.len() < max {
            let data = self.file.next_data(at)?.unwrap_or(end).min(end);
            if data > at {
                extents.push(NbdExtent { len: data - at, hole: true, zero: true });
                at = data;
            } else {
                let hole = self.file.next_hole(at)?.clamp(at + 1, end);
                extents.push(NbdExtent { len: hole - at, hole: false, zero: false });
                at = hole;
            }
        }
        Ok(extents)
    }
}
