//! Invalid circuits, and a CRS that is too small or damaged. The other circuits are still proved.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{
    ProblemType,
    Target::NoirRecursive,
    answer::{CircuitHealth, CircuitStatus, HealthStatus},
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::support::{TestServer, eventually, paths, samples, settings::Settings, skipped::lacks_crs_points};

fn artifact(bytecode: &str) -> Vec<u8> {
    json!({ "noir_version": "0.0.1", "bytecode": bytecode }).to_string().into_bytes()
}

/// Writes a CRS with only the first points to this folder.
pub(super) fn shortened_crs(dir: &Path, points: u64) -> PathBuf {
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
        assert_failed(&server, "maze_walk", ProblemType::CircuitUnavailable, &["32768", "4097"]);
        server.assert_healthy();
    }
}

#[test]
fn a_crs_too_small_for_every_circuit_is_unhealthy() {
    let crs = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| {
        s.crs = shortened_crs(crs.path(), 4095);
        s.wait_until_ready = false;
        show_details(s);
    });
    eventually("the circuit has failed", || {
        (health_of(&server, "range_check").status == CircuitStatus::Failed).then_some(())
    });
    assert_failed(&server, "range_check", ProblemType::CircuitUnavailable, &["4096", "4095"]);
    let health = server.get("/api/health");
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (500, &json!("unhealthy")));
    // A retry never helps: circuits are loaded once.
    assert!(!server.get("/readyz").assert_refused(ProblemType::CircuitUnavailable).retryable);
    server.assert_idle();
}

#[test]
fn health_reports_that_no_circuit_is_configured() {
    let server = TestServer::start(|s| (s.circuit, s.wait_until_ready) = (None, false));
    let health = server.get("/api/health");
    assert_eq!(health.status, 500);
    let problems = health.json()["problems"].to_string();
    assert!(problems.contains("--circuit"), "{problems}");
    // While the server starts, a retry may help.
    eventually("the server has nothing to load", || {
        let ready = server.get("/readyz");
        assert_eq!(ready.status, 503);
        (ready.json()["code"] == ProblemType::CircuitUnavailable.code()).then_some(())
    });
    let ready = server.get("/readyz").assert_refused(ProblemType::CircuitUnavailable);
    assert!(ready.detail.contains("--circuit") && !ready.retryable, "{ready:?}");
    server.wait_for_log_line("the start warns", |line| line["level"] == "WARN");
    server.prove(&samples::range_check().witness).assert_refused(ProblemType::InvalidRequest);
    server.assert_idle();
}

#[test]
fn what_is_no_file_in_the_folder_is_a_failed_circuit() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    mknodat(CWD, at("fifo.json"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    symlink(at("nothing"), at("dangling.json")).unwrap();
    fs::create_dir(at("folder.json")).unwrap();
    symlink(at("nothing"), at(".hidden.json")).unwrap();
    let server = TestServer::start(|s| {
        s.circuits = Some(dir.path().to_owned());
        show_details(s);
    });
    assert_eq!(server.health().circuits.len(), 4);
    assert_eq!(server.health().status, HealthStatus::Degraded);
    for (name, part) in [("fifo", "FIFO"), ("dangling", "dangling.json"), ("folder", "a folder")] {
        assert_failed(&server, name, ProblemType::CircuitUnavailable, &[part]);
        server.wait_for_log_line("the log names the circuit", |line| line["circuit"] == name);
    }
    server.assert_healthy();
}

#[test]
fn a_request_without_a_circuit_learns_how_to_name_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(&samples::range_check().circuit, dir.path().join("one.json")).unwrap();
    fs::copy(&samples::range_check().circuit, dir.path().join("two.json")).unwrap();
    let server = TestServer::start(|s| {
        (s.circuit, s.circuits, s.sample) = (None, Some(dir.path().to_owned()), None);
        s.environment.push(("EDGEPROVE_EPHEMERAL_JOBS".to_owned(), "true".to_owned()));
    });
    let witness = &samples::range_check().witness;
    for response in [
        server.get("/v1/estimate"),
        server.prove(witness),
        server.prove_request_at("/v1/proofs", witness).send(),
    ] {
        let problem = response.assert_refused(ProblemType::InvalidRequest);
        for part in ["?circuit=NAME", "one", "two"] {
            assert!(problem.detail.contains(part), "{}", problem.detail);
        }
    }
    assert_eq!(server.get("/v1/estimate?circuit=one").status, 200);
}

/// Swaps two points. All points are still on the curve.
pub(super) fn swap_points(crs: &Path, one: usize, other: usize) {
    let g1 = crs.join("bn254_g1.dat");
    let mut points = fs::read(&g1).unwrap();
    for byte in 0..64 {
        points.swap(one * 64 + byte, other * 64 + byte);
    }
    fs::write(&g1, points).unwrap();
}

