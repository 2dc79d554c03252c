//! A TCP proxy between the sites that can be cut, and can turn bits.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    cut: AtomicBool,
    /// Pieces of which a bit is still to be turned.
    turning: AtomicU64,
    streams: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn start(target: SocketAddr) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), target)
    }

    /// At the receiver's own address, which its certificate names.
    pub fn start_at(ip: IpAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(target) else { continue };
                let mut streams = shared.streams.lock().unwrap();
                streams.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                drop(streams);
                let pair = (client.try_clone().unwrap(), server.try_clone().unwrap());
                pump(pair.0, pair.1, Arc::clone(&shared));
                pump(server, client, Arc::clone(&shared));
            }
        });
        Self { address, state }
    }

    /// Breaks every connection; new ones are refused until [`Proxy::restore`].
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        for stream in self.state.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// So many of the next pieces that pass, in either direction, have one bit turned.
    pub fn turn_bits(&self, pieces: u64) {
        self.state.turning.store(pieces, Ordering::SeqCst);
    }

    /// How many of them are still to pass.
    pub fn turns_left(&self) -> u64 {
        self.state.turning.load(Ordering::SeqCst)
    }

    pub fn restore(&self) {
        self.state.cut.store(false, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: Arc<State>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count) = from.read(&mut buffer) {
            let turn = |left: u64| left.checked_sub(1);
            let order = Ordering::SeqCst;
            if count > 0 && state.turning.fetch_update(order, order, turn).is_ok() {
                buffer[count * 2 / 3] ^= 16;
            }
            if count == 0 || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
