//! A compiled circuit's file, as `nargo compile` and Noir's JavaScript compiler write it.

use std::io::{self, Read};

use acir::{FieldElement, SerializationFormat as Format, circuit::Program};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use flate2::read::GzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use edgeprove_prover::{barretenberg::version::NOIR_VERSION, stored_gzip::store_in_gzip};

/// Largest decompressed program, in bytes.
pub const PROGRAM_MAX_BYTES: u64 = 1 << 30;

/// Why a file is not a Noir circuit that can be proved here.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file is not JSON with a bytecode.
    #[error("not a compiled Noir circuit: no JSON object with `bytecode` and `noir_version`")]
    NotAnArtifact(#[source] serde_json::Error),
    /// The bytecode is not base64.
    #[error("`bytecode` is not base64")]
    NotBase64(#[source] base64::DecodeError),
    /// The bytecode is not gzip.
    #[error("`bytecode` is not gzip")]
    NotGzip(#[source] io::Error),
    /// The program is too large.
    #[error("the program is larger than {PROGRAM_MAX_BYTES} bytes")]
    ProgramTooLarge,
    /// The program is not ACIR of the Noir release that this server supports.
    #[error("`bytecode` is not ACIR of Noir {NOIR_VERSION}; the file was compiled by Noir {found}")]
    NotAcir {
        /// The release that the file names.
        found: String,
        /// The decoder's reason.
        #[source]
        source: io::Error,
    },
    /// The program has no or several circuits.
    #[error("the program has {count} circuits and bb proves exactly one: `fold` functions cannot be proved")]
    NotOneCircuit {
        /// The number of circuits.
        count: usize,
    },
}

#[derive(Deserialize)]
struct File {
    noir_version: String,
    bytecode: String,
}

/// A compiled circuit.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The compiler's release, as the file names it.
    pub noir_version: String,
    /// The decompressed ACIR program, as bb takes it.
    pub bytecode: Bytes,
    /// SHA-256 of the program.
    pub bytecode_sha256: [u8; 32],
}

impl Artifact {
    /// Decodes the content of a file.
    pub fn decode(file: &[u8]) -> Result<Self, ArtifactError> {
        let file: File = serde_json::from_slice(file).map_err(ArtifactError::NotAnArtifact)?;
        let compressed = STANDARD.decode(&file.bytecode).map_err(ArtifactError::NotBase64)?;
        let bytecode = decompress(&compressed)?;
        let bytecode_sha256 = Sha256::digest(&bytecode).into();
        Ok(Self { noir_version: file.noir_version, bytecode: bytecode.into(), bytecode_sha256 })
    }

    /// Decodes the program. It is large, so it should not be held longer than needed.
    pub fn program(&self) -> Result<Program<FieldElement>, ArtifactError> {
        let not_acir =
            |source| ArtifactError::NotAcir { found: self.noir_version.chars().take(60).collect(), source };
        let compressed = store_in_gzip(&self.bytecode).map_err(ArtifactError::NotGzip)?;
        let program = Program::deserialize_program(&compressed).map_err(not_acir)?;
        match program.functions.len() {
            1 => Ok(program),
            count => Err(ArtifactError::NotOneCircuit { count }),
        }
    }

    /// Replaces the program.
    pub fn replace_program(&mut self, program: &Program<FieldElement>) -> Result<(), ArtifactError> {
        let compressed = Program::serialize_program_with_format(program, Format::MsgpackCompact);
        let bytecode = decompress(&compressed)?;
        self.bytecode_sha256 = Sha256::digest(&bytecode).into();
        self.bytecode = bytecode.into();
        Ok(())
    }
}

fn decompress(compressed: &[u8]) -> Result<Vec<u8>, ArtifactError> {
    let mut bytecode = Vec::new();
    let mut decompressed = GzDecoder::new(compressed).take(PROGRAM_MAX_BYTES + 1);
    decompressed.read_to_end(&mut bytecode).map_err(ArtifactError::NotGzip)?;
    if bytecode.len() as u64 > PROGRAM_MAX_BYTES {
        return Err(ArtifactError::ProgramTooLarge);
    }
    Ok(bytecode)
}
