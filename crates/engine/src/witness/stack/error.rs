//! What can be wrong with an inflated witness. Positions, lengths and indices are told; values never are.

use edgeprove_protocol::{HasProblemType, ProblemType};
use std::{fmt, io, sync::LazyLock};

use edgeprove_prover::barretenberg::version::{BB_VERSION, NOIR_VERSION};
use rmp::Marker;

/// An inflated upload is not a witness of the circuit.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// It is not in the one format that bb takes.
    #[error("the first inflated byte {found}")]
    Format {
        /// What the first byte tells.
        found: Found,
    },
    /// It breaks the format it announces.
    #[error("{what}, at byte {at} of the inflated witness")]
    Malformed {
        /// What is wrong.
        what: Fault,
        /// Where, counted in inflated bytes from 0.
        at: u64,
    },
    /// It is a sound witness, but its largest index is not the circuit's.
    #[error(
        "{}, but the last witness of this circuit is number {want}",
        .got.map_or_else(|| "it has no values".to_owned(), |got| format!("it has a value for witness {got}"))
    )]
    OtherCircuit {
        /// Its largest index, or the first one found above the circuit's. `None` if it has no values at all.
        got: Option<u32>,
        /// The circuit's largest index.
        want: u32,
    },
    /// The spooled file could not be read.
    #[error("the spooled witness could not be read")]
    Read(#[source] io::Error),
}

/// What a first byte other than that of the compact format tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Noir before formats had a byte of their own, or its bincode since.
    Bincode,
    /// `MessagePack` with names.
    Named,
    /// `MessagePack` with tags.
    Tagged,
    /// JSON, TOML or any other text.
    Text,
    /// A gzip stream within the gzip stream.
    Gzip,
    /// None of these.
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

static ANEW: LazyLock<String> = LazyLock::new(|| {
    format!(
        "make the witness again with Noir {NOIR_VERSION}, without NOIR_SERIALIZATION_FORMAT in the environment"
    )
});
static NOT_FOR_BB: LazyLock<String> = LazyLock::new(|| format!("which bb {BB_VERSION} does not accept"));

impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bincode => write!(out, "is that of a witness from an older Noir (bincode): {}", *ANEW),
            Self::Named => write!(out, "is that of Noir's named msgpack, {}: {}", *NOT_FOR_BB, *ANEW),
            Self::Tagged => write!(out, "is that of Noir's tagged msgpack, {}: {}", *NOT_FOR_BB, *ANEW),
            Self::Text => out.write_str("is text: this is no witness but perhaps its inputs or a circuit"),
            Self::Gzip => out.write_str("is that of another gzip stream: the witness was compressed twice"),
            Self::Other(byte) => write!(out, "is {byte:#04x}, and that of a witness is 0x03: {}", *ANEW),
        }
    }
}

/// How an inflated witness breaks its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The bytes end too early.
    EndsWithin {
        /// Inside of what.
        what: &'static str,
    },
    /// Something of another kind stands there.
    Kind {
        /// What is read.
        what: &'static str,
        /// What it should be.
        want: &'static str,
        /// What stands there.
        got: &'static str,
    },
    /// Noir wrote field elements as text once.
    TextValue {
        /// The witness it belongs to.
        index: u32,
    },
    /// An index does not fit its 32 bits.
    IndexOutOfRange {
        /// What is read.
        what: &'static str,
    },
    /// An array has another number of items.
    Count {
        /// Which array.
        what: &'static str,
        /// How many items it should have.
        want: u32,
        /// How many it says it has.
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
    /// A value is no 32 bytes long.
    ValueLength {
        /// The witness it belongs to.
        index: u32,
        /// Its length.
        bytes: u32,
    },
    /// A value is no element of the field.
    BeyondModulus {
        /// The witness it belongs to.
        index: u32,
    },
    /// There is more after the end.
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

/// A marker's kind, without what it carries: small numbers are part of their marker.
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

impl HasProblemType for StackError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Format { .. } | Self::Malformed { .. } => ProblemType::WitnessMalformed,
            Self::OtherCircuit { .. } => ProblemType::WitnessOfAnotherCircuit,
            Self::Read(_) => ProblemType::SpoolUnavailable,
        }
    }
}
