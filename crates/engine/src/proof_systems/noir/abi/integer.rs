//! Integers of any size that a field can hold, from numbers and from text.

use acir::{AcirField as _, FieldElement};
use zeroize::Zeroize;

use super::super::witness_format::MODULUS;

/// Most significant decimal digits of a number of 256 bits.
const DECIMAL_DIGITS_MAX: usize = 78;
/// Hexadecimal digits of a number of 256 bits.
const HEX_DIGITS_MAX: usize = 64;
const LIMBS: usize = 4;

/// An integer with a sign and up to 256 bits. It is wiped when it is dropped.
pub(super) struct Integer {
    is_negative: bool,
    /// The least significant limb first.
    magnitude: [u64; LIMBS],
}

impl Drop for Integer {
    fn drop(&mut self) {
        self.magnitude.zeroize();
    }
}

/// Why a text is not an integer of up to 256 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAnInteger {
    /// It has no digits, or something else than digits.
    Digits,
    /// It is larger than any field element.
    TooLarge,
}

impl From<u64> for Integer {
    fn from(value: u64) -> Self {
        Self { is_negative: false, magnitude: [value, 0, 0, 0] }
    }
}

impl From<i64> for Integer {
    fn from(value: i64) -> Self {
        Self { is_negative: value < 0, magnitude: [value.unsigned_abs(), 0, 0, 0] }
    }
}

