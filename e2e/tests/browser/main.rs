//! Pages of other origins in a real Chromium, which proves where they may and is refused where they may not.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and says so"
)]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_e2e::{Edge, chromium::Page};
use edgeprove_protocol::Target;
use edgeprove_testkit::{TestServer, bb, samples};
use serde_json::{Value, json};

/// Asks for a proof as a page does, with a header that makes the browser ask for leave first.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>prove</title><script type="module">
const given = await (await fetch("/given")).json();
const bytes = Uint8Array.from(atob(given.witness), (character) => character.charCodeAt(0));
let outcome;
try {
  const answer = await fetch(given.edge + "/api/prove", {
    method: "POST",
    headers: { "content-type": "application/gzip", "x-api-key": given.key, accept: "application/json" },
    body: bytes,
  });
  outcome = {
    status: answer.status,
    body: await answer.json(),
    request_id: answer.headers.get("x-request-id"),
    public_inputs: answer.headers.get("x-public-inputs"),
    timing: answer.headers.get("server-timing"),
  };
} catch (error) {
  outcome = { error: String(error) };
}
await fetch("/outcome", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(outcome) });
</script>"#;

#[test]
#[ignore = "needs Chromium: cargo xtask test --heavy"]
fn a_page_proves_where_its_origin_is_allowed_and_is_refused_where_not() {
    // The digest of the key, as `printf %s KEY | sha256sum` prints it.
    const KEYS: &str = "page:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
    const KEY: &str = "key";
    let server = TestServer::plain();
    let range = samples::range();

    let page = Page::serve(PAGE);
    let (allowed, other) = (page.origin("127.0.0.1"), page.origin("localhost"));
    let edge = Edge::start(|e| {
        e.upstream(server.address()).var("ALLOWED_ORIGINS", &allowed).var("API_KEYS", KEYS);
    });
    let url = format!("http://{}", edge.address());
    page.give(json!({ "edge": url, "key": KEY, "witness": STANDARD.encode(&range.witness) }));

    let outcome = page.outcome(&allowed);
    assert_eq!(outcome["status"], 200, "{outcome}");
    let proof = STANDARD.decode(outcome["body"]["proof"].as_str().unwrap()).unwrap();
    let public_inputs = range.public_inputs.as_flattened();
    assert!(bb::verifies(&range.circuit, Target::NoirRecursive, &proof, public_inputs));
    // The page may read what it needs to ask for help, to verify and to measure.
    assert_eq!(outcome["request_id"], outcome["body"]["request_id"]);
    for name in ["public_inputs", "timing"] {
        assert!(outcome[name].is_string(), "the page cannot read {name}: {outcome}");
    }

    let outcome = page.outcome(&other);
    assert!(outcome["error"].is_string() && outcome["status"] == Value::Null, "{outcome}");
    assert_eq!(server.health().prover.proofs, 1, "a page that may not call was served");
    edge.logged("code", "origin_not_allowed");
}
