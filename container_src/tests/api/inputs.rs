//! Proofs from inputs as JSON: the server computes the witness.

use std::{fs, thread};

use edgeprove_protocol::{
    JobStatus, ProblemType,
    Target::{Evm, NoirRecursive},
    answer::CircuitList,
    headers,
    limits::INPUTS_MAX_BYTES,
};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Connection, Sample, TestServer, inputs, samples, wait};

/// A server of `input_types`, its inputs, and the sample with their public inputs.
fn serve_input_types() -> (TestServer, Value, Sample) {
    let sample = samples::from_setup("input_types");
    let server = TestServer::start(|s| {
        s.circuit = Some(sample.circuit.clone());
        s.sample = Some(sample.clone());
    });
    (server, inputs::of_setup("input_types"), sample)
}

#[test]
fn inputs_prove_the_same_as_their_witness() {
    let range = samples::range_check();
    let server = TestServer::start_default();
    let document = inputs::range_check();
    let prove = |path: &str| server.inputs_request(path, &document);
    prove("/api/prove").send().assert_proves(range, NoirRecursive);
    prove("/api/prove/range_check?target=evm").send().assert_proves(range, Evm);
    prove("/api/prove").header("accept", "application/json").send().assert_proves(range, NoirRecursive);
    let mut named = document.clone();
    named["circuitId"] = "range_check".into();
    let charset = server.request(Method::POST, "/v1/proofs?circuit=range_check");
    let mut charset =
        charset.header("content-type", "Application/JSON; charset=utf-8").header("prefer", "wait=60");
    charset.body = named.to_string().into_bytes();
    charset.send().assert_proof_of(range);
    server.assert_healthy();
}

#[test]
fn every_type_of_input_is_proved() {
    let (server, document, sample) = serve_input_types();
    let response = server.inputs_request("/api/prove", &document).send();
    response.assert_proves(&sample, NoirRecursive);
    server.prove(&sample.witness).assert_proof_of(&sample);
    // Its println prints nothing.
    assert!(!server.log().contains("the salt is"));
}

#[test]
fn every_misfit_is_refused_by_its_field() {
    let (server, document, sample) = serve_input_types();
    let name_and_fault = |change: &dyn Fn(&mut Value)| {
        let mut changed = document.clone();
        change(&mut changed);
        let problem = server.inputs_request("/api/prove", &changed).send();
        let problem = problem.assert_refused(ProblemType::InvalidInputs);
        let field = problem.field.expect("the problem names the field");
        assert!(problem.detail.starts_with(&format!("{field}: ")), "{}", problem.detail);
        assert!(!problem.detail.contains("4711"), "{}", problem.detail);
        field
    };
    let voter = |name: &str, value: &Value| {
        name_and_fault(&|document| document["privateInputs"]["voters"][1][name] = value.clone())
    };
    for (name, value, field) in [
        ("age", json!(4711), "age"),
        ("age", json!(-4711), "age"),
        ("age", json!("4711"), "age"),
        ("age", json!(4711.5), "age"),
        ("age", json!("4711 years"), "age"),
        ("age", json!(null), "age"),
        ("age", json!([4711]), "age"),
        ("balance", json!("9223372036854775808"), "balance"),
        ("name", json!("Bob4711"), "name"),
        ("name", json!(4711), "name"),
        ("consents", json!("4711"), "consents"),
        ("address", json!({"floor": 4711, "flats": [0, 0]}), "address.floor"),
        ("address", json!({"floor": 0, "flats": [0, 4_711_000]}), "address.flats[1]"),
        ("address", json!({"floor": 0, "flats": [4711]}), "address.flats"),
        ("address", json!({"floor": 0, "flats": [0, 0, 4711]}), "address.flats"),
        ("address", json!({"floor": 0}), "address.flats"),
        ("address", json!({"floor": 0, "flats": [0, 0], "deck": 4711}), "address.deck"),
        ("address", json!([4711]), "address"),
        ("party", json!(4711), "party"),
    ] {
        assert_eq!(voter(name, &value), format!("privateInputs.voters[1].{field}"), "{value}");
    }
    let member = |change: &dyn Fn(&mut Value)| name_and_fault(change);
    let private =
        |name: &str, value: &Value| member(&|document| document["privateInputs"][name] = value.clone());
    let modulus = "21888242871839275222246405745257275088548364400416034343698204186575808495617";
    assert_eq!(private("salt", &json!(modulus)), "privateInputs.salt");
    assert_eq!(private("salt", &json!("-4711")), "privateInputs.salt");
    assert_eq!(private("limits", &json!([1])), "privateInputs.limits");
    assert_eq!(private("limits", &json!([1, 4711])), "privateInputs.limits[1]");
    assert_eq!(private("voters", &json!([])), "privateInputs.voters");
    assert_eq!(private("scope", &json!(4711)), "privateInputs.scope");
    assert_eq!(private("more", &json!(4711)), "privateInputs.more");
    let public =
        |name: &str, value: &Value| member(&|document| document["publicInputs"][name] = value.clone());
    assert_eq!(public("salt", &json!(4711)), "publicInputs.salt");
    assert_eq!(public("grid", &json!([[1, 2], [3, {}]])), "publicInputs.grid[1][1]");
    let without =
        |document: &mut Value| drop(document["publicInputs"].as_object_mut().unwrap().remove("label"));
    assert_eq!(member(&without), "publicInputs.label");
    let without_public =
        |document: &mut Value| drop(document.as_object_mut().unwrap().remove("publicInputs"));
    assert_eq!(member(&without_public), "publicInputs.label");

    let twice = document.to_string().replacen("\"salt\":", "\"salt\":4711,\"salt\":", 1);
    let problem = server.json_request("/api/prove", twice).send().assert_refused(ProblemType::InvalidInputs);
    assert_eq!(problem.field.as_deref(), Some("privateInputs.salt"));
    server.inputs_request("/api/prove", &document).send().assert_proof_of(&sample);
    server.assert_idle();
}

