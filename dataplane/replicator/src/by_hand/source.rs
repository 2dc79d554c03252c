//! `replicator source`: taps and movers of one VM's disks, told what to do by its arguments and
//! `replicator ctl` instead of a host daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall_api::{
    AttachRequest, ByteCount, Code, Dials, DiskPair, JobCertificate, JobKind, JobSpec, JobState,
    Problem, ReceiverAddress, Uuid,
};
use landfall_io::Kept;

use super::args::SourceArgs;
use super::disks::HeldDisk;
use super::pair::SourceSide;
use super::{absolute, check_socket, past, say, serve_metrics, trouble};
use crate::source::{End, Keeper, OpenKnownBy, SocketOf, engine_folder, keep_key, lock_vm, routes};
use crate::{durable, local};

/// One holder only ever commands a source by hand.
pub const GENERATION: u64 = 1;

/// What the arguments mean, checked.
struct Plan {
    pair: SourceSide,
    state: PathBuf,
    control: PathBuf,
    disks: Vec<HeldDisk>,
    sockets: Vec<PathBuf>,
}

/// Runs until the process is ended.
pub async fn run(args: SourceArgs) -> Result<(), Problem> {
    let end = End::watch()?;
    durable::make_folder(&args.state)?;
    let lock = lock_vm(&args.state).map_err(|problem| {
        trouble(
            problem.code,
            format!("another process uses the state folder {}", args.state.display()),
            "End it first, or give another --state.",
        )
    })?;
    let plan = Plan::make(&args)?;
    plan.check_state()?;
    let (metrics_at, state) = (args.metrics, plan.state.clone());
    let listener = local::listen(&plan.control)?;
    let opened = crate::http::blocking(move || plan.open(&args)).await?;
    let Opened { keeper, mut line, disks } = opened;
    let router = routes(&keeper);
    let engine = Arc::clone(&keeper.engine);
    let metrics = serve_metrics(metrics_at, "source", move || engine.metrics()).await?;
    line["metrics"] = serde_json::json!(metrics);
    say(&line);
    end.serve_until(listener, router, keeper).await?;
    past::closed(&state, &disks)?;
    drop((disks, lock));
    Ok(())
}

struct Opened {
    keeper: Arc<Keeper>,
    line: serde_json::Value,
    /// Held open for their locks.
    disks: Vec<HeldDisk>,
}

impl Plan {
    fn make(args: &SourceArgs) -> Result<Self, Problem> {
        let state = absolute(&args.state)?;
        let single = args.disk.len() == 1;
        if args.socket.is_some() && !single {
            return Err(trouble(
                Code::BadRequest,
                "--socket is for a single disk",
                "Name each disk's socket with it: --disk FILE:SOCKET.",
            ));
        }
        let mut sockets = Vec::new();
        for (at, disk) in args.disk.iter().enumerate() {
            let said = disk.socket.as_ref().or(args.socket.as_ref());
            let path = said.cloned().unwrap_or_else(|| state.join(format!("disk{at}.nbd")));
            sockets.push(absolute(&path)?);
        }
        let control = args.control.clone().unwrap_or_else(|| state.join("control.sock"));
        let control = absolute(&control)?;
        for (at, path) in sockets.iter().enumerate() {
            if *path == control || sockets[..at].contains(path) {
                let what = format!("the socket {} is named twice", path.display());
                return Err(trouble(Code::BadRequest, what, "Give each one a path of its own."));
            }
        }
        sockets.iter().chain([&control]).try_for_each(|path| check_socket(path))?;
        let pair = SourceSide::read(&args.pair)?;
        let disks: Result<Vec<_>, _> =
            args.disk.iter().map(|disk| HeldDisk::take(&disk.path)).collect();
        Ok(Self { pair, state, control, disks: disks?, sockets })
    }

    /// What an earlier start with this state folder did must be the same.
    fn check_state(&self) -> Result<(), Problem> {
        let kept = Kept::load(&engine_folder(&self.state))?;
        if let Some(job) = &kept.job
            && job.id != self.pair.pairing.id
        {
            return Err(trouble(
                Code::BadRequest,
                format!("the state folder {} belongs to another pairing", self.state.display()),
                "Give the pair file it was begun with, or another --state to begin anew.",
            ));
        }
        let before: Vec<_> =
            kept.disks.iter().map(|disk| (disk.path.as_path(), disk.capacity.0)).collect();
        let now: Vec<_> =
            self.disks.iter().map(|disk| (disk.path.as_path(), disk.capacity)).collect();
        if kept.job.is_some() && before != now {
            let was: Vec<_> = before.iter().map(|(path, _)| path.display().to_string()).collect();
            return Err(trouble(
                Code::DiskChanged,
                format!(
                    "the state folder {} was begun with other disks, order or capacities: {}",
                    self.state.display(),
                    was.join(", ")
                ),
                "Name the same disks in the same order, or give another --state to begin anew.",
            ));
        }
        Ok(())
    }

