//! Two commands replicate a live disk without any control plane: copy under writes, kill -9 of
//! either side, finish, and a comparison of both files byte by byte.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::guest::{GuestDisk, Writer};
use crate::stage::{replicator, wait};

const MIB: u64 = 1 << 20;

/// A command that runs until it is ended, with the line it printed when it was ready.
pub struct Running {
    child: Child,
    pub line: Value,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let line = serde_json::from_str(&line).unwrap_or(Value::Null);
        Self { child, line }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// SIGTERM, and whether it ended in order.
    pub fn end(mut self) -> bool {
        crate::stage::send_signal(self.child.id(), libc::SIGTERM);
        self.child.wait().unwrap().success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both sides in one folder.
pub struct Sides {
    pub folder: tempfile::TempDir,
    pub address: SocketAddr,
    disks: usize,
}

impl Sides {
    /// Source disks whose first `filled` bytes are random.
    pub fn new(sizes: &[(u64, u64)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (at, (size, filled)) in sizes.iter().enumerate() {
            let disk = std::fs::File::create(folder.path().join(format!("s{at}.raw"))).unwrap();
            let mut content = vec![0; *filled as usize];
            blake3::Hasher::new().update(&[at as u8]).finalize_xof().fill(&mut content);
            std::os::unix::fs::FileExt::write_all_at(&disk, &content, 0).unwrap();
            disk.set_len(*size).unwrap();
        }
        let free = std::net::TcpListener::bind("127.45.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        Self { folder, address, disks: sizes.len() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn receiver_command(&self) -> Command {
        let mut command = replicator();
        command.current_dir(self.folder.path()).arg("receiver");
        for at in 0..self.disks {
            let like = format!("s{at}.raw");
            command.args(["--disk", &format!("d{at}.raw"), "--like", &like]);
        }
        command.args(["--listen", &self.address.to_string()]);
        command.args(["--state", "receiver", "--pair", "site.pair"]);
        command
    }

    pub fn source_command(&self) -> Command {
        self.source_command_to(self.address)
    }

    /// The same with somebody between it and the receiver.
    pub fn source_command_to(&self, receiver: SocketAddr) -> Command {
        let mut command = replicator();
        command.current_dir(self.folder.path()).arg("source");
        for at in 0..self.disks {
            command.args(["--disk", &format!("s{at}.raw:s{at}.nbd")]);
        }
        command.args(["--receiver", &receiver.to_string()]);
        command.args(["--state", "source", "--pair", "site.pair"]);
        command
    }

    pub fn ctl(&self, args: &[&str]) -> Output {
        let mut command = replicator();
        command.current_dir(self.folder.path()).args(["ctl", "source/control.sock"]).args(args);
        command.output().unwrap()
    }

    pub fn ctl_ok(&self, args: &[&str]) -> Value {
        let output = self.ctl(args);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A command that nobody waits for.
    pub fn ctl_in_background(&self, args: &[&str]) -> Running {
        let mut command = replicator();
        command.current_dir(self.folder.path()).args(["ctl", "source/control.sock"]).args(args);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Running { child, line: Value::Null }
    }

    /// Whether a source that is started now says that the receiver is the owner.
    pub fn handed_over(&self) -> bool {
        let output = self.source_command().output().unwrap();
        String::from_utf8_lossy(&output.stderr).contains("the receiver owns them")
    }

    pub fn wait_ready(&self) {
        wait("the job is ready", || self.ctl_ok(&["status"])["ready"]["ready"] == true);
    }

    pub fn assert_equal(&self) {
        for at in 0..self.disks {
            let read = |name: String| std::fs::read(self.path(&name)).unwrap();
            let (source, copy) = (read(format!("s{at}.raw")), read(format!("d{at}.raw")));
            assert!(source == copy, "disk {at} differs");
        }
    }
}

#[test]
fn two_commands_replicate_live_disks_and_a_third_hands_them_over() {
    let sides = Sides::new(&[(96 * MIB + 512, 40 * MIB), (8 * MIB, 0)]);
    let receiver = Running::start(sides.receiver_command());
    assert_eq!(receiver.line["listening"], sides.address.to_string());
    let source = Running::start(sides.source_command());
    assert_eq!(source.line["ready"], true);
    assert_eq!(source.line["sockets"].as_array().unwrap().len(), 2);
    let writer = Writer::start(&sides.path("s0.nbd"), 96 * MIB, Duration::from_millis(1));
    sides.wait_ready();

    let mut follow = replicator();
    follow.current_dir(sides.folder.path()).args(["ctl", "source/control.sock", "follow"]);
    assert_eq!(Running::start(follow).line["ready"]["ready"], true);
    let refused = sides.ctl(&["finish"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("NBD client is connected") && said.contains("Shut the guest"), "{said}");

    writer.writes_on(20);
    writer.finish();
    let frozen = sides.ctl_ok(&["freeze"]);
    assert_eq!(frozen["handover"]["state"], "roots-equal");
    let cancelled = sides.ctl_ok(&["unfreeze"]);
    assert_eq!(cancelled["handover"]["state"], "cancelled");
    GuestDisk::open(&sides.path("s1.nbd")).write(5 * MIB, &[9; 4096]);
    let finished = sides.ctl_ok(&["finish"]);
    assert_eq!(finished["handover"]["state"], "active");
    assert_eq!(sides.ctl_ok(&["finish"])["handover"]["state"], "active", "finish is repeatable");
    assert!(!sides.path("s0.nbd").exists(), "what was handed over is not served");
    sides.assert_equal();

    assert!(source.end() && receiver.end());
    let again = sides.source_command().output().unwrap();
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("the receiver owns them"), "{said}");
}

#[test]
fn either_side_killed_goes_on_and_the_guest_only_waits() {
    let sides = Sides::new(&[(64 * MIB, 48 * MIB)]);
    let mut receiver = Running::start(sides.receiver_command());
    let mut slow = sides.source_command();
    slow.args(["--bytes-per-second-max", "16M", "--codec", "zstd"]);
    let mut source = Running::start(slow);
    let writer = Writer::start(&sides.path("s0.nbd"), 64 * MIB, Duration::from_millis(2));
    let sent = |status: &Value| {
        status["disks"][0]["copiedBytes"].as_str().unwrap().parse::<u64>().unwrap()
    };
    wait("something was copied", || sent(&sides.ctl_ok(&["status"])) > 8 * MIB);
    source.kill();
    let source = Running::start(sides.source_command());
    let status = sides.ctl_ok(&["status"]);
    assert_eq!(status["dials"]["bytesPerSecondMax"], (16 * MIB).to_string(), "dials are kept");
    assert_eq!(status["codec"]["name"], "zstd", "so is the codec");
    assert!(status["epoch"].as_u64().unwrap() > 1);
    receiver.kill();
    std::fs::remove_file(sides.path("site.pair")).unwrap();
    let _receiver = Running::start(sides.receiver_command());
    sides.ctl_ok(&["dials", "--bytes-per-second-max", "none", "--replication-rate", "100"]);
    sides.wait_ready();
    writer.finish();
    sides.ctl_ok(&["finish"]);
    sides.assert_equal();
    drop(source);
}

/// Whether a program of Debian's qemu-utils is here.
fn qemu_io(socket: &Path, command: &str) {
    let uri = format!("nbd+unix:///?socket={}", socket.display());
    let output = Command::new("qemu-io").args(["-f", "raw", &uri, "-c", command]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_qemu_client_writes_while_it_is_replicated_and_its_locks_are_respected() {
    let sides = Sides::new(&[(32 * MIB, 4 * MIB)]);
    let receiver = Running::start(sides.receiver_command());
    let source = Running::start(sides.source_command());
    let (socket, image) = (sides.path("s0.nbd"), sides.path("s0.raw"));
    qemu_io(&socket, "write -P 17 8M 3M");
    qemu_io(&socket, "discard 1M 1M");
    qemu_io(&socket, "write -z 2M 64k");
    qemu_io(&socket, "write -f -P 3 20481k 1k");
    let past = Command::new("qemu-io").args(["-f", "raw", "-c", "write 0 4k"]).arg(&image).output();
    assert!(!past.unwrap().status.success(), "QEMU wrote past the tap");
    sides.wait_ready();
    sides.ctl_ok(&["finish"]);
    assert!(source.end() && receiver.end());
    sides.assert_equal();
    let copy = sides.path("d0.raw");
    let mut compare = Command::new("qemu-img");
    compare.args(["compare", "-f", "raw", "-F", "raw"]).arg(&image).arg(&copy);
    assert!(compare.output().unwrap().status.success());
}

#[test]
fn a_tap_serves_a_disk_and_tracks_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.raw");
    std::fs::File::create(&disk).unwrap().set_len(16 * MIB).unwrap();
    let start = |more: &[&str]| {
        let mut command = replicator();
        command.current_dir(folder.path()).args(["tap", "--disk", "disk.raw"]);
        command.args(["--socket", "disk.nbd"]).args(more);
        Running::start(command)
    };
    let socket = folder.path().join("disk.nbd");
    let plain = start(&[]);
    GuestDisk::open(&socket).write(MIB, &[5; 4096]);
    assert!(plain.end());
    let tracking = start(&["--track"]);
    let control = tracking.line["control"].as_str().unwrap().to_owned();
    let mut guest = GuestDisk::open(&socket);
    assert_eq!(guest.read(MIB, 4096), [5; 4096]);
    guest.write(2 * MIB, &[6; 8192]);
    let status = replicator().args(["ctl", &control, "status"]).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["kind"], &status["state"]), (&"observe".into(), &"running".into()));
    assert_eq!(status["disks"][0]["dirtyBytes"], "8192");
    drop(guest);
    assert!(tracking.end());
    assert_eq!(std::fs::read(&disk).unwrap()[2 * MIB as usize], 6);
}

#[test]
fn verify_reads_both_sides_again_and_names_what_differs() {
    let sides = Sides::new(&[(8 * MIB + 512, 5 * MIB)]);
    let receiver = Running::start(sides.receiver_command());
    let source = Running::start(sides.source_command());
    sides.wait_ready();
    let verify = |args: &[&str]| {
        let mut command = replicator();
        let output = command.current_dir(sides.folder.path()).arg("verify").args(args).output();
        let output = output.unwrap();
        let answer = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.success(), answer, String::from_utf8(output.stderr).unwrap())
    };
    let (equal, report, _) = verify(&["--control", "source/control.sock"]);
    assert!(equal, "{report}");
    assert_eq!(report["verdict"], "equal");
    let local = ["--disk", "s0.raw", "--against", "d0.raw"];
    let (done, _, said) = verify(&local);
    assert!(!done && said.contains("verified with --control"), "{said}");
    let roots = sides.ctl_ok(&["finish"])["handover"]["disks"][0]["sourceRoot"].clone();
    assert!(source.end() && receiver.end());
    let (equal, report, _) = verify(&local);
    assert!(equal, "{report}");
    assert_eq!((&report["disks"][0]["root"], &report["disks"][1]["root"]), (&roots, &roots));
    let copy = std::fs::File::options().write(true).open(sides.path("d0.raw")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&copy, b"x", 7 * MIB + 5).unwrap();
    let (equal, report, _) = verify(&local);
    assert!(!equal);
    assert_eq!((&report["verdict"], &report["differingChunks"]), (&"different".into(), &1.into()));
    assert_eq!(report["differences"][0]["offsetBytes"], (7 * MIB).to_string());
    copy.set_len(8 * MIB).unwrap();
    assert!(verify(&local).2.contains("same capacity"));
}

#[test]
fn a_disk_written_while_no_source_ran_is_compared_and_sent() {
    let sides = Sides::new(&[(16 * MIB, 4 * MIB)]);
    let _receiver = Running::start(sides.receiver_command());
    let source = Running::start(sides.source_command());
    sides.wait_ready();
    assert!(source.end());
    let write = |byte: u8, offset: u64| {
        let disk = std::fs::File::options().write(true).open(sides.path("s0.raw")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&disk, &[byte; 4096], offset).unwrap();
    };
    write(1, 3 * MIB);
    write(2, 11 * MIB);
    let mut source = Running::start(sides.source_command());
    sides.wait_ready();
    let compared = |status: Value| {
        status["disks"][0]["comparedBytes"].as_str().unwrap().parse::<u64>().unwrap()
    };
    assert!(compared(sides.ctl_ok(&["status"])) >= 16 * MIB);
    source.kill();
    write(3, 5 * MIB);
    let mut told = sides.source_command();
    told.arg("--compare-all");
    let source = Running::start(told);
    sides.wait_ready();
    sides.ctl_ok(&["finish"]);
    assert!(source.end());
    sides.assert_equal();
}

#[test]
fn what_can_be_compressed_crosses_the_wire_smaller() {
    let sides = Sides::new(&[(24 * MIB, 0)]);
    let disk = std::fs::File::options().write(true).open(sides.path("s0.raw")).unwrap();
    let text = b"the same words again and again ".repeat(MIB as usize / 4);
    std::os::unix::fs::FileExt::write_all_at(&disk, &text[..7 * MIB as usize], MIB).unwrap();
    let receiver = Running::start(sides.receiver_command());
    let mut command = sides.source_command();
    command.args(["--codec", "zstd"]);
    let source = Running::start(command);
    sides.wait_ready();
    let status = sides.ctl_ok(&["finish"]);
    let bytes = |name: &str| status["disks"][0][name].as_str().unwrap().parse::<u64>().unwrap();
    assert!(bytes("sentBytes") >= 7 * MIB && bytes("wireBytes") < 2 * MIB, "{status:#}");
    assert_eq!(status["codec"]["name"], "zstd");
    assert!(status["codec"]["ratio"].as_f64().unwrap() > 4.0, "{}", status["codec"]);
    assert!(source.end() && receiver.end());
    sides.assert_equal();
}

/// A block device over a file; gone with this. It needs rights that not every machine gives.
struct Loop(PathBuf);

impl Loop {
    fn over(file: &Path) -> Option<Self> {
        let output = Command::new("losetup").args(["-f", "--show"]).arg(file).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?;
        (output.status.success() && !path.is_empty()).then(|| Self(path.trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(format!("{}.landfall", self.0.display()));
        let _ = Command::new("losetup").arg("-d").arg(&self.0).output();
    }
}

#[test]
fn block_devices_are_replicated_from_and_to() {
    let sides = Sides::new(&[(16 * MIB, 6 * MIB)]);
    let file = |name: &str| {
        let path = sides.path(name);
        std::fs::File::create(&path).unwrap().set_len(16 * MIB).unwrap();
        path
    };
    let (Some(from), Some(to)) = (Loop::over(&sides.path("s0.raw")), Loop::over(&file("to")))
    else {
        eprintln!("skipped: no loop devices here");
        return;
    };
    let run = |command: &str, disk: &str, rest: &[&str]| {
        let mut replicator = replicator();
        replicator.current_dir(sides.folder.path()).args([command, "--disk", disk]).args(rest);
        Running::start(replicator)
    };
    let device = to.0.display().to_string();
    let address = sides.address.to_string();
    let pair = ["--pair", "site.pair"];
    let receiver = run(
        "receiver",
        &device,
        &[&["--listen", &address, "--state", "receiver"], &pair[..]].concat(),
    );
    let device = format!("{}:s0.nbd", from.0.display());
    let source = run(
        "source",
        &device,
        &[&["--receiver", &address, "--state", "source"], &pair[..]].concat(),
    );
    let mut guest = GuestDisk::open(&sides.path("s0.nbd"));
    guest.write(9 * MIB, &[4; 65_536]);
    guest.flush();
    drop(guest);
    sides.wait_ready();
    sides.ctl_ok(&["finish"]);
    assert!(source.end() && receiver.end());
    let read = |device: &Loop| std::fs::read(&device.0).unwrap();
    assert!(read(&from) == read(&to) && read(&to)[9 * MIB as usize] == 4);
}
