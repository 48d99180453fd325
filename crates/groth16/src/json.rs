//! Points and values in snarkjs's JSON: decimal digits in strings, points with a third coordinate of 1.

use ark_bn254::{Fq, Fq2, Fq12, Fr, G1Affine, G2Affine};
use ark_ec::AffineRepr as _;
use ark_ff::{One as _, Zero as _};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::{curve::PointBytes as _, field};

/// JSON that is not of the expected shape. What these files contain is public, so that messages may quote it.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or not of the shape that snarkjs writes.
    #[error("this is not {what} as snarkjs writes it")]
    Shape {
        /// What was read.
        what: &'static str,
        /// Where it differs.
        #[source]
        source: serde_json::Error,
    },
    /// Another proof system or another curve.
    #[error("{what} is not one of Groth16 over BN254 (`bn128`)")]
    OtherProtocol {
        /// What was read.
        what: &'static str,
    },
    /// A value has other characters than digits, or is not below the modulus.
    #[error("{name} is not an integer below the field's modulus in decimal digits")]
    InvalidValue {
        /// The name of the field in the JSON.
        name: &'static str,
    },
    /// A point is not on the curve, or it is the point at infinity.
    #[error("{name} is not a valid point of the curve")]
    InvalidPoint {
        /// The name of the field in the JSON.
        name: &'static str,
    },
    /// The number of points does not fit the number of public signals.
    #[error("nPublic is {public}, but IC has {points} points; one more than nPublic is needed")]
    WrongCount {
        /// `nPublic`.
        public: usize,
        /// The number of points.
        points: usize,
    },
}

pub(crate) const PROTOCOL: &str = "groth16";
pub(crate) const CURVE: &str = "bn128";

pub(crate) type G1Json = [String; 3];
pub(crate) type Fq2Json = [String; 2];
pub(crate) type G2Json = [Fq2Json; 3];

/// Reads JSON.
pub(crate) fn read<T: DeserializeOwned>(what: &'static str, json: &[u8]) -> Result<T, JsonError> {
    serde_json::from_slice(json).map_err(|source| JsonError::Shape { what, source })
}

/// Writes JSON with the line breaks of snarkjs's command line.
pub(crate) fn write(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b" "));
    // A `Vec` accepts everything, and the types here have strings and lists only.
    let result = value.serialize(&mut serializer);
    debug_assert!(result.is_ok());
    String::from_utf8(bytes).unwrap_or_default()
}

pub(crate) fn expect_protocol(what: &'static str, protocol: &str, curve: &str) -> Result<(), JsonError> {
    if protocol == PROTOCOL && curve == CURVE { Ok(()) } else { Err(JsonError::OtherProtocol { what }) }
}

pub(crate) fn signal_from_json(text: &str) -> Result<Fr, JsonError> {
    field::from_decimal(text).ok_or(JsonError::InvalidValue { name: "a public signal" })
}

pub(crate) fn g1_to_json(point: &G1Affine) -> G1Json {
    match point.xy() {
        Some((x, y)) => [field::to_decimal(&x), field::to_decimal(&y), "1".to_owned()],
        None => ["0", "1", "0"].map(str::to_owned),
    }
}

pub(crate) fn g2_to_json(point: &G2Affine) -> G2Json {
    let (x, y, z) = point.xy().map_or((Fq2::zero(), Fq2::one(), Fq2::zero()), |(x, y)| (x, y, Fq2::one()));
    [fq2_to_json(&x), fq2_to_json(&y), fq2_to_json(&z)]
}

pub(crate) fn g1_from_json(name: &'static str, [x, y, z]: &G1Json) -> Result<G1Affine, JsonError> {
    let point = G1Affine::new_unchecked(coordinate(name, x)?, coordinate(name, y)?);
    let is_valid = z == "1" && !point.is_zero() && point.is_valid();
    if is_valid { Ok(point) } else { Err(JsonError::InvalidPoint { name }) }
}

pub(crate) fn g2_from_json(name: &'static str, [x, y, z]: &G2Json) -> Result<G2Affine, JsonError> {
    let pair = |[c0, c1]: &Fq2Json| Ok(Fq2::new(coordinate(name, c0)?, coordinate(name, c1)?));
    let point = G2Affine::new_unchecked(pair(x)?, pair(y)?);
    let is_valid = *z == ["1", "0"] && !point.is_zero() && point.is_valid();
    if is_valid { Ok(point) } else { Err(JsonError::InvalidPoint { name }) }
}

fn coordinate(name: &'static str, text: &str) -> Result<Fq, JsonError> {
    field::from_decimal(text).ok_or(JsonError::InvalidValue { name })
}

fn fq2_to_json(value: &Fq2) -> Fq2Json {
    [field::to_decimal(&value.c0), field::to_decimal(&value.c1)]
}

pub(crate) fn fq12_to_json(value: &Fq12) -> [[Fq2Json; 3]; 2] {
    [&value.c0, &value.c1].map(|half| [&half.c0, &half.c1, &half.c2].map(fq2_to_json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_round_trip() {
        let (g1, g2) = (G1Affine::generator(), G2Affine::generator());
        assert_eq!(g1_to_json(&g1), ["1", "2", "1"]);
        assert_eq!(g1_from_json("a", &g1_to_json(&g1)).unwrap(), g1);
        assert_eq!(g2_from_json("b", &g2_to_json(&g2)).unwrap(), g2);
    }

    #[test]
    fn invalid_points_are_refused() {
        let error = |[x, y, z]: [&str; 3]| {
            g1_from_json("pi_a", &[x, y, z].map(str::to_owned)).unwrap_err().to_string()
        };
        for point in [["1", "3", "1"], ["1", "2", "2"], ["0", "1", "0"], ["0", "0", "1"]] {
            assert_eq!(error(point), "pi_a is not a valid point of the curve");
        }
        let modulus = "21888242871839275222246405745257275088696311157297823662689037894645226208583";
        for x in [modulus, "x", "-1", ""] {
            let expected = "pi_a is not an integer below the field's modulus in decimal digits";
            assert_eq!(error([x, "2", "1"]), expected);
        }
        let infinity = g2_to_json(&G2Affine::zero());
        assert!(g2_from_json("pi_b", &infinity).is_err());
    }
}