#[test]
fn a_failed_assertion_shows_its_fixed_message_only() {
    let (server, document, _) = serve_input_types();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut changed = document.clone();
        change(&mut changed);
        let response = server.inputs_request("/api/prove", &changed).send();
        response.assert_refused(ProblemType::WitnessUnsatisfied).detail
    };
    let detail = refused(&|document| document["privateInputs"]["voters"][0]["age"] = 17.into());
    assert!(detail.ends_with("\"a voter is too young\""), "{detail}");
    let detail = refused(&|document| document["publicInputs"]["label"] = "play".into());
    assert!(detail.ends_with("\"the label is not that of a poll\""), "{detail}");
    // The message of this one contains the salt.
    let detail = refused(&|document| {
        document["privateInputs"]["salt"] = 471_147_114_711_u64.into();
        document["publicInputs"]["scope"] = 471_147_114_711_u64.into();
    });
    assert!(!detail.contains("salt") && !detail.contains("471147114711"), "{detail}");
    assert!(!server.log().contains("471147114711"));
}

#[test]
fn json_of_another_shape_is_explained() {
    let server = TestServer::start_default();
    let refused = |json: &str, kind| server.json_request("/api/prove", json).send().assert_refused(kind);
    for json in [
        r#"{"value": 5, "min": 1, "max": 9}"#,
        r#"{"inputs": {}}"#,
        r#"{"privateInputs": {}, "witness": ""}"#,
        r#"{"privateInputs": []}"#,
        r#"{"privateInputs": {}, "privateInputs": {}}"#,
        r#"{"privateInputs": {}, "circuitId": 5}"#,
        "[]",
        "5",
    ] {
        let problem = refused(json, ProblemType::InvalidRequest);
        assert!(problem.detail.contains("privateInputs") && problem.detail.contains("circuitId"), "{json}");
    }
    assert!(refused("", ProblemType::InvalidRequest).detail.contains("is empty"));
    for json in ["{", "{\"privateInputs\": {}}}", "{'privateInputs': {}}", "privateInputs"] {
        let problem = refused(json, ProblemType::InvalidRequest);
        assert!(problem.detail.contains("not valid JSON"), "{json}: {}", problem.detail);
    }
    let witness = samples::range_check().witness.clone();
    let problem =
        server.json_request("/api/prove", witness).send().assert_refused(ProblemType::InvalidRequest);
    assert!(problem.detail.contains("application/gzip"), "{}", problem.detail);
    let encoded =
        server.inputs_request("/api/prove", &inputs::range_check()).header("content-encoding", "gzip");
    encoded.send().assert_refused(ProblemType::UnsupportedMediaType);
    server.assert_healthy();
}

