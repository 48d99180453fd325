//! Receipts: what the server signs of its proofs, where they are, and that others can verify them.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use edgeprove_protocol::{
    JobDocument, JobStatus, Target,
    answer::ProofAnswer,
    headers,
    job::JobPage,
    receipt::Receipt,
    service::{SEALED_MEDIA_TYPE, ServiceDocument},
};
use edgeprove_receipts::{PublicKeys, verify};
use edgeprove_testkit::sealed::{of_witness, sealed_body, sealed_request, sealing_key, service};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    audit::{self, AuditFolder},
    jobs::{JobServer, events},
    support::{
        Connection, Receiver, Response, TestServer, circom_files::CircomFolder, client::Request,
        clock::Clock, eventually, paths, processes, samples, settings::Settings, wait,
    },
    webhooks,
};

const SECRET: &str = "a0112233445566778899aabbccddeeff00112233445566778899aabbccddee01";
/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;
const OTHER_SECRET: &str = "b0112233445566778899aabbccddeeff00112233445566778899aabbccddee02";

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    format!("0x{}", hex::encode(Sha256::digest(bytes)))
}

/// The keys that a service publishes.
fn keys_of(service: &ServiceDocument) -> PublicKeys {
    PublicKeys::from_json(&serde_json::to_vec(service).unwrap()).unwrap()
}

/// What a receipt of this server states.
#[track_caller]
fn verified(server: &TestServer, receipt: &str) -> Receipt {
    verify(receipt, &keys_of(&service(server.address(), None))).unwrap()
}

fn as_json(request: Request) -> Response {
    request.header("accept", "application/json").send()
}

#[track_caller]
fn answer(response: &Response) -> ProofAnswer {
    assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
    assert!(!response.headers.contains_key(headers::RECEIPT), "it is in the body");
    serde_json::from_slice(&response.body).unwrap()
}

fn with_secret(settings: &mut Settings, secret: &str) {
    settings.environment.push(("EDGEPROVE_RECEIPT_SECRET".to_owned(), secret.to_owned()));
}

#[test]
fn a_receipt_states_what_was_proved_and_observed() {
    let folder = AuditFolder::new();
    let server = TestServer::start(|s| {
        folder.configure(s);
        s.flag("--proof-cache", "2");
    });
    let range = samples::range_check();
    let response = as_json(server.prove_request(&range.witness).header(headers::REQUEST_ID, "order-7"));
    let proof = response.assert_proof_of(range);
    let answered = answer(&response);
    let receipt = verified(&server, answered.receipt.as_deref().unwrap());
    assert_eq!(receipt.request_id, "order-7");
    assert_eq!((receipt.circuit.as_str(), receipt.target), (range.name.as_str(), Target::NoirRecursive));
    assert_eq!((&receipt.vk_hash, &receipt.proof_hash), (&answered.vk_hash, &sha256(proof)));
    assert_eq!(receipt.public_inputs_hash, sha256(range.public_inputs.as_flattened()));
    assert_eq!(receipt.vk_sha256, sha256(server.get("/v1/circuits/range_check/vk").body));
    assert_eq!((receipt.backend.name.as_str(), receipt.proof_system.as_str()), ("bb", "ultra-honk"));
    assert_eq!(receipt.backend.version, server.health().bb_version);
    assert_eq!(receipt.server.version, env!("CARGO_PKG_VERSION"));
    assert!(receipt.verified && receipt.spool_wiped && !receipt.cached && !receipt.sealed, "{receipt:?}");
    let times = [&receipt.accepted_at, &receipt.started_at, &receipt.finished_at];
    assert!(times.is_sorted(), "{receipt:?}");
    // The entry of the proof is in the log by then, and nothing was written after it.
    assert_eq!(receipt.audit_head.as_deref(), Some(audit::head(&audit::verify(&folder.log(), &[])).as_str()));
    let entries = folder.entries();
    let worker = entries.last().unwrap()["worker"].as_str().unwrap();
    assert!(worker.ends_with(&format!("-{}", receipt.server.id)), "{worker} {receipt:?}");
    assert!(!serde_json::to_string(&receipt).unwrap().contains(worker), "the machine is named");

    // The same proof from the cache, as bytes, and as a tar file.
    let again = server.prove_request(&range.witness).send();
    let cached = verified(&server, again.header(headers::RECEIPT));
    assert!(cached.cached && cached.spool_wiped, "{cached:?}");
    assert_eq!((&cached.proof_hash, &cached.started_at), (&receipt.proof_hash, &cached.finished_at));
    let tar = server.prove_request(&range.witness).header("accept", "application/x-tar").send();
    assert_eq!(verified(&server, tar.header(headers::RECEIPT)).vk_sha256, receipt.vk_sha256);
    // The log names no receipt.
    assert!(!server.log().contains(answered.receipt.as_deref().unwrap()));
    server.assert_idle();
}

