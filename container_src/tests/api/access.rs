//! Access control: API keys, roles, rate limits, quotas, and keys that change while the server runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use edgeprove_protocol::{ProblemType, headers};
use http::Method;
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

use crate::support::{
    Response, TestServer, client::Request, eventually, paths, processes, samples, server::FailedStart,
    settings::Settings, wait,
};

const ALICE: &str = "alice's key, which is long and random in earnest";
const BOB: &str = "bob's";
const CAROL: &str = "carol's";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn digest(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

/// The text of a keys file: this text, and three keys with one role each.
fn keys(more: &str) -> String {
    let entry = |name: &str, role: &str, key: &str| {
        format!("[keys.{name}]\nrole = '{role}'\nsha256 = ['{}']\n", digest(key))
    };
    let entries =
        [entry("alice", "operator", ALICE), entry("bob", "user", BOB), entry("carol", "priority", CAROL)];
    format!("{more}\n{}", entries.concat())
}

/// A server with a keys file. At its end, its log contains none of the keys.
struct KeyedServer {
    server: TestServer,
    dir: tempfile::TempDir,
}

impl KeyedServer {
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

    /// A request for a proof with this key.
    fn prove_by(&self, key: &str) -> Request {
        self.server
            .prove_request(&samples::range_check().witness)
            .header("authorization", &format!("Bearer {key}"))
    }

    #[track_caller]
    fn finish(self) {
        let log = self.server.log();
        for key in [ALICE, BOB, CAROL] {
            assert!(!log.contains(key) && !log.contains(&digest(key)), "the log contains a key");
        }
        self.server.finish();
    }
}

#[track_caller]
fn assert_key_required(response: &Response) {
    let problem = response.assert_refused(ProblemType::ApiKeyRequired);
    assert_eq!(response.header("www-authenticate"), "Bearer", "{problem:?}");
}

#[test]
fn a_proof_needs_a_key_where_keys_are_set() {
    let keyed = KeyedServer::start(&keys(""));
    let (server, witness) = (&keyed.server, &samples::range_check().witness);
    assert_key_required(&server.prove(witness));
    assert_key_required(&keyed.prove_by("bob").send());
    assert_key_required(&keyed.prove_by(&digest(BOB)).send());
    assert_key_required(&server.prove_request_at("/api/prove/range_check", witness).send());
    assert_key_required(&server.get("/v1/audit"));
    // Without the edge secret, the header with the user's name is ignored.
    let named = server.prove_request(witness).header(headers::AUTHENTICATED_USER, "bob");
    assert_key_required(&named.send());

    let response = keyed.prove_by(BOB).send();
    response.assert_proof_of(samples::range_check());
    assert_eq!(server.wait_for_request_line(&response)["user"], "bob");
    let by_other_header = server.prove_request(witness).header(headers::API_KEY, CAROL).send();
    by_other_header.assert_proof_of(samples::range_check());
    assert_eq!(server.wait_for_request_line(&by_other_header)["user"], "carol");

    for open in ["/", "/api/health", "/health", "/livez", "/readyz", "/problems/not_allowed"] {
        assert_eq!(server.get(open).status, 200, "{open}");
    }
    server.get("/nothing").assert_refused(ProblemType::NotFound);
    keyed.finish();
}

#[test]
fn api_keys_of_the_environment_have_the_edges_format() {
    let list = format!("alice:{},\n bob:{}", digest(ALICE), digest(BOB));
    let server = TestServer::start(|s| s.environment.push(("EDGEPROVE_API_KEYS".to_owned(), list)));
    let witness = &samples::range_check().witness;
    assert_key_required(&server.prove(witness));
    server
        .prove_request(witness)
        .header(headers::API_KEY, BOB)
        .send()
        .assert_proof_of(samples::range_check());
    let refused = server.request(Method::GET, "/v1/audit").header(headers::API_KEY, ALICE).send();
    refused.assert_refused(ProblemType::NotAllowed);
}

#[test]
fn a_role_limits_priorities_and_the_audit_log() {
    let keyed = KeyedServer::start(&keys(""));
    let highest = [(BOB, 1), (CAROL, 2), (ALICE, 3)];
    for (key, highest) in highest {
        for (level, priority) in ["LOW", "normal", "HIGH", "CRITICAL"].into_iter().enumerate() {
            let response = keyed.prove_by(key).header(headers::PRIORITY, priority).send();
            if level <= highest {
                response.assert_proof_of(samples::range_check());
            } else {
                let problem = response.assert_refused(ProblemType::NotAllowed);
                assert!(problem.detail.contains(priority), "{}", problem.detail);
            }
        }
    }
    let invalid = keyed.prove_by(ALICE).header(headers::PRIORITY, "URGENT").send();
    assert!(
        invalid.assert_refused(ProblemType::InvalidRequest).detail.contains("LOW, NORMAL, HIGH, CRITICAL")
    );
    let twice = keyed.prove_by(ALICE).header(headers::PRIORITY, "LOW").header(headers::PRIORITY, "HIGH");
    twice.send().assert_refused(ProblemType::InvalidRequest);

    // This server has no audit log, which only an operator may know.
    let audit =
        |key: &str| keyed.server.request(Method::GET, "/v1/audit").header(headers::API_KEY, key).send();
    audit(BOB).assert_refused(ProblemType::NotAllowed);
    audit(CAROL).assert_refused(ProblemType::NotAllowed);
    audit(ALICE).assert_refused(ProblemType::NotFound);
    keyed.finish();
}

#[test]
fn too_many_requests_are_rate_limited() {
    let text = keys("[anonymous]\nper_minute = 1\nburst = 2")
        .replace("role = 'user'\n", "role = 'user'\nper_minute = 1\nburst = 3\n");
    let keyed = KeyedServer::start(&text);
    // A request that is refused for another reason counts too. One request a minute is slow enough for a busy machine.
    let bodies = [b"no witness".as_slice(), &samples::range_check().witness, b""];
    let kinds = [Some(ProblemType::WitnessNotGzip), None, Some(ProblemType::WitnessEmpty)];
    for (body, kind) in bodies.into_iter().zip(kinds) {
        let response = keyed.server.prove_request(body).header(headers::API_KEY, BOB).send();
        match kind {
            Some(kind) => drop(response.assert_refused(kind)),
            None => drop(response.assert_proof_of(samples::range_check())),
        }
    }
    let problem = keyed.prove_by(BOB).send().assert_refused_for_now(ProblemType::RateLimited);
    assert!(problem.detail.contains('1'), "the detail names the limit: {}", problem.detail);
    let job = "/v1/proofs/01234567-89ab-4def-8123-456789abcdef";
    for path in
        ["/v1/proofs", "/v1/queue", "/v1/audit", job, &format!("{job}/proof"), &format!("{job}/events")]
    {
        keyed
            .server
            .request(Method::GET, path)
            .header(headers::API_KEY, BOB)
            .send()
            .assert_refused_for_now(ProblemType::RateLimited);
    }
    keyed.prove_by(CAROL).send().assert_proof_of(samples::range_check());

    // Requests with wrong keys are counted by their address.
    let guess = || keyed.prove_by("a guess").send();
    assert_key_required(&guess());
    assert_key_required(&guess());
    guess().assert_refused_for_now(ProblemType::RateLimited);
    keyed.prove_by(ALICE).send().assert_proof_of(samples::range_check());
    keyed.finish();
}

#[test]
fn the_daily_quota_counts_proofs_and_not_attempts() {
    let keyed =
        KeyedServer::start(&keys("").replace("role = 'user'\n", "role = 'user'\nproofs_per_day = 2\n"));
    for _ in 0..3 {
        let empty = keyed.server.prove_request(b"").header(headers::API_KEY, BOB).send();
        empty.assert_refused(ProblemType::WitnessEmpty);
    }
    for _ in 0..2 {
        keyed.prove_by(BOB).send().assert_proof_of(samples::range_check());
    }
    let response = keyed.prove_by(BOB).send();
    let problem = response.assert_refused(ProblemType::QuotaExceeded);
    assert!(problem.detail.contains('2') && problem.retryable, "{problem:?}");
    let wait: u64 = response.header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    keyed.prove_by(CAROL).send().assert_proof_of(samples::range_check());
    keyed.finish();
}

#[test]
fn concurrent_proofs_of_a_caller_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    fs::write(&file, "[anonymous]\nallowed = true\nunfinished_max = 1\n").unwrap();
    let server = TestServer::start(|s| s.flag("--keys", &file.display()));
    let (mut client, bb) = server.suspend_mid_proof();
    let problem =
        server.prove(&samples::range_check().witness).assert_refused_for_now(ProblemType::RateLimited);
    assert!(problem.detail.contains('1'), "the detail names the limit: {}", problem.detail);
    bb.resume();
    client.read_response().assert_proof_of(samples::range_check());
    server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());

    // A caller that leaves no longer counts.
    let (client, bb) = server.suspend_mid_proof();
    drop(client);
    eventually("another proof is allowed", || {
        (server.prove(&samples::range_check().witness).status == 200).then_some(())
    });
    bb.resume();
    server.assert_healthy();
}

