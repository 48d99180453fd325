//! The memory budget: a proof reserves memory before it starts, waits if there is too little, and its measured peak is
//! stored.

use std::{path::Path, time::Duration};

use edgeprove_protocol::{ProblemType, Target::NoirRecursive, answer::CircuitStatus};

use crate::support::{
    Connection, TestServer, eventually, samples,
    settings::{Settings, WARM_PROVERS},
    skipped::lacks_crs_points,
};

/// Configures a server whose proofs use one core each.
fn configure_narrow(settings: &mut Settings, keys: &Path) {
    keys.clone_into(&mut settings.keys);
    settings.flag("--width", "narrow");
    settings.provers = 2;
}

/// Waits for the measured peak memory of a proof of `range_check`, in bytes.
#[track_caller]
fn peak(server: &TestServer) -> u64 {
    let known = eventually("the peak is measured", || server.health().circuits[0].memory_peak_bytes);
    assert!((8 << 20..1 << 30).contains(&known), "{known}");
    known
}

/// Proves once, so that the next server with this cache knows the peak memory.
#[track_caller]
fn measure(change: impl FnOnce(&mut Settings)) -> u64 {
    let server = TestServer::start(change);
    server.prove(&samples::range_check().witness).assert_proves(samples::range_check(), NoirRecursive);
    let peak = peak(&server);
    server.finish();
    peak
}

/// The number of provers that were replaced for this reason.
#[track_caller]
fn count_replaced(server: &TestServer, reason: &str) -> u64 {
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let series = format!("edgeprove_prover_restarts_total{{reason=\"{reason}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap_or_else(|| panic!("no {series}in {text}")).parse().unwrap()
}

#[test]
fn a_proof_waits_until_enough_memory_is_free() {
    let keys = tempfile::tempdir().unwrap();
    let witness = &samples::range_check().witness;
    let peak_bytes = measure(|s| configure_narrow(s, keys.path()));

    let plenty = TestServer::start(|s| configure_narrow(s, keys.path()));
    assert_eq!(peak(&plenty), peak_bytes, "the peak is stored between starts");
    let (mut first, bb) = plenty.suspend_mid_proof();
    plenty.prove(witness).assert_proves(samples::range_check(), NoirRecursive);
    bb.resume();
    first.read_response().assert_proves(samples::range_check(), NoirRecursive);
    plenty.finish();

    let scarce = TestServer::start(|s| {
        configure_narrow(s, keys.path());
        s.flag("--memory-max", &format!("{}B", peak_bytes / 2 * 3));
    });
    let (mut first, bb) = scarce.suspend_mid_proof();
    let mut second = Connection::post(scarce.address(), "/api/prove", witness);
    let prover = eventually("the second request waits", || {
        Some(scarce.health().prover).filter(|prover| (prover.running, prover.waiting) == (1, 1))
    });
    assert_eq!(prover.memory_max_bytes, Some(peak_bytes / 2 * 3));
    assert!((1..=peak_bytes / 2 * 3).contains(&prover.memory_reserved_bytes), "{prover:?}");
    assert!(
        !second.receives_within(Duration::from_millis(500)),
        "the second proof starts although there is too little memory"
    );
    bb.resume();
    first.read_response().assert_proves(samples::range_check(), NoirRecursive);
    second.read_response().assert_proves(samples::range_check(), NoirRecursive);
    scarce.assert_healthy();
    assert_eq!(scarce.health().prover.memory_reserved_bytes, 0);
}

#[test]
fn idle_provers_free_memory_for_waiting_proofs() {
    let keys = tempfile::tempdir().unwrap();
    let witness = &samples::range_check().witness;
    let peak_bytes = measure(|s| s.keys = keys.path().to_owned());
    let server = TestServer::start(|s| {
        s.keys = keys.path().to_owned();
        // Two proofs and a new bb need up to 2.4 times the peak, two proofs and a used bb 3 times.
        s.flag("--memory-max", &format!("{}B", peak_bytes / 10 * 28));
    });
    // The prover for both cores has proved, and has not returned its memory.
    let (mut first, bb) = server.suspend_mid_proof();
    let mut others = [(); 2].map(|()| Connection::post(server.address(), "/api/prove", witness));
    eventually("both requests wait", || (server.health().prover.waiting == 2).then_some(()));
    // Now two proofs are to run side by side. There is enough memory only if that prover returns its memory.
    bb.resume();
    first.read_response().assert_proves(samples::range_check(), NoirRecursive);
    for other in &mut others {
        other.read_response().assert_proves(samples::range_check(), NoirRecursive);
    }
    assert!(count_replaced(&server, "memory_reclaim") >= 1);
    server.assert_healthy();
    assert_eq!(server.provers().len(), WARM_PROVERS);
}

#[test]
fn a_circuit_that_exceeds_the_memory_is_refused_at_load() {
    if lacks_crs_points((1 << 14) + 1) {
        return;
    }
    let (keys, circuits) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (range, merkle) = (samples::range_check(), samples::from_setup("merkle_membership"));
    for sample in [range, &merkle] {
        std::fs::copy(&sample.circuit, circuits.path().join(format!("{}.json", sample.name))).unwrap();
    }
    let server = TestServer::start(|s| {
        s.keys = keys.path().to_owned();
        (s.circuit, s.circuits) = (None, Some(circuits.path().to_owned()));
        s.flag("--memory-max", "40MiB");
    });
    let problem = server
        .prove_request_at("/api/prove/merkle_membership", &merkle.witness)
        .send()
        .assert_refused(ProblemType::CircuitUnavailable);
    for part in ["55 MiB", "40 MiB"] {
        assert!(problem.detail.contains(part), "{}", problem.detail);
    }
    // Advice for operators is only for them.
    assert!(!problem.detail.contains("--memory-max"), "{}", problem.detail);
    assert!(server.log().contains("--memory-max"), "the log has the advice");
    let health = server.health();
    let refused = health.circuits.iter().find(|circuit| circuit.id.as_str() == merkle.name).unwrap();
    assert_eq!(refused.status, CircuitStatus::Failed);
    assert!(
        refused
            .error
            .as_deref()
            .is_some_and(|error| error.contains("55 MiB") && !error.contains("--memory-max")),
        "{refused:?}"
    );
    server
        .prove_request_at("/api/prove/range_check", &range.witness)
        .send()
        .assert_proves(range, NoirRecursive);
    server.assert_healthy();
}

#[test]
fn a_prover_whose_memory_grew_is_recycled() {
    let server = TestServer::start(|s| s.flag("--recycle-drift", "0.1"));
    for proofs in 1..=2 {
        server.prove(&samples::range_check().witness).assert_proves(samples::range_check(), NoirRecursive);
        eventually("the prover is replaced", || {
            (count_replaced(&server, "memory_growth") >= proofs).then_some(())
        });
    }
    server.assert_healthy();
}

#[test]
fn process_mode_measures_peak_memory() {
    let keys = tempfile::tempdir().unwrap();
    measure(|s| {
        s.process_mode();
        s.keys = keys.path().to_owned();
    });
}
