//! `POST /api/prove` and `POST /api/prove/{circuit}`: a gzipped witness goes in, a verified proof comes out.
//!
//! 0. The caller is known (401), may ask for this priority (400, 403), and has not asked for too much (429).
//! 1. The head is looked at: content type (415), query (400), circuit (404, 503), readiness (503).
//! 2. The body is streamed to the spool and checked while it arrives (400, 408, 413, 503).
//! 3. The spooled witness is held against the circuit's shape (400, 422).
//! 4. It is proved and verified (422, 500, 503, 504).
//! 5. That is put on record (503), whatever came of it.
//! 6. The proof is answered, and the spool file is wiped, as on every other way out of here.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{FromRequestParts, Request, State},
    response::{IntoResponse, Response},
};
use edgeprove_job_rules::audit::{Action, Entry, Outcome as Recorded};
use edgeprove_protocol::{HasProblemType as _, Target};
use http::request::Parts;

use super::{
    proofs,
    upload::{self, WitnessUpload, WitnessUploads, receive},
};
use crate::{
    access::{Caller, Work},
    http::{
        api_error::ApiError,
        body::Incoming,
        caller::priority,
        extract::{AnswerFormat, NamedCircuit, Preferences, Wish, cache_wish, deadline},
        proof_response::{ProofResponse, proof_response},
        request_id::request_id,
        state::AppState,
    },
    jobs::kinds::proof::KIND,
};
use edgeprove_engine::{
    circuits::Circuit,
    proof_cache::{CachePolicy, CacheQuery},
    proving::{ProofResult, Urgency, milliseconds},
};
use edgeprove_telemetry::metrics::{self, Outcome};

/// See the module.
pub async fn prove(State(app): State<AppState>, request: Request) -> Response {
    if Preferences::of(request.headers()).wants_a_job() {
        return proofs::take(&app, request, false).await;
    }
    let arrived = Instant::now();
    let id = request_id(&request);
    let (mut parts, body) = request.into_parts();
    let mut upload = Incoming::new(&parts, body);
    let mut ending = JobOutcome::default();
    match answer(&app, &mut parts, &mut upload, &mut ending, arrived, &id).await {
        Ok(response) => {
            ending.is(Outcome::Success);
            response
        }
        Err(error) => {
            ending.is(Outcome::Problem(error.kind));
            upload.read_to_the_end(&app.supervisor);
            error.into_response()
        }
    }
}

/// Counts how a request ended, once it is known what was to be proved. One that nobody waits for any more ends by being
/// dropped.
#[derive(Default)]
struct JobOutcome(Option<(Arc<Circuit>, Target)>);

impl JobOutcome {
    fn of(&mut self, circuit: &Arc<Circuit>, target: Target) {
        self.0 = Some((Arc::clone(circuit), target));
    }

    fn is(&mut self, outcome: Outcome) {
        if let Some((circuit, target)) = self.0.take() {
            metrics::proof_ended(&circuit.id, target, outcome);
        }
    }
}

impl Drop for JobOutcome {
    fn drop(&mut self) {
        self.is(Outcome::Abandoned);
    }
}

