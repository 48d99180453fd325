//! Circuits that operators upload: what is published, and everything that is refused.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{
    ProblemType, Target,
    answer::{CircuitEntry, CircuitList, CircuitOrigin, CircuitStatus, ProofAnswer},
    headers,
};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{
    Connection, Response, TestServer, bb,
    circom_files::{AFTER_LAST_POINT, CircomFolder, ENDLESS, importing, snarkjs_verifies},
    circuit_form::CircuitForm,
    eventually, inputs, paths, samples,
    settings::Settings,
    wait::LIMIT,
};

/// A server that stores circuits in this folder, and whose callers are operators.
fn stores_circuits(data: &Path) -> impl Fn(&mut Settings) {
    let data = data.join("data");
    move |settings| {
        settings.flag("--data", &data.display());
        settings.flag("--anonymous-role", "operator");
    }
}

fn range_folder() -> CircomFolder {
    let folder = CircomFolder::new();
    let circuit = folder.add("range");
    folder.add_constraints(&circuit, "range");
    folder
}

/// The circuit `range` of circom.
fn range_form(folder: &CircomFolder) -> CircuitForm {
    let read = |name: &str| fs::read(folder.at(name)).unwrap();
    CircuitForm::named("range")
        .with("r1cs", read("range.r1cs"))
        .with("wasm", read("range.wasm"))
        .with("zkey", read("range.zkey"))
}

fn signals(value: u32) -> Value {
    json!({"in": value, "randomPublicSignal": 7})
}

fn prove(server: &TestServer, id: &str, value: u32) -> Response {
    let document = json!({ "privateInputs": signals(value) });
    server.inputs_request(&format!("/api/prove/{id}"), &document).header("accept", "application/json").send()
}

fn listed(server: &TestServer) -> Vec<CircuitEntry> {
    let list: CircuitList = serde_json::from_slice(&server.get("/v1/circuits").body).unwrap();
    list.circuits
}

#[test]
fn an_uploaded_circom_circuit_proves() {
    let (data, files) = (tempfile::tempdir().unwrap(), range_folder());
    let log = data.path().join("audit.log");
    let start = || {
        TestServer::start(|settings| {
            stores_circuits(data.path())(settings);
            settings.flag("--audit", &log.display());
            // The uploaded circuit is the only one.
            settings.circuit = None;
            settings.sample = None;
            settings.wait_until_ready = false;
        })
    };
    let server = start();
    eventually("the server listens", || (server.get("/livez").status == 200).then_some(()));
    let form = range_form(&files).with("input", signals(60).to_string());
    let entry = eventually("the server has started", || {
        let response = form.send(&server);
        (response.status == 201).then(|| serde_json::from_slice::<CircuitEntry>(&response.body).unwrap())
    });
    let id = entry.id.as_str().to_owned();
    assert_eq!((entry.origin, entry.status), (CircuitOrigin::Uploaded, CircuitStatus::Ready));
    assert_eq!((entry.target, entry.built.is_none()), (Target::Groth16, true));
    let uploaded = entry.uploaded.unwrap();
    assert_eq!((uploaded.name.as_str(), uploaded.language.as_str()), ("range", "circom"));
    assert_eq!((uploaded.trust.as_deref(), uploaded.sample_proved), (Some("unknown"), true));
    assert_eq!(id, format!("range-{}", &uploaded.hash[..24]));
    for file in &uploaded.artifacts {
        let response = server.get(&file.path);
        assert_eq!(response.body.len() as u64, file.bytes, "{}", file.name);
        assert_eq!(hex::encode(Sha256::digest(&response.body)), file.sha256, "{}", file.name);
    }
    let names: Vec<_> = uploaded.artifacts.iter().map(|file| file.name.as_str()).collect();
    let expected = ["circuit.r1cs", "circuit.wasm", "circuit.zkey", "verification_key.json", "verifier.sol"];
    assert_eq!(names, expected);

    // The same upload is the same circuit, whatever the order of its parts; another declaration is an error.
    let mut again = range_form(&files);
    again.0.reverse();
    let response = again.send(&server);
    assert_eq!((response.status.as_u16(), response.json()["id"].as_str()), (200, Some(id.as_str())));
    let other = range_form(&files).with("trust", "ceremony").send(&server);
    let problem = other.assert_refused(ProblemType::InvalidRequest);
    assert!(problem.detail.contains("with the trust `unknown`"), "{}", problem.detail);

    let response = prove(&server, &id, 60);
    let answer: ProofAnswer<Value> = serde_json::from_slice(&response.body).unwrap();
    let key = server.get(&format!("/v1/circuits/{id}/vk"));
    let public = json!(answer.public_signals.unwrap()).to_string();
    assert!(snarkjs_verifies(&key.body, answer.proof.to_string().as_bytes(), public.as_bytes()));
    prove(&server, &id, 5).assert_refused(ProblemType::WitnessUnsatisfied);
    server.assert_idle();
    server.finish();
    let log = fs::read_to_string(&log).unwrap();
    assert_eq!(log.matches("circuit.uploaded").count(), 1, "{log}");

    // The next server has it. Its key is answered from the files, and a job proves it.
    let server = start();
    eventually("the circuit is known", || (server.health().built_circuits == 1).then_some(()));
    let cold = server.get(&format!("/v1/circuits/{id}/vk"));
    assert!(cold.body == key.body);
    for name in ["etag", headers::VK_HASH, "content-type"] {
        assert_eq!(cold.header(name), key.header(name), "{name}");
    }
    let tag = server.request(Method::GET, &format!("/v1/circuits/{id}/vk"));
    assert_eq!(tag.header("if-none-match", key.header("etag")).send().status, 304);
    assert!(
        !server.log().contains("built circuit loaded"),
        "without a key nobody makes the server load a circuit"
    );
    let document = json!({ "privateInputs": signals(70) });
    let job = server.inputs_request(&format!("/v1/proofs?circuit={id}"), &document).send().assert_accepted();
    assert_eq!(server.wait_until_finished(job.id, LIMIT).error, None);
    let removed = server.request(Method::DELETE, &format!("/v1/circuits/{id}")).send();
    assert_eq!(removed.status, 200, "{removed:?}");
    prove(&server, &id, 60).assert_refused(ProblemType::CircuitNotFound);
    server.get(&format!("/v1/circuits/{id}/vk")).assert_refused(ProblemType::CircuitNotFound);
}

