//! Circuits and witnesses, valid and invalid, with known private values.
//!
//! The witnesses of `range_check` contain a known private value, so that a test can search for it where it must not be.
//! Noir's own solver computes them, as in `noir_js`.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use acir::{
    AcirField as _, FieldElement,
    circuit::{Circuit, Program, PublicInputs},
    native_types::{Witness, WitnessMap, WitnessStack},
    parse_opcodes,
};
use acvm::pwg::{ACVM, ACVMStatus};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bn254_blackbox_solver::Bn254BlackBoxSolver;
use flate2::{Compression, Crc, read::MultiGzDecoder, write::GzEncoder};

use crate::paths::{self, PinnedVersions};

/// The private value of the valid witness.
pub(crate) const SECRET: u32 = 0xdec0_de42;
/// The private value of the unsatisfied witness.
const UNSATISFIED_SECRET: u32 = 0xbadc_0de5;
/// The public bounds.
pub(crate) const BOUNDS: (u32, u32) = (18, 4_000_000_000);

/// A circuit, a valid witness of it, and the public inputs of that witness.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The name of the circuit on the server.
    pub name: String,
    /// The compiled circuit.
    pub circuit: PathBuf,
    /// The witness, compressed with gzip.
    pub witness: Vec<u8>,
    /// The public inputs, each as 32 bytes, most significant byte first.
    pub public_inputs: Vec<[u8; 32]>,
}

/// The circuit `range_check` and a witness of it.
#[track_caller]
pub fn range_check() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let circuit = paths::circuit_file("range_check.json");
        let (min, max) = BOUNDS;
        let values = solve(&program(&circuit), &[SECRET, min, max].map(FieldElement::from));
        Sample {
            name: "range_check".to_owned(),
            circuit,
            witness: compress_witness(values),
            public_inputs: vec![field(min), field(max)],
        }
    })
}

/// A circuit of this repository, with the witness that `cargo xtask setup` computes from its sample inputs.
#[track_caller]
pub fn from_setup(name: &str) -> Sample {
    let circuit = paths::circuit_file(&format!("{name}.json"));
    let witness = fs::read(paths::circuit_file(&format!("{name}.gz"))).unwrap();
    let values = witness_stack(&witness).pop().unwrap().witness;
    let public = program(&circuit).functions.remove(0).public_inputs();
    let public_inputs = public.0.iter().map(|index| bytes(values[index])).collect();
    Sample { name: name.to_owned(), circuit, witness, public_inputs }
}

/// A circuit that is not part of this repository: `factor * root * root = square` with a public `square`. Circuits with
/// different factors have the same size and different verification keys.
pub fn square(dir: &Path, name: &str, factor: u32) -> Sample {
    square_of(dir, name, factor, FieldElement::from(11_u32))
}

/// The circuit [`square`] with this many witnesses in all, of which it uses two. Its witness does not compress: it has
/// about 32 bytes for each.
pub fn wide(dir: &Path, name: &str, witnesses: u32) -> Sample {
    let mut circuit = square_circuit(1);
    // The largest index of its parameters is the largest one of its witnesses.
    circuit.private_parameters.insert(Witness(witnesses - 1));
    let root = FieldElement::from(11_u32);
    let program = Program { functions: vec![circuit], unconstrained_functions: Vec::new() };
    let mut values = solve(&program, &[root]);
    let mut value = root;
    for index in 2..witnesses {
        // The powers of a number look random.
        value = value * value + root;
        values.insert(Witness(index), value);
    }
    write_sample(dir, name, &program, compress_witness(values), root * root)
}

/// The circuit [`square`] with a root of 32 bytes (most significant byte first), which must be below the modulus of the
/// field.
pub fn square_of_bytes(dir: &Path, name: &str, root: &[u8; 32]) -> Sample {
    square_of(dir, name, 1, FieldElement::from_be_bytes_reduce(root))
}

