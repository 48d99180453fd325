//! The folder of what is to outlive the server.

use std::path::PathBuf;

use clap::Args;

/// The flag of the data folder.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Jobs")]
pub struct DataArgs {
    /// A folder for what is to outlive the server, on a disk that does.
    #[arg(long, env = "EDGEPROVE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
}
