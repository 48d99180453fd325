//! `POST /v1/verify/{circuit}`: verifies a proof that the caller sends.
//!
//! 1. The caller is known (401), and within its rate (429).
//! 2. The query and the body are of the right form and size (400, 415).
//! 3. There is such a circuit, and it can be loaded (404, 503). For `?on=evm` it has a compiled verifier (404), and this
//!    server builds circuits (503).
//! 4. 200 with the verdict. A proof that cannot be one of the circuit, by its length or because a value is not below the
//!    modulus, is not valid. 503 where nothing is free to verify it.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::to_bytes,
    extract::{Query, Request, State, rejection::QueryRejection},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_builder::{ContractError, Fate, contract::COMPILED};
use edgeprove_circuit_store::{CircuitStoreError, package::InvalidPackage};
use edgeprove_engine::circuits::Circuit;
use edgeprove_groth16::{JsonError, Proof, PublicSignals};
use edgeprove_protocol::{CircuitId, ProblemType, ProofSystem, Target, answer::Verdict};
use edgeprove_prover::{FIELD_BYTES, ProofParts, ProverError, barretenberg::KeyFacts, contract_call};
use serde::Deserialize;
use serde_json::Value;

use super::verification_key::key;
use crate::{
    access::Caller,
    http::{api_error::ApiError, extract::CircuitPath, inputs, state::AppState},
};

/// The largest body, in bytes. A proof has at most 20 KiB in base64, and a public input some 80 bytes.
const BODY_MAX_BYTES: usize = 256 << 10;
/// The largest file with a compiled verifier, in bytes.
const VERIFIER_MAX_BYTES: u64 = 1 << 20;
/// The name of the verifier contract in a verdict.
const EVM: &str = "evm";

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

/// The body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyRequest {
    proof: Value,
    #[serde(rename = "publicInputs", alias = "publicSignals", alias = "public_inputs")]
    public_inputs: Vec<String>,
}

/// See the module.
pub async fn verify(
    State(app): State<AppState>,
    caller: Caller,
    CircuitPath(name): CircuitPath,
    query: Result<Query<VerifyQuery>, QueryRejection>,
    request: Request,
) -> Result<Json<Verdict>, ApiError> {
    app.access.count(&caller)?;
    let Ok(Query(VerifyQuery { on, target })) = query else {
        let detail = "the query allows `on` (backend or evm) and `target`, as in ?on=evm";
        return Err(ApiError::new(ProblemType::InvalidRequest, detail));
    };
    let target = target.map(|text| text.parse::<Target>()).transpose();
    let target = target.map_err(|error| {
        ApiError::new(ProblemType::InvalidRequest, format!("`target` in the query: {error}"))
    })?;
    let request = read(request).await?;
    let circuit = app.circuits.find(name.as_ref()).await?;
    let target = target.unwrap_or(match (on, circuit.proof_system()) {
        (Verifier::Evm, ProofSystem::UltraHonk) => Target::Evm,
        (Verifier::Evm | Verifier::Backend, _) => circuit.target,
    });
    if !circuit.targets().contains(&target) {
        let detail = format!("the circuit has no proofs for the target {target}");
        return Err(ApiError::new(ProblemType::InvalidRequest, detail));
    }
    let parts = request.parts(target)?;
    match on {
        Verifier::Backend => by_backend(&app, &circuit, target, parts).await,
        Verifier::Evm => by_contract(&app, &circuit.id, target, parts).await,
    }
    .map(Json)
}

async fn read(request: Request) -> Result<VerifyRequest, ApiError> {
    if !inputs::is_expected(request.headers()) {
        let detail = "send the proof and its public inputs as Content-Type: application/json";
        return Err(ApiError::new(ProblemType::UnsupportedMediaType, detail));
    }
    let body = to_bytes(request.into_body(), BODY_MAX_BYTES).await.map_err(|_| {
        let detail = format!("the body broke off, or has more than {BODY_MAX_BYTES} bytes");
        ApiError::new(ProblemType::InvalidRequest, detail)
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        let detail = format!(
            "the body must be {{\"proof\": …, \"publicInputs\": […]}}, as an answer with a proof has them: {error}"
        );
        ApiError::new(ProblemType::InvalidRequest, detail)
    })
}

impl VerifyRequest {
    /// The proof and its public inputs. `None`: no verifier accepts them, because a value is not below the modulus, or a point
    /// is not on the curve.
    fn parts(&self, target: Target) -> Result<Option<ProofParts>, ApiError> {
        match target.proof_system() {
            ProofSystem::UltraHonk => self.parts_of_honk().map(Some),
            ProofSystem::Groth16 => self.parts_of_groth16(),
        }
    }

