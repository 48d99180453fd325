//! The folder for data that must outlive the server.

use std::path::PathBuf;

use clap::Args;

use super::{environment::Environment, folder_durability::is_in_container};

/// The value of `--data` for no folder.
const OFF: &str = "off";

/// The flag of the data folder.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Jobs")]
pub struct DataFolderArgs {
    /// Folder for data that must outlive the server, on a disk that does; `off` for none. Default: `edgeprove` in the
    /// user's data folder (`$XDG_DATA_HOME`, `~/.local/share`); in a container, and with `DATABASE_URL`, none.
    #[arg(long, env = "EDGEPROVE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

/// The data folder of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFolder {
    /// Its path; `None` for no data folder.
    pub path: Option<PathBuf>,
    /// Whether nobody chose it.
    pub is_default: bool,
}

impl DataFolderArgs {
    /// Reads the flag. Where nobody chose a folder, there is one only if `needs_default`.
    #[must_use]
    pub fn read(self, needs_default: bool, environment: &Environment) -> DataFolder {
        match self.data {
            Some(folder) => DataFolder {
                path: Some(folder).filter(|folder| folder.as_os_str() != OFF),
                is_default: false,
            },
            None => DataFolder {
                path: needs_default.then(|| default_folder(environment)).flatten(),
                is_default: true,
            },
        }
    }
}

/// The data folder where nobody chose one; `None` in a container, which has no user, and where there is no home.
fn default_folder(environment: &Environment) -> Option<PathBuf> {
    if is_in_container(environment.is_cloudflare) {
        return None;
    }
    let data_home = environment.data_home.clone().filter(|folder| folder.is_absolute());
    let data_home = data_home.or_else(|| Some(environment.home.as_ref()?.join(".local/share")));
    Some(data_home?.join("edgeprove"))
}
