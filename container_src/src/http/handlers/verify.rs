//! `POST /v1/verify/{circuit}`: verifies a proof that the caller sends.
//!
//! 1. The caller is known (401), and within its rate (429). The query is of the right form (400), and the server accepts work
//!    (503). For `?on=evm` this server builds circuits (503).
//! 2. The body arrives, and is of the right form and size (400, 408, 413, 415, 503).
//! 3. There is such a circuit, and it can be loaded (404, 503). For `?on=evm` it has a compiled verifier (404), and need not be
//!    loaded.
//! 4. 200 with the verdict. A proof that cannot be one of the circuit, by its length or because a value is not below the
//!    modulus, is not valid. 503 where nothing is free to verify it.

mod sent_proof;

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{FromRequestParts as _, Query, Request, State},
    response::{IntoResponse as _, Response},
};
use edgeprove_builder::{Builder, ContractError, Fate};
use edgeprove_engine::{circuits::Circuit, witness::computation::turns::Turns};
use edgeprove_protocol::{CircuitId, ProblemType, ProofSystem, Target, answer::Verdict};
use edgeprove_prover::{ProofParts, ProverError, barretenberg::KeyFacts, contract_call};
use edgeprove_spool::{Bound, Share};
use http::request::Parts;
use serde::Deserialize;

use super::verification_key::key;
use crate::{
    access::Caller,
    circuits::compiled_contracts::{self, ContractsError},
    http::{
        api_error::ApiError,
        extract::CircuitPath,
        inputs,
        json_body::{self, JsonBody, JsonBounds},
        request_body::RequestBody,
        state::{AppState, NotReady},
    },
};
use sent_proof::SentProof;

/// The largest body, in bytes. A proof has at most 20 KiB in base64, and a public input some 80 bytes.
const BODY_MAX_BYTES: u64 = 256 << 10;
/// Bytes of memory for each byte of the body: the body, its texts, and the numbers in them.
const COPIES: u64 = 3;
/// The name of the verifier contract in a verdict.
const EVM: &str = "evm";
/// The most proofs that are verified in the virtual machine or wait for it. Each takes seconds.
const EVM_ADMITTED_MAX: usize = 16;
/// The longest wait for the virtual machine.
const EVM_WAIT: Duration = Duration::from_secs(10);

/// The turns for the virtual machine, of which a builder runs one at a time.
static EVM_TURNS: LazyLock<Arc<Turns>> = LazyLock::new(|| Turns::new(1, EVM_ADMITTED_MAX));

/// The query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyQuery {
    /// What verifies.
    #[serde(default)]
    on: Verifier,
    /// The target of the proof; by default that of the circuit, and for a contract that of contracts.
    target: Option<String>,
}

/// What verifies a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verifier {
    /// The backend that proves the circuit.
    #[default]
    Backend,
    /// The verifier contract of the circuit, in an Ethereum virtual machine.
    Evm,
}

/// A request that arrived, without its head.
struct ProofToVerify {
    /// The caller's account of turns.
    account: String,
    /// The circuit of the path.
    circuit: Option<CircuitId>,
    on: Verifier,
    target: Option<Target>,
    sent: SentProof,
    /// The memory of the proof.
    share: Share,
}

/// See the module.
pub async fn verify(State(app): State<AppState>, request: Request) -> Response {
    // The shutdown waits for this request, or refuses it.
    let _work = app.lifecycle.admit();
    let (parts, body) = request.into_parts();
    let mut body = RequestBody::new(&parts, body);
    let received = match receive(&app, parts, &mut body).await {
        Ok(received) => received,
        Err(error) => {
            body.discard(&app.lifecycle.supervisor);
            return error.into_response();
        }
    };
    drop(body);
    match verdict(&app, received).await {
        Ok(verdict) => Json(verdict).into_response(),
        Err(error) => error.into_response(),
    }
}

/// Receives the request. Its head is dropped at the end.
async fn receive(
    app: &AppState,
    mut parts: Parts,
    body: &mut RequestBody,
) -> Result<ProofToVerify, ApiError> {
    let caller = Caller::from_request_parts(&mut parts, app).await?;
    let CircuitPath(circuit) = CircuitPath::from_request_parts(&mut parts, app).await?;
    app.access.count(&caller)?;
    let Ok(Query(VerifyQuery { on, target })) = Query::from_request_parts(&mut parts, app).await else {
        let detail = "the query allows `on` (backend or evm) and `target`, as in ?on=evm";
        return Err(ApiError::new(ProblemType::InvalidRequest, detail));
    };
    let target = target.map(|text| text.parse::<Target>()).transpose();
    let target = target.map_err(|error| {
        ApiError::new(ProblemType::InvalidRequest, format!("`target` in the query: {error}"))
    })?;
    if let Some(reason) = app.lifecycle.refusal() {
        return Err(NotReady::Lifecycle(reason).into());
    }
    if on == Verifier::Evm {
        builder(app)?;
    }
    if !inputs::is_expected(&parts.headers) {
        let detail = "send the proof and its public inputs as Content-Type: application/json";
        return Err(ApiError::new(ProblemType::UnsupportedMediaType, detail));
    }
    let account = caller.share_account().into_owned();
    let bounds = JsonBounds { max_bytes: BODY_MAX_BYTES, copies: COPIES, idle: app.options.intake.idle };
    let too_large = || {
        let detail =
            format!("the JSON with the proof has more than {BODY_MAX_BYTES} bytes, which is the limit");
        ApiError::new(ProblemType::InputsTooLarge, detail)
    };
    let received = json_body::receive(&parts.headers, body, &account, bounds, too_large).await?;
    let JsonBody { json, share } = received;
    let sent = SentProof::parse(&json)?;
    Ok(ProofToVerify { account, circuit, on, target, sent, share })
}

