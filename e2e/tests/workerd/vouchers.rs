//! Vouchers through the edge: minted by a back end, and used by pages.

use edgeprove_e2e::Edge;
use edgeprove_protocol::{JobDocument, ProblemType, Target, answer::NewVoucher, headers};
use edgeprove_testkit::{Response, TestServer, client::Request, samples};
use serde_json::json;

use crate::headers::key;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const VOUCHERS: &str = "the-secret-of-edge-and-server-for-vouchers";
const APP: &str = "https://app.example";

fn start_server(data: &std::path::Path) -> TestServer {
    TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
        s.environment.push(("EDGEPROVE_VOUCHER_SECRET".to_owned(), VOUCHERS.to_owned()));
        s.flag("--data", &data.display());
    })
}

fn mint(edge: &Edge, body: &serde_json::Value) -> Response {
    let request = edge.request("POST", "/v1/vouchers").header("content-type", "application/json");
    Request { body: body.to_string().into_bytes(), ..request.header("x-api-key", "k1") }.send()
}

#[track_caller]
fn minted(response: &Response) -> NewVoucher {
    assert_eq!(response.status, 201, "{}", String::from_utf8_lossy(&response.body));
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn a_page_proves_through_the_edge_with_a_voucher() {
    let data = tempfile::tempdir().unwrap();
    let server = start_server(data.path());
    let edge = Edge::start(|e| {
        e.upstream(server.address())
            .var("EDGE_SECRET", SECRET)
            .var("EDGEPROVE_VOUCHER_SECRET", VOUCHERS)
            .var("ALLOWED_ORIGINS", &format!("{APP},https://other.example"))
            .var("API_KEYS", &format!("{},{}", key("alice", "k1"), key("bob", "k2")));
    });
    let range = samples::range_check();
    let body = json!({"circuit": "range_check", "uses": 2, "expires": 600, "origin": APP});
    let voucher = minted(&mint(&edge, &body));
    let from_app = |request: Request| {
        request.header("authorization", &format!("Bearer {}", voucher.voucher)).header("origin", APP)
    };

    let proof = from_app(edge.prove_request("/api/prove", &range.witness)).send();
    proof.assert_proves(range, Target::NoirRecursive);
    assert_eq!(proof.header("access-control-allow-origin"), APP);
    let submitted = from_app(edge.prove_request("/v1/proofs?circuit=range_check", &range.witness)).send();
    let job: JobDocument = serde_json::from_slice(&submitted.body).unwrap();
    let events = from_app(edge.request("GET", &format!("/v1/proofs/{}/events", job.id))).send();
    assert!(String::from_utf8_lossy(&events.body).contains("event: done"), "{events:?}");
    // An EventSource has no headers: the link has a token.
    let linked = edge.request("GET", &job.links.events).header("origin", APP).send();
    assert!(String::from_utf8_lossy(&linked.body).contains("event: done"), "{linked:?}");
    from_app(edge.request("GET", &job.links.proof)).send().assert_proves(range, Target::NoirRecursive);
    for open in ["/v1/circuits/range_check", "/v1/circuits/range_check/vk"] {
        assert_eq!(from_app(edge.request("GET", open)).send().status, 200, "{open}");
    }
    let used_up = from_app(edge.prove_request("/api/prove", &range.witness)).send();
    used_up.assert_refused(ProblemType::VoucherUsedUp);

    // The job is its key's, and not that of another voucher.
    let by = |key: &str, path: &str| edge.request("GET", path).header("x-api-key", key).send();
    assert_eq!(by("k1", &job.links.this).status, 200);
    by("k2", &job.links.this).assert_refused(ProblemType::JobNotFound);
    let other = minted(&mint(&edge, &json!({"circuit": "range_check"})));
    by(&other.voucher, &job.links.this).assert_refused(ProblemType::JobNotFound);

    // What a voucher does not allow is refused by the edge.
    for (method, path) in
        [("GET", "/v1/proofs"), ("GET", "/v1/queue"), ("GET", "/metrics"), ("POST", "/v1/vouchers")]
    {
        from_app(edge.request(method, path)).send().assert_refused(ProblemType::VoucherNotAllowed);
    }
    let unknown = from_app(edge.prove_request("/api/prove/other", &range.witness)).send();
    unknown.assert_refused(ProblemType::VoucherNotAllowed);
    let without_origin = edge.request("GET", &job.links.this).header("x-api-key", &voucher.voucher);
    without_origin.send().assert_refused(ProblemType::VoucherNotAllowed);
    let elsewhere =
        edge.prove_request("/api/prove", &range.witness).header("origin", "https://other.example");
    let elsewhere = elsewhere.header("x-api-key", &voucher.voucher).send();
    elsewhere.assert_refused(ProblemType::VoucherNotAllowed);
    let changed = format!("{}x", voucher.voucher);
    by(&changed, &job.links.this).assert_refused(ProblemType::VoucherInvalid);

    // Nobody can state what the edge has checked.
    let forged = edge
        .prove_request("/api/prove", &range.witness)
        .header(headers::VOUCHER, &other.voucher)
        .header(headers::AUTHENTICATED_USER, "alice");
    forged.send().assert_refused(ProblemType::ApiKeyRequired);
    assert!(!edge.log().contains(&voucher.voucher) && !server.log().contains(&voucher.voucher));
    edge.finish();
    server.finish();
}

#[test]
fn an_edge_without_the_secret_has_no_vouchers() {
    let data = tempfile::tempdir().unwrap();
    let server = start_server(data.path());
    let edge = Edge::start(|e| {
        e.upstream(server.address()).var("EDGE_SECRET", SECRET).var("API_KEYS", &key("alice", "k1"));
    });
    let body = json!({"circuit": "range_check"});
    mint(&edge, &body).assert_refused(ProblemType::VouchersDisabled);
    let sent = edge.prove_request("/api/prove", &samples::range_check().witness);
    let refused = sent.header("x-api-key", "epv1.a.b").send().assert_refused(ProblemType::VoucherInvalid);
    assert!(refused.detail.contains("EDGEPROVE_VOUCHER_SECRET"), "{}", refused.detail);
    edge.finish();
    server.finish();
}