    fn parts_of_honk(&self) -> Result<ProofParts, ApiError> {
        let bytes = STANDARD.decode(self.proof.as_str().ok_or_else(not_base64)?).map_err(|_| not_base64())?;
        let (proof, rest) = bytes.as_chunks::<FIELD_BYTES>();
        if !rest.is_empty() {
            return Err(not_base64());
        }
        let words: Option<_> = self.public_inputs.iter().map(|text| word(text)).collect();
        Ok(ProofParts { proof: proof.to_vec(), public_inputs: words.ok_or_else(not_words)? })
    }

    fn parts_of_groth16(&self) -> Result<Option<ProofParts>, ApiError> {
        let proof = match Proof::from_json(self.proof.to_string().as_bytes()) {
            Ok(proof) => proof,
            Err(JsonError::InvalidPoint { .. } | JsonError::InvalidValue { .. }) => return Ok(None),
            Err(error) => {
                return Err(ApiError::new(ProblemType::InvalidRequest, format!("`proof`: {error}")));
            }
        };
        let is_decimal = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let signals = if self.public_inputs.iter().all(is_decimal) {
            PublicSignals::from_json(Value::from(self.public_inputs.clone()).to_string().as_bytes()).ok()
        } else {
            let words: Option<Vec<_>> = self.public_inputs.iter().map(|text| word(text)).collect();
            PublicSignals::from_words(&words.ok_or_else(not_words)?)
        };
        let parts = |signals: PublicSignals| ProofParts {
            proof: proof.words().to_vec(),
            public_inputs: signals.words(),
        };
        Ok(signals.map(parts))
    }
}

fn not_base64() -> ApiError {
    let detail = "`proof` must be the proof in base64: a whole number of 32-byte fields";
    ApiError::new(ProblemType::InvalidRequest, detail)
}

fn not_words() -> ApiError {
    let detail = "`publicInputs` must be texts: `0x` and 64 hexadecimal digits each, or for Groth16 decimal digits each";
    ApiError::new(ProblemType::InvalidRequest, detail)
}

fn word(text: &str) -> Option<[u8; FIELD_BYTES]> {
    let mut word = [0; FIELD_BYTES];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut word).ok()?;
    Some(word)
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

async fn by_contract(
    app: &AppState,
    id: &CircuitId,
    target: Target,
    parts: Option<ProofParts>,
) -> Result<Verdict, ApiError> {
    if target == Target::NoirRecursive {
        let detail = "contracts verify proofs for the target evm, and not those for noir-recursive";
        return Err(ApiError::new(ProblemType::InvalidRequest, detail));
    }
    let Some(builder) = app.jobs().ok().and_then(|jobs| jobs.builder.as_ref()) else {
        let detail = "this server has no Ethereum virtual machine: its operator can start it with --toolchain DIR \
                      (EDGEPROVE_TOOLCHAIN)";
        return Err(ApiError::new(ProblemType::BuilderUnavailable, detail));
    };
    let verifier = compiled_verifier(app, id).await?;
    let verdict = |valid| Verdict { valid, verified_by: EVM.to_owned() };
    let Some(call) = parts.and_then(|parts| contract_call(target, &parts)) else { return Ok(verdict(false)) };
    let called = builder.call_verifier(verifier, call.calldata).await;
    called.map(verdict).map_err(|error| contract_error(&error))
}

/// The file `verifier.json` of a circuit that was built.
async fn compiled_verifier(app: &AppState, id: &CircuitId) -> Result<Vec<u8>, ApiError> {
    let none = || {
        let detail = "the circuit has no compiled verifier contract: only circuits that were built from templates have one, \
                      and GET /v1/circuits/NAME shows why one of them has none";
        ApiError::new(ProblemType::CircuitNotFound, detail)
    };
    let store = app.circuits.store().ok_or_else(none)?;
    let stored = store.find(id).await?.ok_or_else(none)?;
    let (mut files, bytes) = match store.files(&stored).await?.find(COMPILED).await {
        Err(CircuitStoreError::Package(InvalidPackage::NoSuchFile)) => return Err(none()),
        found => found?,
    };
    if bytes > VERIFIER_MAX_BYTES {
        let detail = "the compiled verifier of the circuit is too large";
        return Err(ApiError::new(ProblemType::StoredDataDamaged, detail));
    }
    let mut verifier = Vec::new();
    while let Some(piece) = files.next_piece().await? {
        verifier.extend_from_slice(&piece);
    }
    Ok(verifier)
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
