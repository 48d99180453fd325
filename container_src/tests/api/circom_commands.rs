//! `edgeprove witness`, `prove` and `verify` with circom circuits.

use std::{fs, process::Output};

use edgeprove_groth16::{Proof, PublicSignals};
use serde_json::json;

use crate::{
    command_line::WorkFolder,
    support::{
        circom_files::{CircomFolder, snarkjs_verifies},
        processes, samples,
        wait::LIMIT,
    },
};

fn verify(work: &WorkFolder, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let mut command = work.command(&[&[&"verify" as &dyn AsRef<std::ffi::OsStr>], arguments].concat());
    // It needs no bb.
    command.env_remove("BB_PATH").env_remove("CRS_PATH");
    processes::run(&mut command, LIMIT)
}

#[track_caller]
fn assert_verdict(output: &Output, code: i32, part: &str) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(stdout.contains(part), "{output:?}");
}

#[test]
fn a_witness_is_proved_and_verified_without_a_server() {
    let (folder, work) = (CircomFolder::new(), WorkFolder::new());
    let range = folder.add("range");
    let document = json!({"privateInputs": {"in": 60}, "publicInputs": {"randomPublicSignal": "7"}});
    fs::write(work.at("inputs.json"), document.to_string()).unwrap();
    let (circuit, inputs, witness, out) =
        (folder.at("range.zkey"), work.at("inputs.json"), work.at("range.wtns.gz"), work.at("out"));
    let mut command =
        work.command(&[&"witness", &"--circuit", &circuit, &"--inputs", &inputs, &"--output", &witness]);
    command.env_remove("BB_PATH").env_remove("CRS_PATH");
    let output = processes::run(&mut command, LIMIT);
    assert!(output.status.success(), "{output:?}");
    let expected = range.snarkjs_witness(r#"{"in": 60, "randomPublicSignal": "7"}"#).unwrap();
    assert!(samples::decompress(&fs::read(&witness).unwrap()) == expected);

    for (flag, file) in [("--witness", &witness), ("--inputs", &inputs)] {
        let mut command = work.command(&[&"prove", &"--circuit", &circuit, &flag, file, &"--out", &out]);
        let output = processes::run(&mut command, LIMIT);
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("groth16"), "{output:?}");
        let read = |name: &str| fs::read(out.join(name)).unwrap();
        let (key, proof, signals) = (read("verification_key.json"), read("proof.json"), read("public.json"));
        assert!(snarkjs_verifies(&key, &proof, &signals));
        assert_eq!(PublicSignals::from_json(&signals).unwrap().to_decimals(), ["50", "7"]);
        Proof::from_json(&proof).unwrap();
        fs::create_dir_all(&out).unwrap();
    }

    assert_verdict(&verify(&work, &[&out]), 0, "valid");
    assert_verdict(&verify(&work, &[&out, &"--target", &"evm"]), 1, "for the target groth16");
    let [key, proof, public] =
        ["verification_key.json", "proof.json", "public.json"].map(|name| out.join(name));
    let flags: [&dyn AsRef<std::ffi::OsStr>; 6] =
        [&"--vk", &key, &"--proof", &proof, &"--public-inputs", &public];
    assert_verdict(&verify(&work, &flags), 0, "valid");
    fs::write(&public, r#"["51", "7"]"#).unwrap();
    assert_verdict(&verify(&work, &[&out]), 1, "does not verify");
    fs::write(&public, r#"["50"]"#).unwrap();
    assert_verdict(&verify(&work, &[&out]), 1, "2 public inputs");
    fs::write(&public, "{}").unwrap();
    let output = verify(&work, &[&out]);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("public.json is not a file of snarkjs"),
        "{output:?}"
    );
    fs::remove_file(&public).unwrap();
    assert_eq!(verify(&work, &[&out]).status.code(), Some(66));
}

#[test]
fn files_of_two_formats_are_refused() {
    let (folder, work) = (CircomFolder::new(), WorkFolder::new());
    folder.add("range");
    let document = json!({"privateInputs": {"in": 60, "randomPublicSignal": "7"}});
    fs::write(work.at("inputs.json"), document.to_string()).unwrap();
    let (circuit, inputs, out) = (folder.at("range.zkey"), work.at("inputs.json"), work.at("out"));
    let prove = || {
        let mut command =
            work.command(&[&"prove", &"--circuit", &circuit, &"--inputs", &inputs, &"--out", &out]);
        processes::run(&mut command, LIMIT)
    };
    // The key of an earlier proof of bb.
    fs::create_dir(&out).unwrap();
    fs::write(out.join("vk"), "of bb").unwrap();
    let refused = prove();
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in the formats of bb"), "{refused:?}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    fs::remove_file(out.join("vk")).unwrap();
    assert!(prove().status.success());
    assert_verdict(&verify(&work, &[&out]), 0, "valid");
    for name in ["proof", "public_inputs", "vk"] {
        fs::write(out.join(name), "of bb").unwrap();
        let output = verify(&work, &[&out]);
        assert_eq!(output.status.code(), Some(65), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--vk"), "{output:?}");
    }
    let [key, proof, public] =
        ["verification_key.json", "proof.json", "public.json"].map(|name| out.join(name));
    let flags: [&dyn AsRef<std::ffi::OsStr>; 6] =
        [&"--vk", &key, &"--proof", &proof, &"--public-inputs", &public];
    assert_verdict(&verify(&work, &flags), 0, "valid");
}

#[test]
fn a_key_without_its_program_is_a_missing_file() {
    let (folder, work) = (CircomFolder::new(), WorkFolder::new());
    folder.add("range");
    fs::remove_file(folder.at("range.wasm")).unwrap();
    fs::write(work.at("inputs.json"), r#"{"privateInputs": {"in": 1}}"#).unwrap();
    let mut command = work.command(&[
        &"witness",
        &"--circuit",
        &folder.at("range.zkey"),
        &"--inputs",
        &work.at("inputs.json"),
        &"--output",
        &work.at("out.gz"),
    ]);
    let output = processes::run(&mut command, LIMIT);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(66), "{stderr}");
    assert!(stderr.contains("range.wasm: put the program"), "{stderr}");
}
