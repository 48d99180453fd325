//! Circuits that cannot be proved do not stop those that can.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{
    ProblemType,
    answer::{CircuitHealth, CircuitStatus, HealthStatus},
};
use serde_json::{Value, json};

use crate::support::{TestServer, places, samples};

fn artifact(bytecode: &str) -> Vec<u8> {
    json!({ "noir_version": "0.0.1", "bytecode": bytecode }).to_string().into_bytes()
}

/// A folder with the first points of the CRS alone.
fn shortened_crs(dir: &Path, points: u64) -> PathBuf {
    let bytes = usize::try_from(points * places::POINT_BYTES).unwrap();
    let g1 = fs::read(places::crs().join("bn254_g1.dat")).unwrap();
    fs::write(dir.join("bn254_g1.dat"), &g1[..bytes]).unwrap();
    fs::copy(places::crs().join("bn254_g2.dat"), dir.join("bn254_g2.dat")).unwrap();
    dir.to_owned()
}

#[track_caller]
fn health_of(server: &TestServer, name: &str) -> CircuitHealth {
    let circuits = server.health().circuits;
    circuits.into_iter().find(|circuit| circuit.id.as_str() == name).expect("health knows the circuit")
}

#[track_caller]
fn assert_failed(server: &TestServer, name: &str, why: &str) {
    let circuit = health_of(server, name);
    assert_eq!(circuit.status, CircuitStatus::Failed, "{name}");
    let error = circuit.error.unwrap();
    assert!(error.contains(why), "{name}: {error}");
    let path = format!("/api/prove/{name}");
    let problem = server.posting_to(&path, &samples::range().witness).send();
    let problem = problem.refused(ProblemType::CircuitUnavailable);
    assert!(problem.detail.contains("/api/health"), "{}", problem.detail);
}

#[test]
fn files_that_are_no_circuits_fail_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let good: Value = serde_json::from_slice(&fs::read(&samples::range().circuit).unwrap()).unwrap();
    let bytecode = good["bytecode"].as_str().unwrap();
    let flipped = bytecode.replacen('A', "B", 3);
    let no_acir = STANDARD.encode(samples::gzip(b"what an older Noir made"));
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("empty", Vec::new(), "not a compiled Noir circuit"),
        ("garbage", vec![0xff; 1000], "not a compiled Noir circuit"),
        (
            "truncated",
            fs::read(&samples::range().circuit).unwrap()[..500].to_vec(),
            "not a compiled Noir circuit",
        ),
        ("list", b"[]".to_vec(), "not a compiled Noir circuit"),
        (
            "no_bytecode",
            json!({ "noir_version": "1" }).to_string().into_bytes(),
            "not a compiled Noir circuit",
        ),
        (
            "no_version",
            json!({ "bytecode": bytecode }).to_string().into_bytes(),
            "not a compiled Noir circuit",
        ),
        ("not_base64", artifact("%%%"), "not base64"),
        ("not_gzip", artifact("AAAA"), "not gzip"),
        ("no_program", artifact(""), "not gzip"),
        ("damaged", artifact(&flipped), "not gzip"),
        ("another_noir", artifact(&no_acir), "compiled by Noir 0.0.1"),
    ];
    for (name, content, _) in cases {
        fs::write(dir.path().join(format!("{name}.json")), content).unwrap();
    }
    fs::create_dir(dir.path().join("folder.json")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", dir.path().join("dangling.json")).unwrap();

    let server = TestServer::start(|s| s.circuits = Some(dir.path().to_owned()));
    let health = server.health();
    assert_eq!(health.status, HealthStatus::Degraded);
    assert_eq!(health.circuits.len(), cases.len() + 1);
    assert_eq!(health.problems.len(), cases.len());
    for (name, _, why) in cases {
        assert_failed(&server, name, why);
    }
    server.assert_well();
}

#[test]
fn a_crs_too_small_for_one_circuit_proves_the_others() {
    let (crs, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let maze = samples::by_setup("maze_walk");
    fs::copy(&maze.circuit, dir.path().join("maze_walk.json")).unwrap();
    // The keys that other tests made with more points must not hide the lack.
    for keys in [dir.path().join("keys"), places::shared_keys()] {
        let server = TestServer::start(|s| {
            (s.crs, s.keys) = (shortened_crs(crs.path(), 4097), keys);
            s.circuits = Some(dir.path().to_owned());
        });
        let health = server.health();
        assert_eq!((health.status, health.crs.points), (HealthStatus::Degraded, 4097));
        assert_failed(&server, "maze_walk", "needs 32769 CRS points, but there are 4097");
        server.assert_well();
    }
}

#[test]
fn a_crs_one_point_too_small_for_every_circuit_proves_nothing_and_says_so() {
    let crs = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| {
        s.crs = shortened_crs(crs.path(), 4096);
        s.wait_until_ready = false;
    });
    crate::support::eventually("it is loaded", || {
        (health_of(&server, "range_check").status == CircuitStatus::Failed).then_some(())
    });
    assert_failed(&server, "range_check", "needs 4097 CRS points, but there are 4096");
    let health = server.get("/api/health");
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (500, &json!("unhealthy")));
    server.get("/readyz").refused(ProblemType::NotReady);
    server.assert_idle();
}

#[test]
fn without_any_circuit_health_says_what_is_missing() {
    let server = TestServer::start(|s| (s.circuit, s.wait_until_ready) = (None, false));
    let health = server.get("/api/health");
    assert_eq!(health.status, 500);
    let problems = health.json()["problems"].to_string();
    assert!(problems.contains("--circuit"), "{problems}");
    let problem = server.post(&samples::range().witness).refused(ProblemType::InvalidRequest);
    assert!(problem.detail.contains("none"), "{}", problem.detail);
    server.assert_idle();
}

/// Exchanges two points, which leaves all of them on the curve.
fn exchange(crs: &Path, one: usize, other: usize) {
    let g1 = crs.join("bn254_g1.dat");
    let mut points = fs::read(&g1).unwrap();
    for byte in 0..64 {
        points.swap(one * 64 + byte, other * 64 + byte);
    }
    fs::write(&g1, points).unwrap();
}

/// So few points that the start does not notice the damage: the last line of defence is the verification.
#[test]
fn a_damaged_crs_never_yields_a_proof() {
    let (crs, keys, dir) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let square = samples::square(dir.path(), "square", 1);
    shortened_crs(crs.path(), 3000);
    exchange(crs.path(), 3, 7);
    let server = TestServer::start(|s| {
        (s.crs, s.keys) = (crs.path().to_owned(), keys.path().to_owned());
        (s.circuit, s.good) = (Some(square.circuit.clone()), None);
    });
    server.post(&square.witness).refused(ProblemType::ProofInvalid);
    assert!(server.log().contains("ALARM"));
    server.assert_idle();
}
