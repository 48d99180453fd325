//! Vouchers: tokens with which pages prove on behalf of an API key.

mod minting;

use std::{collections::BTreeSet, fs, path::PathBuf, thread};

use edgeprove_protocol::{
    JobStatus, ProblemType,
    answer::NewVoucher,
    headers,
    voucher::{KeyFingerprint, VoucherSecret},
};
use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{
    Response, TestServer, client::Request, eventually, inputs, samples, settings::Settings,
};

const SECRET: &str = "the secret of all vouchers of these tests";
const APP: &str = "https://app.example";

fn secret() -> String {
    SECRET.replace(' ', "-")
}

fn digest(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

/// A server with keys. The keys are the names of their holders.
struct Keyed {
    server: TestServer,
    dir: tempfile::TempDir,
}

impl Keyed {
    #[track_caller]
    fn start() -> Self {
        Self::start_with("", |_| ())
    }

    #[track_caller]
    fn start_with(limits: &str, change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_without_jobs(limits, |s| {
            s.flags.push("--ephemeral-jobs".to_owned());
            change(s);
        })
    }

    #[track_caller]
    fn start_without_jobs(limits: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("keys.toml"), keys(limits)).unwrap();
        let (file, audit) = (dir.path().join("keys.toml"), dir.path().join("audit.jsonl"));
        let server = TestServer::start(|s| {
            s.flag("--keys-file", &file.display());
            s.flag("--audit", &audit.display());
            s.environment.push(("EDGEPROVE_VOUCHER_SECRET".to_owned(), secret()));
            change(s);
        });
        Self { server, dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("keys.toml")
    }

    fn by(&self, key: &str, method: Method, path: &str) -> Request {
        self.server.request(method, path).header("authorization", &format!("Bearer {key}"))
    }

    fn mint_by(&self, key: &str, body: &Value) -> Response {
        let request = self.server.json_request("/v1/vouchers", body.to_string());
        request.header(headers::API_KEY, key).send()
    }

    #[track_caller]
    fn mint(&self, body: &Value) -> NewVoucher {
        minted(&self.mint_by("alice", body))
    }

    /// A request for a proof with this voucher.
    fn prove(&self, voucher: &NewVoucher) -> Request {
        let request = self.server.prove_request(&samples::range_check().witness);
        request.header("authorization", &format!("Bearer {}", voucher.voucher))
    }

    fn submit(&self, voucher: &NewVoucher) -> Request {
        self.prove(voucher).header("prefer", "respond-async")
    }

    /// The entries of the audit log, oldest first.
    fn entries(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap();
        let entry = |line| serde_json::from_str::<Value>(line).unwrap()["entry"].take();
        text.lines().map(entry).collect()
    }

    /// Ends the server. Nothing that it wrote has a token.
    #[track_caller]
    fn finish(self, tokens: &[&NewVoucher]) {
        let log = self.server.log();
        let audit = fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap();
        for token in tokens {
            let (_, signature) = token.voucher.rsplit_once('.').unwrap();
            assert!(!log.contains(signature) && !audit.contains(signature), "a token was written down");
        }
        assert!(!log.contains(&secret()), "the secret was written down");
        self.server.finish();
    }
}

fn keys(limits: &str) -> String {
    let roles = [("alice", "user"), ("bob", "user"), ("carol", "priority"), ("ops", "operator")];
    let entry =
        |(name, role)| format!("[keys.{name}]\nrole = '{role}'\nsha256 = ['{}']\n{limits}\n", digest(name));
    roles.map(entry).concat()
}

#[track_caller]
fn minted(response: &Response) -> NewVoucher {
    assert_eq!(response.status, 201, "{}", String::from_utf8_lossy(&response.body));
    assert_eq!(response.header("cache-control"), "no-store");
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn a_page_proves_with_a_voucher_and_reads_its_own_jobs() {
    let keyed = Keyed::start();
    let voucher = keyed.mint(&json!({"circuit": "range_check", "uses": 3}));
    let by = |method, path: &str| keyed.by(&voucher.voucher, method, path);
    keyed.prove(&voucher).send().assert_proof_of(samples::range_check());
    // As the other header of keys, and with inputs that name the circuit.
    let request = keyed.server.inputs_request("/api/prove", &inputs::range_check());
    request.header(headers::API_KEY, &voucher.voucher).send().assert_proof_of(samples::range_check());

    let job = keyed.submit(&voucher).send().assert_accepted();
    let events = by(Method::GET, &format!("/v1/proofs/{}/events", job.id)).send();
    assert!(String::from_utf8_lossy(&events.body).contains("event: done"), "{events:?}");
    by(Method::GET, &job.links.proof).send().assert_proof_of(samples::range_check());
    let document = by(Method::GET, &job.links.this).send().job();
    assert_eq!(document.status, JobStatus::Completed);
    // An EventSource has no headers: the link has a token.
    assert!(job.links.events.contains("?token="), "{}", job.links.events);
    let linked = keyed.server.get(&job.links.events);
    assert!(String::from_utf8_lossy(&linked.body).contains("event: done"), "{linked:?}");
    by(Method::DELETE, &job.links.this).send().assert_refused(ProblemType::JobAlreadyFinished);

    keyed.prove(&voucher).send().assert_refused(ProblemType::VoucherUsedUp);
    keyed.submit(&voucher).send().assert_refused(ProblemType::VoucherUsedUp);
    // A voucher that is used up still reads and verifies.
    by(Method::GET, &job.links.proof).send().assert_proof_of(samples::range_check());
    let proof: Value = by(Method::GET, &job.links.proof).header("accept", "application/json").send().json();
    let sent = json!({"proof": proof["proof"], "publicInputs": proof["public_inputs"]});
    let verify = keyed.server.json_request("/v1/verify/range_check", sent.to_string());
    let verdict = verify.header("authorization", &format!("Bearer {}", voucher.voucher)).send().json();
    assert_eq!(verdict["valid"], true, "{verdict}");

    let with_id = |action: &str| {
        let id = voucher.id.as_str();
        keyed.entries().iter().filter(|e| e["voucher"] == id && e["action"] == action).count()
    };
    for (action, count) in [
        ("voucher.minted", 1),
        ("proof.synchronous", 3),
        ("job.accepted", 1),
        ("job.started", 1),
        ("job.completed", 1),
        ("job.fetched", 3),
    ] {
        eventually(action, || (with_id(action) == count).then_some(()));
    }
    assert!(keyed.entries().iter().filter(|e| e["voucher"].is_string()).all(|e| e["actor"] == "key:alice"));
    keyed.finish(&[&voucher]);
}

#[test]
fn a_voucher_allows_nothing_else() {
    let keyed = Keyed::start();
    let voucher = minted(&keyed.mint_by("ops", &json!({"circuit": "range_check", "uses": 50})));
    let by = |method, path: &str| keyed.by(&voucher.voucher, method, path);
    for (method, path) in [
        (Method::GET, "/v1/proofs"),
        (Method::GET, "/v1/queue"),
        (Method::GET, "/v1/stats"),
        (Method::GET, "/v1/estimate?circuit=range_check"),
        (Method::GET, "/v1/audit"),
        (Method::POST, "/v1/circuits"),
        (Method::DELETE, "/v1/circuits/range_check"),
        (Method::POST, "/v1/circuits/range_check/deploy"),
    ] {
        by(method.clone(), path).send().assert_refused(ProblemType::VoucherNotAllowed);
    }
    let again = keyed.server.json_request("/v1/vouchers", r#"{"circuit": "range_check"}"#);
    let again = again.header("authorization", &format!("Bearer {}", voucher.voucher)).send();
    again.assert_refused(ProblemType::VoucherNotAllowed);

    // Neither the jobs of its key's holder nor of other vouchers, although an operator minted it.
    let holders = keyed.by("ops", Method::POST, "/v1/proofs?circuit=range_check");
    let holders = Request { body: samples::range_check().witness.clone(), ..holders };
    let holders = holders.header("idempotency-key", "order-1").send().assert_accepted();
    let other = minted(&keyed.mint_by("ops", &json!({"circuit": "range_check"})));
    let of_other = keyed.submit(&other).send().assert_accepted();
    for job in [&holders, &of_other] {
        for path in [&job.links.this, &job.links.proof] {
            by(Method::GET, path).send().assert_refused(ProblemType::JobNotFound);
        }
        by(Method::DELETE, &job.links.this).send().assert_refused(ProblemType::JobNotFound);
        let events = format!("{}/events", job.links.this);
        by(Method::GET, &events).send().assert_refused(ProblemType::JobNotFound);
        eventually("the holder sees the job finish", || {
            let job = keyed.by("ops", Method::GET, &job.links.this).send().job();
            job.status.is_finished().then_some(())
        });
    }
    // Nor by the idempotency key of the holder.
    let same_key = keyed.submit(&voucher).header("idempotency-key", "order-1").send().assert_accepted();
    assert_ne!(same_key.id, holders.id);

    let urgent = keyed.prove(&voucher).header(headers::PRIORITY, "HIGH").send();
    assert!(urgent.assert_refused(ProblemType::VoucherNotAllowed).detail.contains("NORMAL"));
    let called_back = keyed.submit(&voucher).header(headers::CALLBACK_URL, "https://evil.example").send();
    called_back.assert_refused(ProblemType::VoucherNotAllowed);
    let health = by(Method::GET, "/api/health").send();
    assert_eq!(health.status, 200, "what is open stays open");
    let is_refusal = |e: &Value| e["outcome"] == "voucher_not_allowed" && e["actor"] == "key:ops";
    eventually("the refusals are recorded", || keyed.entries().iter().any(is_refusal).then_some(()));
    keyed.finish(&[&voucher, &other]);
}

#[test]
fn a_voucher_is_for_its_circuits() {
    let dir = tempfile::tempdir().unwrap();
    let [small, large] = ["small", "large"].map(|name| samples::square(dir.path(), name, 3));
    let keyed = Keyed::start_with("", |s| {
        s.circuit = None;
        s.circuits = Some(dir.path().to_owned());
        s.flag("--circuit-family", "large,small");
        s.sample = Some(small.clone());
    });
    let prove = |voucher: &NewVoucher, path: &str, witness: &[u8]| {
        let request = keyed.server.prove_request_at(path, witness);
        request.header("authorization", &format!("Bearer {}", voucher.voucher)).send()
    };
    let of_large = keyed.mint(&json!({"circuit": "large", "uses": 9}));
    prove(&of_large, "/api/prove/large", &large.witness).assert_proof_of(&large);
    for path in ["/api/prove/small", "/v1/proofs?circuit=small", "/api/prove/unknown"] {
        let refused = prove(&of_large, path, &small.witness);
        assert!(refused.assert_refused(ProblemType::VoucherNotAllowed).detail.contains("large"));
    }
    let named = keyed.server.json_request("/api/prove", r#"{"circuitId": "small", "privateInputs": {}}"#);
    let named = named.header("authorization", &format!("Bearer {}", of_large.voucher)).send();
    named.assert_refused(ProblemType::VoucherNotAllowed);
    // A smaller circuit of the family is another circuit.
    let form = |voucher: &NewVoucher| {
        let parts = [("large", large.witness.as_slice()), ("small", small.witness.as_slice())];
        let request = Request::prove_form(keyed.server.address(), "/api/prove/large", &parts);
        request.header("authorization", &format!("Bearer {}", voucher.voucher)).send()
    };
    form(&of_large).assert_refused(ProblemType::VoucherNotAllowed);
    let of_both = keyed.mint(&json!({"circuit": ["large", "small"]}));
    form(&of_both).assert_proof_of(&large);
    keyed.mint_by("alice", &json!({"circuit": "unknown"})).assert_refused(ProblemType::CircuitNotFound);
}

#[test]
fn a_voucher_is_for_pages_of_its_origin() {
    let keyed = Keyed::start_with("", |s| s.flag("--cors-origin", &format!("{APP},https://other.example")));
    let voucher =
        keyed.mint(&json!({"circuit": "range_check", "uses": 2, "origin": "https://APP.example:443"}));
    assert_eq!(voucher.origin.as_deref(), Some(APP));
    let from = |origin: &str| keyed.prove(&voucher).header("origin", origin).send();
    from(APP).assert_proof_of(samples::range_check());
    keyed.prove(&voucher).send().assert_refused(ProblemType::VoucherNotAllowed);
    let refused = from("https://other.example").assert_refused(ProblemType::VoucherNotAllowed);
    assert!(refused.detail.contains(APP), "{}", refused.detail);
    from("https://evil.example").assert_refused(ProblemType::OriginNotAllowed);
    let job = keyed.submit(&voucher).header("origin", APP).send().assert_accepted();
    let read =
        |request: Request| request.header("authorization", &format!("Bearer {}", voucher.voucher)).send();
    let get = || keyed.server.request(Method::GET, &job.links.this);
    read(get()).assert_refused(ProblemType::VoucherNotAllowed);
    read(get().header("origin", APP)).job();

    // A browser sends no Origin with a GET of the server's own pages.
    let own = format!("http://{}", keyed.server.address());
    let voucher = keyed.mint(&json!({"circuit": "range_check", "origin": own}));
    let job = keyed.submit(&voucher).header("origin", &own).send().assert_accepted();
    let own_get = |site: &str| {
        let request = keyed.by(&voucher.voucher, Method::GET, &job.links.this);
        request.header("sec-fetch-site", site).send()
    };
    own_get("same-origin").job();
    own_get("none").assert_refused(ProblemType::VoucherNotAllowed);
}

#[test]
fn uses_are_counted_exactly() {
    let keyed = Keyed::start();
    let voucher = keyed.mint(&json!({"circuit": "range_check", "uses": 3}));
    // What is refused is no use.
    let empty =
        keyed.server.prove_request(b"").header("authorization", &format!("Bearer {}", voucher.voucher));
    empty.send().assert_refused(ProblemType::WitnessEmpty);
    keyed
        .submit(&voucher)
        .header(headers::PRIORITY, "HIGH")
        .send()
        .assert_refused(ProblemType::VoucherNotAllowed);
    // The same request is one use, also if it is sent twice at the same moment.
    let repeated = || keyed.submit(&voucher).header("idempotency-key", "order-1").send().assert_accepted().id;
    let ids = thread::scope(|scope| {
        let sent: Vec<_> = (0..4).map(|_| scope.spawn(repeated)).collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect::<BTreeSet<_>>()
    });
    assert_eq!(ids.len(), 1);
    // Requests at the same moment share what is left.
    let accepted = thread::scope(|scope| {
        let jobs = (0..4).map(|_| scope.spawn(|| keyed.submit(&voucher).send().status)).collect::<Vec<_>>();
        let proofs = (0..4).map(|_| scope.spawn(|| keyed.prove(&voucher).send().status)).collect::<Vec<_>>();
        let all = jobs.into_iter().chain(proofs).map(|sent| sent.join().unwrap());
        all.filter(http::StatusCode::is_success).count()
    });
    assert_eq!(accepted, 2);
    keyed.prove(&voucher).send().assert_refused(ProblemType::VoucherUsedUp);
    // The job of a used-up voucher is found again.
    assert_eq!(repeated(), *ids.first().unwrap());
    let changed = keyed.submit(&voucher).header("idempotency-key", "order-1");
    let changed = Request { body: samples::unsatisfied(), ..changed }.send();
    changed.assert_refused(ProblemType::IdempotencyKeyReused);
    keyed.finish(&[&voucher]);
}

#[test]
fn a_failure_of_the_server_is_no_use() {
    let keyed = Keyed::start();
    let voucher = keyed.mint(&json!({"circuit": "range_check", "uses": 1}));
    let too_long = keyed.prove(&voucher).header(headers::TIMEOUT, "0.001").send();
    too_long.assert_refused(ProblemType::ProofTimeout);
    // A witness that violates the circuit has cost a proof.
    let unsatisfied = Request { body: samples::unsatisfied(), ..keyed.prove(&voucher) };
    unsatisfied.send().assert_refused(ProblemType::WitnessUnsatisfied);
    keyed.prove(&voucher).send().assert_refused(ProblemType::VoucherUsedUp);
    keyed.finish(&[&voucher]);
}

#[test]
fn uses_are_counted_without_jobs_too() {
    let keyed = Keyed::start_without_jobs("", |_| ());
    let voucher = keyed.mint(&json!({"circuit": "range_check", "uses": 2}));
    let accepted = thread::scope(|scope| {
        let sent: Vec<_> = (0..5).map(|_| scope.spawn(|| keyed.prove(&voucher).send().status)).collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).filter(|status| *status == 200).count()
    });
    assert_eq!(accepted, 2);
    keyed.prove(&voucher).send().assert_refused(ProblemType::VoucherUsedUp);
    keyed.finish(&[&voucher]);
}

#[test]
fn secret_and_uses_outlive_the_server_in_its_data_folder() {
    let (data, keys_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = keys_dir.path().join("keys.toml");
    fs::write(&file, keys("")).unwrap();
    let start = || {
        TestServer::start(|s| {
            s.flag("--keys-file", &file.display());
            s.flag("--data", &data.path().display());
        })
    };
    let mint = |server: &TestServer, uses: u32| {
        let body = json!({"circuit": "range_check", "uses": uses}).to_string();
        minted(&server.json_request("/v1/vouchers", body).header(headers::API_KEY, "alice").send())
    };
    let prove = |server: &TestServer, voucher: &NewVoucher| {
        let request = server.prove_request(&samples::range_check().witness);
        request.header("authorization", &format!("Bearer {}", voucher.voucher)).send()
    };
    let first = start();
    let [once, twice] = [1, 2].map(|uses| mint(&first, uses));
    for voucher in [&once, &twice] {
        prove(&first, voucher).assert_proof_of(samples::range_check());
    }
    first.finish();
    let second = start();
    prove(&second, &once).assert_refused(ProblemType::VoucherUsedUp);
    prove(&second, &twice).assert_proof_of(samples::range_check());
    prove(&second, &twice).assert_refused(ProblemType::VoucherUsedUp);
    second.finish();
    for entry in fs::read_dir(data.path()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let bytes = fs::read(entry.path()).unwrap();
        let (_, signature) = once.voucher.rsplit_once('.').unwrap();
        let found = bytes.windows(signature.len()).any(|part| part == signature.as_bytes());
        assert!(!found, "{} has a token", entry.path().display());
    }
    // Another server does not know it.
    let other = Keyed::start();
    let foreign = prove(&other.server, &twice).assert_refused(ProblemType::VoucherInvalid);
    assert!(foreign.detail.contains("another secret"), "{}", foreign.detail);
}

#[test]
fn an_invalid_voucher_is_refused_with_the_reason() {
    let keyed = Keyed::start();
    let voucher = keyed.mint(&json!({"circuit": "range_check", "uses": 5, "expires": 1}));
    let refused = |token: &str| {
        let response = keyed.by(token, Method::GET, "/v1/proofs/01234567-89ab-4def-8123-456789abcdef").send();
        response.assert_refused(ProblemType::VoucherInvalid).detail
    };
    let (body, signature) = voucher.voucher.rsplit_once('.').unwrap();
    for (token, part) in [
        ("epv1.".to_owned(), "not complete"),
        (body.to_owned(), "not complete"),
        (format!("{body}."), "another secret"),
        (format!("{body}.{}", &signature[..20]), "another secret"),
        (format!("{body}A.{signature}"), "another secret"),
        (VoucherSecret::new(&"x".repeat(32)).unwrap().sign(&forged()), "another secret"),
    ] {
        assert!(refused(&token).contains(part), "{token}: {}", refused(&token));
    }
    eventually("the voucher has expired", || {
        let response = keyed.prove(&voucher).send();
        (response.status == 401).then(|| response.assert_refused(ProblemType::VoucherInvalid)).map(
            |problem| {
                assert!(problem.detail.contains("expired"), "{}", problem.detail);
            },
        )
    });
    let is_refusal = |e: &Value| e["action"] == "key.refused" && e["outcome"] == "voucher_invalid";
    eventually("the refusals are recorded", || keyed.entries().iter().any(is_refusal).then_some(()));
    keyed.finish(&[&voucher]);
}

fn forged() -> edgeprove_protocol::Voucher {
    edgeprove_protocol::Voucher {
        id: "forged".to_owned(),
        holder: "alice".to_owned(),
        key: KeyFingerprint::of(&Sha256::digest("alice").into()),
        circuits: vec!["range_check".parse().unwrap()],
        uses: 1,
        expires_s: u64::MAX,
        priority: edgeprove_protocol::Priority::Normal,
        origin: None,
        subject: None,
    }
}

#[test]
fn a_withdrawn_key_withdraws_its_vouchers() {
    let keyed = Keyed::start();
    let [of_alice, of_bob] = ["alice", "bob"]
        .map(|key| minted(&keyed.mint_by(key, &json!({"circuit": "range_check", "uses": 100}))));
    let job = keyed.submit(&of_alice).send().assert_accepted();
    keyed.prove(&of_bob).send().assert_proof_of(samples::range_check());
    // Alice has a new key, and bob none.
    let text = keys("").replace(&digest("alice"), &digest("alice-2"));
    let (before, rest) = text.split_once("[keys.bob]").unwrap();
    fs::write(keyed.file(), format!("{before}[keys.carol]{}", rest.split_once("[keys.carol]").unwrap().1))
        .unwrap();
    keyed.server.signal(Signal::HUP);
    eventually("the vouchers end", || {
        let refused = [&of_alice, &of_bob].map(|voucher| keyed.prove(voucher).send());
        refused.iter().all(|response| response.status == 401).then(|| {
            for response in &refused {
                let problem = response.assert_refused(ProblemType::VoucherInvalid);
                assert!(problem.detail.contains("withdrawn"), "{}", problem.detail);
            }
        })
    });
    let read = keyed.by(&of_alice.voucher, Method::GET, &job.links.this).send();
    read.assert_refused(ProblemType::VoucherInvalid);
    keyed.by("alice-2", Method::GET, &job.links.this).send().job();
    let again = minted(&keyed.mint_by("alice-2", &json!({"circuit": "range_check"})));
    keyed.prove(&again).send().assert_proof_of(samples::range_check());
}

#[test]
fn vouchers_of_one_subject_see_each_others_jobs() {
    let keyed = Keyed::start_with("", |s| s.flag("--proof-cache", "50"));
    let of = |subject: &str| keyed.mint(&json!({"circuit": "range_check", "uses": 5, "subject": subject}));
    let (first, second, other) = (of("user-1"), of("user-1"), of("user-2"));
    let job = keyed.submit(&first).header("idempotency-key", "a").send().assert_accepted();
    let again = keyed.submit(&second).header("idempotency-key", "a").send().assert_accepted();
    assert_eq!(again.id, job.id);
    let read = |voucher: &NewVoucher| keyed.by(&voucher.voucher, Method::GET, &job.links.this).send();
    eventually("the job has finished", || read(&second).job().status.is_finished().then_some(()));
    read(&other).assert_refused(ProblemType::JobNotFound);
    // Whether a proof comes from the cache must not show what another user proved.
    let cached = |voucher: &NewVoucher| {
        keyed.prove(voucher).header("accept", "application/json").send().json()["cached"].clone()
    };
    assert_eq!((cached(&second), cached(&other), cached(&other)), (json!(true), json!(false), json!(true)));
    let by_job = keyed.submit(&of("user-3")).header("prefer", "respond-async, wait=60");
    assert_eq!(by_job.header("accept", "application/json").send().json()["cached"], false);
}

#[test]
fn a_page_cancels_its_job() {
    let keyed = Keyed::start();
    let voucher = keyed.mint(&json!({"circuit": "range_check", "uses": 5}));
    let provers: Vec<_> = keyed.server.provers().into_iter().filter(|bb| bb.suspend()).collect();
    let job = keyed.submit(&voucher).send().assert_accepted();
    let by = |method| keyed.by(&voucher.voucher, method, &job.links.this).send();
    let cancelled = by(Method::DELETE);
    assert!([200, 202].contains(&cancelled.status.as_u16()), "{cancelled:?}");
    for bb in &provers {
        bb.resume();
    }
    let status = || by(Method::GET).job().status;
    let end = eventually("the job is cancelled", || Some(status()).filter(|status| status.is_finished()));
    assert_eq!(end, JobStatus::Cancelled);
    let entries = || keyed.entries().into_iter().filter(|e| e["job_id"] == job.id.to_string());
    eventually("the cancel request is recorded", || {
        entries()
            .any(|e| e["action"] == "job.cancel_requested" && e["voucher"] == voucher.id.as_str())
            .then_some(())
    });
}
