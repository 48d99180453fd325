//! Memory is promised before it is used: who waits for it, who is refused, and what is learnt and kept.

use std::{path::Path, time::Duration};

use edgeprove_protocol::{ProblemType, Target::NoirRecursive, answer::CircuitStatus};
use rustix::process::Signal;

use crate::support::{
    Connection, TestServer, eventually,
    places::lacks_crs_points,
    samples,
    settings::{Settings, WARM_PROVERS},
};

/// A server that proves on one core at a time.
fn narrow(settings: &mut Settings, keys: &Path) {
    keys.clone_into(&mut settings.keys);
    settings.flag("--width", "narrow");
    settings.provers = 2;
}

/// Waits until it is known what a proof of `range_check` takes, in bytes.
#[track_caller]
fn peak(server: &TestServer) -> u64 {
    let known = eventually("what the proof took is known", || server.health().circuits[0].memory_peak_bytes);
    assert!((8 << 20..1 << 30).contains(&known), "{known}");
    known
}

/// Proves once, so that the next server with these keys knows what that takes.
#[track_caller]
fn learn(change: impl FnOnce(&mut Settings)) -> u64 {
    let server = TestServer::start(change);
    server.post(&samples::range().witness).proves(samples::range(), NoirRecursive);
    let peak = peak(&server);
    server.finish();
    peak
}

/// How many provers were replaced for this reason.
#[track_caller]
fn replaced(server: &TestServer, reason: &str) -> u64 {
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let series = format!("edgeprove_prover_restarts_total{{reason=\"{reason}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap_or_else(|| panic!("no {series}in {text}")).parse().unwrap()
}

#[test]
fn a_proof_waits_for_the_memory_of_another_that_would_else_run_beside_it() {
    let keys = tempfile::tempdir().unwrap();
    let witness = &samples::range().witness;
    let peak_bytes = learn(|s| narrow(s, keys.path()));

    let plenty = TestServer::start(|s| narrow(s, keys.path()));
    assert_eq!(peak(&plenty), peak_bytes, "it is kept between starts");
    let (mut first, bb) = plenty.freeze_midway();
    plenty.post(witness).proves(samples::range(), NoirRecursive);
    bb.signal(Signal::CONT);
    first.answer().proves(samples::range(), NoirRecursive);
    plenty.finish();

    let scarce = TestServer::start(|s| {
        narrow(s, keys.path());
        s.flag("--memory-max", &(peak_bytes / 2 * 3));
    });
    let (mut first, bb) = scarce.freeze_midway();
    let mut second = Connection::post(scarce.address(), "/api/prove", witness);
    let prover = eventually("the second waits", || {
        Some(scarce.health().prover).filter(|prover| (prover.running, prover.waiting) == (1, 1))
    });
    assert_eq!(prover.memory_max_bytes, Some(peak_bytes / 2 * 3));
    assert!((1..=peak_bytes / 2 * 3).contains(&prover.memory_reserved_bytes), "{prover:?}");
    assert!(!second.hears_within(Duration::from_millis(500)), "a core is free, but no memory");
    bb.signal(Signal::CONT);
    first.answer().proves(samples::range(), NoirRecursive);
    second.answer().proves(samples::range(), NoirRecursive);
    scarce.assert_well();
    assert_eq!(scarce.health().prover.memory_reserved_bytes, 0);
}

#[test]
fn what_idle_provers_hold_is_given_back_to_proofs_that_need_it() {
    let keys = tempfile::tempdir().unwrap();
    let witness = &samples::range().witness;
    let peak_bytes = learn(|s| s.keys = keys.path().to_owned());
    let server = TestServer::start(|s| {
        s.keys = keys.path().to_owned();
        // Two proofs and a fresh bb take up to 2.4 of it, two proofs and one that has proved 3.
        s.flag("--memory-max", &(peak_bytes / 10 * 28));
    });
    // The prover of both cores has worked, and holds what it took.
    let (mut first, bb) = server.freeze_midway();
    let mut others = [(); 2].map(|()| Connection::post(server.address(), "/api/prove", witness));
    eventually("both wait", || (server.health().prover.waiting == 2).then_some(()));
    // Now two proofs come side by side, for each of which there is memory only without that one's.
    bb.signal(Signal::CONT);
    first.answer().proves(samples::range(), NoirRecursive);
    for other in &mut others {
        other.answer().proves(samples::range(), NoirRecursive);
    }
    assert!(replaced(&server, "memory_reclaim") >= 1);
    server.assert_well();
    assert_eq!(server.provers().len(), WARM_PROVERS);
}

#[test]
fn a_circuit_that_does_not_fit_alone_is_refused_when_it_is_loaded() {
    if lacks_crs_points((1 << 14) + 1) {
        return;
    }
    let (keys, circuits) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (range, merkle) = (samples::range(), samples::by_setup("merkle_membership"));
    for sample in [range, &merkle] {
        std::fs::copy(&sample.circuit, circuits.path().join(format!("{}.json", sample.name))).unwrap();
    }
    let server = TestServer::start(|s| {
        s.keys = keys.path().to_owned();
        (s.circuit, s.circuits) = (None, Some(circuits.path().to_owned()));
        s.flag("--memory-max", "40MiB");
    });
    let problem = server
        .posting_to("/api/prove/merkle_membership", &merkle.witness)
        .send()
        .refused(ProblemType::CircuitUnavailable);
    for part in ["would take about 55 MiB", "40 MiB", "--memory-max"] {
        assert!(problem.detail.contains(part), "{}", problem.detail);
    }
    let health = server.health();
    let refused = health.circuits.iter().find(|circuit| circuit.id.as_str() == merkle.name).unwrap();
    assert_eq!(refused.status, CircuitStatus::Failed);
    assert!(refused.error.as_deref().is_some_and(|error| error.contains("55 MiB")), "{refused:?}");
    server.posting_to("/api/prove/range_check", &range.witness).send().proves(range, NoirRecursive);
    server.assert_well();
}

#[test]
fn a_prover_that_holds_more_than_its_circuits_take_is_replaced() {
    let server = TestServer::start(|s| s.flag("--recycle-drift", "0.1"));
    for proofs in 1..=2 {
        server.post(&samples::range().witness).proves(samples::range(), NoirRecursive);
        eventually("its prover is replaced", || (replaced(&server, "memory_growth") >= proofs).then_some(()));
    }
    server.assert_well();
}

#[test]
fn what_a_proof_takes_is_learnt_from_one_bb_for_each_as_well() {
    let keys = tempfile::tempdir().unwrap();
    learn(|s| {
        s.process_mode();
        s.keys = keys.path().to_owned();
    });
}
