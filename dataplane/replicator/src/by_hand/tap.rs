//! `replicator tap`: the NBD server of the product in front of one disk, without a receiver.

use std::sync::Arc;

use landfall_api::{
    AttachRequest, ByteCount, Dials, DiskPair, Id, JobKind, JobSpec, Problem, Uuid,
};
use landfall_io::MeteredExport;
use landfall_nbd::{Export, FileExport, Server};

use super::args::TapArgs;
use super::disks::HeldDisk;
use super::source::GENERATION;
use super::{absolute, check_socket, say, serve_metrics};
use crate::local;
use crate::source::{End, Keeper, OpenKnownBy, SocketOf, routes};

/// Runs until the process is ended.
pub async fn run(args: TapArgs) -> Result<(), Problem> {
    let mut end = End::watch()?;
    let socket = absolute(&args.socket)?;
    check_socket(&socket)?;
    let disk = HeldDisk::take(&args.disk)?;
    if args.track {
        return track(args, disk, end).await;
    }
    let failed = |error| Problem::storage(disk.path.display(), &error);
    let file = Arc::new(FileExport::open(&disk.path, disk.capacity).map_err(failed)?);
    let (export, metrics): (Arc<dyn Export>, _) = match args.metrics {
        None => (file, None),
        Some(_) => {
            let metered = Arc::new(MeteredExport::new(file));
            let (figures, uuid) = (Arc::clone(&metered), uuid_of(&disk));
            let metrics = move || figures.metrics(&uuid, &uuid);
            (metered, serve_metrics(args.metrics, "tap", metrics).await?)
        }
    };
    let server = Server::start(&socket, export)
        .map_err(|error| Problem::storage("the NBD socket", &error))?;
    say(&serde_json::json!({ "ready": true, "sockets": [server.path()], "metrics": metrics }));
    end.wait().await;
    crate::http::blocking(move || {
        drop(server);
        disk.file.sync_data().map_err(|error| Problem::storage(disk.path.display(), &error))
    })
    .await
}

/// Stands for the disk and its VM: the same for the same path.
fn uuid_of(disk: &HeldDisk) -> Uuid {
    let hash = blake3::hash(disk.path.as_os_str().as_encoded_bytes());
    Uuid::from_bytes(hash.as_bytes()[..16].try_into().expect("a hash has 32 bytes"))
}

/// With the dirty map of production: a job that needs no receiver. Its state lies in a folder
/// of its own beside the disk's, and is gone with the process.
async fn track(args: TapArgs, disk: HeldDisk, end: End) -> Result<(), Problem> {
    let socket = absolute(&args.socket)?;
    let mut name = socket.clone().into_os_string();
    name.push(".ctl");
    let control = match &args.control {
        Some(path) => absolute(path)?,
        None => name.into(),
    };
    check_socket(&control)?;
    let listener = local::listen(&control)?;
    let mut folder = disk.path.clone().into_os_string();
    folder.push(".landfall-tap");
    let folder = std::path::PathBuf::from(folder);
    let (state, serving) = (folder.clone(), socket.clone());
    let keeper = crate::http::blocking(move || {
        crate::durable::make_folder(&state)?;
        let uuid = uuid_of(&disk);
        let socket_of: SocketOf = Box::new(move |_| serving.clone());
        let keeper = Keeper::open(&state, uuid.clone(), socket_of, OpenKnownBy::Clients)?;
        keeper.attach(&AttachRequest {
            vm_uuid: uuid.clone(),
            disk_uuid: uuid.clone(),
            path: disk.path.to_string_lossy().into_owned(),
            capacity_bytes: ByteCount(disk.capacity),
        })?;
        let job = Id::parse(&format!("tap_{uuid}")).expect("a UUID fits");
        keeper.put_job(
            &job.clone(),
            JobSpec {
                kind: JobKind::Observe,
                vm_uuid: uuid.clone(),
                generation: GENERATION,
                vm_migration_id: job,
                receiver: None,
                disks: vec![DiskPair {
                    source_uuid: uuid.clone(),
                    destination_uuid: uuid,
                    capacity_bytes: ByteCount(disk.capacity),
                }],
                dials: Dials::default(),
                scrub: false,
            },
        )?;
        Ok((keeper, disk))
    });
    let (keeper, disk) = keeper.await?;
    let router = routes(&keeper);
    let engine = Arc::clone(&keeper.engine);
    let metrics = serve_metrics(args.metrics, "tap", move || engine.metrics()).await?;
    say(&serde_json::json!({
        "ready": true, "control": control, "sockets": [socket], "metrics": metrics,
    }));
    end.serve_until(listener, router, keeper).await?;
    drop(disk);
    std::fs::remove_dir_all(&folder).map_err(|error| Problem::storage(folder.display(), &error))
}
