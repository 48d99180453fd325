//! The ABI of a compiled circuit: the names and types of its parameters, and the messages of its assertions.
//!
//! [`Abi::flatten`] checks JSON inputs against it and returns one field element for each parameter witness, in the order of
//! the witness indices. The rules are those of `noir_js`, except that nothing superfluous is ignored:
//!
//! | type | JSON |
//! |---|---|
//! | `Field` | an integer, or a string of decimal or `0x` digits; below the modulus. A negative number is subtracted from it |
//! | `u8` to `u128`, `i8` to `i64` | the same, within the bounds of the type; a string may be negative for signed types |
//! | `bool` | `true`, `false`, or 0 or 1 as an integer |
//! | `str<N>` | a string of N bytes in UTF-8 |
//! | array, tuple | an array of as many elements |
//! | struct | an object with exactly its fields |
//!
//! JSON numbers are exact: a fraction, an exponent or more than 64 bits is refused, because parsers round them.

mod integer;
mod reader;

use std::{collections::BTreeMap, fmt};

use acir::FieldElement;
use serde::Deserialize;
use serde_json::Value;

use crate::proof_systems::{
    CircuitInput,
    inputs::{InputDocument, InputError, listed},
};

/// Widest integer of Noir, in bits.
const WIDTH_MAX: u32 = 128;

