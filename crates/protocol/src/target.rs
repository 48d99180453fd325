//! Who is to verify a proof.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The verifier a proof is made for. It fixes the hash of the transcript; both are zero-knowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Target {
    /// `bb verify`, bb.js and Noir's recursive verifier (Poseidon2 transcript): bb's own default.
    #[default]
    #[serde(rename = "noir-recursive")]
    NoirRecursive,
    /// A Solidity verifier (Keccak transcript).
    #[serde(rename = "evm")]
    Evm,
}

impl Target {
    /// Every target, for tests and for messages that list the choices.
    pub const ALL: [Self; 2] = [Self::NoirRecursive, Self::Evm];

    /// The name on the wire, which is also what `bb --verifier_target` takes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoirRecursive => "noir-recursive",
            Self::Evm => "evm",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no verifier target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown verifier target; it is one of default, noir-recursive, evm")]
pub struct UnknownTarget;

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "default" | "noir-recursive" => Ok(Self::NoirRecursive),
            "evm" => Ok(Self::Evm),
            _ => Err(UnknownTarget),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_parses_from_its_own_name() {
        for target in Target::ALL {
            assert_eq!(target.as_str().parse(), Ok(target));
        }
        assert_eq!("default".parse(), Ok(Target::default()));
        assert_eq!("EVM".parse::<Target>(), Err(UnknownTarget));
    }
}
