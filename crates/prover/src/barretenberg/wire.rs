//! bb's msgpack protocol: each message is a length (32 bits, little-endian) and that many bytes.
//!
//! Commands and responses are those of the crate `barretenberg-rs`, which is generated from bb's own schema. Only the
//! prove command is written field by field, so that the witness streams from the spool into bb's standard input and is
//! never in memory as a whole.

use barretenberg_rs::generated_types::{
    CircuitComputeVk, CircuitInput, CircuitInputNoVK, CircuitStats, CircuitVerify, Command,
    ProofSystemSettings, Response,
};
use bytes::Bytes;
use edgeprove_protocol::Target;

use super::redaction::without_values;
use crate::{
    CircuitKey, CircuitSize, FIELD_BYTES, ProofParts, ProverError, UnexpectedResponse, VerificationKey,
    WitnessSource,
};

/// Longest response that is accepted from bb, in bytes.
pub const RESPONSE_MAX_BYTES: u32 = 64 << 20;

/// A message on its way to bb.
#[derive(Debug, Clone)]
pub enum Message {
    /// The complete message.
    Whole(Bytes),
    /// The prove command up to the witness, and the witness that follows decompressed.
    Prove {
        /// The length prefix and everything before the witness.
        head: Vec<Bytes>,
        /// The gzipped witness in the spool.
        witness: WitnessSource,
    },
}

/// A message that does not fit bb's protocol.
#[derive(Debug, thiserror::Error)]
#[error("the message does not fit bb's protocol: {reason}")]
pub struct EncodeError {
    reason: String,
}

impl From<EncodeError> for ProverError {
    fn from(error: EncodeError) -> Self {
        Self::Refused { reason: error.to_string() }
    }
}

/// A response that is not the result of its command.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// bb rejected the command.
    #[error("bb rejected the command: {reason}")]
    Refused {
        /// bb's message, without values.
        reason: String,
    },
    /// The response does not fit the command.
    #[error(transparent)]
    Unexpected(#[from] UnexpectedResponse),
}

impl From<ResponseError> for ProverError {
    fn from(error: ResponseError) -> Self {
        match error {
            ResponseError::Refused { reason } => Self::Refused { reason },
            ResponseError::Unexpected(error) => Self::UnexpectedResponse(error),
        }
    }
}

/// bb's settings of a verifier: the hash of its transcript, with zero knowledge.
fn settings(target: Target) -> ProofSystemSettings {
    let oracle_hash_type = match target {
        // A Groth16 proof never comes here, because its program is refused.
        Target::NoirRecursive | Target::Groth16 => "poseidon2",
        Target::Evm => "keccak",
    };
    ProofSystemSettings {
        ipa_accumulation: false,
        oracle_hash_type: oracle_hash_type.to_owned(),
        disable_zk: false,
        optimized_solidity_verifier: false,
    }
}

/// bb uses the name only in its log.
const CIRCUIT_NAME: &str = "circuit";

/// Encodes the command that proves a spooled witness.
pub fn prove(circuit: &CircuitKey, witness: &WitnessSource) -> Result<Message, ProverError> {
    let bytecode = circuit.program.acir()?;
    let mut head = Vec::with_capacity(64);
    let start = |head: &mut Vec<u8>| -> Result<(), rmp::encode::ValueWriteError> {
        rmp::encode::write_array_len(head, 1)?;
        rmp::encode::write_array_len(head, 2)?;
        rmp::encode::write_str(head, "CircuitProve")?;
        rmp::encode::write_map_len(head, 3)?;
        rmp::encode::write_str(head, "settings")?;
        Ok(())
    };
    start(&mut head).map_err(too_large)?;
    rmp_serde::encode::write_named(&mut head, &settings(circuit.target)).map_err(too_large)?;
    let circuit_fields = |head: &mut Vec<u8>| -> Result<(), rmp::encode::ValueWriteError> {
        rmp::encode::write_str(head, "circuit")?;
        rmp::encode::write_map_len(head, 3)?;
        rmp::encode::write_str(head, "name")?;
        rmp::encode::write_str(head, CIRCUIT_NAME)?;
        rmp::encode::write_str(head, "verification_key")?;
        rmp::encode::write_bin(head, &circuit.vk)?;
        rmp::encode::write_str(head, "bytecode")?;
        rmp::encode::write_bin_len(head, u32::try_from(bytecode.len()).unwrap_or(u32::MAX))?;
        Ok(())
    };
    circuit_fields(&mut head).map_err(too_large)?;
    let mut last = Vec::with_capacity(16);
    let witness_bytes = u32::try_from(witness.decompressed_bytes).map_err(too_large)?;
    rmp::encode::write_str(&mut last, "witness").map_err(too_large)?;
    rmp::encode::write_bin_len(&mut last, witness_bytes).map_err(too_large)?;
    let total = (head.len() + bytecode.len() + last.len()) as u64 + witness.decompressed_bytes;
    let length = u32::try_from(total).map_err(too_large)?.to_le_bytes();
    Ok(Message::Prove {
        head: vec![Bytes::copy_from_slice(&length), head.into(), bytecode.clone(), last.into()],
        witness: witness.clone(),
    })
}

/// Encodes the command that verifies a proof.
pub fn verify(circuit: &CircuitKey, parts: &ProofParts) -> Result<Message, EncodeError> {
    let fields = |fields: &[[u8; FIELD_BYTES]]| fields.iter().map(|field| field.to_vec()).collect();
    whole(Command::CircuitVerify(CircuitVerify::new(
        circuit.vk.to_vec(),
        fields(&parts.public_inputs),
        fields(&parts.proof),
        settings(circuit.target),
    )))
}

