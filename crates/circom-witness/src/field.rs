//! The scalar field of BN254: integers of 256 bits, without arithmetic.

use zeroize::Zeroizing;

/// Bytes of a value.
pub const FIELD_BYTES: usize = 32;

/// 64 bits each, the least significant first.
pub(crate) type Limbs = [u64; 4];

/// The field's modulus.
pub(crate) const MODULUS: Limbs =
    [0x43e1_f593_f000_0001, 0x2833_e848_79b9_7091, 0xb850_45b6_8181_585d, 0x3064_4e72_e131_a029];

/// More decimal digits than 256 bits can have.
const MAX_DECIMAL_DIGITS: usize = 78;

/// Why a text or number is not a value of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueProblem {
    NotAnInteger,
    NotBelowModulus,
}

/// Whether a value is below the modulus.
pub(crate) fn is_canonical(value: &Limbs) -> bool {
    value.iter().rev().lt(MODULUS.iter().rev())
}

/// Reads `-?[0-9]+` or `0x[0-9a-fA-F]+`. A negative value means the field's additive inverse, as in snarkjs.
pub(crate) fn parse(text: &str) -> Result<Zeroizing<Limbs>, ValueProblem> {
    if let Some(digits) = text.strip_prefix("0x") {
        return parse_hex(digits);
    }
    match text.strip_prefix('-') {
        Some(digits) => parse_decimal(digits).map(negate),
        None => parse_decimal(text),
    }
}

/// A signed number of JSON.
pub(crate) fn from_i64(value: i64) -> Zeroizing<Limbs> {
    let magnitude = Zeroizing::new([value.unsigned_abs(), 0, 0, 0]);
    if value < 0 { negate(magnitude) } else { magnitude }
}

/// An unsigned number of JSON.
pub(crate) fn from_u64(value: u64) -> Zeroizing<Limbs> {
    Zeroizing::new([value, 0, 0, 0])
}

/// The additive inverse of a value below the modulus.
fn negate(magnitude: Zeroizing<Limbs>) -> Zeroizing<Limbs> {
    if *magnitude == [0; 4] {
        return magnitude;
    }
    let mut difference = Zeroizing::new([0; 4]);
    let mut borrow = false;
    for (out, (left, right)) in difference.iter_mut().zip(MODULUS.iter().zip(magnitude.iter())) {
        let (partial, first) = left.overflowing_sub(*right);
        let (limb, second) = partial.overflowing_sub(u64::from(borrow));
        (*out, borrow) = (limb, first || second);
    }
    difference
}

fn parse_decimal(digits: &str) -> Result<Zeroizing<Limbs>, ValueProblem> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(ValueProblem::NotAnInteger);
    }
    let digits = digits.trim_start_matches('0');
    if digits.len() > MAX_DECIMAL_DIGITS {
        return Err(ValueProblem::NotBelowModulus);
    }
    from_digits(digits.bytes().map(|digit| u64::from(digit - b'0')), 10)
}

fn parse_hex(digits: &str) -> Result<Zeroizing<Limbs>, ValueProblem> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(ValueProblem::NotAnInteger);
    }
    let digits = digits.trim_start_matches('0');
    if digits.len() > 2 * FIELD_BYTES {
        return Err(ValueProblem::NotBelowModulus);
    }
    from_digits(digits.chars().filter_map(|digit| digit.to_digit(16)).map(u64::from), 16)
}

fn from_digits(digits: impl Iterator<Item = u64>, radix: u64) -> Result<Zeroizing<Limbs>, ValueProblem> {
    let mut value = Zeroizing::new([0_u64; 4]);
    for digit in digits {
        let mut carry = digit;
        for limb in value.iter_mut() {
            let wide = u128::from(*limb) * u128::from(radix) + u128::from(carry);
            (*limb, carry) = split(wide);
        }
        if carry != 0 {
            return Err(ValueProblem::NotBelowModulus);
        }
    }
    if is_canonical(&value) { Ok(value) } else { Err(ValueProblem::NotBelowModulus) }
}