#[test]
fn a_sample_of_a_stored_circuit_is_proved() {
    let (data, files) = (tempfile::tempdir().unwrap(), range_folder());
    let server = TestServer::start(stores_circuits(data.path()));
    let form = range_form(&files);
    let entry = form.publish(&server);
    assert!(!entry.uploaded.unwrap().sample_proved);
    let wrong = form.clone().with("input", signals(5).to_string()).send(&server);
    wrong.assert_refused(ProblemType::WitnessUnsatisfied);
    let is_proved = || {
        let entry = listed(&server).into_iter().find(|listed| listed.id == entry.id).unwrap();
        entry.uploaded.unwrap().sample_proved
    };
    assert!(!is_proved());
    // A later upload without a sample does not change what is known of the circuit.
    for form in [form.clone().with("input", signals(60).to_string()), form] {
        let response = form.send(&server);
        assert_eq!(
            (response.status.as_u16(), &response.json()["uploaded"]["sample_proved"]),
            (200, &json!(true))
        );
        assert!(is_proved());
    }
    server.finish();
}

#[test]
fn an_uploaded_noir_program_proves() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(stores_circuits(data.path()));
    let program = paths::circuit_file("input_types.json");
    let sample = inputs::of_setup("input_types");
    let form = CircuitForm::named("types").with("program", fs::read(&program).unwrap());
    let entry = form.clone().with("input", sample.to_string()).publish(&server);
    let uploaded = entry.uploaded.as_ref().unwrap();
    assert_eq!((uploaded.trust.as_deref(), uploaded.sample_proved), (None, true));
    assert_eq!(entry.targets, [Target::NoirRecursive, Target::Evm]);
    let expected = format!("0x{}", bb::verification_key_hash(&program, Target::NoirRecursive));
    assert_eq!(entry.vk_hash, Some(expected));
    let response = server.inputs_request(&format!("/api/prove/{}", entry.id), &sample).send();
    assert_eq!(response.status, 200, "{response:?}");
    let circuits = listed(&server);
    let origins: Vec<_> = circuits.iter().map(|entry| entry.origin).collect();
    assert_eq!(origins, [CircuitOrigin::Configured, CircuitOrigin::Uploaded]);
    let details = server.get(&format!("/v1/circuits/{}", entry.id)).json();
    assert!(details["inputs"].as_array().is_some_and(|inputs| !inputs.is_empty()), "{details}");

    // Another name or content is another circuit, which is checked on its own.
    let json: Value = serde_json::from_slice(&fs::read(&program).unwrap()).unwrap();
    let changed = |change: fn(&mut Value)| {
        let mut json = json.clone();
        change(&mut json);
        form.clone().replacing("program", json.to_string())
    };
    let refused = |form: &CircuitForm, part: &str| {
        let problem = form.send(&server).assert_refused(ProblemType::CircuitInvalid);
        assert!(problem.detail.contains("circuit.json"), "{}", problem.detail);
        assert!(problem.detail.contains(part), "{}", problem.detail);
    };
    refused(&changed(|json| json["abi"] = Value::Null), "`abi`");
    refused(&changed(|json| json["bytecode"] = "H4sI".into()), "`bytecode`");
    let other_version = |json: &mut Value| {
        json["noir_version"] = "0.36.0".into();
        json["bytecode"] = STANDARD.encode(samples::gzip(b"a format of another release")).into();
    };
    refused(&changed(other_version), "compiled by Noir 0.36.0");
    refused(&form.clone().replacing("program", "{}"), "not a compiled Noir circuit");
    let none = form.clone().replacing("name", "other").with("input", r#"{"privateInputs": {}}"#);
    none.send(&server).assert_refused(ProblemType::InvalidInputs);
    assert_eq!(listed(&server).len(), 2, "nothing of these was published");
    server.assert_healthy();
}

