//! Which stage is the limit of a replication, judged by where its sending threads spent their
//! time: the stage that held them longest is the one that a faster one would help.

use landfall_api::LimitedBy;

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

/// Threads that were held for less than this share of the period had nothing to do.
const BUSY_SHARE: u64 = 20;

/// The limit over a period. `yielding`: the limit in force is that of the guest's latency.
/// `comparing`: both sides' hashes are being compared, and the source waits for the other's.
pub fn judge(spent: &Spent, yielding: bool, comparing: bool) -> LimitedBy {
    // A proxy on the way has no room either when the line behind it is slow; then little of what is
    // not durable has arrived.
    let full = spent.peer_full_us * 2 > spent.busy_us;
    let far = || spent.arrived_bytes * if full { 5 } else { 1 } > spent.under_way_bytes;
    let stages = [
        (spent.read_ns, LimitedBy::SourceDisk),
        (spent.hash_ns, LimitedBy::Hash),
        (spent.codec_ns, LimitedBy::Codec),
        (spent.send_ns, LimitedBy::Network),
        (spent.window_wait_ns, LimitedBy::Window),
        (spent.limit_wait_ns, LimitedBy::RateLimit),
    ];
    let all: u64 = stages.iter().map(|(ns, _)| ns).sum();
    if all < spent.period_ns / BUSY_SHARE {
        return if comparing { LimitedBy::DestinationDisk } else { LimitedBy::Idle };
    }
    let longest =
        stages.iter().max_by_key(|(ns, _)| *ns).map_or(LimitedBy::Idle, |(_, limit)| *limit);
    match longest {
        LimitedBy::Network | LimitedBy::Window if far() => LimitedBy::DestinationDisk,
        LimitedBy::RateLimit if yielding => LimitedBy::GuestYield,
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
        assert_eq!(judge(&base, false, false), LimitedBy::SourceDisk);
        let sending = Spent { send_ns: SECOND, busy_us: 900_000, ..base };
        assert_eq!(judge(&sending, false, false), LimitedBy::Network);
        let full = Spent { peer_full_us: 600_000, under_way_bytes: 90, ..sending };
        assert_eq!(judge(&full, false, false), LimitedBy::Network);
        let full = Spent { arrived_bytes: 30, ..full };
        assert_eq!(judge(&full, false, false), LimitedBy::DestinationDisk);
        let window = Spent { window_wait_ns: SECOND, under_way_bytes: 9, ..base };
        assert_eq!(judge(&window, false, false), LimitedBy::Window);
        let flushing = Spent { arrived_bytes: 10, ..window };
        assert_eq!(judge(&flushing, false, false), LimitedBy::DestinationDisk);
        let limited = Spent { limit_wait_ns: SECOND, ..base };
        assert_eq!(judge(&limited, false, false), LimitedBy::RateLimit);
        assert_eq!(judge(&limited, true, false), LimitedBy::GuestYield);
        assert_eq!(judge(&Spent { hash_ns: SECOND, ..base }, false, false), LimitedBy::Hash);
        assert_eq!(judge(&Spent { codec_ns: SECOND, ..base }, false, false), LimitedBy::Codec);
    }

    #[test]
    fn threads_that_wait_for_nothing_are_idle() {
        let spent = Spent { period_ns: SECOND, read_ns: SECOND / 100, ..Spent::default() };
        assert_eq!(judge(&spent, false, false), LimitedBy::Idle);
        assert_eq!(judge(&spent, false, true), LimitedBy::DestinationDisk);
    }
}
