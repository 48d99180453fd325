//! Many callers at once, also with too few resources and with a bb that is killed again and again.
//! `.config/nextest.toml` runs these tests alone.

use std::{
    process::Command,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use edgeprove_protocol::{Problem, ProblemType, Target::NoirRecursive};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::support::{
    Connection, Response, TestServer,
    client::Request,
    eventually, processes, samples,
    settings::Settings,
    wait::{LIMIT, LONG_LIMIT},
};

/// Number of callers at the same moment.
const CALLERS: usize = 200;

/// Sets the time limits of the server to those of the callers.
fn set_long_limits(settings: &mut Settings) {
    for flag in ["--prover-queue-wait", "--request-timeout", "--upload-idle"] {
        settings.flag(flag, "6m");
    }
}

/// Requests the same proof from many threads at once.
fn prove_at_once(server: &TestServer, callers: usize, witness: &[u8]) -> Vec<Response> {
    let start = Arc::new(Barrier::new(callers));
    let request = |_| {
        let (start, request) = (Arc::clone(&start), server.prove_request(witness));
        thread::Builder::new().stack_size(256 << 10).spawn(move || {
            start.wait();
            request.send_within(LONG_LIMIT)
        })
    };
    let threads: Vec<_> = (0..callers).map(|caller| request(caller).unwrap()).collect();
    threads.into_iter().map(|thread| thread.join().expect("every request gets a response")).collect()
}

/// Checks that every response is a proof or asks the caller to retry. Returns the number of each.
#[track_caller]
fn count_proofs_and_refusals(responses: &[Response]) -> (usize, usize) {
    let mut proofs = 0;
    for response in responses {
        if response.status == 200 {
            response.assert_proof_of(samples::range_check());
            proofs += 1;
        } else {
            response.assert_refused_for_now(ProblemType::ProverBusy);
        }
    }
    (proofs, responses.len() - proofs)
}

#[track_caller]
fn two_hundred_requests(change: impl FnOnce(&mut Settings), waiting_max: usize) {
    let server = TestServer::start(|s| {
        set_long_limits(s);
        change(s);
    });
    let responses = prove_at_once(&server, CALLERS, &samples::range_check().witness);
    let (proofs, refusals) = count_proofs_and_refusals(&responses);
    eprintln!("{proofs} proofs, {refusals} refusals");
    // The queue was full at some moment, and every accepted request got its proof.
    assert!(proofs > waiting_max, "{proofs} proofs, {refusals} refusals");
    assert!(refusals > 0, "{proofs} proofs, {refusals} refusals");
    assert_eq!(server.health().prover.proofs, proofs as u64);
    let proof = responses.iter().find(|response| response.status == 200).unwrap();
    proof.assert_proves(samples::range_check(), NoirRecursive);
    server.assert_healthy();
}

#[test]
fn two_hundred_requests_with_the_default_queue() {
    two_hundred_requests(|_| {}, 100);
}

#[test]
fn two_hundred_requests_with_a_short_queue() {
    two_hundred_requests(|s| s.flag("--prover-queue-max", &8), 8);
}

#[test]
fn two_hundred_requests_in_process_mode() {
    let change = |s: &mut Settings| {
        s.process_mode();
        s.flag("--prover-queue-max", &8);
    };
    two_hundred_requests(change, 8);
}

/// Silent connections, connections that read nothing, and watchers of a job, all of one caller and at default settings.
#[test]
fn a_crowd_of_connections_stops_nobody() {
    const EACH: usize = 1024;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    // The keys of `foo` and `bar`.
    let keys = "crowd:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae \
                other:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9";
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_API_KEYS".to_owned(), keys.to_owned()));
        s.flags.push("--ephemeral-jobs".to_owned());
    });
    let witness = &samples::range_check().witness;
    let prove = |key: &str| server.prove_request(witness).header("x-api-key", key);
    let jobs: Vec<_> =
        (0..40).map(|_| prove("foo").header("prefer", "respond-async").send().assert_accepted()).collect();
    let last = &jobs.last().unwrap().links.this;
    let watch = format!("GET {last}/events HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: foo\r\n\r\n");
    let read_nothing = "GET /problems/not_ready HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
    let mut crowd = Vec::new();
    for _ in 0..EACH {
        for bytes in ["", &read_nothing, &watch] {
            let mut connection = Connection::open(server.address());
            // The server may have closed it already.
            let _ = connection.try_send(bytes.as_bytes());
            crowd.push(connection);
        }
    }
    for _ in 0..5 {
        let started = Instant::now();
        assert_eq!(server.get("/livez").status, 200);
        let (probed, started) = (started.elapsed(), Instant::now());
        prove("bar").header("cache-control", "no-cache").send().assert_proof_of(samples::range_check());
        eprintln!("/livez {probed:?}, a proof {:?}", started.elapsed());
    }
    drop(crowd);
    server.finish();
}

