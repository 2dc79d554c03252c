//! What the kernel knows about a connection: how long it had something to send, and how long
//! the other side had no room for it. Only for judging which stage is the limit.

use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// `tcpi_busy_time` and `tcpi_rwnd_limited` of Linux' `struct tcp_info` (since 4.10), which the C
/// library's header does not have everywhere.
const BUSY_AT: usize = 168;
const PEER_FULL_AT: usize = 176;
const LEN: usize = PEER_FULL_AT + 8;

/// Microseconds with something to send, and of these without room at the peer. Zeroes where
/// the kernel does not say.
pub(crate) fn send_times_us(socket: &TcpStream) -> (u64, u64) {
    let mut info = [0u8; LEN];
    let mut len = LEN as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into a buffer of that size.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if done != 0 || (len as usize) < LEN {
        return (0, 0);
    }
    let at = |at: usize| u64::from_ne_bytes(info[at..at + 8].try_into().expect("eight bytes"));
    (at(BUSY_AT), at(PEER_FULL_AT))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_peer_that_does_not_read_shows_as_full() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _peer = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let begin = Instant::now();
        while send_times_us(&socket).1 < 50_000 {
            assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", send_times_us(&socket));
            let _ = socket.write(&[0; 1 << 20]);
            std::thread::sleep(Duration::from_millis(5));
        }
        let (busy, full) = send_times_us(&socket);
        assert!(busy >= full, "{busy} {full}");
    }
}
