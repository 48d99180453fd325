//! bb dies, hangs, lies or is gone.

use std::{fs, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{ProblemType, Target::NoirRecursive};
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{
    TestServer, eventually,
    fake_bb::{FakeBb, Part},
    places,
    processes::Process,
    samples,
    settings::WARM_PROVERS,
    wait::within,
};

/// How soon everything must be normal after a fault.
const RECOVERY: Duration = Duration::from_secs(10);

/// A server whose bb can be told to misbehave.
struct Troupe {
    server: TestServer,
    fake: FakeBb,
    _dir: tempfile::TempDir,
}

impl Troupe {
    fn new(flags: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = FakeBb::new(dir.path(), Part::Real);
        let server = TestServer::start(|s| {
            s.bb = fake.program();
            for (name, value) in flags {
                s.flag(name, value);
            }
        });
        server.assert_well();
        Self { server, fake, _dir: dir }
    }

    /// Has every prover start anew in another part.
    #[track_caller]
    fn play(&self, part: Part) {
        self.fake.play(part);
        let before = self.server.health().prover.restarts;
        kill_all(&self.server);
        eventually("every prover is started anew", || {
            (self.server.health().prover.restarts >= before + WARM_PROVERS as u64).then_some(())
        });
    }

    /// The same for a part that begins by shaking hands.
    #[track_caller]
    fn play_politely(&self, part: Part) {
        self.play(part);
        self.server.wait_until_ready();
    }

    /// Back to the real bb; all is normal soon.
    #[track_caller]
    fn recovers(&self) {
        self.play(Part::Real);
        within(RECOVERY, "the server recovers", || {
            let answer = self.server.post(&samples::range().witness);
            (answer.status == 200).then_some(())
        });
        self.server.assert_well();
    }
}

/// Kills every prover, and waits until it is gone.
#[track_caller]
fn kill_all(server: &TestServer) {
    let provers: Vec<Process> = server.provers();
    for bb in &provers {
        bb.signal(Signal::KILL);
    }
    eventually("the provers are dead", || provers.iter().all(|bb| !bb.lives()).then_some(()));
}

#[test]
fn killed_midway_it_is_replaced_and_the_caller_gets_a_proof_all_the_same() {
    let server = TestServer::plain();
    let (mut asker, bb) = server.freeze_midway();
    bb.signal(Signal::KILL);
    asker.answer().proves(samples::range(), NoirRecursive);
    server.assert_well();
    assert!(server.health().prover.restarts >= 1);
    assert!(server.log().contains("tried once more"));
}

#[test]
fn killed_while_idle_it_is_replaced() {
    let server = TestServer::plain();
    for _ in 0..3 {
        kill_all(&server);
        within(RECOVERY, "it proves again", || {
            let answer = server.post(&samples::range().witness);
            assert!([200, 503].contains(&answer.status.as_u16()), "{answer:?}");
            (answer.status == 200).then_some(())
        });
    }
    server.assert_well();
}

#[test]
fn hanging_it_is_stopped_at_the_deadline() {
    let troupe = Troupe::new(&[("--prove-timeout", "3s")]);
    troupe.play_politely(Part::Hang);
    troupe.server.post(&samples::range().witness).refused(ProblemType::ProofTimeout);
    troupe.recovers();
}

#[test]
fn answering_garbage_it_fails_the_proof_and_nothing_else() {
    let troupe = Troupe::new(&[]);
    troupe.play_politely(Part::Garbage);
    let problem = troupe.server.post(&samples::range().witness).refused(ProblemType::ProofFailed);
    // Nothing of the cause is told to a caller.
    assert!(!problem.detail.contains("bytes"), "{}", problem.detail);
    // The witness is looked at before bb is blamed.
    troupe.server.post(&samples::unsatisfied()).refused(ProblemType::WitnessUnsatisfied);
    assert!(troupe.server.log().contains("not understood"));
    troupe.recovers();
}

#[test]
fn dying_at_every_proof_it_is_tried_twice_and_reported() {
    let troupe = Troupe::new(&[]);
    troupe.play_politely(Part::Die);
    let problem = troupe.server.post(&samples::range().witness).refused(ProblemType::ProverCrashed);
    assert!(problem.retryable);
    assert!(troupe.server.log().contains("I give up"), "its last words are in the log");
    troupe.recovers();
}

#[test]
fn flooding_its_standard_error_it_proves_all_the_same() {
    let troupe = Troupe::new(&[]);
    let before = crate::support::processes::peak_memory(troupe.server.pid());
    troupe.play_politely(Part::FloodStderr);
    troupe.server.post(&samples::range().witness).proves(samples::range(), NoirRecursive);
    let grown = crate::support::processes::peak_memory(troupe.server.pid()) - before;
    assert!(grown < 16 << 20, "the server grew by {grown} bytes");
    troupe.recovers();
}

#[test]
fn deaf_to_the_end_of_its_input_it_is_killed_at_shutdown() {
    let troupe = Troupe::new(&[]);
    troupe.play_politely(Part::Stay);
    troupe.server.post(&samples::range().witness).proof_of(samples::range());
    troupe.server.finish();
}

#[test]
fn never_shaking_hands_it_makes_the_server_not_ready() {
    let troupe = Troupe::new(&[]);
    troupe.play(Part::Deaf);
    eventually("it is not ready", || (troupe.server.get("/readyz").status == 503).then_some(()));
    troupe.server.get("/readyz").refused_for_now(ProblemType::NotReady);
    troupe.server.post(&samples::range().witness).refused_for_now(ProblemType::NotReady);
    let health = troupe.server.get("/api/health");
    assert_eq!(health.status, 500);
    assert_eq!(health.json()["status"], "unhealthy");
    troupe.recovers();
}

#[test]
fn ending_as_soon_as_it_starts_it_makes_the_server_not_ready() {
    let troupe = Troupe::new(&[]);
    troupe.play(Part::Stillborn);
    eventually("it is not ready", || (troupe.server.get("/readyz").status == 503).then_some(()));
    troupe.server.post(&samples::range().witness).refused_for_now(ProblemType::NotReady);
    assert!(!troupe.server.health().bb.available);
    troupe.recovers();
}

#[test]
fn gone_from_the_disk_it_is_missed_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("bb");
    std::os::unix::fs::symlink(places::bb(), &program).unwrap();
    let server = TestServer::start(|s| s.bb.clone_from(&program));
    fs::remove_file(&program).unwrap();
    // Those that run are not in need of the file.
    server.assert_well();
    kill_all(&server);
    eventually("it is not ready", || (server.get("/readyz").status == 503).then_some(()));
    server.post(&samples::range().witness).refused_for_now(ProblemType::NotReady);
    std::os::unix::fs::symlink(places::bb(), &program).unwrap();
    within(RECOVERY, "it is ready", || (server.get("/readyz").status == 200).then_some(()));
    server.assert_well();
}

