//! Circom circuits prove beside those of Noir, while callers wait and as jobs.

use std::fs;

use edgeprove_protocol::{ProblemType, Target, answer::ProofAnswer, headers};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    command_line::WorkFolder,
    support::{
        Response, TestServer,
        circom_files::{AFTER_LAST_POINT, CircomFolder, snarkjs_verifies, unsatisfied, witness},
        client::Request,
        inputs, processes, samples,
        wait::LIMIT,
    },
};

/// The public signals of the proofs: the output, and the public input.
const SIGNALS: [&str; 2] = ["50", "7"];

fn document() -> Value {
    json!({"privateInputs": {"in": 60}, "publicInputs": {"randomPublicSignal": "7"}})
}

fn signals_of_snarkjs() -> Value {
    json!({"in": 60, "randomPublicSignal": "7"})
}

/// A server of `range_check` and of the circom circuits in this folder.
fn serve(folder: &CircomFolder) -> TestServer {
    TestServer::start(|settings| {
        settings.circuits = Some(folder.path().to_owned());
        settings.flags.push("--ephemeral-jobs".to_owned());
        settings.flag("--anonymous-role", "operator");
    })
}

fn key(server: &TestServer) -> Response {
    let response = server.get("/v1/circuits/range/vk");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), "application/json");
    response
}

/// Checks an answer with a proof as JSON, and lets snarkjs verify it.
#[track_caller]
fn assert_proves(server: &TestServer, response: &Response) -> ProofAnswer<Value> {
    assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
    let answer: ProofAnswer<Value> = serde_json::from_slice(&response.body).unwrap();
    let signals = answer.public_signals.clone().unwrap();
    assert_eq!(signals, SIGNALS);
    assert_eq!(answer.proof["protocol"], "groth16");
    assert_eq!(answer.proof["curve"], "bn128");
    assert_eq!((answer.target, answer.verified), (Target::Groth16, true));
    let key = key(server);
    assert_eq!(answer.vk_hash, format!("0x{}", hex::encode(Sha256::digest(&key.body))));
    assert_eq!(answer.vk_hash, response.header(headers::VK_HASH));
    assert_eq!(answer.vk_hash, key.header(headers::VK_HASH));
    assert_eq!(answer.proof_hash, response.header(headers::PROOF_HASH));
    assert_eq!(response.header(headers::PUBLIC_INPUTS), answer.public_inputs.join(","));
    let (proof, signals) = (answer.proof.to_string(), json!(signals).to_string());
    assert!(snarkjs_verifies(&key.body, proof.as_bytes(), signals.as_bytes()));
    let other = json!(["51", "7"]).to_string();
    assert!(!snarkjs_verifies(&key.body, proof.as_bytes(), other.as_bytes()));
    answer
}

#[test]
fn inputs_become_a_proof_that_snarkjs_verifies() {
    let folder = CircomFolder::new();
    folder.add("range");
    let server = serve(&folder);
    let request = || server.inputs_request("/api/prove/range", &document());
    let answer = assert_proves(&server, &request().header("accept", "application/json").send());
    let word = |value: u8| format!("0x{}{value:02x}", "00".repeat(31));
    assert_eq!(answer.public_inputs, [word(50), word(7)]);

    // The bytes are the words of a verifier contract: A, B with the parts of its coordinates swapped, and C.
    let bytes = request().send();
    assert_eq!((bytes.status.as_u16(), bytes.body.len()), (200, 8 * 32));
    let hash = format!("0x{}", hex::encode(Sha256::digest(&bytes.body)));
    assert_eq!(bytes.header(headers::PROOF_HASH), hash);
    assert_eq!(bytes.header(headers::CIRCUIT_ID), "range");
    assert_eq!(bytes.header(headers::VERIFIED), "true");

    // The circuit is described like every other.
    let circuit = server.get("/v1/circuits/range").json();
    assert_eq!(circuit["targets"], json!(["groth16"]));
    assert_eq!(circuit["inputs"], Value::Null);
    assert_eq!(circuit["vk_hash"], answer.vk_hash);
    let tag = key(&server).header("etag").to_owned();
    let again = server.request(Method::GET, "/v1/circuits/range/vk").header("if-none-match", &tag).send();
    assert_eq!(again.status, 304);
    server
        .inputs_request("/api/prove/range?target=evm", &document())
        .send()
        .assert_refused(ProblemType::InvalidRequest);
    server.inputs_request("/api/prove/range?target=groth16", &document()).send();
    // Noir's circuit is proved as before.
    server.assert_healthy();
}

