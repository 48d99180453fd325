//! Servers whose jobs are proved by provers that pull, and requests as such a prover sends them.

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{
    JobId,
    work::{ClaimAnswer, ClaimedJob},
};
use edgeprove_testkit::{Response, Sample, TestServer, client::Request, samples, settings::Settings};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::DataFolder;

/// The key of the provers.
pub(crate) const FLEET: &str = "the key of the provers";
/// A key of each other role.
pub(crate) const OTHERS: [(&str, &str); 3] =
    [("observer", "eyes of the board"), ("user", "a common caller"), ("operator", "who runs it all")];

/// The folder of a server with a keys file.
pub(crate) struct PullFolder(pub(crate) DataFolder);

impl PullFolder {
    pub(crate) fn new() -> Self {
        let folder = DataFolder::new();
        let line = |name: &str, key: &str, role: &str| {
            let digest = hex::encode(Sha256::digest(key));
            format!("[keys.{name}]\nsha256 = [\"{digest}\"]\nrole = \"{role}\"\n")
        };
        // The helpers of tests have no key.
        let mut keys = "[anonymous]\nallowed = true\nrole = \"operator\"\n".to_owned();
        keys.push_str(&line("fleet", FLEET, "prover"));
        for (role, key) in OTHERS {
            keys.push_str(&line(role, key, role));
        }
        fs::write(folder.path("keys.toml"), keys).unwrap();
        Self(folder)
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.0.path("keys.toml")
    }

    /// Configures a server that proves no jobs itself.
    pub(crate) fn configure(&self, settings: &mut Settings, lease: &str) {
        self.0.configure(settings);
        settings.flag("--keys-file", &self.keys().display());
        settings.flag("--roles", "server");
        settings.flag("--lease", lease);
        settings.flag("--job-queue-max", "1000");
    }

    #[track_caller]
    pub(crate) fn start_server(&self, lease: &str) -> TestServer {
        TestServer::start(|settings| self.configure(settings, lease))
    }
}

/// A request of a prover.
pub(crate) fn post(server: &TestServer, path: &str, body: &Value) -> Request {
    post_as(server, FLEET, path, body)
}

/// A request of the holder of a key.
pub(crate) fn post_as(server: &TestServer, key: &str, path: &str, body: &Value) -> Request {
    let request = server.request(Method::POST, path).header("x-api-key", key);
    let mut request = request.header("content-type", "application/json");
    request.body = body.to_string().into_bytes();
    request
}

/// The body of a claim for this sample.
pub(crate) fn claim_body(sample: &Sample, max: u32, wait_s: u32) -> Value {
    let version = version(sample);
    json!({
        "protocol": 1,
        "worker": {"name": "by-hand", "version": "1", "backends": [], "concurrency": max},
        "circuits": [{"circuit": sample.name, "version": version}],
        "max": max,
        "wait_s": wait_s,
    })
}

/// The version of a sample's circuit.
fn version(sample: &Sample) -> String {
    use std::io::Read as _;
    let file: Value = serde_json::from_slice(&fs::read(&sample.circuit).unwrap()).unwrap();
    let compressed = STANDARD.decode(file["bytecode"].as_str().unwrap()).unwrap();
    let mut program = Vec::new();
    flate2::read::GzDecoder::new(&compressed[..]).read_to_end(&mut program).unwrap();
    hex::encode(Sha256::digest(&program))
}

/// Claims jobs.
#[track_caller]
pub(crate) fn claim(server: &TestServer, sample: &Sample, max: u32, wait_s: u32) -> Vec<ClaimedJob> {
    let response = post(server, "/v1/work/claims", &claim_body(sample, max, wait_s)).send();
    assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
    let answer: ClaimAnswer = serde_json::from_slice(&response.body).unwrap();
    answer.jobs
}

/// Claims one job that there must be.
#[track_caller]
pub(crate) fn claim_one(server: &TestServer, sample: &Sample) -> ClaimedJob {
    claim(server, sample, 1, 20).pop().expect("there is a job")
}

/// The path of a job's resource for provers.
pub(crate) fn path(id: JobId, resource: &str) -> String {
    format!("/v1/work/{id}/{resource}")
}

/// Reports an outcome.
#[track_caller]
pub(crate) fn report(server: &TestServer, job: &ClaimedJob, outcome: &Value) -> Response {
    let body = json!({"lease": job.lease.0, "outcome": outcome});
    post(server, &path(job.id, "outcome"), &body).send()
}

/// A proof of this sample as a prover reports it, made by the server itself.
#[track_caller]
pub(crate) fn proof_of(server: &TestServer, sample: &Sample) -> Value {
    let path = format!("/api/prove/{}", sample.name);
    let proof = server.prove_request_at(&path, &sample.witness).send();
    assert_eq!(proof.status, 200, "{}", String::from_utf8_lossy(&proof.body));
    completed(&proof.body, &sample.public_inputs)
}

/// The outcome with this proof.
pub(crate) fn completed(proof: &[u8], public_inputs: &[[u8; 32]]) -> Value {
    let inputs: Vec<_> = public_inputs.iter().map(|field| format!("0x{}", hex::encode(field))).collect();
    let timings = json!({"upload_ms": 0, "queue_ms": 1, "prove_ms": 100, "verify_ms": 5, "total_ms": 110});
    json!({"completed": {"proof": STANDARD.encode(proof), "public_inputs": inputs, "timings": timings}})
}

/// The sample that most tests prove.
pub(crate) fn sample() -> &'static Sample {
    samples::range_check()
}
