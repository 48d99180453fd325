//! Why a sealed body is refused.

use std::time::Duration;

use edgeprove_protocol::{HasProblemType, ProblemType, service::HpkeSuite};
use edgeprove_spool::Bound;

/// How far the time of a sealed body may be from that of the server.
pub const TIME_WINDOW: Duration = Duration::from_mins(2);

/// Why a sealed body is refused. No variant has a byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// It does not begin as a sealed body does.
    #[error("the body does not begin as a sealed body")]
    NotSealed,
    /// It has another version of the format.
    #[error("the body has version {found} of the format; this server opens version 1")]
    Version {
        /// The version that it has.
        found: u8,
    },
    /// It is sealed with other algorithms.
    #[error(
        "the body is sealed with the suite {}/{}/{}, for which this server has no key",
        found.kem,
        found.kdf,
        found.aead
    )]
    Suite {
        /// The suite that it has.
        found: HpkeSuite,
    },
    /// The server has no such key, or has it no longer.
    #[error("the body is sealed for a key that this server does not have, or has no longer")]
    UnknownKey,
    /// The server opens nothing that is sealed.
    #[error("this server opens nothing that is sealed")]
    Disabled,
    /// It was sealed too long ago, or in the future.
    #[error(
        "the body was sealed {seconds} s {}; {} s are allowed",
        if *is_future { "from now" } else { "ago" },
        TIME_WINDOW.as_secs()
    )]
    Time {
        /// The difference, in seconds.
        seconds: u64,
        /// Whether it is in the future.
        is_future: bool,
    },
    /// It was sealed before the server started, which therefore does not know whether it has arrived before.
    #[error("the body was sealed before this server started")]
    BeforeStart,
    /// The same body has arrived before.
    #[error("this sealed body has arrived before: seal what you send again for each request")]
    Replayed,
    /// No more bodies can be remembered.
    #[error("too many sealed bodies{} arrived within a few minutes", match bound { Bound::All => "", Bound::Owner => " of this caller" })]
    TooMany {
        /// Whose bodies are too many.
        bound: Bound,
    },
    /// The length of a chunk is invalid.
    #[error("a chunk has a length that no chunk has")]
    ChunkLength,
    /// A chunk cannot be opened.
    #[error(
        "chunk {index} cannot be opened: the body was changed on the way, or is sealed for another circuit, target, content \
         type or API key than those of the request"
    )]
    Chunk {
        /// Its number, from 0.
        index: u64,
    },
    /// It ends before its last chunk.
    #[error("the body ends before its last chunk")]
    Truncated,
    /// Something follows the last chunk.
    #[error("bytes follow the last chunk")]
    TrailingBytes,
}

impl HasProblemType for UnsealError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Version { .. } | Self::Suite { .. } | Self::UnknownKey | Self::Disabled => {
                ProblemType::SealingKeyUnknown
            }
            Self::Time { .. } | Self::BeforeStart => ProblemType::SealedAtWrongTime,
            Self::Replayed => ProblemType::SealedBodyReplayed,
            Self::TooMany { .. } => ProblemType::TooManyUploads,
            Self::NotSealed
            | Self::ChunkLength
            | Self::Chunk { .. }
            | Self::Truncated
            | Self::TrailingBytes => ProblemType::SealedBodyInvalid,
        }
    }
}