#[test]
fn the_edge_names_the_caller() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    fs::write(&file, keys("[anonymous]\nproofs_per_day = 1")).unwrap();
    let server = TestServer::start(|s| {
        s.flag("--keys-file", &file.display());
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
    });
    let through_the_edge = |user: &str| {
        let request =
            server.prove_request(&samples::range_check().witness).header(headers::EDGE_SECRET, SECRET);
        request.header(headers::AUTHENTICATED_USER, user)
    };
    through_the_edge("alice")
        .header(headers::PRIORITY, "CRITICAL")
        .send()
        .assert_proof_of(samples::range_check());
    through_the_edge("bob").header(headers::PRIORITY, "HIGH").send().assert_refused(ProblemType::NotAllowed);
    // A user who is not in the file has the limits of callers without a key, each user separately.
    for unknown in ["dave", "erin"] {
        through_the_edge(unknown).send().assert_proof_of(samples::range_check());
        through_the_edge(unknown).send().assert_refused(ProblemType::QuotaExceeded);
    }
    // A request of the edge without a user needs a key.
    let without_user =
        server.prove_request(&samples::range_check().witness).header(headers::EDGE_SECRET, SECRET);
    assert_key_required(&without_user.send());
    // A key does not replace the edge secret.
    let without_edge =
        server.prove_request(&samples::range_check().witness).header(headers::API_KEY, ALICE).send();
    without_edge.assert_refused(ProblemType::NotFromTheEdge);
}

