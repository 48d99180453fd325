//! Private values do not stay in the memory of the server: neither those of a witness, nor the bytes of an upload.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
};

use edgeprove_protocol::ProblemType;

use serde_json::{Value, json};

use crate::support::{
    Connection, Sample, TestServer,
    circom_files::{self, CircomFolder},
    eventually, inputs, samples, skipped, wait,
};

/// Bytes of a form that are searched for. The first ones of a value may be overwritten by the allocator.
const PART: std::ops::Range<usize> = 12..28;

/// A value of its own for each witness, below the modulus of the field.
fn value() -> [u8; 32] {
    let random = [*uuid::Uuid::new_v4().as_bytes(), *uuid::Uuid::new_v4().as_bytes()].concat();
    let mut value: [u8; 32] = random.try_into().unwrap();
    value[0] = 0;
    value
}

/// The parts of a witness that no memory may contain afterwards.
struct Private {
    sample: Sample,
    parts: Vec<Vec<u8>>,
}

impl Private {
    fn new(dir: &tempfile::TempDir) -> Self {
        let value = value();
        let sample = samples::square_of_bytes(dir.path(), "square", &value);
        let mut parts: Vec<_> =
            samples::forms_in_memory(&value).iter().map(|form| form[PART].to_vec()).collect();
        // What gzip could not compress: the value, as it was sent.
        let sent = &sample.witness;
        parts.extend([sent[sent.len() - 50..sent.len() - 34].to_vec(), sent[40..56].to_vec()]);
        Self { sample, parts }
    }

    /// How often each part is in the writable memory of a process.
    fn count_in_memory(&self, pid: i32) -> Vec<usize> {
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let mut counts = vec![0; self.parts.len()];
        let firsts: Vec<u8> = self.parts.iter().map(|part| part[0]).collect();
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            let mut bytes = vec![0; usize::try_from(number(end) - number(start)).unwrap()];
            // A part of it may be gone by now.
            if memory.read_exact_at(&mut bytes, number(start)).is_err() {
                continue;
            }
            for (at, byte) in bytes.iter().enumerate() {
                if firsts.contains(byte) {
                    for (count, part) in counts.iter_mut().zip(&self.parts) {
                        *count += usize::from(bytes[at..].starts_with(part));
                    }
                }
            }
        }
        counts
    }

    #[track_caller]
    fn assert_gone(&self, server: &TestServer, how: &str) {
        server.assert_idle();
        let mut counts = Vec::new();
        // The connection and the last thread may end after the response.
        for _ in 0..20 {
            counts = self.count_in_memory(server.pid());
            if counts.iter().all(|&count| count == 0) {
                return;
            }
        }
        panic!("{how}: {counts:?}");
    }
}

/// As [`Private::new`], with the document of its inputs, whose text is searched for as well.
fn private_inputs(dir: &tempfile::TempDir) -> (Private, Value) {
    let value = value();
    let (sample, document) = inputs::square_of_bytes(dir.path(), &value);
    let mut parts: Vec<_> = samples::forms_in_memory(&value).iter().map(|form| form[PART].to_vec()).collect();
    parts.push(hex::encode(&value[PART]).into_bytes());
    (Private { sample, parts }, document)
}

#[test]
fn inputs_do_not_stay_in_memory() {
    if skipped::is_not_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (first, document) = private_inputs(&dir);
    let server = TestServer::start(|s| {
        s.circuit = Some(first.sample.circuit.clone());
        s.sample = Some(first.sample.clone());
        s.flags.push("--ephemeral-jobs".to_owned());
    });
    let prove =
        |document: &Value| server.inputs_request("/api/prove", document).header("connection", "close").send();
    prove(&document).assert_proof_of(&first.sample);
    first.assert_gone(&server, "proved");

    let (private, document) = private_inputs(&dir);
    let request = server.inputs_request("/v1/proofs", &document).header("connection", "close");
    let job = request.send().assert_accepted();
    server.wait_until_finished(job.id, wait::LIMIT);
    private.assert_gone(&server, "proved in a job");

    let (private, mut document) = private_inputs(&dir);
    document["publicInputs"]["square"] = 5.into();
    prove(&document).assert_refused(ProblemType::WitnessUnsatisfied);
    private.assert_gone(&server, "unsatisfied");

    let (private, mut document) = private_inputs(&dir);
    document["publicInputs"]["square"] = Value::Null;
    prove(&document).assert_refused(ProblemType::InvalidInputs);
    private.assert_gone(&server, "misfit");

    let (private, document) = private_inputs(&dir);
    let text = document.to_string();
    let cut = server.json_request("/api/prove", &text[..text.len() - 1]).header("connection", "close");
    cut.send().assert_refused(ProblemType::InvalidRequest);
    private.assert_gone(&server, "no JSON");

    let (private, document) = private_inputs(&dir);
    let text = document.to_string();
    let length = format!("Content-Length: {}", text.len());
    let mut inputs = Connection::post_json_head(server.address(), "/api/prove", &[&length]);
    inputs.send(&text.as_bytes()[..text.len() - 1]);
    // While the server waits for the last byte, the search finds the text.
    eventually("the inputs are in memory", || {
        private.count_in_memory(server.pid()).iter().any(|&count| count > 0).then_some(())
    });
    drop(inputs);
    private.assert_gone(&server, "aborted");
    server.assert_healthy();
}

