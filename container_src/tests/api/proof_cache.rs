//! Proofs that are asked for again: by whom, and when they are made anew.

use edgeprove_protocol::{Target::NoirRecursive, headers};
use sha2::{Digest as _, Sha256};

use crate::support::{Answer, TestServer, client::Ask, samples, settings::Settings};

fn caching(settings: &mut Settings) {
    settings.flag("--proof-cache", "2");
}

fn is_hit(answer: &Answer) -> bool {
    answer.proves(samples::range(), NoirRecursive);
    answer.header(headers::PROOF_CACHE) == "hit"
}

#[test]
fn the_same_witness_is_proved_once() {
    let server = TestServer::start(caching);
    let asking = || server.posting(&samples::range().witness);
    let first = asking().send();
    assert!(!is_hit(&first));
    let second = asking().send();
    assert!(is_hit(&second));
    assert_eq!(first.body, second.body);
    assert_eq!(server.health().prover.proofs, 1);
    let json = asking().header("accept", "application/json").send().json();
    assert_eq!((&json["cached"], &json["timings"]["prove_ms"]), (&true.into(), &0.0.into()));
    // The same under another verifier's key is another proof.
    assert_eq!(
        server
            .posting_to("/api/prove?target=evm", &samples::range().witness)
            .send()
            .header(headers::PROOF_CACHE),
        ""
    );
    assert_eq!(server.health().prover.proofs, 2);
}

#[test]
fn who_does_not_want_it_gets_a_new_one() {
    let server = TestServer::start(caching);
    let asking =
        |control: &str| -> Ask { server.posting(&samples::range().witness).header("cache-control", control) };
    assert!(!is_hit(&asking("no-store").send()), "and it is not kept");
    assert!(!is_hit(&asking("max-age=60").send()));
    assert!(!is_hit(&asking("no-cache").send()));
    assert!(is_hit(&asking("max-age=60").send()));
}

#[test]
fn nobody_learns_from_a_hit_what_another_proved() {
    let server = TestServer::start(|s| {
        caching(s);
        let digest = |key: &str| hex::encode(Sha256::digest(key));
        let keys = format!("alice:{},bob:{}", digest("alice's"), digest("bob's"));
        s.environment.push(("EDGEPROVE_API_KEYS".to_owned(), keys));
        s.flags.push("--ephemeral-jobs".to_owned());
    });
    let by = |key: &str| server.posting(&samples::range().witness).header("x-api-key", key);
    assert!(!is_hit(&by("alice's").send()));
    assert!(!is_hit(&by("bob's").send()));
    assert!(is_hit(&by("alice's").send()));
    // A job of the same caller finds it as well.
    assert!(is_hit(&by("alice's").header("prefer", "wait=30").send()));
}

#[test]
fn the_one_that_was_asked_for_least_lately_goes() {
    let server = TestServer::start(|s| s.flag("--proof-cache", "1"));
    let range = &samples::range().witness;
    assert!(!is_hit(&server.post(range)));
    let evm =
        || server.posting_to("/api/prove?target=evm", range).send().header(headers::PROOF_CACHE).to_owned();
    assert_eq!(evm(), "");
    assert_eq!(evm(), "hit");
    assert!(!is_hit(&server.post(range)));
}
