//! The cache of proofs: which repeated requests it answers, and which are proved again.

use edgeprove_protocol::{Target::NoirRecursive, headers};
use sha2::{Digest as _, Sha256};

use crate::support::{Response, TestServer, client::Request, samples, settings::Settings};

fn caching(settings: &mut Settings) {
    settings.flag("--proof-cache", "2");
}

fn is_hit(response: &Response) -> bool {
    response.assert_proves(samples::range_check(), NoirRecursive);
    response.header(headers::PROOF_CACHE) == "hit"
}

#[test]
fn the_same_witness_is_proved_once() {
    let server = TestServer::start(caching);
    let request = || server.prove_request(&samples::range_check().witness);
    let first = request().send();
    assert!(!is_hit(&first));
    let second = request().send();
    assert!(is_hit(&second));
    assert_eq!(first.body, second.body);
    assert_eq!(server.health().prover.proofs, 1);
    let json = request().header("accept", "application/json").send().json();
    assert_eq!((&json["cached"], &json["timings"]["prove_ms"]), (&true.into(), &0.0.into()));
    // The same witness for another target needs another proof.
    assert_eq!(
        server
            .prove_request_at("/api/prove?target=evm", &samples::range_check().witness)
            .send()
            .header(headers::PROOF_CACHE),
        ""
    );
    assert_eq!(server.health().prover.proofs, 2);
}

#[test]
fn cache_control_bypasses_the_cache() {
    let server = TestServer::start(caching);
    let request = |control: &str| -> Request {
        server.prove_request(&samples::range_check().witness).header("cache-control", control)
    };
    assert!(!is_hit(&request("no-store").send()), "the proof is not stored either");
    assert!(!is_hit(&request("max-age=60").send()));
    assert!(!is_hit(&request("no-cache").send()));
    assert!(is_hit(&request("max-age=60").send()));
}

#[test]
fn a_caller_gets_no_hits_from_other_callers() {
    let server = TestServer::start(|s| {
        caching(s);
        let digest = |key: &str| hex::encode(Sha256::digest(key));
        let keys = format!("alice:{},bob:{}", digest("alice's"), digest("bob's"));
        s.environment.push(("EDGEPROVE_API_KEYS".to_owned(), keys));
        s.flags.push("--ephemeral-jobs".to_owned());
    });
    let by = |key: &str| server.prove_request(&samples::range_check().witness).header("x-api-key", key);
    assert!(!is_hit(&by("alice's").send()));
    assert!(!is_hit(&by("bob's").send()));
    assert!(is_hit(&by("alice's").send()));
    // A job of the same caller also uses the cache.
    assert!(is_hit(&by("alice's").header("prefer", "wait=30").send()));
}

#[test]
fn the_least_recently_used_proof_is_evicted() {
    let server = TestServer::start(|s| s.flag("--proof-cache", "1"));
    let range = &samples::range_check().witness;
    assert!(!is_hit(&server.prove(range)));
    let evm = || {
        server.prove_request_at("/api/prove?target=evm", range).send().header(headers::PROOF_CACHE).to_owned()
    };
    assert_eq!(evm(), "");
    assert_eq!(evm(), "hit");
    assert!(!is_hit(&server.prove(range)));
}
