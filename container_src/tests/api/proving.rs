//! Valid requests for proofs, and the information that the server gives about itself.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{
    ProblemType, ProofSystem,
    Target::{self, Evm, NoirRecursive},
    answer::ProofAnswer,
    headers,
};
use http::Method;

use crate::support::{Connection, Sample, TestServer, bb, eventually, paths, samples, skipped};

/// The public inputs of a JSON response, as bytes.
fn public_inputs(response: &ProofAnswer) -> Vec<u8> {
    response
        .public_inputs
        .iter()
        .flat_map(|field| hex::decode(field.trim_start_matches("0x")).unwrap())
        .collect()
}

#[test]
fn bytes_and_json_carry_a_proof_that_bb_verifies() {
    let server = TestServer::start_default();
    let range = samples::range_check();
    for (query, target) in
        [("", NoirRecursive), ("?target=noir-recursive", NoirRecursive), ("?target=evm", Evm)]
    {
        let path = format!("/api/prove{query}");
        let octets = server.prove_request_at(&path, &range.witness).send();
        octets.assert_proves(range, target);
        assert_eq!(octets.header("content-type"), "application/octet-stream");
        assert_eq!(octets.header(headers::VERIFIED), "true");

        let json = server.prove_request_at(&path, &range.witness).header("accept", "application/json").send();
        json.assert_proves(range, target);
        assert_eq!(json.header("content-type"), "application/json");
        let response: ProofAnswer = serde_json::from_slice(&json.body).unwrap();
        assert_eq!(response.target, target);
        assert_eq!(public_inputs(&response), range.public_inputs.as_flattened());
        assert_eq!(STANDARD.decode(&response.proof).unwrap().len(), octets.body.len());
        let ms = response.timings;
        assert!(
            ms.prove_ms > 0.0 && ms.verify_ms > 0.0 && ms.total_ms >= ms.prove_ms + ms.verify_ms,
            "{ms:?}"
        );
        for name in [headers::VK_HASH, headers::PUBLIC_INPUTS, headers::CIRCUIT_ID, headers::VERIFIED] {
            assert_eq!(json.header(name), octets.header(name), "{name}");
        }
    }
    server.assert_healthy();
}

#[test]
fn the_vk_hash_equals_that_of_bb_and_health() {
    let server = TestServer::start_default();
    let range = samples::range_check();
    let response = server.prove(&range.witness);
    let hash = bb::verification_key_hash(&range.circuit, NoirRecursive);
    assert_eq!(response.header(headers::VK_HASH), format!("0x{hash}"));
    assert_eq!(server.health().circuits[0].vk_hash, Some(format!("0x{hash}")));
}

#[track_caller]
fn assert_proves_with_witness_from_setup(name: &str, circuit_size: u64) {
    if skipped::lacks_crs_points(circuit_size + 1) {
        return;
    }
    let sample = samples::from_setup(name);
    let server = TestServer::start(|s| {
        s.circuit = Some(sample.circuit.clone());
        s.sample = Some(sample.clone());
    });
    for &target in ProofSystem::UltraHonk.targets() {
        let path = format!("/api/prove/{name}?target={target}");
        server.prove_request_at(&path, &sample.witness).send().assert_proves(&sample, target);
    }
    assert_eq!(server.health().circuits[0].circuit_size, Some(circuit_size));
    server.assert_healthy();
}

#[test]
fn range_check_proves_with_a_witness_of_noir_js() {
    assert_proves_with_witness_from_setup("range_check", 4096);
}

#[test]
fn merkle_membership_proves_with_a_witness_of_noir_js() {
    assert_proves_with_witness_from_setup("merkle_membership", 16384);
}

#[test]
fn maze_walk_proves_with_a_witness_of_noir_js() {
    assert_proves_with_witness_from_setup("maze_walk", 32768);
}

