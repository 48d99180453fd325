//! Invalid circuits, and a CRS that is too small or damaged. The other circuits are still proved.

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

use crate::support::{TestServer, paths, samples, settings::Settings};

fn artifact(bytecode: &str) -> Vec<u8> {
    json!({ "noir_version": "0.0.1", "bytecode": bytecode }).to_string().into_bytes()
}

/// Writes a CRS with only the first points to this folder.
fn shortened_crs(dir: &Path, points: u64) -> PathBuf {
    let bytes = usize::try_from(points * paths::POINT_BYTES).unwrap();
    let g1 = fs::read(paths::crs().join("bn254_g1.dat")).unwrap();
    fs::write(dir.join("bn254_g1.dat"), &g1[..bytes]).unwrap();
    fs::copy(paths::crs().join("bn254_g2.dat"), dir.join("bn254_g2.dat")).unwrap();
    dir.to_owned()
}

#[track_caller]
fn health_of(server: &TestServer, name: &str) -> CircuitHealth {
    let circuits = server.health().circuits;
    circuits.into_iter().find(|circuit| circuit.id.as_str() == name).expect("health lists the circuit")
}

/// Makes every caller an operator, who sees why a circuit failed.
fn show_details(settings: &mut Settings) {
    settings.flag("--anonymous-role", "operator");
}

#[track_caller]
fn assert_failed(server: &TestServer, name: &str, kind: ProblemType, parts: &[&str]) {
    let circuit = health_of(server, name);
    assert_eq!(circuit.status, CircuitStatus::Failed, "{name}");
    let error = circuit.error.unwrap();
    assert!(parts.iter().all(|part| error.contains(part)), "{name}: {parts:?} is not in: {error}");
    let path = format!("/api/prove/{name}");
    let problem = server.prove_request_at(&path, &samples::range_check().witness).send();
    let problem = problem.assert_refused(kind);
    assert!(problem.detail.contains("/api/health"), "{}", problem.detail);
}

#[test]
fn an_invalid_circuit_file_affects_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let good: Value = serde_json::from_slice(&fs::read(&samples::range_check().circuit).unwrap()).unwrap();
    let bytecode = good["bytecode"].as_str().unwrap();
    let flipped = bytecode.replacen('A', "B", 3);
    let no_acir = STANDARD.encode(samples::gzip(b"bytecode of an older Noir"));
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("empty", Vec::new(), "compiled"),
        ("garbage", vec![0xff; 1000], "compiled"),
        ("truncated", fs::read(&samples::range_check().circuit).unwrap()[..500].to_vec(), "compiled"),
        ("list", b"[]".to_vec(), "compiled"),
        ("no_bytecode", json!({ "noir_version": "1" }).to_string().into_bytes(), "compiled"),
        ("no_version", json!({ "bytecode": bytecode }).to_string().into_bytes(), "compiled"),
        ("not_base64", artifact("%%%"), "base64"),
        ("not_gzip", artifact("AAAA"), "gzip"),
        ("no_program", artifact(""), "gzip"),
        ("damaged", artifact(&flipped), "gzip"),
        ("another_noir", artifact(&no_acir), "Noir 0.0.1"),
    ];
    for (name, content, _) in cases {
        fs::write(dir.path().join(format!("{name}.json")), content).unwrap();
    }
    fs::create_dir(dir.path().join("folder.json")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", dir.path().join("dangling.json")).unwrap();

    let server = TestServer::start(|s| {
        s.circuits = Some(dir.path().to_owned());
        show_details(s);
    });
    let health = server.health();
    assert_eq!(health.status, HealthStatus::Degraded);
    assert_eq!(health.circuits.len(), cases.len() + 1);
    assert_eq!(health.problems.len(), cases.len());
    for (name, _, part) in cases {
        assert_failed(&server, name, ProblemType::CircuitCompilationFailed, &[part]);
    }
    server.assert_healthy();
}