async fn answer(
    app: &AppState,
    parts: &mut Parts,
    body: &mut Incoming,
    ending: &mut JobOutcome,
    arrived: Instant,
    id: &str,
) -> Result<Response, ApiError> {
    let caller = Caller::from_request_parts(parts, app).await?;
    let urgency = Urgency { priority: priority(app, &caller, parts)?, since: None };
    let grant = app.access.admit(&caller, Work::Waited)?;

    upload::check(app, parts)?;
    let format = AnswerFormat::from_headers(&parts.headers);
    let cache_wish = cache_wish(&parts.headers);
    let wish = Wish::from_request_parts(parts, app).await?;
    let NamedCircuit(name) = NamedCircuit::from_request_parts(parts, app).await?;
    let circuit = upload::asked_for(app, name.as_ref().or(wish.circuit.as_ref()))?;
    let target = wish.target.unwrap_or(circuit.target);
    ending.of(&circuit, target);
    // Taken before the look at the state, so that a shutdown either sees it or is seen.
    let _at_work = app.proofs_at_work.token();
    if let Some(why) = app.not_ready() {
        return Err(ApiError::not_ready(why));
    }
    if !app.audit.ready() {
        return Err(ApiError::audit_unavailable());
    }

    if let Some(deadline) = deadline(&parts.headers)? {
        let estimate = app.estimator.expected(KIND, circuit.id.as_str());
        if let Some(estimate) = estimate.filter(|estimate| estimate.exceeds(deadline)) {
            return Err(ApiError::too_late(estimate, deadline));
        }
    }
    let entry = app.audit.entry(caller.actor(), Action::ProofSynchronous);
    let (of, request_id) = (Some(circuit.id.clone()), Some(id.to_owned()));
    let record = app.audit.pending(Entry { circuit: of, request_id, ..entry });
    let made = async {
        let witnesses = receive(app, &circuit, parts, body).await?;
        let uploaded = arrived.elapsed();
        let wishes = Wishes { tenant: caller.tenant(), target: wish.target, cache: cache_wish, urgency };
        let mut made = prove_what_fits(app, witnesses, wishes).await?;
        made.proved.timings.upload_ms = milliseconds(uploaded);
        made.proved.timings.total_ms = milliseconds(arrived.elapsed());
        Ok::<_, ApiError>(made)
    };
    let Proof { circuit: of, target, proved } = match made.await {
        Ok(made) => made,
        Err(error) => {
            // What went wrong is told first; that it cannot be put on record is in the log.
            let _ = record.settle(Recorded::Failed(error.kind)).await;
            return Err(error);
        }
    };
    record.settle(Recorded::Ok).await?;
    grant.spend();
    if !proved.cached {
        metrics::proof_made(&of.id, &proved.timings);
        let took_ms = proved.timings.prove_ms + proved.timings.verify_ms;
        app.estimator.record(KIND, of.id.as_str(), Duration::from_secs_f64(took_ms / 1000.0));
    }
    let mut made = ProofResponse::of(&of, target, &proved, id);
    made.fallback_from = (of.id != circuit.id).then(|| circuit.id.clone());
    Ok(proof_response(&made, format))
}

/// How a proof is wanted.
struct Wishes<'a> {
    tenant: &'a str,
    /// `None` leaves it to the circuit.
    target: Option<Target>,
    cache: CachePolicy,
    urgency: Urgency,
}

/// A proof and what it is of.
struct Proof {
    circuit: Arc<Circuit>,
    target: Target,
    proved: ProofResult,
}

/// Proves the first of these witnesses; where the machine has too little for it, the next.
async fn prove_what_fits(
    app: &AppState,
    witnesses: WitnessUploads,
    wishes: Wishes<'_>,
) -> Result<Proof, ApiError> {
    let Wishes { tenant, target, cache, urgency } = wishes;
    let WitnessUploads { first, smaller } = witnesses;
    let (mut tried, mut smaller) = (first, smaller.into_iter());
    loop {
        let WitnessUpload { circuit, upload, digest } = tried;
        let target = target.unwrap_or(circuit.target);
        let wanted = CacheQuery { tenant, circuit: &circuit, target, witness: &digest };
        if let Some(proved) = app.proof_cache.get(wanted, cache) {
            return Ok(Proof { circuit, target, proved });
        }
        match app.proving.prove(&circuit, target, &upload, urgency, &|_| ()).await {
            Ok(proved) => {
                app.proof_cache.put(wanted, cache, &proved);
                return Ok(Proof { circuit, target, proved });
            }
            Err(error) => match smaller.next().filter(|_| error.kind().fallback()) {
                Some(next) => {
                    let (code, instead) = (error.kind().code(), &next.circuit.id);
                    tracing::warn!(circuit = %circuit.id, code, %instead, "a smaller circuit is proved");
                    tried = next;
                }
                None => return Err(ApiError::from(error).falling_back(&app.circuits, &circuit.id)),
            },
        }
    }
}
