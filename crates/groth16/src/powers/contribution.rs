//! What a contributor publishes: which point each secret number leads to afterwards, and a proof that the contributor knew
//! the factor by which it was changed.

use ark_bn254::{Fr, G1Affine, G2Affine};
use ark_ec::{AffineRepr as _, CurveGroup as _};

use crate::{
    blake2b::{Blake2b, DIGEST_BYTES, STATE_BYTES},
    curve::{G1_BYTES, G2_BYTES, PointBytes},
    field::RandomnessError,
    lagrange::random_nonzero,
    sections::{FormatError, Reader},
    transcript::{TranscriptPoint as _, hash_to_g2},
};

/// Bytes of a contribution before its parameters.
const FIXED_BYTES: usize = 9 * G1_BYTES + 5 * G2_BYTES + STATE_BYTES + DIGEST_BYTES;

/// The parameter of a contribution that is its name.
const NAME: u8 = 1;
/// The largest parameter that is defined: those of a beacon.
const LAST_PARAMETER: u8 = 3;

/// The points to which the secret numbers lead after a contribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contribution {
    pub(crate) tau_g1: G1Affine,
    pub(crate) tau_g2: G2Affine,
    pub(crate) alpha_g1: G1Affine,
    pub(crate) beta_g1: G1Affine,
    pub(crate) beta_g2: G2Affine,
}

impl Contribution {
    /// Reads all contributions of a file. The proofs in them are not checked.
    pub(crate) fn read_all(mut reader: Reader<'_>) -> Result<Vec<Self>, FormatError> {
        let count = reader.u32()? as usize;
        // Bounded by what is left of the section.
        let mut contributions = Vec::with_capacity(count.min(reader.bytes.len() / FIXED_BYTES));
        for index in 0..count {
            contributions.push(Self::read(&mut reader, index)?);
        }
        reader.finish()?;
        Ok(contributions)
    }

    fn read(reader: &mut Reader<'_>, index: usize) -> Result<Self, FormatError> {
        let format = reader.format;
        let invalid = || FormatError::InvalidPoint { format, what: "the contributions", index };
        let g1 = |reader: &mut Reader<'_>| {
            let point = G1Affine::from_bytes(reader.array()?).filter(PointBytes::is_valid);
            point.ok_or_else(invalid)
        };
        let g2 = |reader: &mut Reader<'_>| {
            let point = G2Affine::from_bytes(reader.array()?).filter(PointBytes::is_valid);
            point.ok_or_else(invalid)
        };
        let contribution = Self {
            tau_g1: g1(reader)?,
            tau_g2: g2(reader)?,
            alpha_g1: g1(reader)?,
            beta_g1: g1(reader)?,
            beta_g2: g2(reader)?,
        };
        reader.take(6 * G1_BYTES + 3 * G2_BYTES + STATE_BYTES + DIGEST_BYTES)?;
        let _kind = reader.u32()?;
        let length = reader.u32()? as usize;
        check_parameters(format, reader.take(length)?)?;
        Ok(contribution)
    }

    /// Appends the contribution with what else a file has of it. `name` has at most 64 bytes.
    pub(crate) fn write(
        &self,
        bytes: &mut Vec<u8>,
        key: &PublicKey,
        response: &Blake2b,
        next_challenge: &[u8; DIGEST_BYTES],
        name: &str,
    ) {
        bytes.extend(self.tau_g1.to_bytes());
        bytes.extend(self.tau_g2.to_bytes());
        bytes.extend(self.alpha_g1.to_bytes());
        bytes.extend(self.beta_g1.to_bytes());
        bytes.extend(self.beta_g2.to_bytes());
        for proof in &key.0 {
            bytes.extend(proof.s.to_bytes());
            bytes.extend(proof.s_times.to_bytes());
        }
        for proof in &key.0 {
            bytes.extend(proof.hashed_times.to_bytes());
        }
        bytes.extend(response.state());
        bytes.extend(next_challenge);
        write_parameters(bytes, name);
    }
}

