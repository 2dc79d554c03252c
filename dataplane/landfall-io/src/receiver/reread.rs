//! Leaves that are read from the destination's disk again, for scrub and verification. What was
//! read replaces the leaf that was known: the disk is what counts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use landfall_core::tree::{Hash, Taken, zero_parts};
use landfall_wire::{HashKind, REREAD_PARTS_MAX, Want};

use super::Destination;
use crate::cold_reader::ColdReader;
use crate::disk_file::NextData;

/// Questions of one receiver that may be worked on at once: bounds threads and memory.
const AT_ONCE_MAX: usize = 8;

/// Counts the questions under way.
#[derive(Default)]
pub(super) struct Rereads(Arc<AtomicUsize>);

/// One question under way.
pub(super) struct Turn(Arc<AtomicUsize>);

impl Rereads {
    /// `None` when there are too many already: no honest source asks so much.
    pub(super) fn enter(&self) -> Option<Turn> {
        let before = self.0.fetch_add(1, SeqCst);
        let turn = Turn(self.0.clone());
        (before < AT_ONCE_MAX).then_some(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Destination {
    /// Hashes of chunks, or of their parts, each read from the disk now. Holes are known zeroes.
    pub(super) fn reread(&self, want: Want) -> io::Result<Vec<Hash>> {
        if want.kind == HashKind::RereadNodes {
            return self.zero_nodes(want);
        }
        let parts = want.kind == HashKind::RereadParts;
        let leaves = self.book.lock().expect("book").tree().leaves();
        let count = u64::from(want.count).min(if parts { REREAD_PARTS_MAX } else { u64::MAX });
        let range = want.first.min(leaves)..want.first.saturating_add(count).min(leaves);
        let mut hashes = Vec::new();
        let mut reader = None;
        let mut data = NextData::of(&self.file);
        for leaf in range {
            let (known, chunk) = {
                let book = self.book.lock().expect("book");
                (book.tree().leaf(leaf), book.tree().chunk(leaf))
            };
            let next = data.from(chunk.off)?;
            if let Some(zeroes) = self.zeroes(leaf, known).filter(|_| next >= chunk.end()) {
                if parts {
                    hashes.extend(zero_parts(chunk.len));
                } else {
                    hashes.push(zeroes);
                }
                continue;
            }
            let reader = reader.get_or_insert_with(|| ColdReader::new(&self.file));
            let taken = self.reread_chunk(reader, leaf, known)?;
            if parts {
                hashes.extend(taken.parts().into_iter().flatten());
            } else {
                hashes.extend(taken.whole());
            }
        }
        Ok(hashes)
    }

    /// Hashes of nodes that are holes; of others zero bytes, which are no node's hash.
    fn zero_nodes(&self, want: Want) -> io::Result<Vec<Hash>> {
        let nodes = self.book.lock().expect("book").tree().nodes();
        let range = want.first.min(nodes)..want.first.saturating_add(want.count.into()).min(nodes);
        let mut data = NextData::of(&self.file);
        let mut hashes = Vec::with_capacity((range.end - range.start) as usize);
        for node in range {
            let (extent, known) = {
                let book = self.book.lock().expect("book");
                let known = book.tree().is_zero_node(node).then(|| book.tree().node(node));
                (book.tree().node_extent(node), known.flatten())
            };
            let hole = data.from(extent.off)? >= extent.end();
            hashes.push(known.filter(|_| hole).unwrap_or([0; 32]));
        }
        Ok(hashes)
    }

    /// Hash of a chunk of zeroes, where that is what is known of it.
    fn zeroes(&self, leaf: u64, known: Option<Hash>) -> Option<Hash> {
        let zeroes = self.book.lock().expect("book").tree().zero(leaf);
        known.filter(|known| *known == zeroes)
    }

    fn reread_chunk(
        &self,
        reader: &mut ColdReader,
        leaf: u64,
        known: Option<Hash>,
    ) -> io::Result<Taken> {
        let (hashing, touches) = {
            let mut book = self.book.lock().expect("book");
            let touches = book.tree().touches();
            (book.tree_mut().begin_whole(leaf), touches)
        };
        let taken = reader.take(&self.file, hashing);
        let mut book = self.book.lock().expect("book");
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                book.tree_mut().abandon(hashing);
                return Err(error);
            }
        };
        let hash = taken.whole().ok_or_else(|| io::Error::other("a chunk was read in part"))?;
        book.tree_mut().put(&taken);
        if known.is_some_and(|known| known != hash) && book.tree().touches() == touches {
            let disk = self.pair.destination_uuid.as_str();
            tracing::error!(disk, leaf, "the disk holds another chunk than was written to it");
        }
        Ok(taken)
    }
}
