//! Packs content for the wire, each sending thread with its own encoder. Which codec is in force
//! is decided once a second (`growth.rs`); content that does not get smaller goes as it is.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use landfall_core::tuning::{Incompressible, worth};
use landfall_wire::{Codec, Packer, packed_len_max};

use super::job::Job;
use super::session::Session;
use crate::clock::now_ns;

/// Codecs with their levels, from none to the strongest.
pub(super) const STEPS: [(Codec, i32); 6] = [
    (Codec::None, 0),
    (Codec::Lz4, 0),
    (Codec::Zstd, -5),
    (Codec::Zstd, 1),
    (Codec::Zstd, 3),
    (Codec::Zstd, 6),
];

/// The step in force when a codec is asked for by name: of zstd the level that suits most links.
fn codec_of(step: u64) -> Codec {
    STEPS.get(step as usize).map_or(Codec::None, |(codec, _)| *codec)
}

fn step_of(codec: Codec) -> u64 {
    match codec {
        Codec::None => 0,
        Codec::Lz4 => 1,
        Codec::Zstd => 3,
    }
}

impl Job {
    /// Fixes the codec, or lets it be chosen by what pays, beginning with none.
    /// The codec, if it was chosen by a person.
    pub(super) fn fixed_codec(&self) -> Option<Codec> {
        let step = self.stages.codec_step.load(Relaxed);
        self.codec_fixed.load(Relaxed).then(|| codec_of(step))
    }

    pub(super) fn set_codec(&self, codec: Option<Codec>) {
        self.codec_fixed.store(codec.is_some(), Relaxed);
        self.stages.codec_step.store(codec.map_or(0, step_of), Relaxed);
    }
}

/// One thread's encoder.
#[derive(Default)]
pub(super) struct Packing {
    packer: Packer,
    skip: Incompressible,
    out: Vec<u8>,
    used: usize,
}

/// Content as it goes on the wire: packed, and where; or as it is.
pub(super) type Packed = Option<(Codec, Range<usize>)>;

impl Packing {
    /// Forgets what was packed for the frames before.
    pub(super) fn begin(&mut self) {
        self.used = 0;
    }

    /// Packs the content of one frame, where a codec is in force, both sides speak it and it pays.
    pub(super) fn pack(
        &mut self,
        job: &Job,
        session: &Session,
        index: usize,
        raw: &[u8],
    ) -> Packed {
        let step = job.stages.codec_step.load(Relaxed) as usize;
        let (codec, level) = *STEPS.get(step)?;
        let spoken = session.features & codec.feature() != 0;
        if !spoken || !self.skip.try_next() {
            return None;
        }
        let start = now_ns();
        let end = self.used + packed_len_max(raw.len());
        self.out.resize(self.out.len().max(end), 0);
        let room = &mut self.out[self.used..end];
        let len = self.packer.pack(codec, level, raw, room);
        let smaller = len.filter(|len| worth(raw.len(), *len));
        self.skip.tried(smaller.is_some());
        let stages = &job.disks[index].stages;
        stages.codec.passed(start, raw.len() as u64);
        stages.packed_bytes.fetch_add(smaller.unwrap_or(raw.len()) as u64, Relaxed);
        let range = self.used..self.used + smaller?;
        self.used = range.end;
        Some((codec, range))
    }

    /// What [`Packing::pack`] made.
    pub(super) fn packed(&self, range: &Range<usize>) -> &[u8] {
        &self.out[range.clone()]
    }
}
