//! Receipts through the edge: the keys and the receipts of the server reach the caller as they are.

use edgeprove_e2e::Edge;
use edgeprove_protocol::{JobDocument, headers};
use edgeprove_receipts::{PublicKeys, verify};
use edgeprove_testkit::{TestServer, client::Request, eventually, samples, sealed::service};
use http::Method;

use crate::headers::key;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_receipt_can_be_verified_behind_the_edge() {
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
        s.environment.push(("EDGEPROVE_RECEIPT_SECRET".to_owned(), "5a".repeat(32)));
        s.flags.push("--ephemeral-jobs".to_owned());
    });
    let edge = Edge::start(|e| {
        e.upstream(server.address())
            .var("EDGE_SECRET", SECRET)
            .var("API_KEYS", &key("alice", "k1"))
            .var("ALLOWED_ORIGINS", "https://app.example");
    });
    let to = edge.address();
    let document = service(to, Some("k1"));
    assert!(document.receipts.lasting, "{document:?}");
    let keys = PublicKeys::from_json(&serde_json::to_vec(&document).unwrap()).unwrap();
    let range = samples::range_check();
    let prove = || Request::prove(to, "/api/prove", &range.witness).header("x-api-key", "k1");

    let bytes = prove().header("origin", "https://app.example").send();
    bytes.assert_proof_of(range);
    let stated = verify(bytes.header(headers::RECEIPT), &keys).unwrap();
    assert_eq!(stated.proof_hash, bytes.header(headers::PROOF_HASH));
    assert_eq!(stated.request_id, bytes.header(headers::REQUEST_ID));
    // A page may read it.
    let exposed = bytes.header("access-control-expose-headers").to_ascii_lowercase();
    assert!(exposed.split(',').any(|name| name.trim() == headers::RECEIPT), "{exposed}");

    let submitted = prove().header("prefer", "respond-async").send();
    let job: JobDocument = serde_json::from_slice(&submitted.body).unwrap();
    let done = eventually("the job has finished", || {
        let read = Request::new(to, Method::GET, &job.links.this).header("x-api-key", "k1").send();
        let job: JobDocument = serde_json::from_slice(&read.body).unwrap();
        job.status.is_finished().then_some(job)
    });
    assert!(verify(done.receipt.as_deref().unwrap(), &keys).unwrap().verified);
    edge.finish();
}
