//! Proofs through the edge.

use edgeprove_e2e::Edge;
use edgeprove_protocol::{ProblemType, Target, headers};
use edgeprove_testkit::{TestServer, inputs, samples};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_proof_passes_unchanged_and_both_sides_log_its_request() {
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
        s.flag("--prover-queue-max", "1");
    });
    let edge = Edge::start(|e| {
        e.upstream(server.address()).var("EDGE_SECRET", SECRET);
    });
    let range = samples::range_check();

    for (accept, target) in [
        ("application/octet-stream", Target::NoirRecursive),
        ("application/json", Target::NoirRecursive),
        ("application/json", Target::Evm),
    ] {
        let path = format!("/api/prove/range_check?target={}", target.as_str());
        let response = edge
            .prove_request(&path, &range.witness)
            .header("accept", accept)
            .header("origin", "https://page.example")
            .send();
        response.assert_proves(range, target);
        for inner in [headers::PROVER_LOAD, headers::EDGE_SECRET, "x-edge-problem"] {
            assert_eq!(response.header(inner), "", "{inner} reaches the caller");
        }
        assert_eq!(response.header("access-control-allow-origin"), "*");

        let id = response.header(headers::REQUEST_ID);
        let line = &edge.logged("request_id", id)[0];
        assert_eq!(
            (&line["status"], &line["route"]),
            (&200.into(), &"/api/prove/{circuit}".into()),
            "{line}"
        );
        // The server logs the request under the same id.
        server.wait_for_request_line(&response);
    }

    // Inputs pass like a witness, and the inputs of a circuit are described.
    let mut request = edge.request("POST", "/api/prove").header("content-type", "application/json");
    request.body = inputs::range_check().to_string().into_bytes();
    request.send().assert_proves(range, Target::NoirRecursive);
    let circuit = edge.get("/v1/circuits/range_check").json();
    assert_eq!(circuit["inputs"][0]["name"], "value", "{circuit}");
    // The server refuses an invalid witness in the same way as without an edge.
    edge.prove_request("/api/prove", &samples::unsatisfied())
        .send()
        .assert_refused(ProblemType::WitnessUnsatisfied);
    edge.prove_request("/api/prove", b"no gzip").send().assert_refused(ProblemType::WitnessNotGzip);
    edge.prove_request("/api/prove/none", &range.witness).send().assert_refused(ProblemType::CircuitNotFound);
    // So does it describe the templates.
    assert_eq!(edge.get("/v1/templates/rangeCheck").json()["name"], "rangeCheck");
    edge.get("/v1/templates/none").assert_refused(ProblemType::TemplateNotFound);
    // The server refuses requests that do not come from its edge.
    server.prove(&range.witness).assert_refused(ProblemType::NotFromTheEdge);

    assert!(!edge.log().contains(SECRET), "the log contains the secret");
    edge.finish();
}

#[test]
fn health_and_the_list_of_endpoints_are_served() {
    let server = TestServer::start_default();
    let edge = Edge::before(&server);
    let health = edge.get("/api/health");
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (200, &"ok".into()));
    let own = edge.get("/edge/health");
    assert_eq!((own.status.as_u16(), &own.json()["status"]), (200, &"ok".into()));
    assert!(own.json()["warnings"].to_string().contains("API_KEYS"), "{own:?}");
    let service = edge.get("/.well-known/edgeprove").json();
    assert_eq!(service["versions"]["noir"], health.json()["noir_version"], "{service}");
    let index = edge.get("/");
    assert!(index.json()["endpoints"].to_string().contains("/api/prove"), "{index:?}");
    let head = edge.request("HEAD", "/edge/health").send();
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let meaning = edge.get("/problems/not_from_the_edge");
    assert_eq!(meaning.status, 200, "{meaning:?}");
    // When the server is gone, the edge still reports its own health.
    server.finish();
    edge.get("/api/health").assert_refused_for_now(ProblemType::ContainerUnavailable);
    assert_eq!(edge.get("/edge/health").status, 200);
}

#[test]
fn browsers_get_the_page_from_the_edge_itself() {
    let server = TestServer::start_default();
    let edge = Edge::before(&server);
    server.finish();
    let page = edge.request("GET", "/").header("accept", "text/html,*/*;q=0.8").send();
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"), "{page:?}");
    let document = String::from_utf8(page.body.clone()).unwrap();
    let names: Vec<&str> =
        document.split("\"assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(names.len() >= 3, "{document}");
    for name in names {
        let path = format!("/assets/{name}");
        let file = edge.get(&path);
        assert_eq!(file.status, 200, "{path}");
        assert!(file.header("cache-control").contains("immutable") && !file.body.is_empty(), "{path}");
        let tag = file.header("etag").to_owned();
        let known = edge.request("GET", &path).header("if-none-match", &tag).send();
        assert_eq!((known.status.as_u16(), known.body.len()), (304, 0), "{path}");
    }
    edge.get("/assets/other.js").assert_refused(ProblemType::NotFound);
}
