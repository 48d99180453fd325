//! Verifier contracts of circuits that were built, and proofs for them.

use edgeprove_protocol::{
    ProblemType, Target,
    answer::{Calldata, CircuitEntry, CircuitVerifier, ProofAnswer, Verdict},
};
use http::Method;
use serde_json::{Value, json};

use crate::support::{TestServer, wait::LIMIT};

/// Submits a job with the value 500, waits for its proof, and returns the path of its document.
pub(super) fn finished_job(server: &TestServer, id: &str, query: &str) -> String {
    let document = json!({"privateInputs": {"value": "500"}, "publicInputs": {"context": "7"}});
    let request = server.inputs_request(&format!("/v1/proofs?circuit={id}{query}"), &document);
    let job = request.send().assert_accepted();
    let finished = server.wait_until_finished(job.id, LIMIT);
    assert_eq!(finished.error, None);
    format!("/v1/proofs/{}", job.id)
}

pub(super) fn calldata(server: &TestServer, job: &str) -> Calldata {
    let response = server.get(&format!("{job}/calldata"));
    assert_eq!((response.status.as_u16(), response.header("cache-control")), (200, "no-store"));
    serde_json::from_slice(&response.body).unwrap()
}

/// Asks whether a proof is valid.
pub(super) fn verdict(
    server: &TestServer,
    id: &str,
    query: &str,
    proof: &Value,
    inputs: &[String],
) -> Verdict {
    let body = json!({"proof": proof, "publicInputs": inputs});
    let response = server.json_request(&format!("/v1/verify/{id}{query}"), body.to_string()).send();
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_slice(&response.body).unwrap()
}

pub(super) fn by(verifier: &str, valid: bool) -> Verdict {
    Verdict { valid, verified_by: verifier.to_owned() }
}

/// The word of a small number, as an answer has it.
pub(super) fn word(number: u32) -> String {
    format!("0x{number:064x}")
}

/// Checks the description of a contract, and its files.
pub(super) fn check_contract(server: &TestServer, entry: &CircuitEntry, flavor: &str, source: &str) {
    let id = &entry.id;
    let Some(CircuitVerifier { flavor: found, audited: false, gas: Some(gas), error: None }) =
        &entry.verifier
    else {
        panic!("{entry:?}")
    };
    assert_eq!(found, flavor);
    let compiled = server.get(&format!("/v1/circuits/{id}/artifacts/verifier.json")).json();
    assert_eq!((&compiled["flavor"], &compiled["audited"]), (&json!(flavor), &json!(false)));
    assert_eq!(compiled["gas"], json!({"deploy": gas.deploy, "verify": gas.verify}));
    assert!(compiled["contracts"].as_array().is_some_and(|contracts| !contracts.is_empty()));
    let contract = server.get(&format!("/v1/circuits/{id}/verifier.sol"));
    assert!(contract.body.starts_with(b"// SPDX-License-Identifier"));
    assert!(String::from_utf8(contract.body).unwrap().contains(source));
}

