//! Proves with a unique private value, the canary, and searches for it wherever it must not be: in every file of
//! servers, databases and buckets, and in every response, while jobs run and afterwards.
//!
//! Only the spool is not searched while a server runs, because it contains the witnesses until they are wiped.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{JobId, JobStatus, ProblemType};
use edgeprove_test_circom::CircomCircuit;
use edgeprove_testkit::{
    Response, Sample, TestServer,
    circuit_form::CircuitForm,
    inputs,
    postgres::Cluster,
    s3::{BUCKET, S3Server},
    samples,
    sealed::{of_witness, sealed_body, sealed_request, sealing_key},
    settings::Settings,
    wait::LONG_LIMIT,
};
use flate2::read::GzDecoder;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{DataFolder, suspend, wait_until_all_finished, wait_until_running};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// Below the field's modulus.
const VALUE: &str = "0bb5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9fafbfcfdfe0112233445";
/// The same in decimal.
const IN_DECIMAL: &str = "5296613019840916370524061202856847850114276872349027242683043035687264924741";

/// A sample with a unique private value, and the forms of the value to search for.
struct Canary {
    sample: Sample,
    dir: TempDir,
    parts: Vec<Vec<u8>>,
    since: SystemTime,
}

impl Canary {
    fn new() -> Self {
        // File times are less precise than the clock.
        let since = SystemTime::now() - Duration::from_secs(1);
        let dir = tempfile::tempdir().unwrap();
        let value: [u8; 32] = hex::decode(VALUE).unwrap().try_into().unwrap();
        let sample = samples::square_of_bytes(dir.path(), "canary", &value);
        inputs::add_abi(&sample.circuit, &["root"], &["square"]);
        let reversed: Vec<u8> = value.iter().rev().copied().collect();
        let sent = &sample.witness;
        // The middle of each form, so that it is found even if its ends are cut off.
        let mut parts =
            vec![value[8..24].to_vec(), reversed[8..24].to_vec(), IN_DECIMAL.as_bytes()[20..50].to_vec()];
        // The end of the witness as it was sent. The beginning is the same for all witnesses.
        let tail = &sent[sent.len() / 2..sent.len() - 8];
        parts.push(tail.to_vec());
        for bytes in [&value[8..24], &reversed[8..24], tail] {
            parts.extend([hex::encode(bytes).into_bytes(), hex::encode_upper(bytes).into_bytes()]);
            // In base64, a text has three forms, depending on its position.
            for skipped in 0..3 {
                parts.push(STANDARD.encode(&bytes[skipped..skipped + 12]).into_bytes());
            }
        }
        Self { sample, dir, parts, since }
    }

    /// An unsatisfied witness with the same private value.
    fn unsatisfied(&self) -> Sample {
        Sample { witness: samples::altered(&self.sample.witness, 1, 5), ..self.sample.clone() }
    }

    /// Whether these bytes contain the value, directly or in a gzip stream.
    fn is_in(&self, bytes: &[u8]) -> bool {
        // One pass over the bytes, which may be many.
        let firsts = self.parts.iter().fold([false; 256], |mut firsts, part| {
            firsts[usize::from(part[0])] = true;
            firsts
        });
        for (at, &byte) in bytes.iter().enumerate() {
            if firsts[usize::from(byte)] && self.parts.iter().any(|part| bytes[at..].starts_with(part)) {
                return true;
            }
        }
        decompressed(bytes).iter().any(|inner| self.is_in(inner))
    }

    /// Searches the files that were written since the canary was created. Returns their number, or the first file that
    /// contains the value.
    fn search(&self, folders: &[PathBuf], but: Option<&Path>) -> Result<usize, PathBuf> {
        let mut searched = 0;
        for path in folders.iter().flat_map(|folder| files(folder)) {
            if but.is_some_and(|but| path.starts_with(but)) {
                continue;
            }
            // Files may disappear while servers work.
            let Ok(written) = fs::metadata(&path).and_then(|about| about.modified()) else { continue };
            if written < self.since {
                continue;
            }
            let Ok(bytes) = fs::read(&path) else { continue };
            searched += 1;
            if self.is_in(&bytes) {
                return Err(path);
            }
        }
        Ok(searched)
    }

    #[track_caller]
    fn assert_absent(&self, response: &Response) {
        let text = format!("{response:?}");
        assert!(
            !self.is_in(&response.body) && !self.is_in(text.as_bytes()),
            "the response contains the value: {text}"
        );
    }
}

