//! Many callers at once, and the machine giving way beneath them. `.config/nextest.toml` gives these tests the machine
//! for themselves.

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
use rustix::process::Signal;

use crate::support::{
    Answer, Connection, TestServer, client::Ask, processes, samples, settings::Settings, wait::within,
};

/// Callers that all come at the same moment.
const CALLERS: usize = 200;

/// Longest time for any request, on machines that do other work as well.
const LONG: Duration = Duration::from_mins(3);

/// Has the server be as patient as the callers are.
fn be_patient(settings: &mut Settings) {
    for flag in ["--prover-queue-wait", "--request-timeout", "--upload-idle"] {
        settings.flag(flag, "3m");
    }
}

/// Posts the same body from many threads at once.
fn at_once(server: &TestServer, callers: usize, witness: &[u8]) -> Vec<Answer> {
    let start = Arc::new(Barrier::new(callers));
    let ask = |_| {
        let (start, ask) = (Arc::clone(&start), server.posting(witness));
        thread::Builder::new().stack_size(256 << 10).spawn(move || {
            start.wait();
            ask.send_within(LONG)
        })
    };
    let threads: Vec<_> = (0..callers).map(|caller| ask(caller).unwrap()).collect();
    threads.into_iter().map(|thread| thread.join().expect("every request is answered")).collect()
}

/// Every answer is a proof or says when to come back; returns how many there were of each.
#[track_caller]
fn proofs_and_refusals(answers: &[Answer]) -> (usize, usize) {
    let mut proofs = 0;
    for answer in answers {
        if answer.status == 200 {
            answer.proof_of(samples::range());
            proofs += 1;
        } else {
            answer.refused_for_now(ProblemType::ProverBusy);
        }
    }
    (proofs, answers.len() - proofs)
}

#[track_caller]
fn two_hundred_at_once(change: impl FnOnce(&mut Settings), waiting_max: usize) {
    let server = TestServer::start(|s| {
        be_patient(s);
        change(s);
    });
    let answers = at_once(&server, CALLERS, &samples::range().witness);
    let (proofs, refusals) = proofs_and_refusals(&answers);
    eprintln!("{proofs} proofs, {refusals} refusals");
    // The queue was full at some moment, and all who had been let in got their proof.
    assert!(proofs > waiting_max, "{proofs} proofs, {refusals} refusals");
    assert!(refusals > 0, "{proofs} proofs, {refusals} refusals");
    assert_eq!(server.health().prover.proofs, proofs as u64);
    let proof = answers.iter().find(|answer| answer.status == 200).unwrap();
    proof.proves(samples::range(), NoirRecursive);
    server.assert_well();
}

#[test]
fn two_hundred_at_once_with_the_queue_as_it_is() {
    two_hundred_at_once(|_| {}, 100);
}

#[test]
fn two_hundred_at_once_with_a_short_queue() {
    two_hundred_at_once(|s| s.flag("--prover-queue-max", &8), 8);
}

#[test]
fn two_hundred_at_once_with_one_bb_for_each_proof() {
    let change = |s: &mut Settings| {
        s.process_mode();
        s.flag("--prover-queue-max", &8);
    };
    two_hundred_at_once(change, 8);
}

#[test]
fn more_connections_than_are_served_at_a_time_wait_their_turn() {
    let server = TestServer::start(|s| s.flag("--connections", &4));
    let answers = at_once(&server, 40, &samples::range().witness);
    assert_eq!(proofs_and_refusals(&answers), (40, 0));
    server.assert_well();
}

#[test]
fn short_of_file_descriptors_it_keeps_answering() {
    let server = TestServer::start(|s| {
        let mut wrapper = Command::new("sh");
        wrapper.args(["-c", "ulimit -n 60 && exec \"$@\"", "sh"]);
        s.wrapper = Some(wrapper);
    });
    let answers = at_once(&server, 100, &samples::range().witness);
    let mut proofs = 0;
    for answer in &answers {
        if answer.status == 200 {
            answer.proof_of(samples::range());
            proofs += 1;
        } else {
            // Either there was no descriptor for the upload, or none for a bb that had to be started.
            let code = answer.json()["code"].clone();
            let is_prover = code == ProblemType::ProverUnavailable.code();
            let kind = if is_prover { ProblemType::ProverUnavailable } else { ProblemType::SpoolUnavailable };
            answer.refused_for_now(kind);
        }
    }
    eprintln!("{proofs} proofs");
    assert!(proofs > 0);
    server.assert_well();
}

