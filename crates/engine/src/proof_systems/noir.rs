//! Circuits of Noir: ACIR programs, proved with `UltraHonk` by `bb`.
//!
//! - [`artifact`]: the compiled circuit's file.
//! - [`execution`]: computes a witness from inputs.
//! - [`abi`]: the types of the inputs.
//! - [`witness_format`]: the format of a witness, checked as a stream.
//! - [`shape`]: which witness indices a circuit has.
//! - [`satisfaction`]: whether a witness satisfies the constraints.

pub mod abi;
pub mod artifact;
pub mod execution;
pub mod satisfaction;
pub mod shape;
pub mod witness_format;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::{Arc, OnceLock},
};

use acir::{FieldElement, circuit::Program, native_types::Witness};
use edgeprove_protocol::{Target, crs::points_needed};
use edgeprove_prover::{CircuitProgram, CircuitSize};

use super::{
    CircuitCounts, CircuitFileError, CircuitInput, CompiledCircuit, ComputationError, ComputationLimits,
    ComputedWitness, JudgeError, PublicValues, Verdict, WitnessError, inputs::InputDocument,
};
use abi::{Abi, AbiError};
use artifact::{Artifact, ArtifactError};
use witness_format::WitnessShape;

/// Largest program that stays decoded after its first witness was computed, in bytes. To decode a program takes about as
/// long as to solve it, and decoded it takes several times its size.
const DECODED_PROGRAM_MAX_BYTES: usize = 16 << 20;

/// A compiled Noir circuit.
#[derive(Debug)]
pub struct NoirCircuit {
    artifact: Artifact,
    compiler: String,
    shape: WitnessShape,
    opcodes: u64,
    /// The indices of the public inputs, in the order of a proof.
    public: Vec<u32>,
    abi: Result<Abi, AbiError>,
    /// Whether the program has one opcode more than the file: see [`shape::name_unused_parameters`].
    names_unused_parameters: bool,
    /// The program for the solver.
    solvable: OnceLock<Arc<Program<FieldElement>>>,
}

impl NoirCircuit {
    /// Decodes the content of a compiled circuit's file, whose program may have at most so many bytes.
    pub fn decode(file: &[u8], program_max_bytes: u64) -> Result<Self, ArtifactError> {
        let mut artifact = Artifact::decode(file, program_max_bytes)?;
        let mut program = artifact.program()?;
        let names_unused_parameters = shape::name_unused_parameters(&mut program.functions[0]) > 0;
        if names_unused_parameters {
            artifact.replace_program(&program)?;
        }
        let circuit = &program.functions[0];
        let parameters: BTreeSet<Witness> =
            circuit.private_parameters.union(&circuit.public_parameters.0).copied().collect();
        let is_dense = (0..).zip(&parameters).all(|(index, witness)| *witness == Witness(index));
        let abi = Abi::read(artifact.abi.take().as_ref(), parameters.len());
        let abi = if is_dense { abi } else { abi.and(Err(AbiError::OfAnotherCircuit)) };
        let shape = WitnessShape { max_index: shape::max_witness_index(circuit) };
        let compiler = format!("noir {}", artifact.noir_version);
        let opcodes = circuit.opcodes.len() as u64;
        // As bb joins them.
        let public = circuit.public_parameters.0.iter().chain(&circuit.return_values.0);
        let public = public.map(Witness::witness_index).collect();
        let solvable = OnceLock::new();
        Ok(Self { artifact, compiler, shape, opcodes, public, abi, names_unused_parameters, solvable })
    }

    /// The program as it is in the file.
    fn solvable(&self) -> Result<Arc<Program<FieldElement>>, CircuitFileError> {
        if let Some(program) = self.solvable.get() {
            return Ok(Arc::clone(program));
        }
        let mut program = self.artifact.program()?;
        if self.names_unused_parameters {
            // The solver refuses the call of a function that the program does not have.
            program.functions[0].opcodes.pop();
        }
        let program = Arc::new(program);
        if self.artifact.bytecode.len() <= DECODED_PROGRAM_MAX_BYTES {
            return Ok(Arc::clone(self.solvable.get_or_init(|| program)));
        }
        Ok(program)
    }
}

impl CompiledCircuit for NoirCircuit {
    fn program(&self) -> CircuitProgram {
        CircuitProgram::Acir(self.artifact.bytecode.clone())
    }

    fn program_sha256(&self) -> &[u8; 32] {
        &self.artifact.bytecode_sha256
    }

    fn compiler(&self) -> &str {
        &self.compiler
    }

    fn targets(&self) -> &'static [Target] {
        &[Target::NoirRecursive, Target::Evm]
    }

    fn crs_points(&self, size: CircuitSize) -> u64 {
        points_needed(size.dyadic_size)
    }

    fn counts(&self) -> CircuitCounts {
        CircuitCounts { witnesses: self.shape.witnesses(), opcodes: self.opcodes }
    }

    fn witness_max_bytes(&self) -> u64 {
        self.shape.decompressed_bytes_max()
    }

    fn inputs(&self) -> Option<&[CircuitInput]> {
        self.abi.as_ref().ok().map(Abi::description)
    }

    fn compute_witness(
        &self,
        inputs: &InputDocument,
        limits: &ComputationLimits,
    ) -> Result<ComputedWitness, ComputationError> {
        let abi = self.abi.as_ref();
        let abi = abi.map_err(|error| ComputationError::Unsupported { reason: error.to_string() })?;
        let flattened = abi.flatten(inputs)?;
        execution::compute(&*self.solvable()?, abi, self.shape.max_index, &flattened, limits)
    }

    fn check_witness(&self, decompressed: &mut dyn Read) -> Result<(), WitnessError> {
        witness_format::check(decompressed, &self.shape)?;
        Ok(())
    }

    fn public_values(&self, decompressed: &mut dyn Read) -> Result<PublicValues, WitnessError> {
        let mut positions: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (position, index) in self.public.iter().enumerate() {
            positions.entry(*index).or_default().push(position);
        }
        let mut values = vec![None; self.public.len()];
        witness_format::read(decompressed, &self.shape, |index, value| {
            for position in positions.get(&index).into_iter().flatten() {
                values[*position] = Some(*value);
            }
        })?;
        Ok(values)
    }

    fn judge_witness(&self, decompressed: &mut dyn Read) -> Result<Verdict, JudgeError> {
        let program = self.artifact.program().map_err(CircuitFileError::from)?;
        let mut values = satisfaction::Values::default();
        let read =
            witness_format::read(decompressed, &self.shape, |index, value| values.insert(index, value));
        read.map_err(WitnessError::from)?;
        Ok(satisfaction::judge(&program, values))
    }
}