#[test]
fn a_mounted_circuit_proves() {
    let dir = tempfile::tempdir().unwrap();
    let square = samples::square(dir.path(), "circuit", 1);
    let server = TestServer::start(|s| {
        s.circuit = Some(square.circuit.clone());
        s.sample = Some(square.clone());
    });
    server.prove(&square.witness).assert_proves(&square, NoirRecursive);
    server.assert_healthy();
}

#[test]
fn circuits_of_a_folder_are_served_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let one = samples::square(dir.path(), "one", 1);
    let lone = TestServer::start(|s| {
        (s.circuit, s.circuits, s.sample) = (None, Some(dir.path().to_owned()), Some(one.clone()));
    });
    lone.prove(&one.witness).assert_proves(&one, NoirRecursive);
    lone.assert_healthy();
    lone.finish();

    let two = samples::square(dir.path(), "two", 2);
    fs::write(dir.path().join("README.md"), "no circuit").unwrap();
    let both = TestServer::start(|s| {
        (s.circuit, s.circuits, s.sample) = (None, Some(dir.path().to_owned()), Some(two.clone()));
    });
    for sample in [&one, &two] {
        let path = format!("/api/prove/{}", sample.name);
        both.prove_request_at(&path, &sample.witness).send().assert_proves(sample, NoirRecursive);
    }
    let problem = both.prove(&one.witness).assert_refused(crate::support::ProblemType::InvalidRequest);
    assert!(problem.detail.contains("one, two"), "{}", problem.detail);
    both.assert_healthy();
}

#[test]
fn the_target_can_be_set_for_all_circuits_or_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let samples = [samples::square(dir.path(), "one", 1), samples::square(dir.path(), "two", 2)];
    let check = |flag: &str, targets: [Target; 2]| {
        let server = TestServer::start(|s| {
            (s.circuit, s.circuits, s.sample) = (None, Some(dir.path().to_owned()), None);
            s.flag("--target", flag);
        });
        for (sample, target) in samples.iter().zip(targets) {
            let path = format!("/api/prove/{}", sample.name);
            server.prove_request_at(&path, &sample.witness).send().assert_proves(sample, target);
            let circuits = server.health().circuits;
            let circuit = circuits.iter().find(|circuit| circuit.id.as_str() == sample.name).unwrap();
            assert_eq!(circuit.target, target);
        }
        server
            .prove_request_at("/api/prove/two?target=noir-recursive", &samples[1].witness)
            .send()
            .assert_proves(&samples[1], NoirRecursive);
    };
    check("evm", [Evm, Evm]);
    check("one=evm", [Evm, NoirRecursive]);
    check("evm,one=noir-recursive", [NoirRecursive, Evm]);
}

#[test]
fn verify_off_is_reported_in_response_and_health() {
    let server = TestServer::start(|s| s.flag("--verify", "off"));
    let range = samples::range_check();
    let honest = server.prove(&range.witness);
    honest.assert_proves(range, NoirRecursive);
    assert_eq!(honest.header(headers::VERIFIED), "false");
    assert!(!server.health().verify);

    let json = server.prove_request(&samples::unsatisfied()).header("accept", "application/json").send();
    assert_eq!(json.header(headers::VERIFIED), "false");
    let response: ProofAnswer = serde_json::from_slice(&json.body).unwrap();
    assert!(!response.verified);
    let proof = STANDARD.decode(&response.proof).unwrap();
    assert!(!bb::verifies(&range.circuit, NoirRecursive, &proof, &public_inputs(&response)));
    server.wait_for_log_line("a warning is logged", |line| line["level"] == "WARN");
    server.assert_healthy();
}

