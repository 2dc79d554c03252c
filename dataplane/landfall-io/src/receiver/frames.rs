//! What the frames of a source ask for: content for the disks, hashes, barriers, the hand-over.

use std::sync::Arc;

use landfall_core::Extent;
use landfall_wire::{Barrier, ErrorCode, HashKind, Header, Own, Run, Want, flags, kind};

use super::lane::Item;
use super::session::{LaneState, Refusal, Session, say};
use super::{Destination, Receiver, answers};
use crate::link::Frame;

/// Carries out one frame; whether it changed a disk is the answer.
pub(super) fn carry_out(
    receiver: &Arc<Receiver>,
    session: &Arc<Session>,
    lane: &Arc<LaneState>,
    item: &Item,
) -> Result<bool, Refusal> {
    let (header, payload) = (&item.header, item.payload());
    match header.kind {
        kind::DATA => {
            let (disk, extent) = target(receiver, session, header, header.raw.into())?;
            disk.apply_data(extent, item.content())?;
            Ok(true)
        }
        kind::BATCH => {
            let mut rest = item.content();
            for (off, len) in &item.batch.extents {
                let header = Header { off: *off, ..*header };
                let (disk, extent) = target(receiver, session, &header, (*len).into())?;
                let (content, later) = rest.split_at(*len as usize);
                disk.apply_data(extent, content)?;
                rest = later;
            }
            Ok(true)
        }
        kind::ZERO | kind::HOLE => {
            let run = Run::decode(payload)?;
            let (disk, extent) = target(receiver, session, header, run.length)?;
            disk.apply_zeroes(extent)?;
            Ok(true)
        }
        kind::WANT => {
            let want = Want::decode(payload)?;
            let disk = disk_of(session, header)?;
            if want.kind == HashKind::Units {
                answer_want(lane, header.disk, disk, want)?;
            } else {
                let (lane, disk, index) = (lane.clone(), disk.clone(), header.disk);
                let turn = match want.kind {
                    HashKind::Reread | HashKind::RereadParts | HashKind::RereadNodes => Some(
                        receiver
                            .rereads
                            .enter()
                            .ok_or_else(|| Refusal::protocol("too many questions at once"))?,
                    ),
                    _ => None,
                };
                aside(lane.clone(), move || {
                    let _turn = turn;
                    answer_want(&lane, index, &disk, want)
                });
            }
            Ok(false)
        }
        kind::BARRIER => {
            let barrier = Barrier::decode(payload)?;
            let (receiver, session, lane) = (receiver.clone(), session.clone(), lane.clone());
            aside(lane.clone(), move || {
                let ack = receiver.barrier(&session.disks, barrier)?.encode();
                Ok(lane.link.send(&[Frame::new(kind::BARRIER_ACK, lane.epoch, &ack)], |_| {})?)
            });
            Ok(false)
        }
        kind::OWN => {
            let own = Own::decode(payload)?;
            let (receiver, session, lane) = (receiver.clone(), session.clone(), lane.clone());
            aside(lane.clone(), move || {
                let ack = receiver.own(&session.disks, &own)?.encode();
                Ok(lane.link.send(&[Frame::new(kind::OWN_ACK, lane.epoch, &ack)], |_| {})?)
            });
            Ok(false)
        }
        kind::HURRY => {
            receiver.hurry.begin();
            Ok(false)
        }
        kind::PING | kind::BYE => Ok(false),
        _ if header.flags & flags::SKIPPABLE != 0 => Ok(false),
        other => Err(Refusal::protocol(format!("frame of kind {other} is not expected here"))),
    }
}

/// Runs something long beside the connection's reading, so that signs of life go on.
fn aside(lane: Arc<LaneState>, act: impl FnOnce() -> Result<(), Refusal> + Send + 'static) {
    let run = move || {
        if let Err(refusal) = act() {
            say(&lane.link, lane.epoch, &refusal);
            lane.link.close();
        }
    };
    std::thread::Builder::new()
        .name("lf-answer".into())
        .spawn(run)
        .expect("a thread can be started");
}

fn answer_want(
    lane: &LaneState,
    index: u16,
    disk: &Destination,
    want: Want,
) -> Result<(), Refusal> {
    let hashes = answers::hashes(disk, want)?.encode();
    let frame = Frame::new(kind::HASHES, lane.epoch, &hashes).disk(index.into());
    Ok(lane.link.send(&[frame], |_| {})?)
}

fn disk_of<'a>(session: &'a Session, header: &Header) -> Result<&'a Arc<Destination>, Refusal> {
    let disk = session.disks.get(usize::from(header.disk));
    disk.ok_or_else(|| Refusal::protocol("a disk HELLO did not name"))
}

fn target<'a>(
    receiver: &Receiver,
    session: &'a Session,
    header: &Header,
    length: u64,
) -> Result<(&'a Arc<Destination>, Extent), Refusal> {
    let ownership = receiver.ownership();
    if !ownership.writable() {
        let text = "the destination owns the disks";
        return Err(Refusal::new(ErrorCode::Owned, ownership.token(), text));
    }
    if header.flags & flags::IF_ABSENT != 0 {
        return Err(Refusal::protocol("IF_ABSENT is not spoken in this version"));
    }
    let disk = disk_of(session, header)?;
    let end = header.off.checked_add(length);
    if end.is_none_or(|end| end > disk.file.capacity()) {
        return Err(Refusal::protocol("an extent lies beyond the end of its disk"));
    }
    Ok((disk, Extent::new(header.off, length)))
}
