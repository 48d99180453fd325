//! What a caller gets who does everything right.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{
    ProblemType,
    Target::{self, Evm, NoirRecursive},
    answer::ProofAnswer,
    headers,
};
use http::Method;

use crate::support::{Connection, Sample, TestServer, bb, places, samples};

/// Public inputs from the JSON answer, as bytes.
fn public_inputs(answer: &ProofAnswer) -> Vec<u8> {
    answer
        .public_inputs
        .iter()
        .flat_map(|field| hex::decode(field.trim_start_matches("0x")).unwrap())
        .collect()
}

#[test]
fn octets_and_json_agree_and_both_verify_under_untouched_bb() {
    let server = TestServer::plain();
    let range = samples::range();
    for (query, target) in
        [("", NoirRecursive), ("?target=noir-recursive", NoirRecursive), ("?target=evm", Evm)]
    {
        let path = format!("/api/prove{query}");
        let octets = server.posting_to(&path, &range.witness).send();
        octets.proves(range, target);
        assert_eq!(octets.header("content-type"), "application/octet-stream");
        assert_eq!(octets.header(headers::VERIFIED), "true");

        let json = server.posting_to(&path, &range.witness).header("accept", "application/json").send();
        json.proves(range, target);
        assert_eq!(json.header("content-type"), "application/json");
        let answer: ProofAnswer = serde_json::from_slice(&json.body).unwrap();
        assert_eq!(answer.target, target);
        assert_eq!(public_inputs(&answer), range.public_inputs.as_flattened());
        assert_eq!(STANDARD.decode(&answer.proof).unwrap().len(), octets.body.len());
        let ms = answer.timings;
        assert!(
            ms.prove_ms > 0.0 && ms.verify_ms > 0.0 && ms.total_ms >= ms.prove_ms + ms.verify_ms,
            "{ms:?}"
        );
        for name in [headers::VK_HASH, headers::PUBLIC_INPUTS, headers::CIRCUIT_ID, headers::VERIFIED] {
            assert_eq!(json.header(name), octets.header(name), "{name}");
        }
    }
    server.assert_well();
}

#[test]
fn the_key_hash_in_the_answer_is_that_of_untouched_bb_and_of_health() {
    let server = TestServer::plain();
    let range = samples::range();
    let answer = server.post(&range.witness);
    let hash = bb::verification_key_hash(&range.circuit, NoirRecursive);
    assert_eq!(answer.header(headers::VK_HASH), format!("0x{hash}"));
    assert_eq!(server.health().circuits[0].vk_hash, Some(format!("0x{hash}")));
}

#[track_caller]
fn assert_proves_with_a_witness_by_setup(name: &str, rows: u64) {
    if places::lacks_crs_points(rows + 1) {
        return;
    }
    let sample = samples::by_setup(name);
    let server = TestServer::start(|s| {
        s.circuit = Some(sample.circuit.clone());
        s.good = Some(sample.clone());
    });
    for target in Target::ALL {
        let path = format!("/api/prove/{name}?target={target}");
        server.posting_to(&path, &sample.witness).send().proves(&sample, target);
    }
    assert_eq!(server.health().circuits[0].circuit_size, Some(rows));
    server.assert_well();
}

#[test]
fn range_check_proves_with_a_witness_of_noir_js() {
    assert_proves_with_a_witness_by_setup("range_check", 4096);
}

#[test]
fn merkle_membership_proves_with_a_witness_of_noir_js() {
    assert_proves_with_a_witness_by_setup("merkle_membership", 16384);
}

#[test]
fn maze_walk_proves_with_a_witness_of_noir_js() {
    assert_proves_with_a_witness_by_setup("maze_walk", 32768);
}

#[test]
fn a_circuit_from_elsewhere_proves_once_it_is_mounted() {
    let dir = tempfile::tempdir().unwrap();
    let square = samples::square(dir.path(), "circuit", 1);
    let server = TestServer::start(|s| {
        s.circuit = Some(square.circuit.clone());
        s.good = Some(square.clone());
    });
    server.post(&square.witness).proves(&square, NoirRecursive);
    server.assert_well();
}