/// Kills every prover again and again while callers ask without a pause. Every request ends in a proof or a clear
/// error; soon afterwards all is normal.
#[track_caller]
fn a_storm(change: impl FnOnce(&mut Settings), pause: Duration) {
    const STORM: Duration = Duration::from_secs(6);
    const CALLERS: usize = 8;
    let server = TestServer::start(change);
    let over = Arc::new(AtomicBool::new(false));
    let caller = |_| {
        let (over, address) = (Arc::clone(&over), server.address());
        thread::spawn(move || {
            let mut answers = Vec::new();
            while !over.load(Ordering::Relaxed) {
                answers.push(Ask::to_prove(address, "/api/prove", &samples::range().witness).send());
            }
            answers
        })
    };
    let callers: Vec<_> = (0..CALLERS).map(caller).collect();
    let until = Instant::now() + STORM;
    let mut killed = 0;
    while Instant::now() < until {
        for bb in server.provers() {
            bb.signal(Signal::KILL);
            killed += 1;
        }
        // The rhythm of the storm; nothing waits for it.
        thread::sleep(pause);
    }
    over.store(true, Ordering::Relaxed);
    let calm = Instant::now();
    let answers: Vec<Answer> =
        callers.into_iter().flat_map(|caller| caller.join().expect("every request is answered")).collect();
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for answer in &answers {
        if answer.status == 200 {
            answer.proof_of(samples::range());
            *seen.entry("proof").or_default() += 1;
            continue;
        }
        let problem: Problem = serde_json::from_slice(&answer.body).expect("a problem document");
        let clear = [
            ProblemType::ProverCrashed,
            ProblemType::ProverUnavailable,
            ProblemType::ProverBusy,
            ProblemType::NotReady,
        ];
        let kind = problem.code.known().expect("a code of this version");
        assert!(clear.contains(&kind), "{problem:?}");
        answer.refused(kind);
        assert!(problem.retryable);
        *seen.entry(kind.code()).or_default() += 1;
    }
    eprintln!("{killed} killed; {} answers: {seen:?}", answers.len());
    assert!(killed > 10 && seen.get("proof").is_some_and(|&proofs| proofs > 0), "{killed} killed: {seen:?}");
    let left = Duration::from_secs(10).saturating_sub(calm.elapsed());
    within(left, "all is normal ten seconds later", || {
        let health = server.get("/api/health");
        (health.status == 200 && health.json()["status"] == "ok").then_some(())
    });
    server.assert_well();
    assert!(calm.elapsed() < Duration::from_secs(20), "{:?}", calm.elapsed());
}

#[test]
fn a_storm_that_kills_every_bb_again_and_again() {
    a_storm(|_| {}, Duration::from_millis(200));
}

#[test]
fn a_storm_that_kills_every_bb_of_process_mode() {
    a_storm(Settings::process_mode, Duration::from_millis(400));
}

#[test]
fn a_hundred_large_uploads_at_once_in_little_memory() {
    const UPLOADS: usize = 100;
    const BYTES: usize = 20_000_000;
    // The goal is 40 MiB. The code of an unoptimised build takes 22 MiB more.
    const MEMORY_MAX: u64 = if cfg!(debug_assertions) { 62 << 20 } else { 40 << 20 };
    let server = TestServer::start(be_patient);
    let witness = samples::padded(&samples::range().witness, BYTES);
    assert!(witness.len() > BYTES - 100);
    let started = Instant::now();
    let upload = || Connection::post(server.address(), "/api/prove", &witness).answer_within(LONG);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let uploads: Vec<_> = (0..UPLOADS).map(|_| scope.spawn(upload)).collect();
        uploads.into_iter().map(|upload| upload.join().expect("every upload is answered")).collect()
    });
    let (proofs, refusals) = proofs_and_refusals(&answers);
    let peak = processes::peak_memory(server.pid());
    eprintln!(
        "{proofs} proofs and {refusals} refusals in {:?}; the server's peak memory was {} KiB",
        started.elapsed(),
        peak >> 10
    );
    assert_eq!(proofs, UPLOADS);
    assert!(peak < MEMORY_MAX, "{} KiB", peak >> 10);
    server.assert_well();
}
