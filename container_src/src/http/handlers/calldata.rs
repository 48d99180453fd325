//! `GET /v1/proofs/{id}/calldata`: the call that verifies the proof of a job in its verifier contract.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use edgeprove_protocol::{ProblemType, Target, answer::Calldata};
use edgeprove_prover::contract_call;
use http::{HeaderMap, Method};

use super::get_proof::{require_completed, stored_proof};
use crate::{
    access::Caller,
    http::{
        api_error::ApiError,
        extract::JobPath,
        job_response::{no_store, usable_job},
        request_id::request_id_of,
        state::AppState,
    },
};

/// 1. The caller may see the job (401, 404, 429).
/// 2. The job has completed, as for its proof (409, 410, its own problem).
/// 3. The proof is read (503), and is one for a contract (400).
/// 4. Its delivery is written to the audit log (503): the calldata contains the proof. HEAD delivers nothing.
/// 5. 200 with the function and the calldata.
pub async fn get_calldata(
    State(app): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = usable_job(&app, &caller, id).await?;
    require_completed(&app, &job).await?;
    let jobs = app.jobs()?;
    let proof = stored_proof(jobs, &job).await?;
    let Some(call) = contract_call(proof.target, &proof.parts()) else {
        return Err(no_call(proof.target));
    };
    if method != Method::HEAD {
        jobs.recorder.fetched(&job, &caller, request_id_of(&headers)).await?;
    }
    let answer = Calldata {
        function: call.function,
        calldata: format!("0x{}", hex::encode(call.calldata)),
        circuit: proof.circuit,
        target: proof.target,
    };
    Ok(no_store(Json(answer).into_response()))
}

fn no_call(target: Target) -> ApiError {
    match target {
        Target::NoirRecursive => {
            let detail = "the proof is for the target noir-recursive, and contracts verify proofs for the target evm: submit \
                          the witness or the inputs again with ?target=evm";
            ApiError::new(ProblemType::InvalidRequest, detail)
        }
        Target::Evm | Target::Groth16 => {
            ApiError::new(ProblemType::StoredDataDamaged, "the proof is not one of its target")
        }
    }
}
