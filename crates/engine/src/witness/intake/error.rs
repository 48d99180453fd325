//! Why an upload was refused. Errors contain sizes and positions, but never the bytes.

use std::{fmt, sync::LazyLock, time::Duration};

use edgeprove_protocol::{HasProblemType, ProblemType};
use edgeprove_prover::barretenberg::version::NOIR_VERSION;
use edgeprove_spool::SpoolError;

/// The first bytes of every decompressed Noir witness: the format byte, and the head of the stack file.
pub(super) const WITNESS_HEAD: [u8; 2] = [3, 0x91];

/// gzip's magic and method. Most gzip streams have a zero byte after them.
const BYTES_BEFORE_ZERO: u64 = 3;
const CUT_AT_ZERO: &str = ": curl -d cuts a file there, so send it with --data-binary";
/// Why bytes may have changed on their way through HTTP.
const CHANGED_BY_CLIENT: &str = "; curl sends a file unchanged only with --data-binary";

static OTHER_WITNESS: LazyLock<String> = LazyLock::new(|| {
    format!("; it begins as a witness of another Noir, so generate it with Noir {NOIR_VERSION}")
});

/// A witness was refused. The text is true for an upload and for a file; [`HasProblemType::detail`] adds the advice for
/// clients of HTTP.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The witness has no bytes.
    #[error("the witness has no bytes")]
    Empty,
    /// The body is larger than allowed, by its announced or its actual length.
    #[error(
        "{}; at most {max_bytes} are allowed{limit}",
        .announced.map_or_else(
            || "the witness has more bytes than allowed".to_owned(),
            |bytes| format!("the witness is announced with {bytes} bytes"),
        )
    )]
    TooLarge {
        /// The announced length; `None` if the body passed the limit while it was read.
        announced: Option<u64>,
        /// The limit, in bytes.
        max_bytes: u64,
        /// Whose limit it is.
        limit: SizeLimit,
    },
    /// The gzip stream has far more bytes than its content needs, such as blocks without data.
    #[error(
        "{compressed} bytes decompress to {decompressed} only; at most {max_bytes} are allowed for that, because no \
         compressor needs more"
    )]
    Padded {
        /// Compressed bytes until then.
        compressed: u64,
        /// Their decompressed size.
        decompressed: u64,
        /// The most bytes that are allowed for this decompressed size.
        max_bytes: u64,
    },
    /// The body does not begin with gzip's magic bytes.
    #[error("the witness does not begin as gzip: {looks_like}")]
    NotGzip {
        /// The format that its first bytes suggest.
        looks_like: LooksLike,
    },
    /// The gzip header, with its extra field, name and comment, is larger than allowed.
    #[error(
        "the gzip header, with its extra field, name and comment, has more than {max_bytes} bytes, which is the limit"
    )]
    HeaderTooLong {
        /// The largest header, in bytes.
        max_bytes: usize,
    },
    /// The gzip stream is incomplete.
    #[error(
        "the gzip stream is cut short after {compressed} bytes, {decompressed} decompressed{}",
        if *compressed == BYTES_BEFORE_ZERO { ", before its first zero byte" } else { "" }
    )]
    Truncated {
        /// Bytes received.
        compressed: u64,
        /// Their decompressed size.
        decompressed: u64,
    },
    /// The gzip stream is damaged.
    #[error("the gzip stream is damaged at byte {at}: {what}")]
    Corrupt {
        /// What is wrong.
        what: Damage,
        /// Where, in compressed bytes from 0, to within one chunk of the upload.
        at: u64,
    },
    /// There are bytes after the gzip stream.
    #[error(
        "there are bytes after the end of the gzip stream, from byte {at} on: it must be one gzip stream alone"
    )]
    BytesAfterEnd {
        /// Where they begin.
        at: u64,
    },
    /// The decompressed body is larger than any witness of the circuit.
    #[error(
        "it decompresses to more than {max_bytes} bytes, the largest size of a witness of this circuit{}",
        if *begins_as == BeginsAs::OtherWitness { OTHER_WITNESS.as_str() } else { "" }
    )]
    BeyondCircuit {
        /// The largest size of a witness, in bytes.
        max_bytes: u64,
        /// What the body begins as.
        begins_as: BeginsAs,
    },
    /// The decompressed body is larger than the server allows.
    #[error("it decompresses to more than {max_bytes} bytes, the largest size that is allowed")]
    BeyondCap {
        /// The limit, in bytes.
        max_bytes: u64,
    },
    /// The compression ratio is higher than that of any witness.
    #[error("{compressed} bytes decompress to {decompressed}: the ratio is above {ratio_max}, the limit")]
    BeyondRatio {
        /// Compressed bytes until then.
        compressed: u64,
        /// Their decompressed size.
        decompressed: u64,
        /// The largest ratio of decompressed to compressed bytes.
        ratio_max: u64,
    },
    /// The body stalled.
    #[error("no bytes arrived for {} ms after {received} bytes", idle.as_millis())]
    Stalled {
        /// Bytes received until then.
        received: u64,
        /// The longest pause that is allowed.
        idle: Duration,
    },
    /// The body arrives below the minimum speed.
    #[error("only {received} bytes arrived in {seconds} s: send at least 1 KiB per second")]
    TooSlow {
        /// Bytes received until then.
        received: u64,
        /// Since when, in seconds.
        seconds: u64,
    },
    /// The body broke off, most often because the client closed the connection.
    #[error("the witness broke off after {received} bytes")]
    BodyFailed {
        /// Bytes received until then.
        received: u64,
        /// The connection's error.
        source: BodyError,
    },
    /// The upload could not be stored.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Whose limit of an upload's size was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeLimit {
    /// The server's, for every upload.
    Server,
    /// The circuit's: no witness of it needs more.
    Circuit,
}

