//! Several containers.

use std::{collections::BTreeMap, thread};

use edgeprove_e2e::{Edge, docker};
use edgeprove_protocol::ProblemType;
use edgeprove_testkit::{eventually, wait::try_eventually};
use serde_json::Value;

use crate::sample;

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_second_container_starts_under_load_only() {
    let edge = Edge::start(|e| {
        e.var("MAX_INSTANCES", "2");
    });
    let request = || edge.prove_request("/api/prove", &sample().witness).send();
    for _ in 0..3 {
        request().assert_proof_of(&sample());
    }
    assert_eq!(edge.containers().len(), 1, "one request at a time needs one container");

    let rounds = || {
        for _ in 0..4 {
            let responses = thread::scope(|scope| {
                let asking: Vec<_> = (0..16).map(|_| scope.spawn(request)).collect();
                asking.into_iter().map(|asking| asking.join().unwrap()).collect::<Vec<_>>()
            });
            for response in responses {
                response.assert_proof_of(&sample());
            }
        }
    };
    rounds();
    eventually("a second container starts", || (edge.containers().len() == 2).then_some(()));
    eventually("the second container is ready", || {
        let health = edge.get("/edge/health").json();
        (health["containers"][1]["state"] == "ready").then_some(())
    });
    rounds();
    // A server logs a request shortly after its response.
    let proofs = try_eventually("every proof is logged", || {
        let count = |container: String| {
            let log = docker::logs(&container);
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let proved = lines.filter(|line| line["route"] == "/api/prove" && line["status"] == 200);
            (container, proved.count())
        };
        let proofs: BTreeMap<_, _> = edge.containers().into_iter().map(count).collect();
        let total: usize = proofs.values().sum();
        if total == 3 + 2 * 4 * 16 { Ok(proofs) } else { Err(format!("{proofs:?}")) }
    });
    eprintln!("proofs by container: {:?}", proofs.values().collect::<Vec<_>>());
    assert!(proofs.values().all(|proved| *proved > 8), "{proofs:?}");

    // A job id names its container, and there is no container 7.
    edge.get("/v1/proofs/c7-0").assert_refused(ProblemType::JobNotFound);
}
