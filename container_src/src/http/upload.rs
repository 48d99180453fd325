//! Receives the witnesses of a request: one, or one for each of several circuits of a family.
//!
//! One witness is the body itself. Several are parts of `multipart/form-data`, each with its circuit's name: the requested
//! circuit first, then ever smaller ones, which are proved where the machine has too little memory or time.

use std::sync::Arc;

use edgeprove_engine::{
    circuits::{Circuit, registry::LookupError},
    proof_service::{Candidate, Candidates},
    witness::intake::{self, IntakeLimits},
};
use edgeprove_protocol::{CircuitId, ProblemType, Target};
use http::request::Parts;
use multer::{Field, Multipart};

use super::{
    admitted_request::AdmittedRequest,
    api_error::ApiError,
    extract::{declared_length, form_boundary},
    request_body::RequestBody,
    state::AppState,
};

/// Maximum number of witnesses for smaller circuits in a request.
const SMALLER_MAX: usize = 7;

/// Receives the witnesses of a request, and checks each against its circuit's shape.
pub async fn receive(
    app: &AppState,
    request: &AdmittedRequest,
    parts: &Parts,
    body: &mut RequestBody,
) -> Result<Candidates, ApiError> {
    let Some(boundary) = form_boundary(&parts.headers) else {
        let circuit = Arc::clone(&request.circuit);
        let first = receive_one(app, circuit, request.target, declared_length(&parts.headers), body).await?;
        return Ok(Candidates { first, smaller: Vec::new() });
    };
    let invalid = |detail: String| ApiError::new(ProblemType::InvalidRequest, detail);
    let malformed =
        |error: multer::Error| invalid(format!("the body is not valid multipart/form-data: {error}"));
    let mut form = Multipart::new(body, boundary);
    let (mut candidates, mut refused) = (Vec::new(), None);
    let (mut last, mut parts): (Option<CircuitId>, usize) = (None, 0);
    while let Some(field) = form.next_field().await.map_err(malformed)? {
        let name = field.name().and_then(|name| name.parse::<CircuitId>().ok());
        let name = name.ok_or_else(|| invalid("each part must have the name of its circuit".to_owned()))?;
        match &last {
            None if name != request.requested => {
                return Err(invalid(format!("the first part must be the witness of {}", request.requested)));
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
        match app.engine.circuits.find(Some(&name)) {
            Ok(circuit) => {
                candidates.push(receive_one(app, circuit, request.target, None, field).await?);
            }
            // A smaller circuit may still be proved, so its witness is skipped.
            Err(error @ LookupError::Failed { .. }) => {
                skip(app, field).await.map_err(malformed)?;
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

/// Reads a part that is not needed, up to the size and the pause that a witness may have.
async fn skip(app: &AppState, mut field: Field<'_>) -> Result<(), multer::Error> {
    let IntakeLimits { upload_max_bytes: limit, idle, .. } = app.options.intake;
    let mut skipped = 0;
    while let Ok(piece) = tokio::time::timeout(idle, field.chunk()).await {
        let Some(piece) = piece? else { return Ok(()) };
        skipped += piece.len() as u64;
        if skipped > limit {
            break;
        }
    }
    Err(multer::Error::FieldSizeExceeded { limit, field_name: field.name().map(str::to_owned) })
}

async fn receive_one<S, E>(
    app: &AppState,
    circuit: Arc<Circuit>,
    target: Option<Target>,
    declared: Option<u64>,
    body: S,
) -> Result<Candidate, ApiError>
where
    S: futures_util::Stream<Item = Result<bytes::Bytes, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let bound = Some(circuit.witness_max_bytes());
    let witness = intake::receive(&app.engine.spool, &app.options.intake, declared, bound, body).await?;
    let (witness, digest) = edgeprove_engine::witness::check(witness, &circuit).await?;
    Ok(Candidate { target: target.unwrap_or(circuit.target), circuit, witness, digest })
}
