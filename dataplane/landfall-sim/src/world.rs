//! Everything there is, and the scheduler's choice of the next step.

use std::collections::{BTreeMap, BTreeSet};

use crate::guest::Guest;
use crate::net::Conn;
use crate::random::Random;
use crate::receiver::Receiver;
use crate::rules::Rule;
use crate::source::Source;
use crate::store::{Disk, SECTOR, StateFile};

/// Both sites.
pub(crate) struct World {
    pub(crate) broken: Option<Rule>,
    pub(crate) random: Random,
    pub(crate) capacities: Vec<u64>,
    pub(crate) source_disks: Vec<Disk>,
    pub(crate) source_supers: Vec<StateFile>,
    pub(crate) intent_files: Vec<StateFile>,
    pub(crate) targets: Vec<Disk>,
    pub(crate) have_files: Vec<StateFile>,
    pub(crate) receiver_super: StateFile,
    pub(crate) source: Option<Source>,
    pub(crate) receiver: Option<Receiver>,
    pub(crate) conns: BTreeMap<u64, Conn>,
    pub(crate) next_conn: u64,
    pub(crate) guest: Guest,
    /// The control plane's last token, and whether it wants the hand-over.
    pub(crate) token: u64,
    pub(crate) moving: bool,
    /// The hand-over came to its end once.
    pub(crate) over_once: bool,
    /// What the source disks held when they were sealed.
    pub(crate) sealed_content: Vec<BTreeMap<u64, u64>>,
    /// No new faults and no new requests: everything must come to rest.
    pub(crate) calm: bool,
    /// Storage calls that fail, one in so many; 0 is never.
    pub(crate) failing: u64,
    /// Faults of this run: how many of 1,000 steps, and which kinds.
    pub(crate) fault_rate: u64,
    pub(crate) fault_kinds: u64,
    pub(crate) target_full: bool,
    pub(crate) faults: u64,
    /// Regions that left the write-intent log.
    pub(crate) cleared: u64,
    /// Grows with everything that may change what the oracle sees.
    pub(crate) changes: u64,
    pub(crate) checked: u64,
    pub(crate) log: Option<Vec<String>>,
    pub(crate) violation: Option<String>,
    /// Sectors of destination disks that rotted, until both sides were read again.
    pub(crate) rotten: BTreeSet<(usize, u64)>,
}

/// Sizes that show several chunks, regions and pages, and a short last unit of odd sectors.
const CAPACITIES: [u64; 6] = [
    128 << 10,
    (192 << 10) + 3 * SECTOR,
    (1 << 20) + (64 << 10) + SECTOR,
    (2 << 20) + (20 << 10),
    (33 << 20) + (100 << 10) + 5 * SECTOR,
    (17 << 20) - SECTOR,
];

impl World {
    pub(crate) fn new(seed: u64, broken: Option<Rule>, log: bool) -> Self {
        let mut random = Random::new(seed);
        let count = random.pick(&[1, 1, 2, 3]);
        let capacities: Vec<u64> = (0..count).map(|_| random.pick(&CAPACITIES)).collect();
        let failing = random.pick(&[0, 0, 150, 40]);
        let fault_rate = random.pick(&[2, 5, 10, 20]);
        let fault_kinds = random.next() | random.next();
        let mut world = Self {
            broken,
            random,
            source_disks: vec![Disk::default(); count],
            source_supers: vec![StateFile::default(); count],
            intent_files: vec![StateFile::default(); count],
            targets: vec![Disk::default(); count],
            have_files: vec![StateFile::default(); count],
            receiver_super: StateFile::default(),
            capacities,
            source: None,
            receiver: None,
            conns: BTreeMap::new(),
            next_conn: 0,
            guest: Guest {
                open: true,
                version: 1_000,
                history: vec![BTreeMap::new(); count],
                floor: vec![BTreeMap::new(); count],
                warned: vec![false; count],
                ..Guest::default()
            },
            token: 0,
            moving: false,
            over_once: false,
            sealed_content: Vec::new(),
            calm: false,
            failing,
            fault_rate,
            fault_kinds,
            target_full: false,
            faults: 0,
            cleared: 0,
            changes: 0,
            checked: u64::MAX,
            log: log.then(Vec::new),
            violation: None,
            rotten: BTreeSet::new(),
        };
        world.fill();
        world
    }

    /// What lies on the source disks before anybody looks, and junk on the destination's.
    fn fill(&mut self) {
        for disk in 0..self.capacities.len() {
            let sectors = self.capacities[disk] / SECTOR;
            for run in 0..self.random.below(5) {
                let from = self.random.below(sectors);
                let to = (from + self.random.below(300)).min(sectors);
                for sector in from..to {
                    self.source_disks[disk].write(sector, run + 1);
                    self.guest.history[disk].entry(sector).or_default().push(run + 1);
                }
            }
            let mark = self.source_disks[disk].begin_flush();
            self.source_disks[disk].end_flush(mark);
            if self.random.one_in(3) {
                let sector = self.random.below(sectors);
                self.targets[disk].write(sector, 7_777_777);
            }
        }
    }

    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(text());
        }
    }

    pub(crate) fn violate(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    /// Whether a storage call fails now.
    pub(crate) fn fails(&mut self, what: &str) -> bool {
        let fails = !self.calm && self.failing > 0 && self.random.one_in(self.failing);
        if fails {
            self.note(|| format!("FAULT {what} fails"));
        }
        fails
    }

    /// One step of somebody; whether there was anything to do is the answer.
    pub(crate) fn step(&mut self) -> bool {
        if !self.calm && self.random.below(1_000) < self.fault_rate {
            return self.fault();
        }
        let did = match self.random.below(109) {
            0..8 => self.guest_begins(),
            8..24 => self.guest_goes_on(),
            24..29 => self.source_link(),
            29..44 => self.source_reads(),
            44..60 => self.source_lane(),
            60..63 => self.source_hashes(),
            63..66 => self.source_process(),
            66..81 => self.receiver_reads(),
            81..90 => self.receiver_flushes(),
            90..93 => self.receiver_hashes(),
            93..97 => self.receiver_tasks(),
            97 => self.control(),
            98 => self.write_back(),
            99..103 => self.scrubs(),
            _ => self.intents(),
        };
        if did {
            self.changes += 1;
            self.check();
        }
        did
    }

    fn write_back(&mut self) -> bool {
        let disk = self.random.below(self.capacities.len() as u64) as usize;
        match self.random.below(6) {
            4 => self.intent_files[disk].write_back(&mut self.random),
            0 => self.source_disks[disk].write_back(&mut self.random),
            1 => self.have_files[disk].write_back(&mut self.random),
            2 => self.receiver_super.write_back(&mut self.random),
            3 => self.source_supers[disk].write_back(&mut self.random),
            _ => self.targets[disk].write_back(&mut self.random),
        }
    }

    fn fault(&mut self) -> bool {
        let kind = self.random.below(15);
        if self.fault_kinds >> kind & 1 == 0 {
            return false;
        }
        self.faults += 1;
        self.changes += 1;
        match kind {
            0..3 => {
                self.note(|| "FAULT cut".into());
                self.cut()
            }
            3 | 4 => self.stop_source(false),
            5 => self.stop_source(true),
            6 | 7 => self.stop_receiver(false),
            8 | 9 => self.stop_receiver(true),
            10 => self.stop_source(true) | self.stop_receiver(true),
            11 => self.stop_source(false) | self.stop_receiver(false),
            13 | 14 => self.rots(),
            _ => {
                self.target_full = !self.target_full;
                true
            }
        }
    }
}
