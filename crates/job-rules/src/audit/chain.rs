//! Hashes, and where a chain is broken.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Entry;

/// What the hashed bytes begin with, so that no hash of another kind can be taken for one of these.
pub const DOMAIN: &[u8] = b"edgeprove-audit-v1\0";

/// The hash of an entry and of all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

/// A text that is no hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 64 hexadecimal digits in lower case")]
pub struct InvalidHash;

impl Hash {
    /// What the first entry has in the place of a hash before it.
    pub const NONE: Self = Self([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Hash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidHash)?;
        let hash = Self(bytes);
        // One spelling each, so that a line has one as well.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) { Err(InvalidHash) } else { Ok(hash) }
    }
}

impl TryFrom<String> for Hash {
    type Error = InvalidHash;

    fn try_from(text: String) -> Result<Self, InvalidHash> {
        text.parse()
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

/// A place of a chain. Noted elsewhere it is an anchor: nothing up to it can be changed unnoticed. Written `SEQ:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The entry's number, from 1; 0 before the first.
    pub seq: u64,
    /// The entry's hash.
    pub hash: Hash,
}

/// A text that is no place of a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is written SEQ:HASH: a number, a colon and 64 hexadecimal digits in lower case")]
pub struct InvalidLink;

impl Link {
    /// Before the first entry.
    pub const START: Self = Self { seq: 0, hash: Hash::NONE };
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Link {
    type Err = InvalidLink;

    fn from_str(text: &str) -> Result<Self, InvalidLink> {
        let (seq, hash) = text.split_once(':').ok_or(InvalidLink)?;
        let seq = seq.parse().map_err(|_| InvalidLink)?;
        Ok(Self { seq, hash: hash.parse().map_err(|_| InvalidLink)? })
    }
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The entry's number, from 1.
    pub seq: u64,
    /// The hash before it.
    pub previous: Hash,
    /// The entry's canonical form.
    pub entry: String,
    /// Its own hash.
    pub hash: Hash,
}

/// Why a line does not belong where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// It is no entry.
    #[error("it is not an entry: {why}")]
    NotAnEntry {
        /// What was expected where.
        why: String,
    },
    /// It is an entry that is written in another way than entries are, and so not as it was written first.
    #[error("it is not in canonical form")]
    NotCanonical,
    /// The entry, its number or the hash before it is not the one that was hashed.
    #[error("entry {seq} was changed: its hash is another")]
    OtherHash {
        /// The number that stands in the line.
        seq: u64,
    },
    /// Entries are missing, doubled or in another order.
    #[error("entry {expected} is missing: here is entry {seq}")]
    OutOfOrder {
        /// The number that comes next.
        expected: u64,
        /// The number that stands in the line.
        seq: u64,
    },
    /// The entry continues another chain.
    #[error("entry {seq} does not continue the entry before it")]
    Unlinked {
        /// The number that stands in the line.
        seq: u64,
    },
    /// The entry is not the one that was noted.
    #[error("entry {seq} is not the one of the anchor")]
    OtherThanAnchor {
        /// The anchor's number.
        seq: u64,
    },
    /// The chain ends, or begins, elsewhere than at the entry that was noted.
    #[error("entry {seq}, which an anchor names, is missing")]
    AnchorMissing {
        /// The anchor's number.
        seq: u64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
// In the order of the alphabet, as the canonical form has it.
struct Line {
    entry: BTreeMap<String, Value>,
    hash: Hash,
    previous: Hash,
    seq: u64,
}

impl Record {
    /// The entry that comes after `head`.
    #[must_use]
    pub fn after(head: Link, entry: &Entry) -> Self {
        let (seq, entry) = (head.seq + 1, entry.canonical());
        Self { seq, previous: head.hash, hash: hash(head.hash, seq, &entry), entry }
    }

    /// Its number and hash.
    #[must_use]
    pub const fn link(&self) -> Link {
        Link { seq: self.seq, hash: self.hash }
    }

    /// The line that is stored and exported, without its end: canonical JSON as well.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { seq, previous, entry, hash } = self;
        format!(r#"{{"entry":{entry},"hash":"{hash}","previous":"{previous}","seq":{seq}}}"#)
    }

    /// Reads a line and checks its form and its own hash.
    pub fn read(line: &str) -> Result<Self, LineFault> {
        let not_an_entry = |why: &dyn fmt::Display| LineFault::NotAnEntry { why: why.to_string() };
        let parsed: Line = serde_json::from_str(line).map_err(|error| not_an_entry(&place(&error)))?;
        if parsed.entry.values().any(|value| !value.is_string() && !value.is_u64()) {
            return Err(not_an_entry(&"a member is neither text nor a whole number"));
        }
        let entry = serde_json::to_string(&parsed.entry).map_err(|error| not_an_entry(&place(&error)))?;
        let Line { seq, previous, hash: stored, .. } = parsed;
        let record = Self { seq, previous, entry, hash: stored };
        if record.line() != line {
            return Err(LineFault::NotCanonical);
        }
        if hash(previous, seq, &record.entry) != stored {
            return Err(LineFault::OtherHash { seq });
        }
        Ok(record)
    }
}

/// Where JSON could not be read, and why; without what stood there.
fn place(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "it is not JSON",
        serde_json::error::Category::Data => "its members are not those of an entry",
        serde_json::error::Category::Eof => "it ends too early",
    };
    format!("{kind}, at column {}", error.column())
}

fn hash(previous: Hash, seq: u64, entry: &str) -> Hash {
    // Everything before the entry has one length, so that two different records never give the same bytes.
    let hash = Sha256::new().chain_update(DOMAIN).chain_update(previous.0).chain_update(seq.to_be_bytes());
    Hash(hash.chain_update(entry).finalize().into())
}

/// Verifies a chain, or a part of one, line by line.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    anchors: Vec<Link>,
    begins_after: Option<Link>,
    head: Option<Link>,
}

impl Verifier {
    /// A verifier that also requires these entries in the chain.
    #[must_use]
    pub fn with_anchors(anchors: Vec<Link>) -> Self {
        Self { anchors, ..Self::default() }
    }