/// The content of every gzip stream that begins anywhere in these bytes.
fn decompressed(bytes: &[u8]) -> Vec<Vec<u8>> {
    let starts = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(&[0x1f, 0x8b, 8]));
    let decompress = |at: usize| {
        let mut inner = Vec::new();
        // Some of them only look like gzip, and others are cut off.
        let _ = GzDecoder::new(&bytes[at..]).take(1 << 20).read_to_end(&mut inner);
        inner
    };
    starts.map(decompress).filter(|inner| !inner.is_empty()).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn the_search_finds_the_private_value_in_every_form() {
    let canary = Canary::new();
    let (value, sent) = (hex::decode(VALUE).unwrap(), &canary.sample.witness);
    let reversed: Vec<u8> = value.iter().rev().copied().collect();
    let json = format!("{{\"value\":\"0x{}\"}}", VALUE.to_uppercase());
    let shown = [
        value.clone(),
        reversed,
        sent.clone(),
        samples::decompress(sent),
        json.clone().into_bytes(),
        format!("x = {IN_DECIMAL}").into_bytes(),
        samples::gzip(json.as_bytes()),
        [b"ab".as_slice(), &samples::gzip(&samples::decompress(sent))].concat(),
        STANDARD.encode(&value).into_bytes(),
        STANDARD.encode([b"a", sent.as_slice()].concat()).into_bytes(),
        hex::encode(sent).into_bytes(),
    ];
    for (number, bytes) in shown.iter().enumerate() {
        assert!(canary.is_in(bytes), "{number}");
        fs::write(canary.dir.path().join("file"), bytes).unwrap();
        let folders = [canary.dir.path().to_owned()];
        assert_eq!(canary.search(&folders, None), Err(canary.dir.path().join("file")));
    }
    assert!(!canary.is_in(&samples::range_check().witness));
    assert!(canary.is_in(&canary.unsatisfied().witness));
}

/// Uses the canary in inputs: of jobs, of requests that wait, and of requests that are refused.
fn submit_inputs(server: &TestServer, canary: &Canary) {
    let square = format!("0x{}", hex::encode(canary.sample.public_inputs.as_flattened()));
    let document =
        |private: Value, square: Value| json!({"privateInputs": private, "publicInputs": {"square": square}});
    let value = format!("0x{VALUE}");
    let (root, square) = (json!({"root": value}), json!(square));
    let send = |path: &str, document: &Value| {
        let response = server.inputs_request(path, document).send();
        canary.assert_absent(&response);
        response
    };
    let job = send("/v1/proofs", &document(root.clone(), square.clone())).assert_accepted();
    send("/api/prove", &document(root.clone(), square.clone())).assert_proof_of(&canary.sample);
    send("/api/prove", &document(root.clone(), json!(5))).assert_refused(ProblemType::WitnessUnsatisfied);
    for private in [
        json!({"root": format!("{value}x")}),
        json!({"root": {"x": value}}),
        json!({"root": format!("-{value}")}),
        json!({"root": format!("{value}{VALUE}")}),
        json!({VALUE: 1}),
        json!({"root": [value]}),
    ] {
        send("/v1/proofs", &document(private, square.clone())).assert_refused(ProblemType::InvalidInputs);
    }
    let text = document(root, square).to_string();
    let cut = server.json_request("/api/prove", &text[..text.len() - 1]).send();
    cut.assert_refused(ProblemType::InvalidRequest);
    canary.assert_absent(&cut);
    server.wait_until_finished(job.id, LONG_LIMIT);
}

/// Uses the canary in sealed witnesses: of a job, of a request that waits, and of bodies that are refused.
fn submit_sealed(server: &TestServer, canary: &Canary) {
    let (to, binding) = (server.address(), of_witness("canary"));
    let key = sealing_key(to, None);
    let seal = || sealed_body(&key, &binding, &canary.sample.witness);
    let send = |path: &str, body: Vec<u8>| {
        assert!(!canary.is_in(&body), "the sealed body shows the value");
        let response = sealed_request(to, path, &binding.content, body).send();
        canary.assert_absent(&response);
        response
    };
    let (wait, submit) = ("/api/prove/canary", "/v1/proofs?circuit=canary");
    send(wait, seal()).assert_proof_of(&canary.sample);
    let mut changed = seal();
    *changed.last_mut().unwrap() ^= 1;
    send(wait, changed).assert_refused(ProblemType::SealedBodyInvalid);
    let body = seal();
    let job = send(submit, body.clone()).assert_accepted();
    send(submit, body).assert_refused(ProblemType::SealedBodyReplayed);
    server.wait_until_finished(job.id, LONG_LIMIT);
}

/// A folder with the circom circuit `square`, which has a private root of any size.
fn circom_folder() -> (TempDir, CircomCircuit) {
    let (dir, square) = (tempfile::tempdir().unwrap(), CircomCircuit::compile("square"));
    fs::copy(square.snarkjs_zkey(7), dir.path().join("square.zkey")).unwrap();
    fs::write(dir.path().join("square.wasm"), square.wasm()).unwrap();
    (dir, square)
}

