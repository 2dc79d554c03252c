//! What both sides say before a session begins: HELLO and its answer, the have-maps, and the refusals.
//! It opens single connections; which of them make a session is `session.rs`'s business.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use landfall_core::receiver::UNITS_PER_PAGE;
use landfall_core::{Bitmap, UNIT};
use landfall_wire::{
    ErrorCode, ErrorMessage, HavePage, Hello, HelloAck, HelloDisk, Lane, PROTOCOL_MAX,
    PROTOCOL_MIN, features, kind,
};
use rustls::pki_types::ServerName;

use super::job::Job;
use crate::link::{Frame, Link, LinkReader, invalid};
use crate::tls::Secured;

/// What this source can do beyond the version.
const FEATURES: u64 =
    features::CODEC_LZ4 | features::CODEC_ZSTD | features::BATCH | features::REREAD;
const CONNECT_MAX: Duration = Duration::from_secs(3);
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// Why no session came about, or why it ended.
pub(super) struct Loss {
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Only a person can help.
    pub(super) permanent: bool,
}

impl Loss {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), permanent: false }
    }
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        Self::new("CONNECTION_LOST", format!("The receiver cannot be reached: {error}"))
    }
}

/// What this source says of itself and the job on its first connection.
pub(super) fn hello(job: &Job, session: u64) -> Hello {
    let control = job.control.lock().expect("control");
    let disk = |disk: &super::job::JobDiskIo| HelloDisk {
        source: disk.pair.source_uuid.to_bytes(),
        destination: disk.pair.destination_uuid.to_bytes(),
        capacity_bytes: disk.pair.capacity_bytes.0,
    };
    Hello {
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        features: FEATURES,
        lane: Lane::Prio,
        session,
        generation: control.spec.generation,
        migration: control.spec.vm_migration_id.as_str().into(),
        build: env!("CARGO_PKG_VERSION").into(),
        disks: job.disks.iter().map(disk).collect(),
    }
}

pub(super) fn receiver_address(job: &Job) -> Result<SocketAddr, Loss> {
    let control = job.control.lock().expect("control");
    let receiver = control.spec.receiver.as_ref();
    let address = receiver.and_then(|receiver| {
        let ip: IpAddr = receiver.address.parse().ok()?;
        Some(SocketAddr::new(ip, receiver.port))
    });
    address.ok_or_else(|| Loss::new("NO_RECEIVER", "The job names no receiver"))
}

/// One connection up to its HELLO_ACK.
pub(super) fn open(
    job: &Job,
    address: SocketAddr,
    tls: &Arc<rustls::ClientConfig>,
    hello: &Hello,
    epoch: u32,
) -> Result<(Arc<Link>, LinkReader, HelloAck), Loss> {
    let socket = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(HANDSHAKE_MAX))?;
    socket.set_write_timeout(Some(HANDSHAKE_MAX))?;
    let name = ServerName::IpAddress(address.ip().into());
    let secured = Secured::connect(socket, tls, name).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Loss::new(
            "TLS_FAILED",
            format!(
                "The receiver's certificate or version does not fit, or the path changes bytes: {error}"
            ),
        ),
        _ => error.into(),
    })?;
    if secured.alpn() != Some(landfall_wire::ALPN) {
        return Err(Loss::new("TLS_FAILED", "The receiver does not speak mig/1 on this port"));
    }
    let (link, mut reader) = Link::new(secured)?;
    link.send(&[Frame::new(kind::HELLO, epoch, &hello.encode())], |_| {})?;
    let mut payload = Vec::new();
    let header = reader.read(&mut payload)?;
    match header.kind {
        kind::HELLO_ACK => {
            let ack = HelloAck::decode(&payload).map_err(invalid)?;
            Ok((link, reader, ack))
        }
        kind::ERR => Err(refused(job, &ErrorMessage::decode(&payload).map_err(invalid)?)),
        other => Err(Loss::new("PROTOCOL", format!("Frame of kind {other} instead of HELLO_ACK"))),
    }
}

