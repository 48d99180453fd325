//! A request for a proof that passed every check of its head. Both ways to ask for a proof, waiting for it and submitting
//! a job, start here.

use std::{sync::Arc, time::Duration};

use axum::extract::FromRequestParts;
use edgeprove_engine::{
    circuits::{Circuit, registry::LookupError},
    proof_cache::CachePolicy,
};
use edgeprove_protocol::{CircuitId, HasProblemType as _, Priority, ProblemType, Target, headers};
use http::{HeaderMap, request::Parts};

use super::{
    api_error::ApiError,
    caller::{priority, refused_voucher},
    extract::{self, AnswerFormat, CircuitPath, ProofQuery, cache_policy, deadline, seconds},
    form,
    inputs::{self, ReceivedInputs},
    request_body::RequestBody,
    request_id::request_id_of,
    sealed_body::SealedContent,
    single_header,
    state::AppState,
};
use crate::{
    access::{Caller, Grant, Work},
    circuits::CircuitError,
    jobs::submission::ProofLimits,
    lifecycle::WorkToken,
};

/// A request for a proof that passed every check of its head.
pub struct AdmittedRequest {
    /// The request's id.
    pub id: String,
    /// Who asks.
    pub caller: Caller,
    /// One proof of the caller's limits. Spend it when the proof was made or the job accepted.
    pub grant: Grant,
    /// How urgent it is.
    pub priority: Priority,
    /// The circuit to prove: the requested one or, where that could not be loaded and the request may have several
    /// witnesses, the largest smaller one of its family.
    pub circuit: Arc<Circuit>,
    /// The requested circuit.
    pub requested: CircuitId,
    /// The requested verifier; `None`: the circuit's default.
    pub target: Option<Target>,
    /// What the proof cache may do.
    pub cache: CachePolicy,
    /// Bytes or JSON.
    pub format: AnswerFormat,
    /// What the caller allows the proof.
    pub limits: ProofLimits,
    /// The caller has no use for the proof after this time.
    pub deadline: Option<Duration>,
    /// Makes a shutdown wait for the request.
    pub work: WorkToken,
    /// Whether the body came sealed.
    pub sealed: bool,
    /// The inputs, where the server computes the witness.
    pub inputs: Option<ReceivedInputs>,
    has_several_witnesses: bool,
}

impl AdmittedRequest {
    /// Checks the head, in this order:
    ///
    /// 1. the caller is known (401), may use the priority (400, 403), and is within its limits (429);
    /// 2. the content type can be a witness or inputs, which may be sealed (415). A sealed body is opened while it is
    ///    received, which fails in every way of [`edgeprove_sealing::UnsealError`] (400, 409, 503);
    /// 3. the query is valid (400), a voucher is for the circuit (403), and the circuit is loaded (404, 503) and has the target
    ///    (400);
    /// 4. the server is ready, and can write its audit log (503);
    /// 5. the deadline is a number, and the limits of the proof are within those of the server (400).
    ///
    /// Inputs are received after step 2, because they may name the circuit (400, 404, 408, 413, 503). A circuit that the head
    /// names is looked for before.
    pub async fn check(
        app: &AppState,
        parts: &mut Parts,
        body: &mut RequestBody,
        work: Work,
    ) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let priority = match priority(app, &caller, parts) {
            Ok(priority) => priority,
            Err(refused) => {
                // A refused priority counts against the rate like every other request.
                app.access.count(&caller)?;
                return Err(refused);
            }
        };
        let grant = app.access.admit(&caller, work)?;
        let sealed_content = SealedContent::take(&mut parts.headers)?;
        let sealed = sealed_content.is_some();
        check_content_type(app, parts)?;
        let query = ProofQuery::from_request_parts(parts, app).await?;
        let CircuitPath(path) = CircuitPath::from_request_parts(parts, app).await?;
        let mut named = path.or(query.circuit);
        let allow = |circuit: &CircuitId, parts: &Parts| {
            let allowed = caller.check_circuit(circuit);
            allowed.map_err(|refusal| refused_voucher(app, &caller, refusal, parts))
        };
        if let Some(named) = &named {
            allow(named, parts)?;
        }
        if let Some(content) = sealed_content {
            body.unseal(content.body(app, parts, &caller, named.as_ref(), query.target)?);
        }
        let has_several_witnesses = has_several_witnesses(app, parts);
        let work = app.lifecycle.admit();
        let inputs = if inputs::is_expected(&parts.headers) {
            if named.is_some() {
                let (_, circuit) = find_circuit(app, named.as_ref(), false).await?;
                check_target(&circuit, query.target)?;
            }
            if let Some(reason) = app.not_ready() {
                return Err(reason.into());
            }
            let received = inputs::receive(app, &caller.share_account(), parts, body).await?;
            named = received.circuit(named)?;
            if let Some(named) = &named {
                allow(named, parts)?;
            }
            Some(received)
        } else {
            None
        };
        let (requested, circuit) = find_circuit(app, named.as_ref(), has_several_witnesses).await?;
        for circuit in [&requested, &circuit.id] {
            allow(circuit, parts)?;
        }
        check_target(&circuit, query.target)?;
        if let Some(reason) = app.not_ready() {
            return Err(reason.into());
        }
        if !app.audit.is_ready().await {
            return Err(ApiError::audit_unavailable());
        }
        Ok(Self {
            id: request_id_of(&parts.headers),
            caller,
            grant,
            priority,
            circuit,
            requested,
            target: query.target,
            cache: cache_policy(&parts.headers),
            format: AnswerFormat::from_headers(&parts.headers),
            limits: proof_limits(app, &parts.headers)?,
            deadline: deadline(&parts.headers)?,
            work,
            sealed,
            inputs,
            has_several_witnesses,
        })
    }

    /// Fails if the proof cannot be over within the caller's time limit: a prover would only be stopped for it. With several
    /// witnesses a smaller circuit may still be proved in time.
    pub fn check_timeout(&self, app: &AppState) -> Result<(), ApiError> {
        let Some(timeout) = self.limits.timeout.filter(|_| !self.has_several_witnesses) else {
            return Ok(());
        };
        ApiError::check_in_time(app.proofs.recent_estimate(&self.circuit.id), "X-Timeout", timeout)
    }

    /// The target of the proof: the requested one, else the circuit's default.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target.unwrap_or(self.circuit.target)
    }
}

