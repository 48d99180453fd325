//! Powers of tau: what all circuits of a size share of a setup, in snarkjs's `.ptau` files.
//!
//! A file has the powers of a secret number tau as points of the curve, and three more secret numbers' worth of multiples of
//! them. Whoever knows tau can prove anything under every key that was made from the file. In a ceremony, tau is the product
//! of numbers of many people, and nobody knows it unless all of them work together.
//!
//! A file is read in pieces: the memory does not depend on its size, except for [`PowersFile::check`].
//!
//! Sections: 1 the field and the power; 2 to 6 the powers of tau, in G1, in G2, times alpha, times beta, and beta in G2;
//! 7 what each contributor published; 12 to 15 the Lagrange polynomials at tau of all domains up to the file's size, which
//! snarkjs computes with `powersoftau prepare phase2`, for each of the sections 2 to 5.
//!
//! - [`check`]: whether a file is what it should be.
//! - [`new`]: makes a file.
//! - [`contribution`]: what contributors publish.
//! - [`mod@file`]: reads files.
//! - [`published`]: digests of the files of a ceremony.

mod check;
mod contribution;
mod file;
mod new;
mod published;

use std::{fmt, io};

pub(crate) use self::{
    contribution::{KnowledgeProof, write_parameters},
    file::{
        ALPHA_G1, BETA_G1, BETA_G2, LAGRANGE_ALPHA_G1, LAGRANGE_BETA_G1, LAGRANGE_TAU_G1, LAGRANGE_TAU_G2,
        Points, TAU_G1,
    },
};
pub use self::{
    file::{PowersFile, PowersInfo},
    new::write_new,
    published::PowersOrigin,
};
use crate::{
    blake2b::DIGEST_BYTES,
    field::RandomnessError,
    lagrange::Cancelled,
    sections::{Format, FormatError},
    threads::Panicked,
};

/// The largest power of two of a file that is read: 4,194,304 constraints.
pub const MAX_POWER: u32 = 22;
/// The largest power of two of a file that is made here.
pub const MAX_NEW_POWER: u32 = 20;

/// The memory of a check of a file, in bytes and at most: random factors, a transform of them and its tables.
#[must_use]
pub const fn memory_of_check(power: u32) -> u64 {
    (64 << 20) + (256 << power)
}

/// The memory that making a file takes, in bytes and at most: tables of multiples, and the largest domain.
#[must_use]
pub const fn memory_of_new(power: u32) -> u64 {
    (256 << 20) + (96 << power)
}

const FORMAT: Format = Format { name: "ptau", version: 1, last_section: 15 };

/// What is wrong with a file, or why there is none.
#[derive(Debug, thiserror::Error)]
pub enum PowersError {
    /// The file is damaged, or is one of another kind.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The file has no Lagrange polynomials.
    #[error(
        "the .ptau file is not prepared for keys: it has no section {section}. `snarkjs powersoftau prepare phase2` adds it"
    )]
    NotPrepared {
        /// The first section that is missing.
        section: u32,
    },
    /// The power is out of range.
    #[error("the power {power} is not in 1 to {max}")]
    Power {
        /// The power.
        power: u32,
        /// The largest one.
        max: u32,
    },
    /// The file cannot be read or written.
    #[error("the file cannot be read or written")]
    Io(#[from] io::Error),
    /// The file is another one than when it was opened.
    #[error("the .ptau file was changed after it was opened")]
    Changed,
    /// No random numbers.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// A library panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The caller no longer needs the result.
    #[error("it was cancelled")]
    Cancelled,
}

impl From<Cancelled> for PowersError {
    fn from(Cancelled: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// BLAKE2b-512 of a file, as `b2sum` prints it: 128 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PowersDigest([u8; DIGEST_BYTES]);

/// A text that is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a BLAKE2b digest as `b2sum` prints it: 128 hexadecimal digits")]
pub struct InvalidDigest;

impl PowersDigest {
    /// Where the file comes from, as far as its digest shows it.
    #[must_use]
    pub fn origin(&self) -> PowersOrigin {
        published::origin(&self.to_string())
    }
}

impl fmt::Display for PowersDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PowersDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for PowersDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digest = [0; DIGEST_BYTES];
        hex::decode_to_slice(text, &mut digest).map_err(|_| InvalidDigest)?;
        Ok(Self(digest))
    }
}

fn inconsistent(reason: &'static str) -> PowersError {
    FormatError::Inconsistent { format: FORMAT.name, reason }.into()
}