#[test]
fn an_uploaded_witness_is_checked_against_the_key() {
    let folder = CircomFolder::new();
    let (range, shapes) = (folder.add("range"), folder.add("shapes"));
    let server = serve(&folder);
    let prove = |witness: &[u8]| {
        server.prove_request_at("/api/prove/range", witness).header("accept", "application/json").send()
    };
    let good = witness(&range, &signals_of_snarkjs());
    assert_proves(&server, &prove(&good));
    let of_shapes = witness(&shapes, &json!({"single": 1, "grid": [1, 2, 3, 4, 5, 6]}));
    let wtns = samples::decompress(&good);
    let mut beyond = wtns.clone();
    let last = beyond.len() - 32;
    beyond[last..].fill(0xff);
    for (witness, expected) in [
        (of_shapes, ProblemType::WitnessOfAnotherCircuit),
        (samples::range_check().witness.clone(), ProblemType::WitnessMalformed),
        (samples::gzip(&wtns[..wtns.len() - 1]), ProblemType::WitnessMalformed),
        (samples::gzip(&beyond), ProblemType::WitnessMalformed),
        (samples::gzip(b"wtns"), ProblemType::WitnessMalformed),
        (unsatisfied(&good), ProblemType::WitnessUnsatisfied),
    ] {
        prove(&witness).assert_refused(expected);
    }
    let problem = prove(&wtns).assert_refused(ProblemType::WitnessNotGzip);
    assert!(problem.detail.contains(".wtns"), "{problem:?}");
    let of_noir = server.prove_request_at("/api/prove/range_check", &good).send();
    // It is longer than any witness of that circuit.
    of_noir.assert_refused(ProblemType::WitnessOfAnotherCircuit);
    server.assert_healthy();
}

#[test]
fn a_target_that_the_circuit_lacks_is_refused_at_once() {
    let folder = CircomFolder::new();
    let range = folder.add("range");
    let server = TestServer::start(|settings| {
        settings.circuits = Some(folder.path().to_owned());
        settings.flags.push("--ephemeral-jobs".to_owned());
        settings.flag("--circuit-family", "range_check,range");
        settings.flag("--anonymous-role", "operator");
    });
    let good = witness(&range, &signals_of_snarkjs());
    let refuse = |response: Response| {
        let problem = response.assert_refused(ProblemType::InvalidRequest);
        assert!(problem.detail.contains("cannot have the target evm"), "{problem:?}");
    };
    for path in ["/api/prove/range?target=evm", "/v1/proofs?circuit=range&target=evm"] {
        refuse(server.prove_request_at(path, &good).send());
        refuse(server.inputs_request(path, &document()).send());
    }
    // A circuit that the inputs name.
    let named = json!({"circuitId": "range", "privateInputs": {"in": 60}});
    refuse(server.inputs_request("/v1/proofs?target=evm", &named).send());
    for path in ["/api/prove/range_check?target=evm", "/v1/proofs?circuit=range_check&target=evm"] {
        let noir = ("range_check", samples::range_check().witness.as_slice());
        refuse(Request::prove_form(server.address(), path, &[noir, ("range", &good)]).send());
    }
    assert_eq!(server.get("/v1/proofs").json()["jobs"], json!([]));
    server.assert_healthy();
}

#[test]
fn a_key_under_which_nothing_verifies_is_not_the_callers_fault() {
    let folder = CircomFolder::new();
    let range = folder.add("range");
    // Two of the key's last points exchanged: all of them are valid, and its proofs are not.
    let mut key = fs::read(folder.at("range.zkey")).unwrap();
    let end = key.len() - AFTER_LAST_POINT;
    let (before, last) = key[end - 128..end].split_at_mut(64);
    before.swap_with_slice(last);
    fs::write(folder.at("range.zkey"), key).unwrap();
    let good = witness(&range, &signals_of_snarkjs());
    for has_constraints in [false, true] {
        if has_constraints {
            folder.add_constraints(&range, "range");
        }
        let server = TestServer::start(|settings| {
            settings.circuits = Some(folder.path().to_owned());
            // The first proof is verified nevertheless.
            settings.flag("--verify", "off");
        });
        let prove = |witness: &[u8]| server.prove_request_at("/api/prove/range", witness).send();
        prove(&good).assert_refused(ProblemType::ProofInvalid);
        server.wait_for_log_line("an error names the circuit", |line| {
            line["level"] == "ERROR" && line["circuit"] == "range"
        });
        if has_constraints {
            prove(&unsatisfied(&good)).assert_refused(ProblemType::WitnessUnsatisfied);
        }
        server.finish();
    }
}

#[test]
fn constraints_name_what_an_unsatisfied_witness_violates() {
    let folder = CircomFolder::new();
    let range = folder.add("range");
    folder.add_constraints(&range, "range");
    let server = serve(&folder);
    let good = witness(&range, &signals_of_snarkjs());
    let refused = server.prove_request_at("/api/prove/range", &unsatisfied(&good)).send();
    let problem = refused.assert_refused(ProblemType::WitnessUnsatisfied);
    assert!(problem.detail.contains("first at constraint "), "{problem:?}");
    server.assert_idle();
}

