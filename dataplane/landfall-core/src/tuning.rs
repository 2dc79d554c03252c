//! How many connections and which codec: chosen by what is measured every second, never by a
//! table of links. A step that does not pay is taken back and not tried again soon.

/// A trial is judged after so many seconds.
const TRIAL_SECONDS: u32 = 3;
/// A step must bring so much.
const GAIN_MIN: f64 = 1.05;
/// After a step that did not pay there is none for so long.
const REST_SECONDS: u32 = 60;
/// Below this share of idle processor time one more connection, or a codec, only takes time
/// from the others.
const IDLE_MIN: f64 = 0.15;
/// Sending waits for the network more than so much of the time: there is time to compress.
const NETWORK_BOUND: f64 = 0.5;
/// Sending hardly waits: compressing holds it up.
const CODEC_BOUND: f64 = 0.1;

/// What one second was like.
#[derive(Clone, Copy, Debug)]
pub struct Second {
    /// Content that became durable, in bytes per second.
    pub goodput: f64,
    /// Share of the machine's processor time that nobody used, 0 to 1.
    pub idle: f64,
    /// Whether the copy ran freely: nothing else (a limit, an empty queue) held it.
    pub free: bool,
    /// Share of the sending threads' time spent waiting for the network, 0 to 1.
    pub waiting: f64,
}

/// A change by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One more, or one stronger.
    More,
    /// One less, or one weaker.
    Less,
}

/// A trial under way, or the rest after one that failed.
#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    before: Option<f64>,
    seconds: u32,
    sum: f64,
    rest: u32,
}

impl Trial {
    /// Whether the running trial ended, and whether it paid.
    fn second(&mut self, goodput: f64) -> Option<bool> {
        self.rest = self.rest.saturating_sub(1);
        self.seconds += 1;
        // The first second still shows what was before.
        if self.seconds > 1 {
            self.sum += goodput;
        }
        let before = self.before.filter(|_| self.seconds >= TRIAL_SECONDS)?;
        let mean = self.sum / f64::from(self.seconds - 1);
        let paid = mean >= before * GAIN_MIN;
        self.before = None;
        self.rest = if paid { 0 } else { REST_SECONDS };
        Some(paid)
    }

    /// Whether goodput was watched long enough to begin a trial.
    fn may_begin(&self) -> bool {
        self.before.is_none() && self.rest == 0 && self.seconds >= TRIAL_SECONDS
    }

    fn begin(&mut self) {
        self.before = Some(self.sum / f64::from(self.seconds - 1));
        (self.seconds, self.sum) = (0, 0.0);
    }

    fn interrupt(&mut self) {
        *self = Self { rest: self.rest.saturating_sub(1), ..Self::default() };
    }
}

/// The number of connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connections {
    trial: Trial,
}

impl Connections {
    /// A second passed with `count` connections of at most `max`.
    pub fn second(&mut self, now: Second, count: usize, max: usize) -> Option<Change> {
        if !now.free {
            self.trial.interrupt();
            return None;
        }
        match self.trial.second(now.goodput) {
            Some(false) => return (count > 1).then_some(Change::Less),
            Some(true) => self.trial.seconds = TRIAL_SECONDS,
            None => {}
        }
        if !self.trial.may_begin() || count >= max || now.idle < IDLE_MIN {
            return None;
        }
        self.trial.begin();
        Some(Change::More)
    }
}

/// The strength of the codec: 0 is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct CodecChoice {
    trial: Trial,
    bound: u32,
}

impl CodecChoice {
    /// A second passed with the codec at `step` of at most `max`.
    pub fn second(&mut self, now: Second, step: usize, max: usize) -> Option<Change> {
        if !now.free {
            self.trial.interrupt();
            self.bound = 0;
            return None;
        }
        match self.trial.second(now.goodput) {
            Some(false) => return (step > 0).then_some(Change::Less),
            Some(true) => self.trial.seconds = TRIAL_SECONDS,
            None => {}
        }
        // Who compresses may hold up the sending without a trial being under way.
        self.bound = if now.waiting < CODEC_BOUND { self.bound + 1 } else { 0 };
        if step > 0 && self.bound >= TRIAL_SECONDS {
            self.bound = 0;
            self.trial = Trial { rest: REST_SECONDS, ..Trial::default() };
            return Some(Change::Less);
        }
        let network_bound = now.waiting >= NETWORK_BOUND && now.idle >= IDLE_MIN;
        if step >= max || !network_bound || !self.trial.may_begin() {
            return None;
        }
        self.trial.begin();
        Some(Change::More)
    }
}

/// Leaves content alone that does not get smaller: after 32 misses in a row only one extent of
/// sixteen is tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Incompressible {
    misses: u32,
    skipped: u32,
}

impl Incompressible {
    const MISSES_MAX: u32 = 32;
    const SKIPS: u32 = 15;

    /// Whether to try the next extent.
    pub fn try_next(&mut self) -> bool {
        if self.misses < Self::MISSES_MAX || self.skipped >= Self::SKIPS {
            self.skipped = 0;
            return true;
        }
        self.skipped += 1;
        false
    }

    /// What a try brought.
    pub fn tried(&mut self, smaller: bool) {
        self.misses = if smaller { 0 } else { (self.misses + 1).min(Self::MISSES_MAX) };
    }
}

/// Whether a packed form is worth unpacking: it saves 6 % at least.
pub fn worth(raw: usize, packed: usize) -> bool {
    packed * 100 <= raw * 94
}
