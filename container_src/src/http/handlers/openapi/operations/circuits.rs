//! Circuits: listed, requested, uploaded, removed, deployed; and their templates.

use edgeprove_protocol::{
    Priority,
    ProblemType::*,
    answer::{CircuitEntry, CircuitList, DeploymentEntry},
    headers,
};
use edgeprove_templates::{TemplateDocument, TemplateList};
use serde_json::{Value, json};

use super::{circuit, jobs::events, one_of, target, text, whole};
use crate::http::handlers::{
    circuits::CircuitDetails,
    openapi::{
        operation::{Operation, Tag},
        problems::{BODY, CALLER, CIRCUIT, JOB_STORE, WORK},
        schemas,
    },
    remove_circuit::RemovedCircuit,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/circuits", "listCircuits", Tag::Circuits)
            .query("after", circuit(), "The last stored circuit of the previous page.")
            .query("limit", whole(1, 1000), "The most stored circuits.")
            .answers::<CircuitList>(200, "A page of circuits.")
            .problems(&[JobStoreUnavailable, StoredDataDamaged]),
        Operation::post("/v1/circuits", "requestCircuit", Tag::Circuits)
            .header(
                headers::PRIORITY,
                one_of(Priority::ALL.map(Priority::as_str)),
                "The priority of the build.",
            )
            .header(headers::CALLBACK_URL, text(), "A URL that is called when the build has ended.")
            .accepts("application/json", template_request())
            .accepts("multipart/form-data", upload())
            .answers::<CircuitEntry>(200, "The circuit, which can be proved.")
            .answers::<CircuitEntry>(201, "The uploaded circuit.")
            .answers::<CircuitEntry>(202, "The circuit, which is being built.")
            .with_headers(200, &["location"])
            .with_headers(201, &["location"])
            .with_headers(202, &["location"])
            .problems(CALLER)
            .problems(CIRCUIT)
            .problems(BODY)
            .problems(WORK)
            .problems(JOB_STORE)
            .problems(&[
                TemplateNotFound,
                CircuitTooLarge,
                CircuitInvalid,
                InputsTooLarge,
                InvalidInputs,
                WitnessUnsatisfied,
                WitnessNotComputable,
                BuilderUnavailable,
                CallbackNotAllowed,
                TooManyCallbacks,
                TooManyJobs,
                QueueFull,
                QuotaExceeded,
                ProofInvalid,
            ]),
        Operation::get("/v1/circuits/{circuit}", "getCircuit", Tag::Circuits)
            .answers::<CircuitDetails>(200, "The circuit.")
            .problems(&[CircuitNotFound, JobStoreUnavailable, StoredDataDamaged]),
        events(Operation::get("/v1/circuits/{circuit}/events", "followBuild", Tag::Circuits))
            .problems(CALLER)
            .problems(JOB_STORE)
            .problems(&[CircuitNotFound, TooManyWatchers, NotReady]),
        Operation::get("/v1/circuits/{circuit}/program", "getProgram", Tag::Circuits)
            .answers_with(200, "The program.", "application/json", |_| json!({ "type": "object" }))
            .problems(&[CircuitNotFound]),
        Operation::get("/v1/circuits/{circuit}/vk", "getVerificationKey", Tag::Circuits)
            .query("target", target(), "The verifier that the key is for.")
            .answers_with(200, "The key, as bb writes it.", "application/octet-stream", |_| schemas::bytes())
            .answers_with(
                200,
                "The key, as snarkjs writes it.",
                "application/json",
                |_| json!({ "type": "object" }),
            )
            .with_headers(200, &[headers::VK_HASH, headers::CIRCUIT_ID, "etag"])
            .answers_empty(304, "The caller has this key.")
            .problems(CALLER)
            .problems(CIRCUIT)
            .problems(WORK)
            .problems(JOB_STORE),
        Operation::get("/v1/circuits/{circuit}/verifier.sol", "getVerifierContract", Tag::Circuits)
            .answers_with(200, "The contract.", "text/plain; charset=utf-8", |_| schemas::text())
            .answers_empty(304, "The caller has it.")
            .problems(FILE),
        Operation::get("/v1/circuits/{circuit}/artifacts/{name}", "getArtifact", Tag::Circuits)
            .answers_with(200, "The file.", "application/octet-stream", |_| schemas::bytes())
            .answers_with(200, "The file.", "application/json", |_| json!({}))
            .answers_with(200, "The file.", "application/wasm", |_| schemas::bytes())
            .answers_with(200, "The file.", "text/plain; charset=utf-8", |_| schemas::text())
            .answers_empty(304, "The caller has it.")
            .problems(FILE),
        Operation::delete("/v1/circuits/{circuit}", "removeCircuit", Tag::Operators)
            .answers::<RemovedCircuit>(200, "It is removed.")
            .problems(CALLER)
            .problems(JOB_STORE)
            .problems(&[CircuitNotFound, AuditUnavailable, NotReady]),
        Operation::post("/v1/circuits/{circuit}/deploy", "deployCircuit", Tag::Operators)
            .header(headers::CALLBACK_URL, text(), "A URL that is called when the deployment has ended.")
            .accepts("application/json", deployment_request())
            .answers::<DeploymentEntry>(200, "The deployment, which is done.")
            .answers::<DeploymentEntry>(202, "The deployment, which runs.")
            .with_headers(202, &["location"])
            .problems(CALLER)
            .problems(BODY)
            .problems(WORK)
            .problems(JOB_STORE)
            .problems(&[
                CircuitNotFound,
                CircuitNotDeployable,
                CircuitTooLarge,
                NodeNotAllowed,
                NodeUnavailable,
                DeploymentFailed,
                DeployingDisabled,
                TooManyDeployments,
                CallbackNotAllowed,
                TooManyCallbacks,
                TooManyJobs,
                QueueFull,
                ArtifactUnavailable,
                QuotaExceeded,
            ]),
        Operation::get("/v1/templates", "listTemplates", Tag::Circuits)
            .answers::<TemplateList>(200, "The templates."),
        Operation::get("/v1/templates/{name}", "getTemplate", Tag::Circuits)
            .answers::<TemplateDocument>(200, "The template.")
            .problems(&[TemplateNotFound]),
    ]
}