/// Uses the canary with a circom circuit: in inputs and in witnesses that are proved, and in some that are refused.
fn submit_circom(server: &TestServer, canary: &Canary, circuit: &CircomCircuit) {
    const JOB: &str = "/v1/proofs?circuit=square";
    const WAIT: &str = "/api/prove/square";
    let absent = |response: Response| {
        canary.assert_absent(&response);
        response
    };
    let inputs = |path: &str, private: &Value| {
        let request = server.inputs_request(path, &json!({"privateInputs": private}));
        absent(request.header("accept", "application/json").send())
    };
    let value = format!("0x{VALUE}");
    let root = json!({"root": value});
    let wtns = circuit.snarkjs_witness(&root.to_string()).unwrap();
    let mut altered = wtns.clone();
    // The square is the value after the constant.
    altered[76 + 32] ^= 1;
    let (good, unsatisfied) = (samples::gzip(&wtns), samples::gzip(&altered));
    assert!(canary.is_in(&good) && canary.is_in(&unsatisfied));
    let upload = |path: &str, witness: &[u8]| absent(server.prove_request_at(path, witness).send());

    let jobs = [inputs(JOB, &root).assert_accepted(), upload(JOB, &good).assert_accepted()];
    for response in [inputs(WAIT, &root), upload(WAIT, &good)] {
        assert_eq!(response.status, 200, "{response:?}");
    }
    upload(WAIT, &unsatisfied).assert_refused(ProblemType::WitnessUnsatisfied);
    upload(WAIT, &samples::gzip(&wtns[..wtns.len() - 1])).assert_refused(ProblemType::WitnessMalformed);
    for private in [
        json!({"root": format!("{value}x")}),
        json!({"root": {"x": value}}),
        json!({"root": [value, value]}),
        json!({"root": format!("0x{VALUE}{VALUE}")}),
        json!({VALUE: 1}),
        json!({"root": value, VALUE: value}),
    ] {
        inputs(JOB, &private).assert_refused(ProblemType::InvalidInputs);
    }
    let failing = upload(JOB, &unsatisfied).assert_accepted();
    let failed = server.wait_until_finished(failing.id, LONG_LIMIT);
    assert_eq!(failed.error.unwrap().code, ProblemType::WitnessUnsatisfied);
    for job in jobs {
        server.wait_until_finished(job.id, LONG_LIMIT);
        for accept in ["application/json", "application/x-tar", "application/octet-stream"] {
            let proof = server.request(Method::GET, &job.links.proof).header("accept", accept).send();
            assert_eq!(absent(proof).status, 200);
        }
    }
}

/// Uses the canary in samples of circuits that are uploaded, and of some that are refused.
fn upload_samples(server: &TestServer, canary: &Canary, circuit: &CircomCircuit) {
    let root = json!({"root": format!("0x{VALUE}")});
    let square = format!("0x{}", hex::encode(canary.sample.public_inputs.as_flattened()));
    let of_noir = |square: &str| json!({"privateInputs": root, "publicInputs": {"square": square}});
    let noir = CircuitForm::named("noir").with("program", fs::read(&canary.sample.circuit).unwrap());
    let circom = CircuitForm::named("circom")
        .with("r1cs", circuit.r1cs())
        .with("wasm", circuit.wasm())
        .with("zkey", fs::read(circuit.snarkjs_zkey(7)).unwrap());
    let send = |form: &CircuitForm, input: Vec<u8>| {
        let response = form.clone().with("input", input).send(server);
        canary.assert_absent(&response);
        response
    };
    let bytes = |document: Value| document.to_string().into_bytes();
    let cut = of_noir(&square).to_string();
    send(&noir, cut.as_bytes()[..cut.len() - 1].to_vec()).assert_refused(ProblemType::InvalidRequest);
    send(&noir, bytes(of_noir("5"))).assert_refused(ProblemType::WitnessUnsatisfied);
    send(&circom, bytes(json!({VALUE: 1}))).assert_refused(ProblemType::InvalidInputs);
    send(&circom, bytes(json!({"root": format!("{VALUE}x")}))).assert_refused(ProblemType::InvalidInputs);
    for (form, input) in [(&noir, of_noir(&square)), (&circom, root.clone())] {
        let response = send(form, bytes(input));
        assert_eq!(response.status, 201, "{response:?}");
        let circuit = response.header("location").to_owned();
        for file in response.json()["uploaded"]["artifacts"].as_array().unwrap() {
            canary.assert_absent(&server.get(file["path"].as_str().unwrap()));
        }
        canary.assert_absent(&server.get(&circuit));
    }
}

