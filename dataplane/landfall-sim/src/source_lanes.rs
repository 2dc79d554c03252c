//! The source's sending threads: pick, read in parts, send; compare; and what prio does for
//! the hand-over.

use landfall_core::sending::Sent;
use landfall_core::source::Pick;
use landfall_core::{BLOCK, CHUNK, Extent, UNIT};

use crate::net::Msg;
use crate::oracle::unit_hash;
use crate::rules::Rule;
use crate::source::{Lane, Link};
use crate::store::{SECTOR, render};
use crate::world::World;

const COMPARES_OUT: u32 = 4;

impl World {
    /// One step of one sending thread.
    pub(crate) fn source_lane(&mut self) -> bool {
        let Some(source) = &mut self.source else { return false };
        let Link::Up(conns) = source.link.clone() else { return false };
        let at = self.random.below(conns.len() as u64) as usize;
        let id = conns[at];
        match std::mem::replace(&mut source.lanes[at], Lane::Idle) {
            Lane::Idle => match at {
                0 => self.prio_begins(id),
                _ => self.bulk_begins(at, id),
            },
            Lane::Picked { disk, ticket, extent, hole, trim } => {
                self.picked(at, id, (disk, Pick { ticket, extent }), hole, trim)
            }
            Lane::Reading { disk, ticket, extent, hashing, content, from, trim } => {
                self.reads(at, id, disk, ticket, extent, hashing, content, from, trim)
            }
            Lane::Compared { disk, first, equal } => self.compared(at, disk, first, equal),
        }
    }

    /// What differs is in the write-intent log before it becomes dirty.
    fn compared(&mut self, at: usize, disk: usize, first: u64, equal: Vec<bool>) -> bool {
        for (unit, same) in equal.iter().enumerate() {
            let off = (first + unit as u64) * UNIT;
            let extent = Extent::new(off, UNIT.min(self.capacities[disk] - off));
            if !same && !self.note_difference(disk, extent) {
                let source = self.source.as_mut().expect("it runs");
                source.lanes[at] = Lane::Compared { disk, first, equal };
                return false;
            }
        }
        let source = self.source.as_mut().expect("it runs");
        for (unit, same) in equal.into_iter().enumerate() {
            source.books[disk].compared(first + unit as u64, same);
        }
        source.wants_out -= 1;
        true
    }

    fn prio_begins(&mut self, id: u64) -> bool {
        if self.cutover_step(id) {
            return true;
        }
        let source = self.source.as_mut().expect("it runs");
        if source.machine.is_sealed() || !source.windows.iter().all(|window| window.open()) {
            return false;
        }
        let disk = self.random.below(self.capacities.len() as u64) as usize;
        let max = self.random.pick(&[UNIT, 3 * UNIT, CHUNK]);
        if self.broken == Some(Rule::I2bPickBeforeRead) {
            let Some(block) = source.books[disk].dirty().next(0, true) else { return false };
            let unit = block * BLOCK / UNIT * UNIT;
            let extent = Extent::new(unit, UNIT.min(self.capacities[disk] - unit));
            source.lanes[0] = reading(disk, None, extent, None, None);
            return true;
        }
        if self.broken == Some(Rule::I5OneInFlight) {
            let conns = self.conns.get_mut(&id).expect("it is up");
            for sent in conns.queue.drain() {
                source.books[sent.disk].cancel(sent.ticket);
            }
        }
        let dirty = source.books[disk].dirty().clone();
        let Some(pick) = source.books[disk].pick_foreground(max) else { return false };
        let narrow = [Rule::TwoGranularitiesSource, Rule::TwoGranularitiesReceiver].map(Some);
        let trim = narrow.contains(&self.broken).then(|| {
            pick.extent.touched(BLOCK).filter(|block| dirty.get(*block)).collect::<Vec<u64>>()
        });
        let Pick { ticket, extent } = pick;
        source.lanes[0] = Lane::Picked { disk, ticket, extent, hole: false, trim };
        true
    }

    fn bulk_begins(&mut self, at: usize, id: u64) -> bool {
        let source = self.source.as_mut().expect("it runs");
        if source.machine.is_sealed() {
            return false;
        }
        if let Some((disk, first, theirs)) = source.answers.pop_front() {
            let ours = |unit: u64| unit_hash(&self.source_disks[disk], unit);
            let compare = |(unit, their)| ours(first + unit as u64) == their;
            let equal = theirs.into_iter().enumerate().map(compare).collect();
            source.lanes[at] = Lane::Compared { disk, first, equal };
            return true;
        }
        if source.wants_out < COMPARES_OUT {
            let count = self.random.pick(&[1, 4, 64]);
            for (disk, book) in source.books.iter_mut().enumerate() {
                if let Some(units) = book.next_compare(count) {
                    source.wants_out += 1;
                    let msg = Msg::WantUnits { disk, units };
                    self.conns.get_mut(&id).expect("it is up").send(msg);
                    return true;
                }
            }
        }
        self.background_begins(at)
    }

    fn background_begins(&mut self, at: usize) -> bool {
        let source = self.source.as_mut().expect("it runs");
        if !source.windows[1].open() {
            return false;
        }
        let max = self.random.pick(&[UNIT, CHUNK]);
        for (disk, book) in source.books.iter_mut().enumerate() {
            let Some(off) = book.peek_background() else { continue };
            let capacity = self.capacities[disk];
            let data = self.source_disks[disk].range(off / SECTOR..u64::MAX).next();
            let data = data.map_or(capacity, |(sector, _)| sector * SECTOR);
            let hole = data.saturating_sub(off);
            let hole = if data >= capacity { hole } else { hole / UNIT * UNIT };
            let pick = book.pick_background(if hole > 0 { hole } else { max });
            let Some(Pick { ticket, extent }) = pick else { return false };
            source.lanes[at] = Lane::Picked { disk, ticket, extent, hole: hole > 0, trim: None };
            return true;
        }
        false
    }