#[test]
fn hostile_files_are_refused_by_their_name() {
    let (data, files) = (tempfile::tempdir().unwrap(), range_folder());
    let server = TestServer::start(stores_circuits(data.path()));
    let form = range_form(&files);
    let key = fs::read(files.at("range.zkey")).unwrap();
    let mut off_the_curve = key.clone();
    let last = key.len() - AFTER_LAST_POINT;
    off_the_curve[last - 1] ^= 1;
    let shapes = edgeprove_test_circom::CircomCircuit::compile("shapes");
    for (part, content, reason) in [
        ("zkey", key[..key.len() / 2].to_vec(), "circuit.zkey is not a Groth16 key"),
        ("zkey", off_the_curve, "circuit.zkey is not a Groth16 key"),
        ("zkey", b"not a key".to_vec(), "circuit.zkey is not a Groth16 key"),
        ("r1cs", b"r1cs".to_vec(), "circuit.r1cs has no constraints"),
        ("r1cs", shapes.r1cs(), "circuit.r1cs is of another circuit than the key circuit.zkey"),
        ("wasm", b"not a program".to_vec(), "circuit.wasm is not a program of circom"),
        ("wasm", importing(), "imports \"env\" \"read_file\""),
        ("wasm", trapping(), "circuit.wasm is not a program of circom"),
        ("wasm", ENDLESS.to_vec(), "circuit.wasm is not a program of circom"),
    ] {
        let response = form.clone().replacing(part, content).send(&server);
        let problem = response.assert_refused(ProblemType::CircuitInvalid);
        assert!(problem.detail.contains(reason), "{part}: {}", problem.detail);
        assert!(!problem.detail.contains(server.spool().to_str().unwrap()), "{}", problem.detail);
    }
    // A point that is one of the curve, but not the right one: only a proof shows it.
    let mut foreign = key;
    foreign.copy_within(last - 128..last - 64, last - 64);
    let form = form.replacing("zkey", foreign).with("input", signals(60).to_string());
    let problem = form.send(&server).assert_refused(ProblemType::CircuitInvalid);
    assert!(problem.detail.contains("the proof does not verify"), "{}", problem.detail);
    assert_eq!(listed(&server).len(), 1, "nothing was published");
    server.assert_healthy();
}

