//! A witness in the format of snarkjs (`.wtns`, version 2).
//!
//! All integers are little-endian. The file is `wtns`, the version and the number of sections (2), then the sections,
//! each with its number (32 bits) and length (64 bits). Section 1: bytes of a value, modulus, number of values.
//! Section 2: the values, the constant 1 first, then outputs and public inputs, then the rest.

use std::fmt;

use zeroize::Zeroizing;

use crate::field::{self, FIELD_BYTES, Limbs, MODULUS};

/// Bytes before the first value.
const HEADER_BYTES: usize = 12 + 12 + 4 + FIELD_BYTES + 4 + 12;

/// The values of all signals of a circuit. The memory is overwritten when this is dropped.
pub struct Witness {
    file: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Witness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Witness").field("values", &self.len()).finish_non_exhaustive()
    }
}

impl Witness {
    /// A witness without values, with memory for `count` of them.
    pub(crate) fn with_capacity(count: u32) -> Self {
        let values_bytes = u64::from(count) * FIELD_BYTES as u64;
        let mut file = Zeroizing::new(Vec::with_capacity(HEADER_BYTES + count as usize * FIELD_BYTES));
        file.extend_from_slice(b"wtns");
        for word in [2, 2, 1] {
            file.extend_from_slice(&u32::to_le_bytes(word));
        }
        file.extend_from_slice(&u64::to_le_bytes(4 + FIELD_BYTES as u64 + 4));
        file.extend_from_slice(&u32::to_le_bytes(32));
        file.extend_from_slice(field::to_le_bytes(&MODULUS).as_slice());
        file.extend_from_slice(&count.to_le_bytes());
        file.extend_from_slice(&u32::to_le_bytes(2));
        file.extend_from_slice(&values_bytes.to_le_bytes());
        Self { file }
    }

    /// Appends a value. False: it is not below the modulus.
    pub(crate) fn push(&mut self, bytes: &[u8; FIELD_BYTES]) -> bool {
        let is_canonical = field::is_canonical(&Zeroizing::new(field::from_le_bytes(bytes)));
        self.file.extend_from_slice(bytes);
        is_canonical
    }

    /// The witness as the bytes of a `.wtns` file, the same bytes as those from snarkjs.
    #[must_use]
    pub fn wtns(&self) -> &[u8] {
        &self.file
    }

    /// The bytes of a `.wtns` file, without a copy.
    #[must_use]
    pub fn into_wtns(self) -> Zeroizing<Vec<u8>> {
        self.file
    }

    /// The number of values. The first is the constant 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values().len()
    }

    /// Whether there is no value. A witness from a circuit has at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The public signals in decimal digits: the outputs, then the public inputs. Their number is in the circuit's
    /// `.r1cs` and in its key. `None`: the witness has fewer values.
    #[must_use]
    pub fn public_signals(&self, count: usize) -> Option<Vec<String>> {
        let public = self.values().get(1..=count)?;
        Some(public.iter().map(|bytes| field::to_decimal(&limbs(bytes))).collect())
    }

    fn values(&self) -> &[[u8; FIELD_BYTES]] {
        self.file[HEADER_BYTES..].as_chunks().0
    }
}

fn limbs(bytes: &[u8; FIELD_BYTES]) -> Limbs {
    field::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_the_header() {
        let mut witness = Witness::with_capacity(2);
        assert!(witness.push(&field::to_le_bytes(&[1, 0, 0, 0])));
        assert!(witness.push(&field::to_le_bytes(&[7, 0, 0, 0])));
        assert_eq!(witness.wtns().len(), 76 + 64);
        assert_eq!(witness.wtns()[76], 1);
        assert_eq!(witness.len(), 2);
        assert_eq!(witness.public_signals(1).unwrap(), ["7"]);
        assert_eq!(witness.public_signals(2), None);
        assert_eq!(format!("{witness:?}"), "Witness { values: 2, .. }");
    }

    #[test]
    fn a_value_beyond_the_modulus_is_noticed() {
        assert!(!Witness::with_capacity(1).push(&field::to_le_bytes(&MODULUS)));
    }
}
