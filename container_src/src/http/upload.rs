//! Receives the witnesses of a request: one, or one for each of several circuits of a family.
//!
//! One witness is the body itself, or is computed from inputs. Several are parts of `multipart/form-data`, each with its circuit's name: the requested
//! circuit first, then ever smaller ones, which are proved where the machine has too little memory or time.

use std::{sync::Arc, time::Duration};

use edgeprove_engine::{
    circuits::{Circuit, registry::LookupError},
    proof_service::{Candidate, Candidates},
    witness::{
        computation,
        intake::{self, IntakeError, IntakeLimits, SizeLimit, SpooledWitness},
    },
};
use edgeprove_protocol::{CircuitId, ProblemType, Target};
use edgeprove_spool::Spool;
use http::request::Parts;

use super::{
    admitted_request::{AdmittedRequest, check_target},
    api_error::ApiError,
    extract::declared_length,
    form::{self, Form, FormError},
    inputs::ReceivedInputs,
    request_body::RequestBody,
    state::AppState,
};
use crate::{access::Caller, circuits::CircuitError};

/// Maximum number of witnesses for smaller circuits in a request.
const SMALLER_MAX: usize = 7;
/// Bytes that a form may have beside its witnesses: delimiters and heads.
const FORM_OVERHEAD_MAX_BYTES: u64 = 64 << 10;
/// Bytes that may follow the last delimiter of a sealed form, which are read to see that the body is complete.
const FORM_REST_MAX_BYTES: usize = 64 << 10;

/// Receives the witnesses of a request, and checks each against its circuit's shape. A sealed body is opened meanwhile (400,
/// 409, 503).
pub async fn receive(
    app: &AppState,
    request: &mut AdmittedRequest,
    parts: &Parts,
    body: &mut RequestBody,
) -> Result<Candidates, ApiError> {
    let candidates = receive_any(app, request, parts, body).await.map_err(|error| body.failure(error))?;
    body.finish_unsealing(FORM_REST_MAX_BYTES).await?;
    Ok(candidates)
}

async fn receive_any(
    app: &AppState,
    request: &mut AdmittedRequest,
    parts: &Parts,
    body: &mut RequestBody,
) -> Result<Candidates, ApiError> {
    let account = request.caller.share_account().into_owned();
    let limits = IntakeLimits { idle: body.idle(app.options.intake.idle), ..app.options.intake };
    let receiver = Receiver {
        spool: app.engine.spool.of_owner(&account),
        account,
        limits: &limits,
        target: request.target,
    };
    if let Some(inputs) = request.inputs.take() {
        let max = app.engine.proving.options().timeout;
        let time_limit = request.limits.timeout.map_or(max, |timeout| timeout.min(max));
        let first = receiver.compute(inputs, Arc::clone(&request.circuit), time_limit).await?;
        // A smaller circuit has other inputs.
        return Ok(Candidates { first, smaller: Vec::new() });
    }
    let declared = declared_length(&parts.headers);
    let Some(boundary) = form::boundary(&parts.headers) else {
        let first = receiver.receive(Arc::clone(&request.circuit), declared, body).await?;
        return Ok(Candidates { first, smaller: Vec::new() });
    };
    receive_form(app, &receiver, (&request.caller, &request.requested), declared, &boundary, body).await
}

/// Receives a form: one witness of the requested circuit, then one of each of several smaller circuits. A witness whose
/// circuit could not be loaded is skipped: another one may still be proved.
async fn receive_form(
    app: &AppState,
    receiver: &Receiver<'_>,
    (caller, requested): (&Caller, &CircuitId),
    declared: Option<u64>,
    boundary: &str,
    body: &mut RequestBody,
) -> Result<Candidates, ApiError> {
    let invalid = |detail: String| ApiError::new(ProblemType::InvalidRequest, detail);
    let max_bytes = receiver.limits.upload_max_bytes.saturating_add(FORM_OVERHEAD_MAX_BYTES);
    let too_large =
        |announced| ApiError::from(IntakeError::TooLarge { announced, max_bytes, limit: SizeLimit::Server });
    if declared.is_some_and(|declared| declared > max_bytes) {
        return Err(too_large(declared));
    }
    let malformed = |error: FormError| error.refusal(|| too_large(None));
    let mut form = Form::new(body, boundary, max_bytes, receiver.limits.idle);
    let (mut candidates, mut refused) = (Vec::new(), None);
    let (mut last, mut parts): (Option<CircuitId>, usize) = (None, 0);
    while let Some(name) = form.next_part().await.map_err(malformed)? {
        let name = name.parse::<CircuitId>();
        let name = name.map_err(|_| invalid("each part must have the name of its circuit".to_owned()))?;
        caller.check_circuit(&name)?;
        match &last {
            None if name != *requested => {
                return Err(invalid(format!("the first part must be the witness of {requested}")));
            }
            Some(larger) if !app.engine.circuits.is_smaller(&name, larger) => {
                return Err(invalid(format!("{name} is not a smaller circuit of the family of {larger}")));
            }
            None | Some(_) => {}
        }
        parts += 1;
        if parts > 1 + SMALLER_MAX {
            let detail = format!("a request may have at most {SMALLER_MAX} witnesses for smaller circuits");
            return Err(invalid(detail));
        }
        match app.circuits.find(Some(&name)).await {
            Ok(circuit) => {
                let candidate = receiver.receive(circuit, None, &mut form).await;
                // The error of the part would only be that it broke off.
                form.check().map_err(malformed)?;
                candidates.push(candidate?);
            }
            Err(error @ (CircuitError::Lookup(LookupError::Failed { .. }) | CircuitError::Admission(_))) => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error.into()),
        }
        last = Some(name);
    }
    let mut candidates = candidates.into_iter();
    match (candidates.next(), refused) {
        (Some(first), _) => Ok(Candidates { first, smaller: candidates.collect() }),
        (None, Some(refused)) => Err(refused.into()),
        (None, None) => Err(invalid("the form has no parts".to_owned())),
    }
}

/// Receives the witnesses of one request.
struct Receiver<'limits> {
    /// The spool, for files of the caller.
    spool: Spool,
    /// The account of the caller's share of computations.
    account: String,
    limits: &'limits IntakeLimits,
    target: Option<Target>,
}

impl Receiver<'_> {
    async fn receive<S, E>(
        &self,
        circuit: Arc<Circuit>,
        declared: Option<u64>,
        body: S,
    ) -> Result<Candidate, ApiError>
    where
        S: futures_util::Stream<Item = Result<bytes::Bytes, E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        check_target(&circuit, self.target)?;
        let bound = Some(circuit.witness_max_bytes());
        let witness = intake::receive(&self.spool, self.limits, declared, bound, body).await?;
        self.check(witness, circuit).await
    }

    async fn compute(
        &self,
        inputs: ReceivedInputs,
        circuit: Arc<Circuit>,
        time_limit: Duration,
    ) -> Result<Candidate, ApiError> {
        let ReceivedInputs { document, share } = inputs;
        let witness =
            computation::compute(document, &circuit, &self.account, &self.spool, time_limit).await?;
        drop(share);
        self.check(witness, circuit).await
    }

    /// Checks a witness against its circuit's shape.
    async fn check(&self, witness: SpooledWitness, circuit: Arc<Circuit>) -> Result<Candidate, ApiError> {
        let (witness, digest) = edgeprove_engine::witness::check(witness, &circuit).await?;
        Ok(Candidate { target: self.target.unwrap_or(circuit.target), circuit, witness, digest })
    }
}
