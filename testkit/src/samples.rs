//! Circuits and witnesses: good ones, bad ones, and what is secret in them.
//!
//! The witnesses of `range_check` are solved here for a private value that can be looked for afterwards wherever it must
//! not be. Noir's own solver makes them, as in `noir_js`.

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

/// The private value of the good witness.
const SECRET: u32 = 0xdec0_de42;
/// The private value of the unsatisfied witness.
const UNSATISFIED_SECRET: u32 = 0xbadc_0de5;
/// The public bounds.
const BOUNDS: (u32, u32) = (18, 4_000_000_000);

/// A circuit's file, a witness of it and its public inputs.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its name where it is loaded.
    pub name: String,
    /// The compiled circuit.
    pub circuit: PathBuf,
    /// The gzipped witness.
    pub witness: Vec<u8>,
    /// What the proof shows, 32 bytes big-endian each.
    pub public_inputs: Vec<[u8; 32]>,
}

/// `range_check` and a witness of it.
#[track_caller]
pub fn range() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let circuit = paths::circuit_file("range_check.json");
        let (min, max) = BOUNDS;
        let values = solved(&program(&circuit), &[SECRET, min, max].map(FieldElement::from));
        Sample {
            name: "range_check".to_owned(),
            circuit,
            witness: gzipped(values),
            public_inputs: vec![field(min), field(max)],
        }
    })
}

/// A circuit of this repository and the witness that setup made of its sample inputs.
#[track_caller]
pub fn by_setup(name: &str) -> Sample {
    let circuit = paths::circuit_file(&format!("{name}.json"));
    let witness = fs::read(paths::circuit_file(&format!("{name}.gz"))).unwrap();
    let values = stack(&witness).pop().unwrap().witness;
    let public = program(&circuit).functions.remove(0).public_inputs();
    let public_inputs = public.0.iter().map(|index| bytes(values[index])).collect();
    Sample { name: name.to_owned(), circuit, witness, public_inputs }
}

/// A circuit that is not of this repository: `root * root = square`, `square` being public. One of another `factor`
/// has the same size and another key.
pub fn square(dir: &Path, name: &str, factor: u32) -> Sample {
    square_of(dir, name, factor, FieldElement::from(11_u32))
}

/// The same of a root that is 32 bytes big-endian, below the field's modulus.
pub fn square_of_bytes(dir: &Path, name: &str, root: &[u8; 32]) -> Sample {
    square_of(dir, name, 1, FieldElement::from_be_bytes_reduce(root))
}

fn square_of(dir: &Path, name: &str, factor: u32, root: FieldElement) -> Sample {
    let circuit = Circuit {
        opcodes: parse_opcodes(&format!("ASSERT w1 = {factor}*w0*w0")).unwrap(),
        private_parameters: [Witness(0)].into(),
        public_parameters: PublicInputs([Witness(1)].into()),
        ..Circuit::default()
    };
    let program = Program { functions: vec![circuit], unconstrained_functions: Vec::new() };
    let file = dir.join(format!("{name}.json"));
    let bytecode = STANDARD.encode(Program::serialize_program(&program));
    fs::write(
        &file,
        serde_json::json!({ "noir_version": PinnedVersions::noir(), "bytecode": bytecode }).to_string(),
    )
    .unwrap();
    let witness = gzipped(solved(&program, &[root]));
    let square = FieldElement::from(factor) * root * root;
    Sample { name: name.to_owned(), circuit: file, witness, public_inputs: vec![bytes(square)] }
}

/// A witness of `range_check` of the right shape whose private value alone was altered.
pub fn unsatisfied() -> Vec<u8> {
    altered(&range().witness, 0, UNSATISFIED_SECRET)
}

/// The same witness with another value at one place.
pub fn altered(witness: &[u8], index: u32, value: u32) -> Vec<u8> {
    let mut values = stack(witness).pop().unwrap().witness;
    values.insert(Witness(index), FieldElement::from(value));
    gzipped(values)
}

/// The same witness without the value at one place.
pub fn without(witness: &[u8], index: u32) -> Vec<u8> {
    let values = stack(witness).pop().unwrap().witness;
    gzipped(values.into_iter().filter(|(Witness(at), _)| *at != index).collect::<BTreeMap<_, _>>().into())
}

/// Whether a text holds a private value of [`range`] or [`unsatisfied`], in any form one might come across.
pub fn shows_secret(text: &[u8]) -> bool {
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

/// The witness for these inputs, which are the circuit's first witnesses.
fn solved(program: &Program<FieldElement>, inputs: &[FieldElement]) -> WitnessMap<FieldElement> {
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

fn stack(witness: &[u8]) -> WitnessStack<FieldElement> {
    WitnessStack::deserialize(witness).unwrap()
}

fn gzipped(values: WitnessMap<FieldElement>) -> Vec<u8> {
    WitnessStack::from(values).serialize().unwrap()
}

fn field(value: u32) -> [u8; 32] {
    bytes(FieldElement::from(value))
}

fn bytes(value: FieldElement) -> [u8; 32] {
    value.to_be_bytes().try_into().unwrap()
}

/// What a gzip stream inflates to.
pub fn inflate(gzip: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(gzip).read_to_end(&mut bytes).unwrap();
    bytes
}

/// A gzip stream of these bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A gzip stream of this many zeros.
pub fn gzip_of_zeros(bytes: u64) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::copy(&mut std::io::repeat(0).take(bytes), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// The same witness as a valid gzip stream of this many bytes: behind the witness, DEFLATE blocks that hold nothing.
pub fn padded(witness: &[u8], bytes: usize) -> Vec<u8> {
    const EMPTY_BLOCK: [u8; 5] = [0, 0, 0, 0xff, 0xff];
    let inflated = inflate(witness);
    let len = u16::try_from(inflated.len()).expect("one stored block holds it");
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    gzip.push(0);
    gzip.extend(len.to_le_bytes());
    gzip.extend((!len).to_le_bytes());
    gzip.extend(&inflated);
    while gzip.len() + 2 * EMPTY_BLOCK.len() + 8 <= bytes {
        gzip.extend(EMPTY_BLOCK);
    }
    gzip.extend([1, 0, 0, 0xff, 0xff]);
    let mut crc = Crc::new();
    crc.update(&inflated);
    gzip.extend(crc.sum().to_le_bytes());
    gzip.extend(crc.amount().to_le_bytes());
    gzip
}