/// Encodes the command that makes a verification key.
pub fn compute_vk(bytecode: &Bytes, target: Target) -> Result<Message, EncodeError> {
    let circuit = CircuitInputNoVK { name: CIRCUIT_NAME.to_owned(), bytecode: bytecode.to_vec() };
    whole(Command::CircuitComputeVk(CircuitComputeVk::new(circuit, settings(target))))
}

/// Encodes the command that counts gates.
pub fn stats(bytecode: &Bytes, target: Target) -> Result<Message, EncodeError> {
    let circuit = CircuitInput {
        name: CIRCUIT_NAME.to_owned(),
        bytecode: bytecode.to_vec(),
        verification_key: Vec::new(),
    };
    whole(Command::CircuitStats(CircuitStats::new(circuit, false, settings(target))))
}

/// Encodes a command with a known result, which shows that the program is bb: [`PONG`].
pub fn ping() -> Result<Message, EncodeError> {
    use barretenberg_rs::generated_types::Blake2s;
    whole(Command::Blake2s(Blake2s::new(Vec::new())))
}

/// BLAKE2s-256 of no bytes (parameters of RFC 7693): the response to [`ping`].
pub const PONG: [u8; 32] = [
    0x69, 0x21, 0x7a, 0x30, 0x79, 0x90, 0x80, 0x94, 0xe1, 0x11, 0x21, 0xd0, 0x42, 0x35, 0x4a, 0x7c, 0x1f,
    0x55, 0xb6, 0x48, 0x2c, 0xa1, 0xa5, 0x1e, 0x1b, 0x25, 0x0d, 0xfd, 0x1e, 0xd0, 0xee, 0xf9,
];

fn whole(command: Command) -> Result<Message, EncodeError> {
    let body = rmp_serde::to_vec_named(&[command]).map_err(too_large)?;
    let length = u32::try_from(body.len()).map_err(too_large)?;
    let mut framed = Vec::with_capacity(body.len() + 4);
    framed.extend_from_slice(&length.to_le_bytes());
    framed.extend_from_slice(&body);
    Ok(Message::Whole(framed.into()))
}

fn too_large(error: impl std::fmt::Display) -> EncodeError {
    EncodeError { reason: error.to_string() }
}

/// Decodes a response. A rejection by bb becomes an error.
pub fn response(bytes: &[u8]) -> Result<Response, ResponseError> {
    match rmp_serde::from_slice(bytes) {
        Ok(Response::ErrorResponse(error)) => {
            Err(ResponseError::Refused { reason: without_values(&error.message) })
        }
        Ok(response) => Ok(response),
        // The bytes may hold a proof. The decoder's message names types and offsets only.
        Err(error) => Err(UnexpectedResponse::Undecodable(error.into()).into()),
    }
}

/// Rows that bb adds to a circuit's gates in the execution trace: four that hide the witness, and a row of zeros before
/// the gates. The size that bb reports with the gates lacks them.
const RESERVED_ROWS: u64 = 5;

/// Reads the size of a circuit from the response to [`stats`].
pub fn circuit_size(response: Response) -> Result<CircuitSize, UnexpectedResponse> {
    let Response::CircuitInfoResponse(stats) = response else {
        return Err(UnexpectedResponse::WrongType { wanted: "gate count" });
    };
    let gates = u64::from(stats.num_gates);
    let rows = (gates + RESERVED_ROWS).next_power_of_two();
    Ok(CircuitSize { gates, dyadic_size: rows.max(stats.num_gates_dyadic.into()) })
}

/// Reads a key from the response to [`compute_vk`].
pub fn verification_key(response: Response) -> Result<VerificationKey, UnexpectedResponse> {
    let Response::CircuitComputeVkResponse(key) = response else {
        return Err(UnexpectedResponse::WrongType { wanted: "verification key" });
    };
    Ok(VerificationKey { vk: key.bytes.into(), vk_hash: field(key.hash)? })
}

/// Reads a proof from the response to [`prove`].
pub fn proof(response: Response) -> Result<ProofParts, UnexpectedResponse> {
    let Response::CircuitProveResponse(proof) = response else {
        return Err(UnexpectedResponse::WrongType { wanted: "proof" });
    };
    Ok(ProofParts { proof: fields(proof.proof)?, public_inputs: fields(proof.public_inputs)? })
}

/// Reads whether a proof verifies from the response to [`verify`].
pub fn verdict(response: Response) -> Result<bool, UnexpectedResponse> {
    let Response::CircuitVerifyResponse(verdict) = response else {
        return Err(UnexpectedResponse::WrongType { wanted: "verdict" });
    };
    Ok(verdict.verified)
}

fn fields(raw: Vec<Vec<u8>>) -> Result<Vec<[u8; FIELD_BYTES]>, UnexpectedResponse> {
    raw.into_iter().map(field).collect()
}

fn field(raw: Vec<u8>) -> Result<[u8; FIELD_BYTES], UnexpectedResponse> {
    raw.try_into().map_err(|raw: Vec<u8>| UnexpectedResponse::FieldLength { bytes: raw.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_responses_have_typed_causes() {
        let undecodable = response(b"garbage").unwrap_err();
        assert!(matches!(undecodable, ResponseError::Unexpected(UnexpectedResponse::Undecodable(_))));
        let short = field(vec![1; 31]).unwrap_err();
        assert!(matches!(short, UnexpectedResponse::FieldLength { bytes: 31 }));
    }
}
