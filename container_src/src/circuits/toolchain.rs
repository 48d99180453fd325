//! Starts the builder of circuits: finds the compilers, and checks their versions.

use std::{
    num::NonZeroUsize,
    path::{self, Path, PathBuf},
    sync::Arc,
};

use edgeprove_builder::{
    BuildLimits, Builder, BuilderError, Powers, Required, Sandbox, ToolError, ToolLocations, Toolchain,
    Versions,
};
use edgeprove_spool::{Spool, SpoolError};
use edgeprove_telemetry::Supervisor;

/// The settings of a server that builds circuits.
#[derive(Debug, Clone)]
pub struct BuilderSettings {
    /// The program of Node.js.
    pub node: PathBuf,
    /// The folder with the compilers: `circuit/` of the repository.
    pub compilers: PathBuf,
    /// The folder for the files of builds.
    pub folder: PathBuf,
    /// How the compilers must be separated from the system.
    pub isolation: Required,
}

/// Why this server cannot build circuits.
#[derive(Debug, thiserror::Error)]
pub enum OpenBuilderError {
    /// The folder for the files of builds cannot be used.
    #[error(transparent)]
    Folder(#[from] SpoolError),
    /// A tool is missing, or is of another version than the pinned one.
    #[error("circuits cannot be built")]
    Tool(#[from] ToolError),
    /// The builder could not be started.
    #[error(transparent)]
    Builder(#[from] BuilderError),
}

/// Finds the tools, and starts the builder. `bb` is the prover program, whose version was compared with the pinned one.
/// `powers` are those of keys of circom's circuits.
pub async fn open(
    settings: &BuilderSettings,
    bb: &Path,
    powers: Option<Arc<Powers>>,
    cores: NonZeroUsize,
    supervisor: &Supervisor,
) -> Result<Builder, OpenBuilderError> {
    let spool = Spool::open(&settings.folder)?;
    let sandbox = Sandbox::open(spool, supervisor.clone(), settings.isolation).await?;
    let isolation = sandbox.isolation();
    let BuilderSettings { node, compilers, .. } = settings.clone();
    // Tools run in another folder. A path that cannot be completed leads to no file.
    let bb = path::absolute(bb).unwrap_or_else(|_| bb.to_owned());
    let tools = ToolLocations { node, circom: compilers.join("circom"), noir: compilers, bb };
    let toolchain = Toolchain::find(tools, Versions::pinned(), &sandbox).await?;
    let builder = Builder::new(sandbox, toolchain, BuildLimits::default(), cores)?.with_powers(powers);
    tracing::info!(isolation = isolation.as_str(), folder = %settings.folder.display(), "circuits can be built");
    Ok(builder)
}
