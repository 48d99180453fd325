//! Circuits that the server builds from templates, with the real compilers.

mod contracts;
mod events;
mod shared;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
};

use edgeprove_protocol::{
    CircuitId, Problem, ProblemType, Target,
    answer::{BuiltFrom, CircuitEntry, CircuitList, CircuitStatus, ProofAnswer},
    headers,
};
use edgeprove_templates::{Catalogue, Instance, RawParameters};
use http::Method;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    circuit_commands::circuit_command,
    command_line::WorkFolder,
    support::{
        Receiver, Response, TestServer, bb,
        circom_files::snarkjs_verifies,
        client::Request,
        processes,
        settings::Settings,
        skipped::lacks_crs_points,
        wait::{LIMIT, LONG_LIMIT, eventually, within},
    },
    webhooks,
};

use contracts::{
    by, calldata, check_contract, check_proofs_for_the_contract, check_wrong_proofs, finished_job, verdict,
    word,
};

/// The folder with the compilers.
fn toolchain() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("circuit")
}

/// A server that builds circuits, and keeps them in this folder.
pub(crate) fn builder(data: &Path) -> impl Fn(&mut Settings) {
    let data = data.join("data");
    move |settings| {
        settings.flag("--data", &data.display());
        settings.flag("--anonymous-role", "operator");
        use_compilers(settings, &toolchain());
    }
}

/// The compilers need Node.js.
fn use_compilers(settings: &mut Settings, folder: &Path) {
    settings.flag("--toolchain", &folder.display());
    settings.environment.push(("PATH".to_owned(), std::env::var("PATH").unwrap()));
}

pub(crate) fn request(server: &TestServer, body: &Value) -> Response {
    server.json_request("/v1/circuits", body.to_string()).send()
}

pub(crate) fn range(language: &str) -> Value {
    json!({"templateName": "rangeCheck", "language": language, "params": {"min": 100, "max": 500}})
}

pub(crate) fn circuit(server: &TestServer, id: &str) -> CircuitEntry {
    let response = server.get(&format!("/v1/circuits/{id}"));
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_slice(&response.body).unwrap()
}

/// Requests a circuit, and waits until it is ready.
#[track_caller]
pub(crate) fn build(server: &TestServer, body: &Value) -> CircuitEntry {
    let response = request(server, body);
    assert_eq!(response.status, 202, "{response:?}");
    assert!(!response.header("retry-after").is_empty());
    let pending: CircuitEntry = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(pending.status, CircuitStatus::Pending);
    assert_eq!(response.header("location"), format!("/v1/circuits/{}", pending.id));
    wait_until_ready(server, pending.id.as_str())
}

#[track_caller]
fn wait_until_ready(server: &TestServer, id: &str) -> CircuitEntry {
    within(LONG_LIMIT, "the circuit is built", || {
        let entry = circuit(server, id);
        assert_ne!(entry.status, CircuitStatus::Failed, "{entry:?}");
        (entry.status == CircuitStatus::Ready).then_some(entry)
    })
}

pub(crate) fn built(entry: &CircuitEntry) -> &BuiltFrom {
    entry.built.as_ref().unwrap()
}

/// Asks for the proof of a value.
pub(crate) fn prove(server: &TestServer, id: &str, value: u32) -> Response {
    let document = json!({"privateInputs": {"value": value.to_string()}, "publicInputs": {"context": "7"}});
    let request = server.inputs_request(&format!("/api/prove/{id}"), &document);
    request.header("accept", "application/json").send()
}

#[test]
fn a_build_is_reported_to_all_who_asked() {
    let (data, receiver) = (tempfile::tempdir().unwrap(), Receiver::start_default());
    let server = TestServer::start(|settings| {
        webhooks::to(&[&receiver])(settings);
        builder(data.path())(settings);
    });
    let ask = |path: &str| {
        let request = server.json_request("/v1/circuits", range("circom").to_string());
        request.header(headers::CALLBACK_URL, &receiver.url(path)).send()
    };
    let responses = ["/a", "/b", "/a"].map(ask);
    assert!(responses.iter().all(|response| response.status == 202), "{responses:?}");
    let arrived = webhooks::wait_for(&receiver, 2);
    let id = responses[0].json()["id"].clone();
    for webhook in &arrived {
        let event = webhooks::assert_signed(webhook);
        assert_eq!((&event["type"], &event["data"]["id"]), (&json!("build.completed"), &id), "{event}");
        let entry: CircuitEntry = serde_json::from_value(event["data"].clone()).unwrap();
        assert_eq!(
            (entry.status, entry.clone()),
            (CircuitStatus::Ready, circuit(&server, entry.id.as_str()))
        );
    }
    // A circuit that is ready is no job.
    assert_eq!(ask("/c").status, 200);
    let mut paths: Vec<_> = receiver.received().into_iter().map(|webhook| webhook.path).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/a", "/b"]);
}

