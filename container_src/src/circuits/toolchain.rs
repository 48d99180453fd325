//! Starts the builder of circuits: finds the compilers, and checks their versions.

use std::{num::NonZeroUsize, path::PathBuf};

use edgeprove_builder::{
    BuildLimits, Builder, BuilderError, Required, Sandbox, ToolError, ToolLocations, Toolchain, Versions,
};
use edgeprove_spool::{Spool, SpoolError};
use edgeprove_telemetry::Supervisor;

/// The settings of a server that builds circuits.
#[derive(Debug, Clone)]
pub struct BuilderSettings {
    /// Where the compilers are.
    pub tools: ToolLocations,
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

/// Finds the tools, and starts the builder.
pub async fn open(
    settings: &BuilderSettings,
    cores: NonZeroUsize,
    supervisor: &Supervisor,
) -> Result<Builder, OpenBuilderError> {
    let spool = Spool::open(&settings.folder)?;
    let sandbox = Sandbox::open(spool, supervisor.clone(), settings.isolation).await?;
    let isolation = sandbox.isolation();
    let toolchain = Toolchain::find(settings.tools.clone(), Versions::pinned(), &sandbox).await?;
    let builder = Builder::new(sandbox, toolchain, BuildLimits::default(), cores)?;
    tracing::info!(isolation = isolation.as_str(), folder = %settings.folder.display(), "circuits can be built");
    Ok(builder)
}
