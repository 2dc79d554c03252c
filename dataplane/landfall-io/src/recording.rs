//! What is done to files, in order, for tests: from any moment of it the files can be made as a
//! kill or a loss of power would have left them there. Who opens them then must find its way.
//!
//! It sees what goes through `storage.rs`: every disk and every state file. It must never run
//! outside tests: it keeps everything in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::fault;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// Device and inode.
type FileId = (u64, u64);

/// What a change puts where it is.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    Zeroes(u64),
}

#[derive(Clone, Debug)]
enum Event {
    Named(PathBuf, FileId),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
    FolderSynced(PathBuf),
    Emptied(FileId),
    /// A write or zeroes begin: from here on anything of it may be on the medium.
    Change(FileId, u64, Content),
    /// A flush begins: it covers the changes that are done.
    Flush,
    /// The change or flush of that number is done; of a flush with the time of the last change.
    Done(usize, FileId, Option<[libc::timespec; 2]>),
}

#[derive(Default)]
struct Log {
    roots: Vec<PathBuf>,
    events: Vec<Event>,
    seen: BTreeSet<FileId>,
}

static LOG: Mutex<Option<Log>> = Mutex::new(None);

/// How a site ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The process is killed: what was written stays.
    Kill,
    /// Power is lost: of what was not flushed any part may be gone, sector by sector; this seed
    /// says which.
    Power(u64),
    /// Power is lost, and with it everything that was not flushed.
    Unflushed,
}

/// A file system as it was when recording began, and all that happened since.
pub struct Tape {
    names: BTreeMap<PathBuf, FileId>,
    content: BTreeMap<FileId, Vec<u8>>,
    events: Vec<Event>,
    roots: Vec<PathBuf>,
}

/// Begins to record what happens below `root`, which is quiet now. There is one recording at a
/// time in a process.
pub fn start(root: &Path) -> io::Result<Tape> {
    let mut tape = Tape {
        names: BTreeMap::new(),
        content: BTreeMap::new(),
        events: Vec::new(),
        roots: vec![root.to_owned()],
    };
    for path in files_below(root)? {
        let id = id_of(&std::fs::metadata(&path)?);
        tape.content.insert(id, std::fs::read(&path)?);
        tape.names.insert(path, id);
    }
    let seen = tape.content.keys().copied().collect();
    let log = Log { roots: tape.roots.clone(), events: Vec::new(), seen };
    *LOG.lock().expect("log") = Some(log);
    fault::set_recording(true);
    Ok(tape)
}

/// Number of events so far.
pub fn position() -> usize {
    LOG.lock().expect("log").as_ref().map_or(0, |log| log.events.len())
}

fn id_of(meta: &std::fs::Metadata) -> FileId {
    (meta.dev(), meta.ino())
}

fn files_below(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}

/// Notes an event if somebody records.
fn note<T>(make: impl FnOnce(&mut Log) -> T) -> Option<T> {
    if !fault::recording() {
        return None;
    }
    LOG.lock().expect("log").as_mut().map(make)
}

fn id_if_seen(log: &Log, file: &File) -> Option<FileId> {
    let id = id_of(&file.metadata().ok()?);
    log.seen.contains(&id).then_some(id)
}

pub(crate) fn named(path: &Path, file: &File) {
    note(|log| {
        let Ok(meta) = file.metadata() else { return };
        if log.roots.iter().any(|root| path.starts_with(root)) {
            log.seen.insert(id_of(&meta));
            log.events.push(Event::Named(path.to_owned(), id_of(&meta)));
        }
    });
}

pub(crate) fn emptied(file: &File) {
    note(|log| {
        let id = id_if_seen(log, file);
        log.events.extend(id.map(Event::Emptied));
    });
}

pub(crate) fn renamed(from: &Path, to: &Path) {
    note(|log| log.events.push(Event::Renamed(from.to_owned(), to.to_owned())));
}

pub(crate) fn removed(path: &Path) {
    note(|log| log.events.push(Event::Removed(path.to_owned())));
}

pub(crate) fn folder_synced(folder: &Path) {
    note(|log| log.events.push(Event::FolderSynced(folder.to_owned())));
}

/// A change begins; the answer is its number.
pub(crate) fn change(file: &File, off: u64, content: impl FnOnce() -> Content) -> Option<usize> {
    note(|log| {
        let id = id_if_seen(log, file)?;
        log.events.push(Event::Change(id, off, content()));
        Some(log.events.len() - 1)
    })?
}

/// A flush begins; the answer is its number.
pub(crate) fn flush(file: &File) -> Option<usize> {
    note(|log| {
        id_if_seen(log, file)?;
        log.events.push(Event::Flush);
        Some(log.events.len() - 1)
    })?
}

/// A change or flush is done.
pub(crate) fn done(number: Option<usize>, file: &File) {
    let Some(number) = number else { return };
    note(|log| {
        let Ok(meta) = file.metadata() else { return };
        let changed = libc::timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
        let changed = matches!(log.events.get(number), Some(Event::Flush)).then_some(changed);
        log.events.push(Event::Done(number, id_of(&meta), changed.map(|at| [at, at])));
    });
}

/// SplitMix64: which part of what was not flushed survives.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// How much of a change is on the medium.
enum Survives {
    All,
    Nothing,
    /// Sectors one by one.
    Sectors,
}

impl Tape {
    /// Ends the recording.
    pub fn stop(&mut self) {
        fault::set_recording(false);
        if let Some(log) = LOG.lock().expect("log").take() {
            self.events = log.events;
        }
    }

