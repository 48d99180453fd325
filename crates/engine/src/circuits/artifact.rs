//! A compiled circuit's file, as `nargo compile` and Noir's JavaScript compiler write it.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use acir::{FieldElement, SerializationFormat as Format, circuit::Program};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use flate2::read::GzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use edgeprove_prover::gzip;

/// Largest artefact that is read, in bytes.
pub const ARTIFACT_MAX_BYTES: u64 = 256 << 20;
/// Largest inflated program, in bytes.
pub const BYTECODE_MAX_BYTES: u64 = 1 << 30;

/// Why a file is not a circuit that can be proved here.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// It is too large.
    #[error("{what} is larger than {max} bytes")]
    TooLarge {
        /// Which part of it.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// It is not JSON with a bytecode.
    #[error("not a compiled Noir circuit: no JSON object with `bytecode` and `noir_version`")]
    NotAnArtifact(#[source] serde_json::Error),
    /// The bytecode is not base64.
    #[error("`bytecode` is not base64")]
    NotBase64(#[source] base64::DecodeError),
    /// The bytecode is not gzip.
    #[error("`bytecode` is not gzip")]
    NotGzip(#[source] std::io::Error),
    /// The program is not ACIR of the release this server was built for.
    #[error(
        "`bytecode` is not ACIR of Noir {wanted}; the file says it was compiled by Noir {found}",
        wanted = edgeprove_prover::barretenberg::version::NOIR_VERSION
    )]
    NotAcir {
        /// What the file says.
        found: String,
        /// The decoder's reason.
        #[source]
        source: std::io::Error,
    },
    /// The program has no or several circuits.
    #[error("the program has {count} circuits and bb proves exactly one: `fold` functions cannot be proved")]
    NotOneCircuit {
        /// How many there are.
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
    /// The compiler it says it comes from.
    pub noir_version: String,
    /// The ACIR program, inflated: what bb takes.
    pub bytecode: Bytes,
    /// SHA-256 of it.
    pub bytecode_sha256: [u8; 32],
}

impl Artifact {
    /// Reads and unpacks a file.
    pub fn read(path: &Path) -> Result<Self, ArtifactError> {
        let unreadable = |source| ArtifactError::Unreadable { path: path.to_owned(), source };
        let size = fs::metadata(path).map_err(unreadable)?.len();
        if size > ARTIFACT_MAX_BYTES {
            return Err(ArtifactError::TooLarge { what: "the file", max: ARTIFACT_MAX_BYTES });
        }
        let file: File = serde_json::from_slice(&fs::read(path).map_err(unreadable)?)
            .map_err(ArtifactError::NotAnArtifact)?;
        let gzipped = STANDARD.decode(&file.bytecode).map_err(ArtifactError::NotBase64)?;
        let bytecode = inflate(&gzipped)?;
        let bytecode_sha256 = Sha256::digest(&bytecode).into();
        Ok(Self { noir_version: file.noir_version, bytecode: bytecode.into(), bytecode_sha256 })
    }

    /// Decodes the program. Large; whoever asks should not keep it longer than needed.
    pub fn program(&self) -> Result<Program<FieldElement>, ArtifactError> {
        let not_acir =
            |source| ArtifactError::NotAcir { found: self.noir_version.chars().take(60).collect(), source };
        let gzipped = gzip::stored(&self.bytecode).map_err(ArtifactError::NotGzip)?;
        let program = Program::deserialize_program(&gzipped).map_err(not_acir)?;
        match program.functions.len() {
            1 => Ok(program),
            count => Err(ArtifactError::NotOneCircuit { count }),
        }
    }

    /// Puts a changed program in the place of the one that was read.
    pub fn replace_program(&mut self, program: &Program<FieldElement>) -> Result<(), ArtifactError> {
        let gzipped = Program::serialize_program_with_format(program, Format::MsgpackCompact);
        let bytecode = inflate(&gzipped)?;
        self.bytecode_sha256 = Sha256::digest(&bytecode).into();
        self.bytecode = bytecode.into();
        Ok(())
    }
}

fn inflate(gzipped: &[u8]) -> Result<Vec<u8>, ArtifactError> {
    let mut bytecode = Vec::new();
    let mut inflated = GzDecoder::new(gzipped).take(BYTECODE_MAX_BYTES + 1);
    inflated.read_to_end(&mut bytecode).map_err(ArtifactError::NotGzip)?;
    if bytecode.len() as u64 > BYTECODE_MAX_BYTES {
        return Err(ArtifactError::TooLarge { what: "the program", max: BYTECODE_MAX_BYTES });
    }
    Ok(bytecode)
}
