//! Who may call: keys, roles, rates, quotas, and keys that change while the server runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use edgeprove_protocol::{ProblemType, headers};
use http::Method;
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{Answer, TestServer, client::Ask, eventually, samples, server::FailedStart};

const ALICE: &str = "alice's key, which is long and random in earnest";
const BOB: &str = "bob's";
const CAROL: &str = "carol's";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn digest(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

/// A file of keys: what is given, and three holders of one role each.
fn keys(more: &str) -> String {
    let holder = |name: &str, role: &str, key: &str| {
        format!("[keys.{name}]\nrole = '{role}'\nsha256 = ['{}']\n", digest(key))
    };
    let holders =
        [holder("alice", "operator", ALICE), holder("bob", "user", BOB), holder("carol", "priority", CAROL)];
    format!("{more}\n{}", holders.concat())
}

/// A server with a file of keys, none of which its log shows in the end.
struct Locked {
    server: TestServer,
    dir: tempfile::TempDir,
}

impl Locked {
    #[track_caller]
    fn start(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.toml");
        fs::write(&file, text).unwrap();
        let server = TestServer::start(|s| s.flag("--keys-file", &file.display()));
        Self { server, dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("keys.toml")
    }

    /// A request for a proof by the holder of this key.
    fn prove_by(&self, key: &str) -> Ask {
        self.server.posting(&samples::range().witness).header("authorization", &format!("Bearer {key}"))
    }

    #[track_caller]
    fn finish(self) {
        let log = self.server.log();
        for key in [ALICE, BOB, CAROL] {
            assert!(!log.contains(key) && !log.contains(&digest(key)), "the log shows a key");
        }
        self.server.finish();
    }
}

/// The line that the log has of an answered request.
#[track_caller]
fn line_of(server: &TestServer, answer: &Answer) -> Value {
    let log = server.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let id = answer.header(headers::REQUEST_ID);
    let mut of = lines.filter(|line| line["span"]["request_id"] == id && line["message"] == "request");
    of.next().expect("the request is logged")
}

#[track_caller]
fn needs_a_key(answer: &Answer) {
    let problem = answer.refused(ProblemType::ApiKeyRequired);
    assert_eq!(answer.header("www-authenticate"), "Bearer", "{problem:?}");
}

#[test]
fn a_proof_needs_a_key_where_keys_are_set() {
    let locked = Locked::start(&keys(""));
    let (server, witness) = (&locked.server, &samples::range().witness);
    needs_a_key(&server.post(witness));
    needs_a_key(&locked.prove_by("bob").send());
    needs_a_key(&locked.prove_by(&digest(BOB)).send());
    needs_a_key(&server.posting_to("/api/prove/range_check", witness).send());
    needs_a_key(&server.get("/v1/audit"));
    // Nobody is believed who merely says who he is.
    let named = server.posting(witness).header(headers::AUTHENTICATED_USER, "bob");
    needs_a_key(&named.send());

    let answer = locked.prove_by(BOB).send();
    answer.proof_of(samples::range());
    assert_eq!(line_of(server, &answer)["user"], "bob");
    let other_way = server.posting(witness).header(headers::API_KEY, CAROL).send();
    other_way.proof_of(samples::range());
    assert_eq!(line_of(server, &other_way)["user"], "carol");

    for open in ["/", "/api/health", "/health", "/livez", "/readyz", "/problems/not_allowed"] {
        assert_eq!(server.get(open).status, 200, "{open}");
    }
    server.get("/nothing").refused(ProblemType::NotFound);
    locked.finish();
}

#[test]
fn keys_of_the_environment_are_the_edges() {
    let list = format!("alice:{},\n bob:{}", digest(ALICE), digest(BOB));
    let server = TestServer::start(|s| s.environment.push(("EDGEPROVE_API_KEYS".to_owned(), list)));
    let witness = &samples::range().witness;
    needs_a_key(&server.post(witness));
    server.posting(witness).header(headers::API_KEY, BOB).send().proof_of(samples::range());
    let refused = server.ask(Method::GET, "/v1/audit").header(headers::API_KEY, ALICE).send();
    refused.refused(ProblemType::NotAllowed);
}

#[test]
fn a_role_reaches_so_far_and_no_further() {
    let locked = Locked::start(&keys(""));
    let reach = [(BOB, 1), (CAROL, 2), (ALICE, 3)];
    for (key, most) in reach {
        for (level, priority) in ["LOW", "normal", "HIGH", "CRITICAL"].into_iter().enumerate() {
            let answer = locked.prove_by(key).header(headers::PRIORITY, priority).send();
            if level <= most {
                answer.proof_of(samples::range());
            } else {
                let problem = answer.refused(ProblemType::NotAllowed);
                assert!(problem.detail.contains(priority), "{}", problem.detail);
            }
        }
    }
    let odd = locked.prove_by(ALICE).header(headers::PRIORITY, "URGENT").send();
    assert!(odd.refused(ProblemType::InvalidRequest).detail.contains("LOW, NORMAL, HIGH, CRITICAL"));
    let twice = locked.prove_by(ALICE).header(headers::PRIORITY, "LOW").header(headers::PRIORITY, "HIGH");
    twice.send().refused(ProblemType::InvalidRequest);

    // There is no log, which only an operator is told.
    let audit = |key: &str| locked.server.ask(Method::GET, "/v1/audit").header(headers::API_KEY, key).send();
    audit(BOB).refused(ProblemType::NotAllowed);
    audit(CAROL).refused(ProblemType::NotAllowed);
    audit(ALICE).refused(ProblemType::NotFound);
    locked.finish();
}

#[test]
fn too_many_requests_are_told_when_to_come_back() {
    let text = keys("[anonymous]\nper_minute = 2\nburst = 2")
        .replace("role = 'user'\n", "role = 'user'\nper_minute = 3\nburst = 3\n");
    let locked = Locked::start(&text);
    // What is refused for other reasons counts as well.
    let asks = [b"no witness".as_slice(), &samples::range().witness, b""];
    let kinds = [Some(ProblemType::WitnessNotGzip), None, Some(ProblemType::WitnessEmpty)];
    for (body, kind) in asks.into_iter().zip(kinds) {
        let answer = locked.server.posting(body).header(headers::API_KEY, BOB).send();
        match kind {
            Some(kind) => drop(answer.refused(kind)),
            None => drop(answer.proof_of(samples::range())),
        }
    }
    let problem = locked.prove_by(BOB).send().refused_for_now(ProblemType::RateLimited);
    assert!(problem.detail.contains("3 requests a minute"), "{}", problem.detail);
    let job = "/v1/proofs/01234567-89ab-4def-8123-456789abcdef";
    for path in
        ["/v1/proofs", "/v1/queue", "/v1/audit", job, &format!("{job}/proof"), &format!("{job}/events")]
    {
        let ask = locked.server.ask(Method::GET, path).header(headers::API_KEY, BOB);
        ask.send().refused_for_now(ProblemType::RateLimited);
    }
    locked.prove_by(CAROL).send().proof_of(samples::range());

    // Guesses are counted, against the address they come from.
    let guess = || locked.prove_by("a guess").send();
    needs_a_key(&guess());
    needs_a_key(&guess());
    guess().refused_for_now(ProblemType::RateLimited);
    locked.prove_by(ALICE).send().proof_of(samples::range());
    locked.finish();
}

#[test]
fn a_days_quota_is_of_proofs_and_not_of_attempts() {
    let locked = Locked::start(&keys("").replace("role = 'user'\n", "role = 'user'\nproofs_per_day = 2\n"));
    for _ in 0..3 {
        let empty = locked.server.posting(b"").header(headers::API_KEY, BOB).send();
        empty.refused(ProblemType::WitnessEmpty);
    }
    for _ in 0..2 {
        locked.prove_by(BOB).send().proof_of(samples::range());
    }
    let answer = locked.prove_by(BOB).send();
    let problem = answer.refused(ProblemType::QuotaExceeded);
    assert!(problem.detail.contains("2 proofs a day") && problem.retryable, "{problem:?}");
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    locked.prove_by(CAROL).send().proof_of(samples::range());
    locked.finish();
}

#[test]
fn so_many_proofs_at_a_time_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    fs::write(&file, "[anonymous]\nunfinished_max = 1\n").unwrap();
    let server = TestServer::start(|s| s.flag("--keys", &file.display()));
    let (mut asker, bb) = server.freeze_midway();
    let problem = server.post(&samples::range().witness).refused_for_now(ProblemType::RateLimited);
    assert!(problem.detail.contains("1 proofs at a time"), "{}", problem.detail);
    bb.signal(Signal::CONT);
    asker.answer().proof_of(samples::range());
    server.post(&samples::range().witness).proof_of(samples::range());

    // A caller who leaves gives its place back.
    let (asker, bb) = server.freeze_midway();
    drop(asker);
    eventually("the place is free", || (server.post(&samples::range().witness).status == 200).then_some(()));
    bb.signal(Signal::CONT);
    server.assert_well();
}

#[test]
fn whom_the_edge_names_is_who_calls() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    fs::write(&file, keys("[anonymous]\nproofs_per_day = 1")).unwrap();
    let server = TestServer::start(|s| {
        s.flag("--keys-file", &file.display());
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
    });
    let through_the_edge = |user: &str| {
        let ask = server.posting(&samples::range().witness).header(headers::EDGE_SECRET, SECRET);
        ask.header(headers::AUTHENTICATED_USER, user)
    };
    through_the_edge("alice").header(headers::PRIORITY, "CRITICAL").send().proof_of(samples::range());
    through_the_edge("bob").header(headers::PRIORITY, "HIGH").send().refused(ProblemType::NotAllowed);
    // Whom the file does not know may do what those without a key may, each by itself.
    for unknown in ["dave", "erin"] {
        through_the_edge(unknown).send().proof_of(samples::range());
        through_the_edge(unknown).send().refused(ProblemType::QuotaExceeded);
    }
    // An edge that names nobody does not stand for a key.
    let nobody = server.posting(&samples::range().witness).header(headers::EDGE_SECRET, SECRET);
    needs_a_key(&nobody.send());
    // A key is no way around the edge.
    let around = server.posting(&samples::range().witness).header(headers::API_KEY, ALICE).send();
    around.refused(ProblemType::NotFromTheEdge);
}

