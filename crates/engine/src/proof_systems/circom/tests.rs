//! Circuits that circom compiled.

use std::{
    fs,
    num::NonZeroUsize,
    path::PathBuf,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use edgeprove_groth16::{ProvingKey, Threads, setup};
use edgeprove_protocol::{HasProblemType as _, ProblemType};
use edgeprove_test_circom::CircomCircuit as Compiled;
use flate2::read::GzDecoder;

use super::*;

/// A folder with the files of the circuit `range`.
struct Folder {
    dir: tempfile::TempDir,
    compiled: Compiled,
}

impl Folder {
    fn new() -> Self {
        let folder = Self { dir: tempfile::tempdir().unwrap(), compiled: Compiled::compile("range") };
        fs::write(folder.at("range.zkey"), zkey(&folder.compiled)).unwrap();
        fs::write(folder.at("range.wasm"), folder.compiled.wasm()).unwrap();
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self) -> Result<CircomCircuit, CircomFileError> {
        self.read_within(u64::MAX)
    }

    fn read_within(&self, memory_max_bytes: u64) -> Result<CircomCircuit, CircomFileError> {
        let limits = ReadLimits { memory_max_bytes, ..ReadLimits::of_a_command() };
        CircomCircuit::read(&self.at("range.zkey"), limits)
    }

    #[track_caller]
    fn fails(&self, kind: ProblemType, part: &str) {
        let error = self.read().unwrap_err();
        let text = edgeprove_telemetry::chain(&error);
        assert!(text.contains(part), "{text}");
        assert_eq!(error.kind(), kind, "{text}");
        assert!(!error.public_reason().contains('/'));
    }
}

fn zkey(compiled: &Compiled) -> Vec<u8> {
    let threads = Threads::of_width(NonZeroUsize::new(2).unwrap()).unwrap();
    setup(&R1cs::read(&compiled.r1cs()).unwrap(), &threads).unwrap()
}

fn limits() -> ComputationLimits {
    ComputationLimits {
        deadline: Instant::now() + Duration::from_mins(1),
        memory_max_bytes: 128 << 20,
        is_cancelled: Arc::new(AtomicBool::new(false)),
    }
}

fn document(json: &str) -> InputDocument {
    InputDocument::parse(json.as_bytes().to_vec()).unwrap()
}

fn wtns(circuit: &CircomCircuit, json: &str) -> Vec<u8> {
    let computed = circuit.compute_witness(&document(json), &limits()).unwrap();
    let mut wtns = Vec::new();
    GzDecoder::new(computed.gzip.as_slice()).read_to_end(&mut wtns).unwrap();
    assert_eq!(wtns.len() as u64, computed.decompressed_bytes);
    wtns
}

const IN_RANGE: &str = r#"{"privateInputs": {"in": 50}, "publicInputs": {"randomPublicSignal": "7"}}"#;

#[test]
fn witnesses_are_those_of_snarkjs_and_are_judged() {
    let folder = Folder::new();
    let circuit = folder.read().unwrap();
    let witness = wtns(&circuit, IN_RANGE);
    let expected = folder.compiled.snarkjs_witness(r#"{"in": 50, "randomPublicSignal": "7"}"#).unwrap();
    assert!(witness == expected);
    circuit.check_witness(&mut witness.as_slice()).unwrap();
    assert_eq!(circuit.witness_max_bytes(), witness.len() as u64);
    let judge = |circuit: &CircomCircuit, witness: &[u8]| circuit.judge_witness(&mut &witness[..]).unwrap();
    assert!(matches!(judge(&circuit, &witness), Verdict::Undecided { .. }), "there are no constraints");
    fs::write(folder.at("range.r1cs"), folder.compiled.r1cs()).unwrap();
    let circuit = folder.read().unwrap();
    assert_eq!(judge(&circuit, &witness), Verdict::Satisfied);
    let mut other = witness;
    let last = other.len() - 32;
    other[last] ^= 1;
    assert!(matches!(judge(&circuit, &other), Verdict::Unsatisfied { .. }));
}

#[test]
fn errors_of_inputs_name_the_field() {
    let circuit = Folder::new().read().unwrap();
    let fails = |json: &str| circuit.compute_witness(&document(json), &limits()).unwrap_err();
    for (json, kind, field, part) in [
        (r#"{"privateInputs": {"in": 50}}"#, ProblemType::InvalidInputs, Some("privateInputs"), "2 values"),
        (
            r#"{"privateInputs": {"in": 50, "other": 1}}"#,
            ProblemType::InvalidInputs,
            Some("privateInputs.other"),
            "no such field",
        ),
        (
            r#"{"privateInputs": {"in": 50}, "publicInputs": {"randomPublicSignal": [7, 8]}}"#,
            ProblemType::InvalidInputs,
            Some("publicInputs.randomPublicSignal"),
            "expected 1 value, found 2 values",
        ),
        (
            r#"{"privateInputs": {"in": 5, "randomPublicSignal": 1}}"#,
            ProblemType::WitnessUnsatisfied,
            None,
            "the assertion in Range_",
        ),
    ] {
        let error = fails(json);
        assert_eq!((error.kind(), error.field()), (kind, field), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let past = ComputationLimits { deadline: Instant::now(), ..limits() };
    let error = circuit.compute_witness(&document(IN_RANGE), &past).unwrap_err();
    assert!(matches!(error, ComputationError::Timeout), "{error}");
    let cancelled = ComputationLimits { is_cancelled: Arc::new(AtomicBool::new(true)), ..limits() };
    let error = circuit.compute_witness(&document(IN_RANGE), &cancelled).unwrap_err();
    assert!(matches!(error, ComputationError::Cancelled), "{error}");
    let narrow = ComputationLimits { memory_max_bytes: 1, ..limits() };
    let error = circuit.compute_witness(&document(IN_RANGE), &narrow).unwrap_err();
    assert_eq!(error.kind(), ProblemType::WitnessNotComputable, "{error}");
}

#[test]
fn files_of_different_circuits_are_refused() {
    let folder = Folder::new();
    let other = Compiled::compile("shapes");
    fs::write(folder.at("range.wasm"), other.wasm()).unwrap();
    folder.fails(ProblemType::CircuitCompilationFailed, "range.wasm is of another circuit than the key");
    fs::write(folder.at("range.r1cs"), other.r1cs()).unwrap();
    folder.fails(ProblemType::CircuitCompilationFailed, "range.r1cs is of another circuit than the key");
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let folder = Folder::new();
    let damaged = ProblemType::CircuitCompilationFailed;
    fs::write(folder.at("range.r1cs"), b"r1cs").unwrap();
    folder.fails(damaged, "range.r1cs has no constraints over BN254");
    fs::remove_file(folder.at("range.r1cs")).unwrap();
    for (wasm, part) in [
        (b"not wasm".to_vec(), "range.wasm is not a program of circom"),
        (b"\0asm\x01\0\0\0".to_vec(), "does not export"),
        (long_function(), "at most 1048576 are accepted"),
    ] {
        fs::write(folder.at("range.wasm"), wasm).unwrap();
        folder.fails(damaged, part);
    }
    fs::remove_file(folder.at("range.wasm")).unwrap();
    folder.fails(ProblemType::CircuitUnavailable, "there is no");
    // Where circom writes it.
    fs::create_dir(folder.at("range_js")).unwrap();
    fs::write(folder.at("range_js/range.wasm"), folder.compiled.wasm()).unwrap();
    folder.read().unwrap();

    let key = fs::read(folder.at("range.zkey")).unwrap();
    let step = key.len() / 20;
    for length in (0..key.len()).step_by(step) {
        fs::write(folder.at("range.zkey"), &key[..length]).unwrap();
        folder.fails(damaged, "range.zkey is not a Groth16 key");
    }
    // A point of the key that is not one of the curve.
    let mut other = key.clone();
    // The last section has 68 bytes after its header of 12.
    let last = other.len() - 81;
    other[last] ^= 1;
    fs::write(folder.at("range.zkey"), other).unwrap();
    folder.fails(damaged, "range.zkey is not a Groth16 key");
    fs::remove_file(folder.at("range.zkey")).unwrap();
    folder.fails(ProblemType::CircuitUnavailable, "range.zkey cannot be read");
}

#[test]
fn constraints_of_another_size_are_not_read() {
    let folder = Folder::new();
    let mut other = folder.compiled.r1cs();
    // A constraint more than the key has, of which the file has only the start: the number is compared first.
    let count_at = number_of_constraints_at(&other);
    other[count_at] += 1;
    fs::write(folder.at("range.r1cs"), other).unwrap();
    folder.fails(ProblemType::CircuitCompilationFailed, "range.r1cs is of another circuit than the key");
}

#[test]
fn constraints_with_other_coefficients_are_refused() {
    let folder = Folder::new();
    let mut other = folder.compiled.r1cs();
    fs::write(folder.at("range.r1cs"), &other).unwrap();
    folder.read().unwrap();
    // The most significant byte of the first coefficient of the first constraint: behind the number of terms and the wire.
    let constraint = section_at(&other, 2);
    assert_ne!(other[constraint..constraint + 4], [0; 4], "its first sum has terms");
    other[constraint + 8 + 31] ^= 0x10;
    fs::write(folder.at("range.r1cs"), other).unwrap();
    folder.fails(ProblemType::CircuitCompilationFailed, "they differ in constraint 0");
}

/// Where the header has the number of constraints: behind the field, four numbers of signals and the number of labels.
fn number_of_constraints_at(r1cs: &[u8]) -> usize {
    section_at(r1cs, 1) + 4 + 32 + 16 + 8
}

/// Where a section has its content.
fn section_at(r1cs: &[u8], wanted: u32) -> usize {
    let mut at = 12;
    loop {
        let kind = u32::from_le_bytes(r1cs[at..at + 4].try_into().unwrap());
        if kind == wanted {
            return at + 12;
        }
        at += 12 + usize::try_from(u64::from_le_bytes(r1cs[at + 4..at + 12].try_into().unwrap())).unwrap();
    }
}

#[test]
fn files_beyond_the_memory_are_not_read() {
    let folder = Folder::new();
    let key_bytes = fs::metadata(folder.at("range.zkey")).unwrap().len();
    let with_key = folder.read().unwrap().memory_bytes();
    assert!(with_key > key_bytes);
    fs::write(folder.at("range.r1cs"), folder.compiled.r1cs()).unwrap();
    let with_all = folder.read().unwrap().memory_bytes();
    assert!(with_all > with_key);
    let refused = |max| {
        let error = folder.read_within(max).unwrap_err();
        assert_eq!(error.kind(), ProblemType::CircuitUnavailable, "{error}");
        let CircomFileError::BeyondMemory { path, needed_bytes, max_bytes } = error else {
            panic!("{error}")
        };
        assert!(needed_bytes > max_bytes && max_bytes == max);
        path
    };
    assert_eq!(refused(key_bytes - 1), folder.at("range.zkey"), "by the length of the file");
    // The size of the key is wrong, and the damage behind it is not reached.
    let key = fs::read(folder.at("range.zkey")).unwrap();
    let mut damaged = key.clone();
    damaged[key.len() - 81] ^= 1;
    fs::write(folder.at("range.zkey"), damaged).unwrap();
    assert_eq!(refused(2 * key_bytes), folder.at("range.zkey"), "by the sizes in its header");
    fs::write(folder.at("range.zkey"), &key).unwrap();
    let info = folder.read().unwrap().key.info();
    fs::write(folder.at("range.r1cs"), vec![0; 3 * key.len()]).unwrap();
    assert_eq!(refused(info.memory_bytes(key_bytes) + 2 * key_bytes), folder.at("range.r1cs"));
    fs::remove_file(folder.at("range.r1cs")).unwrap();
    assert!(folder.read_within(u64::MAX).is_ok());
}

/// A program with a function that is longer than the compiler gets.
fn long_function() -> Vec<u8> {
    let leb = |mut value: usize| {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
        bytes
    };
    let section = |id: u8, content: &[u8]| [&[id], leb(content.len()).as_slice(), content].concat();
    let nops = [vec![0], vec![1; 2 << 20], vec![0x0b]].concat();
    let code = [vec![1], leb(nops.len()), nops].concat();
    let parts = [section(1, &[1, 0x60, 0, 0]), section(3, &[1, 0]), section(10, &code)];
    [b"\0asm\x01\0\0\0".to_vec(), parts.concat()].concat()
}

#[test]
fn a_key_from_snarkjs_is_read() {
    let folder = Folder::new();
    fs::copy(folder.compiled.snarkjs_zkey(7), folder.at("range.zkey")).unwrap();
    // It has the coefficients of its constraints.
    fs::write(folder.at("range.r1cs"), folder.compiled.r1cs()).unwrap();
    let circuit = folder.read().unwrap();
    let threads = Threads::of_width(NonZeroUsize::MIN).unwrap();
    let witness = WitnessValues::read(&wtns(&circuit, IN_RANGE)).unwrap();
    let key: &ProvingKey = &circuit.key;
    assert_eq!(key.prove(&witness, &threads).unwrap().signals.to_decimals(), ["50", "7"]);
}