    /// The next line, without its end.
    pub fn take(&mut self, line: &str) -> Result<Link, LineFault> {
        let record = Record::read(line)?;
        let seq = record.seq;
        let before = match self.head {
            Some(head) => head,
            // A piece may begin anywhere, and the whole at its start only.
            None if seq > 1 => Link { seq: seq - 1, hash: record.previous },
            None => Link::START,
        };
        if seq != before.seq + 1 {
            return Err(LineFault::OutOfOrder { expected: before.seq + 1, seq });
        }
        if record.previous != before.hash {
            return Err(LineFault::Unlinked { seq });
        }
        if self.anchors.iter().any(|anchor| anchor.seq == seq && anchor.hash != record.hash) {
            return Err(LineFault::OtherThanAnchor { seq });
        }
        self.begins_after.get_or_insert(before);
        self.head = Some(record.link());
        Ok(record.link())
    }

    /// The end of the chain.
    pub fn finish(self) -> Result<Verified, LineFault> {
        let begins_after = self.begins_after.unwrap_or(Link::START);
        let head = self.head.unwrap_or(begins_after);
        let is_there = |anchor: &&Link| {
            anchor.seq > begins_after.seq && anchor.seq <= head.seq || **anchor == begins_after
        };
        match self.anchors.iter().find(|anchor| !is_there(anchor)) {
            Some(anchor) => Err(LineFault::AnchorMissing { seq: anchor.seq }),
            None => Ok(Verified { begins_after, head }),
        }
    }
}

/// A chain, or a piece of one, that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The place it continues; [`Link::START`] where it begins at the beginning.
    pub begins_after: Link,
    /// Its last entry.
    pub head: Link,
}

#[cfg(test)]
mod tests;