impl fmt::Display for SizeLimit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => Ok(()),
            Self::Circuit => out.write_str(" for a witness of this circuit"),
        }
    }
}

/// The error of a body, which comes from the HTTP server or the file system.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// How a gzip stream is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The header has flags that gzip does not define: the flags' byte is another one.
    #[error("bytes of its header are missing")]
    HeaderFlags,
    /// The decoder refused a header field, a block, the checksum or the length.
    #[error("{0}")]
    Decoder(String),
}

impl HasProblemType for IntakeError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Empty => ProblemType::WitnessEmpty,
            Self::TooLarge { .. } | Self::Padded { .. } | Self::HeaderTooLong { .. } => {
                ProblemType::WitnessTooLarge
            }
            Self::NotGzip { .. } => ProblemType::WitnessNotGzip,
            // If the client still waits for a response, something between it and the server cut its body short.
            Self::Truncated { .. } | Self::BodyFailed { .. } => ProblemType::WitnessTruncated,
            Self::Corrupt { .. } | Self::BytesAfterEnd { .. } => ProblemType::WitnessCorrupt,
            Self::BeyondCircuit { begins_as: BeginsAs::Witness, .. } => ProblemType::WitnessOfAnotherCircuit,
            Self::BeyondCircuit { begins_as: BeginsAs::OtherWitness, .. } => ProblemType::WitnessMalformed,
            Self::BeyondCircuit { begins_as: BeginsAs::Unknown, .. }
            | Self::BeyondCap { .. }
            | Self::BeyondRatio { .. } => ProblemType::WitnessTooLargeDecompressed,
            Self::Stalled { .. } | Self::TooSlow { .. } => ProblemType::UploadStalled,
            Self::Spool(error) => error.kind(),
        }
    }

    fn detail(&self) -> String {
        let advice = match self {
            Self::Truncated { compressed: BYTES_BEFORE_ZERO, .. } => CUT_AT_ZERO,
            Self::Corrupt { .. } => CHANGED_BY_CLIENT,
            _ => "",
        };
        format!("{self}{advice}")
    }
}

/// What a decompressed body that is too large begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeginsAs {
    /// A witness, most likely of a larger circuit.
    Witness,
    /// A witness in the format of another release of Noir. Older ones are larger.
    OtherWitness,
    /// Something else.
    Unknown,
}

impl BeginsAs {
    pub(super) fn of(head: &[u8]) -> Self {
        match head {
            head if *head == WITNESS_HEAD => Self::Witness,
            b"wt" => Self::Witness,
            // bincode without and with a format byte, then msgpack with names and with tags.
            [1, 0] | [0, 1] | [2 | 4, 0x80..=0x9f] => Self::OtherWitness,
            _ => Self::Unknown,
        }
    }
}

/// The format that the first bytes of a body suggest if it is not gzip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LooksLike {
    /// A witness that was not compressed.
    Witness,
    /// A witness of snarkjs that was not compressed.
    Wtns,
    /// A gzip stream in base64.
    Base64,
    /// A gzip stream whose bytes were converted as if they were text.
    Text,
    /// JSON, such as inputs or a circuit.
    Json,
    /// A multipart form.
    Multipart,
    /// A zip archive.
    Zip,
    /// Zstandard.
    Zstd,
    /// An unknown format.
    Unknown,
}

impl LooksLike {
    pub(super) fn of(first: &[u8]) -> Self {
        match first {
            [first, second, ..] if [*first, *second] == WITNESS_HEAD => Self::Witness,
            [b'w', b't', b'n', ..] => Self::Wtns,
            [b'H', b'4', b's', ..] => Self::Base64,
            // The magic's second byte is no UTF-8. It becomes U+FFFD or U+008B.
            [0x1f, 0xef, 0xbf] | [0x1f, 0xc2, 0x8b] => Self::Text,
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
                "it looks like a witness that is not compressed; it must be gzipped, as Noir writes it"
            }
            Self::Wtns => "it looks like a .wtns file that is not compressed; it must be gzipped",
            Self::Base64 => "it looks like gzip in base64; it must be the bytes themselves",
            Self::Text => "it looks like gzip that was converted to text; it must be the unchanged bytes",
            Self::Json => "it looks like JSON; it must be the gzipped witness that Noir makes of the inputs",
            Self::Multipart => "it looks like a form; it must be the witness alone",
            Self::Zip => "it looks like a zip archive; it must be gzip",
            Self::Zstd => "it looks like zstd; it must be gzip",
            Self::Unknown => "it must be the gzipped witness that Noir makes",
        })
    }
}
