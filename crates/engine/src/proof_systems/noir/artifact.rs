//! A compiled circuit's file, as `nargo compile` and Noir's JavaScript compiler write it.

use std::{
    borrow::Cow,
    io::{self, Read},
};

use acir::{FieldElement, SerializationFormat as Format, circuit::Program};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use edgeprove_prover::{barretenberg::version::NOIR_VERSION, stored_gzip::store_in_gzip};

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
    #[error("the program is larger than {max_bytes} bytes, the most for a circuit that this CRS can prove")]
    ProgramTooLarge {
        /// The limit, in bytes.
        max_bytes: u64,
    },
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
    abi: Option<Value>,
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
    /// The ABI as it is in the file.
    pub abi: Option<Value>,
}

impl Artifact {
    /// Decodes the content of a file, whose program may have at most so many bytes.
    pub fn decode(file: &[u8], program_max_bytes: u64) -> Result<Self, ArtifactError> {
        let file: File = serde_json::from_slice(&utf8(file)).map_err(ArtifactError::NotAnArtifact)?;
        let compressed = STANDARD.decode(&file.bytecode).map_err(ArtifactError::NotBase64)?;
        let bytecode = decompress(&compressed, program_max_bytes)?;
        let bytecode_sha256 = Sha256::digest(&bytecode).into();
        Ok(Self {
            noir_version: file.noir_version,
            bytecode: bytecode.into(),
            bytecode_sha256,
            abi: file.abi,
        })
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
        let bytecode = decompress(&compressed, u64::MAX)?;
        self.bytecode_sha256 = Sha256::digest(&bytecode).into();
        self.bytecode = bytecode.into();
        Ok(())
    }
}

/// The text of a file as UTF-8 without a byte order mark. Editors and shells of Windows write one, and some write UTF-16.
fn utf8(file: &[u8]) -> Cow<'_, [u8]> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.as_chunks().0.iter().copied().map(unit).collect();
        Cow::Owned(String::from_utf16_lossy(&units).into_bytes())
    };
    match file {
        [0xff, 0xfe, text @ ..] => utf16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => utf16(text, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, text @ ..] | text => Cow::Borrowed(text),
    }
}

fn decompress(compressed: &[u8], max_bytes: u64) -> Result<Vec<u8>, ArtifactError> {
    let mut bytecode = Vec::new();
    let mut decompressed = GzDecoder::new(compressed).take(max_bytes.saturating_add(1));
    decompressed.read_to_end(&mut bytecode).map_err(ArtifactError::NotGzip)?;
    if bytecode.len() as u64 > max_bytes {
        return Err(ArtifactError::ProgramTooLarge { max_bytes });
    }
    Ok(bytecode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let text = "{\"noir_version\": \"ö\"}";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for file in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [b"\xff\xfe", little.as_slice()].concat(),
            [b"\xfe\xff", big.as_slice()].concat(),
        ] {
            assert_eq!(utf8(&file), text.as_bytes());
        }
        assert_eq!(utf8(b""), b"".as_slice());
    }

    #[test]
    fn a_program_beyond_its_bound_is_refused() {
        let compressed = store_in_gzip(&[7; 100]).unwrap();
        assert_eq!(decompress(&compressed, 100).unwrap(), [7; 100]);
        let error = decompress(&compressed, 99).unwrap_err();
        assert!(matches!(error, ArtifactError::ProgramTooLarge { max_bytes: 99 }), "{error}");
    }
}
