//! HAVE: one gibibyte of the have-map, packed as nothing, everything, runs or bits.

use crate::WireError;
use crate::bytes::Input;

/// Units of 64 KiB in one frame: 1 GiB.
pub const HAVE_UNITS_PER_FRAME: usize = 16_384;
const BITMAP_LEN: usize = HAVE_UNITS_PER_FRAME / 8;
const RUNS_MAX: usize = BITMAP_LEN / 2 - 1;

/// The bits of one gibibyte, least significant bit first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HavePage {
    /// 256 words of 64 bits.
    pub words: Box<[u64; HAVE_UNITS_PER_FRAME / 64]>,
}

impl Default for HavePage {
    fn default() -> Self {
        Self { words: Box::new([0; HAVE_UNITS_PER_FRAME / 64]) }
    }
}

impl HavePage {
    /// Whether unit `at` of the page is there.
    pub fn get(&self, at: usize) -> bool {
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    /// Sets unit `at` of the page.
    pub fn set(&mut self, at: usize) {
        self.words[at / 64] |= 1 << (at % 64);
    }

    /// The shortest of the four forms.
    pub fn encode(&self) -> Vec<u8> {
        if self.words.iter().all(|word| *word == 0) {
            return vec![0];
        }
        if self.words.iter().all(|word| *word == u64::MAX) {
            return vec![1];
        }
        match self.runs() {
            Some(runs) => {
                let mut out = vec![2];
                out.extend_from_slice(&(runs.len() as u16).to_le_bytes());
                runs.iter().for_each(|run| out.extend_from_slice(&run.to_le_bytes()));
                out
            }
            None => {
                let mut out = Vec::with_capacity(1 + BITMAP_LEN);
                out.push(3);
                self.words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
                out
            }
        }
    }

    /// Alternating lengths of absent and present units, or nothing if bits are shorter.
    fn runs(&self) -> Option<Vec<u16>> {
        let mut runs = Vec::new();
        let mut current = false;
        let mut start = 0;
        for at in 0..HAVE_UNITS_PER_FRAME {
            if self.get(at) != current {
                if runs.len() == RUNS_MAX {
                    return None;
                }
                runs.push((at - start) as u16);
                current = !current;
                start = at;
            }
        }
        runs.push((HAVE_UNITS_PER_FRAME - start) as u16);
        Some(runs)
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Input::new(bytes, "HAVE");
        let mut page = Self::default();
        match input.u8()? {
            0 => {}
            1 => page.words.fill(u64::MAX),
            2 => page.read_runs(&mut input)?,
            3 => {
                for word in page.words.iter_mut() {
                    *word = input.u64()?;
                }
            }
            _ => return Err(WireError::Invalid("have form")),
        }
        input.end()?;
        Ok(page)
    }

    fn read_runs(&mut self, input: &mut Input<'_>) -> Result<(), WireError> {
        let count = input.count(RUNS_MAX + 1, 2)?;
        let mut at = 0;
        for index in 0..count {
            let end = at + usize::from(input.u16()?);
            if end > HAVE_UNITS_PER_FRAME {
                return Err(WireError::Invalid("have run"));
            }
            if index % 2 == 1 {
                (at..end).for_each(|unit| self.set(unit));
            }
            at = end;
        }
        if at == HAVE_UNITS_PER_FRAME { Ok(()) } else { Err(WireError::Invalid("have run")) }
    }
}