/// Parses `X-Timeout` and `X-Max-Attempts`, which may lower the server's limits.
fn proof_limits(app: &AppState, map: &HeaderMap) -> Result<ProofLimits, ApiError> {
    let wrong = |detail: String| ApiError::new(ProblemType::InvalidRequest, detail);
    let timeout = match single_header::text(map, headers::TIMEOUT)? {
        None => None,
        Some(text) => {
            let max = app.engine.proving.options().timeout;
            let timeout = seconds(text).filter(|timeout| !timeout.is_zero() && *timeout <= max);
            let detail = || format!("X-Timeout must be a number of seconds up to {}", max.as_secs_f64());
            Some(timeout.ok_or_else(|| wrong(detail()))?)
        }
    };
    let max_attempts = match single_header::text(map, headers::MAX_ATTEMPTS)? {
        None => None,
        Some(text) => {
            // A request that is no job has one attempt, but a wrong number is wrong in each request.
            let max = app.job_attempts_max;
            let attempts = text.trim().parse().ok().filter(|attempts| (1..=max).contains(attempts));
            Some(attempts.ok_or_else(|| wrong(format!("X-Max-Attempts must be a number from 1 to {max}")))?)
        }
    };
    Ok(ProofLimits { max_attempts, timeout })
}

/// Refuses a target that proofs of the circuit cannot have (400).
pub fn check_target(circuit: &Circuit, target: Option<Target>) -> Result<(), ApiError> {
    let Some(target) = target.filter(|target| !circuit.targets().contains(target)) else { return Ok(()) };
    let names: Vec<&str> = circuit.targets().iter().map(|target| target.as_str()).collect();
    let detail = format!(
        "a proof of {} cannot have the target {target}: leave `target` out, or give {}",
        circuit.id,
        names.join(" or ")
    );
    Err(ApiError::new(ProblemType::InvalidRequest, detail))
}

/// Finds the requested circuit; `None` is the default circuit. Where it could not be loaded and the request has a witness
/// for each of several circuits, a smaller one of its family takes its place.
async fn find_circuit(
    app: &AppState,
    named: Option<&CircuitId>,
    has_several_witnesses: bool,
) -> Result<(CircuitId, Arc<Circuit>), ApiError> {
    let circuits = &app.engine.circuits;
    match app.circuits.find(named).await {
        Ok(circuit) => Ok((circuit.id.clone(), circuit)),
        Err(error) => {
            let id = match (&error, named) {
                (CircuitError::Lookup(LookupError::Failed { id, .. }), _)
                | (CircuitError::Admission(_), Some(id)) => id.clone(),
                _ => return Err(error.into()),
            };
            if has_several_witnesses {
                for smaller in circuits.smaller(&id) {
                    if let Ok(circuit) = app.circuits.find(Some(&smaller)).await {
                        return Ok((id, circuit));
                    }
                }
            }
            let fallback = circuits.fallback(&id, error.kind());
            Err(ApiError::from(error).falling_back_to(fallback))
        }
    }
}

/// Whether the request has a form, with one witness for each of several circuits of a family.
fn has_several_witnesses(app: &AppState, parts: &Parts) -> bool {
    app.engine.circuits.has_families() && form::boundary(&parts.headers).is_some()
}

/// Refuses content types that cannot be a witness (415). A form is accepted only where circuits form families.
fn check_content_type(app: &AppState, parts: &Parts) -> Result<(), ApiError> {
    if has_several_witnesses(app, parts) || inputs::is_expected(&parts.headers) {
        return Ok(());
    }
    extract::check_content_type(&parts.headers)
}