#[test]
fn values_and_uploads_do_not_stay_in_memory() {
    if skipped::is_not_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let first = Private::new(&dir);
    let server = TestServer::start(|s| {
        s.circuit = Some(first.sample.circuit.clone());
        s.sample = Some(first.sample.clone());
    });
    let prove = |witness: &[u8]| server.prove_request(witness).header("connection", "close").send();

    prove(&first.sample.witness).assert_proof_of(&first.sample);
    first.assert_gone(&server, "proved");

    let private = Private::new(&dir);
    prove(&samples::altered(&private.sample.witness, 1, 5)).assert_refused(ProblemType::WitnessUnsatisfied);
    private.assert_gone(&server, "unsatisfied");

    let private = Private::new(&dir);
    let plain = samples::decompress(&private.sample.witness);
    prove(&samples::gzip(&plain[..plain.len() - 1])).assert_refused(ProblemType::WitnessMalformed);
    private.assert_gone(&server, "malformed");

    let private = Private::new(&dir);
    let sent = &private.sample.witness;
    let mut damaged = sent.clone();
    damaged[sent.len() - 5] ^= 1;
    prove(&damaged).assert_refused(ProblemType::WitnessCorrupt);
    private.assert_gone(&server, "damaged");

    let private = Private::new(&dir);
    let sent = &private.sample.witness;
    let length = format!("Content-Length: {}", sent.len());
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
    upload.send(&sent[..sent.len() - 1]);
    // While the upload waits for its last byte, the search finds it.
    eventually("the upload is in memory", || {
        private.count_in_memory(server.pid()).iter().any(|&count| count > 0).then_some(())
    });
    drop(upload);
    private.assert_gone(&server, "aborted");
    server.assert_healthy();
}

#[test]
fn values_of_circom_circuits_do_not_stay_in_memory() {
    if skipped::is_not_root() {
        return;
    }
    let folder = CircomFolder::new();
    let square = folder.add("square");
    let server = TestServer::start(|s| {
        s.circuits = Some(folder.path().to_owned());
        s.flags.push("--ephemeral-jobs".to_owned());
    });
    let private = || {
        let value = value();
        let forms = samples::forms_in_memory(&value);
        let mut parts: Vec<_> = forms.iter().map(|form| form[PART].to_vec()).collect();
        parts.push(hex::encode(&value[PART]).into_bytes());
        let root = json!({"root": format!("0x{}", hex::encode(value))});
        (Private { sample: samples::range_check().clone(), parts }, root)
    };
    let prove = |root: &Value| {
        let document = json!({"privateInputs": root});
        server.inputs_request("/api/prove/square", &document).header("connection", "close").send()
    };
    let upload = |path: &str, witness: &[u8]| {
        server.prove_request_at(path, witness).header("connection", "close").send()
    };

    let (first, root) = private();
    assert_eq!(prove(&root).status, 200);
    first.assert_gone(&server, "proved");
    let (uploaded, root) = private();
    let witness = circom_files::witness(&square, &root);
    assert_eq!(upload("/api/prove/square", &witness).status, 200);
    uploaded.assert_gone(&server, "uploaded and proved");
    let (in_job, root) = private();
    let job = upload("/v1/proofs?circuit=square", &circom_files::witness(&square, &root)).assert_accepted();
    server.wait_until_finished(job.id, wait::LIMIT);
    in_job.assert_gone(&server, "proved in a job");
    let (refused, mut root) = private();
    root["other"] = root["root"].clone();
    prove(&root).assert_refused(ProblemType::InvalidInputs);
    refused.assert_gone(&server, "refused");
}
