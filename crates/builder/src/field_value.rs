//! Values of BN254's scalar field as texts in decimal or hexadecimal digits.

/// The field's modulus, the least significant limb first.
const MODULUS: [u64; 4] =
    [0x43e1_f593_f000_0001, 0x2833_e848_79b9_7091, 0xb850_45b6_8181_585d, 0x3064_4e72_e131_a029];

/// A value, whatever text it was written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldValue([u64; 4]);

impl FieldValue {
    /// Reads decimal digits, or hexadecimal ones after `0x`; after `-` it is the value below zero. `None`: another text, or a
    /// number that is not below the modulus.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (base, digits) = match digits.strip_prefix("0x") {
            Some(digits) => (16, digits),
            None => (10, digits),
        };
        if digits.is_empty() {
            return None;
        }
        let mut limbs = [0; 4];
        for digit in digits.chars() {
            let mut carry = u128::from(digit.to_digit(base)?);
            for limb in &mut limbs {
                let sum = u128::from(*limb) * u128::from(base) + carry;
                (*limb, carry) = split(sum);
            }
            if carry > 0 {
                return None;
            }
        }
        let is_below = limbs.iter().rev().lt(MODULUS.iter().rev());
        is_below.then_some(if is_negative && limbs != [0; 4] { Self(subtract(limbs)) } else { Self(limbs) })
    }

    /// 0 or 1.
    pub(crate) fn of_bool(value: bool) -> Self {
        Self([value.into(), 0, 0, 0])
    }

    /// Hexadecimal digits after `0x`, for people.
    pub(crate) fn to_hex(self) -> String {
        let [a, b, c, d] = self.0;
        let digits = format!("{d:016x}{c:016x}{b:016x}{a:016x}");
        let digits = digits.trim_start_matches('0');
        format!("0x{}", if digits.is_empty() { "0" } else { digits })
    }
}

/// The lower limb, and what is above it.
#[expect(clippy::cast_possible_truncation, reason = "the rest is the second part")]
fn split(sum: u128) -> (u64, u128) {
    (sum as u64, sum >> 64)
}

/// The modulus minus a value.
fn subtract(limbs: [u64; 4]) -> [u64; 4] {
    let mut borrow = false;
    let mut difference = MODULUS;
    for (limb, subtrahend) in difference.iter_mut().zip(limbs) {
        let (first, below) = limb.overflowing_sub(subtrahend);
        let (second, below_again) = first.overflowing_sub(borrow.into());
        (*limb, borrow) = (second, below || below_again);
    }
    difference
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_one_value_are_equal() {
        let value = |text: &str| FieldValue::parse(text).unwrap();
        for (one, other) in [
            ("7", "0x0007"),
            ("255", "0xfF"),
            ("0", "-0"),
            ("18446744073709551616", "0x10000000000000000"),
            ("-1", "21888242871839275222246405745257275088548364400416034343698204186575808495616"),
        ] {
            assert_eq!(value(one), value(other), "{one}");
        }
        assert_ne!(value("7"), value("8"));
        assert_eq!(FieldValue::of_bool(true), value("1"));
        assert_eq!(value("4660").to_hex(), "0x1234");
        assert_eq!(value("0").to_hex(), "0x0");
    }

    #[test]
    fn other_texts_are_no_values() {
        let modulus = "21888242871839275222246405745257275088548364400416034343698204186575808495617";
        let long = "9".repeat(100);
        for text in ["", "-", "0x", "1.5", "ten", "0xg", "a", "--1", modulus, long.as_str()] {
            assert_eq!(FieldValue::parse(text), None, "{text}");
        }
    }
}