#[test]
fn an_acceptable_request_id_is_used() {
    let server = TestServer::start_default();
    let range = samples::range_check();
    let longest = "x".repeat(headers::REQUEST_ID_MAX_BYTES);
    for id in ["a", "4f1c-22_trace:1.2", &longest] {
        let response = server.prove_request(&range.witness).header("x-request-id", id).send();
        assert_eq!(response.header("x-request-id"), id);
        assert_eq!(server.wait_for_request_line(&response)["span"]["request_id"], id);
    }
    let too_long = "x".repeat(headers::REQUEST_ID_MAX_BYTES + 1);
    for id in ["", "a b", "a\"b", "a{b", "<script>", &too_long] {
        let response = server.request(Method::GET, "/livez").header("x-request-id", id).send();
        let given = response.header("x-request-id");
        assert_ne!(given, id);
        assert_eq!(given.len(), 36, "a new id: {given}");
    }
    let [one, other] =
        [server.get("/livez"), server.get("/livez")].map(|a| a.header("x-request-id").to_owned());
    assert_ne!(one, other);
}

#[test]
fn every_way_to_send_a_gzipped_witness_is_accepted() {
    let server = TestServer::start_default();
    let range = samples::range_check();
    for types in [
        &[("content-type", "application/gzip")][..],
        &[("content-type", "application/octet-stream")],
        &[("content-type", "Application/X-Gzip; charset=binary")],
        &[("content-type", "application/octet-stream"), ("content-encoding", "gzip")],
        &[],
    ] {
        let mut request = server.request(Method::POST, "/api/prove");
        request.body.clone_from(&range.witness);
        let request = types.iter().fold(request, |request, (name, value)| request.header(name, value));
        request.send().assert_proof_of(range);
    }

    let mut chunked = Connection::post_head(server.address(), "/api/prove", &["Transfer-Encoding: chunked"]);
    for byte in &range.witness {
        chunked.try_send_chunk(&[*byte]).unwrap();
    }
    chunked.try_send_chunk(&[]).unwrap();
    chunked.read_response().assert_proves(range, NoirRecursive);

    let padded = samples::padded(&range.witness, 1_000_000);
    assert!(padded.len() > 900_000 && samples::decompress(&padded) == samples::decompress(&range.witness));
    server.prove(&padded).assert_proves(range, NoirRecursive);
    server.assert_healthy();
}

#[test]
fn one_connection_serves_many_requests() {
    let server = TestServer::start_default();
    let range = samples::range_check();
    let mut connection = Connection::post(server.address(), "/api/prove", &range.witness);
    connection.read_response().assert_proof_of(range);
    connection.get("/livez");
    assert_eq!(connection.read_response().status, 200);
    // Two requests at once get their responses in order.
    connection.get("/livez");
    connection.get("/nothing");
    assert_eq!(
        [connection.read_response().status.as_u16(), connection.read_response().status.as_u16()],
        [200, 404]
    );
}

#[test]
fn verification_keys_are_cached_for_the_next_start() {
    let keys = tempfile::tempdir().unwrap();
    let from = |source: &str, server: TestServer| {
        server.wait_for_log_line("the key is logged", |line| line["vk_from"] == source);
        server.assert_healthy();
    };
    let start = || TestServer::start(|s| s.keys = keys.path().to_owned());
    from("prover", start());
    from("cache", start());
    for key in fs::read_dir(keys.path()).unwrap().flatten() {
        fs::write(key.path(), "damaged").unwrap();
    }
    from("prover", start());

    let read_only: &str = "/proc/edgeprove-keys";
    from("prover", TestServer::start(|s| s.keys = read_only.into()));
}

