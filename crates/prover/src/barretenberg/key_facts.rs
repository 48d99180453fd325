//! What a verification key of bb shows about its circuit and its proofs, without bb.

use edgeprove_protocol::{ProofSystem, Target};

use crate::FIELD_BYTES;

/// Fields of a key before its commitments: logarithm of the dyadic size, public inputs, position of the first one.
const HEAD_FIELDS: usize = 3;
/// Points to which a key commits.
const COMMITMENTS: usize = 28;
/// Public inputs that bb adds to those of the circuit, for the verification of a proof within a circuit.
const ADDED_PUBLIC_INPUTS: u64 = 8;
/// bb's largest logarithm of a dyadic size.
const LOG_SIZE_MAX: u8 = 28;

/// What a verification key shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFacts {
    /// The target of its proofs.
    pub target: Target,
    /// The public inputs of the circuit.
    pub public_inputs: u64,
    /// The logarithm of the circuit's dyadic size.
    log_size: u8,
}

/// The bytes are no verification key of bb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// The length is that of no key.
    #[error(
        "a verification key has {} or {} bytes, and this file has {bytes}",
        key_bytes(Target::NoirRecursive),
        key_bytes(Target::Evm)
    )]
    Length {
        /// The length, in bytes.
        bytes: usize,
    },
    /// The first fields are not those of a key.
    #[error("its first fields are not those of a verification key")]
    Head,
}

/// The length of a key: a coordinate is one field for Solidity and two of 128 bits for a circuit.
const fn key_bytes(target: Target) -> usize {
    let fields_per_point = match target {
        // No key of bb is for Groth16.
        Target::NoirRecursive | Target::Groth16 => 4,
        Target::Evm => 2,
    };
    (HEAD_FIELDS + COMMITMENTS * fields_per_point) * FIELD_BYTES
}

impl KeyFacts {
    /// Reads the bytes of a key.
    pub fn read(vk: &[u8]) -> Result<Self, NotAKey> {
        let mut targets = ProofSystem::UltraHonk.targets().iter().copied();
        let target = targets.find(|target| key_bytes(*target) == vk.len());
        let target = target.ok_or(NotAKey::Length { bytes: vk.len() })?;
        let (fields, _) = vk.as_chunks::<FIELD_BYTES>();
        let number = |index: usize| {
            let (high, low) = fields.get(index)?.split_last_chunk::<8>()?;
            high.iter().all(|byte| *byte == 0).then(|| u64::from_be_bytes(*low))
        };
        let log_size = number(0).and_then(|log| u8::try_from(log).ok());
        let log_size = log_size.filter(|log| (1..=LOG_SIZE_MAX).contains(log)).ok_or(NotAKey::Head)?;
        let public_inputs = number(1).and_then(|count| count.checked_sub(ADDED_PUBLIC_INPUTS));
        let public_inputs = public_inputs.filter(|count| *count < 1 << log_size).ok_or(NotAKey::Head)?;
        Ok(Self { target, public_inputs, log_size })
    }

    /// The circuit's dyadic size.
    #[must_use]
    pub fn dyadic_size(self) -> u64 {
        1 << self.log_size
    }

    /// The number of fields of a proof without its public inputs. Proofs for Solidity grow with the circuit; those for a
    /// circuit are padded to the length of the largest one.
    #[must_use]
    pub fn proof_fields(self) -> usize {
        match self.target {
            Target::NoirRecursive | Target::Groth16 => 458,
            Target::Evm => 82 + 12 * usize::from(self.log_size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(target: Target, head: [u64; 3]) -> Vec<u8> {
        let mut vk = vec![7; key_bytes(target)];
        for (field, number) in vk.as_chunks_mut::<FIELD_BYTES>().0.iter_mut().zip(head) {
            *field = [0; FIELD_BYTES];
            field[24..].copy_from_slice(&number.to_be_bytes());
        }
        vk
    }

    #[test]
    fn a_key_shows_target_size_and_public_inputs() {
        assert_eq!([key_bytes(Target::NoirRecursive), key_bytes(Target::Evm)], [3680, 1888]);
        for &target in ProofSystem::UltraHonk.targets() {
            let facts = KeyFacts::read(&key(target, [12, 10, 5])).unwrap();
            assert_eq!((facts.target, facts.public_inputs, facts.dyadic_size()), (target, 2, 4096));
        }
        let fields =
            |target, log_size| KeyFacts::read(&key(target, [log_size, 8, 5])).unwrap().proof_fields();
        assert_eq!([5, 12, 14, 15].map(|log_size| fields(Target::Evm, log_size)), [142, 226, 250, 262]);
        assert_eq!([5, 15].map(|log_size| fields(Target::NoirRecursive, log_size)), [458, 458]);
        let without_inputs = KeyFacts::read(&key(Target::Evm, [5, 8, 5])).unwrap();
        assert_eq!(without_inputs.public_inputs, 0);
    }

    #[test]
    fn other_bytes_are_no_key() {
        assert_eq!(KeyFacts::read(b""), Err(NotAKey::Length { bytes: 0 }));
        assert_eq!(KeyFacts::read(&[7; 1888]), Err(NotAKey::Head));
        for head in [[0, 10, 5], [29, 10, 5], [12, 7, 5], [12, 1 << 13, 5], [1 << 32, 10, 5]] {
            assert_eq!(KeyFacts::read(&key(Target::Evm, head)), Err(NotAKey::Head), "{head:?}");
        }
    }
}
