//! Circuits of Noir: ACIR programs, proved with `UltraHonk` by `bb`.
//!
//! - [`artifact`]: the compiled circuit's file.
//! - [`witness_format`]: the format of a witness, checked as a stream.
//! - [`shape`]: which witness indices a circuit has.
//! - [`satisfaction`]: whether a witness satisfies the constraints.

pub mod artifact;
pub mod satisfaction;
pub mod shape;
pub mod witness_format;

use std::io::Read;

use bytes::Bytes;
use edgeprove_protocol::{Target, crs::points_needed};
use edgeprove_prover::CircuitSize;

use super::{CircuitCounts, CircuitFileError, CompiledCircuit, JudgeError, Verdict, WitnessError};
use artifact::{Artifact, ArtifactError};
use witness_format::WitnessShape;

/// A compiled Noir circuit.
#[derive(Debug)]
pub struct NoirCircuit {
    artifact: Artifact,
    compiler: String,
    shape: WitnessShape,
    opcodes: u64,
}

impl NoirCircuit {
    /// Decodes the content of a compiled circuit's file, whose program may have at most so many bytes.
    pub fn decode(file: &[u8], program_max_bytes: u64) -> Result<Self, ArtifactError> {
        let mut artifact = Artifact::decode(file, program_max_bytes)?;
        let mut program = artifact.program()?;
        if shape::name_unused_parameters(&mut program.functions[0]) > 0 {
            artifact.replace_program(&program)?;
        }
        let shape = WitnessShape { max_index: shape::max_witness_index(&program.functions[0]) };
        let compiler = format!("noir {}", artifact.noir_version);
        let opcodes = program.functions[0].opcodes.len() as u64;
        Ok(Self { artifact, compiler, shape, opcodes })
    }
}

impl CompiledCircuit for NoirCircuit {
    fn program(&self) -> &Bytes {
        &self.artifact.bytecode
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

    fn check_witness(&self, decompressed: &mut dyn Read) -> Result<(), WitnessError> {
        witness_format::check(decompressed, &self.shape)?;
        Ok(())
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
