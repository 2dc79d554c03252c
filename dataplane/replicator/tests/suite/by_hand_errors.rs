//! What a person at a terminal may get wrong is said in words, with what to do about it.

use std::net::TcpListener;
use std::process::Command;

use crate::by_hand::{Running, Sides};
use crate::stage::{replicator, wait};

const MIB: u64 = 1 << 20;

/// Runs a command that must be refused; what it said.
fn refused(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    said
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in:\n{said}");
    }
}

#[test]
fn a_receiver_says_what_is_wrong_with_its_arguments() {
    let sides = Sides::new(&[(MIB, 0)]);
    let receiver = |args: &[&str]| {
        let mut command = replicator();
        command.current_dir(sides.folder.path()).arg("receiver").args(args);
        command.args(["--state", "state", "--pair", "pair"]);
        refused(command)
    };
    let listen = ["--listen", "127.45.0.1:0"];
    let with = |args: &[&'static str]| [args, &listen].concat();
    assert_says(&receiver(&with(&["--disk", "d"])), &["d is not there", "--capacity"]);
    let unequal = receiver(&with(&["--disk", "s0.raw", "--capacity", "2M"]));
    assert_says(&unequal, &["has 1048576 bytes", "2097152", "same capacity"]);
    assert_says(&receiver(&with(&["--disk", "d", "--capacity", "7"])), &["multiple of 512"]);
    let counts = ["--disk", "a", "--disk", "b", "--disk", "c"];
    let counts = [&counts[..], &["--capacity", "1M", "--capacity", "1M"]].concat();
    assert_says(&receiver(&with(&counts)), &["3 disks but 2 capacities"]);
    let name = receiver(&["--disk", "s0.raw", "--listen", "localhost:1"]);
    assert_says(&name, &["numeric address", "names are not resolved"]);
    let holder = TcpListener::bind("127.45.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let busy = receiver(&["--disk", "s0.raw", "--listen", &taken]);
    assert_says(&busy, &[&taken, "Another process listens there"]);
    assert_says(&receiver(&listen), &["--disk"]);
}

#[test]
fn a_receiver_keeps_to_the_pairing_and_the_files_it_began_with() {
    let sides = Sides::new(&[(MIB, 0)]);
    let running = Running::start(sides.receiver_command());
    assert_says(&refused(sides.receiver_command()), &["another process uses the state folder"]);
    let mut other = replicator();
    other.current_dir(sides.folder.path()).args(["receiver", "--disk", "d0.raw"]);
    other.args(["--listen", "127.45.0.1:0", "--state", "other", "--pair", "other.pair"]);
    assert_says(&refused(other), &["d0.raw is in use by another process"]);
    drop(running);
    std::fs::remove_dir_all(sides.path("receiver")).unwrap();
    let lost = refused(sides.receiver_command());
    assert_says(&lost, &["not the state it was made with", "remove the file"]);
}

#[test]
fn a_source_says_what_is_wrong_with_its_arguments() {
    let sides = Sides::new(&[(MIB, 0)]);
    let source = |args: &[&str]| {
        let mut command = replicator();
        command.current_dir(sides.folder.path()).arg("source").args(args);
        command.args(["--receiver", "127.45.0.1:9", "--state", "state"]);
        command
    };
    let no_pair = refused(source(&["--disk", "s0.raw", "--pair", "site.pair"]));
    assert_says(&no_pair, &["pair file site.pair cannot be read", "receiver's host"]);
    let _receiver = Running::start(sides.receiver_command());
    let pair = ["--pair", "site.pair"];
    let with = |args: &[&'static str]| refused(source(&[args, &pair[..]].concat()));
    assert_says(&with(&["--disk", "gone.raw"]), &["gone.raw cannot be opened", "raw image"]);
    assert_says(&with(&["--disk", "d0.raw"]), &["d0.raw is in use by another process"]);
    let long = "x".repeat(120);
    let long = refused(source(&["--disk", "s0.raw", "--socket", &long, "--pair", "site.pair"]));
    assert_says(&long, &["the kernel takes 107", "shorter path"]);
    let nowhere = with(&["--disk", "s0.raw", "--socket", "nowhere/a.nbd"]);
    assert_says(&nowhere, &["nowhere/a.nbd is not there"]);
    let twice = with(&["--disk", "s0.raw", "--disk", "d0.raw", "--socket", "a.nbd"]);
    assert_says(&twice, &["single disk", "FILE:SOCKET"]);
    let _source = Running::start(sides.source_command());
    let served = with(&["--disk", "d0.raw:s0.nbd"]);
    assert_says(&served, &["another process serves the socket"]);
    assert_says(&refused(sides.source_command()), &["another process uses the state folder"]);
}

#[test]
fn a_source_keeps_to_the_disks_it_began_with() {
    let sides = Sides::new(&[(MIB, 0)]);
    let _receiver = Running::start(sides.receiver_command());
    drop(Running::start(sides.source_command()));
    std::fs::rename(sides.path("s0.raw"), sides.path("moved.raw")).unwrap();
    let mut moved = replicator();
    moved.current_dir(sides.folder.path()).args(["source", "--disk", "moved.raw"]);
    moved.args(["--receiver", &sides.address.to_string(), "--pair", "site.pair"]);
    moved.args(["--state", "source"]);
    assert_says(&refused(moved), &["begun with other disks", "s0.raw"]);
}

#[test]
fn a_source_with_another_pair_or_capacity_is_told_so_in_its_status() {
    let sides = Sides::new(&[(MIB, 0)]);
    let _receiver = Running::start(sides.receiver_command());
    let stranger = Sides::new(&[(MIB, 0)]);
    drop(Running::start(stranger.receiver_command()));
    let reason_of = |address: &Sides, args: &Sides, code: &str, words: &[&str]| {
        let mut command = replicator();
        command.current_dir(args.folder.path()).args(["source", "--disk", "s0.raw"]);
        command.args(["--receiver", &address.address.to_string(), "--pair", "site.pair"]);
        let source = Running::start({
            command.args(["--state", "source"]);
            command
        });
        wait("the reason is known", || args.ctl_ok(&["status"])["reason"]["code"] == code);
        let message = args.ctl_ok(&["status"])["reason"]["message"].as_str().unwrap().to_owned();
        assert_says(&message, words);
        let finish = String::from_utf8(args.ctl(&["finish"]).stderr).unwrap();
        assert_says(&finish, &["not ready yet", "not connected"]);
        drop(source);
    };
    reason_of(&sides, &stranger, "TLS_FAILED", &["certificate"]);
    let larger = std::fs::File::options().write(true).open(sides.path("s0.raw")).unwrap();
    larger.set_len(2 * MIB).unwrap();
    reason_of(&sides, &sides, "DESTINATION_NOT_PREPARED", &["1048576 bytes here", "2097152"]);
}

#[test]
fn ctl_without_a_source_says_so() {
    let mut command = replicator();
    command.args(["ctl", "/nowhere/control.sock", "status"]);
    assert_says(&refused(command), &["nobody answers on /nowhere/control.sock", "printed"]);
}
