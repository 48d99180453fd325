//! The handshake with the program file itself: which bb it is and for which machine it was built.

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::child::{BbProgram, ChildFailure};
use edgeprove_telemetry::supervisor::Supervisor;

/// The release of bb that this server was built for.
pub const BB_VERSION: &str = env!("EDGEPROVE_BB_VERSION");
/// What that release prints as its version.
pub const BB_REPORTS: &str = env!("EDGEPROVE_BB_REPORTS");
/// The release of Noir whose artefacts that bb reads.
pub const NOIR_VERSION: &str = env!("EDGEPROVE_NOIR_VERSION");

const PATIENCE: Duration = Duration::from_secs(10);

/// Why a program is not the bb that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// It could not be started.
    #[error("bb could not be run")]
    Start(#[source] ChildFailure),
    /// It did not print a version in time.
    #[error("{} printed no version within {} s", path.display(), PATIENCE.as_secs())]
    Silent {
        /// The program.
        path: PathBuf,
    },
    /// It is another release.
    #[error(
        "{} is bb {found}, and this server needs bb {BB_VERSION} (which prints {BB_REPORTS}): \
         run `cargo xtask setup`, or name the right one by BB_PATH", path.display()
    )]
    Other {
        /// The program.
        path: PathBuf,
        /// What it printed.
        found: String,
    },
}

/// Runs `bb --version` and holds it against the release this server was built for.
pub async fn check(program: &BbProgram, supervisor: &Supervisor) -> Result<String, VersionError> {
    let (child, _) = program.start(["--version"], 1, supervisor).map_err(VersionError::Start)?;
    let silent = || VersionError::Silent { path: program.path.clone() };
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.map_err(|_| silent())?.map_err(|_| silent())?;
    let words = String::from_utf8_lossy(&output.stdout);
    let found: String = words.lines().next().unwrap_or_default().trim().chars().take(60).collect();
    if found == BB_REPORTS {
        return Ok(found);
    }
    let found = if found.is_empty() { "of no known version".to_owned() } else { found };
    Err(VersionError::Other { path: program.path.clone(), found })
}

/// The machine an executable was built for, from its ELF or Mach-O header.
#[must_use]
pub fn binary_arch(path: &Path) -> String {
    let mut header = [0; 20];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
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
