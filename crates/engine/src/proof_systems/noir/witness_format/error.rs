//! Errors of a decompressed witness. They contain positions, lengths and indices, but never a value.

use std::{fmt, io, sync::LazyLock};

use edgeprove_protocol::{HasProblemType, ProblemType};
use edgeprove_prover::barretenberg::version::{BB_VERSION, NOIR_VERSION};
use rmp::Marker;

/// A decompressed upload is not a witness of the circuit.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The format is not the one that bb accepts.
    #[error("the first decompressed byte {found}")]
    Format {
        /// The format of the first byte.
        found: Found,
    },
    /// The bytes violate the format.
    #[error("{what}, at byte {at} of the decompressed witness")]
    Malformed {
        /// What is wrong.
        what: Fault,
        /// Where, in decompressed bytes from 0.
        at: u64,
    },
    /// The witness is well-formed, but its largest index is not the circuit's.
    #[error(
        "{}, but {}",
        .got.map_or_else(|| "it has no values".to_owned(), |got| format!("it has a value for witness {got}")),
        .want.map_or_else(
            || "this circuit has no witnesses".to_owned(),
            |want| format!("the last witness of this circuit is number {want}"),
        )
    )]
    OtherCircuit {
        /// The witness's largest index, or the first one above the circuit's. `None` if the witness has no values.
        got: Option<u32>,
        /// The circuit's largest index; `None` if it has no witnesses.
        want: Option<u32>,
    },
    /// The spooled file could not be read.
    #[error("the spooled witness could not be read")]
    Read(#[source] io::Error),
}

impl HasProblemType for StackError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Format { .. } | Self::Malformed { .. } => ProblemType::WitnessMalformed,
            Self::OtherCircuit { .. } => ProblemType::WitnessOfAnotherCircuit,
            Self::Read(_) => ProblemType::WitnessPreparationFailed,
        }
    }
}

/// The format that a first byte other than that of compact `MessagePack` suggests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// bincode of an older Noir.
    Bincode,
    /// `MessagePack` with names.
    Named,
    /// `MessagePack` with tags.
    Tagged,
    /// JSON, TOML or any other text.
    Text,
    /// A gzip stream within the gzip stream.
    Gzip,
    /// An unknown format.
    Other(u8),
}

impl Found {
    pub(super) fn of(byte: u8) -> Self {
        match byte {
            0 | 1 => Self::Bincode,
            2 => Self::Named,
            4 => Self::Tagged,
            0x1f => Self::Gzip,
            b'\t' | b'\n' | b'\r' | b' '..=b'~' => Self::Text,
            other => Self::Other(other),
        }
    }
}

static USE_THIS_NOIR: LazyLock<String> = LazyLock::new(|| {
    format!(
        "generate the witness with Noir {NOIR_VERSION}, without NOIR_SERIALIZATION_FORMAT in the environment"
    )
});
static NOT_FOR_BB: LazyLock<String> = LazyLock::new(|| format!("which bb {BB_VERSION} does not accept"));

impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bincode => {
                write!(out, "belongs to a witness of an older Noir (bincode): {}", *USE_THIS_NOIR)
            }
            Self::Named => {
                write!(out, "belongs to Noir's named msgpack, {}: {}", *NOT_FOR_BB, *USE_THIS_NOIR)
            }
            Self::Tagged => {
                write!(out, "belongs to Noir's tagged msgpack, {}: {}", *NOT_FOR_BB, *USE_THIS_NOIR)
            }
            Self::Text => out.write_str("is text: it may be the inputs or a circuit, but not a witness"),
            Self::Gzip => out.write_str("begins another gzip stream: the witness was compressed twice"),
            Self::Other(byte) => {
                write!(out, "is {byte:#04x}, and a witness begins with 0x03: {}", *USE_THIS_NOIR)
            }
        }
    }
}

/// How a decompressed witness violates its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The bytes end too early.
    EndsWithin {
        /// The part that is incomplete.
        what: &'static str,
    },
    /// An item has another kind than expected.
    Kind {
        /// The item.
        what: &'static str,
        /// The expected kind.
        want: &'static str,
        /// The kind that was found.
        got: &'static str,
    },
    /// A value is text, as older releases of Noir wrote field elements.
    TextValue {
        /// The index of the value.
        index: u32,
    },
    /// An index does not fit its 32 bits.
    IndexOutOfRange {
        /// The item.
        what: &'static str,
    },
    /// An array has another number of items.
    Count {
        /// Which array.
        what: &'static str,
        /// The expected number of items.
        want: u32,
        /// The number of items in the file.
        got: u32,
    },
    /// The witness belongs to a function that is not `main`.
    OtherFunction {
        /// Its number in the program.
        function: u32,
    },
    /// Indices repeat or go down.
    NotAscending {
        /// The index.
        index: u32,
        /// The one before it.
        last: u32,
    },
    /// A value does not have 32 bytes.
    ValueLength {
        /// The index of the value.
        index: u32,
        /// Its length.
        bytes: u32,
    },
    /// A value is not an element of the field.
    BeyondModulus {
        /// The index of the value.
        index: u32,
    },
    /// There are bytes after the end.
    BytesAfterEnd,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndsWithin { what } => write!(out, "it ends within {what}"),
            Self::Kind { what, want, got } => write!(out, "{what} is {got} instead of {want}"),
            Self::TextValue { index } => {
                write!(out, "the value of witness {index} is text, as an older Noir wrote it")
            }
            Self::IndexOutOfRange { what } => write!(out, "{what} does not fit 32 bits"),
            Self::Count { what, want, got } => write!(out, "{what} has {got} items instead of {want}"),
            Self::OtherFunction { function } => {
                write!(out, "its witness is that of function {function} instead of main")
            }
            Self::NotAscending { index, last } => write!(out, "witness {index} follows witness {last}"),
            Self::ValueLength { index, bytes } => {
                write!(out, "the value of witness {index} has {bytes} bytes instead of 32")
            }
            Self::BeyondModulus { index } => {
                write!(out, "the value of witness {index} is not below the order of BN254's scalar field")
            }
            Self::BytesAfterEnd => out.write_str("there are bytes after its end"),
        }
    }
}

/// The kind of a marker, without its value: a small number is part of its marker.
pub(super) fn kind(marker: Marker) -> &'static str {
    match marker {
        Marker::FixPos(_) | Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => "a number",
        Marker::FixNeg(_) | Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => "a signed number",
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => "a map",
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => "an array",
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => "text",
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => "bytes",
        Marker::Null => "nil",
        Marker::True | Marker::False => "a truth value",
        Marker::F32 | Marker::F64 => "a floating-point number",
        Marker::FixExt1
        | Marker::FixExt2
        | Marker::FixExt4
        | Marker::FixExt8
        | Marker::FixExt16
        | Marker::Ext8
        | Marker::Ext16
        | Marker::Ext32 => "an extension",
        Marker::Reserved => "a byte that msgpack reserves",
    }
}
