//! `GET /v1/stats`, `GET /v1/estimate`, the `RateLimit` headers, and traces in the log.

use edgeprove_protocol::{
    CircuitId, ProblemType, headers,
    statistics::{CostEstimate, ProofStats, Stats},
};
use http::Method;
use sha2::{Digest as _, Sha256};

use crate::support::{TestServer, eventually, samples};

#[track_caller]
fn stats(server: &TestServer) -> Stats {
    let response = server.get("/v1/stats");
    assert_eq!((response.status.as_u16(), response.header("cache-control")), (200, "no-store"));
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {response:?}"))
}

#[track_caller]
fn estimate(server: &TestServer, query: &str) -> CostEstimate {
    let response = server.get(&format!("/v1/estimate{query}"));
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {response:?}"))
}

fn counts(stats: &ProofStats) -> [u64; 4] {
    [stats.success, stats.caller_error, stats.server_error, stats.abandoned]
}

#[test]
fn stats_count_proofs_by_circuit_and_priority() {
    let server = TestServer::start(|s| s.flag("--anonymous-role", "operator"));
    let empty = stats(&server);
    assert_eq!((counts(&empty.proofs), empty.proofs.success_rate), ([0; 4], None));
    assert_eq!((empty.window_s, empty.circuits.len(), empty.priorities.len()), (3600, 0, 4));

    let witness = &samples::range_check().witness;
    server.prove(witness).assert_proof_of(samples::range_check());
    let urgent = server.prove_request(witness).header(headers::PRIORITY, "CRITICAL").send();
    urgent.assert_proof_of(samples::range_check());
    server.prove(&samples::unsatisfied()).assert_refused(ProblemType::WitnessUnsatisfied);

    let now = eventually("all three have ended", || {
        Some(stats(&server)).filter(|stats| counts(&stats.proofs).iter().sum::<u64>() == 3)
    });
    assert_eq!(counts(&now.proofs), [2, 1, 0, 0]);
    assert_eq!(now.proofs.success_rate, Some(1.0), "a caller's fault does not count");
    assert_eq!(now.circuits.keys().map(CircuitId::as_str).collect::<Vec<_>>(), ["range_check"]);
    assert_eq!(now.circuits.values().next(), Some(&now.proofs));
    assert_eq!(counts(&now.priorities["CRITICAL"]), [1, 0, 0, 0]);
    assert_eq!(counts(&now.priorities["NORMAL"]), [1, 1, 0, 0]);
    assert_eq!(counts(&now.priorities["LOW"]), [0; 4]);
    let took = now.proofs.duration_ms.expect("there are durations");
    assert!(took.p50 > 0.1 && took.p50 <= took.p95 && took.p95 <= took.p99, "{took:?}");
    assert!(took.p99 < 600_000.0, "{took:?}");
}

#[test]
fn stats_show_what_runs_and_what_was_abandoned() {
    let server = TestServer::start_default();
    let (client, bb) = server.suspend_mid_proof();
    let proved = stats(&server);
    assert_eq!((proved.proofs.active, proved.proofs.waiting), (1, 0));
    let running = estimate(&server, "");
    drop(client);
    bb.resume();
    eventually("it ended", || {
        let now = stats(&server);
        (now.proofs.active == 0 && now.proofs.abandoned == 1).then_some(())
    });
    // While a proof with all cores runs, the next one waits for it, where anything is known of such proofs.
    assert!(running.samples == 0 || running.wait_ms.is_some_and(|wait| wait.expected > 0.0), "{running:?}");
    server.assert_healthy();
}

#[test]
fn a_callers_time_limit_is_no_failure_of_the_server() {
    let server = TestServer::start_default();
    let witness = &samples::range_check().witness;
    let limited = || server.prove_request(witness).header(headers::TIMEOUT, "0.001").send();
    limited().assert_refused(ProblemType::ProofTimeout);
    let counted = stats(&server).proofs;
    assert_eq!((counted.caller_error, counted.server_error), (1, 0));
    // Once the prediction is reliable, no prover is stopped for such a limit.
    eventually("the limit is refused", || {
        server.prove_request(witness).send().assert_proof_of(samples::range_check());
        let before = server.health().prover.restarts;
        let refused = limited();
        let is_predicted = refused.status == 503;
        if is_predicted {
            refused.assert_refused_for_now(ProblemType::DeadlineCannotBeMet);
            assert_eq!(server.health().prover.restarts, before);
        }
        is_predicted.then_some(())
    });
    assert_eq!(stats(&server).proofs.server_error, 0);
    server
        .prove_request(witness)
        .header(headers::TIMEOUT, "60")
        .send()
        .assert_proof_of(samples::range_check());
}