#[test]
fn a_folder_of_circuits_is_served_by_name_and_a_lone_circuit_without() {
    let dir = tempfile::tempdir().unwrap();
    let one = samples::square(dir.path(), "one", 1);
    let lone = TestServer::start(|s| {
        (s.circuit, s.circuits, s.good) = (None, Some(dir.path().to_owned()), Some(one.clone()));
    });
    lone.post(&one.witness).proves(&one, NoirRecursive);
    lone.assert_well();
    lone.finish();

    let two = samples::square(dir.path(), "two", 2);
    fs::write(dir.path().join("README.md"), "no circuit").unwrap();
    let both = TestServer::start(|s| {
        (s.circuit, s.circuits, s.good) = (None, Some(dir.path().to_owned()), Some(two.clone()));
    });
    for sample in [&one, &two] {
        let path = format!("/api/prove/{}", sample.name);
        both.posting_to(&path, &sample.witness).send().proves(sample, NoirRecursive);
    }
    let problem = both.post(&one.witness).refused(crate::support::ProblemType::InvalidRequest);
    assert!(problem.detail.contains("one, two"), "{}", problem.detail);
    both.assert_well();
}

#[test]
fn the_target_can_be_set_for_all_circuits_or_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let samples = [samples::square(dir.path(), "one", 1), samples::square(dir.path(), "two", 2)];
    let check = |flag: &str, targets: [Target; 2]| {
        let server = TestServer::start(|s| {
            (s.circuit, s.circuits, s.good) = (None, Some(dir.path().to_owned()), None);
            s.flag("--target", flag);
        });
        for (sample, target) in samples.iter().zip(targets) {
            let path = format!("/api/prove/{}", sample.name);
            server.posting_to(&path, &sample.witness).send().proves(sample, target);
            let circuits = server.health().circuits;
            let circuit = circuits.iter().find(|circuit| circuit.id.as_str() == sample.name).unwrap();
            assert_eq!(circuit.target, target);
        }
        server
            .posting_to("/api/prove/two?target=noir-recursive", &samples[1].witness)
            .send()
            .proves(&samples[1], NoirRecursive);
    };
    check("evm", [Evm, Evm]);
    check("one=evm", [Evm, NoirRecursive]);
    check("evm,one=noir-recursive", [NoirRecursive, Evm]);
}

#[test]
fn without_verification_the_answer_and_health_say_so() {
    let server = TestServer::start(|s| s.flag("--verify", "off"));
    let range = samples::range();
    let honest = server.post(&range.witness);
    honest.proves(range, NoirRecursive);
    assert_eq!(honest.header(headers::VERIFIED), "false");
    assert!(!server.health().verify);

    let json = server.posting(&samples::unsatisfied()).header("accept", "application/json").send();
    assert_eq!(json.header(headers::VERIFIED), "false");
    let answer: ProofAnswer = serde_json::from_slice(&json.body).unwrap();
    assert!(!answer.verified);
    let proof = STANDARD.decode(&answer.proof).unwrap();
    assert!(!bb::verifies(&range.circuit, NoirRecursive, &proof, &public_inputs(&answer)));
    assert!(server.log().contains("NOT verified"));
    server.assert_well();
}

#[test]
fn a_request_keeps_its_id_unless_it_could_do_harm_in_a_log() {
    let server = TestServer::plain();
    let range = samples::range();
    let longest = "x".repeat(headers::REQUEST_ID_MAX_BYTES);
    for id in ["a", "4f1c-22_trace:1.2", &longest] {
        let answer = server.posting(&range.witness).header("x-request-id", id).send();
        assert_eq!(answer.header("x-request-id"), id);
        assert!(server.log().contains(&format!("\"request_id\":\"{id}\"")), "{id} is not in the log");
    }
    let too_long = "x".repeat(headers::REQUEST_ID_MAX_BYTES + 1);
    for id in ["", "a b", "a\"b", "a{b", "<script>", &too_long] {
        let answer = server.ask(Method::GET, "/livez").header("x-request-id", id).send();
        let given = answer.header("x-request-id");
        assert_ne!(given, id);
        assert_eq!(given.len(), 36, "a fresh one: {given}");
    }
    let [one, other] =
        [server.get("/livez"), server.get("/livez")].map(|a| a.header("x-request-id").to_owned());
    assert_ne!(one, other);
}

