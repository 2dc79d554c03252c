//! `replicator receiver`: the engine's receiver behind the control face and the data port of a
//! shadow VM. The engine does the work; this file wires it to TLS, HTTP and the files.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, put};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use landfall_api::{Code, PrepareDisks, Problem, ReceiverConfig, ReceiverStatus, Role};
use landfall_io::Receiver;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::{Agent, AgentSetup, SecretSource, routes, server_config};
use crate::durable;
use crate::http::{Answer, Json, Refusal, answer, blocking};
use crate::listener::{CONTROL_PROTOCOL, DATA_PROTOCOL, DataServer, Port, bind, serve};
use crate::streams::metrics_text;

/// A receiver as the agent's init starts it.
pub struct Configured {
    /// Configuration from the configuration ISO.
    pub config: PathBuf,
    /// Address and port for control and data.
    pub address: SocketAddr,
    /// Folder that outlives the process.
    pub state: PathBuf,
    /// Folder with one link per destination disk, named by its UUID.
    pub disks: PathBuf,
}

/// Runs until the process is ended.
pub async fn run(args: Configured) -> Result<(), Problem> {
    let config: ReceiverConfig = durable::read_json(&args.config)?.ok_or_else(|| {
        Problem::new(Code::StorageFailed, format!("{} is not there", args.config.display()))
    })?;
    let secret = BASE64
        .decode(config.enrol_secret.trim())
        .map_err(|_| Problem::bad_request("enrolSecret in the configuration is not base64"))?;
    let agent = Agent::open(AgentSetup {
        role: Role::Receiver,
        folder: args.state.join("agent"),
        agent_id: Some(config.agent_id),
        name_id: Some(config.vm_migration_id.clone()),
        installation_id: Some(config.installation_id.clone()),
        authority_pem: Some(config.authority_pem),
        secret: SecretSource::Given(secret),
    })?;
    let migration = config.vm_migration_id;
    let source_name = format!("spiffe://landfall/{}/source/{migration}", config.installation_id);
    let receiver = Receiver::open(migration, &args.state.join("engine"), &args.disks)?;

    let control = Router::new()
        .route("/v1/receiver", get(status))
        .route("/v1/receiver/disks", put(prepare))
        .route("/v1/metrics", get(metrics))
        .with_state(Arc::clone(&receiver));
    let port = Port {
        tls: server_config(&agent, &[DATA_PROTOCOL, CONTROL_PROTOCOL])?,
        control: routes(&agent, control),
        data: Some(data_server(receiver.clone(), source_name)),
        agent,
    };
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| Problem::storage("no signal handler", &error))?;
    let listener = bind(args.address).await?;
    tokio::select! {
        served = serve(listener, port) => served,
        _ = terminate.recv() => crate::http::blocking(move || {
            receiver.close();
            Ok(())
        })
        .await,
    }
}

/// Takes over data connections of exactly one source.
pub fn data_server(receiver: Arc<Receiver>, source_name: String) -> DataServer {
    Arc::new(move |secured, peer| {
        if peer != source_name {
            tracing::warn!(peer, "a data peer of another migration was refused");
            return;
        }
        if let Err(error) = receiver.serve_data(secured, &peer) {
            tracing::info!(%error, "a data connection ended");
        }
    })
}

async fn status(State(receiver): State<Arc<Receiver>>) -> Answer<ReceiverStatus> {
    answer(move || Ok(receiver.status())).await
}

async fn metrics(State(receiver): State<Arc<Receiver>>) -> Result<Response, Refusal> {
    let metrics = blocking(move || Ok(receiver.metrics())).await?;
    Ok(metrics_text("receiver", metrics))
}

async fn prepare(
    State(receiver): State<Arc<Receiver>>,
    Json(request): Json<PrepareDisks>,
) -> Answer<ReceiverStatus> {
    answer(move || receiver.prepare_disks(request)).await
}