#[test]
fn only_operators_see_paths_in_health() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(&samples::range_check().circuit, dir.path().join("range_check.json")).unwrap();
    // A file that exists and that no process can read from its beginning.
    std::os::unix::fs::symlink("/proc/self/mem", dir.path().join("unreadable.json")).unwrap();
    let path = dir.path().display().to_string();
    for is_operator in [true, false] {
        let server = TestServer::start(|s| {
            s.circuits = Some(dir.path().to_owned());
            if is_operator {
                show_details(s);
            }
        });
        let health = server.health();
        assert_eq!(health.status, HealthStatus::Degraded);
        let error = health_of(&server, "unreadable").error.unwrap();
        assert!(error.contains("cannot be read"), "{error}");
        assert_eq!(
            (error.contains(&path), health.problems.concat().contains(&path)),
            (is_operator, is_operator)
        );
        let problem =
            server.prove_request_at("/api/prove/unreadable", &samples::range_check().witness).send();
        let problem = problem.assert_refused(ProblemType::CircuitUnavailable);
        assert!(problem.detail.contains("cannot be read") && !problem.detail.contains(&path), "{problem:?}");
        assert!(server.log().contains(&path), "the log has the path");
    }
}

#[test]
fn a_crs_too_small_for_one_circuit_serves_the_others() {
    let (crs, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let maze = samples::from_setup("maze_walk");
    fs::copy(&maze.circuit, dir.path().join("maze_walk.json")).unwrap();
    // A cached key, computed by another test with more points, must not hide that points are missing.
    for keys in [dir.path().join("keys"), paths::shared_keys()] {
        let server = TestServer::start(|s| {
            (s.crs, s.keys) = (shortened_crs(crs.path(), 4097), keys);
            s.circuits = Some(dir.path().to_owned());
            show_details(s);
        });
        let health = server.health();
        assert_eq!((health.status, health.crs.points), (HealthStatus::Degraded, 4097));
        assert_failed(&server, "maze_walk", ProblemType::CircuitUnavailable, &["32769", "4097"]);
        server.assert_healthy();
    }
}

#[test]
fn a_crs_too_small_for_every_circuit_is_unhealthy() {
    let crs = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| {
        s.crs = shortened_crs(crs.path(), 4096);
        s.wait_until_ready = false;
        show_details(s);
    });
    crate::support::eventually("the circuit has failed", || {
        (health_of(&server, "range_check").status == CircuitStatus::Failed).then_some(())
    });
    assert_failed(&server, "range_check", ProblemType::CircuitUnavailable, &["4097", "4096"]);
    let health = server.get("/api/health");
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (500, &json!("unhealthy")));
    server.get("/readyz").assert_refused(ProblemType::NotReady);
    server.assert_idle();
}

#[test]
fn health_reports_that_no_circuit_is_configured() {
    let server = TestServer::start(|s| (s.circuit, s.wait_until_ready) = (None, false));
    let health = server.get("/api/health");
    assert_eq!(health.status, 500);
    let problems = health.json()["problems"].to_string();
    assert!(problems.contains("--circuit"), "{problems}");
    server.prove(&samples::range_check().witness).assert_refused(ProblemType::InvalidRequest);
    server.assert_idle();
}

/// Swaps two points. All points are still on the curve.
fn swap_points(crs: &Path, one: usize, other: usize) {
    let g1 = crs.join("bn254_g1.dat");
    let mut points = fs::read(&g1).unwrap();
    for byte in 0..64 {
        points.swap(one * 64 + byte, other * 64 + byte);
    }
    fs::write(&g1, points).unwrap();
}

/// With so few points, the start does not notice the damage. The verification of the proof does.
#[test]
fn a_damaged_crs_yields_no_proof() {
    let (crs, keys, dir) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let square = samples::square(dir.path(), "square", 1);
    shortened_crs(crs.path(), 3000);
    swap_points(crs.path(), 3, 7);
    let server = TestServer::start(|s| {
        (s.crs, s.keys) = (crs.path().to_owned(), keys.path().to_owned());
        (s.circuit, s.sample) = (Some(square.circuit.clone()), None);
    });
    server.prove(&square.witness).assert_refused(ProblemType::ProofInvalid);
    server.wait_for_log_line("an error names the circuit", |line| {
        line["level"] == "ERROR" && line["circuit"] == "square"
    });
    server.assert_idle();
}