    /// Disks that may have been written past the tap.
    fn written_past(&self, args: &SourceArgs) -> Result<Vec<usize>, Problem> {
        let changed = past::changed(&self.state, &self.disks)?;
        for at in &changed {
            let path = self.disks[*at].path.display();
            tracing::warn!(%path, "written while no source ran: everything is compared");
        }
        Ok(if args.compare_all { (0..self.disks.len()).collect() } else { changed })
    }

    fn open(self, args: &SourceArgs) -> Result<Opened, Problem> {
        let pairing = self.pair.pairing.clone();
        let (sockets, own) = (self.sockets.clone(), pairing.clone());
        let socket_of: SocketOf = Box::new(move |disk| {
            let at = (0..sockets.len()).find(|at| own.uuid("source", *at) == *disk);
            at.map_or_else(PathBuf::new, |at| sockets[at].clone())
        });
        keep_key(&self.state, &self.pair.key_pem)?;
        let written_past = self.written_past(args)?;
        let vm = pairing.uuid("vm", 0);
        let keeper = Keeper::open(&self.state, vm.clone(), socket_of, OpenKnownBy::Clients)?;
        let serving = self.attach(&keeper, &vm)?;
        let kept = keeper.engine.job().is_some();
        let status = keeper.put_job(&pairing.id, self.spec(args, vm))?;
        if status.state == JobState::Active {
            return Err(already_over(&self.disks[0].path, &self.state));
        }
        if kept {
            let changed = dials(args, status.dials.clone());
            keeper.engine.set_dials(&pairing.id, status.generation, changed)?;
        }
        for disk in written_past {
            keeper.engine.set_untracked(&pairing.uuid("source", disk));
        }
        if let Some(choice) = args.codec {
            keeper.engine.set_codec(&pairing.id, status.generation, choice.fixed())?;
        }
        past::forget(&self.state)?;
        let certificate = JobCertificate {
            generation: status.generation,
            certificate_pem: self.pair.certificate_pem,
            authority_pem: self.pair.authority_pem,
        };
        keeper.put_certificate(&pairing.id, &certificate)?;
        let line = serde_json::json!({
            "ready": true, "control": self.control, "sockets": serving,
        });
        Ok(Opened { keeper, line, disks: self.disks })
    }

    /// Puts the taps in front of the disks; their sockets are the answer. What was handed over
    /// is not served.
    fn attach(&self, keeper: &Keeper, vm: &Uuid) -> Result<Vec<String>, Problem> {
        let mut serving = Vec::new();
        for (at, disk) in self.disks.iter().enumerate() {
            let request = AttachRequest {
                vm_uuid: vm.clone(),
                disk_uuid: self.pair.pairing.uuid("source", at),
                path: disk.path.to_string_lossy().into_owned(),
                capacity_bytes: ByteCount(disk.capacity),
            };
            match keeper.attach(&request) {
                Ok(answer) => serving.push(answer.nbd_socket),
                Err(problem) if problem.code == Code::DiskSealed => {
                    tracing::warn!(path = request.path, "handed over: it is not served any more");
                }
                Err(problem) => return Err(problem),
            }
        }
        Ok(serving)
    }

    fn spec(&self, args: &SourceArgs, vm: Uuid) -> JobSpec {
        let pairing = &self.pair.pairing;
        let pair = |(at, disk): (usize, &HeldDisk)| DiskPair {
            source_uuid: pairing.uuid("source", at),
            destination_uuid: pairing.uuid("destination", at),
            capacity_bytes: ByteCount(disk.capacity),
        };
        JobSpec {
            kind: JobKind::Replicate,
            vm_uuid: vm,
            generation: GENERATION,
            vm_migration_id: pairing.id.clone(),
            receiver: Some(ReceiverAddress {
                address: args.receiver.ip().to_string(),
                port: args.receiver.port(),
                spiffe_id: pairing.name("receiver"),
            }),
            disks: self.disks.iter().enumerate().map(pair).collect(),
            dials: dials(args, Dials::default()),
            scrub: !args.no_scrub,
        }
    }
}

/// The dials with what was said on the command line; the rest stays as `ctl` set it.
fn dials(args: &SourceArgs, before: Dials) -> Dials {
    let limit = args.bytes_per_second_max.map(|size| ByteCount(size.0));
    Dials {
        replication_rate: args.replication_rate.unwrap_or(before.replication_rate),
        write_throttling: args.write_throttling.unwrap_or(before.write_throttling),
        bytes_per_second_max: limit.or(before.bytes_per_second_max),
        added_write_latency_ms_max: args
            .added_write_latency_ms_max
            .or(before.added_write_latency_ms_max),
    }
}

fn already_over(disk: &Path, state: &Path) -> Problem {
    trouble(
        Code::HandedOff,
        "the disks were handed over: the receiver owns them",
        format!(
            "Use the copy at the receiver. To use this disk on its own again, remove \
             {}.landfall and {} (the copy is then a different disk).",
            disk.display(),
            state.display()
        ),
    )
}