/// The number of builds that were accepted.
fn builds(server: &TestServer) -> u64 {
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    let of_builds =
        |line: &&str| line.starts_with("edgeprove_jobs_accepted_total{") && line.contains("kind=\"build\"");
    let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    metrics.lines().filter(of_builds).map(count).sum()
}

#[test]
fn a_circom_template_becomes_a_circuit_that_proves() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(builder(data.path()));
    let entry = build(&server, &range("circom"));
    assert_eq!((entry.target, entry.targets.as_slice()), (Target::Groth16, [Target::Groth16].as_slice()));
    let from = built(&entry);
    assert_eq!((from.template_name.as_str(), from.language.as_str()), ("rangeCheck", "circom"));
    assert_eq!(from.trust.as_deref(), Some("local"));
    assert!(entry.id.as_str().ends_with(&from.hash.as_ref().unwrap()[..40]));

    // Every file is there, with its digest.
    let names: Vec<_> = from.artifacts.iter().map(|file| file.name.as_str()).collect();
    for name in ["circuit.r1cs", "circuit.wasm", "circuit.zkey", "verification_key.json", "verifier.sol"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for file in &from.artifacts {
        let response = server.get(&file.path);
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.body.len() as u64, file.bytes, "{}", file.name);
        assert_eq!(hex::encode(Sha256::digest(&response.body)), file.sha256, "{}", file.name);
    }
    check_contract(&server, &entry, "groth16", "contract Groth16Verifier");

    // snarkjs accepts a proof under the published key, and a value out of range has none.
    let id = entry.id.as_str();
    let response = prove(&server, id, 123);
    assert_eq!(response.status, 200, "{response:?}");
    let answer: ProofAnswer<Value> = serde_json::from_slice(&response.body).unwrap();
    let key = server.get(entry.vk.as_ref().unwrap()).body;
    let signals = json!(answer.public_signals.unwrap()).to_string();
    assert_eq!(signals, r#"["7"]"#);
    assert!(snarkjs_verifies(&key, answer.proof.to_string().as_bytes(), signals.as_bytes()));
    let problem = prove(&server, id, 99).assert_refused(ProblemType::WitnessUnsatisfied);
    assert!(!problem.detail.contains("99"), "{}", problem.detail);

    // Backend and contract agree on the proof, with either form of the public inputs.
    let decimal = |number: u32| vec![number.to_string()];
    for inputs in [vec![word(7)], decimal(7)] {
        assert_eq!(verdict(&server, id, "", &answer.proof, &inputs), by("groth16", true));
    }
    assert_eq!(verdict(&server, id, "", &answer.proof, &decimal(8)), by("groth16", false));
    assert_eq!(verdict(&server, id, "?on=evm", &answer.proof, &decimal(7)), by("evm", true));
    assert_eq!(verdict(&server, id, "?on=evm", &answer.proof, &decimal(8)), by("evm", false));
    check_wrong_proofs(&server, id, &answer.proof);

    // The calldata of a job is the selector, the words of the proof, and the public inputs.
    let job = finished_job(&server, id, "");
    let call = calldata(&server, &job);
    assert_eq!(call.function, "verifyProof(uint256[2],uint256[2][2],uint256[2],uint256[1])");
    let words = hex::encode(server.get(&format!("{job}/proof")).body);
    assert_eq!(call.calldata, format!("0x43753b4d{words}{:064x}", 7));

    // The same request again needs no build.
    let again = request(&server, &range("circom"));
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(builds(&server), 1);
    server.assert_healthy();
}