/// Appends the kind of a contribution, which is not that of a beacon, and its name.
pub(crate) fn write_parameters(bytes: &mut Vec<u8>, name: &str) {
    let length = u8::try_from(name.len()).unwrap_or_default();
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend((u32::from(length) + 2).to_le_bytes());
    bytes.extend([NAME, length]);
    bytes.extend(&name.as_bytes()[..usize::from(length)]);
}

/// Parameters have a number, in ascending order, and a value: a length and bytes, or one byte alone.
fn check_parameters(format: &'static str, mut bytes: &[u8]) -> Result<(), FormatError> {
    let damaged =
        || FormatError::Inconsistent { format, reason: "the parameters of a contribution are damaged" };
    let mut last = 0;
    while let Some((&number, rest)) = bytes.split_first() {
        if number <= last || number > LAST_PARAMETER {
            return Err(damaged());
        }
        last = number;
        let (&value, rest) = rest.split_first().ok_or_else(damaged)?;
        // The second one is a number.
        let length = if number == 2 { 0 } else { usize::from(value) };
        bytes = rest.get(length..).ok_or_else(damaged)?;
    }
    Ok(())
}

/// The proofs of knowledge for tau, alpha and beta.
pub(crate) struct PublicKey([KnowledgeProof; 3]);

/// A proof that somebody knows a number: a random point, the same point times the number, and a point that follows from
/// both times the number.
pub(crate) struct KnowledgeProof {
    pub(crate) s: G1Affine,
    pub(crate) s_times: G1Affine,
    pub(crate) hashed_times: G2Affine,
}

impl KnowledgeProof {
    /// Proves knowledge of a number. `hash` turns the two points into a digest.
    pub(crate) fn new(
        number: &Fr,
        hash: impl FnOnce(&G1Affine, &G1Affine) -> [u8; DIGEST_BYTES],
    ) -> Result<Self, RandomnessError> {
        let s = (G1Affine::generator() * *random_nonzero()?).into_affine();
        let s_times = (s * number).into_affine();
        let hashed_times = (hash_to_g2(&hash(&s, &s_times)) * number).into_affine();
        Ok(Self { s, s_times, hashed_times })
    }
}

impl PublicKey {
    /// Proves knowledge of tau, alpha and beta, in this order, to those who know the challenge.
    pub(crate) fn new(numbers: [&Fr; 3], challenge: &[u8; DIGEST_BYTES]) -> Result<Self, RandomnessError> {
        let prove = |index: u8, number: &Fr| {
            KnowledgeProof::new(number, |s, s_times| {
                let mut hasher = Blake2b::new();
                hasher.update(&[index]);
                hasher.update(challenge);
                hasher.points([s, s_times]);
                hasher.finish()
            })
        };
        let [tau, alpha, beta] = numbers;
        Ok(Self([prove(0, tau)?, prove(1, alpha)?, prove(2, beta)?]))
    }

    /// The bytes with which a response ends.
    pub(crate) fn to_transcript(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(6 * G1_BYTES + 3 * G2_BYTES);
        for proof in &self.0 {
            proof.s.append(&mut bytes);
            proof.s_times.append(&mut bytes);
        }
        for proof in &self.0 {
            proof.hashed_times.append(&mut bytes);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_checked() {
        let check = |bytes: &[u8]| check_parameters("ptau", bytes).is_ok();
        let mut named = Vec::new();
        write_parameters(&mut named, "name");
        assert_eq!(named[4..8], 6_u32.to_le_bytes());
        for good in [&named[8..], &[], &[1, 0], &[1, 1, 9, 2, 10, 3, 2, 8, 8], &[3, 0]] {
            assert!(check(good), "{good:?}");
        }
        for damaged in [&[1][..], &[1, 2, 9], &[2], &[2, 1, 2, 1], &[3, 0, 1, 0], &[4, 0], &[0, 0]] {
            assert!(!check(damaged), "{damaged:?}");
        }
    }
}
