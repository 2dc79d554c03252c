//! The routes every agent has, and the guard in front of all others: only the management
//! server of the installation passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use landfall_api::{AgentStatus, Code, EnrolBegin, EnrolBegun, EnrolComplete, Problem};

use super::identity::Agent;
use crate::http::{Answer, Json, Refusal, answer, finish};

/// Who is at the other end of a control connection.
#[derive(Clone)]
pub struct Peer {
    /// Name in a certificate of our authority, if there is one.
    pub name: Option<String>,
    /// TLS exporter value of the connection.
    pub exporter: [u8; 32],
    /// Whether an enrolment was begun on this connection.
    pub enrolling: Arc<AtomicBool>,
}

/// The whole control face: the agent's own routes, and `others` behind the guard.
pub fn routes(agent: &Arc<Agent>, others: Router) -> Router {
    let guarded = finish(others).layer(from_fn_with_state(Arc::clone(agent), guard));
    let own = Router::new()
        .route("/v1/agent", get(status))
        .route("/v1/enrol/begin", post(enrol_begin))
        .route("/v1/enrol/complete", post(enrol_complete))
        .with_state(Arc::clone(agent));
    own.fallback_service(guarded)
}

fn is_server(agent: &Agent, peer: &Peer) -> bool {
    let installation = agent.installation_id();
    let wanted = installation.map(|id| format!("spiffe://landfall/{id}/server"));
    wanted.is_some() && peer.name == wanted
}

async fn guard(
    State(agent): State<Arc<Agent>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if is_server(&agent, &peer) {
        return next.run(request).await;
    }
    let problem = if agent.installation_id().is_none() {
        Problem::new(Code::NotEnrolled, "only enrolment is possible yet")
    } else {
        Problem::new(Code::Forbidden, "only the installation's management server may do this")
    };
    Refusal(problem).into_response()
}

async fn status(State(agent): State<Arc<Agent>>) -> axum::Json<AgentStatus> {
    axum::Json(agent.status())
}

async fn enrol_begin(
    State(agent): State<Arc<Agent>>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<EnrolBegin>,
) -> Answer<EnrolBegun> {
    answer(move || {
        let begun = agent.enrol_begin(&request, &peer.exporter, is_server(&agent, &peer))?;
        peer.enrolling.store(true, Ordering::SeqCst);
        Ok(begun)
    })
    .await
}

async fn enrol_complete(
    State(agent): State<Arc<Agent>>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<EnrolComplete>,
) -> Answer<AgentStatus> {
    answer(move || {
        if !peer.enrolling.swap(false, Ordering::SeqCst) {
            return Err(Problem::new(Code::EnrolNotBegun, "begin comes first"));
        }
        agent.enrol_complete(&request, is_server(&agent, &peer))
    })
    .await
}
