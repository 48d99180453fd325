//! `GET /v1/circuits/{circuit}/events`: the events of the build of a circuit, as server-sent events or over a WebSocket. Each
//! event has the circuit as `GET /v1/circuits` lists it, with `build` while it is being built.
//!
//! They are for anybody, as the circuit is.

use axum::{
    Extension,
    extract::{
        Query, State,
        rejection::QueryRejection,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse as _, Response},
};
use edgeprove_protocol::{ProblemType, caller::address_account};
use http::{HeaderMap, StatusCode};

use crate::{
    access::share_account,
    http::{
        api_error::ApiError,
        caller::Identity,
        event_response::{last_seen, respond},
        extract::CircuitPath,
        job_reader::{JobQuery, ReadRight},
        job_response::no_store,
        job_stream::JobStream,
        state::AppState,
    },
    jobs::{build_request::BuildState, job_kinds::build::KIND},
};

/// 1. The caller is within its limits (429), and there is such a circuit (404).
/// 2. Neither the caller nor the server has too many open streams (429, 503).
/// 3. 204 where the client has seen the last event, and for a circuit without a build.
/// 4. 200 with a stream, or 101 where the request asks for a WebSocket.
pub async fn circuit_events(
    State(app): State<AppState>,
    Extension(identity): Extension<Identity>,
    CircuitPath(name): CircuitPath,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    query: Result<Query<JobQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let account = if let Ok(caller) = &identity.caller {
        app.access.count(caller)?;
        caller.share_account().into_owned()
    } else {
        app.access.count_denied(identity.address)?;
        // Its streams must not take those of a caller at the same address.
        format!("public:{}", share_account(&address_account(identity.address)))
    };
    let no_circuit = || ApiError::new(ProblemType::CircuitNotFound, "no circuit has this name");
    let nothing = || Ok(no_store(StatusCode::NO_CONTENT.into_response()));
    let id = name.ok_or_else(no_circuit)?;
    if app.engine.circuits.entries().any(|entry| entry.source.id == id) {
        return nothing();
    }
    let jobs = app.jobs().map_err(|_| no_circuit())?;
    let job = match jobs.build_state(&id).await?.ok_or_else(no_circuit)? {
        BuildState::Pending(job) | BuildState::Failed(job) => *job,
        BuildState::Ready(_) => match jobs.store.queue.latest(KIND, id.as_str()).await? {
            Some(job) => job,
            None => return nothing(),
        },
    };
    let permit = jobs.watch_permits.admit([account])?;
    // Its row may have been deleted at this moment.
    let Some(watcher) = jobs.watchers.watch(job.id).await? else { return nothing() };
    let events = JobStream::new(&app, ReadRight::Public, watcher, last_seen(&headers, query), permit);
    Ok(respond(events, upgrade, app.options.stream_keep_alive))
}
