//! Sets the stage: a host and a receiver as real processes, enrolled by a test authority, with
//! disks on both sides.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use landfall_api::Uuid;
use serde_json::{Value, json};

use crate::authority::{Authority, INSTALLATION, Identity};
use crate::client::{Answer, Connection, local};

pub const MIGRATION: &str = "vmm_test";
pub const SECRET: &[u8] = b"a one-time secret of the test";

/// A process that is ended with the test.
pub struct Process {
    command: Box<dyn Fn() -> Command + Send>,
    child: Option<Child>,
}

impl Process {
    fn start(command: impl Fn() -> Command + Send + 'static) -> Self {
        let mut process = Self { command: Box::new(command), child: None };
        process.restart();
        process
    }

    pub fn restart(&mut self) {
        self.kill();
        self.child = Some((self.command)().stdin(Stdio::null()).spawn().unwrap());
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Highest resident memory so far, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes(self.child.as_ref().unwrap().id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A source host.
pub struct Host {
    pub daemon: Process,
    pub address: SocketAddr,
    pub folder: PathBuf,
    pub hypervisor: PathBuf,
    pub vm: Uuid,
}

impl Host {
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, Arc::default())
    }

    /// The daemon and the sources that it starts have the fail points of `plan`, as it is then.
    pub fn start_with(folder: &Path, plan: Arc<Mutex<String>>) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let options = folder.join("options.json");
        let secret = json!({ "Landfall.EnrolSecret": BASE64.encode(SECRET) });
        std::fs::write(&options, secret.to_string()).unwrap();
        let address = free_address();
        let hypervisor = folder.join("hv.sock");
        let (state, socket) = (folder.join("state"), hypervisor.clone());
        let daemon = Process::start(move || {
            let mut command = replicator();
            command.arg("host").args(["--address", &address.ip().to_string()]);
            command.args(["--port", &address.port().to_string()]);
            command.arg("--state").arg(&state).arg("--hypervisor-socket").arg(&socket);
            command.arg("--options").arg(&options);
            command.env("REPLICATOR_FAIL", plan.lock().unwrap().as_str());
            command
        });
        let host =
            Self { daemon, address, folder: folder.to_owned(), hypervisor, vm: uuid("vm", 1) };
        wait("the host listens", || host.ask("GET", "/v1/attachments", Value::Null).is_ok());
        host
    }

    /// Asks the hypervisor face.
    pub fn ask(&self, method: &str, path: &str, body: Value) -> std::io::Result<Answer> {
        local(&self.hypervisor, method, path, &body)
    }

    pub fn attach(&self, disk: &Disk) -> Answer {
        self.attach_to(&self.vm, disk)
    }

    /// The same for another VM.
    pub fn attach_to(&self, vm: &Uuid, disk: &Disk) -> Answer {
        let body = json!({
            "vmUuid": vm, "diskUuid": disk.source, "path": disk.source_path,
            "capacityBytes": disk.capacity.to_string(),
        });
        self.ask("POST", "/v1/attach", body).unwrap()
    }

    pub fn closed(&self) {
        self.ask("POST", "/v1/closed", json!({ "vmUuid": self.vm })).unwrap().ok();
    }

    pub fn detach(&self, disk: &Disk) {
        let body = json!({ "vmUuid": self.vm, "diskUuid": disk.source });
        self.ask("POST", "/v1/detach", body).unwrap().ok();
    }

    /// The source process of the VM.
    pub fn source_pid(&self) -> Option<u32> {
        self.source_pid_of(&self.vm)
    }

    /// The source process of another VM.
    pub fn source_pid_of(&self, vm: &Uuid) -> Option<u32> {
        let is_its = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(vm.as_str())
        };
        source_pids(&self.folder).into_iter().find(is_its)
    }

    /// The hypervisor begins or ends a snapshot.
    pub fn snapshot(&self, verb: &str, disks: &Value) -> Answer {
        let mut body = json!({ "vmUuid": self.vm });
        if !disks.is_null() {
            body["disks"] = disks.clone();
        }
        self.ask("POST", &format!("/v1/snapshot/{verb}"), body).unwrap()
    }

    pub fn kill_source(&self) {
        send_signal(self.source_pid().unwrap(), libc::SIGKILL);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.daemon.kill();
        for pid in source_pids(&self.folder) {
            send_signal(pid, libc::SIGKILL);
        }
    }
}

/// Source processes whose state lies in `folder`.
fn source_pids(folder: &Path) -> Vec<u32> {
    let wanted = folder.to_string_lossy().into_owned();
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains("\0vm-source\0") && line.contains(&wanted) {
            pids.push(pid);
        }
    }
    pids
}

pub fn send_signal(pid: u32, signal: i32) {
    // SAFETY: a plain system call on a process of this test.
    unsafe { libc::kill(pid as i32, signal) };
}

/// A shadow VM's receiver.
pub struct Shadow {
    pub receiver: Process,
    pub address: SocketAddr,
    pub folder: PathBuf,
}