    /// Number of moments: a cut before the first event, between two, or after the last.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Moments worth a cut, because much is in the air: each begin of a flush and of a rename.
    pub fn flushes(&self) -> Vec<usize> {
        let heavy = |event: &Event| matches!(event, Event::Flush | Event::Renamed(..));
        (0..self.events.len()).filter(|at| heavy(&self.events[*at])).collect()
    }

    /// Makes the files as they would be if everything ended before event `cut`. `loss` says of
    /// a path how its site ends; files for which `in_place` holds keep their inode.
    pub fn replay(
        &self,
        cut: usize,
        loss: impl Fn(&Path) -> Loss,
        in_place: impl Fn(&Path) -> bool,
    ) -> io::Result<()> {
        let events = &self.events[..cut];
        let names = self.names_at(events, &loss);
        for root in &self.roots {
            for path in files_below(root)? {
                if !names.contains_key(&path) || !in_place(&path) {
                    std::fs::remove_file(path)?;
                }
            }
        }
        for (path, id) in &names {
            let (content, changed) = self.content_at(events, *id, loss(path));
            let mut options = File::options();
            let file = options.create(true).truncate(true).write(true).open(path)?;
            file.set_len(content.len() as u64)?;
            for (at, piece) in content.chunks(8 * SECTOR).enumerate() {
                if piece.iter().any(|byte| *byte != 0) {
                    file.write_all_at(piece, (at * 8 * SECTOR) as u64)?;
                }
            }
            if let Some(times) = changed {
                set_times(&file, &times)?;
            }
        }
        Ok(())
    }

    /// Names are lost from the last on, and never one whose folder was flushed since.
    fn names_at(
        &self,
        events: &[Event],
        loss: &impl Fn(&Path) -> Loss,
    ) -> BTreeMap<PathBuf, FileId> {
        let mut names = self.names.clone();
        for (at, event) in events.iter().enumerate() {
            let path = match event {
                Event::Named(path, _) | Event::Renamed(_, path) | Event::Removed(path) => path,
                _ => continue,
            };
            let durable = events[at..].iter().any(
                |later| matches!(later, Event::FolderSynced(folder) if path.parent() == Some(folder)),
            );
            let lost = match loss(path) {
                Loss::Kill => false,
                Loss::Power(seed) => !durable && Random(seed ^ at as u64).below(2) == 0,
                Loss::Unflushed => !durable,
            };
            if lost {
                continue;
            }
            match event {
                Event::Named(path, id) => drop(names.insert(path.clone(), *id)),
                Event::Renamed(from, to) => {
                    if let Some(id) = names.remove(from) {
                        names.insert(to.clone(), id);
                    }
                }
                _ => drop(names.remove(path)),
            }
        }
        names
    }

    /// Content of a file, and the time of its last change where all of it was flushed since.
    fn content_at(
        &self,
        events: &[Event],
        id: FileId,
        loss: Loss,
    ) -> (Vec<u8>, Option<[libc::timespec; 2]>) {
        let mut done_at = BTreeMap::new();
        for (at, event) in events.iter().enumerate() {
            if let Event::Done(number, file, _) = event
                && *file == id
            {
                done_at.insert(*number, at);
            }
        }
        let is_flush = |at: &usize| matches!(events[*at], Event::Flush);
        let flushed_from = done_at.keys().filter(|at| is_flush(at)).max().copied().unwrap_or(0);
        let mut random = match loss {
            Loss::Kill | Loss::Unflushed => Random(id.1),
            Loss::Power(seed) => Random(seed ^ id.1),
        };
        let mut content = self.content.get(&id).cloned().unwrap_or_default();
        let mut changed = None;
        for (at, event) in events.iter().enumerate() {
            match event {
                Event::Emptied(file) if *file == id => content.clear(),
                Event::Done(_, file, time) if *file == id => changed = time.or(changed),
                Event::Change(file, off, what) if *file == id => {
                    changed = None;
                    let done = done_at.get(&at);
                    let durable = done.is_some_and(|done| *done < flushed_from);
                    let survives = match (durable, done.is_some(), loss) {
                        (true, ..) | (_, true, Loss::Kill) => Survives::All,
                        (.., Loss::Unflushed) => Survives::Nothing,
                        _ => match random.below(4) {
                            0 => Survives::All,
                            1 => Survives::Sectors,
                            _ => Survives::Nothing,
                        },
                    };
                    put(&mut content, *off as usize, what, &survives, &mut random);
                }
                _ => {}
            }
        }
        (content, changed)
    }
}

fn put(
    content: &mut Vec<u8>,
    off: usize,
    what: &Content,
    survives: &Survives,
    random: &mut Random,
) {
    let (len, bytes) = match what {
        Content::Bytes(bytes) => (bytes.len(), Some(bytes)),
        Content::Zeroes(len) => (*len as usize, None),
    };
    let mut at = 0;
    while at < len {
        let end = len.min(at + SECTOR - (off + at) % SECTOR);
        let survives = match survives {
            Survives::All => true,
            Survives::Nothing => false,
            Survives::Sectors => random.below(2) == 0,
        };
        if survives {
            if content.len() < off + end {
                content.resize(off + end, 0);
            }
            match bytes {
                Some(bytes) => content[off + at..off + end].copy_from_slice(&bytes[at..end]),
                None => content[off + at..off + end].fill(0),
            }
        }
        at = end;
    }
}

fn set_times(file: &File, times: &[libc::timespec; 2]) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the pointer is to two times that live over the call.
    match unsafe { libc::futimens(file.as_raw_fd(), times.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
