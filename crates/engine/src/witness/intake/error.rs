//! Why an upload was not taken. Sizes and places are told; the bytes never are.

use edgeprove_protocol::{HasProblemType, ProblemType};
use std::{fmt, time::Duration};

use edgeprove_spool::SpoolError;

/// What every inflated witness begins with: the format's byte, and the head of the stack file.
pub(super) const WITNESS_HEAD: [u8; 2] = [3, 0x91];

/// An upload was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// It had no bytes.
    #[error("the body has no bytes")]
    Empty,
    /// It is larger than uploads may be, by announcement or in fact.
    #[error(
        "{}, and the most that is taken is {max_bytes}",
        .announced.map_or_else(
            || format!("the body has more than {max_bytes} bytes"),
            |bytes| format!("the body is announced with {bytes} bytes"),
        )
    )]
    TooLarge {
        /// What the client announced; `None` if the cap was passed while reading.
        announced: Option<u64>,
        /// The cap, in bytes.
        max_bytes: u64,
    },
    /// It does not begin as a gzip stream does.
    #[error("the body does not begin as gzip does: {looks_like}")]
    NotGzip {
        /// What its first bytes suggest.
        looks_like: LooksLike,
    },
    /// The gzip stream is not complete.
    #[error("the gzip stream is cut short after {compressed} bytes, {inflated} once inflated")]
    Truncated {
        /// Bytes received.
        compressed: u64,
        /// Bytes they inflated to.
        inflated: u64,
    },
    /// The gzip stream is damaged.
    #[error("the gzip stream is damaged at byte {at}: {what}")]
    Corrupt {
        /// What the decoder tripped over.
        what: String,
        /// Where, in compressed bytes from 0, to within one piece of the upload.
        at: u64,
    },
    /// There is more after the gzip stream.
    #[error(
        "there are bytes after the end of the gzip stream, from byte {at} on: send one gzip stream alone"
    )]
    BytesAfterEnd {
        /// Where they begin.
        at: u64,
    },
    /// It inflates to more than a witness of the circuit can have.
    #[error("it inflates to more than {max_bytes} bytes, the most a witness of this circuit can have")]
    BeyondCircuit {
        /// The most, in bytes.
        max_bytes: u64,
        /// Whether it begins as a witness does, and so is most likely that of a larger circuit.
        witness: bool,
    },
    /// It inflates to more than the server takes.
    #[error("it inflates to more than {max_bytes} bytes, the most that is taken")]
    BeyondCap {
        /// The cap, in bytes.
        max_bytes: u64,
    },
    /// It inflates more steeply than any witness does.
    #[error(
        "{compressed} bytes of it inflate to {inflated}, more than {ratio_max} for one, as no witness does"
    )]
    BeyondRatio {
        /// Compressed bytes up to then.
        compressed: u64,
        /// What they inflated to.
        inflated: u64,
        /// The most inflated bytes for a compressed one.
        ratio_max: u64,
    },
    /// Nothing came for too long.
    #[error("nothing came for {} ms after {received} bytes", idle.as_millis())]
    Stalled {
        /// Bytes received until then.
        received: u64,
        /// How long silence may last.
        idle: Duration,
    },
    /// The body broke off, most often since the client went away.
    #[error("the body broke off after {received} bytes")]
    BodyFailed {
        /// Bytes received until then.
        received: u64,
        /// What the connection said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It could not be stored.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// What the first bytes of something that is not gzip suggest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LooksLike {
    /// A witness that was not compressed.
    Witness,
    /// A gzip stream in base64.
    Base64,
    /// JSON, such as inputs or a circuit.
    Json,
    /// A form's parts.
    Multipart,
    /// Another container or compression.
    Zip,
    /// Zstandard.
    Zstd,
    /// Nothing known.
    Unknown,
}

impl LooksLike {
    pub(super) fn of(first: &[u8]) -> Self {
        match first {
            [first, second, ..] if [*first, *second] == WITNESS_HEAD => Self::Witness,
            [b'H', b'4', b's', ..] => Self::Base64,
            [b'{' | b'[', ..] => Self::Json,
            [b'-', b'-', ..] => Self::Multipart,
            [b'P', b'K', ..] => Self::Zip,
            [0x28, 0xb5, 0x2f, ..] => Self::Zstd,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for LooksLike {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Witness => {
                "it looks like a witness that is not compressed; send it gzipped, as Noir makes it"
            }
            Self::Base64 => "it looks like gzip in base64; send the bytes themselves",
            Self::Json => "it looks like JSON; send the gzipped witness that Noir makes of the inputs",
            Self::Multipart => "it looks like a form; send the witness as the whole body",
            Self::Zip => "it looks like a zip archive; send gzip",
            Self::Zstd => "it looks like zstd; send gzip",
            Self::Unknown => "send the gzipped witness that Noir makes",
        })
    }
}

impl HasProblemType for IntakeError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Empty => ProblemType::WitnessEmpty,
            Self::TooLarge { .. } => ProblemType::WitnessTooLarge,
            Self::NotGzip { .. } => ProblemType::WitnessNotGzip,
            // A body that breaks off while the client still listens was cut short on its way.
            Self::Truncated { .. } | Self::BodyFailed { .. } => ProblemType::WitnessTruncated,
            Self::Corrupt { .. } | Self::BytesAfterEnd { .. } => ProblemType::WitnessCorrupt,
            Self::BeyondCircuit { witness: true, .. } => ProblemType::WitnessOfAnotherCircuit,
            Self::BeyondCircuit { witness: false, .. }
            | Self::BeyondCap { .. }
            | Self::BeyondRatio { .. } => ProblemType::WitnessTooLargeDecompressed,
            Self::Stalled { .. } => ProblemType::UploadStalled,
            Self::Spool(error) => error.kind(),
        }
    }
}