#[test]
fn a_receipt_states_whether_the_witness_came_sealed() {
    let job_server = JobServer::start(|_| {});
    let (server, range) = (&job_server.server, samples::range_check());
    let send = |path: &str| {
        let key = sealing_key(server.address(), None);
        let body = sealed_body(&key, &of_witness("range_check"), &range.witness);
        sealed_request(server.address(), path, "application/gzip", body).send()
    };
    let waited = send("/api/prove/range_check");
    assert!(verified(server, waited.header(headers::RECEIPT)).sealed);
    let job: JobDocument = serde_json::from_slice(&send("/v1/proofs?circuit=range_check").body).unwrap();
    let done = job_server.wait_until_finished(&job);
    assert!(verified(server, done.receipt.as_deref().unwrap()).sealed, "{SEALED_MEDIA_TYPE}");
    let clear = job_server.wait_until_finished(&job_server.submit(&range.witness));
    assert!(!verified(server, clear.receipt.as_deref().unwrap()).sealed);
}

#[test]
fn a_witness_that_is_not_gone_is_not_stated_as_wiped() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let server = TestServer::start(|s| s.spool = Some(spool.clone()));
    let range = samples::range_check();
    let witness = samples::padded(&range.witness, 60_000);
    let length = format!("Content-Length: {}", witness.len());
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
    let (most, rest) = witness.split_at(witness.len() - 1);
    upload.send(most);
    // Somebody gives the file another name meanwhile, out of the server's reach.
    let file = eventually("the upload is in the spool", || files_below(&spool).into_iter().next());
    fs::hard_link(&file, dir.path().join("other name")).unwrap();
    upload.send(rest);
    let response = upload.read_response_within(wait::LONG_LIMIT);
    response.assert_proof_of(range);
    let receipt = verified(&server, response.header(headers::RECEIPT));
    assert!(!receipt.spool_wiped, "{receipt:?}");
    let other = fs::read(dir.path().join("other name")).unwrap();
    assert!(other.iter().all(|byte| *byte == 0), "its content is overwritten all the same");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn a_job_has_one_receipt_which_outlives_the_server() {
    let data = tempfile::tempdir().unwrap();
    let start = |secret: Option<&str>| JobServer {
        server: TestServer::start(|s| {
            s.flag("--data", &data.path().join("data").display());
            if let Some(secret) = secret {
                with_secret(s, secret);
            }
        }),
        data: tempfile::tempdir().unwrap(),
    };
    let first = start(Some(SECRET));
    let range = samples::range_check();
    let submitted = first.submit(&range.witness);
    assert_eq!(submitted.receipt, None);
    let job = first.wait_until_finished(&submitted);
    assert_eq!(job.status, JobStatus::Completed);
    let receipt = job.receipt.clone().unwrap();
    let stated = verified(&first.server, &receipt);
    assert_eq!(Some(&stated.accepted_at), Some(&job.created_at));
    assert!(stated.spool_wiped && stated.finished_at <= job.finished_at.clone().unwrap(), "{stated:?}");
    // The proof has the same one in each form, and HEAD has none.
    let path = &job.links.proof;
    let server = &first.server;
    assert_eq!(answer(&as_json(server.request(Method::GET, path))).receipt.as_ref(), Some(&receipt));
    assert_eq!(server.get(path).header(headers::RECEIPT), receipt);
    let head = server.request(Method::HEAD, path).send();
    assert!(!head.headers.contains_key(headers::RECEIPT), "it has the digest of the proof");
    // Events do not have it.
    let (_, _, last) = events(&server.get(&job.links.events)).pop().unwrap();
    assert_eq!((last.status, last.receipt), (JobStatus::Completed, None));
    first.server.finish();

    let second = start(Some(&format!("{OTHER_SECRET},{SECRET}")));
    assert_eq!(second.job(&job).receipt.as_ref(), Some(&receipt));
    assert_eq!(verified(&second.server, &receipt), stated);
    second.server.finish();
    let third = start(None);
    assert_eq!(third.job(&job).receipt.as_ref(), Some(&receipt));
    assert!(verify(&receipt, &keys_of(&service(third.server.address(), None))).is_err());
    third.server.finish();
}

