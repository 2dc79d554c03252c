//! Everything that both sides do to their disks and state files is recorded; then both are opened
//! as a kill or a loss of power would have left them at many moments of it. Whatever was cut off,
//! they must come to equal disks without a repair, and lose nothing that the guest flushed.
//! `LANDFALL_RECORDED_CUTS` sets at how many moments (24).

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use common::*;
use landfall_api::{HandoverState, JobSpec, JobState, JobStatus, OwnershipState, Verdict};
use landfall_io::recording::{self, Loss, Tape};
use landfall_io::{SourceVm, fault, is_sealed};
use landfall_nbd::Export;

const SIZES: [u64; 2] = [40 * MIB + 512, MIB + 512];
/// Where the guest keeps its counter, far from what it writes else.
const COUNTER: u64 = 36 * MIB;

static TURN: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    fault::set("").unwrap();
    turn
}

/// What happened, and what the guest may rely on.
struct Story {
    world: World,
    tape: Tape,
    /// Moments at which the guest knew a value of its counter to be durable.
    flushed: Vec<(usize, u64)>,
    /// Moments at which all was acknowledged.
    quiet: Vec<usize>,
}

fn new_world() -> World {
    World::new(&SIZES, |file, size| {
        file.write_all_at(&Random(7).bytes(65_536), 0).unwrap();
        file.write_all_at(&Random(8).bytes(9_000), size - 70_000).unwrap();
    })
}

fn begin(world: &World) -> Vec<Arc<dyn Export>> {
    let taps = world.attach();
    // A re-read would mend what must not be wrong in the first place.
    let spec = JobSpec { scrub: false, ..world.spec() };
    world.source.ensure_job(&job_id(), spec).unwrap();
    world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
    taps
}

fn open_source(world: &mut World) {
    let state = world.dir.path().join("source-state");
    world.source = SourceVm::open(&state, vm_uuid()).unwrap();
}

/// A first copy with a guest at work, quiet times in which regions leave the log, and a start
/// of either side after an orderly end.
fn replicated() -> Story {
    let mut world = new_world();
    let mut tape = recording::start(world.dir.path()).unwrap();
    let mut taps = begin(&world);
    let (mut flushed, mut quiet) = (Vec::new(), Vec::new());
    let mut random = Random(11);
    for round in 1..=60_u64 {
        let off = random.below(24) * 17 * 4096;
        taps[0].write_at(&random.bytes(4096), off, false).unwrap();
        if round % 3 == 0 {
            taps[1].write_at(&random.bytes(512), random.below(2_000) * 512, false).unwrap();
            taps[0].trim(off + 65_536, 65_536, false).unwrap();
        }
        taps[0].write_at(&round.to_le_bytes().repeat(64), COUNTER, false).unwrap();
        if round % 2 == 0 {
            taps[0].flush().unwrap();
            flushed.push((recording::position(), round));
        }
        match round {
            20 | 50 => {
                world.ready();
                world.source.look_after(true);
                world.source.look_after(true);
                quiet.push(recording::position());
            }
            30 => {
                world.ready();
                // Afterwards the receiver knows every leaf, and keeps it.
                world.source.verify(&job_id(), world.generation).unwrap();
                let verdict = |status: &JobStatus| status.verify.as_ref().map(|run| run.verdict);
                world.wait("a verdict", 60, |status| verdict(status) == Some(Verdict::Equal));
                world.receiver().close();
                world.relay.reset();
                world.start_receiver();
            }
            40 => {
                world.source.close_clean();
                open_source(&mut world);
                taps = begin(&world);
            }
            _ => std::thread::sleep(std::time::Duration::from_millis(4)),
        }
    }
    world.ready();
    tape.stop();
    quiet.push(tape.len());
    Story { world, tape, flushed, quiet }
}

/// Makes both sides as they were, and opens them.
fn open_at(story: &mut Story, cut: usize, source: Loss, receiver: Loss) {
    let world = &mut story.world;
    world.source.close();
    *world.receiver.lock().unwrap() = None;
    world.relay.reset();
    let receivers = ["receiver-state", "destination"].map(|name| world.dir.path().join(name));
    let loss = |path: &Path| match receivers.iter().any(|root| path.starts_with(root)) {
        true => receiver,
        false => source,
    };
    // The state beside a disk belongs to that file: another inode would not be believed at all.
    let disks = [world.source_path(0), world.source_path(1)];
    story.tape.replay(cut, loss, |path| disks.iter().any(|disk| disk == path)).unwrap();
    world.start_receiver();
    open_source(world);
}

/// What is wrong after both sides went on from one moment; else what was compared by hash.
fn recovers(story: &mut Story, cut: usize, source: Loss, receiver: Loss) -> Result<u64, String> {
    open_at(story, cut, source, receiver);
    let mut found = [0; 8];
    File::open(story.world.source_path(0)).unwrap().read_exact_at(&mut found, COUNTER).unwrap();
    let sure = story.flushed.iter().filter(|(at, _)| *at <= cut).map(|(_, round)| *round).max();
    if u64::from_le_bytes(found) < sure.unwrap_or(0) {
        return Err("the guest lost what it flushed".into());
    }
    begin(&story.world);
    let ready = story.world.ready();
    let compared = ready.disks.iter().map(|disk| disk.compared_bytes.0).sum();
    let sent: u64 = ready.disks.iter().map(|disk| disk.sent_bytes.0).sum();
    if sent > 0 && story.quiet.contains(&cut) && source == Loss::Kill {
        return Err("what was acknowledged had to be sent again".into());
    }
    let status = story.world.hand_over(1);
    if status.handover.disks.iter().any(|disk| disk.repaired_chunks > 0) {
        return Err("the disks had to be repaired at the barrier".into());
    }
    same_disks(&story.world).map(|()| compared)
}