/// A program that traps when it starts.
fn trapping() -> Vec<u8> {
    let mut program = vec![0, b'a', b's', b'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 8, 1, 0];
    program.extend([10, 5, 1, 3, 0, 0x00, 0x0b]);
    program
}

#[test]
fn forms_that_are_no_circuit_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(|settings| {
        stores_circuits(data.path())(settings);
        settings.flag("--upload-idle", "1s");
    });
    let circom = CircuitForm::named("a").with("r1cs", "r").with("wasm", "w").with("zkey", "z");
    for (form, part) in [
        (CircuitForm::default(), "the part `name` is missing"),
        (CircuitForm::named("a"), "an upload has either"),
        (circom.clone().without("wasm"), "the part `wasm` is missing"),
        (circom.clone().with("program", "{}"), "an upload has either"),
        (circom.clone().replacing("zkey", ""), "the part `zkey` has no bytes"),
        (circom.clone().with("zkey", "again"), "`zkey` is there twice"),
        (circom.clone().with("name", "again"), "`name` is there twice"),
        (circom.clone().with("other", ""), "another name than `name`, `program`"),
        (circom.clone().replacing("name", "../a"), "the name of an uploaded circuit"),
        (circom.clone().replacing("name", "n".repeat(40)), "the name of an uploaded circuit"),
        (circom.clone().replacing("name", "n".repeat(300)), "more than 256 bytes"),
        (circom.clone().with("trust", "full"), "one of ceremony, local, unknown"),
        (circom.clone().with("input", "{"), "the part `input`"),
        (CircuitForm::named("a").with("program", "{}").with("trust", "local"), "`trust` is for circom"),
    ] {
        let problem = form.send(&server).assert_refused(ProblemType::InvalidRequest);
        assert!(problem.detail.contains(part), "{part}: {}", problem.detail);
    }
    let mut cut = circom.request(&server);
    cut.body.truncate(cut.body.len() - 20);
    cut.send().assert_refused(ProblemType::InvalidRequest);

    // A form that is too large by its announced length, one that stalls, and one whose sender leaves.
    let open = |length: u64| {
        let mut connection = Connection::open(server.address());
        let media = CircuitForm::content_type();
        connection.send(
            format!(
                "POST /v1/circuits HTTP/1.1\r\nHost: {}\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n",
                server.address()
            )
            .as_bytes(),
        );
        connection
    };
    open(300 << 20).read_response().assert_refused(ProblemType::CircuitTooLarge);
    let body = circom.with("sym", vec![b's'; 1 << 20]).body();
    let half = || {
        let mut connection = open(body.len() as u64);
        connection.send(&body[..body.len() / 2]);
        eventually("the files are in the spool", || (!server.spool_files().is_empty()).then_some(()));
        connection
    };
    half().read_response().assert_refused(ProblemType::UploadStalled);
    drop(half());
    eventually("nothing is left of them", || server.spool_files().is_empty().then_some(()));
    server.assert_healthy();
}

#[test]
fn requests_for_circuits_have_the_bounds_of_others() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(|settings| {
        stores_circuits(data.path())(settings);
        settings.flag("--upload-idle", "1s");
    });
    let long = json!({"templateName": "x".repeat(70_000)}).to_string();
    let problem =
        server.json_request("/v1/circuits", long).send().assert_refused(ProblemType::CircuitTooLarge);
    assert!(problem.detail.contains("65536"), "{}", problem.detail);
    let head = |line: &str| Connection::post_json_head(server.address(), "/v1/circuits", &[line]);
    head("Content-Length: 70000").read_response().assert_refused(ProblemType::CircuitTooLarge);
    let mut silent = head("Content-Length: 100");
    silent.send(b"{\"templateName\":");
    let head = |line: &str| Connection::post_json_head(server.address(), "/v1/verify/range_check", &[line]);
    head("Content-Length: 300000").read_response().assert_refused(ProblemType::InputsTooLarge);
    let mut silent_proof = head("Content-Length: 100");
    silent_proof.send(b"{\"proof\":");
    for mut silent in [silent, silent_proof] {
        silent.read_response().assert_refused(ProblemType::UploadStalled);
    }
    server.assert_healthy();
}

#[test]
fn only_operators_upload_and_only_within_bounds() {
    const KEY: &str = "the key of somebody who is no operator";
    let data = tempfile::tempdir().unwrap();
    let program = fs::read(paths::circuit_file("input_types.json")).unwrap();
    let form = CircuitForm::named("types").with("program", program);
    let server = TestServer::start(|settings| {
        settings.flag("--data", &data.path().join("keyed").display());
        let list = format!("alice:{}", hex::encode(Sha256::digest(KEY)));
        settings.environment.push(("EDGEPROVE_API_KEYS".to_owned(), list));
        settings.sample = None;
    });
    form.send(&server).assert_refused(ProblemType::ApiKeyRequired);
    form.request(&server).header(headers::API_KEY, KEY).send().assert_refused(ProblemType::NotAllowed);
    server.finish();

    let without_jobs = TestServer::start(|settings| settings.flag("--anonymous-role", "operator"));
    form.send(&without_jobs).assert_refused(ProblemType::JobsDisabled);
    without_jobs.finish();

    let server = TestServer::start(|settings| {
        stores_circuits(data.path())(settings);
        settings.flag("--built-circuits", "1");
    });
    let entry = form.publish(&server);
    let other = form.replacing("name", "other");
    other.send(&server).assert_refused(ProblemType::TooManyCircuits);
    server.request(Method::DELETE, &format!("/v1/circuits/{}", entry.id)).send();
    other.publish(&server);
    server.assert_healthy();
}
