//! Which stage is the limit of a replication, judged by where its sending threads spent their
//! time: the stage that held them longest is the one that a faster one would help.

/// Time of all sending threads within a period, and what was seen of the way meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Nanoseconds of the clock between the two looks.
    pub period_ns: u64,
    /// Reading the source disk.
    pub read_ns: u64,
    /// Looking for zeroes and hashing.
    pub hash_ns: u64,
    /// Compressing.
    pub codec_ns: u64,
    /// Encrypting, and waiting for the connection to take it.
    pub send_ns: u64,
    /// Waiting because all that the window allows is on its way.
    pub window_wait_ns: u64,
    /// Waiting for the rate limit.
    pub limit_wait_ns: u64,
    /// Microseconds in which connections had something to send.
    pub busy_us: u64,
    /// Microseconds of these in which the other side had no room for it.
    pub peer_full_us: u64,
    /// Bytes that had arrived but were not durable, summed over acknowledgements.
    pub arrived_bytes: u64,
    /// Bytes that had not arrived, summed over acknowledgements.
    pub under_way_bytes: u64,
}

/// What holds the replication back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Reading the source disk.
    SourceDisk,
    /// Hashing.
    Hash,
    /// Compressing.
    Codec,
    /// The path to the receiver.
    Network,
    /// Writing, flushing or reading at the destination.
    DestinationDisk,
    /// The replication rate or the absolute limit.
    RateLimit,
    /// The guest's own writes come first.
    GuestYield,
    /// Window by round trip: the path is long, not full.
    Window,
    /// There is nothing to send.
    Idle,
}

/// Threads that were held for less than this share of the period had nothing to do.
const BUSY_SHARE: u64 = 20;

/// The limit over a period. `yielding`: the limit in force is that of the guest's latency.
/// `comparing`: both sides' hashes are being compared, and the source waits for the other's.
pub fn judge(spent: &Spent, yielding: bool, comparing: bool) -> Limit {
    // A proxy on the way has no room either when the line behind it is slow; then little of what is
    // not durable has arrived.
    let full = spent.peer_full_us * 2 > spent.busy_us;
    let far = || spent.arrived_bytes * if full { 5 } else { 1 } > spent.under_way_bytes;
    let stages = [
        (spent.read_ns, Limit::SourceDisk),
        (spent.hash_ns, Limit::Hash),
        (spent.codec_ns, Limit::Codec),
        (spent.send_ns, Limit::Network),
        (spent.window_wait_ns, Limit::Window),
        (spent.limit_wait_ns, Limit::RateLimit),
    ];
    let all: u64 = stages.iter().map(|(ns, _)| ns).sum();
    if all < spent.period_ns / BUSY_SHARE {
        return if comparing { Limit::DestinationDisk } else { Limit::Idle };
    }
    let longest = stages.iter().max_by_key(|(ns, _)| *ns).map_or(Limit::Idle, |(_, limit)| *limit);
    match longest {
        Limit::Network | Limit::Window if far() => Limit::DestinationDisk,
        Limit::RateLimit if yielding => Limit::GuestYield,
        limit => limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_longest_stage_is_the_limit() {
        let base = Spent { period_ns: SECOND, read_ns: SECOND / 2, ..Spent::default() };
        assert_eq!(judge(&base, false, false), Limit::SourceDisk);
        let sending = Spent { send_ns: SECOND, busy_us: 900_000, ..base };
        assert_eq!(judge(&sending, false, false), Limit::Network);
        let full = Spent { peer_full_us: 600_000, under_way_bytes: 90, ..sending };
        assert_eq!(judge(&full, false, false), Limit::Network);
        let full = Spent { arrived_bytes: 30, ..full };
        assert_eq!(judge(&full, false, false), Limit::DestinationDisk);
        let window = Spent { window_wait_ns: SECOND, under_way_bytes: 9, ..base };
        assert_eq!(judge(&window, false, false), Limit::Window);
        let flushing = Spent { arrived_bytes: 10, ..window };
        assert_eq!(judge(&flushing, false, false), Limit::DestinationDisk);
        let limited = Spent { limit_wait_ns: SECOND, ..base };
        assert_eq!(judge(&limited, false, false), Limit::RateLimit);
        assert_eq!(judge(&limited, true, false), Limit::GuestYield);
        assert_eq!(judge(&Spent { hash_ns: SECOND, ..base }, false, false), Limit::Hash);
        assert_eq!(judge(&Spent { codec_ns: SECOND, ..base }, false, false), Limit::Codec);
    }

    #[test]
    fn threads_that_wait_for_nothing_are_idle() {
        let spent = Spent { period_ns: SECOND, read_ns: SECOND / 100, ..Spent::default() };
        assert_eq!(judge(&spent, false, false), Limit::Idle);
        assert_eq!(judge(&spent, false, true), Limit::DestinationDisk);
    }
}