#[test]
fn observers_do_not_get_the_receipts_of_others() {
    let (folder, data) = (AuditFolder::new(), tempfile::tempdir().unwrap());
    let keys = folder.at("keys.toml");
    let watcher =
        format!("[keys.eyes]\nrole = 'observer'\nsha256 = ['{}']\n", hex::encode(Sha256::digest("eyes")));
    fs::write(&keys, [fs::read_to_string(&keys).unwrap(), watcher].concat()).unwrap();
    let server = TestServer::start(|s| {
        s.flag("--keys-file", &keys.display());
        s.flag("--data", &data.path().join("data").display());
        s.sample = None;
    });
    let request = server.prove_request(&samples::range_check().witness).header("prefer", "respond-async");
    let job: JobDocument =
        serde_json::from_slice(&request.header(headers::API_KEY, "bob's").send().body).unwrap();
    let read = |key: &str, path: &str| {
        let response = server.request(Method::GET, path).header(headers::API_KEY, key).send();
        (response.status == 200).then(|| serde_json::from_slice::<JobDocument>(&response.body).unwrap())
    };
    let done = eventually("the job has finished", || {
        read("bob's", &job.links.this).filter(|job| job.status.is_finished())
    });
    assert!(done.receipt.is_some());
    let list = server.request(Method::GET, "/v1/proofs").header(headers::API_KEY, "bob's").send();
    let listed: JobPage = serde_json::from_slice(&list.body).unwrap();
    assert_eq!((listed.jobs[0].id, &listed.jobs[0].receipt), (job.id, &None), "lists do not have it");
    let seen = read("eyes", &job.links.this).unwrap();
    assert_eq!((seen.status, seen.receipt), (JobStatus::Completed, None));
    assert_eq!(
        read(audit::KEY, &job.links.this).unwrap().receipt,
        done.receipt,
        "an operator may fetch the proof"
    );
    assert!(read("carol's", &job.links.this).is_none());
    // The page of bob's link.
    let link = done.links.events.replace("/events?", "?");
    let page: JobDocument = serde_json::from_slice(&server.get(&link).body).unwrap();
    assert_eq!(page.receipt, done.receipt);
}

#[test]
fn a_webhook_has_the_receipt() {
    let receiver = Receiver::start_default();
    let server = TestServer::start(webhooks::to(&[&receiver]));
    let request = server.prove_request(&samples::range_check().witness).header("prefer", "respond-async");
    let submitted = request.header(headers::CALLBACK_URL, &receiver.url("/hook")).send();
    assert_eq!(submitted.status, 202, "{submitted:?}");
    let calls = webhooks::wait_for(&receiver, 1);
    let event = webhooks::assert_signed(&calls[0]);
    let receipt = event["data"]["receipt"].as_str().unwrap();
    assert!(verified(&server, receipt).verified);
}

