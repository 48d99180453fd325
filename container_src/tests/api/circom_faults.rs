//! Circom circuits whose files are damaged, hostile, or of different circuits.

use std::fs;

use edgeprove_protocol::{ProblemType, answer::CircuitStatus};
use serde_json::json;

use crate::{
    command_line::WorkFolder,
    support::{
        TestServer,
        circom_files::{AFTER_LAST_POINT, CircomFolder, ENDLESS, importing},
        processes,
        wait::LIMIT,
    },
};

/// The name of a circuit, its key, its program, and a part of the error.
type Broken<'a> = (&'a str, &'a [u8], Option<&'a [u8]>, &'a str);

#[test]
fn broken_circuits_stop_neither_the_server_nor_others() {
    let folder = CircomFolder::new();
    folder.add("range");
    let key = fs::read(folder.at("range.zkey")).unwrap();
    let program = fs::read(folder.at("range.wasm")).unwrap();
    let shapes = edgeprove_test_circom::CircomCircuit::compile("shapes");
    let mut off_the_curve = key.clone();
    let last = off_the_curve.len() - AFTER_LAST_POINT - 1;
    off_the_curve[last] ^= 1;
    let mut large_header = key.clone();
    // The length of the first section.
    large_header[16..24].fill(0xff);
    let broken: [Broken<'_>; 8] = [
        ("cut", &key[..key.len() / 2], Some(&program), "cut.zkey is not a Groth16 key"),
        ("off_the_curve", &off_the_curve, Some(&program), "off_the_curve.zkey is not a Groth16 key"),
        ("large_header", &large_header, Some(&program), "large_header.zkey is not a Groth16 key"),
        ("text", b"not a key", Some(&program), "text.zkey is not a Groth16 key"),
        ("no_program", &key, None, "there is no"),
        ("no_wasm", &key, Some(b"not a program"), "no_wasm.wasm is not a program of circom"),
        (
            "other_program",
            &key,
            Some(&shapes.wasm()),
            "other_program.wasm is of another circuit than the key",
        ),
        ("imports", &key, Some(&importing()), "imports \"env\" \"read_file\""),
    ];
    for (name, key, program, _) in &broken {
        fs::write(folder.at(&format!("{name}.zkey")), key).unwrap();
        if let Some(program) = program {
            fs::write(folder.at(&format!("{name}.wasm")), program).unwrap();
        }
    }
    let server = TestServer::start(|settings| {
        settings.circuits = Some(folder.path().to_owned());
        settings.flag("--anonymous-role", "operator");
    });
    let health = server.health();
    for (name, _, _, part) in broken {
        let circuit = health.circuits.iter().find(|circuit| circuit.id.as_str() == name).unwrap();
        assert_eq!(circuit.status, CircuitStatus::Failed, "{name}");
        let error = circuit.error.as_deref().unwrap();
        assert!(error.contains(part), "{name}: {error}");
        let document = json!({"privateInputs": {"in": 60, "randomPublicSignal": 7}});
        let response = server.inputs_request(&format!("/api/prove/{name}"), &document).send();
        let kind = if name == "no_program" {
            ProblemType::CircuitUnavailable
        } else {
            ProblemType::CircuitCompilationFailed
        };
        let problem = response.assert_refused(kind);
        assert!(!problem.detail.contains(&folder.path().display().to_string()), "{problem:?}");
    }
    let document = json!({"privateInputs": {"in": 60, "randomPublicSignal": 7}});
    assert_eq!(server.inputs_request("/api/prove/range", &document).send().status, 200);
    server.assert_healthy();
}

#[test]
fn a_program_without_end_is_refused_at_the_check() {
    let folder = CircomFolder::new();
    folder.add("range");
    fs::write(folder.at("range.wasm"), ENDLESS).unwrap();
    let work = WorkFolder::new();
    fs::write(work.at("inputs.json"), r#"{"privateInputs": {"in": 1}}"#).unwrap();
    let mut command = work.command(&[
        &"witness",
        &"--circuit",
        &folder.at("range.zkey"),
        &"--inputs",
        &work.at("inputs.json"),
        &"--output",
        &"-",
    ]);
    let output = processes::run(&mut command, LIMIT);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{stderr}");
    assert!(stderr.contains("range.wasm is not a program of circom"), "{stderr}");
}

#[test]
fn circuits_of_one_name_are_a_fault() {
    let folder = CircomFolder::new();
    fs::write(folder.at("range.zkey"), "").unwrap();
    fs::write(folder.at("range.json"), "{}").unwrap();
    let failed = TestServer::fails_to_start(|settings| settings.circuits = Some(folder.path().to_owned()));
    assert_eq!(failed.code, Some(64), "{}", failed.stderr);
    assert!(failed.stderr.contains("have the same name, range"), "{}", failed.stderr);
}