    fn picked(
        &mut self,
        at: usize,
        id: u64,
        (disk, pick): (usize, Pick),
        hole: bool,
        trim: Option<Vec<u64>>,
    ) -> bool {
        let source = self.source.as_mut().expect("it runs");
        let sectors = pick.extent.off / SECTOR..pick.extent.end() / SECTOR;
        if hole {
            if self.source_disks[disk].is_hole(sectors) {
                self.sends(id, disk, Some(pick), vec![(pick.extent, Vec::new())]);
            } else {
                source.books[disk].cancel(pick.ticket);
            }
            return true;
        }
        let whole = pick.extent.whole(CHUNK, self.capacities[disk]);
        let hashing = (!whole.is_empty()).then(|| source.books[disk].tree_mut().begin(whole.start));
        source.lanes[at] = reading(disk, Some(pick.ticket), pick.extent, hashing, trim);
        true
    }

    #[allow(clippy::too_many_arguments)]
    fn reads(
        &mut self,
        at: usize,
        id: u64,
        disk: usize,
        ticket: Option<landfall_core::inflight::Ticket>,
        extent: Extent,
        hashing: Option<landfall_core::tree::Hashing>,
        mut content: Vec<(u64, u64)>,
        from: u64,
        trim: Option<Vec<u64>>,
    ) -> bool {
        let end = extent.end() / SECTOR;
        let source = self.source.as_mut().expect("it runs");
        if from == end {
            let pick = match ticket {
                Some(ticket) => Some(Pick { ticket, extent }),
                None => source.books[disk].pick_foreground(UNIT),
            };
            let frames = match (&trim, pick) {
                (Some(blocks), _) => trimmed(blocks, &content, self.capacities[disk]),
                (None, Some(pick)) if pick.extent != extent => return self.cancels(disk, pick),
                _ => pieces(extent, &content),
            };
            self.sends(id, disk, pick, frames);
            return true;
        }
        let half = self.random.one_in(3) && hashing.is_none();
        let to = if half { from + self.random.below(end - from) } else { end };
        let sectors = self.source_disks[disk].range(from..to);
        content.extend(sectors.map(|(sector, version)| (sector, *version)));
        if let Some(hashing) = hashing {
            let mut bytes = vec![0; extent.len as usize];
            render(&self.source_disks[disk], extent.off, &mut bytes);
            source.books[disk].tree_mut().put(&hashing.of_chunk(&bytes));
        }
        source.lanes[at] =
            Lane::Reading { disk, ticket, extent, hashing: None, content, from: to, trim };
        true
    }

    fn cancels(&mut self, disk: usize, pick: Pick) -> bool {
        self.source.as_mut().expect("it runs").books[disk].cancel(pick.ticket);
        true
    }

    fn sends(
        &mut self,
        id: u64,
        disk: usize,
        pick: Option<Pick>,
        frames: Vec<(Extent, Vec<(u64, u64)>)>,
    ) {
        let Some(pick) = pick else { return };
        self.note(|| format!("source sends {:?} of {disk} on {id}", pick.extent));
        let conn = self.conns.get_mut(&id).expect("it is up");
        let bytes = frames.iter().map(|(_, content)| content.len() as u64 * SECTOR).sum();
        let source = self.source.as_mut().expect("it runs");
        source.windows[conn.lane.min(1)].take(bytes);
        let numbered: Vec<u64> = frames.iter().map(|_| conn.queue.next_seq()).collect();
        conn.queue.completes(Sent { disk, ticket: pick.ticket, bytes, at_ns: 0 });
        for (seq, (extent, content)) in numbered.into_iter().zip(frames) {
            conn.put(seq, Msg::Data { disk, extent, content });
        }
    }
}

fn reading(
    disk: usize,
    ticket: Option<landfall_core::inflight::Ticket>,
    extent: Extent,
    hashing: Option<landfall_core::tree::Hashing>,
    trim: Option<Vec<u64>>,
) -> Lane {
    let from = extent.off / SECTOR;
    Lane::Reading { disk, ticket, extent, hashing, content: Vec::new(), from, trim }
}

/// Runs of zeroes and of content, cut at borders of units.
fn pieces(extent: Extent, content: &[(u64, u64)]) -> Vec<(Extent, Vec<(u64, u64)>)> {
    let mut out: Vec<(Extent, Vec<(u64, u64)>)> = Vec::new();
    let mut off = extent.off;
    while off < extent.end() {
        let end = ((off / UNIT + 1) * UNIT).min(extent.end());
        let first = content.partition_point(|(sector, _)| sector * SECTOR < off);
        let last = content.partition_point(|(sector, _)| sector * SECTOR < end);
        let part = &content[first..last];
        match out.last_mut() {
            Some((run, known)) if known.is_empty() == part.is_empty() => {
                run.len += end - off;
                known.extend_from_slice(part);
            }
            _ => out.push((Extent::new(off, end - off), part.to_vec())),
        }
        off = end;
    }
    out
}

/// Two granularities broken: only the dirty blocks are sent.
fn trimmed(
    blocks: &[u64],
    content: &[(u64, u64)],
    capacity: u64,
) -> Vec<(Extent, Vec<(u64, u64)>)> {
    let cut = |block: &u64| {
        let extent = Extent::new(block * BLOCK, BLOCK.min(capacity - block * BLOCK));
        let inside =
            |(sector, _): &&(u64, u64)| (extent.off..extent.end()).contains(&(sector * SECTOR));
        (extent, content.iter().filter(inside).copied().collect())
    };
    blocks.iter().map(cut).collect()
}
