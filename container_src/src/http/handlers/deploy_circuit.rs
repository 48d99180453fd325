//! `POST /v1/circuits/{circuit}/deploy`: deploys the contracts of a circuit that was built. For operators.
//!
//! 1. The caller is an operator (401, 403, 429). The server is ready, does not shut down, and deploys contracts (503).
//!    Its callback URL is allowed (400, 403).
//! 2. The body is JSON of the right shape and size (400, 408, 413, 415, 503). Nothing of it is ever repeated in an answer.
//! 3. The operator of the server allows the node (403).
//! 4. The circuit was built (404), is ready and has compiled contracts (409).
//! 5. The node answers (502), and is on the requested chain (400).
//! 6. 200 where the contracts are deployed, and the node has the code of the verifier. Otherwise 202, once for all requests
//!    with the same circuit, chain and account (503 where too many deployments wait).

use std::time::Duration;

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use edgeprove_chain::{DeployerKey, InvalidKey, Node, NodeError};
use edgeprove_circuit_store::StoredCircuit;
use edgeprove_outbound::{RefusedUrl, RemoteUrl, Timeouts};
use edgeprove_protocol::{
    CircuitId, ProblemType,
    answer::{DeploymentEntry, DeploymentStatus},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    circuits::compiled_contracts,
    http::{
        api_error::ApiError,
        callback::callback,
        caller::Operator,
        extract::CircuitPath,
        inputs,
        job_response::no_store,
        json_body::{self, JsonBody, JsonBounds},
        request_body::RequestBody,
        request_id::request_id_of,
        state::{AppState, NotReady},
    },
    jobs::{
        Jobs,
        build_request::BuildState,
        deploy_request::DeployRequest,
        job_kinds::deploy::node_problem,
        submission::{Asked, Charge},
    },
};

/// The largest body, in bytes.
const BODY_MAX_BYTES: u64 = 16 << 10;
/// Bytes of memory for each byte of the body: the body, and values of the parser, which are the largest for nested lists.
const COPIES: u64 = 64;
/// When a caller may look again, in seconds.
const RETRY_AFTER_S: u32 = 2;
/// The highest chain id that wallets and databases take.
const CHAIN_ID_MAX: u64 = i64::MAX.unsigned_abs();

/// The body. Types are checked by hand, because messages of the parser may repeat values.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawRequest {
    rpc_url: Value,
    private_key: Value,
    #[serde(default)]
    chain_id: Value,
}

/// The parts of a valid body.
struct Parts {
    node: RemoteUrl,
    key: DeployerKey,
    chain_id: Option<u64>,
}

/// See the module.
pub async fn deploy_circuit(
    State(app): State<AppState>,
    Operator(caller): Operator,
    CircuitPath(circuit): CircuitPath,
    request: Request,
) -> Result<Response, ApiError> {
    let jobs = app.jobs()?;
    // A job that is accepted during the shutdown would lose its key with this process.
    let _work = app.lifecycle.admit();
    if let Some(reason) = app.lifecycle.refusal() {
        return Err(NotReady::Lifecycle(reason).into());
    }
    if jobs.deploy_nodes.is_empty() {
        let detail = "this server deploys no contracts: its operator can allow Ethereum nodes with --deploy-rpc \
                      (EDGEPROVE_DEPLOY_RPC)";
        return Err(ApiError::new(ProblemType::DeployingDisabled, detail));
    }
    let request_id = request_id_of(request.headers());
    let callback = callback(jobs, &caller, request.headers())?;
    let (head, body) = request.into_parts();
    let mut body = RequestBody::new(&head, body);
    let account = caller.share_account().into_owned();
    let received = receive(&head.headers, &mut body, &account, app.options.intake.idle).await;
    let received = match received {
        Ok(received) => received,
        Err(error) => {
            body.discard(&app.lifecycle.supervisor);
            return Err(error);
        }
    };
    let Parts { node, key, chain_id } = parts(jobs, &received)?;
    drop(received);
    let stored = deployable(jobs, circuit).await?;
    let (client, found) = chain(&node).await?;
    if let Some(expected) = chain_id.filter(|expected| *expected != found) {
        let detail = format!("the node {} is on the chain {found}, and `chainId` is {expected}", node.host());
        return Err(invalid("chainId", detail));
    }
    // A deployment is no proof, so it takes nothing from a quota.
    let charge = Charge { grant: None, has_quota: false, unfinished_max: None, uses: None };
    let (owner, host) = (caller.owner(), node.host().to_owned());
    let request = DeployRequest {
        circuit: stored,
        chain_id: found,
        key,
        node,
        client,
        owner,
        asked: Asked { request_id, callback },
        charge,
    };
    let entry = jobs.request_deployment(request).await?;
    tracing::info!(circuit = %entry.circuit, chain = entry.chain_id, deployer = entry.deployer, node = host, "deployment requested");
    Ok(answer(entry))
}

