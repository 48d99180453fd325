//! Builds circuits: an instance of a template becomes the artifacts with which it is proved and verified.
//!
//! In scope: running compilers, making keys, and proving the samples of a circuit before anybody uses it. Out of scope:
//! HTTP, jobs, and where artifacts are stored.
//!
//! Start with [`Builder`]. Every compiler runs as a child process in a [`Sandbox`]: in a private folder, without network,
//! within limits of time, memory, output and files. It and everything that it started are killed at a limit, when the
//! caller drops the future, and at the end.
//!
//! What the sandbox does not do: a tool runs as the user of the server, and can read and write what that user can. The
//! compilers are pinned, and the source that they read comes from the templates of this binary.
//!
//! Imports run down this list only.
//!
//! - [`build`]: compiles, makes keys, and checks.
//! - [`gate`]: proves the samples of a circuit before it is published.
//! - [`toolchain`]: finds the compilers and checks their versions.
//! - [`sandbox`]: runs one tool.
//! - [`workspace`]: the private folder of a build.
//! - [`error`]: why a tool has no result.
//! - [`artifact`]: a file of a circuit.

pub mod artifact;
pub mod build;
pub mod error;
pub mod gate;
pub mod sandbox;
pub mod toolchain;
pub mod workspace;

pub use artifact::Artifact;
pub use build::{BuildError, BuildLimits, Builder, BuilderError, BuiltCircuit, NoirBackend, SetupTrust};
pub use error::ToolError;
pub use gate::{GateError, SampleError, SampleProof, SampleProver};
pub use sandbox::{Isolation, Limits, Sandbox, Tool, ToolOutput};
pub use toolchain::{ToolLocations, Toolchain, Versions};
pub use workspace::Workspace;
