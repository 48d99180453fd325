//! `edgeprove witness`, and `edgeprove prove --inputs`.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use edgeprove_protocol::Target;
use serde_json::Value;

use crate::{
    command_line::WorkFolder,
    support::{bb, inputs, processes, samples, wait},
};

fn witness(folder: &WorkFolder, circuit: &Path, document: &Value, output: &str) -> Output {
    fs::write(folder.at("inputs.json"), document.to_string()).unwrap();
    let (inputs, output) = (folder.at("inputs.json"), folder.at(output));
    let mut command =
        folder.command(&[&"witness", &"--circuit", &circuit, &"--inputs", &inputs, &"--output", &output]);
    // It needs no bb.
    command.env_remove("BB_PATH").env_remove("CRS_PATH");
    processes::run(&mut command, wait::LIMIT)
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, part: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(part), "{stderr}");
    // The log of a command comes before its error.
    assert!(stderr.lines().last().unwrap().starts_with("edgeprove: "), "{stderr}");
    assert!(!stderr.contains("47114711471") && output.stdout.is_empty(), "{stderr}");
}

#[test]
fn witnesses_are_those_of_noir_js() {
    let folder = WorkFolder::new();
    for name in ["range_check", "input_types", "merkle_membership", "maze_walk"] {
        let sample = samples::from_setup(name);
        let output = witness(&folder, &sample.circuit, &inputs::of_setup(name), "witness.gz");
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
        let computed = fs::read(folder.at("witness.gz")).unwrap();
        assert!(samples::decompress(&computed) == samples::decompress(&sample.witness), "{name}");
        let mode = fs::metadata(folder.at("witness.gz")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_witness_goes_from_standard_input_to_standard_output() {
    let folder = WorkFolder::new();
    let range = samples::range_check();
    let mut command =
        folder.command(&[&"witness", &"--circuit", &range.circuit, &"--inputs", &"-", &"--output", &"-"]);
    fs::write(folder.at("inputs.json"), inputs::range_check().to_string()).unwrap();
    command.stdin(File::open(folder.at("inputs.json")).unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(samples::decompress(&output.stdout), samples::decompress(&range.witness));
}

#[test]
fn errors_of_witness_name_the_field_or_the_file() {
    let folder = WorkFolder::new();
    let circuit = &samples::range_check().circuit;
    let with = |value: Value| {
        let mut document = inputs::range_check();
        document["privateInputs"]["value"] = value;
        witness(&folder, circuit, &document, "out.gz")
    };
    assert_fails(&with("47114711471 years".into()), 65, "privateInputs.value: expected a u32");
    assert_fails(&with(1.into()), 65, "\"value is below min\"");
    assert_fails(&witness(&folder, circuit, &Value::Null, "out.gz"), 65, "privateInputs");
    assert_fails(&witness(&folder, &folder.at("none"), &inputs::range_check(), "out.gz"), 66, "none");
    let no_circuit = folder.at("inputs.json");
    assert_fails(&witness(&folder, &no_circuit, &inputs::range_check(), "out.gz"), 65, "bytecode");
    assert_fails(&witness(&folder, circuit, &inputs::range_check(), "no/folder"), 1, "no/folder");
    assert!(!folder.at("out.gz").exists());
    let mut command = folder.command(&[
        &"witness",
        &"--circuit",
        circuit,
        &"--inputs",
        &folder.at("missing.json"),
        &"--output",
        &"-",
    ]);
    assert_fails(&processes::run(&mut command, wait::LIMIT), 66, "missing.json");
    folder.assert_tidy();
}

fn prove(folder: &WorkFolder, document: &Value) -> Command {
    fs::write(folder.at("inputs.json"), document.to_string()).unwrap();
    let (inputs, out) = (folder.at("inputs.json"), folder.at("out"));
    let circuit = &samples::range_check().circuit;
    folder.command(&[&"prove", &"--circuit", circuit, &"--inputs", &inputs, &"--out", &out])
}

#[test]
fn prove_takes_inputs_instead_of_a_witness() {
    let folder = WorkFolder::new();
    let output = processes::run(&mut prove(&folder, &inputs::range_check()), wait::LIMIT);
    assert!(output.status.success(), "{output:?}");
    let read = |name: &str| fs::read(folder.at("out").join(name)).unwrap();
    let range = samples::range_check();
    assert_eq!(read("public_inputs"), range.public_inputs.as_flattened());
    assert!(bb::verifies(&range.circuit, Target::NoirRecursive, &read("proof"), &read("public_inputs")));
    let mut document = inputs::range_check();
    document["privateInputs"]["value"] = "47114711471x".into();
    assert_fails(&processes::run(&mut prove(&folder, &document), wait::LIMIT), 65, "privateInputs.value");
    folder.assert_tidy();
}