/// The start checks the points. If they are damaged afterwards, the verification of the proof shows it.
#[test]
fn a_crs_that_is_damaged_later_yields_no_proof() {
    let (crs, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let square = samples::square(dir.path(), "square", 1);
    shortened_crs(crs.path(), 3000);
    let server = TestServer::start(|s| {
        s.crs = crs.path().to_owned();
        (s.circuit, s.sample) = (Some(square.circuit.clone()), None);
    });
    // bb reads the points with its first proof.
    swap_points(crs.path(), 3, 7);
    let provers = server.provers();
    server.prove(&square.witness).assert_refused(ProblemType::ProofInvalid);
    eventually("the prover is replaced", || provers.iter().any(|bb| !bb.is_alive()).then_some(()));
    assert_eq!(server.health().prover.proofs, 0);
    server.wait_for_log_line("an error names the circuit", |line| {
        line["level"] == "ERROR" && line["circuit"] == "square"
    });
    server.assert_idle();
}

#[test]
fn a_circuit_without_inputs_is_proved() {
    let dir = tempfile::tempdir().unwrap();
    let sample = samples::without_inputs(dir.path());
    for is_warm in [true, false] {
        let server = TestServer::start(|s| {
            (s.circuit, s.sample) = (Some(sample.circuit.clone()), Some(sample.clone()));
            if !is_warm {
                s.process_mode();
            }
        });
        server.prove(&sample.witness).assert_proves(&sample, NoirRecursive);
        let evm = server.prove_request_at("/api/prove?target=evm", &sample.witness).send();
        evm.assert_proves(&sample, edgeprove_protocol::Target::Evm);
        let other = &samples::range_check().witness;
        server.prove(other).assert_refused(ProblemType::WitnessOfAnotherCircuit);
        server.finish();
    }
}

/// bb adds five rows to the gates: 4,093 gates do not fit 4,096 rows.
#[test]
fn the_size_of_a_circuit_has_the_rows_that_bb_adds() {
    let (crs, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fitting = samples::squares(dir.path(), "fitting", 4074);
    let beyond = samples::squares(dir.path(), "beyond", 4075);
    for keys in [dir.path().join("keys"), paths::shared_keys()] {
        let server = TestServer::start(|s| {
            (s.crs, s.keys) = (shortened_crs(crs.path(), 4097), keys);
            (s.circuit, s.circuits) = (None, Some(dir.path().to_owned()));
            s.sample = Some(fitting.clone());
        });
        let health = health_of(&server, "fitting");
        assert_eq!((health.gates, health.circuit_size), (Some(4091), Some(4096)));
        assert_failed(&server, "beyond", ProblemType::CircuitUnavailable, &["8192", "4097"]);
        server.assert_healthy();
    }
    if lacks_crs_points(8192) {
        return;
    }
    let server = TestServer::start(|s| {
        (s.circuit, s.sample) = (Some(beyond.circuit.clone()), Some(beyond.clone()));
    });
    let health = health_of(&server, "beyond");
    assert_eq!((health.gates, health.circuit_size), (Some(4092), Some(8192)));
    server.assert_healthy();
}

#[test]
fn a_circuit_file_with_a_byte_order_mark_loads() {
    let dir = tempfile::tempdir().unwrap();
    let range = samples::range_check();
    let text = fs::read_to_string(&range.circuit).unwrap();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(dir.path().join("utf8.json"), ["\u{feff}", &text].concat()).unwrap();
    fs::write(dir.path().join("utf16.json"), [b"\xff\xfe", utf16.as_slice()].concat()).unwrap();
    let server = TestServer::start(|s| s.circuits = Some(dir.path().to_owned()));
    let hashes: Vec<_> = server.health().circuits.into_iter().map(|circuit| circuit.vk_hash).collect();
    assert!(hashes.iter().all(|hash| hash.is_some() && *hash == hashes[0]), "{hashes:?}");
    server.assert_healthy();
}

#[test]
fn hidden_files_beside_circuits_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["._range_check.json", ".x.json", "range_check.json~", "#range_check.json#"] {
        fs::write(dir.path().join(name), [0, 5, 22, 7]).unwrap();
    }
    let server = TestServer::start(|s| s.circuits = Some(dir.path().to_owned()));
    assert_eq!(server.health().circuits.len(), 1);
    server.assert_healthy();
}

/// The forms of a CRS folder that bb itself proves with.
#[test]
fn a_crs_as_bb_keeps_it_is_used() {
    let points = fs::read(paths::crs().join("bn254_g1.dat")).unwrap();
    let compressed: Vec<u8> = points[..4096 * 64]
        .as_chunks::<64>()
        .0
        .iter()
        .flat_map(|point| {
            let mut x = [0; 32];
            x.copy_from_slice(&point[..32]);
            x[0] |= (point[63] & 1) << 7;
            x
        })
        .collect();
    let few = &points[..512 * 64];
    for files in [
        // Exactly as many points as rows, and no point of G2.
        &[("bn254_g1.dat", &points[..4096 * 64])][..],
        &[("bn254_g1_compressed.dat", &compressed)],
        // bb wrote the points of a smaller circuit.
        &[("bn254_g1_compressed.dat", &compressed), ("bn254_g1.dat", few)],
    ] {
        let (crs, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, bytes) in files {
            fs::write(crs.path().join(name), bytes).unwrap();
        }
        let server = TestServer::start(|s| {
            (s.crs, s.keys) = (crs.path().to_owned(), keys.path().to_owned());
        });
        assert_eq!(server.health().crs.points, 4096);
        server.assert_healthy();
    }
}

/// bb would take 7 GiB for an index of 2^26.
#[test]
fn loading_a_circuit_is_bounded_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    samples::with_index(dir.path(), "far_index", 1 << 26);
    samples::with_index(dir.path(), "wide", 1_000_000);
    let server = TestServer::start(|s| {
        s.circuits = Some(dir.path().to_owned());
        s.flag("--memory-max", "64MiB");
        show_details(s);
    });
    assert_failed(&server, "far_index", ProblemType::CircuitUnavailable, &["67108865 witnesses"]);
    assert_failed(&server, "wide", ProblemType::CircuitUnavailable, &["where 64 MiB are allowed"]);
    server.assert_healthy();
}
