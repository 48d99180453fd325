//! What a request brings to be proved: a witness, or one for each of several circuits of a family.
//!
//! One witness is the body itself. Several are parts of `multipart/form-data`, each under its circuit's name, the one that
//! is asked for first: where the machine has too little for it, the next is proved.

use std::sync::Arc;

use edgeprove_protocol::{CircuitId, ProblemType};
use http::{header, request::Parts};
use multer::Multipart;

use crate::http::{
    api_error::ApiError,
    body::Incoming,
    extract::{check_content_type, declared_length},
    state::AppState,
};
use edgeprove_engine::{
    circuits::{Circuit, registry::LookupError},
    witness::{
        WitnessDigest,
        intake::{self, SpooledWitness},
    },
};

/// Most witnesses of smaller circuits that a request may bring.
const SMALLER_MAX: usize = 7;

/// What a request brought.
#[derive(Debug)]
pub struct WitnessUploads {
    /// Of the circuit that is asked for.
    pub first: WitnessUpload,
    /// Of ever smaller circuits of its family, which are proved where the machine has too little for it.
    pub smaller: Vec<WitnessUpload>,
}

/// A witness: spooled, and held against its circuit's shape.
#[derive(Debug)]
pub struct WitnessUpload {
    /// Its circuit.
    pub circuit: Arc<Circuit>,
    /// The witness.
    pub upload: SpooledWitness,
    /// Its digest.
    pub digest: WitnessDigest,
}

/// The circuit that a request asks for.
pub fn asked_for(app: &AppState, named: Option<&CircuitId>) -> Result<Arc<Circuit>, ApiError> {
    app.circuits.find(named).map_err(|error| match &error {
        LookupError::Failed { id, .. } => {
            let id = id.clone();
            ApiError::from(error).falling_back(&app.circuits, &id)
        }
        _ => error.into(),
    })
}

/// Refuses bodies that say they are something else. Several witnesses make sense for circuits of a family only.
pub fn check(app: &AppState, parts: &Parts) -> Result<(), ApiError> {
    if app.circuits.has_families() && boundary(parts).is_some() {
        return Ok(());
    }
    check_content_type(&parts.headers)
}

fn boundary(parts: &Parts) -> Option<String> {
    let media = parts.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    multer::parse_boundary(media).ok()
}

/// Takes in what the request brings for this circuit.
pub async fn receive(
    app: &AppState,
    circuit: &Arc<Circuit>,
    parts: &Parts,
    body: &mut Incoming,
) -> Result<WitnessUploads, ApiError> {
    let Some(boundary) = boundary(parts) else {
        let declared = declared_length(&parts.headers);
        let first = one(app, Arc::clone(circuit), declared, body).await?;
        return Ok(WitnessUploads { first, smaller: Vec::new() });
    };
    let wrong = |detail: String| ApiError::new(ProblemType::InvalidRequest, detail);
    let broken = |error: multer::Error| wrong(format!("the body is no multipart/form-data: {error}"));
    let mut form = Multipart::new(body, boundary);
    let mut witnesses: Option<WitnessUploads> = None;
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let name = field.name().and_then(|name| name.parse::<CircuitId>().ok());
        let name = name.ok_or_else(|| wrong("each part bears the name of its circuit".to_owned()))?;
        let Some(WitnessUploads { first, smaller }) = &mut witnesses else {
            if name != circuit.id {
                return Err(wrong(format!("the first part is the witness of {}", circuit.id)));
            }
            let first = one(app, Arc::clone(circuit), None, field).await?;
            witnesses = Some(WitnessUploads { first, smaller: Vec::new() });
            continue;
        };
        let larger = &smaller.last().unwrap_or(first).circuit.id;
        if !app.circuits.stands_in(&name, larger) {
            return Err(wrong(format!("{name} is no smaller circuit of the family of {larger}")));
        }
        if smaller.len() == SMALLER_MAX {
            return Err(wrong(format!("at most {SMALLER_MAX} witnesses of smaller circuits are taken")));
        }
        smaller.push(one(app, app.circuits.find(Some(&name))?, None, field).await?);
    }
    witnesses.ok_or_else(|| wrong("the form has no part".to_owned()))
}

async fn one<S, E>(
    app: &AppState,
    circuit: Arc<Circuit>,
    declared: Option<u64>,
    body: S,
) -> Result<WitnessUpload, ApiError>
where
    S: futures_util::Stream<Item = Result<bytes::Bytes, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let bound = Some(circuit.shape.inflated_bytes_max());
    let upload = intake::receive(&app.spool, &app.options.intake, declared, bound, body).await?;
    let (upload, digest) = edgeprove_engine::witness::checked(upload, circuit.shape).await?;
    Ok(WitnessUpload { circuit, upload, digest })
}