/// Replaces a file as careful editors do.
fn replace(file: &Path, text: &str) {
    let draft = file.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, file).unwrap();
}

#[test]
fn keys_change_while_the_server_runs() {
    let locked = Locked::start(&keys(""));
    let server = &locked.server;
    let proves = |key: &str| locked.prove_by(key).send().status == 200;
    assert!(proves(BOB) && !proves("bob's new one"));

    // Noticed by itself.
    replace(&locked.file(), &keys("").replace(&digest(BOB), &digest("bob's new one")));
    eventually("the new key is taken", || proves("bob's new one").then_some(()));
    assert!(!proves(BOB));

    // A faulty version is told and not taken.
    replace(&locked.file(), "[keys.bob]\nsha256 = ['hunter2']");
    server.signal(Signal::HUP);
    eventually("health says so", || (server.health().problems.len() == 1).then_some(()));
    let problems = server.health().problems;
    assert!(problems[0].contains("those from before hold"), "{problems:?}");
    assert!(proves("bob's new one") && proves(ALICE));
    assert!(server.log().contains("keys.bob.sha256 holds what is not 64 hexadecimal digits"));
    assert!(!server.log().contains("hunter2"));

    // Nor is an empty one: it would let anybody in.
    replace(&locked.file(), "");
    server.signal(Signal::HUP);
    eventually("it is told", || server.log().contains("they name nobody any more").then_some(()));
    needs_a_key(&server.post(&samples::range().witness));

    // And so is a file that is gone.
    fs::remove_file(locked.file()).unwrap();
    eventually("it is missed", || server.log().contains("cannot be read").then_some(()));
    assert!(proves(ALICE));

    // At SIGHUP at once.
    fs::write(locked.file(), keys("")).unwrap();
    server.signal(Signal::HUP);
    eventually("the old key is taken again", || proves(BOB).then_some(()));
    assert_eq!(server.health().problems, Vec::<String>::new());
    locked.finish();
}

