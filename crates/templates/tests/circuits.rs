//! Every template is compiled with the pinned compiler, and its samples are proved or refused.
//!
//! Noir: `circuit/check_template.mjs` compiles the circuit and executes the samples, then bb proves and verifies them.
//! circom: the circuit is compiled, and the samples are proved with a key of our own setup.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic reports that a test has failed")]

use std::{
    collections::BTreeSet,
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use edgeprove_circom_witness::{Circuit, Inputs, Limits, WitnessEngine, WitnessError};
use edgeprove_groth16::{ProvingKey, PublicSignals, R1cs, Threads, Trust, WitnessValues, setup};
use edgeprove_protocol::Target;
use edgeprove_templates::{
    Catalogue, Instance, Language,
    sample::Sample,
    template::{Input, Size},
};
use edgeprove_test_circom::CircomCircuit;
use edgeprove_testkit::{bb, paths, processes, skipped::lacks_crs_points, wait};
use serde_json::{Value, json};

/// The Noir circuits: templates and parameters. `None`: those of the template's sample.
const NOIR: [(&str, Option<&str>); 7] = [
    ("attestationThreshold", None),
    ("merkleMembership", None),
    ("rangeCheck", None),
    ("rangeCheckPublic", None),
    // The mode is a constant, so its other value is another program.
    ("attestationThreshold", Some(r#"{"attestations":10,"mode":"exact"}"#)),
    // The largest circuit.
    ("attestationThreshold", Some(r#"{"attestations":200}"#)),
    // No comparison with these constants can fail, and the compiler must not complain.
    ("rangeCheck", Some(r#"{"min":0,"max":"18446744073709551615"}"#)),
];

/// The circom templates.
const CIRCOM: [&str; 2] = ["rangeCheck", "rangeCheckPublic"];

/// A circuit in a folder of its own.
struct Rendered {
    instance: Instance,
    folder: tempfile::TempDir,
}

impl Rendered {
    /// Writes the files of a circuit. No parameters: those of the sample.
    fn new(name: &str, language: Language, parameters: Option<&str>) -> Self {
        let catalogue = Catalogue::embedded().unwrap();
        let template = catalogue.find(name, Some(language)).unwrap();
        let instance = match parameters {
            Some(json) => Instance::new(template, &json.parse().unwrap()).unwrap(),
            None => Instance::sample(template).unwrap(),
        };
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in instance.files() {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self { instance, folder }
    }

    /// Writes what `check_template.mjs` expects of a Noir circuit.
    fn write_expected(&self, unit_tests: bool) {
        let template = self.instance.template();
        let names = |inputs: &[Input]| inputs.iter().map(|input| input.name.clone()).collect::<Vec<_>>();
        let expected = json!({
            "public_inputs": names(template.public_inputs()),
            "private_inputs": names(template.private_inputs()),
            "unit_tests": unit_tests,
            "accepted": self.instance.accepted_samples().unwrap(),
            "refused": self.instance.refused_samples().unwrap(),
        });
        fs::write(self.path("expected.json"), expected.to_string()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn circuit_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../circuit")
}

/// The output of a command that must succeed.
#[track_caller]
fn output_of(command: &mut Command) -> Output {
    let output = processes::run(command, wait::LONG_LIMIT);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    output
}

/// The size of a compiled Noir circuit.
#[track_caller]
fn size_of(circuit: &Rendered) -> Size {
    let output =
        output_of(Command::new(paths::bb()).arg("gates").arg("-b").arg(circuit.path("circuit.json")));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let gates = report["functions"][0]["circuit_size"].as_u64().unwrap();
    // bb adds five rows to the gates.
    Size { gates: Some(gates), circuit_size: Some((gates + 5).next_power_of_two()), constraints: None }
}

/// Proves all accepted samples with bb, which also verifies them, and refuses them with another public input.
#[track_caller]
fn prove_noir(circuit: &Rendered) {
    let compiled = circuit.path("circuit.json");
    for index in 0..circuit.instance.accepted_samples().unwrap().len() {
        let out = circuit.path(&format!("proof-{index}"));
        let mut prove = Command::new(paths::bb());
        prove.arg("prove").arg("-b").arg(&compiled).arg("-w").arg(circuit.path(&format!("{index}.gz")));
        prove.arg("-o").arg(&out).arg("-c").arg(paths::crs()).arg("--write_vk");
        output_of(&mut prove);
        let read = |name: &str| fs::read(out.join(name)).unwrap();
        let (proof, mut inputs) = (read("proof"), read("public_inputs"));
        assert_eq!(inputs.len(), 32 * circuit.instance.template().public_inputs().len());
        assert!(bb::verifies(&compiled, Target::NoirRecursive, &proof, &inputs), "sample {index}");
        if index == 0 {
            let last = inputs.len() - 1;
            inputs[last] ^= 1;
            assert!(!bb::verifies(&compiled, Target::NoirRecursive, &proof, &inputs), "tampered");
        }
    }
}

/// Compiles the sample circuit of a circom template, makes a key for it, and proves and refuses its samples.
#[track_caller]
fn check_circom(name: &str) {
    let circuit = Rendered::new(name, Language::Circom, None);
    let texts: Vec<&str> = circuit.instance.files().values().map(String::as_str).collect();
    let compiled = CircomCircuit::compile_files(&circuit.path("main.circom"), &texts);
    let r1cs = R1cs::read(&compiled.r1cs()).unwrap();
    let (info, template) = (r1cs.info(), circuit.instance.template());
    let size = Size { gates: None, circuit_size: None, constraints: Some(info.constraints.into()) };
    assert_eq!(size, template.size());
    assert_eq!(info.public_outputs, 0, "an output would be a public input without a name");
    assert_eq!(info.public_inputs as usize, template.public_inputs().len());
    assert_eq!(info.private_inputs as usize, template.private_inputs().len());

    let threads = Threads::of_width(NonZeroUsize::MIN).unwrap();
    let zkey = setup(&r1cs, &threads).unwrap();
    let key = ProvingKey::read(&zkey, Trust::OwnSetup, &threads).unwrap();
    let engine = WitnessEngine::start().unwrap();
    let program = Circuit::compile(&engine, &compiled.wasm(), Limits::default()).unwrap();
    let compute = |sample: &Sample| -> Result<_, WitnessError> {
        let inputs = Inputs::parse(&serde_json::to_vec(&sample.inputs).unwrap())?;
        program.compute(&inputs, None)
    };
    for sample in circuit.instance.accepted_samples().unwrap() {
        let witness = compute(&sample).unwrap();
        let proved = key.prove(&WitnessValues::read(witness.wtns()).unwrap(), &threads).unwrap();
        let value = |input: &Input| sample.inputs[&input.name].as_str().unwrap().to_owned();
        let expected: Vec<String> = template.public_inputs().iter().map(value).collect();
        assert_eq!(
            proved.signals.to_decimals(),
            expected,
            "the public inputs of `{}`, in order",
            sample.name
        );
        // Each public input is part of what the proof shows.
        for index in 0..expected.len() {
            let mut other = expected.clone();
            other[index] = String::from("3");
            let other = PublicSignals::from_json(&serde_json::to_vec(&other).unwrap()).unwrap();
            assert!(!key.prepared_verifying_key().verify(&proved.proof, &other), "{}", sample.name);
        }
    }
    for sample in circuit.instance.refused_samples().unwrap() {
        let error = compute(&sample).unwrap_err();
        assert!(
            matches!(error, WitnessError::Exception(_) | WitnessError::Input(_)),
            "{}: {error}",
            sample.name
        );
    }
}

#[test]
fn every_template_has_a_test_here() {
    let catalogue = Catalogue::embedded().unwrap();
    let of = |language| -> BTreeSet<&str> {
        let templates = catalogue.templates().filter(|template| template.language() == language);
        templates.map(|template| template.name()).collect()
    };
    assert_eq!(of(Language::Noir), NOIR.iter().map(|(name, _)| *name).collect());
    assert_eq!(of(Language::Circom), CIRCOM.into());
}

#[test]
fn noir_circuits_prove_their_samples() {
    let circuits = NOIR.map(|(name, parameters)| {
        let circuit = Rendered::new(name, Language::Noir, parameters);
        // The unit tests are written for the parameters of the sample, and do not repeat for others of the same kind.
        circuit.write_expected(parameters.is_none_or(|json| json.contains("exact")));
        circuit
    });
    let folders = circuits.iter().map(|circuit| circuit.folder.path());
    output_of(Command::new("node").arg(circuit_dir().join("check_template.mjs")).args(folders));
    for (circuit, (name, parameters)) in circuits.iter().zip(NOIR) {
        let size = size_of(circuit);
        if parameters.is_none() {
            assert_eq!(size, circuit.instance.template().size(), "{name}");
        }
        if !lacks_crs_points(size.circuit_size.unwrap()) {
            prove_noir(circuit);
        }
    }
}

#[test]
fn circom_range_check_proves_its_samples() {
    check_circom("rangeCheck");
}

#[test]
fn circom_range_check_public_proves_its_samples() {
    check_circom("rangeCheckPublic");
}