/// Replaces a file in one step, as careful editors do.
fn replace(file: &Path, text: &str) {
    let draft = file.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, file).unwrap();
}

#[test]
fn keys_change_while_the_server_runs() {
    let keyed = KeyedServer::start(&keys(""));
    let server = &keyed.server;
    let proves = |key: &str| keyed.prove_by(key).send().status == 200;
    assert!(proves(BOB) && !proves("bob's new one"));

    // The server notices the change by itself.
    replace(&keyed.file(), &keys("").replace(&digest(BOB), &digest("bob's new one")));
    eventually("the new key is accepted", || proves("bob's new one").then_some(()));
    assert!(!proves(BOB));

    // An invalid version is reported and not used.
    let last_error = || {
        let mut line = server.log_lines().into_iter().rfind(|line| line["level"] == "ERROR")?;
        line["timestamp"].take();
        Some(line)
    };
    let mut known_error = last_error();
    let mut wait_for_error = || {
        known_error = eventually("another error is logged", || {
            Some(last_error()).filter(|error| error.is_some() && *error != known_error)
        });
        assert_eq!(server.health().problems.len(), 1, "{:?}", server.health().problems);
    };
    replace(&keyed.file(), "[keys.bob]\nsha256 = ['hunter2']");
    server.signal(Signal::HUP);
    wait_for_error();
    assert!(proves("bob's new one") && proves(ALICE));
    assert!(server.log().contains("keys.bob.sha256"), "the log names the invalid entry");
    assert!(!server.log().contains("hunter2"));

    // So is an empty version, with which every caller would be allowed.
    replace(&keyed.file(), "");
    server.signal(Signal::HUP);
    wait_for_error();
    assert_key_required(&server.prove(&samples::range_check().witness));

    // So is a missing file.
    fs::remove_file(keyed.file()).unwrap();
    server.signal(Signal::HUP);
    wait_for_error();
    assert!(proves(ALICE));

    // A valid version is used again after SIGHUP.
    fs::write(keyed.file(), keys("")).unwrap();
    server.signal(Signal::HUP);
    eventually("the old key is accepted again", || proves(BOB).then_some(()));
    assert_eq!(server.health().problems, Vec::<String>::new());
    keyed.finish();
}