#[test]
fn a_server_short_of_file_descriptors_keeps_responding() {
    let server = TestServer::start(|s| {
        let mut wrapper = Command::new("sh");
        wrapper.args(["-c", "ulimit -n 60 && exec \"$@\"", "sh"]);
        s.wrapper = Some(wrapper);
    });
    let responses = prove_at_once(&server, 100, &samples::range_check().witness);
    let mut proofs = 0;
    for response in &responses {
        if response.status == 200 {
            response.assert_proof_of(samples::range_check());
            proofs += 1;
        } else {
            // There was no descriptor for the upload, or none for a bb that had to be started.
            let code = response.json()["code"].clone();
            let is_prover = code == ProblemType::ProverUnavailable.code();
            let is_spool = code == ProblemType::SpoolUnavailable.code();
            response.assert_refused_for_now(match (is_prover, is_spool) {
                (true, _) => ProblemType::ProverUnavailable,
                (false, true) => ProblemType::SpoolUnavailable,
                // There was none to read it back.
                (false, false) => ProblemType::WitnessPreparationFailed,
            });
        }
    }
    eprintln!("{proofs} proofs");
    assert!(proofs > 0);
    server.assert_healthy();
}

/// Kills every prover again and again while callers send requests without a pause. Every request ends in a proof or a
/// clear problem, and afterwards the server is healthy again.
#[track_caller]
fn kill_provers_under_load(change: impl FnOnce(&mut Settings), pause: Duration) {
    const DURATION: Duration = Duration::from_secs(6);
    const KILLED_MIN: usize = 10;
    const CALLERS: usize = 8;
    let server = TestServer::start(change);
    let is_over = Arc::new(AtomicBool::new(false));
    let caller = |_| {
        let (is_over, address) = (Arc::clone(&is_over), server.address());
        thread::spawn(move || {
            let mut responses = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                responses.push(Request::prove(address, "/api/prove", &samples::range_check().witness).send());
            }
            responses
        })
    };
    let callers: Vec<_> = (0..CALLERS).map(caller).collect();
    let began = Instant::now();
    let mut killed = 0;
    // On a busy machine, it takes longer until enough of them were killed.
    while began.elapsed() < DURATION || (killed <= KILLED_MIN && began.elapsed() < LIMIT) {
        for bb in server.provers() {
            bb.signal(Signal::KILL);
            killed += 1;
        }
        // The interval between two rounds; nothing is expected to happen meanwhile.
        thread::sleep(pause);
    }
    is_over.store(true, Ordering::Relaxed);
    let responses: Vec<Response> = callers
        .into_iter()
        .flat_map(|caller| caller.join().expect("every request gets a response"))
        .collect();
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for response in &responses {
        if response.status == 200 {
            response.assert_proof_of(samples::range_check());
            *seen.entry("proof").or_default() += 1;
            continue;
        }
        let problem: Problem = serde_json::from_slice(&response.body).expect("a problem document");
        let clear = [
            ProblemType::ProverCrashed,
            ProblemType::ProverUnavailable,
            ProblemType::ProverBusy,
            ProblemType::NotReady,
        ];
        let kind = problem.code.known().expect("a code of this version");
        assert!(clear.contains(&kind), "{problem:?}");
        response.assert_refused(kind);
        assert!(problem.retryable);
        *seen.entry(kind.code()).or_default() += 1;
    }
    eprintln!("{killed} killed; {} answers: {seen:?}", responses.len());
    assert!(
        killed > KILLED_MIN && seen.get("proof").is_some_and(|&proofs| proofs > 0),
        "{killed} killed: {seen:?}"
    );
    eventually("the server is healthy again", || {
        let health = server.get("/api/health");
        (health.status == 200 && health.json()["status"] == "ok").then_some(())
    });
    server.assert_healthy();
}

#[test]
fn bb_is_killed_repeatedly_under_load() {
    kill_provers_under_load(|_| {}, Duration::from_millis(200));
}

#[test]
fn bb_is_killed_repeatedly_in_process_mode() {
    kill_provers_under_load(Settings::process_mode, Duration::from_millis(400));
}

#[test]
fn a_hundred_large_uploads_need_little_memory() {
    const UPLOADS: usize = 100;
    // About as many bytes as a witness of this circuit may have.
    const BYTES: usize = 1_000_000;
    // The goal is 40 MiB in all. Half of it is the program itself, whose size depends on how it was built.
    const MEMORY_MAX: u64 = 40 << 20;
    const GROWTH_MAX: u64 = 24 << 20;
    let server = TestServer::start(set_long_limits);
    server.assert_healthy();
    let at_rest = processes::peak_memory(server.pid());
    let witness = samples::padded(&samples::range_check().witness, BYTES);
    assert!(witness.len() > BYTES - 100);
    let started = Instant::now();
    let upload =
        || Connection::post(server.address(), "/api/prove", &witness).read_response_within(LONG_LIMIT);
    let responses: Vec<Response> = thread::scope(|scope| {
        let uploads: Vec<_> = (0..UPLOADS).map(|_| scope.spawn(upload)).collect();
        uploads.into_iter().map(|upload| upload.join().expect("every upload gets a response")).collect()
    });
    let (proofs, refusals) = count_proofs_and_refusals(&responses);
    let peak = processes::peak_memory(server.pid());
    eprintln!(
        "{proofs} proofs and {refusals} refusals in {:?}; the server's peak memory was {} KiB, and {} KiB at rest",
        started.elapsed(),
        peak >> 10,
        at_rest >> 10
    );
    assert_eq!(proofs, UPLOADS);
    assert!(peak - at_rest < GROWTH_MAX, "{} KiB, and {} KiB at rest", peak >> 10, at_rest >> 10);
    assert!(cfg!(debug_assertions) || peak < MEMORY_MAX, "{} KiB", peak >> 10);
    server.assert_healthy();
}
