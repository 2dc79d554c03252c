//! Other people's NBD clients against our server: nbdinfo, nbdcopy, qemu-io, qemu-img, fio and
//! nbdkit (Debian packages libnbd-bin, qemu-utils, fio and nbdkit, which the set-up installs).

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use landfall_nbd::{FileExport, Server};

struct Disk {
    folder: tempfile::TempDir,
    server: Server,
}

impl Disk {
    fn new(size: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        fs::File::create(&path).unwrap().set_len(size).unwrap();
        let export = Arc::new(FileExport::open(&path, size).unwrap());
        let server = Server::start(&folder.path().join("nbd"), export).unwrap();
        Self { folder, server }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.server.path().display())
    }
}

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the client is installed");
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&stderr));
    text
}

fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

#[test]
fn nbdinfo_sees_size_flags_and_allocation() {
    let disk = Disk::new(8 << 20);
    fs::write(disk.file(), pattern(1 << 20)).unwrap();
    fs::File::options().write(true).open(disk.file()).unwrap().set_len(8 << 20).unwrap();
    let text = run(Command::new("nbdinfo").args(["--json", &disk.uri()]));
    for wanted in ["8388608", "\"can_multi_conn\": true", "\"can_fua\": true", "base:allocation"] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    let map = run(Command::new("nbdinfo").args(["--map", &disk.uri()]));
    let rows: Vec<Vec<&str>> = map.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["0", "1048576", "0"], "{map}");
    assert_eq!(rows[1][..3], ["1048576", "7340032", "3"], "{map}");
}

#[test]
fn nbdcopy_moves_a_disk_in_and_out() {
    let disk = Disk::new(24 << 20);
    let (input, output) = (disk.folder.path().join("in"), disk.folder.path().join("out"));
    let mut content = pattern(24 << 20);
    content[3 << 20..9 << 20].fill(0);
    fs::write(&input, &content).unwrap();
    run(Command::new("nbdcopy").arg("--flush").arg(&input).arg(disk.uri()));
    assert!(fs::read(disk.file()).unwrap() == content);
    run(Command::new("nbdcopy").args(["--connections=4", &disk.uri()]).arg(&output));
    assert!(fs::read(&output).unwrap() == content);
}

#[test]
fn qemu_io_writes_zeroes_trims_and_flushes() {
    let disk = Disk::new(64 << 20);
    let commands = [
        "write -P 0xaa 0 16M",
        "write -f -P 0xbb 1M 12k",
        "write -z 4M 1M",
        "write -z -u 6M 1M",
        "discard 8M 1M",
        "flush",
        "read -P 0xbb 1M 12k",
        "read -P 0 4M 1M",
        "read -P 0xaa 9M 7M",
        "read -P 0xaa 15M 512",
        "write -P 0xcc 20M 40M",
        "read -P 0xcc 20M 40M",
    ];
    let mut qemu = Command::new("qemu-io");
    qemu.args(["-f", "raw", "-t", "none", &disk.uri()]);
    for command in commands {
        qemu.args(["-c", command]);
    }
    let text = run(&mut qemu);
    assert!(!text.contains("failed") && !text.contains("error"), "{text}");
    let content = fs::read(disk.file()).unwrap();
    assert!(content[9 << 20..16 << 20].iter().all(|byte| *byte == 0xaa));
    assert!(content[4 << 20..5 << 20].iter().all(|byte| *byte == 0));
}

#[test]
fn nbdinfo_lists_the_export_and_its_block_sizes() {
    let disk = Disk::new(1 << 20);
    let text = run(Command::new("nbdinfo").args(["--list", "--json", &disk.uri()]));
    for wanted in [
        "\"export-name\": \"\"",
        "\"can_df\": true",
        "\"can_cache\": true",
        "\"can_trim\": true",
        "\"can_zero\": true",
        "\"block_size_minimum\": 1",
        "\"block_size_preferred\": 4096",
        "\"block_size_maximum\": 33554432",
        "\"protocol\": \"newstyle-fixed\"",
        "\"structured\": true",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
}

#[test]
fn fio_verifies_what_it_wrote_with_many_requests_under_way() {
    let disk = Disk::new(16 << 20);
    let text = run(Command::new("fio")
        .args(["--name=x", "--ioengine=nbd", "--rw=randwrite", "--bs=8k"])
        .args(["--iodepth=32", "--size=16M", "--verify=crc32c", "--fsync=64"])
        .args(["--verify_fatal=1", "--randseed=7", "--output-format=terse"])
        .arg(format!("--uri={}", disk.uri()))
        .current_dir(disk.folder.path()));
    assert!(!text.contains("verify:"), "{text}");
}

#[test]
fn qemu_img_converts_in_and_out_and_finds_both_equal() {
    let disk = Disk::new(24 << 20);
    let input = disk.folder.path().join("in");
    let mut content = pattern(24 << 20);
    content[5 << 20..11 << 20].fill(0);
    fs::write(&input, &content).unwrap();
    let (from, to) = (input.to_str().unwrap(), &disk.uri()[..]);
    let raw = ["convert", "-n", "-W", "-m", "16", "-f", "raw", "-O", "raw", from, to];
    run(Command::new("qemu-img").args(raw));
    run(Command::new("qemu-img").args(["compare", "-f", "raw", "-F", "raw", from, to]));
    assert!(fs::read(disk.file()).unwrap() == content);
    let map = run(Command::new("qemu-img").args(["map", "--output=json", "-f", "raw", to]));
    assert!(map.contains("\"zero\": true") && map.contains("\"data\": true"), "{map}");
}

#[test]
fn nbdkit_as_a_client_passes_everything_on() {
    let disk = Disk::new(8 << 20);
    let second = disk.folder.path().join("second");
    let input = disk.folder.path().join("in");
    let content = pattern(8 << 20);
    fs::write(&input, &content).unwrap();
    let uri = format!("nbd+unix:///?socket={}", second.display());
    let script = format!("nbdcopy --flush '{}' '{uri}' && nbdinfo '{uri}'", input.display());
    let text = run(Command::new("nbdkit")
        .args(["--exit-with-parent", "-U", second.to_str().unwrap(), "nbd"])
        .arg(format!("socket={}", disk.server.path().display()))
        .args(["--run", &script]));
    assert!(text.contains("can_multi_conn: true") && text.contains("can_fua: true"), "{text}");
    assert!(fs::read(disk.file()).unwrap() == content);
}