/// The real packages, with a script that fails as a compiler does. Returns the path of the script.
fn use_failing_compiler(tools: &Path) -> PathBuf {
    fs::create_dir(tools).unwrap();
    for name in ["node_modules", "circom"] {
        symlink(toolchain().join(name), tools.join(name)).unwrap();
    }
    for module in fs::read_dir(toolchain()).unwrap().map(|entry| entry.unwrap().path()) {
        if module.extension().is_some_and(|extension| extension == "mjs") {
            fs::copy(&module, tools.join(module.file_name().unwrap())).unwrap();
        }
    }
    let script = tools.join("compile_program.mjs");
    fs::write(&script, "console.error('error: no such module'); process.exit(3);").unwrap();
    script
}

#[test]
fn a_noir_circuit_proves_after_a_build_that_failed() {
    let data = tempfile::tempdir().unwrap();
    let tools = data.path().join("tools");
    let script = use_failing_compiler(&tools);
    let server = TestServer::start(|settings| {
        settings.flag("--data", &data.path().join("data").display());
        use_compilers(settings, &tools);
    });
    let id = request(&server, &range("noir")).json()["id"].as_str().unwrap().to_owned();
    let failed = within(LONG_LIMIT, "the build fails", || {
        let entry = circuit(&server, &id);
        (entry.status == CircuitStatus::Failed).then_some(entry)
    });
    let error = failed.error.unwrap();
    assert_eq!(error.code.known(), Some(ProblemType::CircuitCompilationFailed));
    assert!(error.detail.contains("no such module"), "{}", error.detail);
    assert!(!error.detail.contains(data.path().to_str().unwrap()), "{}", error.detail);
    // The command asks for the circuit again, and reports why it fails again.
    let command = ["build", "rangeCheck", "--language", "noir", "--param", "min=100", "--param", "max=500"];
    let failed = circuit_command(&server, &command);
    assert_eq!(failed.code, Some(65), "{failed:?}");
    assert!(failed.stderr.contains(&id) && failed.stderr.contains("no such module"), "{failed:?}");
    prove(&server, &id, 123).assert_refused(ProblemType::CircuitNotFound);

    // The same command builds it, and waits until it is ready.
    fs::copy(toolchain().join("compile_program.mjs"), &script).unwrap();
    let ended = circuit_command(&server, &command);
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), id.as_str()), "{ended:?}");
    let entry = circuit(&server, &id);
    assert_eq!((entry.status, builds(&server)), (CircuitStatus::Ready, 3));
    let id = entry.id.as_str();
    assert_eq!(entry.targets, [Target::NoirRecursive, Target::Evm]);
    assert_eq!(built(&entry).trust, None, "its keys need no setup of their own");
    let program = server.get(&format!("/v1/circuits/{id}/artifacts/circuit.json"));
    let file = data.path().join("circuit.json");
    fs::write(&file, &program.body).unwrap();
    assert_eq!(entry.vk_hash, Some(format!("0x{}", bb::verification_key_hash(&file, Target::NoirRecursive))));

    // bb accepts the proof of a request, and that of a job.
    let job = finished_job(&server, id, "");
    let proof = server.get(&format!("{job}/proof"));
    assert_eq!(proof.status, 200, "{proof:?}");
    let no_call = server.get(&format!("{job}/calldata")).assert_refused(ProblemType::InvalidRequest);
    assert!(no_call.detail.contains("?target=evm"), "{}", no_call.detail);
    let context = [[0; 31].as_slice(), &[7]].concat();
    assert!(bb::verifies(&file, Target::NoirRecursive, &proof.body, &context));
    assert_eq!(prove(&server, id, 123).status, 200);
    prove(&server, id, 501).assert_refused(ProblemType::WitnessUnsatisfied);
    check_proofs_for_the_contract(&server, &entry);

    // It is in the list, and in the report of the server.
    let list: CircuitList = serde_json::from_slice(&server.get("/v1/circuits").body).unwrap();
    let listed: Vec<_> = list.circuits.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(listed, ["range_check", id]);
    let health = server.health();
    assert_eq!((health.built_circuits, health.roles), (1, vec!["prover".to_owned(), "builder".to_owned()]));
    server.assert_healthy();
}

