//! bb's msgpack protocol: each message is a length (32 bits, little-endian) and that many bytes.
//!
//! Commands and answers are those of the `barretenberg-rs` crate, which is generated from bb's own schema. Only the
//! prove command is put together by hand, field by field, so that the witness can be streamed from the spool into
//! bb's standard input without ever being held in memory.

use barretenberg_rs::generated_types::{
    CircuitComputeVk, CircuitInput, CircuitInputNoVK, CircuitStats, CircuitVerify, Command,
    ProofSystemSettings, Response,
};
use bytes::Bytes;
use edgeprove_protocol::Target;

use crate::{
    CircuitKey, CircuitSize, ProofParts, ProverError, VerificationKey, WitnessSource, backend::FIELD_BYTES,
};

/// Longest answer that is accepted from bb, in bytes.
pub const ANSWER_MAX_BYTES: u32 = 64 << 20;

/// A message on its way to bb.
#[derive(Debug, Clone)]
pub enum Message {
    /// All of it.
    Whole(Bytes),
    /// The prove command up to the witness, which follows as this many bytes.
    Prove {
        /// Length prefix and everything before the witness.
        head: Vec<Bytes>,
        /// The gzipped witness.
        witness: WitnessSource,
    },
}

/// What bb is told of the verifier.
fn settings(target: Target) -> ProofSystemSettings {
    let oracle_hash_type = match target {
        Target::NoirRecursive => "poseidon2",
        Target::Evm => "keccak",
    };
    ProofSystemSettings {
        ipa_accumulation: false,
        oracle_hash_type: oracle_hash_type.to_owned(),
        disable_zk: false,
        optimized_solidity_verifier: false,
    }
}

/// bb uses the name in its own log only.
const CIRCUIT_NAME: &str = "circuit";

/// The prove command for a circuit and a spooled witness.
pub fn prove(circuit: &CircuitKey, witness: &WitnessSource) -> Result<Message, ProverError> {
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
        rmp::encode::write_bin_len(head, u32::try_from(circuit.bytecode.len()).unwrap_or(u32::MAX))?;
        Ok(())
    };
    circuit_fields(&mut head).map_err(too_large)?;
    let mut last = Vec::with_capacity(16);
    let witness_bytes = u32::try_from(witness.inflated_bytes).map_err(too_large)?;
    rmp::encode::write_str(&mut last, "witness").map_err(too_large)?;
    rmp::encode::write_bin_len(&mut last, witness_bytes).map_err(too_large)?;
    let total = (head.len() + circuit.bytecode.len() + last.len()) as u64 + witness.inflated_bytes;
    let length = u32::try_from(total).map_err(too_large)?.to_le_bytes();
    Ok(Message::Prove {
        head: vec![Bytes::copy_from_slice(&length), head.into(), circuit.bytecode.clone(), last.into()],
        witness: witness.clone(),
    })
}

/// The verify command.
pub fn verify(circuit: &CircuitKey, parts: &ProofParts) -> Result<Message, ProverError> {
    let fields = |fields: &[[u8; FIELD_BYTES]]| fields.iter().map(|field| field.to_vec()).collect();
    whole(Command::CircuitVerify(CircuitVerify::new(
        circuit.vk.to_vec(),
        fields(&parts.public_inputs),
        fields(&parts.proof),
        settings(circuit.target),
    )))
}

/// The command that makes a verification key.
pub fn compute_vk(bytecode: &Bytes, target: Target) -> Result<Message, ProverError> {
    let circuit = CircuitInputNoVK { name: CIRCUIT_NAME.to_owned(), bytecode: bytecode.to_vec() };
    whole(Command::CircuitComputeVk(CircuitComputeVk::new(circuit, settings(target))))
}

/// The command that counts gates.
pub fn stats(bytecode: &Bytes, target: Target) -> Result<Message, ProverError> {
    let circuit = CircuitInput {
        name: CIRCUIT_NAME.to_owned(),
        bytecode: bytecode.to_vec(),
        verification_key: Vec::new(),
    };
    whole(Command::CircuitStats(CircuitStats::new(circuit, false, settings(target))))
}

/// A question whose answer is known, to see whether the program at the other end is bb.
pub fn ping() -> Result<Message, ProverError> {
    use barretenberg_rs::generated_types::Blake2s;
    whole(Command::Blake2s(Blake2s::new(Vec::new())))
}

/// BLAKE2s-256 of nothing (RFC 7693 parameters): the answer to [`ping`].
pub const PONG: [u8; 32] = [
    0x69, 0x21, 0x7a, 0x30, 0x79, 0x90, 0x80, 0x94, 0xe1, 0x11, 0x21, 0xd0, 0x42, 0x35, 0x4a, 0x7c, 0x1f,
    0x55, 0xb6, 0x48, 0x2c, 0xa1, 0xa5, 0x1e, 0x1b, 0x25, 0x0d, 0xfd, 0x1e, 0xd0, 0xee, 0xf9,
];

fn whole(command: Command) -> Result<Message, ProverError> {
    let body = rmp_serde::to_vec_named(&[command]).map_err(too_large)?;
    let length = u32::try_from(body.len()).map_err(too_large)?;
    let mut framed = Vec::with_capacity(body.len() + 4);
    framed.extend_from_slice(&length.to_le_bytes());
    framed.extend_from_slice(&body);
    Ok(Message::Whole(framed.into()))
}

fn too_large(error: impl std::fmt::Display) -> ProverError {
    ProverError::Refused { reason: format!("the message does not fit bb's protocol: {error}") }
}

/// Reads an answer; bb's own refusal becomes an error.
pub fn answer(bytes: &[u8]) -> Result<Response, ProverError> {
    match rmp_serde::from_slice(bytes) {
        Ok(Response::ErrorResponse(error)) => {
            Err(ProverError::Refused { reason: crate::child::without_values(&error.message) })
        }
        Ok(response) => Ok(response),
        // The bytes may hold a proof; the decoder's own words name types and offsets only.
        Err(error) => Err(ProverError::UnexpectedResponse { what: error.to_string() }),
    }
}

/// An answer of another kind than was asked for.
#[must_use]
pub fn unexpected(wanted: &'static str) -> ProverError {
    ProverError::UnexpectedResponse { what: format!("no {wanted}") }
}

/// bb's answer to [`stats`].
pub fn circuit_size(answer: Response) -> Result<CircuitSize, ProverError> {
    match answer {
        Response::CircuitInfoResponse(stats) => {
            Ok(CircuitSize { gates: stats.num_gates.into(), rows: stats.num_gates_dyadic.into() })
        }
        _ => Err(unexpected("gate count")),
    }
}

/// bb's answer to [`compute_vk`].
pub fn verification_key(answer: Response) -> Result<VerificationKey, ProverError> {
    match answer {
        Response::CircuitComputeVkResponse(key) => {
            Ok(VerificationKey { vk: key.bytes.into(), vk_hash: field(key.hash)? })
        }
        _ => Err(unexpected("verification key")),
    }
}

/// bb's byte strings as fields.
pub fn fields(raw: Vec<Vec<u8>>) -> Result<Vec<[u8; FIELD_BYTES]>, ProverError> {
    raw.into_iter().map(field).collect()
}

fn field(raw: Vec<u8>) -> Result<[u8; FIELD_BYTES], ProverError> {
    raw.try_into().map_err(|raw: Vec<u8>| ProverError::UnexpectedResponse {
        what: format!("a field of {} bytes", raw.len()),
    })
}
