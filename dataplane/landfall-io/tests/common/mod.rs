//! A source and a receiver in one process, connected over loopback by TLS as in production,
//! with a relay between them that can be cut.

#![allow(dead_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use landfall_api::*;
use landfall_io::{Receiver, Secured, SourceVm};
use landfall_nbd::Export;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

pub const MIB: u64 = 1 << 20;
pub const MIGRATION: &str = "vmm_test";

pub fn vm_uuid() -> Uuid {
    Uuid::parse("11111111-1111-1111-1111-111111111111").unwrap()
}

pub fn source_uuid(at: usize) -> Uuid {
    Uuid::parse(&format!("22222222-2222-2222-2222-{at:012x}")).unwrap()
}

pub fn destination_uuid(at: usize) -> Uuid {
    Uuid::parse(&format!("33333333-3333-3333-3333-{at:012x}")).unwrap()
}

pub fn job_id() -> Id {
    Id::parse("job_1").unwrap()
}

/// TLS configurations of both sides, from one authority.
pub struct Tls {
    pub client: Arc<rustls::ClientConfig>,
    pub server: Arc<rustls::ServerConfig>,
}

pub fn tls() -> Tls {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let roots = Arc::new(roots);
    let leaf = |uri: &str| {
        let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        (chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    };
    let (chain, key) = leaf("spiffe://landfall/test/source/vmm_test");
    let mut client = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain, key)
        .unwrap();
    client.alpn_protocols = vec![b"mig/1".to_vec()];
    let (chain, key) = leaf("spiffe://landfall/test/receiver/vmm_test");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build().unwrap();
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    server.alpn_protocols = vec![b"mig/1".to_vec()];
    Tls { client: Arc::new(client), server: Arc::new(server) }
}

/// Accepts data connections for the receiver in force.
pub fn serve(tls: &Tls, receiver: Arc<Mutex<Option<Arc<Receiver>>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = tls.server.clone();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (config, receiver) = (config.clone(), receiver.clone());
            std::thread::spawn(move || {
                let Ok(secured) = Secured::accept(socket.unwrap(), &config) else { return };
                let receiver = receiver.lock().unwrap().clone();
                if let Some(receiver) = receiver {
                    let peer = "spiffe://landfall/test/source/vmm_test";
                    let _ = receiver.serve_data(secured, peer);
                }
            });
        }
    });
    port
}

