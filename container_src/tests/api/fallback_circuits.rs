//! Circuit families: circuits for the same statement in different sizes. The server proves a smaller one when time or
//! memory is too short for the larger one.

use std::path::Path;

use edgeprove_protocol::{CircuitId, JobDocument, Problem, ProblemType, Target::NoirRecursive, headers};
use tempfile::TempDir;

use edgeprove_sealing::format::{CHUNK_BYTES, HEAD_BYTES, LENGTH_BYTES, TAG_BYTES};

use crate::support::{
    Sample, TestServer,
    client::Request,
    samples,
    sealed::{Binding, of_witness, sealed_body, sealed_request, sealing_key},
    settings::Settings,
    wait,
};

/// A server with a family of two circuits: `small` is the fallback for `large`.
struct Family {
    server: TestServer,
    large: Sample,
    small: Sample,
    dir: TempDir,
}

impl Family {
    #[track_caller]
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let large = samples::square(dir.path(), "large", 3);
        let small = samples::square(dir.path(), "small", 5);
        let server = Self::start_server(dir.path(), |s| {
            s.sample = Some(large.clone());
            s.flag("--prove-timeout", "10s");
            s.flags.push("--ephemeral-jobs".to_owned());
            // Without keys, only operators list jobs.
            s.flag("--anonymous-role", "operator");
        });
        Self { server, large, small, dir }
    }

    #[track_caller]
    fn start_server(dir: &Path, change: impl FnOnce(&mut Settings)) -> TestServer {
        TestServer::start(|s| {
            s.circuit = None;
            s.circuits = Some(dir.to_owned());
            s.flag("--circuit-family", "large,small");
            change(s);
        })
    }

    fn form(&self, parts: &[(&str, &[u8])]) -> Request {
        Request::prove_form(self.server.address(), "/api/prove/large", parts)
    }

    fn both(&self) -> Request {
        self.form(&[("large", &self.large.witness), ("small", &self.small.witness)])
    }
}

#[test]
fn the_smaller_circuit_is_proved_when_time_is_short() {
    let family = Family::start();
    let response = family.both().send();
    response.assert_proves(&family.large, NoirRecursive);
    assert_eq!(response.header(headers::FALLBACK_FROM), "");

    let response = family.server.with_suspended_provers(|| family.both().send());
    response.assert_proves(&family.small, NoirRecursive);
    assert_eq!(response.header(headers::FALLBACK_FROM), "large");
    family.server.assert_healthy();
}

#[test]
fn a_sealed_form_falls_back_too() {
    let family = Family::start();
    let form = family.both();
    let content = form.head.headers_ref().unwrap()["content-type"].to_str().unwrap().to_owned();
    let address = family.server.address();
    let key = sealing_key(address, None);
    let binding = Binding { content: content.clone(), ..of_witness("large") };
    let seal = |form: &[u8]| sealed_body(&key, &binding, form);
    let send = |body: Vec<u8>| sealed_request(address, "/api/prove/large", &content, body).send();
    send(seal(&form.body)).assert_proves(&family.large, NoirRecursive);
    let sealed = seal(&form.body);
    let response = family.server.with_suspended_provers(|| send(sealed));
    response.assert_proves(&family.small, NoirRecursive);
    // The end of the form is not the end of the sealed body.
    let with_rest = |bytes| seal(&[form.body.clone(), vec![b'\n'; bytes]].concat());
    let cut = with_rest(CHUNK_BYTES);
    send(cut[..HEAD_BYTES + CHUNK_BYTES + LENGTH_BYTES + TAG_BYTES].to_vec())
        .assert_refused(ProblemType::SealedBodyInvalid);
    send(with_rest(200_000)).assert_refused(ProblemType::InvalidRequest);
    family.server.assert_healthy();
}

#[test]
fn a_job_falls_back_and_reports_it() {
    let family = Family::start();
    let request = || family.both().header("prefer", "wait=60").header("accept", "application/json").send();
    let response = family.server.with_suspended_provers(request).json();
    assert_eq!(
        (response["circuit"].as_str(), response["fallback_from"].as_str()),
        (Some("small"), Some("large"))
    );
    let jobs = family.server.get("/v1/proofs").json();
    let job: JobDocument = serde_json::from_value(jobs["jobs"][0].clone()).unwrap();
    assert_eq!((job.circuit.as_str(), job.attempts), ("large", 1));
    assert_eq!(job.fallback_circuit.as_ref().map(CircuitId::as_str), Some("small"));
    family.server.get(&job.links.proof).assert_proves(&family.small, NoirRecursive);
    // With enough time, the requested circuit is proved.
    let response = family.both().header("prefer", "wait=60").send();
    response.assert_proves(&family.large, NoirRecursive);
    family.server.assert_healthy();
}