fn invalid(field: &str, detail: impl Into<String>) -> ApiError {
    ApiError { field: Some(field.to_owned()), ..ApiError::new(ProblemType::InvalidRequest, detail) }
}

async fn receive(
    headers: &HeaderMap,
    body: &mut RequestBody,
    account: &str,
    idle: Duration,
) -> Result<JsonBody, ApiError> {
    if !inputs::is_expected(headers) {
        let detail = "send the node and the private key as Content-Type: application/json";
        return Err(ApiError::new(ProblemType::UnsupportedMediaType, detail));
    }
    let too_large = || {
        let detail = format!("the JSON has more than {BODY_MAX_BYTES} bytes, which is the limit");
        ApiError::new(ProblemType::CircuitTooLarge, detail)
    };
    let bounds = JsonBounds { max_bytes: BODY_MAX_BYTES, copies: COPIES, idle };
    json_body::receive(headers, body, account, bounds, too_large).await
}

fn parts(jobs: &Jobs, body: &JsonBody) -> Result<Parts, ApiError> {
    let RawRequest { rpc_url, private_key, chain_id } = serde_json::from_slice(&body.json).map_err(|_| {
        let detail = "the body must be {\"rpcUrl\": \"URL\", \"privateKey\": \"KEY\"}, with or without \"chainId\": NUMBER, and \
                      nothing else";
        ApiError::new(ProblemType::InvalidRequest, detail)
    })?;
    let chain_id = match &chain_id {
        Value::Null => None,
        id => {
            let id = id.as_u64().filter(|id| (1..=CHAIN_ID_MAX).contains(id));
            Some(id.ok_or_else(|| {
                invalid("chainId", format!("`chainId` must be a whole number from 1 to {CHAIN_ID_MAX}"))
            })?)
        }
    };
    let key = private_key.as_str().ok_or(InvalidKey).and_then(DeployerKey::parse);
    let key = key.map_err(|error| invalid("privateKey", error.to_string()))?;
    let node =
        jobs.deploy_nodes.admit(rpc_url.as_str().unwrap_or_default()).map_err(|error| match error {
            RefusedUrl::NoUrl => invalid("rpcUrl", format!("`rpcUrl` {error}")),
            RefusedUrl::NotListed | RefusedUrl::NotEncrypted | RefusedUrl::Internal => ApiError {
                field: Some("rpcUrl".to_owned()),
                ..ApiError::new(ProblemType::NodeNotAllowed, format!("`rpcUrl` {error}"))
            },
        })?;
    Ok(Parts { node, key, chain_id })
}

/// Finds a circuit that has compiled contracts.
async fn deployable(jobs: &Jobs, circuit: Option<CircuitId>) -> Result<StoredCircuit, ApiError> {
    let not_built = || {
        ApiError::new(
            ProblemType::CircuitNotFound,
            "no circuit that was built has this name: only those are deployed",
        )
    };
    let id = circuit.ok_or_else(not_built)?;
    let stored = match jobs.build_state(&id).await?.ok_or_else(not_built)? {
        BuildState::Ready(stored) => *stored,
        BuildState::Pending(_) | BuildState::Failed(_) => {
            let detail = "the circuit is not ready: GET /v1/circuits/NAME shows how far it is";
            return Err(ApiError::new(ProblemType::CircuitNotDeployable, detail));
        }
    };
    let store = jobs.circuits.store().ok_or_else(not_built)?;
    compiled_contracts::read(store, &stored).await?;
    Ok(stored)
}

/// The client of a node, and its chain.
async fn chain(node: &RemoteUrl) -> Result<(Node, u64), ApiError> {
    let failed = |error: NodeError| {
        let error_chain = edgeprove_telemetry::chain(&error);
        tracing::warn!(error = error_chain, "the node of a deployment has no answer");
        ApiError::new(node_problem(&error), error.to_string())
    };
    let client = Node::new(node.clone(), Timeouts::default()).map_err(failed)?;
    let chain_id = client.chain_id().await.map_err(failed)?;
    if !(1..=CHAIN_ID_MAX).contains(&chain_id) {
        let detail = format!("the node {} is on a chain with an impossible id", node.host());
        return Err(ApiError::new(ProblemType::NodeUnavailable, detail));
    }
    Ok((client, chain_id))
}

fn answer(entry: DeploymentEntry) -> Response {
    let location = format!("/v1/circuits/{}", entry.circuit);
    let is_deployed = entry.status == DeploymentStatus::Deployed;
    let status = if is_deployed { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = no_store((status, Json(entry)).into_response());
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if !is_deployed {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    response
}
