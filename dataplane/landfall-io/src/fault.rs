//! Named fail points for tests: `REPLICATOR_FAIL=point:n[:action]`, several with commas. The
//! n-th pass of the point (`n+`: it and every later one) is a `kill` of the process (the
//! default), an `error` (EIO), `full` (ENOSPC), a `delay=MILLISECONDS`, or, where a file is read
//! or written, `short=BYTES` at most per call, or `lie`: success is said and nothing is done.
//! Without the variable a point is one relaxed load. It must never be set outside tests.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, RwLock};
use std::time::Duration;

/// The variable was not read yet.
const UNKNOWN: u8 = 1;
/// There is a plan.
const PLANNED: u8 = 2;
/// What is done to files is recorded (`recording.rs`).
const RECORDING: u8 = 4;

static ARMED: AtomicU8 = AtomicU8::new(UNKNOWN);
static PLAN: LazyLock<RwLock<Vec<Fault>>> = LazyLock::new(RwLock::default);

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Kill,
    Error(i32),
    Delay(Duration),
    Short(usize),
    Lie,
}

/// How a call that reads or writes a file is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// Bytes that one system call moves at most.
    pub(crate) piece: usize,
    /// It is said to be done, and is not.
    pub(crate) lie: bool,
}

#[derive(Debug)]
struct Fault {
    point: String,
    from: u64,
    onwards: bool,
    action: Action,
    passed: AtomicU64,
}

/// Whether every call goes its usual way: no plan, and nobody records.
#[inline]
pub(crate) fn off() -> bool {
    ARMED.load(Relaxed) == 0
}

/// Whether what is done to files is recorded.
pub(crate) fn recording() -> bool {
    ARMED.load(Relaxed) & RECORDING != 0
}

/// Recording begins or ends.
pub(crate) fn set_recording(on: bool) {
    match on {
        true => ARMED.fetch_or(RECORDING, Relaxed),
        false => ARMED.fetch_and(!RECORDING, Relaxed),
    };
}

/// Passes a point. The error is the one that was asked for.
#[inline]
pub fn point(name: &str) -> io::Result<()> {
    if off() { Ok(()) } else { passed(name).map(drop) }
}

/// Passes a point at which a file is read, written or flushed.
#[cold]
pub(crate) fn passed(name: &str) -> io::Result<Way> {
    let mut way = Way { piece: usize::MAX, lie: false };
    if ARMED.load(Relaxed) & UNKNOWN != 0 {
        let text = std::env::var("REPLICATOR_FAIL").unwrap_or_default();
        set(&text).unwrap_or_else(|error| panic!("REPLICATOR_FAIL: {error}"));
    }
    if ARMED.load(Relaxed) & PLANNED == 0 {
        return Ok(way);
    }
    let (mut delay, mut failed) = (Duration::ZERO, Ok(()));
    for fault in PLAN.read().expect("plan").iter().filter(|fault| fault.point == name) {
        let pass = fault.passed.fetch_add(1, Relaxed) + 1;
        if pass != fault.from && !(fault.onwards && pass > fault.from) {
            continue;
        }
        match fault.action {
            Action::Kill => kill_self(),
            Action::Error(code) => failed = Err(io::Error::from_raw_os_error(code)),
            Action::Delay(time) => delay += time,
            Action::Short(bytes) => way.piece = bytes,
            Action::Lie => way.lie = true,
        }
    }
    std::thread::sleep(delay);
    failed.map(|()| way)
}

/// Replaces the plan of this process; an empty text ends all faults. The error says what cannot
/// be understood.
pub fn set(text: &str) -> Result<(), String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let plan = parts.map(parse).collect::<Result<Vec<Fault>, String>>()?;
    let planned = !plan.is_empty();
    *PLAN.write().expect("plan") = plan;
    ARMED.fetch_and(!(UNKNOWN | PLANNED), Relaxed);
    if planned {
        ARMED.fetch_or(PLANNED, Relaxed);
    }
    Ok(())
}

fn parse(text: &str) -> Result<Fault, String> {
    let wrong = || format!("\"{text}\" is not point:n[:action]");
    let mut parts = text.splitn(3, ':');
    let point = parts.next().unwrap_or_default().to_owned();
    let count = parts.next().ok_or_else(wrong)?;
    let (count, onwards) = match count.strip_suffix('+') {
        Some(count) => (count, true),
        None => (count, false),
    };
    let from = count.parse().ok().filter(|from| *from > 0).ok_or_else(wrong)?;
    let action = match parts.next() {
        None | Some("kill") => Action::Kill,
        Some("error") => Action::Error(libc::EIO),
        Some("full") => Action::Error(libc::ENOSPC),
        Some("lie") => Action::Lie,
        Some(other) => {
            let (kind, number) = other.split_once('=').ok_or_else(wrong)?;
            let number: u64 = number.parse().map_err(|_| wrong())?;
            match kind {
                "delay" => Action::Delay(Duration::from_millis(number)),
                "short" if number > 0 => Action::Short(number as usize),
                _ => return Err(wrong()),
            }
        }
    };
    Ok(Fault { point, from, onwards, action, passed: AtomicU64::new(0) })
}

/// As `kill -9` from outside: nothing of this process runs any more.
fn kill_self() -> ! {
    // SAFETY: plain system calls without memory; the process ends by them.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_point_pass_and_action() {
        let fault = parse("have-sync:3").unwrap();
        assert_eq!((fault.from, fault.onwards, fault.action), (3, false, Action::Kill));
        let fault = parse("apply:1+:full").unwrap();
        assert_eq!((fault.onwards, fault.action), (true, Action::Error(libc::ENOSPC)));
        let fault = parse("apply:2:delay=20").unwrap();
        assert_eq!(fault.action, Action::Delay(Duration::from_millis(20)));
        assert_eq!(parse("apply:2:short=512").unwrap().action, Action::Short(512));
        assert_eq!(parse("apply:2+:lie").unwrap().action, Action::Lie);
        let bad = ["apply", "apply:0", "apply:x", "apply:1:boom", "apply:1:delay=x"];
        for bad in bad.into_iter().chain(["apply:1:short=0", "apply:1:late=3"]) {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