#[test]
fn a_fallback_circuit_that_changed_is_not_used() {
    let mut family = Family::start();
    let data = tempfile::tempdir().unwrap();
    family.server = Family::start_server(family.dir.path(), |s| {
        s.sample = Some(family.large.clone());
        s.flag("--data", &data.path().display());
    });
    for bb in family.server.provers() {
        bb.suspend();
    }
    let job = family.both().header("prefer", "respond-async").send().assert_accepted();
    family.server.kill();

    samples::square(family.dir.path(), "small", 7);
    // With this timeout, no proof can finish.
    let server = Family::start_server(family.dir.path(), |s| {
        s.sample = None;
        s.flag("--data", &data.path().display());
        s.flag("--prove-timeout", "1ms");
    });
    let problem = server.wait_until_finished(job.id, wait::LIMIT).error.unwrap();
    assert_eq!(problem.code, ProblemType::WitnessOfAnotherCircuit);
    assert!(problem.detail.contains("small"), "{problem:?}");
    server.finish();
}

#[test]
fn a_timeout_suggests_the_fallback_circuit() {
    let family = Family::start();
    let request =
        || Request::prove(family.server.address(), "/api/prove/large", &family.large.witness).send();
    let response = family.server.with_suspended_provers(request);
    let problem: Problem = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(problem.code, ProblemType::ProofTimeout);
    assert_eq!(problem.fallback_circuit.as_ref().map(CircuitId::as_str), Some("small"));
    family.server.assert_healthy();
}

#[test]
fn witnesses_of_no_circuit_family_are_refused() {
    let family = Family::start();
    let (large, small) = (family.large.witness.as_slice(), family.small.witness.as_slice());
    for parts in [
        &[("small", small), ("large", large)][..],
        &[("large", large), ("large", large)],
        &[("large", large), ("unknown", small)],
        &[("large", large), ("a/b", small)],
        &[],
    ] {
        family.form(parts).send().assert_refused(ProblemType::InvalidRequest);
    }
    let other = samples::range_check().witness.as_slice();
    family
        .form(&[("large", large), ("small", other)])
        .send()
        .assert_refused(ProblemType::WitnessOfAnotherCircuit);
    family.form(&[("large", large), ("small", b"")]).send().assert_refused(ProblemType::WitnessEmpty);
    let mut cut = family.both();
    cut.body.truncate(cut.body.len() - 20);
    cut.send().assert_refused(ProblemType::WitnessTruncated);
    family.server.assert_healthy();
}

#[test]
fn an_invalid_circuit_family_prevents_the_start() {
    let failed = TestServer::fails_to_start(|s| {
        s.flag("--circuit-family", "range_check,unknown;range_check,range_check");
    });
    assert_eq!(failed.code, Some(64));
    for part in ["--circuit-family", "unknown", "range_check"] {
        assert!(failed.stderr.contains(part), "{part:?} is not in: {}", failed.stderr);
    }
}

/// A family whose larger circuit is in its folder, but cannot be loaded.
fn start_with_unloadable(file: &[u8]) -> Family {
    let mut family = Family::start();
    std::fs::write(family.dir.path().join("large.json"), file).unwrap();
    family.server = Family::start_server(family.dir.path(), |s| {
        s.sample = Some(family.small.clone());
        s.flags.push("--ephemeral-jobs".to_owned());
    });
    family
}

#[test]
fn a_circuit_that_cannot_be_loaded_falls_back() {
    let family = start_with_unloadable(b"{}");
    let response = family.both().send();
    response.assert_proves(&family.small, NoirRecursive);
    assert_eq!(response.header(headers::FALLBACK_FROM), "large");

    // A job of the same request.
    let job = family.both().header("prefer", "respond-async").send().assert_accepted();
    assert_eq!(job.circuit.as_str(), "large");
    let job = family.server.wait_until_finished(job.id, wait::LIMIT);
    assert_eq!(job.fallback_circuit.as_ref().map(CircuitId::as_str), Some("small"));
    let proof = family.server.get(&job.links.proof);
    proof.assert_proves(&family.small, NoirRecursive);
    assert_eq!(proof.header(headers::FALLBACK_FROM), "large");

    // The witness of the circuit that cannot be loaded is not looked at.
    let other: &[u8] = b"no witness at all";
    let parts = [("large", other), ("small", family.small.witness.as_slice())];
    family.form(&parts).send().assert_proves(&family.small, NoirRecursive);
    // Without a witness of the smaller circuit there is nothing to prove.
    let response = family.form(&parts[..1]).send();
    let problem: Problem = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(problem.code, ProblemType::CircuitCompilationFailed);
    family.form(&parts[1..]).send().assert_refused(ProblemType::InvalidRequest);
    family.server.assert_healthy();
}

#[test]
fn a_circuit_beyond_the_memory_falls_back() {
    let mut family = Family::start();
    samples::with_index(family.dir.path(), "large", 1_000_000);
    family.server = Family::start_server(family.dir.path(), |s| {
        s.sample = Some(family.small.clone());
        s.flag("--memory-max", "64MiB");
    });
    let response = family.both().send();
    response.assert_proves(&family.small, NoirRecursive);
    assert_eq!(response.header(headers::FALLBACK_FROM), "large");
    family.server.assert_healthy();
}

#[test]
fn a_smaller_circuit_that_cannot_be_loaded_is_skipped() {
    let mut family = Family::start();
    std::fs::write(family.dir.path().join("small.json"), "{}").unwrap();
    family.server = Family::start_server(family.dir.path(), |s| s.sample = Some(family.large.clone()));
    let response = family.both().send();
    response.assert_proves(&family.large, NoirRecursive);
    assert_eq!(response.header(headers::FALLBACK_FROM), "");
    family.server.assert_healthy();
}