#[test]
fn fifty_requests_at_once_build_a_circuit_once() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(builder(data.path()));
    let ids: Vec<String> = thread::scope(|scope| {
        let ask = || {
            let response = request(&server, &range("circom"));
            assert!([200, 202].contains(&response.status.as_u16()), "{response:?}");
            response.json()["id"].as_str().unwrap().to_owned()
        };
        let asking: Vec<_> = (0..50).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    wait_until_ready(&server, &ids[0]);
    assert_eq!(builds(&server), 1);
    server.assert_healthy();
}

#[test]
fn a_killed_builder_builds_the_circuit_in_the_end() {
    let data = tempfile::tempdir().unwrap();
    let mut server = TestServer::start(builder(data.path()));
    let id = request(&server, &range("circom")).json()["id"].as_str().unwrap().to_owned();
    server.wait_for_log_line("the build has started", |line| line["kind"] == "build" && line["attempt"] == 1);
    server.kill();

    // The next server may build nothing, and yet knows that the circuit is on its way.
    let prover = TestServer::start(|settings| {
        builder(data.path())(settings);
        settings.flag("--roles", "prover");
    });
    assert_eq!(circuit(&prover, &id).status, CircuitStatus::Pending);
    assert_eq!(prover.health().roles, ["prover"]);
    prover.finish();

    let server = TestServer::start(builder(data.path()));
    wait_until_ready(&server, &id);
    assert_eq!(builds(&server), 0, "the job of before is the only one");
    assert_eq!(prove(&server, &id, 100).status, 200);
    server.assert_healthy();
}

#[test]
fn a_server_without_compilers_proves_what_was_built() {
    let data = tempfile::tempdir().unwrap();
    let builds_it = TestServer::start(builder(data.path()));
    let entry = build(&builds_it, &range("circom"));
    builds_it.finish();

    let server = TestServer::start(|settings| {
        settings.flag("--data", &data.path().join("data").display());
        settings.flag("--anonymous-role", "operator");
        // The circuit that was built is the only one.
        settings.circuit = None;
        settings.sample = None;
    });
    let id = entry.id.as_str();
    eventually("the built circuit is known", || (server.health().built_circuits == 1).then_some(()));
    assert_eq!(prove(&server, id, 500).status, 200);
    assert_eq!(request(&server, &range("circom")).status, 200);
    request(&server, &range("noir")).assert_refused(ProblemType::BuilderUnavailable);
    let proof: ProofAnswer<Value> = serde_json::from_slice(&prove(&server, id, 500).body).unwrap();
    assert!(verdict(&server, id, "", &proof.proof, &proof.public_inputs).valid);
    let body = json!({"proof": proof.proof, "publicInputs": proof.public_inputs}).to_string();
    let in_evm = server.json_request(&format!("/v1/verify/{id}?on=evm"), body).send();
    in_evm.assert_refused(ProblemType::BuilderUnavailable);

    let removed = server.request(Method::DELETE, &format!("/v1/circuits/{id}")).send();
    assert_eq!(removed.status, 200, "{removed:?}");
    for path in ["", "/vk", "/verifier.sol", "/artifacts/circuit.zkey"] {
        server.get(&format!("/v1/circuits/{id}{path}")).assert_refused(ProblemType::CircuitNotFound);
    }
    prove(&server, id, 500).assert_refused(ProblemType::CircuitNotFound);
    let again = server.request(Method::DELETE, &format!("/v1/circuits/{id}")).send();
    again.assert_refused(ProblemType::CircuitNotFound);
    let log = String::from_utf8(server.get("/v1/audit").body).unwrap_or_default();
    assert!(log.is_empty() || !log.contains(id), "there is no audit log");
}

#[test]
fn wrong_requests_for_circuits_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(builder(data.path()));
    let with = |params: Value| json!({"templateName": "rangeCheck", "language": "noir", "params": params});
    for params in [
        json!({"min": 600, "max": 500}),
        json!({"min": 100}),
        json!({"min": 100, "max": 500, "other": 1}),
        json!({"min": -1, "max": 500}),
        json!({"min": 1.5, "max": 500}),
        json!({"min": "100; }", "max": 500}),
        json!({"min": 1e300, "max": 500}),
        json!({"min": [100], "max": null}),
    ] {
        let problem = request(&server, &with(params.clone())).assert_refused(ProblemType::InvalidRequest);
        assert!(!problem.detail.contains("; }"), "the text of a caller is repeated: {}", problem.detail);
    }
    for name in ["none", "../rangeCheck", "rangeCheck/", "range\"Check", "rangeCheck*/", ""] {
        let body = json!({"templateName": name, "params": {}});
        request(&server, &body).assert_refused(ProblemType::TemplateNotFound);
    }
    for body in [
        json!({}),
        json!([]),
        json!({"templateName": 7}),
        json!({"templateName": "rangeCheck", "parameters": {}}),
        json!({"templateName": "rangeCheck", "language": "cobol", "params": {}}),
    ] {
        request(&server, &body).assert_refused(ProblemType::InvalidRequest);
    }
    let large = json!({"templateName": "x".repeat(70_000)});
    request(&server, &large).assert_refused(ProblemType::CircuitTooLarge);
    let twice = r#"{"templateName": "rangeCheck", "params": {"min": 1, "min": 2, "max": 3}}"#;
    server.json_request("/v1/circuits", twice).send().assert_refused(ProblemType::InvalidRequest);
    server.request(Method::POST, "/v1/circuits").send().assert_refused(ProblemType::UnsupportedMediaType);
    for path in ["/v1/circuits/none/artifacts/circuit.json", "/v1/circuits/range_check/verifier.sol"] {
        server.get(path).assert_refused(ProblemType::CircuitNotFound);
    }
    server.get("/v1/circuits?limit=0").assert_refused(ProblemType::InvalidRequest);
    assert_eq!(builds(&server), 0);
    server.assert_healthy();
}