#[test]
fn wrong_inputs_name_their_field() {
    let folder = CircomFolder::new();
    folder.add("range");
    let server = serve(&folder);
    for path in ["/api/prove/range", "/v1/proofs?circuit=range"] {
        let send = |document: &Value| server.inputs_request(path, document).send();
        for (document, field) in [
            (json!({"privateInputs": {"in": "4711x", "randomPublicSignal": 1}}), "privateInputs.in"),
            (json!({"privateInputs": {"in": 60, "4711": 1}}), "privateInputs.?"),
            (json!({"privateInputs": {"in": 60}}), "privateInputs"),
            (json!({"privateInputs": {"in": 60}, "publicInputs": {"in": 4711}}), "publicInputs.in"),
            (
                json!({"privateInputs": {"in": 60}, "publicInputs": {"randomPublicSignal": [4711, 4711]}}),
                "publicInputs.randomPublicSignal",
            ),
        ] {
            let problem = send(&document).assert_refused(ProblemType::InvalidInputs);
            assert_eq!(problem.field.as_deref(), Some(field), "{problem:?}");
            assert!(!problem.detail.contains("4711"), "{problem:?}");
        }
        let out_of_range = json!({"privateInputs": {"in": 4711, "randomPublicSignal": 1}});
        let problem = send(&out_of_range).assert_refused(ProblemType::WitnessUnsatisfied);
        assert!(
            problem.detail.contains("the assertion in ") && !problem.detail.contains("4711"),
            "{problem:?}"
        );
    }
    let named = json!({"circuitId": "range", "privateInputs": document()["privateInputs"],
        "publicInputs": document()["publicInputs"]});
    assert_eq!(server.inputs_request("/api/prove", &named).send().status, 200);
    assert_eq!(server.inputs_request("/api/prove/range_check", &inputs::range_check()).send().status, 200);
    server.assert_healthy();
}

#[test]
fn jobs_prove_and_return_every_form() {
    let folder = CircomFolder::new();
    let range = folder.add("range");
    let server = serve(&folder);
    let good = witness(&range, &signals_of_snarkjs());
    let of_witness = server.prove_request_at("/v1/proofs?circuit=range", &good).send().assert_accepted();
    let of_inputs = server.inputs_request("/v1/proofs?circuit=range", &document()).send().assert_accepted();
    for job in [of_witness, of_inputs] {
        assert_eq!(job.target, Some(Target::Groth16));
        server.wait_until_finished(job.id, LIMIT);
        let get =
            |accept: &str| server.request(Method::GET, &job.links.proof).header("accept", accept).send();
        assert_proves(&server, &get("application/json"));
        assert_eq!(get("application/octet-stream").body.len(), 8 * 32);
        let work = WorkFolder::new();
        fs::write(work.at("proof.tar"), get("application/x-tar").body).unwrap();
        let mut verify = work.command(&[&"verify", &work.at("proof.tar")]);
        // snarkjs's files need no bb.
        verify.env_remove("BB_PATH").env_remove("CRS_PATH");
        let output = processes::run(&mut verify, LIMIT);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "valid\n", "{output:?}");
    }
    // One that fails reports the reason.
    let job =
        server.prove_request_at("/v1/proofs?circuit=range", &unsatisfied(&good)).send().assert_accepted();
    let job = server.wait_until_finished(job.id, LIMIT);
    assert_eq!(job.error.unwrap().code, ProblemType::WitnessUnsatisfied);
    server.assert_healthy();
}

#[test]
fn a_proof_that_takes_too_long_is_stopped() {
    let folder = CircomFolder::new();
    let chain = folder.add("power_chain");
    let server = serve(&folder);
    let good = witness(&chain, &json!({"seed": "12345"}));
    let request = || server.prove_request_at("/api/prove/power_chain", &good);
    request().header("x-timeout", "0.001").send().assert_refused(ProblemType::ProofTimeout);
    // Its cores are free again.
    server.assert_idle();
    assert_eq!(request().send().status, 200);
    server.assert_healthy();
}

#[test]
fn callers_of_many_proofs_share_the_cores() {
    let folder = CircomFolder::new();
    folder.add("range");
    let server = serve(&folder);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2 {
                    let response = server.inputs_request("/api/prove/range", &document()).send();
                    assert_eq!((response.status.as_u16(), response.body.len()), (200, 8 * 32));
                    server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());
                }
            });
        }
    });
    assert_eq!(server.health().prover.proofs, 16);
    server.assert_healthy();
}
