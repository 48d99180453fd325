//! Groth16 over BN254, in the file formats and JSON shapes of circom and snarkjs.
//!
//! A circuit is an [`R1cs`] (`.r1cs`). [`setup()`] makes its key from it without a powers-of-tau file, and
//! [`setup_from_powers`] with one ([`PowersFile`], `.ptau`); a key from a ceremony has the same format (`.zkey`).
//! [`ProvingKey::read`] reads either, and proves a [`WitnessValues`]
//! (`.wtns`). Every proof is verified before it is returned.
//!
//! Other readers of these files panic on damaged ones, and allocate what a header announces. Ours read each section
//! once, inside the file and of the right length, each index in range, each value below its modulus. No allocation is
//! larger than a small multiple of the file.
//!
//! Errors name sections and positions, never a value of a witness.
//!
//! Reading order: [`ProvingKey`] first.
//!
//! Imports run down this list only.
//!
//! - [`mod@setup`]: keys with a powers-of-tau file, or without one.
//! - [`solidity`]: a verifier contract.
//! - [`proving_key`]: proves, and verifies each proof.
//! - [`quotient`]: the values by which a proof shows that every constraint holds.
//! - [`zkey_writer`]: writes `.zkey` files.
//! - [`zkey`]: reads them.
//! - [`matrix`]: the coefficients of a circuit's constraints.
//! - [`verifying_key`]: verifies; `verification_key.json`.
//! - [`proof`]: proofs and public signals as JSON and as calldata.
//! - [`json`]: points and values in JSON.
//! - [`powers`]: powers-of-tau files: made, read and checked.
//! - [`transcript`]: points in the transcripts of ceremonies.
//! - [`lagrange`]: values and points that follow from secret numbers.
//! - [`r1cs`]: reads `.r1cs` files.
//! - [`witness`]: reads `.wtns` files.
//! - [`sections`]: the container of these files.
//! - [`curve`]: points as bytes.
//! - [`field`]: values as bytes and as digits, and random values.
//! - [`blake2b`]: a hash, with its inner state.
//! - [`threads`]: the threads that a computation may use.

mod blake2b;
mod curve;
mod field;
mod json;
mod lagrange;
mod matrix;
pub mod powers;
pub mod proof;
pub mod proving_key;
mod quotient;
pub mod r1cs;
mod sections;
pub mod setup;
pub mod solidity;
pub mod threads;
mod transcript;
pub mod verifying_key;
pub mod witness;
pub mod zkey;
mod zkey_writer;

pub use field::{RandomnessError, is_canonical, scalar_modulus};
pub use json::JsonError;
pub use powers::{PowersDigest, PowersError, PowersFile, PowersInfo, PowersOrigin};
pub use proof::{Proof, ProofJson, PublicSignals};
pub use proving_key::{KeyError, ProofWithSignals, ProveError, ProvingKey};
pub use r1cs::{R1cs, R1csInfo};
pub use sections::FormatError;
pub use setup::{SetupError, setup, setup_from_powers};
pub use solidity::verifier_contract;
pub use threads::{Panicked, Threads, ThreadsError};
pub use verifying_key::{PreparedVerifyingKey, VerifyingKey};
pub use witness::WitnessValues;
pub use zkey::{Trust, ZkeyInfo};