#[test]
fn health_and_probes_report_the_state() {
    let server = TestServer::start(|s| s.flags.push("--ephemeral-jobs".to_owned()));
    server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());
    for path in ["/api/health", "/health"] {
        let health = server.get(path).json();
        assert_eq!(health["status"], "ok");
        assert_eq!(health["problems"], serde_json::json!([]));
        assert_eq!(health["bb"]["available"], true);
        assert_eq!(health["bb_version"], health["bb"]["version"]);
        assert_eq!(health["crs"]["points"], paths::crs_points());
        assert_eq!(health["verify"], true);
        assert_eq!(health["prover"]["mode"], "warm");
        assert_eq!(health["prover"]["cores"], 2);
        assert_eq!(health["prover"]["proofs"], 1);
        assert_eq!(health["circuits"][0]["id"], "range_check");
        assert_eq!(health["circuits"][0]["status"], "ready");
        assert_eq!(health["circuits"][0]["circuit_size"], 4096);
        assert!(health["bb_crs_files"].as_str().unwrap().contains("bn254_g1.dat"));
    }
    assert_eq!(server.get("/livez").json()["status"], "live");
    assert_eq!(server.get("/readyz").json()["status"], "ready");
    let index = server.get("/").json();
    assert_eq!(index["circuits"], serde_json::json!(["range_check"]));
    for endpoint in index["endpoints"].as_array().unwrap() {
        let path = endpoint["path"].as_str().unwrap().replace("{circuit}", "range_check");
        let path = path.replace("{code}", "not_found").replace("/templates/{name}", "/templates/rangeCheck");
        if path == "/v1/board/events" {
            // Its stream does not end.
            continue;
        }
        let method = endpoint["method"].as_str().unwrap().parse().unwrap();
        let response = server.request(method, &path).send();
        let expected = match path.as_str() {
            "/v1/audit" | "/v1/scale" | "/v1/circuits/range_check/deploy" => Some(ProblemType::NotAllowed),
            path if path.starts_with("/v1/work/") => Some(ProblemType::NotAllowed),
            "/v1/circuits/range_check" if endpoint["method"] == "DELETE" => Some(ProblemType::NotAllowed),
            "/v1/circuits" if endpoint["method"] == "POST" => Some(ProblemType::UnsupportedMediaType),
            "/v1/verify/range_check" => Some(ProblemType::UnsupportedMediaType),
            path if path.ends_with("/verifier.sol") || path.contains("/artifacts/") => {
                Some(ProblemType::CircuitNotFound)
            }
            "/v1/circuits/range_check/program" => Some(ProblemType::CircuitNotFound),
            "/assets/{name}" | "/local-prover/{name}" => Some(ProblemType::NotFound),
            path if path.contains("{id}/retry") => Some(ProblemType::NotAllowed),
            "/v1/board/cancel" | "/v1/board/retry" => Some(ProblemType::NotAllowed),
            path if path.contains("{id}") => Some(ProblemType::JobNotFound),
            "/v1/proofs" if endpoint["method"] == "POST" => Some(ProblemType::WitnessEmpty),
            "/v1/proofs" | "/v1/vouchers" => Some(ProblemType::ApiKeyRequired),
            path if path.starts_with("/api/prove") => Some(ProblemType::WitnessEmpty),
            _ => None,
        };
        match expected {
            Some(kind) => drop(response.assert_refused(kind)),
            // A configured circuit has no build to follow.
            None if path == "/v1/circuits/range_check/events" => assert_eq!(response.status, 204, "{path}"),
            None => assert_eq!(response.status, 200, "{path}"),
        }
    }
}

#[test]
fn every_problem_type_has_its_page() {
    let server = TestServer::start_default();
    for kind in crate::support::ProblemType::ALL {
        let page = server.get(&kind.type_uri()).json();
        assert_eq!(page["code"], kind.code());
        assert_eq!(page["status"], kind.status());
        assert_eq!(page["retryable"], kind.retryable());
    }
    server.get("/problems/none").assert_refused(crate::support::ProblemType::NotFound);
}

#[test]
fn a_prover_at_its_proof_limit_is_recycled() {
    let server = TestServer::start(|s| s.flag("--recycle-proofs", &1));
    let range: &Sample = samples::range_check();
    for _ in 0..4 {
        server.prove(&range.witness).assert_proof_of(range);
    }
    eventually("each prover that has proved is replaced", || {
        (server.health().prover.restarts >= 3).then_some(())
    });
    server.assert_healthy();
}