#[test]
fn wrong_compilers_prevent_the_start() {
    let data = tempfile::tempdir().unwrap();
    let fails = |folder: &Path, extra: &[&str]| {
        TestServer::fails_to_start(|settings| {
            settings.flag("--data", &data.path().join("data").display());
            if folder != Path::new("") {
                use_compilers(settings, folder);
            }
            settings.flags.extend(extra.iter().map(|flag| (*flag).to_owned()));
        })
    };
    for (folder, extra) in [
        (data.path().join("none"), [].as_slice()),
        (PathBuf::new(), ["--roles", "builder"].as_slice()),
        (toolchain(), ["--roles", "judge"].as_slice()),
    ] {
        let failed = fails(&folder, extra);
        assert_eq!(failed.code, Some(64), "{}", failed.stderr);
    }
    let empty = data.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let failed = fails(&empty, &[]);
    assert!(failed.code.is_some_and(|code| code != 0), "{}", failed.stderr);
    assert!(failed.stderr.contains("noir"), "{}", failed.stderr);
}

#[test]
fn a_greedy_caller_leaves_the_builder_to_others() {
    let data = tempfile::tempdir().unwrap();
    let keys = data.path().join("keys.toml");
    let key = |name: &str| format!("{name}-{}", "k".repeat(40));
    let entry =
        |name: &str| format!("[keys.{name}]\nsha256 = ['{}']\n", hex::encode(Sha256::digest(key(name))));
    fs::write(&keys, entry("greedy") + &entry("modest")).unwrap();
    let server = TestServer::start(|settings| {
        settings.flag("--data", &data.path().join("data").display());
        settings.flag("--keys-file", &keys.display());
        settings.flag("--job-queue-max", "8");
        use_compilers(settings, &toolchain());
    });
    let ask = |name: &str, min: usize| {
        let body =
            json!({"templateName": "rangeCheck", "language": "circom", "params": {"min": min, "max": 500}});
        let request = server.json_request("/v1/circuits", body.to_string());
        request.header("authorization", &format!("Bearer {}", key(name))).send()
    };
    let asked: Vec<_> = (0..12).map(|min| ask("greedy", min)).collect();
    asked.last().unwrap().assert_refused_for_now(ProblemType::TooManyJobs);
    let modest = ask("modest", 100);
    assert_eq!(modest.status, 202, "{modest:?}");
    // It is built before those of the greedy caller that waited already.
    wait_until_ready(&server, modest.json()["id"].as_str().unwrap());
    let last = asked.iter().rfind(|response| response.status == 202).unwrap().json();
    assert_eq!(circuit(&server, last["id"].as_str().unwrap()).status, CircuitStatus::Pending);
}