#[test]
fn keys_that_cannot_be_used_keep_the_server_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    fs::write(&file, "[keys.bob]\nsha256 = ['hunter2']\nrole = 'root'\n").unwrap();
    let list = |s: &mut crate::support::settings::Settings, text: &str| {
        s.environment.push(("EDGEPROVE_API_KEYS".to_owned(), text.to_owned()));
    };
    let fails = |failed: FailedStart, words: &[&str]| {
        assert_eq!(failed.code, Some(64), "{}", failed.words);
        assert!(!failed.words.contains("hunter2"), "{}", failed.words);
        for word in words {
            assert!(failed.words.contains(word), "{word:?} is not in: {}", failed.words);
        }
    };
    let failed = TestServer::fails_to_start(|s| {
        s.flag("--keys-file", &file.display());
        list(s, "alice:hunter2");
    });
    fails(
        failed,
        &["2 faults", "keys.bob.sha256", "a role is one of", "--api-keys (EDGEPROVE_API_KEYS)", "entry 1"],
    );
    // An empty list would open the door to all.
    let failed = TestServer::fails_to_start(|s| list(s, ""));
    fails(failed, &["1 fault", "it is empty"]);
    let failed = TestServer::fails_to_start(|s| s.flag("--keys-file", &dir.path().display()));
    fails(failed, &["1 fault", "cannot be read"]);
}

#[test]
fn a_page_may_send_a_key_and_a_priority() {
    let server = TestServer::start(|s| s.flag("--cors-origin", "https://app.example"));
    let preflight = server
        .ask(Method::OPTIONS, "/api/prove")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,x-api-key,x-priority")
        .send();
    let allowed = preflight.header("access-control-allow-headers").to_ascii_lowercase();
    for name in ["authorization", "x-api-key", "x-priority"] {
        assert!(allowed.contains(name), "{name} is not in {allowed}");
    }
}

#[test]
fn the_sample_of_the_docs_is_a_file_of_keys() {
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ACCESS.md")).unwrap();
    let sample = docs.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let locked = Locked::start(sample);
    needs_a_key(&locked.server.post(b""));
    // The docs tell the key of one of its holders, to show how a digest is made.
    locked.prove_by("correct-horse-battery-staple").send().proof_of(samples::range());
    locked.finish();
}