/// Proofs that are none, and requests that are none.
pub(super) fn check_wrong_proofs(server: &TestServer, id: &str, proof: &Value) {
    let one = vec![word(7)];
    let mut other = proof.clone();
    other["pi_a"][0] = json!("1");
    let modulus = "21888242871839275222246405745257275088548364400416034343698204186575808495617";
    let r = hex::encode(edgeprove_groth16::scalar_modulus().into_iter().rev().collect::<Vec<_>>());
    for (proof, inputs) in [
        (&other, one.clone()),
        (proof, Vec::new()),
        (proof, vec![word(7), word(7)]),
        (proof, vec![modulus.to_owned()]),
        (proof, vec![format!("0x{r}")]),
    ] {
        assert!(!verdict(server, id, "", proof, &inputs).valid, "{inputs:?}");
    }
    let post = |path: &str, body: &Value| server.json_request(path, body.to_string()).send();
    let path = format!("/v1/verify/{id}");
    for body in [
        json!({}),
        json!({"proof": proof}),
        json!({"proof": "AAAA", "publicInputs": one}),
        json!({"proof": {"pi_a": 1}, "publicInputs": one}),
        json!({"proof": proof, "publicInputs": ["seven"]}),
        json!({"proof": proof, "publicInputs": ["0x7"]}),
        json!({"proof": proof, "publicInputs": one, "vk": {}}),
        json!({"proof": proof, "publicInputs": vec!["7"; 4_097]}),
        json!({"proof": vec![json!({}); 50_000], "publicInputs": one}),
    ] {
        post(&path, &body).assert_refused(ProblemType::InvalidRequest);
    }
    let good = json!({"proof": proof, "publicInputs": one});
    for query in ["?on=paper", "?target=evm", "?target=none", "?other=1"] {
        post(&format!("{path}{query}"), &good).assert_refused(ProblemType::InvalidRequest);
    }
    post("/v1/verify/none", &good).assert_refused(ProblemType::CircuitNotFound);
    // The configured circuit is proved by bb, and has no compiled contract.
    let of_honk = json!({"proof": "AAAA", "publicInputs": one});
    post("/v1/verify/range_check", &of_honk).assert_refused(ProblemType::InvalidRequest);
    let of_honk = json!({"proof": "", "publicInputs": one});
    assert_eq!(post("/v1/verify/range_check", &of_honk).json(), json!({"valid": false, "verifiedBy": "bb"}));
    post("/v1/verify/range_check?on=evm", &of_honk).assert_refused(ProblemType::CircuitNotFound);
    let plain = server.request(Method::POST, &path).send();
    plain.assert_refused(ProblemType::UnsupportedMediaType);
    let most = vec!["7".to_owned(); 4_096];
    assert!(!verdict(server, id, "", proof, &most).valid);
    let long = json!({"proof": proof, "publicInputs": vec![word(7); 5_000]});
    let problem = post(&path, &long).assert_refused(ProblemType::InputsTooLarge);
    assert!(problem.detail.contains("262144"), "{}", problem.detail);
}

/// A proof for the contract, as a client uses it.
pub(super) fn check_proofs_for_the_contract(server: &TestServer, entry: &CircuitEntry) {
    let id = entry.id.as_str();
    check_contract(server, entry, "honk-zk", "contract HonkVerifier");
    let job = finished_job(server, id, "&target=evm");
    let accepted = server.request(Method::GET, &format!("{job}/proof")).header("accept", "application/json");
    let answer: ProofAnswer<Value> = serde_json::from_slice(&accepted.send().body).unwrap();
    let valid = |query: &str, inputs: &[String]| verdict(server, id, query, &answer.proof, inputs);
    assert_eq!(valid("?on=evm", &answer.public_inputs), by("evm", true));
    assert_eq!(valid("?target=evm", &answer.public_inputs), by("bb", true));
    assert_eq!(valid("?target=evm", &[word(8)]), by("bb", false));
    assert_eq!(valid("", &answer.public_inputs), by("bb", false), "the proof is for another target");
    let modulus: Vec<u8> = edgeprove_groth16::scalar_modulus().into_iter().rev().collect();
    assert_eq!(valid("?target=evm", &[format!("0x{}", hex::encode(modulus))]), by("bb", false));
    let body = json!({"proof": answer.proof, "publicInputs": answer.public_inputs}).to_string();
    let path = format!("/v1/verify/{id}?on=evm&target=noir-recursive");
    server.json_request(&path, body).send().assert_refused(ProblemType::InvalidRequest);

    let call = calldata(server, &job);
    assert_eq!((call.function.as_str(), call.target), ("verify(bytes,bytes32[])", Target::Evm));
    let proof = hex::encode(server.get(&format!("{job}/proof")).body);
    assert!(call.calldata.starts_with("0xea50d0e4") && call.calldata.contains(&proof));
    assert!(call.calldata.ends_with(&format!("{:064x}{:064x}", 1, 7)));
}
