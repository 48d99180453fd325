//! The name of a circuit.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The name of a circuit: 1 to 64 characters of `A-Z a-z 0-9 - _`, the stem of its file.
/// It needs no escaping in a path, a header, a file name or a log line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CircuitId(Arc<str>);

/// The text is not a circuit name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a circuit name has 1 to {max} characters of A-Z a-z 0-9 - _", max = CircuitId::MAX_BYTES)]
pub struct InvalidCircuitId;

impl CircuitId {
    /// Maximum length, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CircuitId {
    type Err = InvalidCircuitId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidCircuitId)
        }
    }
}

impl TryFrom<String> for CircuitId {
    type Error = InvalidCircuitId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CircuitId> for String {
    fn from(id: CircuitId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for CircuitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for good in ["circuit", "range_check", "a-1"] {
            assert_eq!(good.parse::<CircuitId>().map(String::from), Ok(good.to_owned()));
        }
        let long = "x".repeat(CircuitId::MAX_BYTES + 1);
        for bad in ["", ".", "..", "a/b", "a\\b", "a.json", "a b", "ä", "%2e", long.as_str()] {
            assert_eq!(bad.parse::<CircuitId>(), Err(InvalidCircuitId), "{bad:?}");
        }
    }

    #[test]
    fn json_is_parsed_at_the_door() {
        assert!(serde_json::from_str::<CircuitId>("\"maze\"").is_ok());
        assert!(serde_json::from_str::<CircuitId>("\"../maze\"").is_err());
    }
}