impl Shadow {
    pub fn start(folder: &Path, authority: &Authority) -> Self {
        std::fs::create_dir_all(folder.join("disks")).unwrap();
        let config = json!({
            "installationId": INSTALLATION, "agentId": "agent_shadow", "vmMigrationId": MIGRATION,
            "authorityPem": authority.pem, "enrolSecret": BASE64.encode(SECRET),
        });
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let address = free_address();
        let own = folder.to_owned();
        let receiver = Process::start(move || {
            let mut command = replicator();
            command.arg("receiver").arg("--config").arg(own.join("config.json"));
            command.args(["--address", &address.ip().to_string()]);
            command.args(["--port", &address.port().to_string()]);
            command.arg("--state").arg(own.join("state")).arg("--disks").arg(own.join("disks"));
            command
        });
        wait("the receiver listens", || std::net::TcpStream::connect(address).is_ok());
        Self { receiver, address, folder: folder.to_owned() }
    }

    /// Links a destination disk.
    pub fn link(&self, disk: &Disk) {
        let link = self.folder.join("disks").join(disk.destination.as_str());
        std::os::unix::fs::symlink(&disk.destination_path, link).unwrap();
    }
}

/// A disk of the migration: a file on each side.
pub struct Disk {
    pub source: Uuid,
    pub destination: Uuid,
    pub capacity: u64,
    pub source_path: PathBuf,
    pub destination_path: PathBuf,
}

impl Disk {
    /// A source disk whose first `filled` bytes cannot be compressed, and an empty destination.
    pub fn new(folder: &Path, number: u8, capacity: u64, filled: u64) -> Self {
        let disk = Self {
            source: uuid("source", number),
            destination: uuid("destination", number),
            capacity,
            source_path: folder.join(format!("disk-{number}-flat.vmdk")),
            destination_path: folder.join(format!("copy-{number}-flat.vmdk")),
        };
        let source = File::create(&disk.source_path).unwrap();
        source.set_len(capacity).unwrap();
        let mut stream = blake3::Hasher::new().update(&[number]).finalize_xof();
        let mut piece = vec![0; 1 << 20];
        let mut at = 0;
        while at < filled {
            stream.fill(&mut piece);
            let count = (filled - at).min(piece.len() as u64);
            source.write_all_at(&piece[..count as usize], at).unwrap();
            at += count;
        }
        File::create(&disk.destination_path).unwrap().set_len(capacity).unwrap();
        disk
    }

    pub fn pair(&self) -> Value {
        json!({
            "sourceUuid": self.source, "destinationUuid": self.destination,
            "capacityBytes": self.capacity.to_string(),
        })
    }

    /// Byte by byte.
    pub fn assert_equal(&self) {
        let source = std::fs::read(&self.source_path).unwrap();
        let copy = std::fs::read(&self.destination_path).unwrap();
        assert_eq!(source.len(), copy.len());
        let differing = source.iter().zip(&copy).position(|(left, right)| left != right);
        assert_eq!(differing, None, "{} differs", self.source_path.display());
    }
}

/// The management server's view of an agent.
pub struct Management {
    pub authority: Authority,
    pub identity: Identity,
}

impl Management {
    pub fn new() -> Self {
        let authority = Authority::new();
        let identity = authority.identity("server");
        Self { authority, identity }
    }

    pub fn ask(&self, address: SocketAddr, method: &str, path: &str, body: Value) -> Answer {
        self.try_ask(address, method, path, &body).unwrap()
    }

    pub fn try_ask(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        body: &Value,
    ) -> std::io::Result<Answer> {
        Connection::open(address, Some(&self.identity))?.request(method, path, body)
    }

    /// Enrols an agent under `role`; the last part of its name is what it says, or `id`.
    pub fn enrol(&self, address: SocketAddr, role: &str, id: Option<&str>) {
        self.enrol_for(address, role, id, Duration::from_secs(7 * 86_400));
    }

    /// The same with another time of validity.
    pub fn enrol_for(&self, address: SocketAddr, role: &str, id: Option<&str>, validity: Duration) {
        let mut connection = Connection::open(address, Some(&self.identity)).unwrap();
        let status = connection.request("GET", "/v1/agent", &Value::Null).unwrap().ok();
        assert_eq!(status["enrolled"], false);
        let id = id.unwrap_or_else(|| status["agentId"].as_str().unwrap());
        let begun = connection
            .request("POST", "/v1/enrol/begin", &json!({ "proof": proof(&connection, "server") }))
            .unwrap()
            .ok();
        assert_eq!(begun["proof"], proof(&connection, "agent"));
        let csr = begun["csrPem"].as_str().unwrap();
        let completed = json!({
            "certificatePem": self.authority.sign_for(csr, &format!("{role}/{id}"), validity),
            "authorityPem": self.authority.pem,
        });
        let status = connection.request("POST", "/v1/enrol/complete", &completed).unwrap().ok();
        assert_eq!(status["enrolled"], true);
    }
}

/// The proof of one side, as the contract has it.
pub fn proof(connection: &Connection, side: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let label = format!("landfall enrol {side} v1");
    let peer = connection.peer();
    let (_, certificate) = x509_parser::parse_x509_certificate(&peer).unwrap();
    let spki = certificate.public_key().raw;
    let message = [label.as_bytes(), &connection.exporter(), spki].concat();
    BASE64.encode(hmac::sign(&key, &message))
}

/// Highest resident memory of a process so far, in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

pub fn uuid(kind: &str, number: u8) -> Uuid {
    let hash = blake3::hash(format!("{kind} {number}").as_bytes());
    Uuid::from_bytes(hash.as_bytes()[..16].try_into().unwrap())
}

pub fn replicator() -> Command {
    Command::new(env!("CARGO_BIN_EXE_replicator"))
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Waits until something holds, at most a minute.
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