#[test]
fn a_circuit_is_named_once_or_alike() {
    let dir = tempfile::tempdir().unwrap();
    for sample in [samples::range_check(), &samples::from_setup("input_types")] {
        fs::copy(&sample.circuit, dir.path().join(format!("{}.json", sample.name))).unwrap();
    }
    let server = TestServer::start(|s| {
        s.circuit = None;
        s.circuits = Some(dir.path().to_owned());
    });
    let range = samples::range_check();
    let prove = |path: &str, name: Option<&str>| {
        let mut document = inputs::range_check();
        if let Some(name) = name {
            document["circuitId"] = name.into();
        }
        server.inputs_request(path, &document).header("prefer", "wait=60").send()
    };
    for (path, name) in [
        ("/api/prove", Some("range_check")),
        ("/v1/proofs", Some("range_check")),
        ("/api/prove/range_check", None),
        ("/api/prove/range_check", Some("range_check")),
        ("/v1/proofs?circuit=range_check", Some("range_check")),
    ] {
        prove(path, name).assert_proof_of(range);
    }
    let refused = |path, name, kind| prove(path, name).assert_refused(kind);
    refused("/api/prove", None, ProblemType::InvalidRequest);
    refused("/api/prove/range_check", Some("input_types"), ProblemType::InvalidRequest);
    refused("/v1/proofs?circuit=input_types", Some("range_check"), ProblemType::InvalidRequest);
    refused("/api/prove", Some("other"), ProblemType::CircuitNotFound);
    refused("/api/prove", Some("../range_check"), ProblemType::CircuitNotFound);
    refused("/api/prove/other", Some("range_check"), ProblemType::CircuitNotFound);
    let fields = refused("/api/prove", Some("input_types"), ProblemType::InvalidInputs);
    assert_eq!(fields.field.as_deref(), Some("privateInputs.value"));
}

#[test]
fn the_body_is_bounded_in_size_and_pace() {
    let server = TestServer::start(|s| {
        s.flag("--upload-max", "4KiB");
        s.flag("--upload-idle", "1s");
    });
    let large = format!("{{\"privateInputs\":{{}}{}}}", " ".repeat(5000));
    let problem = server.json_request("/api/prove", large.clone()).send();
    problem.assert_refused(ProblemType::InputsTooLarge);
    let head = |lines: &[&str]| {
        let mut lines = lines.to_vec();
        lines.push("Connection: close");
        Connection::post_json_head(server.address(), "/api/prove", &lines)
    };
    let mut chunked = head(&["Transfer-Encoding: chunked"]);
    chunked.send(b"2000\r\n");
    chunked.send(&[b' '; 0x2000]);
    chunked.read_response().assert_refused(ProblemType::InputsTooLarge);
    head(&[&format!("Content-Length: {}", INPUTS_MAX_BYTES + 1)])
        .read_response()
        .assert_refused(ProblemType::InputsTooLarge);
    let mut stalled = head(&["Content-Length: 100"]);
    stalled.send(b"{\"privateInputs\":");
    stalled.read_response().assert_refused(ProblemType::UploadStalled);
    server.assert_healthy();
}

#[test]
fn a_circuit_that_never_ends_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let circuit = inputs::endless(dir.path());
    let server = TestServer::start(|s| s.circuit = Some(circuit));
    let document = json!({"privateInputs": {"x": 1}});
    let request = || server.inputs_request("/api/prove", &document).header("x-timeout", "1");
    request().send().assert_refused(ProblemType::ProofTimeout);
    // A caller that leaves does not hold its place.
    let body = document.to_string();
    for _ in 0..20 {
        let length = format!("Content-Length: {}", body.len());
        let mut leaving = Connection::post_json_head(server.address(), "/api/prove", &[&length]);
        leaving.send(body.as_bytes());
    }
    request().send().assert_refused(ProblemType::ProofTimeout);
    server.assert_idle();
}

