//! Content that is packed, and small writes that share a frame, arrive as they were.

mod common;

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use common::*;
use landfall_api::JobStatus;
use landfall_wire::Codec;

/// Text that any codec makes much smaller, with something random in every megabyte.
fn fill_text(file: &std::fs::File, bytes: u64) {
    let mut random = Random(11);
    for at in (0..bytes).step_by(MIB as usize) {
        let mut text: Vec<u8> = b"a line as it stands in a log file\n".repeat(31_000);
        let part = random.bytes(100_000);
        text[..part.len()].copy_from_slice(&part);
        text.truncate((bytes - at).min(MIB) as usize);
        file.write_all_at(&text, at).unwrap();
    }
}

#[test]
fn packed_content_is_smaller_on_the_wire_and_the_same_on_the_disk() {
    for codec in [Codec::Lz4, Codec::Zstd] {
        let total = 24 * MIB;
        let world = World::new(&[total], fill_text);
        let taps = world.attach();
        world.source.ensure_job(&job_id(), world.spec()).unwrap();
        world.source.set_codec(&job_id(), world.generation, Some(codec)).unwrap();
        world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
        world.ready();
        let moved = world.relay.forward_bytes.load(SeqCst);
        assert!(moved < total / 4, "{codec:?}: {moved} of {total}");
        for unit in 0..40 {
            taps[0].write_at(&[7; 4096], unit * 300_000 / 4096 * 4096, false).unwrap();
        }
        world.ready();
        world.hand_over(1);
        world.assert_equal();
    }
}

#[test]
fn p2_an_absolute_limit_counts_what_goes_on_the_line_not_what_was_packed() {
    let limit = 2 * MIB;
    let world = World::new(&[192 * MIB], fill_text);
    world.attach();
    let mut spec = world.spec();
    spec.dials.bytes_per_second_max = Some(limit.into());
    world.source.ensure_job(&job_id(), spec).unwrap();
    world.source.set_codec(&job_id(), world.generation, Some(Codec::Zstd)).unwrap();
    world.source.install_tls(&job_id(), world.tls.client.clone()).unwrap();
    let sent = |status: &JobStatus| status.disks[0].sent_bytes.0;
    let sent_before =
        sent(&world.wait("start", 60, |status| status.rates.background_bytes_per_second > 4e6));
    let (begun, before) = (Instant::now(), world.relay.forward_bytes.load(SeqCst));
    let status = world.wait("some of the copy", 60, |status| sent(status) > sent_before + 48 * MIB);
    let moved = world.relay.forward_bytes.load(SeqCst) - before;
    let allowed = begun.elapsed().as_secs_f64() * limit as f64;
    let content = sent(&status) - sent_before;
    assert!(content > 4 * moved, "{moved} on the line for {content}");
    assert!(moved as f64 > 0.7 * allowed, "{moved} of {allowed}");
    assert!((moved as f64) < 1.1 * allowed + MIB as f64, "{moved} of {allowed}");
}

#[test]
fn small_writes_share_frames() {
    let total = 64 * MIB;
    let world = World::new(&[total], fill_random);
    let taps = world.begin();
    world.ready();
    world.source.pause(&job_id(), world.generation).unwrap();
    let before = world.relay.forward_bytes.load(SeqCst);
    let mut random = Random(5);
    let writes = 1_500;
    for at in 0..writes {
        taps[0].write_at(&random.bytes(4096), at * 40_960 + 512, false).unwrap();
    }
    world.source.resume(&job_id(), world.generation).unwrap();
    world.ready();
    let moved = world.relay.forward_bytes.load(SeqCst) - before;
    // Each write touches two blocks. A frame of its own would cost 72 bytes for each.
    let content = writes * 8192;
    assert!(moved >= content && moved < content + writes * 40 + MIB / 2, "{moved} for {content}");
    world.hand_over(1);
    world.assert_equal();
}
