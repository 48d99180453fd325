//! Pages of other origins in a real Chromium, which prove if their origin is allowed and are refused otherwise.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and a panic reports it"
)]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_e2e::{Edge, chromium::Page};
use edgeprove_protocol::Target;
use edgeprove_testkit::{TestServer, bb, samples};
use serde_json::{Value, json};

/// Requests a proof as a page does. The header with the key makes the browser send a preflight request first.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>prove</title><script type="module">
const input = await (await fetch("/input")).json();
const bytes = Uint8Array.from(atob(input.witness), (character) => character.charCodeAt(0));
let outcome;
try {
  const response = await fetch(input.edge + "/api/prove", {
    method: "POST",
    headers: { "content-type": "application/gzip", "x-api-key": input.key, accept: "application/json" },
    body: bytes,
  });
  outcome = {
    status: response.status,
    body: await response.json(),
    request_id: response.headers.get("x-request-id"),
    public_inputs: response.headers.get("x-public-inputs"),
    timing: response.headers.get("server-timing"),
  };
} catch (error) {
  outcome = { error: String(error) };
}
await fetch("/outcome", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(outcome) });
</script>"#;

#[test]
#[ignore = "needs Chromium: cargo xtask test --heavy"]
fn a_page_proves_from_an_allowed_origin_only() {
    // The SHA-256 of the key, as `printf %s KEY | sha256sum` prints it.
    const KEYS: &str = "page:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
    const KEY: &str = "key";
    let server = TestServer::start_default();
    let range = samples::range_check();

    let page = Page::serve(PAGE);
    let (allowed, other) = (page.origin("127.0.0.1"), page.origin("localhost"));
    let edge = Edge::start(|e| {
        e.upstream(server.address()).var("ALLOWED_ORIGINS", &allowed).var("API_KEYS", KEYS);
    });
    let url = format!("http://{}", edge.address());
    page.set_input(json!({ "edge": url, "key": KEY, "witness": STANDARD.encode(&range.witness) }));

    let outcome = page.outcome(&allowed);
    assert_eq!(outcome["status"], 200, "{outcome}");
    let proof = STANDARD.decode(outcome["body"]["proof"].as_str().unwrap()).unwrap();
    let public_inputs = range.public_inputs.as_flattened();
    assert!(bb::verifies(&range.circuit, Target::NoirRecursive, &proof, public_inputs));
    // The page may read the headers that it needs to report errors, to verify and to measure.
    assert_eq!(outcome["request_id"], outcome["body"]["request_id"]);
    for name in ["public_inputs", "timing"] {
        assert!(outcome[name].is_string(), "the page cannot read {name}: {outcome}");
    }

    let outcome = page.outcome(&other);
    assert!(outcome["error"].is_string() && outcome["status"] == Value::Null, "{outcome}");
    assert_eq!(server.health().prover.proofs, 1, "a page of another origin was served");
    edge.logged("code", "origin_not_allowed");
}