#[test]
fn a_groth16_proof_has_a_receipt_too() {
    let folder = CircomFolder::new();
    drop(folder.add("range"));
    let server = TestServer::start(|s| s.circuits = Some(folder.path().to_owned()));
    let document = json!({"privateInputs": {"in": 60}, "publicInputs": {"randomPublicSignal": "7"}});
    let request = || {
        let mut request = Request::new(server.address(), Method::POST, "/api/prove/range");
        request.body = document.to_string().into_bytes();
        request.header("content-type", "application/json")
    };
    let bytes = request().send();
    assert_eq!(bytes.status, 200, "{bytes:?}");
    let text = bytes.header(headers::RECEIPT);
    let receipt = verified(&server, text);
    assert_eq!((receipt.backend.name.as_str(), receipt.target), ("groth16", Target::Groth16));
    assert_eq!(receipt.proof_hash, sha256(&bytes.body));
    let vk = server.get("/v1/circuits/range/vk").body;
    assert_eq!((&receipt.vk_sha256, &receipt.vk_hash), (&sha256(&vk), &sha256(&vk)));
    let fields = [50_u8, 7].map(|value| {
        let mut field = [0; 32];
        field[31] = value;
        field
    });
    assert_eq!(receipt.public_inputs_hash, sha256(fields.as_flattened()));

    // The command compares the files of snarkjs.
    let work = Work::new();
    let tar = request().header("accept", "application/x-tar").send();
    let receipt = work.file("receipt", tar.header(headers::RECEIPT));
    let keys = work.file("keys.json", &String::from_utf8(server.get("/.well-known/edgeprove").body).unwrap());
    tar::Archive::new(&tar.body[..]).unpack(work.0.path()).unwrap();
    let run = || {
        Work::run(&[
            &receipt,
            "--public-key",
            &keys,
            "--proof",
            &work.at("proof.json"),
            "--public-inputs",
            &work.at("public.json"),
            "--vk",
            &work.at("verification_key.json"),
        ])
    };
    Work::assert_verdict(&run(), 0, "valid\n");
    fs::write(work.at("public.json"), r#"["51", "7"]"#).unwrap();
    Work::assert_verdict(&run(), 1, "invalid: the receipt is of another proof: the public inputs");
    fs::write(work.at("public.json"), "{}").unwrap();
    assert_eq!(run().status.code(), Some(65));
}

#[test]
fn a_server_without_receipts_signs_nothing() {
    let server = TestServer::start(|s| s.flag("--receipts", "off"));
    let range = samples::range_check();
    let service = service(server.address(), None);
    assert_eq!((service.receipts.keys.len(), service.receipts.lasting), (0, false));
    let bytes = server.prove_request(&range.witness).send();
    assert!(!bytes.headers.contains_key(headers::RECEIPT));
    let response = as_json(server.prove_request(&range.witness));
    assert_eq!(answer(&response).receipt, None);
    assert!(response.json().get("receipt").is_none());
}

#[test]
fn keys_follow_from_a_secret_and_change_with_time() {
    let (clock, range) = (Clock::new(), samples::range_check());
    let server = TestServer::start(|s| {
        clock.apply_to(s);
        with_secret(s, SECRET);
    });
    let prove = || server.prove_request(&range.witness).send().header(headers::RECEIPT).to_owned();
    let published = || service(server.address(), None);
    let (old, keys) = (prove(), published());
    assert!(keys.receipts.lasting, "{keys:?}");
    let first = &keys.receipts.keys[0];
    assert!(first.not_before <= keys.timestamp && keys.timestamp < first.expires_at, "{keys:?}");
    assert!(keys.receipts.keys.len() >= 5, "earlier keys are published");
    let unique: std::collections::BTreeSet<_> = keys.receipts.keys.iter().map(|key| &key.x).collect();
    assert_eq!(unique.len(), keys.receipts.keys.len());

    let of_file = tempfile::NamedTempFile::new().unwrap();
    fs::write(of_file.path(), format!("\n{SECRET}\n")).unwrap();
    let same = TestServer::start(|s| s.flag("--receipt-secret-file", &of_file.path().display()));
    assert_eq!(service(same.address(), None).receipts.keys[0].kid, first.kid);
    let own = TestServer::start_default();
    let of_own = service(own.address(), None).receipts;
    assert!(!of_own.lasting && of_own.keys.len() == 1 && of_own.keys[0].kid != first.kid, "{of_own:?}");
    assert!(verify(&old, &keys_of(&service(own.address(), None))).is_err(), "another key");

    clock.set_offset(100 * DAY);
    let later = published();
    assert_ne!(later.receipts.keys[0].kid, first.kid);
    assert!(verify(&old, &keys_of(&later)).is_ok());
    let new = prove();
    assert!(verify(&new, &keys_of(&later)).is_ok() && verify(&new, &keys_of(&keys)).is_err());
    clock.set_offset(500 * DAY);
    assert!(verify(&old, &keys_of(&published())).is_err(), "the key is not published any more");
    assert!(verify(&old, &keys_of(&keys)).is_ok(), "a pinned key remains valid");
    clock.set_offset(0);
    for server in [server, same, own] {
        assert!(!server.log().contains(&SECRET[..32]));
    }
}

#[test]
fn a_wrong_receipt_secret_is_an_error_that_hides_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "hunter2-hunter2-hunter2\n").unwrap();
    let fails = |change: &dyn Fn(&mut Settings)| {
        let failed = TestServer::fails_to_start(change);
        assert_eq!(failed.code, Some(64), "{failed:?}");
        assert!(failed.stderr.contains("receipt-secret") && !failed.stderr.contains("hunter2"), "{failed:?}");
        assert!(!failed.stderr.contains(&SECRET[..32]), "{failed:?}");
    };
    fails(&|s| with_secret(s, "hunter2-hunter2-hunter2"));
    fails(&|s| with_secret(s, &[SECRET; 5].join(",")));
    fails(&|s| s.flag("--receipt-secret-file", &file.path().display()));
    fails(&|s| {
        with_secret(s, SECRET);
        s.flag("--receipt-secret-file", &file.path().display());
    });
}