async fn verdict(app: &AppState, received: ProofToVerify) -> Result<Verdict, ApiError> {
    let ProofToVerify { account, circuit, on, target, sent, share } = received;
    // Until the verdict, because the proof is in memory.
    let _share = share;
    match on {
        Verifier::Backend => {
            let circuit = app.circuits.find(circuit.as_ref()).await?;
            let target = among(circuit.targets(), target.unwrap_or(circuit.target))?;
            by_backend(app, &circuit, target, sent.parts(target)?).await
        }
        Verifier::Evm => by_contract(app, circuit.as_ref(), target, sent, &account).await,
    }
}

fn among(targets: &[Target], target: Target) -> Result<Target, ApiError> {
    if targets.contains(&target) {
        return Ok(target);
    }
    let detail = format!("the circuit has no proofs for the target {target}");
    Err(ApiError::new(ProblemType::InvalidRequest, detail))
}

async fn by_backend(
    app: &AppState,
    circuit: &Arc<Circuit>,
    target: Target,
    parts: Option<ProofParts>,
) -> Result<Verdict, ApiError> {
    let proving = &app.engine.proving;
    let verified_by = proving.backend().identity(target.proof_system()).program.to_owned();
    let verdict = |valid| Verdict { valid, verified_by };
    let Some(parts) = parts else { return Ok(verdict(false)) };
    if let Some(reason) = app.not_ready() {
        return Err(reason.into());
    }
    let key = key(app, circuit, target).await?;
    if target.proof_system() == ProofSystem::UltraHonk && !fits(&key.circuit.vk, &parts) {
        return Ok(verdict(false));
    }
    let permit = proving.permit().await?;
    let deadline = Instant::now() + proving.options().timeout;
    match permit.verify(&key.circuit, &parts, deadline).await {
        // A verifier that cannot read a proof does not accept it.
        Err(ProverError::Refused { .. }) => Ok(verdict(false)),
        verified => Ok(verdict(verified?)),
    }
}

/// Whether a proof of bb has the length that its key states. bb need not see others.
fn fits(vk: &[u8], parts: &ProofParts) -> bool {
    KeyFacts::read(vk).is_ok_and(|facts| {
        facts.proof_fields() == parts.proof.len() && facts.public_inputs == parts.public_inputs.len() as u64
    })
}

fn builder(app: &AppState) -> Result<&Builder, ApiError> {
    app.jobs().ok().and_then(|jobs| jobs.builder.as_ref()).ok_or_else(|| {
        let detail = "this server has no Ethereum virtual machine: its operator can start it with --toolchain DIR \
                      (EDGEPROVE_TOOLCHAIN)";
        ApiError::new(ProblemType::BuilderUnavailable, detail)
    })
}

/// Verifies with the contract of a stored circuit, which is not loaded for it.
async fn by_contract(
    app: &AppState,
    circuit: Option<&CircuitId>,
    target: Option<Target>,
    sent: SentProof,
    account: &str,
) -> Result<Verdict, ApiError> {
    let builder = builder(app)?;
    let (store, id) = app.circuits.store().zip(circuit).ok_or_else(no_contract)?;
    let stored = store.find(id).await?.ok_or_else(no_contract)?;
    let system = stored.circuit.target.proof_system();
    let of_contracts = match system {
        ProofSystem::UltraHonk => Target::Evm,
        ProofSystem::Groth16 => Target::Groth16,
    };
    let target = among(system.targets(), target.unwrap_or(of_contracts))?;
    if target == Target::NoirRecursive {
        let detail = "contracts verify proofs for the target evm, and not those for noir-recursive";
        return Err(ApiError::new(ProblemType::InvalidRequest, detail));
    }
    let call = sent.parts(target)?.and_then(|parts| contract_call(target, &parts));
    // Before the verifier is in memory, which is larger than the proofs that wait.
    let turn = tokio::time::timeout(EVM_WAIT, EVM_TURNS.take(account)).await;
    let _turn = turn
        .map_err(|_| busy("other proofs are being verified in the Ethereum virtual machine"))?
        .map_err(|bound| match bound {
            Bound::All => busy("as many proofs wait for the Ethereum virtual machine as may"),
            Bound::Owner => {
                busy("as many proofs of this caller wait for the Ethereum virtual machine as may")
            }
        })?;
    let verifier = match compiled_contracts::bytes(store, &stored).await {
        Err(ContractsError::Missing) => return Err(no_contract()),
        read => read?,
    };
    let verdict = |valid| Verdict { valid, verified_by: EVM.to_owned() };
    let Some(call) = call else { return Ok(verdict(false)) };
    let called = builder.call_verifier(verifier, call.calldata).await;
    called.map(verdict).map_err(|error| contract_error(&error))
}

fn busy(detail: &str) -> ApiError {
    ApiError::new(ProblemType::ProverBusy, detail)
}

fn no_contract() -> ApiError {
    let detail = "the circuit has no compiled verifier contract: only circuits that were built from templates have one, \
                  and GET /v1/circuits/NAME shows why one of them has none";
    ApiError::new(ProblemType::CircuitNotFound, detail)
}

fn contract_error(error: &ContractError) -> ApiError {
    let kind = match (error, error.fate()) {
        (ContractError::Busy, _) => ProblemType::ProverBusy,
        (_, Fate::Stopping) => ProblemType::NotReady,
        (_, Fate::Temporary | Fate::Permanent) => ProblemType::Internal,
    };
    let detail = kind.hidden_detail().map_or_else(|| error.to_string(), str::to_owned);
    let cause = (kind == ProblemType::Internal).then(|| edgeprove_telemetry::chain(error).into());
    ApiError { cause, ..ApiError::new(kind, detail) }
}
