//! Which bb a program file is, and which machine it was built for.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use edgeprove_telemetry::supervisor::Supervisor;
use tokio::io::AsyncReadExt as _;

use super::program::BbProgram;
use crate::child_process::StartError;

/// The release of bb that this server was built for.
pub const BB_VERSION: &str = env!("EDGEPROVE_BB_VERSION");
/// The version that this release prints.
pub const BB_REPORTS: &str = env!("EDGEPROVE_BB_REPORTS");
/// The release of Noir whose artifacts this bb reads.
pub const NOIR_VERSION: &str = env!("EDGEPROVE_NOIR_VERSION");

/// The time that a program has to print its version.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Why a program is not the expected bb.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// It could not be started.
    #[error("bb could not be run")]
    Start(#[source] StartError),
    /// It did not print a version in time.
    #[error("{} printed no version within {} s", path.display(), TIME_LIMIT.as_secs())]
    Silent {
        /// The program.
        path: PathBuf,
    },
    /// It is another release.
    #[error(
        "{} is bb {found}, and this program needs bb {BB_VERSION} (which prints {BB_REPORTS})", path.display()
    )]
    Other {
        /// The program.
        path: PathBuf,
        /// The version that it printed.
        found: String,
    },
}

/// Runs `bb --version` and compares the result with the release that this server was built for.
pub async fn check(program: &BbProgram, supervisor: &Supervisor) -> Result<String, VersionError> {
    let silent = || VersionError::Silent { path: program.path.clone() };
    let printed = tokio::time::timeout(TIME_LIMIT, print_version(program, supervisor)).await;
    let printed = printed.map_err(|_| silent())??;
    let text = String::from_utf8_lossy(&printed);
    let found: String = text.lines().next().unwrap_or_default().trim().chars().take(60).collect();
    if found == BB_REPORTS {
        return Ok(found);
    }
    let found = if found.is_empty() { "of no known version".to_owned() } else { found };
    Err(VersionError::Other { path: program.path.clone(), found })
}

async fn print_version(program: &BbProgram, supervisor: &Supervisor) -> Result<Vec<u8>, VersionError> {
    const PRINTED_MAX_BYTES: u64 = 4096;
    let silent = || VersionError::Silent { path: program.path.clone() };
    let mut child = program.start(["--version"], 1, supervisor).map_err(VersionError::Start)?;
    let (stdin, stdout) = child.take_pipes().ok_or_else(silent)?;
    drop(stdin);
    let mut printed = Vec::new();
    stdout.take(PRINTED_MAX_BYTES).read_to_end(&mut printed).await.map_err(|_| silent())?;
    child.wait().await.map_err(|_| silent())?;
    Ok(printed)
}

/// Returns the machine that an executable was built for, from its ELF or Mach-O header.
#[must_use]
pub fn binary_arch(path: &Path) -> String {
    let mut header = [0; 20];
    let read: io::Result<()> = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    let arch = match (read, &header[..4]) {
        (Err(_), _) => "unreadable",
        (Ok(()), b"\x7fELF") => match u16::from_le_bytes([header[18], header[19]]) {
            62 => "ELF x86_64",
            183 => "ELF aarch64",
            _ => "ELF of another machine",
        },
        (Ok(()), [0xcf, 0xfa, 0xed, 0xfe]) => match header[4] {
            7 => "Mach-O x86_64",
            12 => "Mach-O aarch64",
            _ => "Mach-O of another machine",
        },
        (Ok(()), b"#!/b" | b"#!/u") => "script",
        (Ok(()), _) => "unknown",
    };
    arch.to_owned()
}