fn square_of(dir: &Path, name: &str, factor: u32, root: FieldElement) -> Sample {
    let program = Program { functions: vec![square_circuit(factor)], unconstrained_functions: Vec::new() };
    let witness = compress_witness(solve(&program, &[root]));
    write_sample(dir, name, &program, witness, FieldElement::from(factor) * root * root)
}

fn square_circuit(factor: u32) -> Circuit<FieldElement> {
    Circuit {
        opcodes: parse_opcodes(&format!("ASSERT w1 = {factor}*w0*w0")).unwrap(),
        private_parameters: [Witness(0)].into(),
        public_parameters: PublicInputs([Witness(1)].into()),
        ..Circuit::default()
    }
}

fn write_sample(
    dir: &Path,
    name: &str,
    program: &Program<FieldElement>,
    witness: Vec<u8>,
    square: FieldElement,
) -> Sample {
    let file = write_circuit(dir, name, program);
    Sample { name: name.to_owned(), circuit: file, witness, public_inputs: vec![bytes(square)] }
}

/// A circuit without inputs, which asserts nothing.
pub fn without_inputs(dir: &Path) -> Sample {
    let program = Program { functions: vec![Circuit::default()], unconstrained_functions: Vec::new() };
    Sample {
        name: "without_inputs".to_owned(),
        circuit: write_circuit(dir, "without_inputs", &program),
        witness: compress_witness(WitnessMap::new()),
        public_inputs: Vec::new(),
    }
}

/// A circuit with so many private squares, `root * root = square`. It has 17 gates more than squares.
pub fn squares(dir: &Path, name: &str, count: u32) -> Sample {
    let opcodes: Vec<_> = (0..count)
        .flat_map(|i| parse_opcodes(&format!("ASSERT w{} = w{}*w{}", count + i, i, i)).unwrap())
        .collect();
    let private_parameters = (0..count).map(Witness).collect();
    let circuit = Circuit { opcodes, private_parameters, ..Circuit::default() };
    let program = Program { functions: vec![circuit], unconstrained_functions: Vec::new() };
    let roots: Vec<_> = (0..count).map(|i| FieldElement::from(u128::from(i) + 2)).collect();
    let witness = compress_witness(solve(&program, &roots));
    let circuit = write_circuit(dir, name, &program);
    Sample { name: name.to_owned(), circuit, witness, public_inputs: Vec::new() }
}

/// A circuit file with one constraint on a witness with this index.
pub fn with_index(dir: &Path, name: &str, index: u32) -> PathBuf {
    let opcodes = parse_opcodes(&format!("ASSERT w{index} = w0")).unwrap();
    let circuit = Circuit { opcodes, private_parameters: [Witness(0)].into(), ..Circuit::default() };
    write_circuit(dir, name, &Program { functions: vec![circuit], unconstrained_functions: Vec::new() })
}

pub(crate) fn write_circuit(dir: &Path, name: &str, program: &Program<FieldElement>) -> PathBuf {
    let file = dir.join(format!("{name}.json"));
    let bytecode = STANDARD.encode(Program::serialize_program(program));
    let artifact = serde_json::json!({ "noir_version": PinnedVersions::noir(), "bytecode": bytecode });
    fs::write(&file, artifact.to_string()).unwrap();
    file
}

/// A witness of `range_check` that violates its constraints: only the private value is changed.
pub fn unsatisfied() -> Vec<u8> {
    altered(&range_check().witness, 0, UNSATISFIED_SECRET)
}

/// A witness with a different value at one index.
pub fn altered(witness: &[u8], index: u32, value: u32) -> Vec<u8> {
    let mut values = witness_stack(witness).pop().unwrap().witness;
    values.insert(Witness(index), FieldElement::from(value));
    compress_witness(values)
}

/// A witness without the value at one index.
pub fn without(witness: &[u8], index: u32) -> Vec<u8> {
    let values = witness_stack(witness).pop().unwrap().witness;
    compress_witness(
        values.into_iter().filter(|(Witness(at), _)| *at != index).collect::<BTreeMap<_, _>>().into(),
    )
}