/// The files of a command.
struct Work(tempfile::TempDir);

impl Work {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, content: &str) -> String {
        fs::write(self.at(name), content).unwrap();
        self.at(name)
    }

    fn command(arguments: &[&str]) -> Command {
        let mut command = Command::new(paths::edgeprove());
        command.env_clear().args(["receipt", "verify"]).args(arguments);
        command
    }

    fn run(arguments: &[&str]) -> Output {
        processes::run(&mut Self::command(arguments), wait::LIMIT)
    }

    #[track_caller]
    fn assert_verdict(output: &Output, code: i32, part: &str) {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(code) && text.starts_with(part), "{output:?}");
    }
}

#[test]
fn the_command_verifies_a_receipt_and_finds_what_is_wrong() {
    let (server, other, work) = (TestServer::start_default(), TestServer::start_default(), Work::new());
    let range = samples::range_check();
    let response = as_json(server.prove_request(&range.witness));
    let proof = work.at("proof");
    fs::write(&proof, response.assert_proof_of(range)).unwrap();
    let inputs = work.at("public_inputs");
    fs::write(&inputs, range.public_inputs.as_flattened()).unwrap();
    let vk = work.at("vk");
    fs::write(&vk, server.get("/v1/circuits/range_check/vk").body).unwrap();
    let whole = work.file("answer.json", &String::from_utf8(response.body.clone()).unwrap());
    let receipt = answer(&response).receipt.unwrap();
    let alone = work.file("receipt", &format!("{receipt}\n"));
    let document = |of: &TestServer| String::from_utf8(of.get("/.well-known/edgeprove").body).unwrap();
    let keys = work.file("keys.json", &document(&server));
    let url = format!("http://{}", server.address());

    let files = ["--proof", &proof, "--public-inputs", &inputs, "--vk", &vk];
    for file in [&alone, &whole] {
        for source in [["--public-key", keys.as_str()], ["--url", &url]] {
            let output = Work::run(&[&[file.as_str()], &source[..], &files[..]].concat());
            Work::assert_verdict(&output, 0, "valid\n  circuit: range_check\n");
        }
    }
    let as_json = Work::run(&[&alone, "--public-key", &keys, "--json"]);
    let verdict: Value = serde_json::from_slice(&as_json.stdout).unwrap();
    assert_eq!((&verdict["valid"], &verdict["receipt"]["spool_wiped"]), (&json!(true), &json!(true)));
    // From standard input.
    let mut command = Work::command(&["-", "--public-key", &keys]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(receipt.as_bytes()).unwrap();
    Work::assert_verdict(&child.wait_with_output().unwrap(), 0, "valid\n");

    let invalid = |output: &Output, part: &str| {
        Work::assert_verdict(output, 1, "invalid: ");
        assert!(String::from_utf8_lossy(&output.stdout).contains(part), "{output:?}");
    };
    let others = work.file("others.json", &document(&other));
    invalid(&Work::run(&[&alone, "--public-key", &others]), "none of the given keys");
    invalid(&Work::run(&[&alone, "--url", &format!("http://{}", other.address())]), "none of the given keys");
    for (flag, path) in [("--proof", &inputs), ("--public-inputs", &proof), ("--vk", &proof)] {
        invalid(&Work::run(&[&alone, "--public-key", &keys, flag, path]), "of another proof");
    }
    let output = Work::run(&[&alone, "--public-key", &keys, "--proof", &inputs, "--json"]);
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && verdict["valid"] == false && verdict["reason"].is_string());
    // A receipt of another time, by a key that is the same and had expired.
    let expired = document(&server).replace("\"expires_at\":\"20", "\"expires_at\":\"19");
    let expired = work.file("expired.json", &expired);
    invalid(&Work::run(&[&alone, "--public-key", &expired]), "at which its key does not sign");

    let fails = |arguments: &[&str], code: i32| {
        let output = Work::run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && stderr.starts_with("edgeprove: "), "{output:?}");
    };
    let huge = work.file("huge", &"A".repeat(9000));
    let none = work.file("none", "{}");
    fails(&[&alone], 64);
    fails(&[&alone, "--url", "ftp://a"], 64);
    fails(&[&huge, "--public-key", &keys], 65);
    fails(&[&none, "--public-key", &keys], 65);
    fails(&[&alone, "--public-key", &alone], 65);
    fails(&[&work.at("missing"), "--public-key", &keys], 66);
    fails(&[&alone, "--public-key", &work.at("missing")], 66);
    fails(&[&alone, "--url", "http://127.0.0.1:1"], 70);
}

