//! `replicator host`: the daemon of a source host. It keeps one source process per VM alive,
//! passes commands on to them, and holds no data itself. Ending it leaves the sources running;
//! the next daemon adopts them. Start reading in `vm.rs`.

mod faces;
mod figures;
mod pass_through;
mod places;
mod snapshot;
mod vm;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use landfall_api::{Code, Id, Problem, Role, Uuid};
use landfall_io::Kept;
use tokio::sync::Mutex;

pub use pass_through::PassThrough;
pub use places::nbd_socket;

use crate::agent::{Agent, AgentSetup, SecretSource, routes, server_config};
use crate::cli::HostArgs;
use crate::listener::{CONTROL_PROTOCOL, Port, bind, serve};
use crate::local;
use crate::source::engine_folder;
use places::Places;
use vm::Vm;

/// Most VMs of one host.
const VMS_MAX: usize = 1024;

/// What both faces work on.
pub struct Host {
    places: Places,
    vms: Mutex<BTreeMap<Uuid, Arc<Vm>>>,
    /// Which VM's source keeps a job, as it was found last.
    holders: Mutex<BTreeMap<Id, Uuid>>,
}

impl Host {
    /// Takes up what an earlier daemon left.
    async fn open(places: Places) -> Result<Arc<Self>, Problem> {
        let folders = std::fs::read_dir(places.state.join("vms"))
            .map_err(|error| Problem::storage("the folder of the VMs", &error))?;
        let mut vms = BTreeMap::new();
        for folder in folders.flatten() {
            let name = folder.file_name();
            let Some(uuid) = name.to_str().and_then(Uuid::parse) else { continue };
            match Kept::load(&engine_folder(&folder.path())) {
                Ok(kept) if kept.disks.is_empty() => {}
                Ok(_) => {
                    vms.insert(uuid.clone(), Vm::start(&places, uuid));
                }
                Err(problem) => tracing::error!(vm = %uuid, "{}", problem.detail),
            }
        }
        Ok(Arc::new(Self { places, vms: Mutex::new(vms), holders: Mutex::default() }))
    }

    async fn vm(&self, uuid: &Uuid) -> Result<Arc<Vm>, Problem> {
        let vms = self.vms.lock().await;
        vms.get(uuid).cloned().ok_or_else(|| {
            Problem::new(Code::UnknownVm, format!("no disk of the VM {uuid} is attached here"))
        })
    }

    async fn all(&self) -> Vec<Arc<Vm>> {
        self.vms.lock().await.values().cloned().collect()
    }
}

/// Runs until the process is ended.
pub async fn run(args: HostArgs) -> Result<(), Problem> {
    let places = Places::prepare(&args.state)?;
    let agent = Agent::open(AgentSetup {
        role: Role::Host,
        folder: places.state.join("agent"),
        agent_id: None,
        name_id: None,
        installation_id: None,
        authority_pem: None,
        secret: SecretSource::OptionsFile(args.options),
    })?;
    let listener = bind(SocketAddr::new(args.address, args.port)).await?;
    let host = Host::open(places).await?;
    let hypervisor = local::listen(&args.hypervisor_socket)?;
    tokio::spawn(local::serve(hypervisor, faces::hypervisor(&host)));
    let port = Port {
        tls: server_config(&agent, &[CONTROL_PROTOCOL])?,
        control: routes(&agent, faces::control(&host)),
        data: None,
        agent,
    };
    serve(listener, port).await
}