/// The parameters of a circuit, in the order of its witness indices.
#[derive(Debug)]
pub struct Abi {
    parameters: Vec<Parameter>,
    /// The inputs as the file describes them.
    description: Vec<CircuitInput>,
    /// The messages of assertions by selector, as far as they are fixed texts.
    messages: BTreeMap<u64, String>,
    fields: usize,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    kind: Type,
    is_public: bool,
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Type {
    Field,
    Boolean,
    Integer {
        sign: Sign,
        width: u32,
    },
    String {
        length: u32,
    },
    Array {
        length: u32,
        #[serde(rename = "type")]
        element: Box<Type>,
    },
    Tuple {
        fields: Vec<Type>,
    },
    Struct {
        fields: Vec<StructField>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sign {
    Unsigned,
    Signed,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct StructField {
    name: String,
    #[serde(rename = "type")]
    kind: Type,
}

/// Why a file's ABI cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AbiError {
    /// The file has no ABI.
    #[error("its file has no `abi`")]
    Missing,
    /// The ABI has types that this server does not know.
    #[error("the `abi` of its file has types that this server does not know")]
    Unknown,
    /// The ABI has another number of values than the circuit has parameters.
    #[error("the `abi` of its file does not fit its bytecode")]
    OfAnotherCircuit,
}

#[derive(Deserialize)]
struct RawAbi {
    parameters: Vec<RawParameter>,
    #[serde(default)]
    error_types: BTreeMap<String, ErrorType>,
}

#[derive(Deserialize)]
struct RawParameter {
    name: String,
    #[serde(rename = "type")]
    kind: Value,
    visibility: String,
}

#[derive(Deserialize)]
#[serde(tag = "error_kind", rename_all = "lowercase")]
enum ErrorType {
    String {
        string: String,
    },
    #[serde(other)]
    Dynamic,
}

impl Abi {
    /// Reads the member `abi` of a circuit's file, for a circuit with so many parameter witnesses.
    pub fn read(abi: Option<&Value>, parameter_witnesses: usize) -> Result<Self, AbiError> {
        let raw = RawAbi::deserialize(abi.ok_or(AbiError::Missing)?).map_err(|_| AbiError::Unknown)?;
        let (mut parameters, mut description) = (Vec::new(), Vec::new());
        let mut fields = 0_usize;
        for RawParameter { name, kind: raw, visibility } in raw.parameters {
            let kind = Type::deserialize(&raw).map_err(|_| AbiError::Unknown)?;
            let size = kind.checked_size().ok_or(AbiError::Unknown)?;
            fields = fields.checked_add(size).ok_or(AbiError::OfAnotherCircuit)?;
            let is_public = visibility == "public";
            parameters.push(Parameter { name: name.clone(), kind, is_public });
            description.push(CircuitInput { name, kind: raw, visibility });
        }
        if fields != parameter_witnesses {
            return Err(AbiError::OfAnotherCircuit);
        }
        let messages = raw.error_types.into_iter().filter_map(|(selector, kind)| match kind {
            ErrorType::String { string } => Some((selector.parse().ok()?, string)),
            ErrorType::Dynamic => None,
        });
        Ok(Self { parameters, description, messages: messages.collect(), fields })
    }

    /// The inputs as the file describes them.
    #[must_use]
    pub fn description(&self) -> &[CircuitInput] {
        &self.description
    }

    /// The message of an assertion, if it is a fixed text. Other messages are made from values.
    #[must_use]
    pub fn message(&self, selector: u64) -> Option<&str> {
        self.messages.get(&selector).map(String::as_str)
    }

    /// Checks inputs, and returns their values in the order of the witness indices.
    pub fn flatten(&self, inputs: &InputDocument) -> Result<Flattened, InputError> {
        reader::read(self, inputs)
    }
}

/// The values of parameters, in the order of their witness indices. They are overwritten when this is dropped.
pub struct Flattened(Vec<FieldElement>);

impl Flattened {
    fn zeros(count: usize) -> Self {
        Self(vec![FieldElement::default(); count])
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &[FieldElement] {
        &self.0
    }
}

impl Drop for Flattened {
    fn drop(&mut self) {
        self.0.fill(FieldElement::default());
        // Otherwise the compiler could leave out writes to memory that is freed next.
        std::hint::black_box(&self.0);
    }
}

impl Type {
    /// The number of field elements; `None` if there are more than an address can count, or the type is none of Noir.
    fn checked_size(&self) -> Option<usize> {
        match self {
            Self::Field | Self::Boolean => Some(1),
            Self::Integer { sign: _, width } => (1..=WIDTH_MAX).contains(width).then_some(1),
            Self::String { length } => usize::try_from(*length).ok(),
            Self::Array { length, element } => {
                element.checked_size()?.checked_mul(usize::try_from(*length).ok()?)
            }
            Self::Tuple { fields } => sum(fields.iter()),
            Self::Struct { fields } => sum(fields.iter().map(|field| &field.kind)),
        }
    }

    /// The number of field elements of a type whose size was checked.
    fn size(&self) -> usize {
        self.checked_size().unwrap_or(0)
    }
}

fn sum<'a>(mut types: impl Iterator<Item = &'a Type>) -> Option<usize> {
    types.try_fold(0_usize, |sum, kind| sum.checked_add(kind.checked_size()?))
}

/// What an input of the type must be, for error messages.
impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field => out.write_str("a field element (an integer below the modulus)"),
            Self::Boolean => out.write_str("a boolean"),
            Self::Integer { sign: Sign::Unsigned, width } => {
                let max = u128::MAX.checked_shr(WIDTH_MAX.saturating_sub(*width)).unwrap_or(0);
                write!(out, "a u{width} (an integer from 0 to {max})")
            }
            Self::Integer { sign: Sign::Signed, width } => {
                let max = i128::MAX.checked_shr(WIDTH_MAX.saturating_sub(*width)).unwrap_or(0);
                write!(out, "an i{width} (an integer from {} to {max})", -max - 1)
            }
            Self::String { length } => write!(out, "a string of {length} bytes in UTF-8"),
            Self::Array { length, .. } => write!(out, "an array of {length} elements"),
            Self::Tuple { fields } => write!(out, "an array of {} elements, for a tuple", fields.len()),
            Self::Struct { fields } => {
                let names = listed(fields.iter().map(|field| field.name.as_str()));
                write!(out, "an object with the fields {names}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
