//! `replicator receiver --disk …`: the receiver of one source, paired by a file instead of an
//! enrolment. It has no control face on its port; whoever is paired can send, nobody else.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Router;
use landfall_api::{ByteCount, Code, DiskPair, PrepareDisks, Problem};
use landfall_io::Receiver;

use super::args::ByteSize;
use super::disks::HeldDisk;
use super::pair::{Pairing, open_receiver};
use super::{absolute, listen, say, serve_metrics, trouble};
use crate::agent::{routes, server_config};
use crate::durable;
use crate::listener::{DATA_PROTOCOL, Port, serve};
use crate::receiver::data_server;
use crate::source::{End, lock_vm};

/// What was asked for.
pub struct ByHand {
    /// Destination disks, in the order of the source's.
    pub disks: Vec<PathBuf>,
    /// Capacities of disks that are to be made: one for all, or one each.
    pub capacities: Vec<ByteSize>,
    /// Files that have the capacity instead: one for all, or one each.
    pub like: Vec<PathBuf>,
    /// Address for the source's connections.
    pub listen: SocketAddr,
    /// Folder that outlives the process.
    pub state: PathBuf,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Made at the first start, for the source.
    pub pair: PathBuf,
}

/// Runs until the process is ended.
pub async fn run(args: ByHand) -> Result<(), Problem> {
    let mut end = End::watch()?;
    durable::make_folder(&args.state)?;
    let state = absolute(&args.state)?;
    let _lock = lock_vm(&state).map_err(|problem| {
        trouble(
            problem.code,
            format!("another process uses the state folder {}", state.display()),
            "End it first, or give another --state.",
        )
    })?;
    let listener = listen(args.listen, "--listen").await?;
    let wanted = capacities(&args)?;
    let (pairing, agent) = open_receiver(&state, &args.pair)?;
    let mut held = Vec::new();
    let mut pairs = Vec::new();
    for (at, (path, capacity)) in args.disks.iter().zip(wanted).enumerate() {
        let disk = take(path, capacity)?;
        pairs.push(link(&state, &pairing, at, &disk)?);
        held.push(disk);
    }
    let receiver = Receiver::open(pairing.id.clone(), &state.join("engine"), &state.join("disks"))?;
    receiver.prepare_disks(PrepareDisks { generation: 1, disks: pairs })?;
    let figures = Arc::clone(&receiver);
    let metrics = serve_metrics(args.metrics, "receiver", move || figures.metrics()).await?;
    let port = Port {
        tls: server_config(&agent, &[DATA_PROTOCOL])?,
        control: routes(&agent, Router::new()),
        data: Some(data_server(receiver.clone(), pairing.name("source"))),
        agent,
    };
    let address = listener.local_addr().map_err(|error| Problem::storage("--listen", &error))?;
    say(&serde_json::json!({ "listening": address, "metrics": metrics }));
    tokio::select! {
        served = serve(listener, port) => served,
        () = end.wait() => crate::http::blocking(move || {
            receiver.close();
            Ok(())
        })
        .await,
    }
}

/// The capacity that was said for each disk, if any.
fn capacities(args: &ByHand) -> Result<Vec<Option<u64>>, Problem> {
    let mut said: Vec<u64> = args.capacities.iter().map(|size| size.0).collect();
    for path in &args.like {
        said.push(HeldDisk::capacity_of(path)?);
    }
    let disks = args.disks.len();
    match said.len() {
        0 => Ok(vec![None; disks]),
        1 => Ok(vec![Some(said[0]); disks]),
        count if count == disks => Ok(said.into_iter().map(Some).collect()),
        count => Err(trouble(
            Code::BadRequest,
            format!("there are {disks} disks but {count} capacities"),
            "Give --capacity once for all disks, or once for each in the same order.",
        )),
    }
}

fn take(path: &Path, capacity: Option<u64>) -> Result<HeldDisk, Problem> {
    let shown = path.display();
    let Some(capacity) = capacity else {
        if !path.exists() {
            return Err(trouble(
                Code::BadRequest,
                format!("the disk {shown} is not there"),
                "Give --capacity BYTES (that of the source disk) to have it made.",
            ));
        }
        return HeldDisk::take(path);
    };
    if !path.exists() {
        return HeldDisk::create(path, capacity);
    }
    let disk = HeldDisk::take(path)?;
    if disk.capacity != capacity {
        return Err(trouble(
            Code::BadRequest,
            format!("{shown} has {} bytes, but --capacity says {capacity}", disk.capacity),
            "Source and destination have the same capacity: give the right one, or another file.",
        ));
    }
    Ok(disk)
}

/// Links a disk where the engine looks for it. What was noted about another file that stood
/// there before is forgotten: it says nothing about this one.
fn link(state: &Path, pairing: &Pairing, at: usize, disk: &HeldDisk) -> Result<DiskPair, Problem> {
    let uuid = pairing.uuid("destination", at);
    let failed = |error| Problem::storage(format_args!("{}", state.display()), &error);
    let (links, engine) = (state.join("disks"), state.join("engine"));
    durable::make_folder(&links)?;
    durable::make_folder(&engine)?;
    let mark = links.join(format!("{uuid}.json"));
    let now = identity(disk).map_err(failed)?;
    let before: Option<String> = durable::read_json(&mark)?;
    if before.as_ref() != Some(&now) {
        if before.is_some() {
            tracing::warn!(disk = %disk.path.display(), "another file: everything is sent again");
        }
        durable::remove(&engine.join(format!("{uuid}.have")))?;
        durable::remove(&engine.join(format!("{uuid}.leaves")))?;
    }
    let link = links.join(uuid.as_str());
    match std::fs::remove_file(&link) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::os::unix::fs::symlink(&disk.path, &link).map_err(failed)?;
    durable::write_json(&mark, &now)?;
    Ok(DiskPair {
        source_uuid: pairing.uuid("source", at),
        destination_uuid: uuid,
        capacity_bytes: ByteCount(disk.capacity),
    })
}

/// Tells one file from another that stands at the same path later.
fn identity(disk: &HeldDisk) -> std::io::Result<String> {
    let meta = disk.file.metadata()?;
    let born = meta.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or(0, |at| at.as_nanos());
    let (device, inode) = (meta.dev(), meta.ino());
    Ok(format!("{} {} {device} {inode} {born}", disk.path.display(), disk.capacity))
}
