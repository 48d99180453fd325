//! Values as bytes and as digits, and random values.
//!
//! Files hold values as 32 little-endian bytes: canonical in `.r1cs` and `.wtns`, in Montgomery form for the
//! coordinates of points in `.zkey`, and in Montgomery form twice for the coefficients there.

use std::str::FromStr as _;

use ark_bn254::{Fq, Fr};
use ark_ff::{BigInt, BigInteger as _, PrimeField};
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of a value.
pub(crate) const FIELD_BYTES: usize = 32;

/// The decimal digits of the largest 256-bit integer.
const MAX_DECIMAL_DIGITS: usize = 78;

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct RandomnessError(#[source] getrandom::Error);

fn limbs(bytes: &[u8; FIELD_BYTES]) -> BigInt<4> {
    let mut limbs = [0; 4];
    for (limb, bytes) in limbs.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_le_bytes(*bytes);
    }
    BigInt::new(limbs)
}

fn bytes(limbs: &BigInt<4>) -> [u8; FIELD_BYTES] {
    let mut bytes = [0; FIELD_BYTES];
    for (bytes, limb) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(limbs.0) {
        *bytes = limb.to_le_bytes();
    }
    bytes
}

/// A canonical value. `None`: it is not below the modulus.
pub(crate) fn from_canonical<F: PrimeField<BigInt = BigInt<4>>>(bytes: &[u8; FIELD_BYTES]) -> Option<F> {
    F::from_bigint(limbs(bytes))
}

/// The canonical bytes of a value.
pub(crate) fn to_canonical<F: PrimeField<BigInt = BigInt<4>>>(value: &F) -> [u8; FIELD_BYTES] {
    bytes(&value.into_bigint())
}

/// The canonical bytes of a value, the most significant first, as Ethereum has them.
pub(crate) fn to_word<F: PrimeField<BigInt = BigInt<4>>>(value: &F) -> [u8; FIELD_BYTES] {
    let mut word = to_canonical(value);
    word.reverse();
    word
}

/// A value from its bytes, the most significant first. `None`: it is not below the modulus.
pub(crate) fn from_word<F: PrimeField<BigInt = BigInt<4>>>(word: &[u8; FIELD_BYTES]) -> Option<F> {
    let mut bytes = *word;
    bytes.reverse();
    from_canonical(&bytes)
}

/// A coordinate in Montgomery form. `None`: it is not below the modulus.
pub(crate) fn coordinate_from_montgomery(bytes: &[u8; FIELD_BYTES]) -> Option<Fq> {
    let limbs = limbs(bytes);
    (limbs < Fq::MODULUS).then(|| Fq::new_unchecked(limbs))
}

/// The bytes of a coordinate in Montgomery form.
pub(crate) fn coordinate_to_montgomery(value: &Fq) -> [u8; FIELD_BYTES] {
    bytes(&value.0)
}

/// A coefficient in Montgomery form twice. `None`: it is not below the modulus.
pub(crate) fn coefficient_from_zkey(bytes: &[u8; FIELD_BYTES]) -> Option<Fr> {
    let limbs = limbs(bytes);
    // `into_bigint` takes one Montgomery factor away, and `new_unchecked` reads the rest as Montgomery form.
    (limbs < Fr::MODULUS).then(|| Fr::new_unchecked(Fr::new_unchecked(limbs).into_bigint()))
}

/// The bytes of a coefficient in Montgomery form twice.
pub(crate) fn coefficient_to_zkey(value: &Fr) -> [u8; FIELD_BYTES] {
    // `Fr::new` adds one Montgomery factor to the one of the value itself.
    bytes(&Fr::new(value.0).0)
}

/// A value in decimal digits. `None`: not digits only, or not below the modulus.
pub(crate) fn from_decimal<F: PrimeField<BigInt = BigInt<4>>>(text: &str) -> Option<F> {
    let is_number = !text.is_empty()
        && text.len() <= MAX_DECIMAL_DIGITS
        && text.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number {
        return None;
    }
    F::from_bigint(BigInt::from_str(text).ok()?)
}

/// A value in decimal digits.
pub(crate) fn to_decimal<F: PrimeField<BigInt = BigInt<4>>>(value: &F) -> String {
    value.into_bigint().to_string()
}

/// A uniformly random value from the operating system.
pub(crate) fn random() -> Result<Zeroizing<Fr>, RandomnessError> {
    // Twice the length of a value, so that the reduction favours no value.
    let mut wide = Zeroizing::new([0_u8; 2 * FIELD_BYTES]);
    fill_random(wide.as_mut_slice())?;
    let mut value = Fr::from_le_bytes_mod_order(wide.as_slice());
    let random = Zeroizing::new(value);
    value.zeroize();
    Ok(random)
}

/// Fills bytes with random ones from the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), RandomnessError> {
    getrandom::fill(bytes).map_err(RandomnessError)
}

/// The modulus of the scalar field, the least significant byte first, as the headers of files have it.
#[must_use]
pub fn scalar_modulus() -> [u8; FIELD_BYTES] {
    modulus_bytes::<Fr>()
}

/// Whether a value, the least significant byte first, is below the modulus of the scalar field.
#[must_use]
pub fn is_canonical(bytes: &[u8; FIELD_BYTES]) -> bool {
    limbs(bytes) < Fr::MODULUS
}

/// The modulus of a field as the headers of files have it.
pub(crate) fn modulus_bytes<F: PrimeField<BigInt = BigInt<4>>>() -> [u8; FIELD_BYTES] {
    debug_assert_eq!(F::MODULUS.to_bytes_le().len(), FIELD_BYTES);
    bytes(&F::MODULUS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_round_trips() {
        let value = Fr::from(123_456_789_u64);
        assert_eq!(from_canonical::<Fr>(&to_canonical(&value)), Some(value));
        assert_eq!(coefficient_from_zkey(&coefficient_to_zkey(&value)), Some(value));
        assert_eq!(from_decimal::<Fr>(&to_decimal(&value)), Some(value));
        let coordinate = Fq::from(-5_i64);
        assert_eq!(coordinate_from_montgomery(&coordinate_to_montgomery(&coordinate)), Some(coordinate));
        assert_eq!(to_word(&Fr::from(258_u64))[30..], [1, 2]);
        assert_eq!(from_word::<Fr>(&to_word(&value)), Some(value));
    }

    #[test]
    fn values_from_the_modulus_on_are_refused() {
        let (modulus, largest) = (modulus_bytes::<Fr>(), [0xff; FIELD_BYTES]);
        assert_eq!(scalar_modulus(), modulus);
        let mut below = modulus;
        below[0] -= 1;
        assert!(is_canonical(&below) && is_canonical(&[0; FIELD_BYTES]));
        for bytes in [modulus, largest] {
            assert!(!is_canonical(&bytes));
            assert_eq!(from_canonical::<Fr>(&bytes), None);
            assert_eq!(coefficient_from_zkey(&bytes), None);
        }
        assert_eq!(coordinate_from_montgomery(&modulus_bytes::<Fq>()), None);
        let modulus = Fr::MODULUS.to_string();
        for text in ["", "-1", "+1", "0x1", "1 ", "٣", modulus.as_str(), &"9".repeat(78), &"1".repeat(1000)]
        {
            assert_eq!(from_decimal::<Fr>(text), None, "{text}");
        }
    }

    #[test]
    fn random_values_differ() {
        assert_ne!(*random().unwrap(), *random().unwrap());
    }
}
