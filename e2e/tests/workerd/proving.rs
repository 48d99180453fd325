//! Proofs through the edge.

use edgeprove_e2e::Edge;
use edgeprove_protocol::{ProblemType, Target, headers};
use edgeprove_testkit::{TestServer, eventually, samples};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_proof_comes_through_whole_and_its_request_can_be_followed() {
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
        s.flag("--prover-queue-max", "1");
    });
    let edge = Edge::start(|e| {
        e.upstream(server.address()).var("EDGE_SECRET", SECRET);
    });
    let range = samples::range();

    for (accept, target) in [
        ("application/octet-stream", Target::NoirRecursive),
        ("application/json", Target::NoirRecursive),
        ("application/json", Target::Evm),
    ] {
        let path = format!("/api/prove/range_check?target={}", target.as_str());
        let answer = edge
            .posting(&path, &range.witness)
            .header("accept", accept)
            .header("origin", "https://page.example")
            .send();
        answer.proves(range, target);
        for inner in [headers::PROVER_LOAD, headers::EDGE_SECRET, "x-edge-problem"] {
            assert_eq!(answer.header(inner), "", "{inner} is told");
        }
        assert_eq!(answer.header("access-control-allow-origin"), "*");

        let id = answer.header(headers::REQUEST_ID);
        let line = &edge.logged("request_id", id)[0];
        assert_eq!(
            (&line["status"], &line["route"]),
            (&200.into(), &"/api/prove/{circuit}".into()),
            "{line}"
        );
        eventually("the server logs the same request", || {
            let log = server.log();
            log.lines()
                .any(|line| line.contains(id) && line.contains("\"message\":\"request\""))
                .then_some(())
        });
    }

    // A witness that cannot be proved is refused by the server, in the same words as without an edge.
    edge.posting("/api/prove", &samples::unsatisfied()).send().refused(ProblemType::WitnessUnsatisfied);
    edge.posting("/api/prove", b"no gzip").send().refused(ProblemType::WitnessNotGzip);
    edge.posting("/api/prove/none", &range.witness).send().refused(ProblemType::CircuitNotFound);
    // Nobody else reaches the server.
    server.post(&range.witness).refused(ProblemType::NotFromTheEdge);

    assert!(!edge.log().contains(SECRET), "the log shows the secret");
    edge.finish();
}

#[test]
fn health_and_the_list_of_endpoints_answer() {
    let server = TestServer::plain();
    let edge = Edge::before(&server);
    let health = edge.get("/api/health");
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (200, &"ok".into()));
    let own = edge.get("/edge/health");
    assert_eq!((own.status.as_u16(), &own.json()["status"]), (200, &"ok".into()));
    assert!(own.json()["warnings"].to_string().contains("API_KEYS"), "{own:?}");
    let index = edge.get("/");
    assert!(index.json()["endpoints"].to_string().contains("/api/prove"), "{index:?}");
    let head = edge.ask("HEAD", "/edge/health").send();
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let meaning = edge.get("/problems/not_from_the_edge");
    assert_eq!(meaning.status, 200, "{meaning:?}");
    // Only the edge's own health is told when the server is gone.
    server.finish();
    edge.get("/api/health").refused_for_now(ProblemType::ContainerUnavailable);
    assert_eq!(edge.get("/edge/health").status, 200);
}