#[test]
fn invalid_keys_prevent_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    fs::write(&file, "[keys.bob]\nsha256 = ['hunter2']\nrole = 'root'\n").unwrap();
    let list = |s: &mut Settings, text: &str| {
        s.environment.push(("EDGEPROVE_API_KEYS".to_owned(), text.to_owned()));
    };
    let assert_reports = |failed: FailedStart, parts: &[&str]| {
        assert_eq!(failed.code, Some(64), "{}", failed.stderr);
        assert!(!failed.stderr.contains("hunter2"), "{}", failed.stderr);
        for part in parts {
            assert!(failed.stderr.contains(part), "{part:?} is not in: {}", failed.stderr);
        }
    };
    let failed = TestServer::fails_to_start(|s| {
        s.flag("--keys-file", &file.display());
        list(s, "alice:hunter2");
    });
    assert_reports(failed, &["keys.bob", "sha256", "role", "--api-keys", "EDGEPROVE_API_KEYS"]);
    // An empty list would allow every caller.
    let failed = TestServer::fails_to_start(|s| list(s, ""));
    assert_reports(failed, &["EDGEPROVE_API_KEYS"]);
    let failed = TestServer::fails_to_start(|s| s.flag("--keys-file", &dir.path().display()));
    assert_reports(failed, &[&dir.path().display().to_string()]);
}

#[test]
fn a_page_may_send_a_key_and_a_priority() {
    let server = TestServer::start(|s| s.flag("--cors-origin", "https://app.example"));
    let preflight = server
        .request(Method::OPTIONS, "/api/prove")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,x-api-key,x-priority")
        .send();
    let allowed = preflight.header("access-control-allow-headers").to_ascii_lowercase();
    for name in ["authorization", "x-api-key", "x-priority"] {
        assert!(allowed.contains(name), "{name} is not in {allowed}");
    }
}

/// The keys file of the documentation.
fn documented_keys() -> String {
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ACCESS.md")).unwrap();
    docs.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap().to_owned()
}

/// Keys files that must prevent the start, with parts of the message.
#[track_caller]
fn assert_keys_refused(text: &str, parts: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    fs::write(&file, text).unwrap();
    let from_file = TestServer::fails_to_start(|s| s.flag("--keys-file", &file.display()));
    let from_secret = TestServer::fails_to_start(|s| keys_secret(s, text));
    for failed in [from_file, from_secret] {
        assert_eq!(failed.code, Some(64), "{}", failed.stderr);
        for part in parts {
            assert!(failed.stderr.contains(part), "{part:?} is not in: {}", failed.stderr);
        }
    }
}

fn keys_secret(settings: &mut Settings, text: &str) {
    settings.environment.push(("EDGEPROVE_KEYS".to_owned(), text.to_owned()));
}

#[test]
fn the_documented_keys_are_refused_until_replaced() {
    let sample = documented_keys();
    assert_keys_refused(&sample, &["keys.web-shop.sha256", "edgeprove keys new web-shop"]);
    // With digests of new keys the sample is a valid file.
    let mut keys = ["key 1", "key 2", "key 3"].into_iter();
    let lines: Vec<String> = sample
        .lines()
        .map(|line| match line.split_once("\"the digest") {
            Some((before, after)) => {
                let after = after.split_once('"').unwrap().1;
                format!("{before}\"{}\"{after}", digest(keys.next().unwrap()))
            }
            None => line.to_owned(),
        })
        .collect();
    let keyed = KeyedServer::start(&lines.join("\n"));
    assert_key_required(&keyed.server.prove(b""));
    for key in ["key 1", "key 2", "key 3"] {
        keyed.prove_by(key).send().assert_proof_of(samples::range_check());
    }
    keyed.finish();
}