#[test]
fn a_smaller_circuit_of_the_template_is_proved() {
    // 50 attestations need a circuit of size 2^13.
    if lacks_crs_points(8192) {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let start = |memory_max: u64| {
        TestServer::start(|settings| {
            builder(data.path())(settings);
            // The measured memory of circuits is stored there.
            settings.keys = data.path().join("keys");
            settings.flag("--prove-timeout", "20s");
            settings.flag("--memory-max", &format!("{memory_max}B"));
        })
    };
    let mut server = start(4 << 30);
    let folder = WorkFolder::new();
    let [large, small] = [50, 10].map(|attestations| {
        let params = json!({"attestations": attestations});
        let entry = build(&server, &json!({"templateName": "attestationThreshold", "params": params}));
        let program = server.get(&format!("/v1/circuits/{}/artifacts/circuit.json", entry.id)).body;
        let [circuit, inputs, witness] =
            ["circuit.json", "inputs.json", "witness.gz"].map(|name| folder.at(name));
        fs::write(&circuit, program).unwrap();
        fs::write(&inputs, sample_inputs("attestationThreshold", &params).to_string()).unwrap();
        let command = &mut folder.command(&[
            &"witness",
            &"--circuit",
            &circuit,
            &"--inputs",
            &inputs,
            &"--output",
            &witness,
        ]);
        let output = processes::run(command, LIMIT);
        assert!(output.status.success(), "{output:?}");
        (entry.id, fs::read(witness).unwrap())
    });
    let path = format!("/api/prove/{}", large.0);
    let of = |server: &TestServer, parts: &[&(CircuitId, Vec<u8>)]| {
        let parts: Vec<_> = parts.iter().map(|(id, witness)| (id.as_str(), witness.as_slice())).collect();
        Request::prove_form(server.address(), &path, &parts)
    };
    let assert_proved = |response: &Response, id: &CircuitId, fallback_from: &str| {
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.header(headers::CIRCUIT_ID), id.as_str());
        assert_eq!(response.header(headers::FALLBACK_FROM), fallback_from);
    };
    assert_proved(&of(&server, &[&large, &small]).send(), &large.0, "");
    let response = server.with_suspended_provers(|| of(&server, &[&large, &small]).send());
    assert_proved(&response, &small.0, large.0.as_str());
    // Without a witness for it, the problem names the smaller one.
    let response = server.with_suspended_provers(|| of(&server, &[&large]).send());
    let problem: Problem = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(problem.fallback_circuit, Some(small.0.clone()), "{problem:?}");
    let upward = format!("/api/prove/{}", small.0);
    let upward = Request::prove_form(
        server.address(),
        &upward,
        &[(small.0.as_str(), &small.1), (large.0.as_str(), &large.1)],
    );
    upward.send().assert_refused(ProblemType::InvalidRequest);

    // So it is where the memory is too short for the larger one.
    let [for_large, for_small] = [&large, &small].map(|(id, _)| {
        let estimate = server.get(&format!("/v1/estimate?circuit={id}")).json();
        estimate["memory_bytes"].as_u64().unwrap()
    });
    assert!(for_large > for_small, "{for_large} {for_small}");
    server.finish();
    server = start(for_small.midpoint(for_large));
    assert_proved(&of(&server, &[&large, &small]).send(), &small.0, large.0.as_str());
    server.finish();
}

/// The first inputs that a circuit of this template accepts.
fn sample_inputs(template: &str, params: &Value) -> Value {
    let catalogue = Catalogue::embedded().unwrap();
    let params: RawParameters = serde_json::from_value(params.clone()).unwrap();
    let template = catalogue.find(template, None).unwrap();
    let sample = Instance::new(template, &params).unwrap().accepted_samples().unwrap().remove(0);
    let is_public = |name: &str| template.public_inputs().iter().any(|input| input.name == name);
    let (public, private): (Map<_, _>, Map<_, _>) =
        sample.inputs.into_iter().partition(|(name, _)| is_public(name));
    json!({"privateInputs": private, "publicInputs": public})
}