impl Integer {
    /// Parses decimal digits, or hexadecimal ones after `0x`. A minus sign may come before.
    pub(super) fn parse(text: &str) -> Result<Self, NotAnInteger> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (radix, digits, digits_max) = match digits.strip_prefix("0x") {
            Some(digits) => (16, digits, HEX_DIGITS_MAX),
            None => (10, digits, DECIMAL_DIGITS_MAX),
        };
        if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
            return Err(NotAnInteger::Digits);
        }
        let significant = digits.trim_start_matches('0');
        if significant.len() > digits_max {
            return Err(NotAnInteger::TooLarge);
        }
        let mut integer = Self { is_negative, magnitude: [0; LIMBS] };
        for digit in significant.chars().filter_map(|digit| digit.to_digit(radix)) {
            integer.append(u64::from(radix), u64::from(digit))?;
        }
        Ok(integer)
    }

    /// Multiplies by the radix and adds the digit.
    fn append(&mut self, radix: u64, digit: u64) -> Result<(), NotAnInteger> {
        let mut carry = u128::from(digit);
        for limb in &mut self.magnitude {
            let product = u128::from(*limb) * u128::from(radix) + carry;
            *limb = low_half(product);
            carry = product >> 64;
        }
        if carry == 0 { Ok(()) } else { Err(NotAnInteger::TooLarge) }
    }

    pub(super) fn is_negative(&self) -> bool {
        self.is_negative && self.magnitude != [0; LIMBS]
    }

    /// The integer as a field element; `None` if its magnitude is not below the modulus. A negative one is subtracted from
    /// the modulus.
    pub(super) fn to_field(&self) -> Option<FieldElement> {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.rchunks_mut(8).zip(self.magnitude) {
            chunk.copy_from_slice(&limb.to_be_bytes());
        }
        let element = (bytes < MODULUS).then(|| FieldElement::from_be_bytes_reduce(&bytes));
        bytes.zeroize();
        element.map(|element| if self.is_negative { -element } else { element })
    }

    /// The integer as a field element, if it is one of this many bits; a negative one as its two's complement.
    pub(super) fn to_bits(&self, is_signed: bool, width: u32) -> Option<FieldElement> {
        let [low, high, ..] = self.magnitude;
        let magnitude = u128::from(high) << 64 | u128::from(low);
        let bits = if is_signed { width.checked_sub(1)? } else { width };
        // The largest magnitude, without the one more that a negative integer may have.
        let max = u128::MAX.checked_shr(128_u32.checked_sub(bits)?).unwrap_or(0);
        let is_above = self.magnitude[2..] != [0, 0];
        match (self.is_negative(), is_signed) {
            _ if is_above => None,
            (false, _) if magnitude <= max => Some(FieldElement::from(magnitude)),
            (true, true) if magnitude - 1 <= max => {
                let all = u128::MAX.checked_shr(128_u32.checked_sub(width)?).unwrap_or(0);
                Some(FieldElement::from(all - (magnitude - 1)))
            }
            (false | true, _) => None,
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the higher half is the carry")]
fn low_half(product: u128) -> u64 {
    product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const P_MINUS_1: &str = "21888242871839275222246405745257275088548364400416034343698204186575808495616";

    fn field(text: &str) -> Option<FieldElement> {
        Integer::parse(text).unwrap().to_field()
    }

    #[test]
    fn texts_are_decimal_or_hexadecimal() {
        let five = FieldElement::from(5_u32);
        for text in ["5", "0x5", "0x05", "005", "-0x5", "-5", &format!("0x{}5", "0".repeat(1000))] {
            let expected = if text.starts_with('-') { -five } else { five };
            assert_eq!(field(text), Some(expected), "{text}");
        }
        for text in [
            "", "0x", "-", "-0x", "0X5", "+5", " 5", "5 ", "5_0", "0x-5", "--5", "5.0", "1e3", "٥", "abc",
            "true",
        ] {
            assert_eq!(Integer::parse(text).err(), Some(NotAnInteger::Digits), "{text}");
        }
    }

    #[test]
    fn field_elements_are_below_the_modulus() {
        assert_eq!(field(P_MINUS_1), Some(-FieldElement::one()));
        assert_eq!(field("-1"), Some(-FieldElement::one()));
        assert_eq!(field(&P_MINUS_1.replace("616", "617")), None);
        assert_eq!(field(&format!("0x{}", "f".repeat(64))), None);
        let beyond = format!("0x1{}", "0".repeat(64));
        for text in [beyond.as_str(), &"9".repeat(78), &"1".repeat(79)] {
            assert_eq!(Integer::parse(text).err(), Some(NotAnInteger::TooLarge), "{text}");
        }
    }

    #[test]
    fn integers_have_the_bounds_of_their_width() {
        let bits = |text: &str, is_signed, width| Integer::parse(text).unwrap().to_bits(is_signed, width);
        let value = |value: u128| Some(FieldElement::from(value));
        for (text, is_signed, width, expected) in [
            ("0", false, 1, value(0)),
            ("1", false, 1, value(1)),
            ("2", false, 1, None),
            ("255", false, 8, value(255)),
            ("256", false, 8, None),
            ("-1", false, 8, None),
            ("-0", false, 8, value(0)),
            ("127", true, 8, value(127)),
            ("128", true, 8, None),
            ("-1", true, 8, value(255)),
            ("-128", true, 8, value(128)),
            ("-129", true, 8, None),
            ("-0x8000000000000000", true, 64, value(1 << 63)),
            ("0x7fffffffffffffff", true, 64, value((1 << 63) - 1)),
            ("0x8000000000000000", true, 64, None),
            ("340282366920938463463374607431768211455", false, 128, value(u128::MAX)),
            ("340282366920938463463374607431768211456", false, 128, None),
            ("-170141183460469231731687303715884105728", true, 128, value(1 << 127)),
            ("-170141183460469231731687303715884105729", true, 128, None),
            ("-1", true, 1, value(1)),
            ("1", true, 1, None),
            (P_MINUS_1, false, 64, None),
        ] {
            assert_eq!(bits(text, is_signed, width), expected, "{text} {is_signed} {width}");
        }
        assert_eq!(Integer::from(i64::MIN).to_bits(true, 64), value(1 << 63));
        assert_eq!(Integer::from(u64::MAX).to_bits(false, 64), value(u128::from(u64::MAX)));
    }
}
