//! Several containers.

use std::{collections::BTreeMap, thread};

use edgeprove_e2e::{Edge, docker};
use edgeprove_protocol::ProblemType;
use edgeprove_testkit::eventually;

use crate::sample;

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn two_share_the_load_and_one_alone_serves_a_calm() {
    let edge = Edge::start(|e| {
        e.var("MAX_INSTANCES", "2");
    });
    let ask = || edge.posting("/api/prove", &sample().witness).send();
    for _ in 0..3 {
        ask().proof_of(&sample());
    }
    assert_eq!(edge.containers().len(), 1, "a calm needs one container");

    let rounds = || {
        for _ in 0..4 {
            let answers = thread::scope(|scope| {
                let asking: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
                asking.into_iter().map(|asking| asking.join().unwrap()).collect::<Vec<_>>()
            });
            for answer in answers {
                answer.proof_of(&sample());
            }
        }
    };
    rounds();
    eventually("a second container is woken", || (edge.containers().len() == 2).then_some(()));
    eventually("the second container is ready", || {
        let health = edge.get("/edge/health").json();
        (health["containers"][1]["state"] == "ready").then_some(())
    });
    rounds();
    let mut proofs = BTreeMap::new();
    for container in edge.containers() {
        let log = docker::logs(&container);
        let proved = log
            .lines()
            .filter(|line| line.contains("\"route\":\"/api/prove\"") && line.contains("\"status\":200"));
        proofs.insert(container, proved.count());
    }
    eprintln!("proofs by container: {:?}", proofs.values().collect::<Vec<_>>());
    let total: usize = proofs.values().sum();
    assert_eq!(total, 3 + 2 * 4 * 16);
    assert!(proofs.values().all(|proved| *proved > 8), "{proofs:?}");

    // An id names its container, and there is none of number 7.
    edge.get("/v1/proofs/c7-0").refused(ProblemType::JobNotFound);
}
