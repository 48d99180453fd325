//! Circuits that do the same at different sizes: the smaller one is proved where the machine has too little for the larger.

use std::{path::Path, time::Duration};

use edgeprove_protocol::{CircuitId, JobDocument, Problem, ProblemType, Target::NoirRecursive, headers};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Answer, Sample, TestServer, client::Ask, samples, settings::Settings};

/// A server of two circuits of which one may stand in for the other.
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
        let server = Self::serve(dir.path(), |s| {
            s.good = Some(large.clone());
            s.flag("--prove-timeout", "3s");
            s.flags.push("--ephemeral-jobs".to_owned());
        });
        Self { server, large, small, dir }
    }

    #[track_caller]
    fn serve(dir: &Path, change: impl FnOnce(&mut Settings)) -> TestServer {
        TestServer::start(|s| {
            s.circuit = None;
            s.circuits = Some(dir.to_owned());
            s.flag("--circuit-family", "large,small");
            change(s);
        })
    }

    /// Witnesses as a page sends them, each under its circuit's name.
    fn form(&self, parts: &[(&str, &[u8])]) -> Ask {
        const BOUNDARY: &str = "----a-boundary";
        let mut body = Vec::new();
        for (name, witness) in parts {
            let head = "Content-Disposition: form-data; name";
            body.extend(format!("--{BOUNDARY}\r\n{head}=\"{name}\"; filename=\"blob\"\r\n\r\n").bytes());
            body.extend(*witness);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{BOUNDARY}--\r\n").bytes());
        let mut ask = Ask::new(self.server.address(), http::Method::POST, "/api/prove/large");
        ask = ask.header("content-type", &format!("multipart/form-data; boundary={BOUNDARY}"));
        ask.body = body;
        ask
    }

    fn both(&self) -> Ask {
        self.form(&[("large", &self.large.witness), ("small", &self.small.witness)])
    }

    /// What is asked of a machine on which the first proof never ends.
    fn short_of_time(&self, ask: impl FnOnce() -> Answer) -> Answer {
        let provers = self.server.provers();
        for bb in &provers {
            bb.signal(Signal::STOP);
        }
        let answer = ask();
        for bb in provers {
            bb.signal(Signal::CONT);
        }
        answer
    }
}

#[test]
fn the_smaller_one_is_proved_where_there_is_too_little_time_for_the_larger() {
    let family = Family::start();
    let answer = family.both().send();
    answer.proves(&family.large, NoirRecursive);
    assert_eq!(answer.header(headers::FALLBACK_FROM), "");

    let answer = family.short_of_time(|| family.both().send());
    answer.proves(&family.small, NoirRecursive);
    assert_eq!(answer.header(headers::FALLBACK_FROM), "large");
    family.server.assert_well();
}

#[test]
fn a_job_falls_back_as_well_and_says_so() {
    let family = Family::start();
    let ask = || family.both().header("prefer", "wait=60").header("accept", "application/json").send();
    let answer = family.short_of_time(ask).json();
    assert_eq!(
        (answer["circuit"].as_str(), answer["fallback_from"].as_str()),
        (Some("small"), Some("large"))
    );
    let jobs = family.server.get("/v1/proofs").json();
    let job: JobDocument = serde_json::from_value(jobs["jobs"][0].clone()).unwrap();
    assert_eq!((job.circuit.as_str(), job.attempts), ("large", 1));
    assert_eq!(job.fallback_circuit.as_ref().map(CircuitId::as_str), Some("small"));
    family.server.get(&job.links.proof).proves(&family.small, NoirRecursive);
    // What is not short of anything is proved as it was asked for.
    let answer = family.both().header("prefer", "wait=60").send();
    answer.proves(&family.large, NoirRecursive);
    family.server.assert_well();
}

#[test]
fn a_smaller_one_that_was_changed_meanwhile_is_not_proved_with_the_witness_of_before() {
    let mut family = Family::start();
    let data = tempfile::tempdir().unwrap();
    family.server = Family::serve(family.dir.path(), |s| {
        s.good = Some(family.large.clone());
        s.flag("--data", &data.path().display());
    });
    for bb in family.server.provers() {
        bb.freeze();
    }
    let job = family.both().header("prefer", "respond-async").send().accepted();
    family.server.kill();

    samples::square(family.dir.path(), "small", 7);
    // Nothing can be proved within its time.
    let server = Family::serve(family.dir.path(), |s| {
        s.good = None;
        s.flag("--data", &data.path().display());
        s.flag("--prove-timeout", "1ms");
    });
    let problem = server.over(job.id, Duration::from_mins(1)).error.unwrap();
    assert_eq!(problem.code, ProblemType::WitnessOfAnotherCircuit);
    assert!(problem.detail.contains("the circuit small was changed"), "{problem:?}");
    server.finish();
}

#[test]
fn who_brings_one_witness_is_told_which_circuit_may_do() {
    let family = Family::start();
    let ask = || Ask::to_prove(family.server.address(), "/api/prove/large", &family.large.witness).send();
    let answer = family.short_of_time(ask);
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem.code, ProblemType::ProofTimeout);
    assert_eq!(problem.fallback_circuit.as_ref().map(CircuitId::as_str), Some("small"));
    family.server.assert_well();
}

#[test]
fn witnesses_that_make_no_family_are_refused() {
    let family = Family::start();
    let (large, small) = (family.large.witness.as_slice(), family.small.witness.as_slice());
    for parts in [
        &[("small", small), ("large", large)][..],
        &[("large", large), ("large", large)],
        &[("large", large), ("unknown", small)],
        &[("large", large), ("a/b", small)],
        &[],
    ] {
        family.form(parts).send().refused(ProblemType::InvalidRequest);
    }
    let other = samples::range().witness.as_slice();
    family.form(&[("large", large), ("small", other)]).send().refused(ProblemType::WitnessOfAnotherCircuit);
    family.form(&[("large", large), ("small", b"")]).send().refused(ProblemType::WitnessEmpty);
    let mut cut = family.both();
    cut.body.truncate(cut.body.len() - 20);
    cut.send().refused(ProblemType::WitnessTruncated);
    family.server.assert_well();
}

#[test]
fn a_family_that_cannot_be_keeps_the_server_from_starting() {
    let failed = TestServer::fails_to_start(|s| {
        s.flag("--circuit-family", "range_check,unknown;range_check,range_check");
    });
    assert_eq!(failed.code, Some(64));
    assert!(failed.words.contains("there is no circuit unknown"), "{}", failed.words);
    assert!(failed.words.contains("stands twice"), "{}", failed.words);
}
