//! A real proof by a service, which is verified on this machine.

use std::time::Instant;

use edgeprove_protocol::{CircuitId, headers};
use edgeprove_telemetry::chain;
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    finding::Report,
    keys_of_service::{self, ReceiptKeys},
};
use crate::{
    commands::{
        exit_status::Failure,
        remote_server::{RemoteServer, ServerError},
        verify,
    },
    config::{Faults, engine::EngineArgs, environment::Environment},
    proof_files::{FileFormat, ProofFiles},
};

/// The most circuits of which one with a sample is searched.
const CIRCUITS_MAX: usize = 100;

/// The remedy for a proof that does not verify.
const UNTRUSTED: &str = "use no proof of this service before the reason is known: its program, its circuit or its answers were changed";

/// The inputs that the caller has given.
pub(super) struct Wanted {
    /// The circuit; `None` for the default of the service.
    pub(super) circuit: Option<CircuitId>,
    /// The body of the request.
    pub(super) inputs: Vec<u8>,
}

/// Lets the service make a proof, and verifies it with bb of this machine.
pub(super) async fn examine(
    server: &RemoteServer,
    wanted: Option<Wanted>,
    (engine, environment, keys): (EngineArgs, &Environment, &ReceiptKeys),
    report: &mut Report,
) {
    let wanted = match wanted {
        Some(wanted) => wanted,
        None => match sample(server).await {
            Ok(Some(sample)) => sample,
            Ok(None) => {
                return report.skipped(
                    "proof",
                    "no circuit of the service was built from the sample of a template",
                    "give the inputs of a circuit: --inputs FILE --prove CIRCUIT",
                );
            }
            Err(error) => {
                return report.fault(
                    "proof",
                    chain(&error),
                    "docs/ERRORS.md has the reasons of this problem",
                );
            }
        },
    };
    let path = match &wanted.circuit {
        Some(circuit) => format!("/api/prove/{circuit}"),
        None => "/api/prove".to_owned(),
    };
    let started = Instant::now();
    let tar = server.post_for(&path, "application/json", wanted.inputs, "application/x-tar").await;
    let took = started.elapsed().as_millis();
    let (tar, receipt) = match tar {
        Ok((answered, tar)) => {
            let receipt = answered.get(headers::RECEIPT).and_then(|receipt| receipt.to_str().ok());
            (tar, receipt.map(ToOwned::to_owned))
        }
        Err(error) => {
            let fix = match &error {
                ServerError::Refused(problem) if problem.retryable => {
                    "send it again after a while: the service reports that it can succeed"
                }
                ServerError::Refused(_) => "docs/ERRORS.md has the reasons of this problem",
                _ => "look at the log of the service",
            };
            return report.fault("proof", chain(&error), fix);
        }
    };
    let files = match ProofFiles::from_tar(&tar) {
        Ok(files) => files,
        Err(error) => {
            return report.fault(
                "proof",
                format!("the answer is not a proof with its files: {error}"),
                "something between this machine and the service changes its answers",
            );
        }
    };
    let name = wanted.circuit.map_or_else(|| "the default circuit".to_owned(), |circuit| circuit.to_string());
    report.ok("proof", format!("{name} was proved in {took} ms, the way there and back included"));
    keys_of_service::examine_receipt(keys, receipt.as_deref(), &files, report);
    verify_here(files, (engine, environment), report).await;
}

async fn verify_here(
    files: ProofFiles,
    (engine, environment): (EngineArgs, &Environment),
    report: &mut Report,
) {
    let verifier = if files.format == FileFormat::Bb {
        let mut faults = Faults::default();
        let read = engine.read_for_verification(environment, &mut faults).await;
        match faults.finish(read) {
            Ok((verifier, _)) => Some(verifier),
            Err(error) => {
                return report.skipped(
                    "verification",
                    format!("the proof was not verified here, because bb cannot be used: {error}"),
                    "give --bb FILE (BB_PATH)",
                );
            }
        }
    } else {
        None
    };
    match verify::misfit_of(files, verifier).await {
        Ok(None) => report.ok("verification", "the proof verifies on this machine"),
        Ok(Some(misfit)) => report.fault(
            "verification",
            format!("the proof does not verify on this machine: {misfit}"),
            UNTRUSTED,
        ),
        // The bytes are those of no proof at all.
        Err(failure @ Failure::Data(_)) => report.fault(
            "verification",
            format!("the proof does not verify on this machine: {}", failure.message()),
            UNTRUSTED,
        ),
        Err(failure) => report.fault(
            "verification",
            format!("the proof could not be verified here: {}", failure.message()),
            "run `edgeprove doctor` without a URL, which examines bb of this machine",
        ),
    }
}

/// The sample of a template with the parameters of a circuit that the service has.
async fn sample(server: &RemoteServer) -> Result<Option<Wanted>, ServerError> {
    let circuits = server.json(Method::GET, &format!("/v1/circuits?limit={CIRCUITS_MAX}"), None).await?;
    let circuits = circuits["circuits"].as_array().map(Vec::as_slice).unwrap_or_default();
    for circuit in circuits.iter().filter(|circuit| circuit["status"] == "ready") {
        let (Some(template), Some(id)) = (
            circuit["built"]["template_name"].as_str(),
            circuit["id"].as_str().and_then(|id| id.parse().ok()),
        ) else {
            continue;
        };
        // The name comes from the server, and is a part of a path here.
        if !template.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            continue;
        }
        let template = server.json(Method::GET, &format!("/v1/templates/{template}"), None).await?;
        if template["sample"]["parameters"] == circuit["built"]["params"]
            && let Some(inputs) = inputs_of(&template)
        {
            return Ok(Some(Wanted { circuit: Some(id), inputs }));
        }
    }
    Ok(None)
}

/// The first accepted inputs of a template's sample, as a request has them.
fn inputs_of(template: &Value) -> Option<Vec<u8>> {
    let inputs = template["sample"]["accepted"][0]["inputs"].as_object()?;
    let names = template["private_inputs"].as_array()?;
    let is_private = |name: &str| names.iter().any(|input| input["name"] == name);
    let (private, public): (Map<_, _>, Map<_, _>) =
        inputs.clone().into_iter().partition(|(name, _)| is_private(name));
    let body = json!({ "privateInputs": private, "publicInputs": public });
    Some(body.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_divided_into_private_and_public_inputs() {
        let template = json!({
            "private_inputs": [{ "name": "value" }],
            "sample": { "accepted": [{ "inputs": { "context": "7", "value": "100" } }] },
        });
        let inputs: Value = serde_json::from_slice(&inputs_of(&template).unwrap()).unwrap();
        let expected = json!({ "privateInputs": { "value": "100" }, "publicInputs": { "context": "7" } });
        assert_eq!(inputs, expected);
        assert!(inputs_of(&json!({ "sample": { "accepted": [] } })).is_none());
    }
}