#[test]
fn every_way_to_send_a_gzipped_witness_is_taken() {
    let server = TestServer::plain();
    let range = samples::range();
    for types in [
        &[("content-type", "application/gzip")][..],
        &[("content-type", "application/octet-stream")],
        &[("content-type", "Application/X-Gzip; charset=binary")],
        &[("content-type", "application/octet-stream"), ("content-encoding", "gzip")],
        &[],
    ] {
        let mut ask = server.ask(Method::POST, "/api/prove");
        ask.body.clone_from(&range.witness);
        let ask = types.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
        ask.send().proof_of(range);
    }

    let mut chunked = Connection::post_head(server.address(), "/api/prove", &["Transfer-Encoding: chunked"]);
    for byte in &range.witness {
        chunked.try_send_chunk(&[*byte]).unwrap();
    }
    chunked.try_send_chunk(&[]).unwrap();
    chunked.answer().proves(range, NoirRecursive);

    let padded = samples::padded(&range.witness, 1_000_000);
    assert!(padded.len() > 900_000 && samples::inflate(&padded) == samples::inflate(&range.witness));
    server.post(&padded).proves(range, NoirRecursive);
    server.assert_well();
}

#[test]
fn one_connection_serves_many_requests() {
    let server = TestServer::plain();
    let range = samples::range();
    let mut connection = Connection::post(server.address(), "/api/prove", &range.witness);
    connection.answer().proof_of(range);
    connection.get("/livez");
    assert_eq!(connection.answer().status, 200);
    // Two at once, answered in their order.
    connection.get("/livez");
    connection.get("/nothing");
    assert_eq!([connection.answer().status.as_u16(), connection.answer().status.as_u16()], [200, 404]);
}

#[test]
fn keys_are_made_once_and_kept_for_the_next_start() {
    let keys = tempfile::tempdir().unwrap();
    let from = |source: &str, server: TestServer| {
        let log = server.log();
        assert!(log.contains(&format!("\"vk_from\":\"{source}\"")), "not from {source}: {log}");
        server.assert_well();
    };
    let start = || TestServer::start(|s| s.keys = keys.path().to_owned());
    from("prover", start());
    from("cache", start());
    for kept in fs::read_dir(keys.path()).unwrap().flatten() {
        fs::write(kept.path(), "damaged").unwrap();
    }
    from("prover", start());

    let read_only: &str = "/proc/edgeprove-keys";
    from("prover", TestServer::start(|s| s.keys = read_only.into()));
}

#[test]
fn health_and_probes_tell_what_there_is() {
    let server = TestServer::start(|s| s.flags.push("--ephemeral-jobs".to_owned()));
    server.post(&samples::range().witness).proof_of(samples::range());
    for path in ["/api/health", "/health"] {
        let health = server.get(path).json();
        assert_eq!(health["status"], "ok");
        assert_eq!(health["problems"], serde_json::json!([]));
        assert_eq!(health["bb"]["available"], true);
        assert_eq!(health["bb_version"], health["bb"]["version"]);
        assert_eq!(health["crs"]["points"], places::crs_points());
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
        let path = path.replace("{code}", "not_found");
        let method = endpoint["method"].as_str().unwrap().parse().unwrap();
        let answer = server.ask(method, &path).send();
        let expected = match path.as_str() {
            "/v1/audit" => Some(ProblemType::NotAllowed),
            path if path.contains("{id}") => Some(ProblemType::JobNotFound),
            "/v1/proofs" if endpoint["method"] == "POST" => Some(ProblemType::WitnessEmpty),
            path if path.starts_with("/api/prove") => Some(ProblemType::WitnessEmpty),
            _ => None,
        };
        match expected {
            Some(kind) => drop(answer.refused(kind)),
            None => assert_eq!(answer.status, 200, "{path}"),
        }
    }
}

#[test]
fn every_problem_type_is_explained_where_its_document_points_to() {
    let server = TestServer::plain();
    for kind in crate::support::ProblemType::ALL {
        let told = server.get(&kind.type_uri()).json();
        assert_eq!(told["code"], kind.code());
        assert_eq!(told["status"], kind.status());
        assert_eq!(told["retryable"], kind.retryable());
    }
    server.get("/problems/none").refused(crate::support::ProblemType::NotFound);
}

#[test]
fn a_worn_prover_is_replaced_and_nobody_notices() {
    let server = TestServer::start(|s| s.flag("--recycle-proofs", &1));
    let range: &Sample = samples::range();
    for _ in 0..4 {
        server.post(&range.witness).proof_of(range);
    }
    assert!(server.health().prover.restarts >= 3, "{:?}", server.health().prover);
    server.assert_well();
}
