//! Builds circuits: an instance of a template becomes the artifacts with which it is proved and verified.
//!
//! In scope: running compilers, making keys, and proving the samples of a circuit before anybody uses it. Out of scope:
//! HTTP, jobs, and where artifacts are stored.
//!
//! Start with [`Builder`]. Every compiler runs as a child process in a [`Sandbox`]: in a private folder, within limits of
//! time, memory, output, files and processes, and without network, unless the operator allows less ([`Required`]). It and
//! what it started are killed at a limit, when the caller drops the future, at the end, and when the server dies.
//! [`Isolation`] states which processes this reaches.
//!
//! What the sandbox does not do: a tool runs as the user of the server, and can read and write what that user can. Memory,
//! files and processes are measured from time to time, so that a tool can exceed their limits for a moment. The compilers
//! are pinned, and the source that they read comes from the templates of this binary.
//!
//! Imports run down this list only.
//!
//! - [`build`]: compiles, makes keys, and checks.
//! - [`contract`]: verifier contracts: what deploys them, and calls in an Ethereum virtual machine.
//! - [`gate`]: proves the samples of a circuit before it is published.
//! - [`toolchain`]: finds the compilers and checks their versions.
//! - [`sandbox`]: runs one tool.
//! - [`workspace`]: the private folder of a build.
//! - [`error`]: why a tool has no result.
//! - [`field_value`]: numbers of a proof as texts.
//! - [`powers`]: the powers of tau that keys are made from.
//! - [`artifact`]: a file of a circuit.

pub mod artifact;
pub mod build;
pub mod contract;
pub mod error;
mod field_value;
pub mod gate;
mod powers;
pub mod sandbox;
pub mod toolchain;
pub mod workspace;

pub use artifact::Artifact;
pub use build::{
    BuildContext, BuildError, BuildLimits, BuildStage, Builder, BuilderError, BuiltCircuit, NoirBackend,
    NoirProver, SetupTrust,
};
pub use contract::{BuiltContract, ContractError, NotDeployable};
pub use error::{Fate, ToolError};
pub use gate::{GateError, ProvedSample, SampleError, SampleProof, SampleProver};
pub use powers::Powers;
pub use sandbox::{Isolation, Limits, Required, Sandbox, Tool, ToolOutput};
pub use toolchain::{ToolLocations, Toolchain, Versions};
pub use workspace::Workspace;