/// The cached key with this hash: its file and content.
fn cached(keys: &Path, hash: &str) -> (std::path::PathBuf, Value) {
    let files = fs::read_dir(keys).unwrap().flatten().map(|entry| entry.path());
    let mut read =
        files.map(|file| (file.clone(), serde_json::from_slice::<Value>(&fs::read(file).unwrap()).unwrap()));
    read.find(|(_, key)| key["vk_hash"] == hash).expect("the key is in the cache")
}

#[test]
fn a_proof_that_does_not_verify_is_never_handed_out() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (right, wrong) = (samples::square(dir.path(), "right", 1), samples::square(dir.path(), "wrong", 2));
    let start = || {
        TestServer::start(|s| {
            (s.circuits, s.keys) = (Some(dir.path().to_owned()), keys.path().to_owned());
        })
    };
    let server = start();
    let hash = |name: &str| {
        let circuits = server.health().circuits;
        let circuit = circuits.into_iter().find(|circuit| circuit.id.as_str() == name).unwrap();
        circuit.vk_hash.unwrap().trim_start_matches("0x").to_owned()
    };
    // Real bb is made to prove under the key of another circuit of the same size.
    let (_, foreign) = cached(keys.path(), &hash("wrong"));
    let (file, mut key) = cached(keys.path(), &hash("right"));
    server.finish();
    key["vk"] = foreign["vk"].clone();
    key["vk_hash"] = foreign["vk_hash"].clone();
    let bytes = STANDARD.decode(key["vk"].as_str().unwrap()).unwrap();
    key["vk_sha256"] = hex::encode(Sha256::digest(bytes)).into();
    fs::write(&file, key.to_string()).unwrap();

    let server = start();
    let provers = server.provers();
    let problem =
        server.posting_to("/api/prove/right", &right.witness).send().refused(ProblemType::ProofInvalid);
    assert!(problem.retryable);
    assert!(server.log().contains("ALARM"));
    eventually("the prover is replaced", || provers.iter().any(|bb| !bb.lives()).then_some(()));
    assert_eq!(server.health().prover.proofs, 0);
    // Other circuits are proved as ever.
    server.posting_to("/api/prove/wrong", &wrong.witness).send().proves(&wrong, NoirRecursive);
    server.assert_well();
    server.finish();

    fs::remove_file(file).unwrap();
    let server = start();
    server.posting_to("/api/prove/right", &right.witness).send().proves(&right, NoirRecursive);
}