/// A refusal of the receiver. An epoch that is not above the one it knows is raised.
fn refused(job: &Job, message: &ErrorMessage) -> Loss {
    if message.code == ErrorCode::Stale
        && message.value >= u64::from(job.epoch.load(SeqCst))
        && let Err(error) = job.distrust(message.value as u32 + 1)
    {
        return Loss::new("STORAGE_FAILED", format!("The epoch cannot be raised: {error}"));
    }
    let (code, permanent) = error_code(message.code);
    Loss { code, message: format!("The receiver refuses: {}", message.text), permanent }
}

/// Code of a refusal in the job's status, and whether only a person can help.
pub(super) fn error_code(code: ErrorCode) -> (&'static str, bool) {
    match code {
        ErrorCode::Version => ("VERSION_MISMATCH", true),
        ErrorCode::WrongMigration => ("WRONG_MIGRATION", true),
        ErrorCode::Owned => ("DESTINATION_OWNS", true),
        ErrorCode::Stale => ("STALE_SESSION", false),
        ErrorCode::StaleGeneration => ("STALE_GENERATION", false),
        ErrorCode::Storage => ("DESTINATION_STORAGE_FAILED", false),
        ErrorCode::DiskFull => ("DESTINATION_FULL", false),
        ErrorCode::NotPrepared => ("DESTINATION_NOT_PREPARED", false),
        ErrorCode::Protocol | ErrorCode::Other(_) => ("PROTOCOL", false),
    }
}

/// The receiver's have-maps, up to its RESUME.
pub(super) fn read_have(job: &Job, reader: &mut LinkReader) -> Result<Vec<Bitmap>, Loss> {
    let new_map = |disk: &super::job::JobDiskIo| Bitmap::for_disk(disk.disk.file.capacity(), UNIT);
    let mut maps: Vec<Bitmap> = job.disks.iter().map(new_map).collect();
    let mut payload = Vec::new();
    loop {
        let header = reader.read(&mut payload)?;
        match header.kind {
            kind::HAVE => {
                let page = HavePage::decode(&payload).map_err(invalid)?;
                let map = maps.get_mut(usize::from(header.disk));
                let fits = map.as_ref().is_some_and(|map| {
                    header.off.checked_mul(UNITS_PER_PAGE).is_some_and(|first| first < map.len())
                });
                let Some(map) = map.filter(|_| fits) else {
                    return Err(Loss::new("PROTOCOL", "A have-map of a disk that is not here"));
                };
                let first = header.off * (UNITS_PER_PAGE / 64);
                for (at, word) in page.words.iter().enumerate().filter(|(_, word)| **word != 0) {
                    map.merge_word(first + at as u64, *word);
                }
            }
            kind::RESUME => return Ok(maps),
            kind::ACK | kind::PING => {}
            other => return Err(Loss::new("PROTOCOL", format!("Frame {other} before RESUME"))),
        }
    }
}

impl Job {
    /// The receiver knows a later epoch than this source: another one, or later state of this one,
    /// was at work. Nothing is believed.
    fn distrust(&self, epoch: u32) -> io::Result<()> {
        for disk in &self.disks {
            let base = disk.pair.destination_uuid.to_bytes();
            disk.disk.lose_trust(base, "the receiver knows a later epoch");
            disk.disk.book.lock().expect("book").suspect_all();
        }
        self.raise_epoch(epoch)
    }

    /// A new epoch: durable first, then in force. What is suspect must be compared.
    pub(super) fn raise_epoch(&self, epoch: u32) -> io::Result<()> {
        for disk in &self.disks {
            let mut sidecar = disk.disk.sidecar.lock().expect("sidecar");
            let state = sidecar.state;
            sidecar.store(super::sidecar::SidecarState { epoch, ..state })?;
        }
        self.epoch.store(epoch, SeqCst);
        self.session_number.store(0, SeqCst);
        self.distrust.store(true, SeqCst);
        self.disks.iter().for_each(|disk| disk.reread.lock().expect("reread").reset());
        Ok(())
    }
}