fn same_disks(world: &World) -> Result<(), String> {
    for disk in 0..SIZES.len() {
        let (ours, theirs) = (world.source_path(disk), world.destination_path(disk));
        if std::fs::read(ours).unwrap() != std::fs::read(theirs).unwrap() {
            return Err(format!("disk {disk} differs"));
        }
    }
    Ok(())
}

/// Moments spread over all that was recorded, every second one in the middle of a flush, with how
/// each side ends there.
fn cuts(tape: &Tape) -> Vec<(usize, Loss, Loss)> {
    let count = std::env::var("LANDFALL_RECORDED_CUTS").map_or(24, |text| text.parse().unwrap());
    let flushes = tape.flushes();
    let mut cuts: Vec<usize> = (1..=count).map(|at| tape.len() * at / count).collect();
    for cut in cuts.iter_mut().step_by(2) {
        if let Some(next) = flushes.iter().find(|at| *at >= cut) {
            *cut = next + 1;
        }
    }
    let ends = |(at, cut): (usize, usize)| {
        let seed = at as u64 + 1;
        match at % 5 {
            0 => (cut, Loss::Kill, Loss::Kill),
            1 => (cut, Loss::Power(seed), Loss::Kill),
            2 => (cut, Loss::Power(seed), Loss::Power(seed + 1)),
            3 => (cut, Loss::Unflushed, Loss::Unflushed),
            _ => (cut, Loss::Kill, Loss::Power(seed)),
        }
    };
    cuts.into_iter().enumerate().map(ends).collect()
}

/// Moments at which all was acknowledged; then the receiver loses power.
fn quiet(story: &Story) -> Vec<(usize, Loss, Loss)> {
    story.quiet.iter().map(|cut| (*cut, Loss::Kill, Loss::Unflushed)).collect()
}

#[test]
fn i1_to_i4_from_any_moment_both_sides_come_to_equal_disks_without_repair() {
    let _turn = alone();
    let mut story = replicated();
    let mut compared = Vec::new();
    for (cut, source, receiver) in [cuts(&story.tape), quiet(&story)].concat() {
        match recovers(&mut story, cut, source, receiver) {
            Ok(bytes) => compared.push(bytes),
            Err(wrong) => panic!(
                "{wrong}: cut {cut} of {}, source {source:?}, receiver {receiver:?}",
                story.tape.len()
            ),
        }
    }
    let whole: u64 = SIZES.iter().sum();
    let by_log = compared.iter().filter(|bytes| **bytes < whole).count();
    assert!(by_log > compared.len() / 2, "log or map spoke in {by_log} of {compared:?}");
}

/// The proof that the test above can fail: a flush is left out, and the loss is seen.
#[test]
fn a_flush_that_is_left_out_is_noticed() {
    let _turn = alone();
    for lie in ["target-sync", "have-sync", "intent-sync", "source-sync", "leaves-sync"] {
        fault::set(&format!("{lie}:1+:lie")).unwrap();
        let mut story = replicated();
        fault::set("").unwrap();
        // With all that was not flushed gone, the guest's writes are gone with it: a part tells more.
        let powerless = cuts(&story.tape).into_iter().rev().flat_map(|(cut, ..)| {
            let part = |salt: u64| Loss::Power(cut as u64 + salt);
            [(cut, part(0), part(0)), (cut, part(1 << 20), part(1 << 20))]
        });
        let mut cuts = quiet(&story).into_iter().chain(powerless);
        let noticed = cuts.find_map(|(cut, source, receiver)| {
            Some((cut, recovers(&mut story, cut, source, receiver).err()?))
        });
        println!("{lie}: {noticed:?} of {}", story.tape.len());
        assert!(noticed.is_some(), "{lie} was left out and nothing was lost");
    }
}

#[test]
fn from_any_moment_of_the_hand_over_there_is_one_owner_in_the_end() {
    let _turn = alone();
    let world = new_world();
    let taps = begin(&world);
    world.ready();
    let mut tape = recording::start(world.dir.path()).unwrap();
    taps[0].write_at(&[3; 8192], 65_536, false).unwrap();
    world.hand_over(1);
    tape.stop();
    let mut story = Story { world, tape, flushed: Vec::new(), quiet: Vec::new() };
    let (mut sealed_cuts, mut open_cuts) = (0, 0);
    for (cut, source, receiver) in cuts(&story.tape) {
        let said = format!("cut {cut}, source {source:?}, receiver {receiver:?}");
        open_at(&mut story, cut, source, receiver);
        let world = &story.world;
        let sealed = (0..SIZES.len())
            .all(|disk| is_sealed(&world.source_path(disk), &source_uuid(disk), SIZES[disk]));
        let owns = world.receiver().status().ownership.state == OwnershipState::Active;
        assert!(sealed || !owns, "two owners: {said}");
        world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
        if sealed {
            sealed_cuts += 1;
        } else {
            open_cuts += 1;
            begin(world);
            world.ready_or_frozen();
            world.source.set_open(false).unwrap();
            world.source.freeze(&job_id(), 1, 1).unwrap();
            world.wait("equal roots", 60, |s| s.handover.state == HandoverState::RootsEqual);
        }
        let status = world.source.hand_over(&job_id(), 1, 1).unwrap();
        assert_eq!(status.state, JobState::Active, "{said}");
        assert_eq!(world.receiver().status().ownership.state, OwnershipState::Active, "{said}");
        same_disks(world).unwrap_or_else(|wrong| panic!("{wrong}: {said}"));
    }
    assert!(sealed_cuts > 2 && open_cuts > 2, "{sealed_cuts} sealed, {open_cuts} not");
}