/// Why a file of a circuit cannot be sent.
const FILE: &[edgeprove_protocol::ProblemType] =
    &[CircuitNotFound, JobStoreUnavailable, ArtifactUnavailable, StoredDataDamaged];

/// The body of a request for the circuit of a template.
fn template_request() -> Value {
    json!({
        "type": "object",
        "properties": {
            "templateName": { "type": "string", "description": "The name of the template." },
            "language": one_of(["noir", "circom"]),
            "params": { "type": "object", "description": "The parameters, as the template describes them." },
        },
        "required": ["templateName"],
        "additionalProperties": false,
    })
}

/// The form with which an operator uploads a circuit.
fn upload() -> Value {
    let file = |description: &str| json!({ "description": description });
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "The name of the circuit." },
            "program": file("The compiled program of Noir."),
            "r1cs": file("The constraints of circom."),
            "wasm": file("The program of circom that computes witnesses."),
            "zkey": file("The key of snarkjs."),
            "sym": file("The names of the signals, of circom."),
            "input": file("A sample of inputs, as JSON."),
            "trust": one_of(["ceremony", "local", "unknown"]),
        },
        "required": ["name"],
        "additionalProperties": false,
    })
}

/// The body of a request for a deployment.
fn deployment_request() -> Value {
    json!({
        "type": "object",
        "properties": {
            "rpcUrl": { "type": "string", "description": "The URL of a node, which the server must allow." },
            "privateKey": { "type": "string", "description": "The key of the account that pays. It is never stored in the clear." },
            "chainId": { "type": ["integer", "null"], "minimum": 1, "description": "The chain, to be sure." },
        },
        "required": ["rpcUrl", "privateKey"],
        "additionalProperties": false,
    })
}