#[test]
fn circuits_that_cannot_be_solved_here_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    inputs::with_oracle(dir.path());
    samples::square(dir.path(), "without_abi", 1);
    let misfit = samples::square(dir.path(), "misfit", 1);
    inputs::add_abi(&misfit.circuit, &["a", "b"], &["c"]);
    let server = TestServer::start(|s| {
        s.circuit = None;
        s.circuits = Some(dir.path().to_owned());
        s.sample = Some(misfit.clone());
    });
    for (name, part) in
        [("with_oracle", "ask_the_moon"), ("without_abi", "no `abi`"), ("misfit", "does not fit")]
    {
        let document = json!({"circuitId": name, "privateInputs": {"x": 1}});
        let problem = server.inputs_request("/api/prove", &document).send();
        let problem = problem.assert_refused(ProblemType::WitnessNotComputable);
        assert!(problem.detail.contains(part), "{}", problem.detail);
    }
    assert_eq!(server.get("/v1/circuits/without_abi").json()["inputs"], Value::Null);
    server.assert_healthy();
}

#[test]
fn many_requests_at_once_are_all_answered() {
    let server = TestServer::start_default();
    let (range, document) = (samples::range_check(), inputs::range_check());
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| server.inputs_request("/api/prove", &document).send().assert_proof_of(range));
        }
    });
    server.assert_idle();
}

#[test]
fn a_job_of_inputs_is_made_when_it_is_submitted() {
    let server = TestServer::start(|s| s.flags.push("--ephemeral-jobs".to_owned()));
    let (range, document) = (samples::range_check(), inputs::range_check());
    let submit = |document: &Value, key: &str| {
        let request = server.inputs_request("/v1/proofs?circuit=range_check", document);
        request.header(headers::IDEMPOTENCY_KEY, key).send()
    };
    let job = submit(&document, "a").assert_accepted();
    assert_eq!(server.wait_until_finished(job.id, wait::LIMIT).status, JobStatus::Completed);
    server.get(&job.links.proof).assert_proves(range, NoirRecursive);
    // The same inputs are the same job, and so is their witness.
    assert_eq!(submit(&document, "a").assert_accepted().id, job.id);
    let uploaded = server.submission(range).header(headers::IDEMPOTENCY_KEY, "a").send();
    assert_eq!(uploaded.assert_accepted().id, job.id);
    let mut other = document.clone();
    other["privateInputs"]["value"] = 4000.into();
    submit(&other, "a").assert_refused(ProblemType::IdempotencyKeyReused);

    let mut bad = document.clone();
    bad["privateInputs"]["value"] = json!("many");
    assert_eq!(
        submit(&bad, "b").assert_refused(ProblemType::InvalidInputs).field.unwrap(),
        "privateInputs.value"
    );
    bad["privateInputs"]["value"] = json!(1);
    submit(&bad, "b").assert_refused(ProblemType::WitnessUnsatisfied);
    submit(&document, "b").assert_accepted();
    let waited = server.inputs_request("/api/prove", &document).header("prefer", "wait=60").send();
    waited.assert_proof_of(range);
    server.assert_idle();
}

#[test]
fn a_circuit_describes_its_inputs() {
    let server = TestServer::start_default();
    let circuit = server.get("/v1/circuits/range_check").json();
    let list: CircuitList = serde_json::from_slice(&server.get("/v1/circuits").body).unwrap();
    let listed = serde_json::to_value(&list.circuits[0]).unwrap();
    for (name, value) in listed.as_object().unwrap() {
        assert_eq!(&circuit[name], value, "{name}");
    }
    let u32_type = json!({"kind": "integer", "sign": "unsigned", "width": 32});
    let input =
        |name: &str, visibility: &str| json!({"name": name, "type": u32_type, "visibility": visibility});
    assert_eq!(
        circuit["inputs"],
        json!([input("value", "private"), input("min", "public"), input("max", "public")])
    );
    server.get("/v1/circuits/other").assert_refused(ProblemType::CircuitNotFound);
    assert_eq!(server.request(Method::HEAD, "/v1/circuits/range_check").send().status, 200);
}