/// The forms that a value (most significant byte first, below the modulus of the field) has in the memory of a program: as it
/// is, reversed, and as a field element in Montgomery form.
pub fn forms_in_memory(value: &[u8; 32]) -> [Vec<u8>; 3] {
    let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect();
    let montgomery = FieldElement::from(2_u32).pow(&FieldElement::from(256_u32))
        * FieldElement::from_be_bytes_reduce(value);
    [value.to_vec(), reversed(value), reversed(&bytes(montgomery))]
}

/// Whether a text contains a private value of [`range_check`] or [`unsatisfied`], in decimal, hexadecimal or binary
/// form.
pub fn contains_secret(text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    [SECRET, UNSATISFIED_SECRET].into_iter().any(|secret| {
        let forms = [format!("{secret:08x}").into_bytes(), secret.to_string().into_bytes()];
        let raw = [secret.to_be_bytes().to_vec(), secret.to_le_bytes().to_vec()];
        forms.iter().any(|form| contains(&lower, form)) || raw.iter().any(|form| contains(text, form))
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn program(circuit: &Path) -> Program<FieldElement> {
    let artifact: serde_json::Value = serde_json::from_slice(&fs::read(circuit).unwrap()).unwrap();
    let bytecode = STANDARD.decode(artifact["bytecode"].as_str().unwrap()).unwrap();
    Program::deserialize_program(&bytecode).unwrap()
}

/// Computes the witness for these inputs, which are the first witness indices of the circuit.
fn solve(program: &Program<FieldElement>, inputs: &[FieldElement]) -> WitnessMap<FieldElement> {
    let mut given = WitnessMap::new();
    for (index, &input) in (0..).zip(inputs) {
        given.insert(Witness(index), input);
    }
    let circuit = &program.functions[0];
    let solver = Bn254BlackBoxSolver;
    let mut acvm = ACVM::new(
        &solver,
        &circuit.opcodes,
        given,
        &program.unconstrained_functions,
        &circuit.assert_messages,
    );
    assert_eq!(acvm.solve(), ACVMStatus::Solved);
    acvm.finalize()
}

fn witness_stack(witness: &[u8]) -> WitnessStack<FieldElement> {
    WitnessStack::deserialize(witness).unwrap()
}

fn compress_witness(values: WitnessMap<FieldElement>) -> Vec<u8> {
    WitnessStack::from(values).serialize().unwrap()
}

fn field(value: u32) -> [u8; 32] {
    bytes(FieldElement::from(value))
}

fn bytes(value: FieldElement) -> [u8; 32] {
    value.to_be_bytes().try_into().unwrap()
}

/// Decompresses a gzip stream.
pub fn decompress(gzip: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(gzip).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Compresses bytes to a gzip stream.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Compresses this many zero bytes to a gzip stream.
pub fn gzip_of_zeros(bytes: u64) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::copy(&mut std::io::repeat(0).take(bytes), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// A witness as a valid gzip stream of about this many bytes. Empty DEFLATE blocks follow the witness. Servers accept
/// about a megabyte of them.
pub fn padded(witness: &[u8], bytes: usize) -> Vec<u8> {
    const EMPTY_BLOCK: [u8; 5] = [0, 0, 0, 0xff, 0xff];
    let decompressed = decompress(witness);
    let len = u16::try_from(decompressed.len()).expect("one stored block is enough");
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    gzip.push(0);
    gzip.extend(len.to_le_bytes());
    gzip.extend((!len).to_le_bytes());
    gzip.extend(&decompressed);
    while gzip.len() + 2 * EMPTY_BLOCK.len() + 8 <= bytes {
        gzip.extend(EMPTY_BLOCK);
    }
    gzip.extend([1, 0, 0, 0xff, 0xff]);
    let mut crc = Crc::new();
    crc.update(&decompressed);
    gzip.extend(crc.sum().to_le_bytes());
    gzip.extend(crc.amount().to_le_bytes());
    gzip
}
