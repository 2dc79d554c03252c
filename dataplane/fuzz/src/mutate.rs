//! Changes inputs as a fuzzer does, from a seed: the same seed gives the same inputs everywhere.

/// Numbers at which decoders go wrong.
const EDGES: [u64; 10] =
    [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, u64::MAX];
/// Longest input that is made.
const BYTES_MAX: usize = 64 << 10;

/// A source of mutations.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// Every seed gives another series.
    pub fn new(seed: u64) -> Self {
        Self { state: seed ^ 0x9E37_79B9_7F4A_7C15 }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A changed copy of one of the inputs, sometimes with a part of another in it.
    pub fn change(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(6) {
            let other = &inputs[self.below(inputs.len())];
            self.step(&mut bytes, other);
        }
        bytes.truncate(BYTES_MAX);
        bytes
    }

    fn step(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        if bytes.is_empty() {
            bytes.push(self.next() as u8);
        }
        let at = self.below(bytes.len());
        let span = 1 + self.below((bytes.len() - at).min(64));
        match self.below(9) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.next() as u8,
            2 => {
                let edge = EDGES[self.below(EDGES.len())];
                let width = [1, 2, 4, 8][self.below(4)];
                let order = match self.below(2) {
                    0 => edge.to_le_bytes()[..width].to_vec(),
                    _ => edge.to_be_bytes()[8 - width..].to_vec(),
                };
                for (byte, new) in bytes[at..].iter_mut().zip(order) {
                    *byte = new;
                }
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..at + span)),
            5 => {
                let copy = bytes[at..at + span].to_vec();
                bytes.splice(at..at, copy);
            }
            6 => bytes[at] = bytes[at].wrapping_add(1).wrapping_sub(2 * (self.below(2) as u8)),
            7 if !other.is_empty() => {
                let from = self.below(other.len());
                let len = 1 + self.below((other.len() - from).min(256));
                bytes.splice(at..at, other[from..from + len].iter().copied());
            }
            _ => {
                let fill = vec![self.next() as u8; span];
                bytes.splice(at..at, fill);
            }
        }
    }
}