/// The low and the high half.
#[expect(clippy::cast_possible_truncation, reason = "each half has 64 bits")]
fn split(wide: u128) -> (u64, u64) {
    (wide as u64, (wide >> 64) as u64)
}

/// A value from its bytes, the least significant first.
pub(crate) fn from_le_bytes(bytes: &[u8; FIELD_BYTES]) -> Limbs {
    let mut limbs = [0; 4];
    for (limb, bytes) in limbs.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_le_bytes(*bytes);
    }
    limbs
}

/// The bytes of a value, the least significant first.
pub(crate) fn to_le_bytes(value: &Limbs) -> Zeroizing<[u8; FIELD_BYTES]> {
    let mut bytes = Zeroizing::new([0; FIELD_BYTES]);
    for (bytes, limb) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(value) {
        *bytes = limb.to_le_bytes();
    }
    bytes
}

/// The value in decimal digits.
pub(crate) fn to_decimal(value: &Limbs) -> String {
    /// The largest power of ten of 64 bits.
    const CHUNK: u64 = 10_000_000_000_000_000_000;
    const CHUNK_DIGITS: usize = 19;
    let mut rest = *value;
    let mut chunks = Vec::new();
    while rest != [0; 4] {
        let mut remainder = 0_u64;
        for limb in rest.iter_mut().rev() {
            let wide = (u128::from(remainder) << 64) | u128::from(*limb);
            *limb = split(wide / u128::from(CHUNK)).0;
            remainder = split(wide % u128::from(CHUNK)).0;
        }
        chunks.push(remainder);
    }
    let Some(first) = chunks.pop() else { return "0".to_owned() };
    let rest = chunks.iter().rev().map(|chunk| format!("{chunk:0CHUNK_DIGITS$}"));
    [first.to_string()].into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULUS_TEXT: &str =
        "21888242871839275222246405745257275088548364400416034343698204186575808495617";

    #[track_caller]
    fn decimal(text: &str) -> String {
        to_decimal(&parse(text).unwrap())
    }

    #[test]
    fn integers_are_read_in_both_notations() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("007", "7"),
            ("18446744073709551616", "18446744073709551616"),
            ("0x10000000000000000", "18446744073709551616"),
            ("0xFf", "255"),
        ] {
            assert_eq!(decimal(text), expected, "{text}");
        }
        let largest = "21888242871839275222246405745257275088548364400416034343698204186575808495616";
        assert_eq!(decimal(largest), largest);
        assert_eq!(decimal("-1"), largest);
        assert_eq!(decimal(&format!("-{largest}")), "1");
        assert_eq!(to_decimal(&from_i64(-1)), largest);
        assert_eq!(to_decimal(&from_i64(i64::MIN)), decimal("-9223372036854775808"));
    }

    #[test]
    fn values_from_the_modulus_on_are_refused() {
        let beyond_256_bits = format!("0x1{}", "0".repeat(64));
        let long = "9".repeat(78);
        let hex = "0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001";
        for text in [MODULUS_TEXT, &format!("-{MODULUS_TEXT}"), hex, &beyond_256_bits, &long] {
            assert_eq!(parse(text).unwrap_err(), ValueProblem::NotBelowModulus, "{text}");
        }
        assert_eq!(parse(&"1".repeat(100_000)).unwrap_err(), ValueProblem::NotBelowModulus);
    }

    #[test]
    fn text_that_is_no_integer_is_refused() {
        for text in ["", "-", "0x", "+1", "1.0", "1e3", " 1", "0b1", "-0x1", "0X1", "1_000", "٣", "--1"] {
            assert_eq!(parse(text).unwrap_err(), ValueProblem::NotAnInteger, "{text:?}");
        }
    }

    #[test]
    fn bytes_are_little_endian_and_round_trip() {
        let value = parse("258").unwrap();
        let bytes = to_le_bytes(&value);
        assert_eq!(bytes[..3], [2, 1, 0]);
        assert_eq!(from_le_bytes(&bytes), *value);
        assert_eq!(to_decimal(&MODULUS), MODULUS_TEXT);
        assert!(!is_canonical(&MODULUS) && is_canonical(&[u64::MAX, u64::MAX, u64::MAX, 0]));
    }
}