/// Uses the canary in jobs that succeed, fail and are interrupted, and searches for it.
fn assert_leaves_no_trace(folder: &DataFolder, elsewhere: &[PathBuf], configure: &dyn Fn(&mut Settings)) {
    let canary = Canary::new();
    let (circom, square) = circom_folder();
    let spool = folder.path("spool");
    fs::create_dir(folder.path("temporary")).unwrap();
    let serve = || {
        TestServer::start(|settings| {
            configure(settings);
            let temporary = folder.path("temporary").display().to_string();
            settings.environment.push(("TMPDIR".to_owned(), temporary));
            settings.spool = Some(spool.clone());
            settings.keys = folder.path("keys");
            settings.circuit = Some(canary.sample.circuit.clone());
            settings.circuits = Some(circom.path().to_owned());
            settings.sample = Some(canary.sample.clone());
            settings.flag("--audit", &folder.audit_log().display());
            settings.flag("--job-workers", "2");
            settings.flag("--anonymous-role", "operator");
            settings.flag("--lease", "1s");
            settings.flag("--proof-cache", "50");
        })
    };
    let folders: Vec<_> = std::iter::once(folder.path("")).chain(elsewhere.iter().cloned()).collect();
    let submit = |server: &TestServer, sample: &Sample| -> JobId {
        let response =
            server.submission(sample).header("idempotency-key", &Uuid::new_v4().to_string()).send();
        canary.assert_absent(&response);
        response.assert_accepted().id
    };

    // A server is killed while a job runs.
    let mut server = serve();
    suspend(&server);
    let interrupted = submit(&server, &canary.sample);
    wait_until_running(&server, 1);
    canary.search(&folders, Some(&spool)).unwrap();
    let log = server.log();
    server.kill();
    drop(server);
    assert!(!canary.is_in(log.as_bytes()));

    let server = serve();
    // The new server has wiped the spool of the killed one.
    let is_over = AtomicBool::new(false);
    let (proved, failed) = thread::scope(|scope| {
        let search = scope.spawn(|| {
            let mut searched = 0;
            while !is_over.load(Ordering::Relaxed) {
                searched += canary.search(&folders, Some(&spool)).unwrap();
            }
            searched
        });
        let proved: Vec<_> = (0..6).map(|_| submit(&server, &canary.sample)).collect();
        let failed = submit(&server, &canary.unsatisfied());
        submit_inputs(&server, &canary);
        submit_sealed(&server, &canary);
        submit_circom(&server, &canary, &square);
        upload_samples(&server, &canary, &square);
        for event in server.events(proved[5]) {
            assert!(!canary.is_in(format!("{event:?}").as_bytes()));
        }
        wait_until_all_finished(&server);
        is_over.store(true, Ordering::Relaxed);
        assert!(search.join().unwrap() > 0);
        (proved, failed)
    });
    for id in proved.iter().chain([&interrupted]) {
        let response = server.get(&format!("/v1/proofs/{id}/proof"));
        canary.assert_absent(&response);
        response.assert_proof_of(&canary.sample);
    }
    let unsatisfied = server.wait_until_finished(failed, LONG_LIMIT);
    assert_eq!(unsatisfied.status, JobStatus::Failed);
    assert_eq!(unsatisfied.error.unwrap().code, ProblemType::WitnessUnsatisfied);
    let failed = format!("/v1/proofs/{failed}/proof");
    let paths = ["/v1/proofs", "/v1/queue", "/v1/audit", "/metrics", "/api/health", "/", failed.as_str()];
    for path in paths {
        canary.assert_absent(&server.get(path));
    }
    canary.assert_absent(&server.prove(&canary.sample.witness));
    let log = server.log();
    server.finish();
    assert!(!canary.is_in(log.as_bytes()));
    assert!(canary.search(&folders, None).unwrap() > 0);
}

#[test]
fn sqlite_and_a_folder_contain_no_private_value() {
    let folder = DataFolder::new();
    let data = folder.path("data");
    assert_leaves_no_trace(&folder, &[], &|settings| settings.flag("--data", &data.display()));
}

#[test]
fn postgresql_and_a_bucket_contain_no_private_value() {
    let Some(cluster) = Cluster::start() else { return };
    let (folder, bucket) = (DataFolder::new(), S3Server::start());
    let elsewhere = [cluster.folder().to_owned(), bucket.root().to_owned()];
    assert_leaves_no_trace(&folder, &elsewhere, &|settings| {
        settings.environment.push(("DATABASE_URL".to_owned(), cluster.url()));
        settings.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), KEY.to_owned()));
        settings.environment.extend(bucket.environment());
        settings.flag("--artifacts", &format!("s3://{BUCKET}/jobs"));
    });
}