/// Verifies a receipt with the code of the documentation, which uses nothing but Node.js.
#[test]
fn the_code_of_the_documentation_verifies_a_receipt() {
    let (server, work) = (TestServer::start_default(), Work::new());
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/RECEIPTS.md");
    let document = fs::read_to_string(document).unwrap();
    let (_, snippet) = document.split_once("```js\n").expect("it has a snippet");
    let (snippet, _) = snippet.split_once("```").unwrap();
    let main = work.file(
        "main.mjs",
        &format!(
            "{snippet}\nimport {{ readFileSync }} from 'node:fs';\nconst [receipt, keys, proof] = \
             process.argv.slice(2).map((file) => readFileSync(file));\n\
             console.log(JSON.stringify(statements(receipt.toString(), JSON.parse(keys).receipts.keys, proof)));\n"
        ),
    );
    let response = server.prove_request(&samples::range_check().witness).send();
    let (text, proof) = (response.header(headers::RECEIPT), work.at("proof"));
    fs::write(&proof, &response.body).unwrap();
    let keys = work.file("keys.json", &String::from_utf8(server.get("/.well-known/edgeprove").body).unwrap());
    let run = |receipt: &str| {
        let receipt = work.file("receipt", receipt);
        processes::run(Command::new("node").args([&main, &receipt, &keys, &proof]), wait::LIMIT)
    };
    let output = run(text);
    assert!(output.status.success(), "{output:?}");
    let stated: Receipt = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(stated, verified(&server, text));
    let [header, payload, signature] = text.split('.').collect::<Vec<_>>()[..] else { panic!("{text}") };
    for wrong in [
        format!("{header}.{payload}.{}", signature.chars().rev().collect::<String>()),
        format!("eyJhbGciOiJub25lIn0.{payload}."),
    ] {
        assert!(!run(&wrong).status.success(), "{wrong}");
    }
    fs::write(&proof, b"another proof").unwrap();
    assert!(!run(text).status.success());
}
