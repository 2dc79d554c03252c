//! Named fail points for tests: `REPLICATOR_FAIL=point:n[:action]`, several with commas. The
//! n-th pass of the point (`n+`: it and every later one) is a `kill` of the process (the
//! default), an `error` (EIO), `full` (ENOSPC) or a `delay=MILLISECONDS`.
//!
//! Without the variable a point is one relaxed load. It must never be set outside tests.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, RwLock};
use std::time::Duration;

const UNKNOWN: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

static ARMED: AtomicU8 = AtomicU8::new(UNKNOWN);
static PLAN: LazyLock<RwLock<Vec<Fault>>> = LazyLock::new(RwLock::default);

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Kill,
    Error(i32),
    Delay(Duration),
}

#[derive(Debug)]
struct Fault {
    point: String,
    from: u64,
    onwards: bool,
    action: Action,
    passed: AtomicU64,
}

/// Passes a point. The error is the one that was asked for.
#[inline]
pub fn point(name: &str) -> io::Result<()> {
    if ARMED.load(Relaxed) == OFF { Ok(()) } else { passed(name) }
}

#[cold]
fn passed(name: &str) -> io::Result<()> {
    if ARMED.load(Relaxed) == UNKNOWN {
        let text = std::env::var("REPLICATOR_FAIL").unwrap_or_default();
        set(&text).unwrap_or_else(|error| panic!("REPLICATOR_FAIL: {error}"));
    }
    let plan = PLAN.read().expect("plan");
    for fault in plan.iter().filter(|fault| fault.point == name) {
        let pass = fault.passed.fetch_add(1, Relaxed) + 1;
        if pass != fault.from && !(fault.onwards && pass > fault.from) {
            continue;
        }
        match fault.action {
            Action::Kill => kill_self(),
            Action::Error(code) => return Err(io::Error::from_raw_os_error(code)),
            Action::Delay(time) => std::thread::sleep(time),
        }
    }
    Ok(())
}

/// Replaces the plan of this process; an empty text ends all faults. The error says what cannot
/// be understood.
pub fn set(text: &str) -> Result<(), String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let plan = parts.map(parse).collect::<Result<Vec<Fault>, String>>()?;
    let armed = if plan.is_empty() { OFF } else { ON };
    *PLAN.write().expect("plan") = plan;
    ARMED.store(armed, Relaxed);
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
        Some(other) => {
            let time = other.strip_prefix("delay=").and_then(|ms| ms.parse().ok());
            Action::Delay(Duration::from_millis(time.ok_or_else(wrong)?))
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
        for bad in ["apply", "apply:0", "apply:x", "apply:1:boom", "apply:1:delay=x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