#[test]
fn a_keys_file_that_names_nobody_prevents_the_start() {
    for text in ["", "# nobody\n", "[keys]\n", "[anonymous]\nper_minute = 60\n"] {
        assert_keys_refused(text, &["no key holder", "[keys.alice]", "allowed = true"]);
    }
}

#[test]
fn keys_of_a_secret_have_roles_and_limits() {
    let text = keys("").replace("role = 'user'\n", "role = 'user'\nproofs_per_day = 1\n");
    let server = TestServer::start(|s| keys_secret(s, &text));
    let witness = &samples::range_check().witness;
    assert_key_required(&server.prove(witness));
    let prove_by = |key: &str, priority: &str| {
        let request = server.prove_request(witness).header(headers::API_KEY, key);
        request.header(headers::PRIORITY, priority).send()
    };
    prove_by(ALICE, "CRITICAL").assert_proof_of(samples::range_check());
    prove_by(CAROL, "HIGH").assert_proof_of(samples::range_check());
    prove_by(BOB, "HIGH").assert_refused(ProblemType::NotAllowed);
    prove_by(BOB, "NORMAL").assert_proof_of(samples::range_check());
    prove_by(BOB, "NORMAL").assert_refused(ProblemType::QuotaExceeded);
    assert!(!server.log().contains(&digest(BOB)));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    fs::write(&file, &text).unwrap();
    let failed = TestServer::fails_to_start(|s| {
        keys_secret(s, &text);
        s.flag("--keys-file", &file.display());
    });
    assert_eq!(failed.code, Some(64), "{}", failed.stderr);
    for part in ["EDGEPROVE_KEYS)", "EDGEPROVE_KEYS_FILE"] {
        assert!(failed.stderr.contains(part), "{}", failed.stderr);
    }
    assert!(!failed.stderr.contains(&digest(BOB)), "{}", failed.stderr);
}

#[test]
fn callers_without_a_key_may_be_allowed_beside_keys() {
    let keyed = KeyedServer::start(&keys("[anonymous]\nallowed = true\nproofs_per_day = 1\n"));
    let (server, witness) = (&keyed.server, &samples::range_check().witness);
    server
        .prove_request(witness)
        .header(headers::PRIORITY, "HIGH")
        .send()
        .assert_refused(ProblemType::NotAllowed);
    server.prove(witness).assert_proof_of(samples::range_check());
    server.prove(witness).assert_refused(ProblemType::QuotaExceeded);
    assert_key_required(&keyed.prove_by("a guess").send());
    for _ in 0..2 {
        keyed.prove_by(BOB).send().assert_proof_of(samples::range_check());
    }
    server.get("/v1/audit").assert_refused(ProblemType::NotAllowed);
    keyed.finish();
}

#[test]
fn a_new_key_works_with_its_printed_lines() {
    let new_key = |arguments: &[&str]| {
        let mut command = Command::new(paths::edgeprove());
        processes::run(command.env_clear().args(["keys", "new"]).args(arguments), wait::LIMIT)
    };
    let output = new_key(&["shop", "--role", "priority"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let key = text.lines().nth(1).unwrap();
    assert_eq!((key.len(), text.matches(key).count()), (64, 1), "{text}");
    let table: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("[keys")).take(3).collect();
    let keyed = KeyedServer::start(&table.join("\n"));
    let response = keyed.prove_by(key).header(headers::PRIORITY, "HIGH").send();
    response.assert_proof_of(samples::range_check());
    assert_key_required(&keyed.server.prove(b""));
    let list = text.lines().last().unwrap().to_owned();
    let server = TestServer::start(|s| s.environment.push(("EDGEPROVE_API_KEYS".to_owned(), list)));
    let request = server.prove_request(&samples::range_check().witness).header(headers::API_KEY, key);
    request.send().assert_proof_of(samples::range_check());

    assert_ne!(new_key(&["shop"]).stdout, new_key(&["shop"]).stdout, "each key is new");
    for invalid in [&["a b"][..], &["shop", "--role", "root"]] {
        assert_eq!(new_key(invalid).status.code(), Some(64), "{invalid:?}");
    }
}