/// A relay that can be cut silently, reset, and counts what goes to the receiver.
pub struct Relay {
    pub port: u16,
    pub forward_bytes: Arc<AtomicU64>,
    silent: Arc<AtomicBool>,
    turning: Arc<AtomicU64>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self {
            port: listener.local_addr().unwrap().port(),
            forward_bytes: Arc::default(),
            silent: Arc::default(),
            turning: Arc::default(),
            sockets: Arc::default(),
        };
        let (count, silent) = (relay.forward_bytes.clone(), relay.silent.clone());
        let turning = relay.turning.clone();
        let sockets = relay.sockets.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let from = socket.unwrap();
                let Ok(to) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                sockets.lock().unwrap().push(from.try_clone().unwrap());
                sockets.lock().unwrap().push(to.try_clone().unwrap());
                let (a, b) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let (x, y) = (silent.clone(), silent.clone());
                let (count, nothing) = (count.clone(), Arc::new(AtomicU64::new(0)));
                let (m, n) = (turning.clone(), turning.clone());
                std::thread::spawn(move || pump(from, to, &x, &count, &m));
                std::thread::spawn(move || pump(b, a, &y, &nothing, &n));
            }
        });
        relay
    }

    /// Nothing passes any more, and nobody is told.
    pub fn cut(&self, silent: bool) {
        self.silent.store(silent, SeqCst);
    }

    /// So many of the next pieces that pass, in either direction, have one bit turned.
    pub fn turn_bits(&self, pieces: u64) {
        self.turning.store(pieces, SeqCst);
    }

    /// How many pieces are still to be turned.
    pub fn turns_left(&self) -> u64 {
        self.turning.load(SeqCst)
    }

    /// Every connection ends at once.
    pub fn reset(&self) {
        for socket in self.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    silent: &AtomicBool,
    count: &AtomicU64,
    turning: &AtomicU64,
) {
    let mut buf = vec![0; 128 << 10];
    while let Ok(len) = from.read(&mut buf) {
        while silent.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if len > 0 && turning.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            buf[len * 2 / 3] ^= 16;
        }
        if len == 0 || to.write_all(&buf[..len]).is_err() {
            break;
        }
        count.fetch_add(len as u64, SeqCst);
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

/// Both sides, their folders and the relay between them.
pub struct World {
    pub dir: tempfile::TempDir,
    pub capacities: Vec<u64>,
    pub source: Arc<SourceVm>,
    pub receiver: Arc<Mutex<Option<Arc<Receiver>>>>,
    pub relay: Relay,
    pub tls: Tls,
    pub generation: u64,
}

impl World {
    /// Disks of these sizes, each with content from `fill` on the source.
    pub fn new(capacities: &[u64], fill: impl Fn(&File, u64)) -> Self {
        let dir = match std::env::var_os("LANDFALL_TEST_DIR") {
            Some(base) => tempfile::tempdir_in(base).unwrap(),
            None => tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir_all(dir.path().join("destination")).unwrap();
        for (at, capacity) in capacities.iter().enumerate() {
            let file = File::create_new(dir.path().join(format!("disk{at}.vmdk"))).unwrap();
            file.set_len(*capacity).unwrap();
            fill(&file, *capacity);
            let path = dir.path().join("destination").join(destination_uuid(at).as_str());
            File::create_new(path).unwrap().set_len(*capacity).unwrap();
        }
        let tls = tls();
        let receiver = Arc::default();
        let relay = Relay::start(serve(&tls, Arc::clone(&receiver)));
        let source = SourceVm::open(&dir.path().join("source-state"), vm_uuid()).unwrap();
        let world = Self {
            dir,
            capacities: capacities.to_vec(),
            source,
            receiver,
            relay,
            tls,
            generation: 1,
        };
        world.start_receiver();
        world
    }

    pub fn source_path(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("disk{at}.vmdk"))
    }

    pub fn destination_path(&self, at: usize) -> PathBuf {
        self.dir.path().join("destination").join(destination_uuid(at).as_str())
    }

    pub fn pairs(&self) -> Vec<DiskPair> {
        let pair = |(at, capacity): (usize, &u64)| DiskPair {
            source_uuid: source_uuid(at),
            destination_uuid: destination_uuid(at),
            capacity_bytes: ByteCount(*capacity),
        };
        self.capacities.iter().enumerate().map(pair).collect()
    }

    pub fn start_receiver(&self) {
        let state = self.dir.path().join("receiver-state");
        let disks = self.dir.path().join("destination");
        let migration = Id::parse(MIGRATION).unwrap();
        let receiver = Receiver::open(migration, &state, &disks).unwrap();
        let request = PrepareDisks { generation: self.generation, disks: self.pairs() };
        receiver.prepare_disks(request).unwrap();
        *self.receiver.lock().unwrap() = Some(receiver);
    }

    pub fn receiver(&self) -> Arc<Receiver> {
        self.receiver.lock().unwrap().clone().unwrap()
    }

    pub fn spec(&self) -> JobSpec {
        JobSpec {
            kind: JobKind::Replicate,
            vm_uuid: vm_uuid(),
            generation: self.generation,
            vm_migration_id: Id::parse(MIGRATION).unwrap(),
            receiver: Some(ReceiverAddress {
                address: "127.0.0.1".into(),
                port: self.relay.port,
                spiffe_id: "spiffe://landfall/test/receiver/vmm_test".into(),
            }),
            disks: self.pairs(),
            dials: Dials::default(),
            scrub: true,
        }
    }

    /// Attaches every disk and starts the job.
    pub fn begin(&self) -> Vec<Arc<dyn Export>> {
        let taps = self.attach();
        self.source.ensure_job(&job_id(), self.spec()).unwrap();
        self.source.install_tls(&job_id(), self.tls.client.clone()).unwrap();
        taps
    }

    pub fn attach(&self) -> Vec<Arc<dyn Export>> {
        let attach = |(at, capacity): (usize, &u64)| {
            self.source.attach(&source_uuid(at), &self.source_path(at), *capacity).unwrap()
        };
        self.capacities.iter().enumerate().map(attach).collect()
    }

    /// A new source process on the same folders: what was in memory is lost.
    pub fn restart_source(&mut self) -> Vec<Arc<dyn Export>> {
        self.source.close();
        self.source = SourceVm::open(&self.dir.path().join("source-state"), vm_uuid()).unwrap();
        self.source.install_tls(&job_id(), self.tls.client.clone()).unwrap();
        self.source.exports().into_iter().map(|(_, export)| export).collect()
    }

    pub fn status(&self) -> JobStatus {
        self.source.status(&job_id()).unwrap()
    }

    /// Waits for a condition of the status; the last one is in the failure.
    pub fn wait(&self, what: &str, seconds: u64, fits: impl Fn(&JobStatus) -> bool) -> JobStatus {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let status = self.status();
            if fits(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what} did not happen: {status:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn ready(&self) -> JobStatus {
        self.wait("ready", 60, |status| status.ready.ready && clean(status))
    }

    /// Until a freeze can be asked for, or has gone on by itself.
    pub fn ready_or_frozen(&self) {
        self.wait("ready", 60, |status| {
            status.ready.ready || status.handover.state == HandoverState::RootsEqual
        });
    }

    /// Shuts the VM down, freezes and hands over.
    pub fn hand_over(&self, token: u64) -> JobStatus {
        self.source.set_open(false).unwrap();
        self.source.freeze(&job_id(), self.generation, token).unwrap();
        self.wait("equal roots", 60, |status| status.handover.state == HandoverState::RootsEqual);
        self.source.hand_over(&job_id(), self.generation, token).unwrap()
    }

    /// Byte for byte, not by our hashes.
    pub fn assert_equal(&self) {
        for at in 0..self.capacities.len() {
            assert_same(&self.source_path(at), &self.destination_path(at));
        }
    }
}

pub fn clean(status: &JobStatus) -> bool {
    status.disks.iter().all(|disk| disk.remaining_bytes.0 == 0)
}

pub fn assert_same(left: &Path, right: &Path) {
    let (a, b) = (File::open(left).unwrap(), File::open(right).unwrap());
    assert_eq!(a.metadata().unwrap().len(), b.metadata().unwrap().len());
    let (mut x, mut y) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    let mut at = 0;
    loop {
        let len = a.read_at(&mut x, at).unwrap();
        assert_eq!(b.read_at(&mut y, at).unwrap(), len);
        if len == 0 {
            return;
        }
        let differs = x[..len].iter().zip(&y[..len]).position(|(p, q)| p != q);
        assert_eq!(differs, None, "chunk at {at} of {}", left.display());
        at += len as u64;
    }
}

/// Repeatable pseudo-random numbers.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len).collect()
    }
}

/// Incompressible content over the first `bytes`.
pub fn fill_random(file: &File, bytes: u64) {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut at = 0;
    while at < bytes {
        let len = MIB.min(bytes - at);
        file.write_all_at(&random.bytes(len as usize), at).unwrap();
        at += len;
    }
}