#[test]
fn an_estimate_gets_surer_with_each_proof() {
    let server = TestServer::start_default();
    let unknown = estimate(&server, "?circuit=range_check");
    assert_eq!((unknown.samples, unknown.proving_ms), (0, None));
    assert!(unknown.confidence < f64::EPSILON && unknown.memory_bytes > 1 << 20);
    let mut confidence = 0.0;
    for samples in 1..=3 {
        server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());
        let known = estimate(&server, "");
        assert_eq!((known.circuit.as_str(), known.samples), ("range_check", samples));
        assert!(known.confidence > confidence && known.confidence < 1.0, "{known:?}");
        confidence = known.confidence;
        let proving = known.proving_ms.expect("a proof was made");
        assert!(
            proving.low <= proving.expected && proving.expected <= proving.high && proving.expected > 0.0
        );
    }
    let idle = eventually("nothing waits", || {
        estimate(&server, "").wait_ms.filter(|wait| wait.expected < f64::EPSILON)
    });
    assert!(idle.high < f64::EPSILON);
    server.get("/v1/estimate?circuit=nothing").assert_refused(ProblemType::CircuitNotFound);
    server.get("/v1/estimate?circuit=no%20name").assert_refused(ProblemType::InvalidRequest);
}

fn keyed(limits: &str) -> (TestServer, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    let digest = hex::encode(Sha256::digest("alice's"));
    std::fs::write(&file, format!("[keys.alice]\nsha256 = ['{digest}']\n{limits}")).unwrap();
    (TestServer::start(|s| s.flag("--keys-file", &file.display())), dir)
}

#[test]
fn stats_and_estimates_need_a_key_where_keys_are_set() {
    let (server, _dir) = keyed("");
    for path in ["/v1/stats", "/v1/estimate"] {
        server.get(path).assert_refused(ProblemType::ApiKeyRequired);
        let allowed = server.request(Method::GET, path).header(headers::API_KEY, "alice's").send();
        assert_eq!(allowed.status, 200);
        assert_eq!(
            (allowed.header("ratelimit"), allowed.header("ratelimit-policy")),
            ("", ""),
            "no limit is set"
        );
    }
}

#[test]
fn answers_show_what_is_left_of_a_callers_limits() {
    let (server, _dir) = keyed("per_minute = 60\nburst = 5\nproofs_per_day = 2\nunfinished_max = 3\n");
    let by_alice =
        |method: Method, path: &str| server.request(method, path).header(headers::API_KEY, "alice's");
    let first = by_alice(Method::GET, "/v1/stats").send();
    let policy =
        r#""requests";q=5;w=5, "proofs-per-day";q=2;w=86400, "unfinished";q=3;qu="concurrent-requests""#;
    assert_eq!(first.header("ratelimit-policy"), policy);
    let left = |response: &crate::support::Response, limit: &str| -> u32 {
        let value = response.header("ratelimit");
        let item = value
            .split(", ")
            .find(|item| item.starts_with(&format!("\"{limit}\";r=")))
            .unwrap_or_else(|| panic!("{limit} is not in {value}"));
        item.split(';').nth(1).unwrap()[2..].parse().unwrap()
    };
    assert!((3..=4).contains(&left(&first, "requests")), "{first:?}");
    assert_eq!((left(&first, "proofs-per-day"), left(&first, "unfinished")), (2, 3));
    let prove = || {
        let witness = &samples::range_check().witness;
        server.prove_request(witness).header(headers::API_KEY, "alice's").send()
    };
    assert_eq!(left(&prove(), "proofs-per-day"), 1);
    assert_eq!(left(&prove(), "proofs-per-day"), 0);
    let refused = prove();
    refused.assert_refused(ProblemType::QuotaExceeded);
    assert_eq!(left(&refused, "proofs-per-day"), 0, "refusals show it too");
    assert_eq!(
        server.get("/v1/stats").header("ratelimit"),
        "",
        "a caller without a key has no limits of its own"
    );
}

#[test]
fn a_trace_joins_the_lines_of_request_and_job() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| s.flag("--data", &data.path().join("data").display()));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let submit = |traceparent: &str| {
        let request = server.prove_request_at("/v1/proofs", &samples::range_check().witness);
        request.header("traceparent", traceparent).send()
    };
    let accepted = submit(&format!("00-{trace}-00f067aa0ba902b7-01"));
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let line = server.wait_for_request_line(&accepted);
    assert_eq!(
        (&line["span"]["trace_id"], &line["span"]["span_id"]),
        (&trace.into(), &"00f067aa0ba902b7".into())
    );
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    let ended = server.wait_for_log_line("the job ended", |line| {
        line["job"] == id.as_str() && line["status"] == "completed"
    });
    assert_eq!(ended["span"]["trace_id"], trace);
    assert_eq!(ended["span"]["request_id"], accepted.header(headers::REQUEST_ID));

    let invalid = submit("00-00000000000000000000000000000000-00f067aa0ba902b7-01");
    assert_eq!(invalid.status, 202);
    assert!(server.wait_for_request_line(&invalid)["span"]["trace_id"].is_null());
}
