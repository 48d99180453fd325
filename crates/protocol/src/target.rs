//! Proof systems, and the verifiers that a proof can be made for.
//!
//! ```
//! use edgeprove_protocol::{ProofSystem, Target};
//!
//! let target: Target = "evm".parse()?;
//! assert_eq!(target.proof_system(), ProofSystem::UltraHonk);
//! assert!(ProofSystem::UltraHonk.targets().contains(&target));
//! assert_eq!(ProofSystem::Groth16.targets(), [Target::Groth16]);
//! # Ok::<(), edgeprove_protocol::target::UnknownTarget>(())
//! ```

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The verifier that a proof is made for. It does not name the proof system: that follows from the circuit.
///
/// Under `UltraHonk` the verifier fixes the hash of the proof's transcript. Proofs for both are zero-knowledge. A Groth16
/// proof has no transcript, so that all its verifiers take the same proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Target {
    /// `bb verify`, bb.js and Noir's recursive verifier. The transcript uses Poseidon2. This is bb's default.
    #[default]
    #[serde(rename = "noir-recursive")]
    NoirRecursive,
    /// A Solidity contract. The transcript uses Keccak.
    #[serde(rename = "evm")]
    Evm,
    /// snarkjs, and the Solidity contract that it exports.
    #[serde(rename = "groth16")]
    Groth16,
}

/// A proof system: the mathematics of keys and proofs. It decides which verifiers there are.
///
/// To add one, add a variant and its targets here, a module that reads its circuits to the engine, and a backend to the
/// prover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum ProofSystem {
    /// `UltraHonk` with the keys and proofs of Barretenberg's `bb`, for circuits of Noir.
    #[default]
    UltraHonk,
    /// Groth16 over BN254 with the keys of snarkjs, for circuits of circom.
    Groth16,
}

impl ProofSystem {
    /// Every proof system.
    pub const ALL: [Self; 2] = [Self::UltraHonk, Self::Groth16];

    /// Returns the name, which is stable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UltraHonk => "ultra-honk",
            Self::Groth16 => "groth16",
        }
    }

    /// Returns the verifiers that its proofs can be made for. The first one is the default.
    #[must_use]
    pub const fn targets(self) -> &'static [Target] {
        match self {
            Self::UltraHonk => &[Target::NoirRecursive, Target::Evm],
            Self::Groth16 => &[Target::Groth16],
        }
    }
}

impl Target {
    /// Every target, for tests and for messages that list the choices.
    pub const ALL: [Self; 3] = [Self::NoirRecursive, Self::Evm, Self::Groth16];

    /// Returns the name on the wire. For a target of `UltraHonk`, `bb --verifier_target` takes the same name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoirRecursive => "noir-recursive",
            Self::Evm => "evm",
            Self::Groth16 => "groth16",
        }
    }

    /// Returns the proof system that the verifier belongs to.
    #[must_use]
    pub const fn proof_system(self) -> ProofSystem {
        match self {
            Self::NoirRecursive | Self::Evm => ProofSystem::UltraHonk,
            Self::Groth16 => ProofSystem::Groth16,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is not the name of a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown target; choose default, noir-recursive, evm or groth16")]
pub struct UnknownTarget;

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "default" => Ok(Self::default()),
            name => Self::ALL.into_iter().find(|target| target.as_str() == name).ok_or(UnknownTarget),
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

    #[test]
    fn every_target_belongs_to_one_proof_system() {
        for target in Target::ALL {
            let owners = ProofSystem::ALL.into_iter().filter(|system| system.targets().contains(&target));
            assert_eq!(owners.collect::<Vec<_>>(), [target.proof_system()]);
        }
        assert_eq!(ProofSystem::UltraHonk.targets()[0], Target::default());
    }
}
